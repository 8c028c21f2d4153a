"""YAML as promptfoo reads it (YAML 1.2's words for booleans and numbers), with the line of each list and mapping.

Fairway's own reader refuses what two readers could understand differently; a configuration that was written for one
certain reader has to be read as that one does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from fairway.errors import ProjectFileError
from fairway.yaml_file import MAXIMUM_BYTES, MAXIMUM_DEPTH, MAXIMUM_NODES

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_INTEGER = re.compile(r"^[-+]?(0|[1-9][0-9]*)$")
_FLOAT = re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$")
_WORDS: Mapping[str, Any] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip


class PlacedDict(dict[str, Any]):
    """A mapping that knows the line it begins in, 1-based."""

    __slots__ = ("line",)
    line: int


class PlacedList(list[Any]):
    """A list that knows the line it begins in, 1-based."""

    __slots__ = ("line",)
    line: int


def line_of(value: Any) -> int | None:
    """The line a list or mapping that was read begins in; ``None`` for anything else."""
    return getattr(value, "line", None)


def placed(value: Any, line: int | None) -> Any:
    """The list or mapping with its line."""
    found: Any = PlacedDict(value) if isinstance(value, dict) else PlacedList(value)
    found.line = line or 1
    return found


def unplaced(value: Any) -> Any:
    """The value without lines: plain mappings and lists."""
    if isinstance(value, dict):
        return {key: unplaced(one) for key, one in value.items()}
    return [unplaced(one) for one in value] if isinstance(value, list) else value


@dataclass(frozen=True, slots=True, kw_only=True)
class Plain:
    """A document's value."""

    file: str
    value: Any


def read_plain(content: bytes, *, file: str) -> Plain:
    """Read YAML or JSON.

    Raises:
        ProjectFileError: Not UTF-8, not YAML, a key twice in one mapping, or beyond the limits of `fairway.yaml_file`.
    """
    if len(content) > MAXIMUM_BYTES:
        raise ProjectFileError(f"is larger than {MAXIMUM_BYTES // 1024 // 1024} MiB", file=file)
    try:
        text = content.decode("utf-8-sig")
        root = yaml.compose(text, Loader=_LOADER)
    except UnicodeDecodeError as error:
        raise ProjectFileError("is not UTF-8", file=file, hint="save it as UTF-8") from error
    except RecursionError as error:
        raise ProjectFileError("is nested too deep", file=file) from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or "cannot be parsed"
        line, column = (mark.line + 1, mark.column + 1) if mark else (None, None)
        raise ProjectFileError(f"is not YAML: {problem}", file=file, line=line, column=column) from error
    return Plain(file=file, value=None if root is None else _Builder(file).build(root, 0))


class _Builder:
    """Values out of nodes, bounded although aliases unfold."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._nodes = 0

    def build(self, node: Any, depth: int) -> Any:
        self._nodes += 1
        if self._nodes > MAXIMUM_NODES or depth > MAXIMUM_DEPTH:
            raise ProjectFileError("is nested too deep, or too large", file=self._file, line=node.start_mark.line + 1)
        if isinstance(node, yaml.ScalarNode):
            return _scalar(node)
        found: Any = [self.build(one, depth + 1) for one in node.value] if isinstance(node, yaml.SequenceNode) else None
        if found is None:
            found = self._mapping(node, depth)
        return placed(found, node.start_mark.line + 1)

    def _mapping(self, node: Any, depth: int) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        own: dict[str, Any] = {}
        for key_node, value_node in node.value:
            value = self.build(value_node, depth + 1)
            if key_node.tag == "tag:yaml.org,2002:merge":
                for one in value if isinstance(value, list) else [value]:
                    merged = {**one, **merged} if isinstance(one, dict) else merged
                continue
            key = self.build(key_node, depth + 1)
            name = key if isinstance(key, str) else str(getattr(key_node, "value", key))
            if name in own:  # promptfoo refuses it too; the first would be lost
                line = key_node.start_mark.line + 1
                raise ProjectFileError(f"the key {name!r} is there twice", file=self._file, line=line)
            own[name] = value
        return {**merged, **own}


def _scalar(node: Any) -> Any:
    text: str = node.value
    if node.style or node.tag == "tag:yaml.org,2002:str":
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.match(text) and len(text) < 17:
        return int(text)
    return float(text) if _FLOAT.match(text) and len(text) < 60 else text
