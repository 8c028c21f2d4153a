"""``fairway gateway untrip``: end what the gateway did by itself."""

from __future__ import annotations

import click

from fairway.cli.gateway.asking import ask, state_of, whoever
from fairway.cli.output import emit, output_option, project_option


@click.command("untrip", epilog="Example: fairway gateway untrip")
@click.option("--actor", help="Who says so; by default git's user.email.")
@project_option
@output_option
def command(actor: str | None, project_dir: str | None, output: str) -> None:
    """Let a release serve again that the gateway took traffic away from by itself.

    Not needed after a rollback: a trip ends when the controller takes the release away. What it did so
    far is not held against it again.
    """
    state = state_of(project_dir)
    found = ask(state, "POST", "/v1/trip", {"release": None}, actor=whoever(state, actor))
    emit(found, output=output, text=lambda: "traffic follows the table again")
