"""JSON pointers (RFC 6901): how a suite names a place in a state or a schema."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from fairway.evals.assertions.kind import BadValueError
from fairway.evals.assertions.predicates import ABSENT
from fairway.mistakes import shown

_INDEX = re.compile(r"0|[1-9][0-9]*")


def pointer(value: Any) -> str:
    """Reader of a JSON pointer (RFC 6901): empty for the whole, else it starts with ``/``."""
    if not isinstance(value, str) or (value and not value.startswith("/")):
        raise BadValueError(f"expected a JSON pointer such as /orders/0/status; got {shown(value)}")
    if re.search(r"~(?![01])", value):
        raise BadValueError(f"{value!r} is not a JSON pointer: ~ is written ~0 and / inside a key ~1")
    return value


def pointers(value: Any) -> list[str]:
    """Reader of one pointer or a list of them."""
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, list | tuple) or not items:
        raise BadValueError(f"expected a list of JSON pointers; got {shown(value)}")
    return [pointer(item) for item in items]


def at_pointer(value: Any, where: str) -> Any:
    """What stands at a pointer; `ABSENT`: nothing."""
    for part in parts_of(where):
        if isinstance(value, Mapping):
            value = value.get(part, ABSENT)
        elif isinstance(value, list | tuple):
            index = index_of(part)
            value = value[index] if index is not None and index < len(value) else ABSENT
        else:
            return ABSENT
    return value


def parts_of(where: str) -> list[str]:
    """Keys and indices of a pointer, unescaped; none for the whole."""
    return [part.replace("~1", "/").replace("~0", "~") for part in where.split("/")[1:]]


def index_of(part: str) -> int | None:
    """The index a part of a pointer means in an array; ``None``: it means none."""
    return int(part) if _INDEX.fullmatch(part) and len(part) < 10 else None
