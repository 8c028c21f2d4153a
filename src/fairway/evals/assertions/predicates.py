"""Whether a JSON value is what a suite expects, and if not, where the two part.

What a suite writes is either a value, compared as JSON, or a *predicate*: an object whose keys start with ``$``
(``{$regex: "^A-"}``, ``{$gte: 1, $lte: 5}``), which may stand at any depth. All operators of an
object must hold.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from json.encoder import encode_basestring as _quoted
from typing import Any, Final, NamedTuple

from fairway.evals.assertions.patterns import compiled
from fairway.evals.plain_text import writable

_SHOWN = 120
MAX_DEPTH = 50
_ENCODER = json.JSONEncoder(ensure_ascii=False, default=str)
_NUMERIC = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")


class _Absent:
    """What stands where nothing stands."""

    def __repr__(self) -> str:
        return "nothing"


ABSENT: Final = _Absent()
"""In the place of a value that is not there; JSON has none that means it."""

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Leniency:
    """What may differ between an expected and an actual value.

    Attributes:
        subset: An object may have more keys than expected, at any depth.
        tolerance: Numbers may differ by this much.
        relative: Numbers may differ by this share of the expected one.
        coerce: ``"1"`` is the number 1 and ``"true"`` is true, in both directions; ``1`` still is not ``true``.
    """

    subset: bool = False
    tolerance: float = 0.0
    relative: float = 0.0
    coerce: bool = False


EXACT: Final = Leniency()


class Mismatch(NamedTuple):
    """The first place where an actual value is not what is expected.

    Attributes:
        path: Keys and indices from the compared values on.
        want: What was expected there, as the suite writes it.
        have: What stands there; `ABSENT`: nothing.
        rule: In what way it differs, where that is not plain (``more keys: x``); empty for the rest.
    """

    path: Path
    want: Any
    have: Any
    rule: str = ""

    @property
    def pointer(self) -> str:
        """Where, as a JSON pointer (RFC 6901); empty for the whole value."""
        return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in self.path)

    @property
    def where(self) -> str:
        """Where, as a person reads it: ``order.lines[0]``."""
        name = ""
        for part in self.path:
            name += f"[{part}]" if isinstance(part, int) else f".{part}" if name else str(part)
        return writable(name)

    def __str__(self) -> str:
        where = self.where or "the value"
        if self.rule:
            return f"{where}: {self.rule}"
        if self.have is ABSENT:
            return f"{where} is missing"
        return f"{where} is {render(self.have)} instead of {render(self.want)}"


def render(value: Any, limit: int = _SHOWN) -> str:
    """A value as a person reads it, short and writable; a predicate by its operators."""
    if value is ABSENT:
        return "nothing"
    try:
        # the same as json.dumps, which makes a new encoder for each call
        text = _quoted(value) if isinstance(value, str) else _ENCODER.encode(value)
    except (ValueError, RecursionError, TypeError):
        text = "…"
    if not text.isascii():
        text = writable(text)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def is_predicate(value: Any) -> bool:
    """Whether a suite's value is an object of operators."""
    return isinstance(value, Mapping) and any(isinstance(key, str) and key.startswith("$") for key in value)


def mismatch(expected: Any, actual: Any, how: Leniency = EXACT, *, path: Path = ()) -> Mismatch | None:
    """The first place where ``actual`` is not what is expected; ``None``: it is.

    Types are JSON's: ``1`` equals ``1.0`` but neither ``true`` nor, unless coerced, ``"1"``. Arrays compare element by
    element. NaN and anything nested deeper than 50 levels matches nothing.

    Args:
        expected: A value or predicate as a suite writes it, found right by `check_predicates` when it was read.
        actual: JSON, or `ABSENT`, which only ``{$absent: true}`` matches.
        how: What may differ.
        path: Where the two values stand.
    """
    if len(path) > MAX_DEPTH:
        return Mismatch(path[:3], expected, actual, "is nested too deeply to be compared")
    if is_predicate(expected):
        return _predicate(expected, actual, how, path)
    if actual is ABSENT:
        return Mismatch(path, expected, ABSENT)
    return literal_mismatch(expected, actual, how, path)


