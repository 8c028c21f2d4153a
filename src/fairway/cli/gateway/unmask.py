"""``fairway gateway unmask``: let a release serve again."""

from __future__ import annotations

import click

from fairway.cli.gateway.asking import ask, state_of, whoever
from fairway.cli.gateway.mask import masked_text
from fairway.cli.output import emit, output_option, project_option


@click.command(
    "unmask",
    epilog="""\b
Examples:
  fairway gateway unmask candidate
  fairway gateway unmask sha256:1f0c…""",
)
@click.argument("release")
@click.option("--actor", help="Who says so; by default git's user.email.")
@project_option
@output_option
def command(release: str, actor: str | None, project_dir: str | None, output: str) -> None:
    """Let a release serve again that was masked by hand: RELEASE is a digest, version or role.

    What it did not serve meanwhile is not held against it by the gateway's own trip.
    """
    state = state_of(project_dir)
    wanted = {"release": release, "masked": False}
    found = ask(state, "POST", "/v1/mask", wanted, actor=whoever(state, actor))
    emit(found, output=output, text=lambda: masked_text(found))
