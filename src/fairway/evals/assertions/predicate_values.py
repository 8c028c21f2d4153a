"""What a suite writes as a predicate: refused when the suite is read, not in the middle of a run."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from fairway.evals.assertions.kind import BadValueError
from fairway.evals.assertions.patterns import compiled
from fairway.evals.assertions.predicates import MAX_DEPTH, OPERATORS, TYPES, Path, is_predicate
from fairway.evals.assertions.readers import flag, number, whole
from fairway.mistakes import shown


def check_predicates(value: Any, *at: str | int) -> Any:
    """The value as it is, once every predicate in it has been found right.

    Raises:
        BadValueError: Naming the place: an unknown operator, a key that is none, a value the operator cannot take.
    """
    if len(at) > MAX_DEPTH:
        raise BadValueError("is nested too deeply", *at[:3])
    if is_predicate(value):
        _check_operators(value, at)
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            check_predicates(inner, *at, key)
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            check_predicates(inner, *at, index)
    return value


def _check_operators(value: Mapping[str, Any], at: Path) -> None:
    if not any(key in OPERATORS for key in value):
        raise BadValueError(
            "has no operator",
            *at,
            hint=f"operators: {', '.join(OPERATORS)}; for a key that starts with $, use $equals",
        )
    for key, want in value.items():
        if key not in _ARGUMENTS:
            raise BadValueError(
                "unknown operator",
                *at,
                key,
                hint=f"operators: {', '.join(OPERATORS)}, and $tolerance, $relative, $coerce",
            )
        try:
            _ARGUMENTS[key](want)
        except BadValueError as error:
            raise BadValueError(str(error), *at, key, *error.at, hint=error.hint) from error


def _pattern(value: Any) -> Any:
    if not isinstance(value, str):
        raise BadValueError(f"expected a regular expression; got {shown(value)}")
    return compiled(value)


def _choices(value: Any) -> Any:
    if not isinstance(value, list | tuple) or not value:
        raise BadValueError(f"expected a list of values or predicates; got {shown(value)}")
    return check_predicates(value)


def _type_names(value: Any) -> Any:
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list | tuple) or not names or any(name not in TYPES for name in names):
        raise BadValueError(f"expected one or a list of {', '.join(TYPES)}")
    return value


def _bound(value: Any) -> Any:
    if isinstance(value, str):
        return value
    return number(value, low=-math.inf)


def _limits(value: Any) -> Any:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise BadValueError("expected [least, most]")
    low, high = (number(one, low=-math.inf) for one in value)
    if low > high:
        raise BadValueError(f"the least ({low:g}) is more than the most ({high:g})")
    return value


def _long(value: Any) -> Any:
    return check_predicates(value) if is_predicate(value) else whole()(value)


_ARGUMENTS: Mapping[str, Callable[[Any], Any]] = {
    "$equals": lambda value: value,
    "$subset": check_predicates,
    "$any_of": _choices,
    "$all_of": _choices,
    "$not": check_predicates,
    "$absent": flag,
    "$regex": _pattern,
    "$type": _type_names,
    "$contains": check_predicates,
    "$length": _long,
    "$every": check_predicates,
    "$range": _limits,
    "$gt": _bound,
    "$gte": _bound,
    "$lt": _bound,
    "$lte": _bound,
    "$tolerance": number,
    "$relative": number,
    "$coerce": flag,
}
