"""Groups that know their commands by name and import one when it runs."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import click


class LazyGroup(click.Group):
    """A group whose commands are modules, each with one click command named ``command``."""

    def __init__(self, *args: Any, commands_by_name: Mapping[str, tuple[str, str]], **kwargs: Any) -> None:
        """Take the commands.

        Args:
            args: As a click group's.
            commands_by_name: Module and help of each; the help is shown without importing the module.
            kwargs: As a click group's.
        """
        super().__init__(*args, **kwargs)
        self._by_name = commands_by_name

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every name, sorted."""
        return sorted(self._by_name)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the one asked for."""
        if cmd_name not in self._by_name:
            return None
        command = importlib.import_module(self._by_name[cmd_name][0]).command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, self._by_name[name][1]) for name in sorted(self._by_name)])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Name the nearest command on a typo."""
        name = args[0]
        if name not in self._by_name and not name.startswith("-"):
            from difflib import get_close_matches

            near = get_close_matches(name, self._by_name, n=1)
            hint = f" Did you mean '{near[0]}'?" if near else ""
            ctx.fail(f"No such command '{name}'.{hint}")
        return super().resolve_command(ctx, args)
