"""``fairway gateway shadow``: what a shadow answered, beside what the users got."""

from __future__ import annotations

from typing import Any

import click

from fairway.cli.gateway.asking import ask, state_of
from fairway.cli.output import emit, output_option, project_option

FINDINGS = (
    "same", "changed", "shadow_failed", "primary_failed", "both_failed", "diverged", "unknown", "client_left",
)  # fmt: skip


@click.command(
    "shadow",
    epilog="""\b
Examples:
  fairway gateway shadow
  fairway gateway shadow --finding shadow_failed --finding diverged
  fairway gateway shadow --last 5 -o json""",
)
@click.option("--finding", "findings", multiple=True, type=click.Choice(FINDINGS), help="Only pairs of this kind.")
@click.option("--last", type=click.IntRange(min=1), default=20, show_default=True, help="At most so many, the latest.")
@project_option
@output_option
def command(findings: tuple[str, ...], last: int, project_dir: str | None, output: str) -> None:
    """Show the latest requests that were answered twice, by stable and by the shadow.

    Statuses, times, sizes, tokens, and whether the bodies agree; nothing of what was said. The gateway
    keeps the latest 1,200 in its memory; how many there were in all is in its telemetry.
    """
    wanted = f"&finding={','.join(findings)}" if findings else ""
    found = ask(state_of(project_dir), "GET", f"/v1/pairs?last={last}{wanted}")
    emit(found, output=output, text=lambda: _text(found))


def _text(found: dict[str, Any]) -> str:
    head = f"{found['mirror'] or 'nothing'} of the conversations mirrored, {found['copies']} copies under way"
    pairs = found["pairs"]
    if not pairs:
        return f"{head}; no pairs of that kind yet"
    names = ("request", "conversation", "finding", "body", "", "status", "ms", "bytes", "tokens", "tools", "why")
    rows: list[tuple[str, ...]] = [names]
    for pair in pairs:
        body = "same" if pair["same_body"] else "differs"
        rows.append((pair["request"], pair["unit"], pair["finding"], body, *_side("stable", pair["primary"])))
        rows.append(("", "", "", "", *_side("shadow", pair["shadow"])))
    widths = [max(len(row[column]) for row in rows) for column in range(len(names))]
    lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    more = f"\n{found['unnoted']} more pairs were compared than noted" if found["unnoted"] else ""
    return f"{head}\n\n" + "\n".join(lines) + more


def _side(name: str, side: dict[str, Any]) -> tuple[str, ...]:
    tokens, tools = ("-" if side[key] is None else str(side[key]) for key in ("tokens", "tools"))
    return (
        name, str(side["status"] or "-"), f"{side['ms']:.1f}", str(side["bytes"]), tokens, tools, side["code"]
    )  # fmt: skip
