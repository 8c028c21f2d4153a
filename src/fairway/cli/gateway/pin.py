"""``fairway gateway pin``: everything to stable, with nothing else alive."""

from __future__ import annotations

import click

from fairway.cli.gateway.asking import ask, state_of, whoever
from fairway.cli.output import emit, output_option, project_option


@click.command("pin", epilog="Example: fairway gateway pin stable")
@click.argument("to", type=click.Choice(["stable", "none"]))
@click.option("--actor", help="Who says so; by default git's user.email.")
@project_option
@output_option
def command(to: str, actor: str | None, project_dir: str | None, output: str) -> None:
    """Send everything to stable until `pin none`, whatever the controller says.

    Needs nothing but the gateway: works with controller and ledger down, and holds over a restart.
    """
    state = state_of(project_dir)
    wanted = {"to": None if to == "none" else to}
    found = ask(state, "POST", "/v1/pin", wanted, actor=whoever(state, actor))
    emit(
        found,
        output=output,
        text=lambda: (
            ("everything goes to stable" if to == "stable" else "traffic follows the table again")
            + ("" if found["applied"] else "; a worker has not confirmed it yet, see `fairway gateway status`")
            + ("" if found["kept"] else "; the disk does not take it, so it would not outlive the gateway yet")
        ),
    )
