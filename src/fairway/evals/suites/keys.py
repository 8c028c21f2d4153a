"""Readers of the keys of a case: each gives what the case holds, or says what is wrong with what the file has.

Written by hand instead of by pydantic: a suite may have twenty thousand cases, and a command that plays five should not
wait for a library to load.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from typing import Any, TypeVar

from fairway.canonical import canonical_json
from fairway.evals.assertions.case_check import normalise
from fairway.evals.assertions.kind import BadValueError
from fairway.evals.assertions.predicate_values import check_predicates
from fairway.evals.values import ArgumentMatch, ExpectedTool, ExtraTools, TokenCount
from fairway.mistakes import nearest, shown, suggest

Word = TypeVar("Word", bound=StrEnum)
Reader = Callable[[Any], Any]
"""Takes a value of JSON.

Raises:
    BadKeyError: It cannot be used.
"""
MOST_REPEATS = 100
MOST_TURNS = 100
AT_LEAST_WORDS = ("all", "any", "majority")
_TOOL_KEYS = ("name", "arguments", "match", "tolerance", "relative", "coerce", "count")


class BadKeyError(ValueError):
    """A value that cannot be used.

    Attributes:
        at: Keys and indices below the value that was read.
        hint: What to write instead; ``None`` when the message says it.
        of_key: The key itself is wrong, not its value.
    """

    def __init__(self, message: str, *at: str | int, hint: str | None = None, of_key: bool = False) -> None:
        """Keep the place."""
        super().__init__(message)
        self.at = at
        self.hint = hint
        self.of_key = of_key


def text(value: Any) -> str:
    """Text with something in it."""
    if not isinstance(value, str):
        raise BadKeyError(f"expected text; got {shown(value)}")
    if not value or value.isspace():
        raise BadKeyError("must not be empty")
    return value


def label(value: Any) -> str:
    """An id or a version, which may be written as a bare number."""
    return text(str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value)


def keyword(value: Any) -> str:
    """Text that is not in every reply."""
    if not isinstance(value, str):
        raise BadKeyError(f"expected text; got {shown(value)}")
    if not normalise(value):
        raise BadKeyError("an empty keyword is in every reply")
    return value


def flag(value: Any) -> bool:
    """``true`` or ``false``."""
    if not isinstance(value, bool):
        raise BadKeyError(f"expected true or false; got {shown(value)}")
    return value


def whole(least: int, most: int | None = None) -> Reader:
    """A whole number between two bounds."""

    def read(value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise BadKeyError(f"expected a whole number; got {shown(value)}")
        if value < least:
            raise BadKeyError(f"must be at least {least}; got {shown(value)}")
        if most is not None and value > most:
            raise BadKeyError(f"must be at most {most}; got {shown(value)}")
        return value

    return read


def number(value: Any) -> float:
    """A finite number of at least 0."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise BadKeyError(f"expected a number; got {shown(value)}")
    if not 0 <= value <= sys.float_info.max:  # an integer of JSON may be larger
        raise BadKeyError(f"must be at least 0 and finite; got {shown(value)}")
    return float(value)


def share(value: Any) -> float:
    """A score that is needed: above 0 and at most 1. At 0 everything would pass."""
    found = number(value)
    if not 0 < found <= 1:
        raise BadKeyError(f"must be above 0 and at most 1; got {shown(value)}", hint="at 0 everything would pass")
    return found


def word(words: type[Word]) -> Reader:
    """One of a closed set of words."""

    def read(value: Any) -> Word:
        try:
            return words(value)
        except ValueError:
            near = nearest(value, words) if isinstance(value, str) else None
            hint = f"did you mean {near!r}?" if near else None
            raise BadKeyError(f"expected one of {', '.join(words)}; got {shown(value)}", hint=hint) from None

    return read


def at_least(value: Any) -> int | str:
    """How many repeats must pass: a number, or ``all``, ``any``, ``majority``."""
    if isinstance(value, str):
        if value not in AT_LEAST_WORDS:
            raise BadKeyError(f"expected a whole number or one of {', '.join(AT_LEAST_WORDS)}; got {shown(value)}")
        return value
    return int(whole(1, MOST_REPEATS)(value))


