"""The options that name the files an evaluation's reports are written to, the same for every command that has them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any

import click

_OPTIONS = {
    "junit": "Write the JUnit report.",
    "html": "Write the HTML report, one file.",
    "markdown": "Write the Markdown report.",
    "json": "Write the JSON report.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """Where reports are written; ``None``: not."""

    junit: str | None = None
    html: str | None = None
    markdown: str | None = None
    json: str | None = None


def report_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """``--junit``, ``--html``, ``--markdown`` and ``--json``, handed to the command as one ``files``."""

    @wraps(function)
    def command(**given: Any) -> Any:
        files = Files(**{name: given.pop(f"{name}_file") for name in _OPTIONS})
        return function(files=files, **given)

    wrapped: Callable[..., Any] = command
    for name, says in reversed(_OPTIONS.items()):
        wrapped = click.option(f"--{name}", f"{name}_file", type=click.Path(dir_okay=False), help=says)(wrapped)
    return wrapped
