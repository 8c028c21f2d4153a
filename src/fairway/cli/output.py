"""Results on stdout, talk on stderr: what every command shares."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import click

output_option = click.option(
    "-o",
    "--output",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="json gives the result to a program.",
)

project_option = click.option(
    "--project",
    "project_dir",
    type=click.Path(file_okay=False),
    default=None,
    envvar="FAIRWAY_PROJECT",
    help="Folder of the project; by default the nearest one above with a fairway.yaml.",
)


def emit(result: Any, *, output: str, text: Callable[[], str]) -> None:
    """Print a result.

    Args:
        result: JSON-able value for ``-o json``.
        output: ``text`` or ``json``.
        text: Makes what a person reads; called only when wanted.
    """
    click.echo(json.dumps(result, indent=2, ensure_ascii=False) if output == "json" else text())


def say(message: str) -> None:
    """Talk: progress and remarks, on stderr so that stdout stays a result."""
    click.echo(message, err=True)
