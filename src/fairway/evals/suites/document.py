"""A suite's file as plain values that know where they stand, whether it is YAML or JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from fairway.errors import ProjectFileError
from fairway.yaml_file import MAXIMUM_BYTES, MAXIMUM_DEPTH, KeyPath, Position, YamlDocument, parse_yaml

MAXIMUM_LINE = MAXIMUM_BYTES
"""Bytes of one line of a suite that has a case a line; such a file as a whole may be larger."""

_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\],]')


def read_document(content: bytes, *, file: str) -> YamlDocument:
    """Parse a ``.json`` file as JSON and anything else as YAML, as strictly as every file of a project.

    Raises:
        ProjectFileError: Not UTF-8, not YAML or JSON, a key written twice, beyond the limits of `fairway.yaml_file`.
    """
    if not file.lower().endswith(".json"):
        return parse_yaml(content, file=file)
    if len(content) > MAXIMUM_BYTES:
        hint = "a suite of many cases is best a .jsonl file, one case a line"
        raise ProjectFileError(f"is larger than {MAXIMUM_BYTES // 1024 // 1024} MiB", file=file, hint=hint)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ProjectFileError(f"is not UTF-8: byte {error.start + 1}", file=file, hint="save it as UTF-8") from error
    value = _json_value(text, file)
    marks = _Marks(text, file)
    return YamlDocument(file=file, value=value, values=_Places(marks), keys=_KeyPlaces(marks))


class _Marks:
    """Where the values of a JSON text stand: lists and objects at once, anything else when somebody asks."""

    def __init__(self, text: str, file: str) -> None:
        self._text = text
        self._file = file
        self._exact: YamlDocument | None = None
        self.containers = _containers(text)

    def exact(self) -> YamlDocument:
        # JSON's own parser read the values (its escapes are not YAML's); YAML's marks only tell where they stand
        if self._exact is None:
            try:
                self._exact = parse_yaml(self._text.replace("\t", " ").encode(), file=self._file)
            except ProjectFileError:
                self._exact = YamlDocument(file=self._file, value=None, values=self.containers, keys={})
        return self._exact


class _Places(Mapping[KeyPath, Position]):
    """Positions of values."""

    def __init__(self, marks: _Marks) -> None:
        self._marks = marks

    def __getitem__(self, path: KeyPath) -> Position:
        return self._marks.containers.get(path) or self._marks.exact().values[path]

    def __iter__(self) -> Iterator[KeyPath]:
        return iter(self._marks.exact().values)

    def __len__(self) -> int:
        return len(self._marks.exact().values)


class _KeyPlaces(_Places):
    """Positions of keys."""

    def __getitem__(self, path: KeyPath) -> Position:
        return self._marks.exact().keys[path]

    def __iter__(self) -> Iterator[KeyPath]:
        return iter(self._marks.exact().keys)

    def __len__(self) -> int:
        return len(self._marks.exact().keys)


def _containers(text: str) -> dict[KeyPath, Position]:
    """Where each list and object of a valid JSON text begins."""
    found: dict[KeyPath, Position] = {}
    open_paths: list[KeyPath] = []
    steps: list[str | int] = []  # the index or the key that the next value of each open container has
    awaits_key = False
    line, counted = 1, 0
    for match in _TOKEN.finditer(text):
        token = match.group()
        mark = token[0]
        if mark == '"':
            if awaits_key:
                steps[-1] = json.loads(token) if "\\" in token else token[1:-1]
                awaits_key = False
        elif mark in "{[":
            start = match.start()
            line += text.count("\n", counted, start)
            counted = start
            path = (*open_paths[-1], steps[-1]) if open_paths else ()
            found[path] = Position(line=line, column=start - text.rfind("\n", 0, start))
            open_paths.append(path)
            steps.append("" if mark == "{" else 0)
            awaits_key = mark == "{"
        elif mark == ",":
            step = steps[-1]
            if isinstance(step, int):
                steps[-1] = step + 1
            else:
                awaits_key = True
        else:
            open_paths.pop()
            steps.pop()
            awaits_key = False
    return found


def _json_value(text: str, file: str) -> Any:
    try:
        value = json.loads(text, parse_constant=refuse_constant, object_pairs_hook=distinct)
    except json.JSONDecodeError as error:
        raise ProjectFileError(f"is not JSON: {error.msg}", file=file, line=error.lineno, column=error.colno) from error
    except (ValueError, RecursionError) as error:
        reason = "nested too deep" if isinstance(error, RecursionError) else str(error)[:200]
        raise ProjectFileError(f"is not JSON: {reason}", file=file) from error
    if depth_of(value) > MAXIMUM_DEPTH:
        raise ProjectFileError(f"is nested deeper than {MAXIMUM_DEPTH} levels", file=file)
    return value


def refuse_constant(name: str) -> Any:
    """NaN and the infinities are no JSON.

    Raises:
        ValueError: Always.
    """
    raise ValueError(f"{name} is no JSON number")


def distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys are all different.

    Raises:
        ValueError: A key is there twice: readers disagree which one counts.
    """
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice!r} is there twice in one object")
    return found


def depth_of(value: Any, most: int = MAXIMUM_DEPTH) -> int:
    """Levels of lists and objects, counted to one more than ``most``: the parser allows more than Python can follow."""
    if not isinstance(value, dict | list):
        return 0
    if most == 0:
        return 1
    inner = value.values() if isinstance(value, dict) else value
    return 1 + max((depth_of(one, most - 1) for one in inner), default=0)
