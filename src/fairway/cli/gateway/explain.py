"""``fairway gateway explain``: which rule fires for a request."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fairway.cli.gateway.asking import ask, state_of
from fairway.cli.output import emit, output_option, project_option

if TYPE_CHECKING:
    from fairway.state_dir import StateDir


@click.command(
    "explain",
    epilog="""\b
Examples:
  fairway gateway explain -H 'x-conversation-id: c-17'
  fairway gateway explain --key c-17
  fairway gateway explain -H 'x-tenant: acme' --path /chat
  fairway gateway explain --body '{"conversation": {"id": "c-17"}}'""",
)
@click.option("-H", "--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="A header of the request.")
@click.option("--path", default="/", show_default=True, help="Path of the request.")
@click.option("--body", help="Beginning of its JSON body, for tables whose key stands there.")
@click.option("--key", help="A conversation by its key alone, wherever requests have it.")
@click.option("--table", "table_file", type=click.Path(exists=True, dir_okay=False), help="Only what this table says.")
@project_option
@output_option
def command(
    headers: tuple[str, ...],
    path: str,
    body: str | None,
    key: str | None,
    table_file: str | None,
    project_dir: str | None,
    output: str,
) -> None:
    """Say which rule fires for a request, and who would serve it.

    Asks the running gateway: its table, what it decided by itself, and what it remembers of the
    conversation. Where none runs, the same from what it left on disk; with --table from that alone.
    """
    from fairway.errors import TransientError, UserError

    given: dict[str, str] = {}
    for header in headers:
        name, colon, value = header.partition(":")
        if not colon:
            raise UserError(f"{header!r} is not a header", code="header", hint="write it as 'name: value'")
        given.setdefault(name.strip().lower(), value.strip())
    asked: dict[str, Any] = {"headers": given, "path": path, "body": body, "key": key}
    state = state_of(project_dir)
    if table_file is None:
        try:
            found = ask(state, "POST", "/v1/explain", asked)
        except TransientError:
            found = _from_disk(state, asked)
    else:
        found = _from_table(state, table_file, asked)
    emit(found, output=output, text=lambda: _text(found))


def _from_disk(state: StateDir, asked: dict[str, Any]) -> dict[str, Any]:
    """As the gateway would answer if it ran, from what it left."""
    import time

    from fairway.cli.gateway.tables import last_table
    from fairway.gateway.explaining import Question, explain_here
    from fairway.gateway.state import GatewayState

    table = last_table(state)
    left = GatewayState(state)
    found = explain_here(
        Question.from_wire(asked),
        table,
        left.decisions(),
        key=left.pin_key.read_bytes(),
        memory=left.memory,
        now=time.time(),
    )
    return {"source": "disk", **found}


def _from_table(state: StateDir, file: str, asked: dict[str, Any]) -> dict[str, Any]:
    """What a table says, whatever a gateway knows besides."""
    import os
    import time

    from fairway.cli.gateway.tables import last_table
    from fairway.gateway.explaining import Question, explain_here
    from fairway.gateway.state import LocalDecisions

    table = last_table(state, file)
    kept = state.keys / "gateway-pin.key"
    key = kept.read_bytes() if kept.is_file() else os.urandom(32)
    question = Question.from_wire(asked)
    found = explain_here(question, table, LocalDecisions(), key=key, memory=None, now=time.time())
    return {"source": str(Path(file)), **found}


_SOURCES = {"gateway": "the running gateway", "disk": "no gateway runs: its last table, from disk"}


def _text(found: dict[str, Any]) -> str:
    number = "" if found["fence"] == "0.0" else f" {found['fence']}"  # one by hand has none until it is served
    lines = [f"table{number} ({_SOURCES.get(found['source'], found['source'])})"]
    lines += _overruled(found)
    if found["named"] is not None:
        lines.append(f"names the release {found['named'] or '(none)'!r}")
    lines += [
        f"rule {rule['rule']} ({rule['kind']}): {'fires' if rule['matched'] else 'no'}" for rule in found["tried"]
    ]
    if found["refused"] is not None:
        return "\n".join([*lines, f"refused: {found['refused']}"])
    if found["remembered"] is not None:
        began = _named(found, found["remembered"]["release"] or "one gone")
        lines.append(f"key {found['key']!r} is remembered: it began on {began}")
    if found["bucket"] is not None:
        side = "below" if found["bucket"] < found["split"] else "not below"
        lines.append(f"key {found['key']!r}: bucket {found['bucket']} is {side} the split {found['split']}")
    if found["by_chance"]:
        lines.append(_by_chance(found))
    else:
        lines.append(f"assigned to {found['assigned']['role']} by {found['why']}")
        served = found["served"]
        answer = f"served by {served['role']} {served['version']}" if served else "nobody can serve it: 503"
        lines.append(answer)
    return "\n".join(lines)


def _overruled(found: dict[str, Any]) -> list[str]:
    lines = []
    if found["pinned_to"]:
        lines.append(f"pinned by a person to {_named(found, found['pinned_to'])}")
    if found["tripped"]:
        lines.append(f"tripped: {_named(found, found['tripped'])} gets no traffic")
    return lines + [f"masked: {_named(found, release)} gets no traffic" for release in found["masked"]]


def _named(found: dict[str, Any], release: str) -> str:
    """A release by its version, while the table has it."""
    return str(found.get("versions", {}).get(release, release))


def _by_chance(found: dict[str, Any]) -> str:
    share = found["split"] / 1000
    if found["issues"]:
        return f"no key: it is issued one in the cookie {found['issues']}, and {share:g} % of those are the candidate's"
    return f"no key: by chance, {share:g} % of such requests are the candidate's, and they stay out of unit tests"
