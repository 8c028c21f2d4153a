"""``fairway gateway mask``: keep one release from traffic, with nothing else alive."""

from __future__ import annotations

from typing import Any

import click

from fairway.cli.gateway.asking import ask, state_of, whoever
from fairway.cli.output import emit, output_option, project_option


@click.command(
    "mask",
    epilog="""\b
Examples:
  fairway gateway mask candidate
  fairway gateway mask 1.4.0 -o json""",
)
@click.argument("release")
@click.option("--actor", help="Who says so; by default git's user.email.")
@project_option
@output_option
def command(release: str, actor: str | None, project_dir: str | None, output: str) -> None:
    """Keep a release from traffic until `unmask`: RELEASE is a digest, version or role.

    Its requests are served by stable, and count as failed for it. Works with controller and ledger
    down, and holds over a restart; the controller is told, and its rollout waits.
    """
    state = state_of(project_dir)
    wanted = {"release": release, "masked": True}
    found = ask(state, "POST", "/v1/mask", wanted, actor=whoever(state, actor))
    emit(found, output=output, text=lambda: masked_text(found))


def masked_text(found: dict[str, Any]) -> str:
    """What became of a mask, for people."""
    name = found["version"] or found["release"]
    said = f"{name} gets no traffic here" if found["masked"] else f"{name} may serve again"
    return (
        said
        + ("" if found["applied"] else "; a worker has not confirmed it yet, see `fairway gateway status`")
        + ("" if found["kept"] else "; the disk does not take it, so it would not outlive the gateway yet")
    )
