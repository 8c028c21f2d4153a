"""Reads YAML into plain values that know where they stand.

Stricter than YAML on purpose: what another YAML reader would understand differently (``no``, ``2024-01-01``, ``010``,
``1_000``) is refused with the words to quote it, so that Fairway and the agent never disagree about a file. Parsing is
iterative and bounded (size, depth, alias expansion), so that no file can exhaust the reader.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from fairway.errors import NotFoundError, ProjectFileError

MAXIMUM_BYTES = 4 * 1024 * 1024
MAXIMUM_DEPTH = 64
MAXIMUM_NODES = 200_000
"""Nodes after aliases are expanded: a few dozen lines of nested aliases otherwise mean billions of values."""
MAXIMUM_INTEGER = 2**53
"""Beyond it JSON readers disagree."""

KeyPath = tuple[str | int, ...]

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_INTEGER = re.compile(r"^[-+]?(0|[1-9][0-9]*)$")
_FLOAT = re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$")
_NOT_FINITE = re.compile(r"^[-+]?\.(inf|Inf|INF)$|^\.(nan|NaN|NAN)$")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_AMBIGUOUS = re.compile(
    r"^(yes|Yes|YES|no|No|NO|on|On|ON|off|Off|OFF"  # booleans for YAML 1.1 only
    r"|[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt\s].*)?"  # dates
    r"|[-+]?[1-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?"  # base 60
    r"|[-+]?0[0-9_]+|0o[0-7]+|[-+]?0b[01_]+|[-+]?0x[0-9a-fA-F_]+"  # octal, binary, hex
    r"|[-+]?[0-9][0-9_]*_[0-9_]*(\.[0-9_]*)?)$"  # 1_000
)
_LONGEST_WORD = len("yes")
"""Of the words that `_AMBIGUOUS` knows; everything else it or a number matches begins with no letter."""
_CONSTANTS: Mapping[str, Any] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip
_ALLOWED_TAGS = {"!", "tag:yaml.org,2002:str", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"}


@dataclass(frozen=True, slots=True)
class Position:
    """1-based line and column."""

    line: int
    column: int


def dotted(path: KeyPath) -> str:
    """``rollout.steps[1].dwell``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class YamlDocument:
    """A file as plain values, and where each stands.

    Attributes:
        file: The path as people write it, relative to the project.
        value: Mappings, lists, text, numbers, booleans, ``None``; nothing else.
        values, keys: Positions of values and of the keys of mappings, by path.
        blocks: Paths of block scalars, whose text begins on the line after their position.
    """

    file: str
    value: Any
    values: Mapping[KeyPath, Position] = field(repr=False)
    keys: Mapping[KeyPath, Position] = field(repr=False)
    blocks: AbstractSet[KeyPath] = field(default=frozenset(), repr=False)

    def has(self, path: KeyPath) -> bool:
        """Whether there is a value at the path."""
        return path in self.values

    def position(self, path: KeyPath = (), *, of_key: bool = False) -> Position | None:
        """Where a value (or its key) stands; of the nearest enclosing value when there is none at the path."""
        for end in range(len(path), -1, -1):
            found = self.keys.get(path[:end]) if of_key else None
            found = found or self.values.get(path[:end])
            if found:
                return found
        return None

    def error(
        self, path: KeyPath, message: str, *, of_key: bool = False, hint: str | None = None, code: str = "project_file"
    ) -> ProjectFileError:
        """An error that names file, line, column and dotted key."""
        position = self.position(path, of_key=of_key)
        return ProjectFileError(
            message,
            file=self.file,
            line=position.line if position else None,
            column=position.column if position else None,
            key=dotted(path) or None,
            hint=hint,
            code=code,
        )

    def text_line(self, path: KeyPath, line: int) -> int:
        """Line of the file that holds the ``line``-th (1-based) line of the text at ``path``; exact for blocks."""
        position = self.position(path)
        start = position.line if position else 1
        return start + line if path in self.blocks else start


