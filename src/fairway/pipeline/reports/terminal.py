"""The run for a person at a terminal; plain text, colours only where asked."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator

from fairway.pipeline.port import Finding, RunReport, StageResult, StageStatus
from fairway.units import format_duration, short

_MARKS = {
    StageStatus.PASSED: "✓",
    StageStatus.CACHED: "✓",
    StageStatus.SKIPPED: "-",
    StageStatus.FAILED: "✗",
    StageStatus.ERROR: "!",
    StageStatus.CANCELLED: "/",
}
_COLOURS = {
    StageStatus.PASSED: "32",
    StageStatus.CACHED: "36",
    StageStatus.SKIPPED: "2",
    StageStatus.FAILED: "31;1",
    StageStatus.ERROR: "35;1",
    StageStatus.CANCELLED: "33",
}
_BAD = (StageStatus.FAILED, StageStatus.ERROR)
_MAX_FINDINGS = 15
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


def stage_line(result: StageResult, *, width: int = 18, colour: bool = False) -> str:
    """One stage on one line: mark, id, status, duration, summary."""
    duration = "" if result.duration_seconds == 0 else format_duration(result.duration_seconds)
    status = f"{_MARKS[result.status]} {result.stage:<{width}} {result.status.value:<9}"
    painted = f"\x1b[{_COLOURS[result.status]}m{status}\x1b[0m" if colour else status
    return f"{painted} {duration:>8}  {_one_line(result.summary)}".rstrip()


def render_terminal(report: RunReport, *, colour: bool = False, columns: int | None = None) -> str:
    """The summary at the end of a run: every stage, what went wrong and where to read on.

    Args:
        report: The run.
        colour: Whether the terminal shows colours (and the person wants them).
        columns: Width of the terminal; by default asked for.
    """
    width = columns or shutil.get_terminal_size().columns
    return "\n".join(_lines(report, colour=colour, columns=width))


def _lines(report: RunReport, *, colour: bool, columns: int) -> Iterator[str]:
    yield f"{report.agent} {report.release_version} ({short(report.release)})"
    longest = max((len(result.stage) for result in report.results), default=0)
    for result in report.results:
        line = stage_line(result, width=longest, colour=colour)
        room = columns + (len(line) - len(stage_line(result, width=longest)) if colour else 0)
        yield line if len(line) <= room else line[: max(20, room - 1)] + "…"
    for result in report.results:
        if result.status in _BAD or any(finding.severity == "error" for finding in result.findings):
            yield ""
            yield from _trouble(result)
    yield ""
    cached = sum(result.status is StageStatus.CACHED for result in report.results)
    ending = f", {cached} of {len(report.results)} stages cached" if cached else ""
    yield f"{report.verdict} in {format_duration(report.duration_seconds)}{ending} (run {report.run_id})"
    if report.note:
        yield _one_line(report.note)
    if report.verdict in ("failed", "error", "cancelled"):
        yield f"go on from what passed: fairway run --resume {report.run_id}"


def _trouble(result: StageResult) -> Iterator[str]:
    yield f"{result.stage}: {_one_line(result.summary)}"
    if hint := result.details.get("hint"):
        yield from (f"  {_one_line(line)}" for line in str(hint).splitlines())
    for finding in result.findings[:_MAX_FINDINGS]:
        yield f"  {_finding(finding)}"
        if finding.hint:
            yield f"    {_one_line(finding.hint)}"
    if len(result.findings) > _MAX_FINDINGS:
        yield f"  and {len(result.findings) - _MAX_FINDINGS} more"
    if result.log is not None:
        yield f"  log: {result.log}"


def _finding(finding: Finding) -> str:
    place = ":".join(str(part) for part in (finding.file, finding.line, finding.column) if part is not None)
    return f"{place + ': ' if place else ''}{finding.severity}: {_one_line(finding.message)} [{finding.rule}]"


def _one_line(text: str) -> str:
    """Text that stays on its line and cannot steer the terminal (an agent's words may hold escape sequences)."""
    return _CONTROL.sub(" ", text).strip()