def literal_mismatch(expected: Any, actual: Any, how: Leniency, path: Path, *, deep: bool = False) -> Mismatch | None:
    """As `mismatch`, of a value that is no predicate itself; with ``deep`` nothing inside it is one either."""
    if len(path) > MAX_DEPTH:
        return Mismatch(path[:3], expected, actual, "is nested too deeply to be compared")
    if how.coerce:
        actual = _coerced(expected, actual)
    if isinstance(expected, bool) or isinstance(actual, bool):
        same = isinstance(expected, bool) and isinstance(actual, bool) and expected == actual
    elif isinstance(expected, int | float) and isinstance(actual, int | float):
        same = _numbers_match(expected, actual, how)
    elif isinstance(expected, Mapping) and isinstance(actual, Mapping):
        return _objects(expected, actual, how, path, deep)
    elif isinstance(expected, list | tuple) and isinstance(actual, list | tuple):
        return _arrays(expected, actual, how, path, deep)
    else:
        same = type(expected) is type(actual) and bool(expected == actual)
    return None if same else Mismatch(path, expected, actual)


def _inner(expected: Any, actual: Any, how: Leniency, path: Path, deep: bool) -> Mismatch | None:
    if not deep:
        return mismatch(expected, actual, how, path=path)
    if actual is ABSENT:
        return Mismatch(path, expected, ABSENT)
    return literal_mismatch(expected, actual, how, path, deep=True)


def _objects(
    expected: Mapping[str, Any], actual: Mapping[str, Any], how: Leniency, path: Path, deep: bool
) -> Mismatch | None:
    for key, want in expected.items():
        found = _inner(want, actual.get(key, ABSENT), how, (*path, key), deep)
        if found is not None:
            return found
    if not how.subset:
        more = [str(key) for key in actual if key not in expected]
        if more:
            return Mismatch(path, expected, actual, f"more keys: {writable(', '.join(sorted(more)))[:_SHOWN]}")
    return None


def _arrays(expected: Any, actual: Any, how: Leniency, path: Path, deep: bool) -> Mismatch | None:
    for index, (want, have) in enumerate(zip(expected, actual, strict=False)):
        found = _inner(want, have, how, (*path, index), deep)
        if found is not None:
            return found
    if len(expected) != len(actual):
        return Mismatch(path, expected, actual, f"has {len(actual)} elements instead of {len(expected)}")
    return None


def _coerced(expected: Any, actual: Any) -> Any:
    """``actual`` as the type of ``expected``, where one is text that spells the other."""
    if isinstance(actual, str) and isinstance(expected, bool):
        return {"true": True, "false": False}.get(actual.strip().lower(), actual)
    if isinstance(actual, str) and isinstance(expected, int | float):
        return _spelled(actual)
    if isinstance(expected, str) and isinstance(actual, bool):
        return expected if expected.strip().lower() == ("true" if actual else "false") else actual
    if isinstance(expected, str) and isinstance(actual, int | float):
        return expected if _numbers_match(_spelled(expected), actual, EXACT) else actual
    return actual


def _spelled(text: str) -> Any:
    """The number a text spells as JSON does, white space around it aside; else the text."""
    word = text.strip()
    if len(word) > 400 or not _NUMERIC.fullmatch(word):
        return text
    return int(word) if word.lstrip("-").isdigit() else float(word)


def _numbers_match(expected: Any, actual: float, how: Leniency) -> bool:
    if isinstance(expected, str):
        return False
    if expected == actual:
        return True
    if how.tolerance <= 0 and how.relative <= 0:
        return False
    try:
        difference = abs(expected - actual)
        allowed = max(how.tolerance, how.relative * abs(expected))
    except OverflowError:  # an integer too large for a float: no tolerance reaches that far
        return False
    # 0.3 - 0.2 is a hair more than 0.1: what a person writes as "within 0.1" must not fail on binary fractions
    return difference <= allowed or math.isclose(difference, allowed, rel_tol=1e-9)


# -- operators --------------------------------------------------------------------------------------------------------

Operator = Callable[[Any, Any, Leniency, Path], "Mismatch | None"]


def _predicate(expected: Mapping[str, Any], actual: Any, how: Leniency, path: Path) -> Mismatch | None:
    if "$tolerance" in expected or "$relative" in expected or "$coerce" in expected:
        how = replace(
            how,
            tolerance=expected.get("$tolerance", how.tolerance),
            relative=expected.get("$relative", how.relative),
            coerce=expected.get("$coerce", how.coerce),
        )
    if actual is ABSENT and not any(key in _ON_NOTHING for key in expected):
        return Mismatch(path, expected, ABSENT)
    for key, want in expected.items():
        operator = OPERATORS.get(key)
        if operator is None:
            continue
        found = operator(want, actual, how, path)
        if found is not None:
            return found if found.path != path or found.rule else Mismatch(path, {key: want}, actual)
    return None


def _equals(want: Any, have: Any, how: Leniency, path: Path) -> Mismatch | None:
    return literal_mismatch(want, have, replace(how, subset=False), path, deep=True)


