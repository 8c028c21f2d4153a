"""Readers of what a suite writes: each gives plain JSON the check can rely on, or says what is wrong."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from typing import Any

from fairway.evals.assertions.kind import BadValueError
from fairway.mistakes import shown

_MOST = 1000
_LARGEST = sys.float_info.max


def text(value: Any) -> str:
    """Text that is not empty."""
    if not isinstance(value, str):
        raise BadValueError(f"expected text; got {shown(value)}")
    if not value:
        raise BadValueError("must not be empty", hint="empty text is in every reply")
    return value


def phrase(value: Any) -> str:
    """Text, or a number as the text people read: ``42`` is ``"42"``, ``1.0`` is ``"1"``."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, float) and math.isfinite(value):
        return str(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)
    if not isinstance(value, str):
        raise BadValueError(f"expected text or a number; got {shown(value)}")
    return text(value)


def phrases(value: Any) -> list[str]:
    """A list of texts; one text is split at its commas, where ``"a, b"`` in double quotes keeps them."""
    items = split_commas(value) if isinstance(value, str) else value
    if not isinstance(items, list | tuple):
        raise BadValueError(f"expected a list of texts; got {shown(value)}")
    if not items:
        raise BadValueError("must have at least one text", hint="an empty list always holds, or never")
    if len(items) > _MOST:
        raise BadValueError(f"has more than {_MOST} entries")
    found = []
    for index, item in enumerate(items):
        try:
            found.append(phrase(item))
        except BadValueError as error:
            at = (index,) if not isinstance(value, str) else ()
            raise BadValueError(str(error), *at, hint=error.hint) from error
    return found


def texts(value: Any) -> list[str]:
    """One text or a list of them, never split."""
    items = [value] if isinstance(value, str) else value
    return phrases(items)


def split_commas(value: str) -> list[str]:
    r"""Fields between commas, without white space around them; empty ones do not count.

    A field in double quotes may hold commas; ``\"`` and ``""`` inside it are a quote. The field's own rules
    (promptfoo's), so that a suite reads the same here.
    """
    fields: list[str] = []
    rest = value.lstrip(" \t\r\n,")
    while rest:
        if rest[0] == '"':
            word, rest = _quoted(rest[1:])
            rest = rest.lstrip()
            if rest and rest[0] != ",":
                raise BadValueError("expected a comma after a field in quotes")
        else:
            word, _, rest = rest.partition(",")
            word = word.strip()
        fields.append(word)
        rest = rest.lstrip(" \t\r\n,")
    return fields


def _quoted(rest: str) -> tuple[str, str]:
    """The text up to the closing quote, and what follows it."""
    found: list[str] = []
    index = 0
    while index < len(rest):
        char, after = rest[index], rest[index + 1 : index + 2]
        if char == "\\" and after and after in '"\\':
            found.append(after)
            index += 2
        elif char == '"' and after == '"':
            found.append('"')
            index += 2
        elif char == '"':
            return "".join(found), rest[index + 1 :]
        else:
            found.append(char)
            index += 1
    raise BadValueError("a field in quotes has no closing quote")


def number(value: Any, *, low: float = 0.0, high: float = math.inf) -> float:
    """A finite number within limits."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadValueError(f"expected a number; got {shown(value)}")
    # an integer of JSON may be larger than any float
    if not -_LARGEST <= value <= _LARGEST:
        raise BadValueError("expected a finite number")
    if not low <= value <= high:
        limits = f"at least {low:g}" if high == math.inf else f"between {low:g} and {high:g}"
        raise BadValueError(f"must be {limits}; got {value:g}")
    return value


def whole(low: int = 0, high: int = 2**53) -> Callable[[Any], int]:
    """Reader of a whole number within limits."""

    def read(value: Any) -> int:
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise BadValueError(f"expected a whole number; got {shown(value)}")
        return int(number(value, low=low, high=high))

    return read


def flag(value: Any) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise BadValueError(f"expected true or false; got {shown(value)}")
    return value


def one_of(*words: str) -> Callable[[Any], str]:
    """Reader of one of some words."""

    def read(value: Any) -> str:
        if value not in words:
            raise BadValueError(f"expected one of {', '.join(words)}; got {shown(value)}")
        return str(value)

    return read


def anything(value: Any) -> Any:
    """Any JSON value."""
    return value


def mapping(value: Any) -> Mapping[str, Any]:
    """A mapping with text keys."""
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise BadValueError(f"expected a mapping (key: value); got {shown(value)}")
    return value


def known_keys(value: Mapping[str, Any], known: Mapping[str, Callable[[Any], Any]]) -> dict[str, Any]:
    """A mapping whose keys are all known, each read by its reader.

    Raises:
        BadValueError: Naming the key.
    """
    found: dict[str, Any] = {}
    for key, inner in value.items():
        reader = known.get(key)
        if reader is None:
            raise BadValueError("unknown key", key, hint=f"known keys: {', '.join(sorted(known))}")
        try:
            found[key] = reader(inner)
        except BadValueError as error:
            raise BadValueError(str(error), key, *error.at, hint=error.hint) from error
    return found


def count_or_range(value: Any) -> dict[str, int]:
    """``{min, max}`` of whole numbers; a bare number is both."""
    if isinstance(value, str) and value.strip().isdigit():
        value = int(value)
    if not isinstance(value, Mapping):
        exact = whole()(value)
        return {"min": exact, "max": exact}
    found = known_keys(mapping(value), {"min": whole(), "max": whole()})
    if not found:
        raise BadValueError("needs 'min', 'max' or both")
    if not found.get("min") and "max" not in found:
        raise BadValueError("has a 'min' of 0 and no 'max', so it would always hold", "min")
    if found.get("min", 0) > found.get("max", 2**53):
        raise BadValueError(f"min ({found['min']}) is more than max ({found['max']})", "min")
    return found


def most_or_range(value: Any) -> dict[str, int]:
    """``{min, max}`` of whole numbers; a bare number is the most."""
    return count_or_range(value) if isinstance(value, Mapping) else {"max": whole()(value)}
