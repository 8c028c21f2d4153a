"""Groups of commands whose help says what each command does in a whole sentence."""

from __future__ import annotations

import inspect
from typing import Any

import click


class Listing(click.Group):
    """A group that wraps the first sentence of its commands' help, instead of cutting it off in the middle."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands, each with its sentence."""
        found = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        rows = [(name, _sentence(command)) for name, command in found if command is not None and not command.hidden]
        if rows:
            with formatter.section("Commands"):
                formatter.write_dl(rows)


def _sentence(command: click.Command) -> str:
    text: Any = command.short_help or command.help or ""
    return " ".join(inspect.cleandoc(text).split("\n\n")[0].split())
