"""The run as Markdown, for a merge request or a CI summary."""

from __future__ import annotations

import re
from collections.abc import Iterator

from fairway.pipeline.port import Finding, RunReport, StageResult, StageStatus
from fairway.units import format_duration, short

_MARKS = {
    StageStatus.PASSED: "✅ passed",
    StageStatus.CACHED: "✅ cached",
    StageStatus.SKIPPED: "⏭️ skipped",
    StageStatus.FAILED: "❌ failed",
    StageStatus.ERROR: "💥 error",
    StageStatus.CANCELLED: "🚫 cancelled",
}
_MAX_FINDINGS = 20


def render_markdown(report: RunReport) -> str:
    """Markdown: a heading, the table of stages, the prompts with the first 8 hex of each digest, what went wrong."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: RunReport) -> Iterator[str]:
    yield f"## {_text(report.agent)} {_text(report.release_version)}: {report.verdict}"
    yield ""
    yield f"Release `{short(report.release)}` · run `{report.run_id}` · {format_duration(report.duration_seconds)}"
    if report.note:
        yield ""
        yield f"> {_text(report.note)}"
    yield ""
    yield "| stage | status | duration | details | artifacts |"
    yield "|---|---|---:|---|---|"
    for result in report.results:
        yield _row(result)
    if report.prompts:
        yield ""
        yield "| prompt | version | digest |"
        yield "|---|---|---|"
        for name, prompt in sorted(report.prompts.items()):
            yield f"| {_text(name)} | {_text(prompt.get('version', ''))} | `{short(prompt.get('sha256', ''))}` |"
    for result in report.results:
        if result.findings:
            yield from _findings(result)


def _row(result: StageResult) -> str:
    duration = "" if result.status is StageStatus.CACHED else format_duration(result.duration_seconds)
    artifacts = ", ".join(f"`{_text(name)}`" for name in sorted(result.artifacts))
    return f"| {result.stage} | {_MARKS[result.status]} | {duration} | {_text(result.summary)} | {artifacts} |"


def _findings(result: StageResult) -> Iterator[str]:
    yield ""
    yield f"### {result.stage}"
    yield ""
    for finding in result.findings[:_MAX_FINDINGS]:
        yield f"- **{finding.severity}** {_place(finding)}{_text(finding.message)} (`{_text(finding.rule)}`)"
    if len(result.findings) > _MAX_FINDINGS:
        yield f"- and {len(result.findings) - _MAX_FINDINGS} more"


def _place(finding: Finding) -> str:
    if finding.file is None:
        return ""
    return f"`{_text(finding.file)}{f':{finding.line}' if finding.line else ''}` "


def _text(text: str) -> str:
    """Text that can neither break the table nor smuggle in markup."""
    flat = re.sub(r"\s+", " ", text).strip()
    return re.sub(r"([|`<>\\*_\[\]])", r"\\\1", flat) if re.search(r"[|`<>\\*\[\]]", flat) else flat
