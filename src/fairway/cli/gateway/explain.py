"""``fairway gateway explain``: which rule fires for a request."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from fairway.cli.gateway.asking import state_of
from fairway.cli.output import emit, output_option, project_option


@click.command(
    "explain",
    epilog="""\b
Examples:
  fairway gateway explain -H 'x-conversation-id: c-17'
  fairway gateway explain -H 'x-tenant: acme' --path /chat""",
)
@click.option("-H", "--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="A header of the request.")
@click.option("--path", default="/", show_default=True, help="Path of the request.")
@click.option("--table", "table_file", type=click.Path(exists=True, dir_okay=False), help="Instead of the last one.")
@project_option
@output_option
def command(headers: tuple[str, ...], path: str, table_file: str | None, project_dir: str | None, output: str) -> None:
    """Say which rule fires for a request, and who would serve it.

    Reads the last table from disk; a conversation the gateway remembers stays where it began, which
    is only known to the gateway itself.
    """
    from fairway.errors import NotFoundError, UserError
    from fairway.gateway.disk import read_json
    from fairway.traffic.explaining import explain as explain_request
    from fairway.traffic.facts import GivenFacts
    from fairway.traffic.rules import Ruleset
    from fairway.traffic.table import RouteTable

    given: dict[str, str] = {}
    for header in headers:
        name, colon, value = header.partition(":")
        if not colon:
            raise UserError(f"{header!r} is not a header", code="header", hint="write it as 'name: value'")
        given[name.strip().lower()] = value.strip()
    state = state_of(project_dir)
    file = Path(table_file) if table_file else state.gateway / "table.json"
    try:
        wire = read_json(file)
        if wire is None:
            raise NotFoundError(f"there is no table at {file}", hint="start a gateway first, or give --table")
        table = RouteTable.from_wire(wire)
    except (ValueError, AttributeError) as error:
        raise UserError(f"{file}: {error}", code="table") from error
    found = explain_request(Ruleset(table), GivenFacts(path=path.partition("?")[0], headers=given))
    emit(found, output=output, text=lambda: _explain_text(found))


def _explain_text(found: dict[str, Any]) -> str:
    served = found["served"]
    lines = [f"table {found['fence']}"]
    lines += [
        f"rule {rule['rule']} ({rule['kind']}): {'fires' if rule['matched'] else 'no'}" for rule in found["tried"]
    ]
    if found["bucket"] is not None and found["key"] is not None:
        side = "below" if found["bucket"] < found["split"] else "not below"
        lines.append(f"key {found['key']!r}: bucket {found['bucket']} is {side} the split {found['split']}")
    elif found["why"] == "keyless":
        lines.append("no key: such requests are split by chance, and stay out of unit tests")
    lines.append(f"assigned to {found['assigned']['role']} by {found['why']}")
    lines.append("nobody can serve it: 503" if served is None else f"served by {served['role']} {served['version']}")
    return "\n".join(lines)