def value_at(document: YamlDocument, path: KeyPath) -> Any:
    """The plain value at a path; ``None`` when nothing stands there."""
    value = document.value
    for part in path:
        if isinstance(value, dict) and isinstance(part, str):
            value = value.get(part)
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            value = value[part]
        else:
            return None
    return value


def read_yaml(path: Path, *, root: Path | None = None) -> YamlDocument:
    """Read a YAML file.

    Args:
        path: The file.
        root: Of the project; errors name the file relative to it.

    Raises:
        NotFoundError: When there is no such file.
        ProjectFileError: When it is not YAML as Fairway reads it.
    """
    name = str(path.relative_to(root)) if root and path.is_relative_to(root) else str(path)
    try:
        with path.open("rb") as handle:
            content = handle.read(MAXIMUM_BYTES + 1)
    except FileNotFoundError as error:
        raise NotFoundError(f"there is no file {name}", code="file_not_found") from error
    except OSError as error:
        raise ProjectFileError(f"cannot be read: {error.strerror}", file=name) from error
    return parse_yaml(content, file=name)


def parse_yaml(content: bytes, *, file: str) -> YamlDocument:
    """Parse the bytes of a YAML file; see :func:`read_yaml`.

    Raises:
        ProjectFileError: On bad UTF-8, bad YAML, duplicate keys, ambiguous or non-finite values, unknown tags,
            several documents, and whatever passes the limits of this module.
    """
    if len(content) > MAXIMUM_BYTES:
        raise ProjectFileError(f"is larger than {MAXIMUM_BYTES // 1024 // 1024} MiB", file=file)
    return _Reader(_decode(content, file), file).read()


def _decode(content: bytes, file: str) -> str:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start]
        raise ProjectFileError(
            f"is not UTF-8: byte 0x{content[error.start]:02x}",
            file=file,
            line=before.count(b"\n") + 1,
            column=error.start - (before.rfind(b"\n") + 1) + 1,
            hint="save the file as UTF-8",
        ) from error
    control = _CONTROL.search(text)
    if control:
        index = control.start()
        raise ProjectFileError(
            f"contains the control character U+{ord(control.group()):04X}",
            file=file,
            line=text.count("\n", 0, index) + 1,
            column=index - (text.rfind("\n", 0, index) + 1) + 1,
        )
    return text


@dataclass(slots=True)
class _Node:
    """A node before its path is known: aliases give one node several paths."""

    mark: Any
    value: Any = None
    block: bool = False
    entries: dict[str, tuple[_Node, _Node]] | None = None
    items: list[_Node] | None = None

    @property
    def position(self) -> Position:
        return Position(line=self.mark.line + 1, column=self.mark.column + 1)

    def find(self, path: KeyPath) -> _Node | None:
        """The node at a path below this one."""
        node: _Node | None = self
        for part in path:
            if node is None:
                return None
            if node.entries is not None:
                entry = node.entries.get(part) if isinstance(part, str) else None
                node = entry[1] if entry else None
            elif node.items is not None and isinstance(part, int) and 0 <= part < len(node.items):
                node = node.items[part]
            else:
                return None
        return node

    def walk(self, path: KeyPath = ()) -> Iterator[tuple[KeyPath, _Node]]:
        """Every node with its path, this one first."""
        yield path, self
        for key, (_, child) in (self.entries or {}).items():
            yield from child.walk((*path, key))
        for index, child in enumerate(self.items or ()):
            yield from child.walk((*path, index))


@dataclass(frozen=True, slots=True)
class _Places(Mapping[KeyPath, Position]):
    """Positions of values by path, found when asked for: nearly all of a file is never asked for."""

    root: _Node

    def __getitem__(self, path: KeyPath) -> Position:
        node = self.root.find(path)
        if node is None:
            raise KeyError(path)
        return node.position

    def __iter__(self) -> Iterator[KeyPath]:
        return (path for path, _ in self.root.walk())

    def __len__(self) -> int:
        return sum(1 for _ in self)