def needed(rule: int | str, repeat: int) -> int:
    """How many of ``repeat`` runs a pass rule asks for; a majority of 4 is 3."""
    if isinstance(rule, int):
        return rule
    return {"all": repeat, "any": 1, "majority": repeat // 2 + 1}[rule]


def listed(read: Reader) -> Reader:
    """A list, each entry read by ``read``."""

    def items(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise BadKeyError(f"expected a list; got {shown(value)}")
        return tuple(_at(index, read, item) for index, item in enumerate(value))

    return items


def optional(read: Reader, otherwise: Any = None) -> Reader:
    """``null`` is as good as the key left out."""
    return lambda value: otherwise if value is None else read(value)


def turns(value: Any) -> tuple[str, ...]:
    """User turns: texts, or ``{role: user, content: …}``."""
    if not isinstance(value, list):
        raise BadKeyError(f"expected a list; got {shown(value)}")
    if not 1 <= len(value) <= MOST_TURNS:
        raise BadKeyError(f"must have 1 to {MOST_TURNS} turns; it has {len(value)}")
    return tuple(_at(index, _turn, item) for index, item in enumerate(value))


def _turn(value: Any) -> str:
    if not isinstance(value, Mapping):
        return text(value)
    refuse_unknown(value, ("role", "content"))
    if value.get("role", "user") != "user":
        raise BadKeyError("only user turns can be sent", "role", hint="the agent itself gives the others")
    if "content" not in value:
        raise BadKeyError("is required and missing", "content")
    return str(_at("content", text, value["content"]))


def variables(value: Any) -> dict[str, Any]:
    """Variables by name; JSON."""
    if not isinstance(value, dict):
        raise BadKeyError(f"expected a mapping (key: value); got {shown(value)}")
    for name in value:
        if not isinstance(name, str) or not name.strip():
            raise BadKeyError("a variable needs a name")
    return _exact_json(value)


def tool(value: Any) -> ExpectedTool:
    """An expected call: a name, or a mapping with one."""
    if not isinstance(value, Mapping):
        return ExpectedTool(name=text(value))
    refuse_unknown(value, _TOOL_KEYS)
    if "name" not in value:
        raise BadKeyError("is required and missing", "name")
    found = {key: _at(key, _TOOL_READERS[key], one) for key, one in value.items()}
    return ExpectedTool(**found)


def refuse_unknown(value: Mapping[str, Any], known: Iterable[str]) -> None:
    """A key nobody reads is a mistake; the nearest right one is named."""
    for key in value:
        if key not in known:
            raise BadKeyError("unknown key", key, hint=suggest(str(key), known, what="keys"), of_key=True)


def _arguments(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise BadKeyError(f"expected a mapping (key: value); got {shown(value)}")
    try:
        check_predicates(_exact_json(value))
    except BadValueError as error:
        raise BadKeyError(str(error), *error.at, hint=error.hint) from error
    return value


def _exact_json(value: dict[str, Any]) -> dict[str, Any]:
    if _is_plain(value):
        return value
    try:
        canonical_json(value)
    except (ValueError, RecursionError) as error:
        raise BadKeyError(f"not something JSON can hold exactly: {error}") from error
    return value


def _is_plain(value: dict[str, Any]) -> bool:
    """Whether a flat mapping holds only texts, booleans, nulls and small numbers, which is nearly always so."""
    return all(
        type(one) is str or one is None or type(one) is bool or (type(one) is int and -(2**53) < one < 2**53)
        for one in value.values()
    )


def _at(place: str | int, read: Reader, value: Any) -> Any:
    try:
        return read(value)
    except BadKeyError as error:
        raise BadKeyError(str(error), place, *error.at, hint=error.hint, of_key=error.of_key) from error


_TOOL_READERS: Mapping[str, Reader] = {
    "name": text,
    "arguments": optional(_arguments),
    "match": word(ArgumentMatch),
    "tolerance": number,
    "relative": number,
    "coerce": flag,
    "count": whole(1, 100),
}
CASE_KEYS: Mapping[str, Reader] = {
    "id": label,
    "name": optional(text),
    "input": optional(text),
    "input_file": text,
    "conversation": optional(turns),
    "system_prompt_version": optional(label),
    "expected_tools": optional(listed(tool)),
    "extra_tools": word(ExtraTools),
    "forbidden_tools": listed(text),
    "expected_keywords": listed(keyword),
    "forbidden_keywords": listed(keyword),
    "max_tokens": optional(whole(1)),
    "count_tokens": word(TokenCount),
    "tags": listed(text),
    "critical": flag,
    "repeat": whole(1, MOST_REPEATS),
    "at_least": optional(at_least),
    "max_repeat": optional(whole(1, MOST_REPEATS)),
    "rubric": optional(text),
    "rule": optional(text),
    "variables": variables,
    "threshold": optional(share),
    "family": optional(label),
}
"""Keys of a case in Fairway's own format, besides ``assert`` and ``for``."""
SEED_KEYS: Mapping[str, Reader] = {
    "id": label,
    "name": optional(text),
    "system_prompt_version": optional(label),
    "user_input": text,
    "expected_behavior": optional(lambda value: value if isinstance(value, str) else text(value), ""),
    "expected_tools": optional(listed(tool)),
    "expected_response_keywords": optional(listed(keyword), ()),
    "forbidden_keywords": optional(listed(keyword), ()),
    "max_tokens_limit": optional(whole(1)),
    "count_tokens": word(TokenCount),
    "tags": listed(text),
    "critical": flag,
}
"""Keys of a case in the seed format."""
