"""``fairway eval capture``: live conversations become cases."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fairway.cli.output import emit, output_option, project_option

if TYPE_CHECKING:
    from fairway.evals.live.capture import Capture, CaptureOptions

EPILOG = """\b
Examples:
  fairway eval capture --failed --limit 20
  fairway eval capture --expect-tool lookup_order --out evals/captured/orders.yaml
  fairway eval capture --rubric "The reply answers the question." -o json
"""
_KNOWN = re.compile(r"captured-[0-9a-f]{12}")
_FOLDERS = ("evals", "tests")


@click.command("capture", epilog=EPILOG)
@click.option("--out", default=None, help="Suite to write; by default evals/captured/<date>-<time>.yaml.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="The newest, at most.")
@click.option("--failed", is_flag=True, help="Only conversations with a request that failed.")
@click.option("--role", type=click.Choice(["stable", "candidate"]), default=None, help="Only those of one arm.")
@click.option("--version", default=None, help="Only those of one release.")
@click.option(
    "--expect-tool", "tools", multiple=True, help="Each case expects this tool to be called; may be repeated."
)
@click.option("--rubric", default=None, help="Each case is graded by this.")
@click.option("--dry-run", is_flag=True, help="Only say what would be written.")
@project_option
@output_option
def command(
    out: str | None,
    limit: int,
    failed: bool,
    role: str | None,
    version: str | None,
    tools: tuple[str, ...],
    rubric: str | None,
    dry_run: bool,
    project_dir: str | None,
    output: str,
) -> None:
    """Make cases of live conversations that the gateway sampled (gateway.capture), redacted, each once.

    What was observed stands beside a case as a comment: nothing is expected that nobody wrote. A case without an
    expectation does not load until a person completes it or takes it out; the file is written where suites are not
    looked for, so that it holds up nothing until then.
    """
    from fairway.clock import SystemClock
    from fairway.errors import RefusedError, UserError
    from fairway.evals.live.capture import CaptureOptions, capture, suite_text
    from fairway.evals.live.kept import kept_lines
    from fairway.evals.live.service import TURNS, readable_turns
    from fairway.project.load import load_project

    project = load_project(None if project_dir is None else Path(project_dir))
    folder = project.state.root / TURNS
    if project.gateway.capture is None and not folder.is_dir():
        raise UserError(
            "nothing is captured in this project",
            code="nothing_captured",
            hint="add `capture: {share: 1%}` to gateway in fairway.yaml, and run fairway up",
        )
    now = SystemClock().now()
    path = project.root / (out or f"evals/captured/{now:%Y%m%d-%H%M%S}.yaml")
    options = CaptureOptions(
        limit=limit,
        failed=failed,
        role=role,
        version=version,
        known=_known(project.root),
        expect_tools=tools,
        rubric=rubric,
    )
    found = capture(readable_turns(kept_lines(folder)), options)
    written = bool(found.cases) and not dry_run
    if written and path.exists():
        raise RefusedError(f"{path} is there already", code="file_exists", hint="name another with --out")
    if written:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(suite_text(found, options, name=path.stem, at=now), encoding="utf-8")
    shown = str(path.relative_to(project.root)) if path.is_relative_to(project.root) else str(path)
    emit(_wire(found, shown if written else None), output=output, text=lambda: _text(found, options, shown, written))


def _known(root: Path) -> frozenset[str]:
    """Ids of cases that were captured before, wherever a person has moved them."""
    found: set[str] = set()
    for folder in _FOLDERS:
        for path in (root / folder).rglob("*"):
            if path.suffix in (".yaml", ".yml", ".json", ".jsonl", ".csv") and path.is_file():
                found.update(_KNOWN.findall(path.read_text(encoding="utf-8", errors="replace")))
    return frozenset(found)


def _wire(found: Capture, path: str | None) -> dict[str, Any]:
    return {
        "file": path,
        "cases": [
            {"id": case.id, "turns": len(case.turns), "version": case.turns[-1].version, "complete": case.complete}
            for case in found.cases
        ],
        "conversations": found.conversations,
        "repeated": found.repeated,
        "unusable": found.unusable,
    }


def _text(found: Capture, options: CaptureOptions, path: str, written: bool) -> str:
    seen = f"{found.conversations} conversations"
    left = f"{found.repeated} say what another case says" + (
        f", {found.unusable} cannot be cases" if found.unusable else ""
    )
    if not found.cases:
        return f"no case to capture: {seen}, {left}"
    lines = [f"{'wrote' if written else 'would write'} {len(found.cases)} cases to {path} ({seen}, {left})"]
    if not (options.expect_tools or options.rubric):
        lines.append("  they check nothing yet: say what must hold of each, then move the file to evals/suites/")
    return "\n".join(lines)