def _subset(want: Any, have: Any, how: Leniency, path: Path) -> Mismatch | None:
    return mismatch(want, have, replace(how, subset=True), path=path)


def _any_of(want: Any, have: Any, how: Leniency, path: Path) -> Mismatch | None:
    if any(mismatch(one, have, how, path=path) is None for one in want):
        return None
    return Mismatch(path, {"$any_of": want}, have)


def _all_of(want: Any, have: Any, how: Leniency, path: Path) -> Mismatch | None:
    return next((found for one in want if (found := mismatch(one, have, how, path=path)) is not None), None)


def _not(want: Any, have: Any, how: Leniency, path: Path) -> Mismatch | None:
    # what is not there is no value that could differ: only "not absent" speaks of it
    if have is ABSENT or mismatch(want, have, how, path=path) is None:
        return Mismatch(path, {"$not": want}, have)
    return None


def _absent(want: Any, have: Any, how: Leniency, path: Path) -> Mismatch | None:
    if (have is ABSENT) == want:
        return None
    rule = f"is {render(have)} and must be absent" if want else ""
    return Mismatch(path, {"$absent": want}, have, rule)


def _regex(want: Any, have: Any, how: Leniency, path: Path) -> Mismatch | None:
    if isinstance(have, str) and compiled(want).search(have):
        return None
    return Mismatch(path, {"$regex": want}, have)


def _type(want: Any, have: Any, how: Leniency, path: Path) -> Mismatch | None:
    names = [want] if isinstance(want, str) else want
    return None if any(TYPES[name](have) for name in names) else Mismatch(path, {"$type": want}, have)


def _contains(want: Any, have: Any, how: Leniency, path: Path) -> Mismatch | None:
    if isinstance(have, str) and isinstance(want, str):
        holds = want in have
    elif isinstance(have, list | tuple):
        holds = any(mismatch(want, one, how, path=path) is None for one in have)
    else:
        holds = isinstance(have, Mapping) and isinstance(want, str) and want in have
    return None if holds else Mismatch(path, {"$contains": want}, have)


def _length(want: Any, have: Any, how: Leniency, path: Path) -> Mismatch | None:
    if isinstance(have, str | list | tuple | Mapping) and mismatch(want, len(have), how, path=path) is None:
        return None
    return Mismatch(path, {"$length": want}, have)


def _every(want: Any, have: Any, how: Leniency, path: Path) -> Mismatch | None:
    if not isinstance(have, list | tuple):
        return Mismatch(path, {"$every": want}, have)
    return next(
        (found for at, one in enumerate(have) if (found := mismatch(want, one, how, path=(*path, at))) is not None),
        None,
    )


def _compared(name: str, holds: Callable[[Any, Any], bool]) -> Operator:
    def operator(want: Any, have: Any, how: Leniency, path: Path) -> Mismatch | None:
        have_as = _coerced(want, have) if how.coerce else have
        both = (_is_number(want) and _is_number(have_as)) or (isinstance(want, str) and isinstance(have_as, str))
        return None if both and holds(have_as, want) else Mismatch(path, {name: want}, have)

    return operator


def _range(want: Any, have: Any, how: Leniency, path: Path) -> Mismatch | None:
    have_as = _coerced(want[0], have) if how.coerce else have
    if _is_number(have_as) and want[0] <= have_as <= want[1]:
        return None
    return Mismatch(path, {"$range": want}, have)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


TYPES: Mapping[str, Callable[[Any], bool]] = {
    "string": lambda value: isinstance(value, str),
    "number": _is_number,
    "integer": lambda value: value.is_integer() if isinstance(value, float) else _is_number(value),
    "boolean": lambda value: isinstance(value, bool),
    "array": lambda value: isinstance(value, list | tuple),
    "object": lambda value: isinstance(value, Mapping),
    "null": lambda value: value is None,
}
"""JSON's types by name."""
OPERATORS: Mapping[str, Operator] = {
    "$equals": _equals,
    "$subset": _subset,
    "$any_of": _any_of,
    "$all_of": _all_of,
    "$not": _not,
    "$absent": _absent,
    "$regex": _regex,
    "$type": _type,
    "$contains": _contains,
    "$length": _length,
    "$every": _every,
    "$range": _range,
    "$gt": _compared("$gt", lambda have, want: have > want),
    "$gte": _compared("$gte", lambda have, want: have >= want),
    "$lt": _compared("$lt", lambda have, want: have < want),
    "$lte": _compared("$lte", lambda have, want: have <= want),
}
"""Operators by name; each gives the first mismatch, or ``None``."""
_ON_NOTHING = frozenset({"$absent", "$any_of", "$all_of", "$not"})
"""Operators that may speak of a value that is not there."""
