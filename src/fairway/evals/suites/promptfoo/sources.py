"""Files a configuration refers to, and the references inside it."""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from fairway.errors import FairwayError, ProjectFileError
from fairway.evals.suites.document import distinct
from fairway.evals.suites.load import glob_rule
from fairway.evals.suites.promptfoo.plain_yaml import Plain, line_of, placed, read_plain

SCHEME = "file://"
MOST_FILES = 1000
_DEPTH = 20


class NotReadableError(ValueError):
    """A file that is not there, is no text, or leads out of the project."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """The files around a configuration.

    Attributes:
        folder: Of the configuration, inside the project.
        known: Every file there is.
        read: Content of one of them.
    """

    folder: str
    known: frozenset[str]
    read: Callable[[str], bytes]

    def find(self, written: str) -> tuple[str, ...]:
        """Paths that a reference means, sorted; it may be a glob or a folder.

        Raises:
            NotReadableError: It leads out of the project, nothing is there, or too much.
        """
        if not written.removeprefix(SCHEME).strip("./ "):
            raise NotReadableError("names no file")
        path = posixpath.normpath(posixpath.join(self.folder, written.removeprefix(SCHEME)))
        if path.startswith(("/", "../")) or path == "..":
            raise NotReadableError("leads out of the project")
        if path in self.known:
            return (path,)
        rule = re.compile(glob_rule(path) if any(mark in path for mark in "*?") else re.escape(path) + "/[^/]*")
        found = tuple(sorted(one for one in self.known if rule.fullmatch(one)))
        if len(found) > MOST_FILES:
            raise NotReadableError(f"means {len(found)} files, more than {MOST_FILES}")
        if not found:
            raise NotReadableError(f"there is no file {path}")
        return found

    def content(self, path: str) -> bytes:
        """Bytes of a file that `find` found.

        Raises:
            NotReadableError: It cannot be read.
        """
        try:
            return self.read(path)
        except (OSError, LookupError, FairwayError) as error:
            raise NotReadableError(f"{path} cannot be read") from error

    def text(self, path: str) -> str:
        """Text of a file that `find` found.

        Raises:
            NotReadableError: It cannot be read, or is no text.
        """
        try:
            return self.content(path).decode("utf-8-sig").replace("\r\n", "\n")
        except UnicodeDecodeError as error:
            raise NotReadableError(f"{path} is no text") from error

    def plain(self, path: str) -> Plain:
        """A YAML or JSON file.

        Raises:
            NotReadableError: It is neither.
        """
        content = self.content(path)
        if path.lower().endswith(".json"):
            # JSON's own parser knows escapes that YAML's does not; what it refuses is told as YAML
            with suppress(ValueError, RecursionError):
                return Plain(file=path, value=json.loads(content, object_pairs_hook=distinct))
        try:
            return read_plain(content, file=path)
        except ProjectFileError as error:
            raise NotReadableError(str(error)) from error


def resolve_references(plain: Plain) -> Plain:
    """The document with every ``{$ref: '#/…'}`` replaced by what it points to; other keys beside it win.

    Raises:
        ProjectFileError: A reference leads nowhere, or around in a circle.
    """
    return Plain(file=plain.file, value=_resolved(plain, plain.value, 0))


def _resolved(plain: Plain, value: Any, depth: int) -> Any:
    if isinstance(value, list):
        return placed([_resolved(plain, one, depth) for one in value], line_of(value))
    if not isinstance(value, dict):
        return value
    pointer = value.get("$ref")
    if isinstance(pointer, str) and pointer.startswith("#/"):
        return _pointed(plain, value, pointer, depth)
    # what tools and functions say is JSON Schema, whose references are its own
    found = {key: one if key in ("tools", "functions") else _resolved(plain, one, depth) for key, one in value.items()}
    return placed(found, line_of(value))


def _pointed(plain: Plain, value: Mapping[str, Any], pointer: str, depth: int) -> Any:
    line = line_of(value)
    if depth > _DEPTH:
        raise ProjectFileError(f"$ref {pointer} leads around in a circle", file=plain.file, line=line)
    target: Any = plain.value
    for part in pointer[2:].split("/"):
        name = part.replace("~1", "/").replace("~0", "~")
        if not isinstance(target, Mapping) or name not in target:
            raise ProjectFileError(f"$ref {pointer} leads nowhere", file=plain.file, line=line)
        target = target[name]
    target = _resolved(plain, target, depth + 1)
    if not isinstance(target, Mapping):
        return target
    return placed({**target, **{key: one for key, one in value.items() if key != "$ref"}}, line)


def texts_in(value: Any) -> Iterable[str]:
    """Every text inside a value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from texts_in(one)
    elif isinstance(value, list):
        for one in value:
            yield from texts_in(one)
