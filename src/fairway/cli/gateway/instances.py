"""``fairway gateway instances``: which instances there are, and how each is."""

from __future__ import annotations

from typing import Any

import click

from fairway.cli.gateway.asking import ask, state_of
from fairway.cli.output import emit, output_option, project_option


@click.command("instances", epilog="Example: fairway gateway instances -o json")
@project_option
@output_option
def command(project_dir: str | None, output: str) -> None:
    """List the instances this gateway knows, with agent, model, version, gray tag, status and region.

    Those of the table, as they answer, and those that announced themselves. Model and region are what
    an instance says; `unknown` is one that has not been heard of.
    """
    found = ask(state_of(project_dir), "GET", "/v1/instances")
    emit(found, output=output, text=lambda: _text(found["instances"]))


def _text(instances: list[dict[str, Any]]) -> str:
    if not instances:
        return "no instances: there is no table yet, or its arms are not ready"
    names = ("agent_id", "version", "gray_tag", "status", "model", "region", "endpoint", "seen")
    rows = [names, *(_row(one) for one in instances)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(names))]
    lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(lines)


def _row(one: dict[str, Any]) -> tuple[str, ...]:
    seen = one["seen_seconds_ago"]
    said = (one[name] or "-" for name in ("agent_id", "version", "gray_tag", "status", "model", "region", "endpoint"))
    when = "never" if seen is None else f"{seen:.0f} s ago"
    return (*said, f"{when}: {one['detail']}" if one["detail"] else when)
