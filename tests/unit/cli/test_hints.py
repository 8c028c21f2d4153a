"""What people are told to type exists: commands and options named in hints and sentences."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import fairway
from fairway.cli.main import cli
from fairway.rollout.refusals import INSTEAD

SOURCE = Path(fairway.__file__).parent
_SAID = re.compile(r"\bfairway((?: [a-z][a-z-]+)+)((?: (?:--[a-z-]+|'[^']*'|<[a-z]+>|[A-Z§…\d][\w.§%…-]*|v[\d.]+))*)")
_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]+")


def _strings(path: Path) -> Iterator[tuple[int, str]]:
    """Every text of a module but docstrings; ``§`` stands for what is filled in."""
    tree = ast.parse(path.read_text())
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            told = (str(part.value) if isinstance(part, ast.Constant) else "§" for part in node.values)
            yield node.lineno, "".join(told)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and not {id(node)} & (parts | docs):
            yield node.lineno, node.value


def _said() -> Iterator[tuple[str, str, list[str]]]:
    for path in sorted(SOURCE.rglob("*.py")):
        if "templates" in path.parts:
            continue
        for line, text in _strings(path):
            for found in _SAID.finditer(text):
                yield f"{path.relative_to(SOURCE)}:{line}", found[1].strip(), _OPTION.findall(found[2])


def _command(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command that words name, and the words that are none."""
    command: click.Command = cli
    while words and isinstance(command, click.Group):
        inner = command.get_command(click.Context(command), words[0])
        if inner is None:
            break
        command, words = inner, words[1:]
    return command, words


def _options(command: click.Command) -> set[str]:
    return {name for one in command.params for name in (*one.opts, *one.secondary_opts)} | {"--help"}


def test_every_option_named_beside_a_command_is_one_of_that_command() -> None:
    said = [one for one in _said() if _command(one[1].split())[0] is not cli]
    assert sum(bool(options) for _, _, options in said) > 20, "the search itself must work"
    wrong = [
        (where, words, option)
        for where, words, options in said
        for option in options
        if option not in _options(_command(words.split())[0])
    ]
    assert wrong == []


def _every_option(command: click.Command = cli) -> set[str]:
    own = _options(command)
    if isinstance(command, click.Group):
        for name in command.list_commands(click.Context(command)):
            inner = command.get_command(click.Context(command), name)
            assert inner is not None
            own |= _every_option(inner)
    return own


def test_every_option_named_in_a_hint_without_a_command_exists_at_all() -> None:
    known, wrong, seen = _every_option(), [], 0
    for path in sorted(SOURCE.rglob("*.py")):
        if "templates" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.keyword) and node.arg == "hint" and isinstance(node.value, ast.Constant):
                for option in _OPTION.findall(str(node.value.value)):
                    seen += 1
                    if option not in known and "pip" not in str(node.value.value):
                        wrong.append((str(path.relative_to(SOURCE)), option))
    assert seen > 5, "the search itself must work"
    assert wrong == []


ASKS = ["rollback", "deploy", *(f"rollout {verb}" for verb in (
    "start", "supersede", "promote", "skip", "retry", "pause", "resume", "hold", "release-hold", "revoke", "lift-block",
))]  # fmt: skip


@pytest.mark.parametrize("name", ASKS)
def test_who_lacks_the_role_is_told_of_an_option_the_command_has(name: str) -> None:
    assert "--break-glass" in INSTEAD["role_missing"]
    command, rest = _command(name.split())
    assert not rest
    assert "--break-glass" in _options(command)
