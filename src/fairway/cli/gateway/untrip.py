"""``fairway gateway untrip``: end what the gateway did by itself."""

from __future__ import annotations

import click

from fairway.cli.gateway.asking import ask, state_of
from fairway.cli.output import emit, output_option, project_option


@click.command("untrip", epilog="Example: fairway gateway untrip")
@project_option
@output_option
def command(project_dir: str | None, output: str) -> None:
    """Let a release serve again that the gateway took traffic away from by itself.

    Not needed after a rollback: a trip ends when the controller takes the release away. What it did so
    far is not held against it again.
    """
    found = ask(state_of(project_dir), "POST", "/v1/trip", {"release": None})
    emit(found, output=output, text=lambda: "traffic follows the table again")
