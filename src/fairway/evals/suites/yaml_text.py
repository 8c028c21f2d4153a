"""Values as YAML that Fairway's own strict reader reads back as they were."""

from __future__ import annotations

import re
from typing import Any

import yaml

_PLAIN = re.compile(r"^[A-Za-z][A-Za-z0-9 _./@+=-]*[A-Za-z0-9./@+=-]$|^[A-Za-z]$")
_WIDTH = 110


class _Dumper(yaml.SafeDumper):
    """Plain words as they are, several lines as a block, and anything else in double quotes."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style: str | None = '"'
    if _PLAIN.match(text):
        style = None  # PyYAML itself quotes words that mean something else
    elif "\n" in text and _fits_block(text):
        style = "|"
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


def _fits_block(text: str) -> bool:
    lines = text.split("\n")
    printable = all(char.isprintable() or char == "\n" for char in text)
    return printable and not text.startswith((" ", "\n")) and not any(line.endswith(" ") for line in lines)


_Dumper.add_representer(str, _text)


def to_yaml(value: Any) -> str:
    """A value of JSON as YAML, keys in their order."""
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=_WIDTH)
    return text


def comment(text: str) -> str:
    """The text as lines of comment."""
    return "".join(f"# {line}".rstrip() + "\n" for line in text.splitlines())
