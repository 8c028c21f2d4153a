"""``fairway gateway``: the data plane."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fairway.cli.listing import Listing
from fairway.cli.output import emit, output_option, project_option, say

if TYPE_CHECKING:
    from fairway.state_dir import StateDir


@click.group(
    cls=Listing,
    epilog="""\b
Examples:
  fairway gateway serve --port 8080 --admin-port 8081
  fairway gateway status
  fairway gateway pin stable""",
)
def command() -> None:
    """Serve traffic: split by rule, pin or hash, pass through, count.

    `fairway up` runs a gateway for you; these commands run one by itself, look into one that runs, and
    hold traffic on stable with nothing else alive.
    """


def _state(project_dir: str | None) -> StateDir:
    """State folder of the project given, of the nearest one above, or of this folder."""
    from fairway.state_dir import StateDir

    if project_dir is not None:
        return StateDir(Path(project_dir).resolve() / ".fairway")
    here = Path.cwd()
    root = next((folder for folder in (here, *here.parents) if (folder / "fairway.yaml").is_file()), here)
    return StateDir(root / ".fairway")


@command.command(
    epilog="""\b
Examples:
  fairway gateway serve --port 8080 --admin-port 8081
  fairway gateway serve --table table.json --port 8080 --workers 1"""
)
@click.option(
    "--table", "table_file", type=click.Path(exists=True, dir_okay=False), help="A route table to begin with."
)
@click.option("--controller-socket", type=click.Path(), help="Pull tables from here.  [default: the project's]")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8080, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free port.")
@click.option("--admin-port", type=click.IntRange(0, 65535), help="Loopback port of metrics and status.")
@click.option("--workers", default=2, show_default=True, type=click.IntRange(1, 64), help="Serving processes.")
@click.option("--fd", type=click.IntRange(0), help="Use this inherited listening socket instead of host and port.")
@click.option("--drain", default=30.0, show_default=True, help="Seconds running requests may take after SIGTERM.")
@project_option
@output_option
def serve(
    table_file: str | None,
    controller_socket: str | None,
    host: str,
    port: int,
    admin_port: int | None,
    workers: int,
    fd: int | None,
    drain: float,
    project_dir: str | None,
    output: str,
) -> None:
    """Serve until SIGTERM or Ctrl-C, then drain.

    Without --table the table comes from the controller. The last table is kept on disk, so that the
    gateway serves with everything else stopped, also after a restart of its own.
    """
    import asyncio
    import json
    import logging

    import uvloop

    from fairway.errors import UserError
    from fairway.gateway.parent import Gateway, GatewaySettings

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    state = _state(project_dir)
    pulled = Path(controller_socket) if controller_socket else None if table_file else state.socket("controller")

    def ready(bound: int, admin: int | None) -> None:
        if output == "json":
            click.echo(json.dumps({"port": bound, "admin_port": admin}))
        else:
            say(f"serving on {host}:{bound}" + (f", admin on 127.0.0.1:{admin}" if admin else ""))

    async def run() -> None:
        settings = GatewaySettings(
            state=state,
            host=host,
            port=port,
            fd=fd,
            admin_port=admin_port,
            workers=workers,
            table_file=Path(table_file) if table_file else None,
            controller_socket=pulled,
            drain_seconds=drain,
        )
        await Gateway(settings, on_ready=ready).run()

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run())
    except ValueError as error:
        raise UserError(f"{table_file}: {error}", code="table", hint="see: fairway schema route-table") from error


def _ask(state: StateDir, method: str, target: str, body: dict[str, Any] | None = None) -> Any:
    import asyncio
    import json

    from fairway.errors import PermanentError
    from fairway.traffic.local_http import LocalClient

    async def ask() -> Any:
        client = LocalClient(state.socket("gateway"))
        try:
            answer = await client.ask(method, target, body=b"" if body is None else json.dumps(body).encode())
        finally:
            client.close()
        if answer.status != 200:
            raise PermanentError(f"the gateway answered {answer.status}: {answer.body.decode()}", code="gateway")
        return answer.json()

    return asyncio.run(ask())


@command.command(epilog="Example: fairway gateway status -o json")
@project_option
@output_option
def status(project_dir: str | None, output: str) -> None:
    """Show what the running gateway serves: table, arms, workers, pin and trip."""
    found = _ask(_state(project_dir), "GET", "/v1/status")
    emit(found, output=output, text=lambda: _status_text(found))


def _status_text(found: dict[str, Any]) -> str:
    lines = [f"gateway {found['gateway']} on port {found['port']}, up {found['uptime_seconds']:.0f} s"]
    table = found["table"]
    if table is None:
        lines.append("no table yet: every request is answered 503")
    else:
        lines.append(f"route {table['route']}  table {table['fence']} (confirmed {found['confirmed']})")
        for arm in table["arms"]:
            share = f"  {table['split']}" if arm["role"] == "candidate" else ""
            masked = "  masked" if arm["release"] in table["masks"] else ""
            lines.append(f"  {arm['role']:<10} {arm['version']:<12} {arm['ready']} ready{share}{masked}")
    for worker in found["workers"]:
        state = "serving" if worker["ready"] else "starting"
        lines.append(f"worker {worker['worker']} pid {worker['pid']} {state}, {worker['in_flight']} in flight")
    if found["pinned"]:
        to = f" ({found['pinned_to']})" if found["pinned_to"] else ""
        lines.append(f"PINNED to stable{to}; `fairway gateway pin none` ends it")
    if found["tripped"]:
        lines.append(f"TRIPPED: {found['tripped']} passed its exposure limit and gets no traffic")
        lines.append("  until the controller takes it away; `fairway gateway untrip` lets it serve again")
    if found["not_kept"]:
        lines.append(f"NOT ON DISK: {', '.join(found['not_kept']['what'])}: {found['not_kept']['error']}")
    if found["table_error"]:
        lines.append(f"last table refused: {found['table_error']}")
    return "\n".join(lines)


@command.command(epilog="Example: fairway gateway pin stable")
@click.argument("to", type=click.Choice(["stable", "none"]))
@project_option
@output_option
def pin(to: str, project_dir: str | None, output: str) -> None:
    """Send everything to stable until `pin none`, whatever the controller says.

    Needs nothing but the gateway: works with controller and ledger down, and holds over a restart.
    """
    found = _ask(_state(project_dir), "POST", "/v1/pin", {"to": None if to == "none" else to})
    emit(
        found,
        output=output,
        text=lambda: (
            ("everything goes to stable" if to == "stable" else "traffic follows the table again")
            + ("" if found["applied"] else "; a worker has not confirmed it yet, see `fairway gateway status`")
            + ("" if found["kept"] else "; the disk does not take it, so it would not outlive the gateway yet")
        ),
    )


@command.command(epilog="Example: fairway gateway untrip")
@project_option
@output_option
def untrip(project_dir: str | None, output: str) -> None:
    """Let a release serve again that the gateway took traffic away from by itself.

    Not needed after a rollback: a trip ends when the controller takes the release away. What it did so
    far is not held against it again.
    """
    found = _ask(_state(project_dir), "POST", "/v1/trip", {"release": None})
    emit(found, output=output, text=lambda: "traffic follows the table again")


@command.command(
    epilog="""\b
