"""``fairway gateway unmask``: let a release serve again."""

from __future__ import annotations

import click

from fairway.cli.gateway.asking import ask, state_of
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
@project_option
@output_option
def command(release: str, project_dir: str | None, output: str) -> None:
    """Let a release serve again that was masked by hand: RELEASE is a digest, version or role.

    What it did not serve meanwhile is not held against it by the gateway's own trip.
    """
    found = ask(state_of(project_dir), "POST", "/v1/mask", {"release": release, "masked": False})
    emit(found, output=output, text=lambda: masked_text(found))
