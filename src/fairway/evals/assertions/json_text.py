"""JSON in what a model wrote: strict where a whole reply is meant, found where it stands between prose."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_MOST_STARTS = 2_000
"""Places where JSON is looked for in one reply: a reply of nothing but braces must not cost minutes."""
_DEEP = 200
"""How many such places one counts for whose JSON is nested too deeply to be read, which takes so much longer."""


@dataclass(frozen=True, slots=True)
class ParsedJson:
    """A JSON value, or why there is none."""

    value: Any = None
    problem: str | None = None


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_no_constant)


def parse_json(text: str) -> ParsedJson:
    """The whole text as one JSON value (RFC 8259): neither ``NaN`` nor anything before or after it."""
    try:
        return ParsedJson(value=json.loads(text, parse_constant=_no_constant))
    except json.JSONDecodeError as error:
        return ParsedJson(problem=f"{error.msg} (line {error.lineno}, column {error.colno})")
    except (ValueError, RecursionError) as error:
        return ParsedJson(problem=str(error)[:120] if isinstance(error, ValueError) else "nested too deeply")


def json_parts(text: str) -> Iterator[Any]:
    """Objects and arrays in a text, in order, and what arrays hold; what only looks like one is passed over."""
    index = starts = 0
    while starts < _MOST_STARTS:
        found = [at for at in (text.find("{", index), text.find("[", index)) if at >= 0]
        if not found:
            return
        index = min(found)
        starts += 1
        try:
            value, index = _DECODER.raw_decode(text, index)
        except ValueError:
            index += 1
            continue
        except RecursionError:
            index += 1
            starts += _DEEP
            continue
        yield from _with_elements(value)


def _with_elements(value: Any) -> Iterator[Any]:
    """The value, and for an array the objects and arrays in it; what an object holds is a part of it."""
    waiting = [value]
    while waiting:
        one = waiting.pop(0)
        yield one
        if isinstance(one, list):
            waiting += [inner for inner in one if isinstance(inner, dict | list)]
