"""``fairway doctor``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from fairway.cli.output import emit, output_option, project_option

if TYPE_CHECKING:
    from fairway.supervise.examination import Check

EPILOG = """\b
Examples:
  fairway doctor
  fairway doctor -o json | jq '.checks[] | select(.status != "ok")'
"""


@click.command(epilog=EPILOG)
@project_option
@output_option
def command(project_dir: str | None, output: str) -> None:
    """Say what is installed, reachable or misconfigured, and what to do.

    Looks only; changes nothing. Exits 1 when a check fails; warnings are worth knowing.
    """
    from pathlib import Path

    from fairway.supervise.examination import CheckStatus, examine

    checks = examine(Path(project_dir) if project_dir else None)
    failed = any(check.status is CheckStatus.FAIL for check in checks)
    result: dict[str, Any] = {
        "ok": not failed,
        "checks": [
            {"name": check.name, "status": check.status.value, "detail": check.detail, "hint": check.hint}
            for check in checks
        ],
    }
    emit(result, output=output, text=lambda: "\n".join(_lines(checks)))
    if failed:
        click.get_current_context().exit(1)


_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


def _lines(checks: tuple[Check, ...]) -> list[str]:
    """One line a check, its hint below it."""
    lines = []
    for check in checks:
        mark = click.style(f"{check.status.value:<5}", fg=_COLOURS[check.status.value])
        lines.append(f"{mark} {check.name:<11} {check.detail}")
        if check.hint:
            lines.append(f"{'':<18}{check.hint}")
    return lines