@dataclass(frozen=True, slots=True)
class _KeyPlaces(Mapping[KeyPath, Position]):
    """Positions of the keys of mappings by path."""

    root: _Node

    def __getitem__(self, path: KeyPath) -> Position:
        parent = self.root.find(path[:-1]) if path else None
        entry = parent.entries.get(str(path[-1])) if parent is not None and parent.entries is not None else None
        if entry is None or not isinstance(path[-1], str):
            raise KeyError(path)
        return entry[0].position

    def __iter__(self) -> Iterator[KeyPath]:
        return ((*path, key) for path, node in self.root.walk() for key in node.entries or ())

    def __len__(self) -> int:
        return sum(1 for _ in self)


@dataclass(frozen=True, slots=True)
class _Blocks(AbstractSet[KeyPath]):
    """Paths of block scalars."""

    root: _Node

    def __contains__(self, path: object) -> bool:
        node = self.root.find(path) if isinstance(path, tuple) else None
        return node is not None and node.block

    def __iter__(self) -> Iterator[KeyPath]:
        return (path for path, node in self.root.walk() if node.block)

    def __len__(self) -> int:
        return sum(1 for _ in self)


class _Reader:
    """Builds the values of one document from the parser's events."""

    def __init__(self, text: str, file: str) -> None:
        self._text = text
        self._file = file
        self._anchors: dict[str, _Node] = {}
        self._nodes = 0

    def read(self) -> YamlDocument:
        try:
            root = self._root()
        except yaml.YAMLError as error:
            raise self._from_yaml_error(error) from error
        if root is None:
            return YamlDocument(file=self._file, value=None, values={}, keys={})
        self._nodes = 0
        value = self._value(root, 0)
        return YamlDocument(
            file=self._file, value=value, values=_Places(root), keys=_KeyPlaces(root), blocks=_Blocks(root)
        )

    # -- events to nodes ------------------------------------------------------------------------------------------

    def _root(self) -> _Node | None:
        events = iter(yaml.parse(self._text, Loader=_LOADER))
        root: _Node | None = None
        documents = 0
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise self._error("holds a second document", event, hint="keep what is before the second ---")
            elif isinstance(event, yaml.NodeEvent):
                root = self._node(event, events, 0)
        return root

    def _node(self, event: Any, events: Iterator[Any], depth: int) -> _Node:
        if depth > MAXIMUM_DEPTH:
            raise self._error(f"is nested deeper than {MAXIMUM_DEPTH} levels", event)
        self._nodes += 1
        if self._nodes > MAXIMUM_NODES:
            raise self._error(f"has more than {MAXIMUM_NODES} values", event)
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self._anchors:
                raise self._error(f"the alias *{event.anchor} has no anchor before it", event)
            return self._anchors[event.anchor]
        if event.tag is not None and event.tag not in _ALLOWED_TAGS:
            raise self._error(f"the tag {event.tag!r} is not allowed", event, hint="remove the tag; use plain values")
        node = _Node(event.start_mark)
        if isinstance(event, yaml.ScalarEvent):
            node.value = self._scalar(event)
            node.block = event.style in ("|", ">")
        elif isinstance(event, yaml.SequenceStartEvent):
            node.items = []
            while not isinstance(child := next(events), yaml.SequenceEndEvent):
                node.items.append(self._node(child, events, depth + 1))
        else:
            node.entries = self._entries(events, depth)
        # Registered after its children, so that a node cannot contain itself.
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        return node

    def _entries(self, events: Iterator[Any], depth: int) -> dict[str, tuple[_Node, _Node]]:
        own: dict[str, tuple[_Node, _Node]] = {}
        merged: dict[str, tuple[_Node, _Node]] = {}
        while not isinstance(key_event := next(events), yaml.MappingEndEvent):
            key_node = self._node(key_event, events, depth + 1)
            child_event = next(events)
            child = self._node(child_event, events, depth + 1)
            key = self._key(key_node, key_event)
            if key == "<<" and isinstance(key_event, yaml.ScalarEvent) and not key_event.style:
                self._merge(merged, child, key_event)
                continue
            if key in own:
                raise self._error(
                    f"the key {key!r} is there twice (first in line {own[key][0].mark.line + 1})", key_event
                )
            own[key] = (key_node, child)
        return {**merged, **own} if merged else own

    def _key(self, node: _Node, event: Any) -> str:
        if node.entries is not None or node.items is not None:
            raise self._error("a key must be text, not a list or a mapping", event)
        if isinstance(node.value, str):
            return node.value
        raw = event.value if isinstance(event, yaml.ScalarEvent) else str(node.value)
        raise self._error(f"the key {raw!r} is not text", event, hint=f'write "{raw}" in quotes')

    def _merge(self, into: dict[str, tuple[_Node, _Node]], source: _Node, event: Any) -> None:
        for mapping in source.items if source.items is not None else [source]:
            if mapping.entries is None:
                raise self._error("<< merges a mapping or a list of mappings", event)
            for key, entry in mapping.entries.items():
                self._nodes += 1
                into.setdefault(key, entry)

    def _scalar(self, event: yaml.ScalarEvent) -> Any:
        text: str = event.value
        if event.style or event.tag is not None:
            return text
        if text in _CONSTANTS:
            return _CONSTANTS[text]
        if len(text) > _LONGEST_WORD and text[0].isalpha():
            return text  # nearly every text; what comes below begins otherwise, or is a short word
        if _AMBIGUOUS.match(text):
            hint = f'write "{text}" in quotes for text'
            if text.lower() in ("yes", "no", "on", "off"):
                hint += f", or {'true' if text.lower() in ('yes', 'on') else 'false'}"
            raise self._error(f"{_clip(text)} means different things to different YAML readers", event, hint=hint)
        if _INTEGER.match(text):
            if len(text) > 17 or abs(int(text)) > MAXIMUM_INTEGER:
                raise self._error("the number is too large (beyond 2^53)", event, hint="quote it if it is an id")
            return int(text)
        if _NOT_FINITE.match(text):
            raise self._error(f"{text} is not a finite number", event)
        if _FLOAT.match(text):
            number = float(text)
            if not math.isfinite(number):
                raise self._error(f"{_clip(text)} is not a finite number", event)
            return number
        return text

    # -- nodes to values ------------------------------------------------------------------------------------------

    def _value(self, node: _Node, depth: int) -> Any:
        self._nodes += 1
        if self._nodes > MAXIMUM_NODES or depth > MAXIMUM_DEPTH:
            place = node.position
            raise ProjectFileError(
                f"has more than {MAXIMUM_NODES} values once its aliases are expanded",
                file=self._file,
                line=place.line,
                column=place.column,
            )
        if node.entries is not None:
            return {key: self._value(child, depth + 1) for key, (_, child) in node.entries.items()}
        if node.items is not None:
            return [self._value(child, depth + 1) for child in node.items]
        return node.value

    # -- errors ---------------------------------------------------------------------------------------------------

    def _error(self, message: str, event: Any, *, hint: str | None = None) -> ProjectFileError:
        position = _position(event)
        return ProjectFileError(message, file=self._file, line=position.line, column=position.column, hint=hint)

    def _from_yaml_error(self, error: yaml.YAMLError) -> ProjectFileError:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "cannot be parsed"
        if mark is None:
            return ProjectFileError(f"is not YAML: {problem}", file=self._file)
        line, column = mark.line + 1, mark.column + 1
        lines = self._text.splitlines()
        indent = lines[line - 1] if 0 < line <= len(lines) else ""
        if "\t" in indent[: len(indent) - len(indent.lstrip())]:
            return ProjectFileError(
                "a tab is used for indentation", file=self._file, line=line, column=column, hint="indent with spaces"
            )
        return ProjectFileError(f"is not YAML: {problem}", file=self._file, line=line, column=column)


def _position(event: Any) -> Position:
    return Position(line=event.start_mark.line + 1, column=event.start_mark.column + 1)


def _clip(text: str, limit: int = 40) -> str:
    return repr(text if len(text) <= limit else text[: limit - 1] + "…")