Examples:
  fairway gateway explain -H 'x-conversation-id: c-17'
  fairway gateway explain -H 'x-tenant: acme' --path /chat"""
)
@click.option("-H", "--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="A header of the request.")
@click.option("--path", default="/", show_default=True, help="Path of the request.")
@click.option("--table", "table_file", type=click.Path(exists=True, dir_okay=False), help="Instead of the last one.")
@project_option
@output_option
def explain(headers: tuple[str, ...], path: str, table_file: str | None, project_dir: str | None, output: str) -> None:
    """Say which rule fires for a request, and who would serve it.

    Reads the last table from disk; a conversation the gateway remembers stays where it began, which
    is only known to the gateway itself.
    """
    from fairway.errors import NotFoundError, UserError
    from fairway.gateway.disk import read_json
    from fairway.traffic.rules import GivenFacts
    from fairway.traffic.rules import explain as explain_request
    from fairway.traffic.table import RouteTable

    given: dict[str, str] = {}
    for header in headers:
        name, colon, value = header.partition(":")
        if not colon:
            raise UserError(f"{header!r} is not a header", code="header", hint="write it as 'name: value'")
        given[name.strip().lower()] = value.strip()
    state = _state(project_dir)
    file = Path(table_file) if table_file else state.gateway / "table.json"
    try:
        wire = read_json(file)
        if wire is None:
            raise NotFoundError(f"there is no table at {file}", hint="start a gateway first, or give --table")
        table = RouteTable.from_wire(wire)
    except (ValueError, AttributeError) as error:
        raise UserError(f"{file}: {error}", code="table") from error
    found = explain_request(table, GivenFacts(path=path.partition("?")[0], headers=given))
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
