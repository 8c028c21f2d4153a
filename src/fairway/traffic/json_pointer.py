r"""One value found in the beginning of a JSON text, without reading all of it. Stdlib alone, pure.

RFC 6901 pointers over RFC 8259 texts. The text may be cut off anywhere: what stands before the cut is found, so that a
body that grows from turn to turn has the same key in all of them as long as the key stands in front. Of members with
one name the first counts (RFC 8259 section 4 leaves that open).

What a hostile text can cost is bounded: regular expressions that never go back look at every byte a few times at most,
in at most :data:`MAX_STEPS` steps of Python; nothing recurses, and nothing is built but the value itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

MAX_BYTES = 65_536
"""So much of a body is looked at."""

MAX_STEPS = 1024
"""Members, elements and brackets looked at one by one before a text is given up; most are passed over many at once."""

MAX_DEPTH = 16
"""Tokens a pointer may have."""

_STRING = rb'"(?:[^"\\\x00-\x1f]++|\\[^\x00-\x1f])*+"'
_PLAIN = rb'[^"\[\]{}]++(?:"(?:[^"\\]++|\\.)*+"[^"\[\]{}]++)*+|"(?:[^"\\]++|\\.)*+"'


def _within(depth: int) -> bytes:
    """What stands between two brackets, with lists and objects in it as deep as this."""
    if not depth:
        return b"(?:" + _PLAIN + b")*+"
    inner = _within(depth - 1)
    return b"(?:" + _PLAIN + rb"|\[" + inner + rb"\]|\{" + inner + rb"\})*+"


_NESTED = rb"\[" + _within(3) + rb"\]|\{" + _within(3) + rb"\}"

_QUOTE, _COMMA, _COLON = b'",:'
_OBJECT, _END_OBJECT, _ARRAY, _END_ARRAY = b"{}[]"
_WHITE = rb"[ \t\n\r]*+"
Matcher = Callable[[bytes, int], re.Match[bytes] | None]
_CUT = -1
"""Where the text ends before anything is certain, or makes no sense: more of it, or nothing, would tell."""


class _Patterns(NamedTuple):
    """What finds the parts of a text; compiled once somebody looks for a key, as most gateways never do."""

    space: Matcher
    string: Matcher
    integer: Matcher
    scalar: Matcher
    nested: Matcher
    to_bracket: Matcher


@lru_cache(maxsize=1)
def _patterns() -> _Patterns:
    ends = rb"(?=[ \t\n\r,}\]])"
    return _Patterns(
        space=re.compile(_WHITE).match,
        string=re.compile(_STRING).match,
        integer=re.compile(rb"-?(?:0|[1-9][0-9]{0,18}+)" + ends).match,
        scalar=re.compile(rb"[-+.0-9A-Za-z]++" + ends).match,
        nested=re.compile(_NESTED, re.DOTALL).match,
        to_bracket=re.compile(_within(2) + rb"([\[\]{}])", re.DOTALL).match,
    )


def make_ready(pointer: str) -> None:
    """Compile what finds this pointer, so that no request has to wait for that (some 30 ms).

    Raises:
        ValueError: When the pointer is none.
    """
    _patterns()
    for token in parse_pointer(pointer):
        _others(token.encode("utf-8", "surrogatepass"))


@lru_cache(maxsize=64)
def parse_pointer(text: str) -> tuple[str, ...]:
    """The reference tokens of a pointer (RFC 6901 section 3 and 4).

    Raises:
        ValueError: When it does not start with ``/``, has a ``~`` that is neither ``~0`` nor ``~1``, or is too deep.
    """
    if not text.startswith("/"):
        raise ValueError("a JSON pointer starts with /, for example /conversation/id")
    if re.search("~(?![01])", text):
        raise ValueError("in a JSON pointer ~ is written ~0, and / within a name ~1")
    tokens = tuple(token.replace("~1", "/").replace("~0", "~") for token in text[1:].split("/"))
    if len(tokens) > MAX_DEPTH:
        raise ValueError(f"a JSON pointer has at most {MAX_DEPTH} parts")
    return tokens


@lru_cache(maxsize=256)
def _others(name: bytes) -> Matcher:
    """Passes over the members of an object that have another name, as far as nothing in them is unusual."""
    key = rb'"(?!' + re.escape(name) + rb'")[^"\\\x00-\x1f]*+"'
    value = rb"(?:" + _STRING + rb"|[-+.0-9A-Za-z]++|" + _NESTED + rb")"
    member = key + _WHITE + b":" + _WHITE + value + _WHITE + b"," + _WHITE
    return re.compile(b"(?:" + member + b")*+", re.DOTALL).match


def find_text(data: bytes, pointer: str) -> str | None:
    """The string, or whole number as text, that ``pointer`` finds; ``None`` when there is none, or not yet.

    Args:
        data: The beginning of a JSON text in UTF-8; no more than :data:`MAX_BYTES` are looked at.
        pointer: As :func:`parse_pointer` takes it.
    """
    return look(data, pointer)[0]


def look(data: bytes, pointer: str) -> tuple[str | None, bool]:
    """The same, and whether that is settled: more of the text would not change it.

    Raises:
        ValueError: When the pointer is none.
    """
    scan = _Scan(data[:MAX_BYTES])
    for token in parse_pointer(pointer):
        if not scan.enter(token):
            return None, scan.at != _CUT
    return scan.text()


class _Scan:
    """Goes from value to value: ``at`` is where one begins, :data:`_CUT` once there is no telling."""

    __slots__ = ("_data", "_left", "_patterns", "at")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._patterns = _patterns()
        self._left = MAX_STEPS
        self.at = 0

    def enter(self, token: str) -> bool:
        """Go to the member or element named by the token; ``False`` when there is none, or no telling."""
        begins = self._next()
        if begins == _OBJECT:
            return self._member(token)
        if begins == _ARRAY and _is_index(token):
            return self._element(int(token))
        return False

    def text(self) -> tuple[str | None, bool]:
        """The value here as text, and whether that is settled; a list, an object, a fraction or a word is none."""
        begins = self._next()
        if begins == _QUOTE:
            raw = self._string()
            return (None, False) if raw is None else (_decoded(raw), True)
        if self.at == _CUT:
            return None, False
        found = self._patterns.integer(self._data, self.at)
        if found is not None:
            return found.group().decode(), True
        return None, begins in (_OBJECT, _ARRAY) or self._patterns.scalar(self._data, self.at) is not None

    def _member(self, name: str) -> bool:
        wanted = name.encode("utf-8", "surrogatepass")
        others = _others(wanted)
        self.at += 1
        while self._next() == _QUOTE:
            passed = others(self._data, self.at)
            if passed is not None and passed.end() > self.at:
                self.at = passed.end()
                continue
            raw = self._string()
            if raw is None or self._next() != _COLON:
                self.at = _CUT
                return False
            self.at += 1
            if raw == wanted or (b"\\" in raw and _decoded(raw) == name):
                return True
            if not self._skip():
                return False
            if self._next() != _COMMA:
                break
            self.at += 1
        return self._closed(_END_OBJECT)

    def _element(self, index: int) -> bool:
        self.at += 1
        if self._next() == _END_ARRAY:
            return False
        for _ in range(index):
            if not self._skip():
                return False
            if self._next() != _COMMA:
                return self._closed(_END_ARRAY)
            self.at += 1
        return self.at != _CUT

    def _closed(self, bracket: int) -> bool:
        """Never there: settled when this is the end of the object or list, else there is no telling."""
        if self.at != _CUT and self._next() != bracket:
            self.at = _CUT
        return False

    def _next(self) -> int:
        """The first byte that is no white space; 0 at the end of the text."""
        if self.at == _CUT:
            return 0
        found = self._patterns.space(self._data, self.at)
        self.at = len(self._data) if found is None else found.end()
        if self.at >= len(self._data):
            self.at = _CUT
            return 0
        return self._data[self.at]

    def _string(self) -> bytes | None:
        """The string here, between its quotes, and go behind it."""
        found = self._patterns.string(self._data, self.at)
        if found is None:
            self.at = _CUT
            return None
        self.at = found.end()
        return found.group()[1:-1]

    def _skip(self) -> bool:
        """Go behind the value here; ``False`` when its end is not to be seen, or is too far."""
        self._left -= 1
        begins = self._next()
        if self._left < 0:
            self.at = _CUT
        elif begins == _QUOTE:
            self._string()
        elif begins in (_OBJECT, _ARRAY):
            self._skip_nested()
        else:
            found = None if self.at == _CUT else self._patterns.scalar(self._data, self.at)
            self.at = _CUT if found is None else found.end()
        return self.at != _CUT

    def _skip_nested(self) -> None:
        flat = self._patterns.nested(self._data, self.at)
        if flat is not None:
            self.at = flat.end()
            return
        self.at += 1
        depth = 1
        while depth:
            found = self._patterns.to_bracket(self._data, self.at)
            self._left -= 1
            if found is None or self._left < 0:
                self.at = _CUT
                return
            self.at = found.end()
            depth += 1 if found.group(1) in b"[{" else -1


def _is_index(name: str) -> bool:
    """Whether a reference token names an element of a list (RFC 6901 section 4)."""
    return name.isascii() and name.isdecimal() and len(name) < 10 and (name == "0" or name[0] != "0")


def _decoded(raw: bytes) -> str | None:
    """The text of a string between its quotes; ``None`` when it is not UTF-8 or has an escape that is none."""
    try:
        if b"\\" not in raw:
            return raw.decode()
        text: str = json.loads(b'"%b"' % raw)
    except ValueError:
        return None
    return text
