"""Which expected tool call is met by which actual one: a maximum one-to-one matching, so that counts matter."""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fairway.evals.plain_text import plain, writable, writable_value
from fairway.evals.values import ArgumentMatch, ExpectedTool, ToolCall

_SHOWN = 120
_MAX_DEPTH = 50


def parse_tool_call(raw: Any) -> ToolCall:
    """Read one entry of an agent's list of calls.

    Accepts ``"name"``, ``{"name", "arguments"}`` and OpenAI's ``{"function": {"name", "arguments"}}``; arguments are an
    object or its JSON text. What cannot be read is a call with ``malformed`` set, never an exception.
    """
    if isinstance(raw, str) and raw:
        return ToolCall(name=plain(raw))
    if isinstance(raw, Mapping) and isinstance(raw.get("function"), Mapping):
        raw = raw["function"]
    if not isinstance(raw, Mapping) or not isinstance(raw.get("name"), str) or not raw["name"]:
        return ToolCall(name="?", malformed=f"not a tool call: {_shown(raw)}")
    name, arguments = plain(raw["name"]), raw.get("arguments")
    if arguments is None or arguments == "":
        return ToolCall(name=name)
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except (ValueError, RecursionError) as error:
            reason = str(error)[:_SHOWN] if isinstance(error, ValueError) else "nested too deeply"
            return ToolCall(name=name, malformed=f"arguments are not JSON ({plain(reason)})")
    if not isinstance(arguments, Mapping):
        return ToolCall(name=name, malformed=f"arguments are not an object: {_shown(arguments)}")
    try:
        return ToolCall(name=name, arguments=writable_value(arguments))
    except RecursionError:
        return ToolCall(name=name, malformed="arguments are nested too deeply")


def values_match(expected: Any, actual: Any, *, subset: bool, tolerance: float = 0.0, depth: int = 0) -> bool:
    """Whether an argument's value is the expected one.

    Types are JSON's: ``1`` equals ``1.0`` but neither ``True`` nor ``"1"``. Numbers may differ by ``tolerance``. With
    ``subset`` an object may have more keys than expected, at any depth; arrays compare element by element. NaN and
    anything nested deeper than 50 levels matches nothing.
    """
    if depth > _MAX_DEPTH:
        return False
    if isinstance(expected, bool) or isinstance(actual, bool):
        return isinstance(expected, bool) and isinstance(actual, bool) and expected == actual
    if isinstance(expected, int | float) and isinstance(actual, int | float):
        return _numbers_match(expected, actual, tolerance)
    if isinstance(expected, Mapping) and isinstance(actual, Mapping):
        if not subset and set(expected) != set(actual):
            return False
        return all(
            key in actual and values_match(value, actual[key], subset=subset, tolerance=tolerance, depth=depth + 1)
            for key, value in expected.items()
        )
    if isinstance(expected, list | tuple) and isinstance(actual, list | tuple):
        return len(expected) == len(actual) and all(
            values_match(want, have, subset=subset, tolerance=tolerance, depth=depth + 1)
            for want, have in zip(expected, actual, strict=True)
        )
    return type(expected) is type(actual) and bool(expected == actual)


def _numbers_match(expected: float, actual: float, tolerance: float) -> bool:
    if expected == actual:
        return True
    if tolerance <= 0:
        return False
    try:
        difference = abs(expected - actual)
    except OverflowError:  # an integer too large for a float: no tolerance reaches that far
        return False
    # 0.3 - 0.2 is a hair more than 0.1: what a person writes as "within 0.1" must not fail on binary fractions
    return difference <= tolerance or math.isclose(difference, tolerance, rel_tol=1e-9)


def meets(expected: ExpectedTool, call: ToolCall) -> bool:
    """Whether a call is one that the expectation asks for; a malformed call meets nothing."""
    if call.malformed is not None or call.name != expected.name:
        return False
    if expected.arguments is None:
        return True
    return values_match(
        expected.arguments,
        call.arguments,
        subset=expected.match is ArgumentMatch.SUBSET,
        tolerance=expected.tolerance,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolMatching:
    """Result of matching expected to actual calls.

    Attributes:
        pairs: ``(index of expectation, index of call)``; expectations are numbered after expansion by ``count``.
        missing: Expectations no call is left for.
        extra: Calls no expectation is left for, malformed ones included.
    """

    pairs: tuple[tuple[int, int], ...]
    missing: tuple[ExpectedTool, ...]
    extra: tuple[ToolCall, ...]


def match_tools(expected: Sequence[ExpectedTool], calls: Sequence[ToolCall]) -> ToolMatching:
    """Match as many expectations as possible, each to its own call.

    Maximum bipartite matching by augmenting paths (Kuhn, breadth first): unlike a greedy pass, the result does not
    depend on the order of calls, and ``f(any)`` never takes the only call that ``f(x=1)`` could have had.
    """
    wanted = [one for one in expected for _ in range(one.count)]
    pairs = maximum_matching(len(wanted), len(calls), lambda row, column: meets(wanted[row], calls[column]))
    taken = {column for _, column in pairs}
    met = {row for row, _ in pairs}
    return ToolMatching(
        pairs=pairs,
        missing=tuple(one for row, one in enumerate(wanted) if row not in met),
        extra=tuple(call for column, call in enumerate(calls) if column not in taken),
    )


def maximum_matching(rows: int, columns: int, edge: Callable[[int, int], bool]) -> tuple[tuple[int, int], ...]:
    """Largest set of ``(row, column)`` pairs joined by ``edge`` in which no row and no column occurs twice."""
    edges = [[column for column in range(columns) if edge(row, column)] for row in range(rows)]
    row_of: dict[int, int] = {}
    for start in range(rows):
        _augment(start, edges, row_of)
    return tuple(sorted((row, column) for column, row in row_of.items()))


def _augment(start: int, edges: list[list[int]], row_of: dict[int, int]) -> None:
    """Give ``start`` a column, moving others aside along the shortest path when needed."""
    came_from: dict[int, int] = {}  # column -> the row that reached it
    column_of = {row: column for column, row in row_of.items()}
    queue = deque([start])
    while queue:
        row = queue.popleft()
        for column in edges[row]:
            if column in came_from:
                continue
            came_from[column] = row
            if column in row_of:
                queue.append(row_of[column])
                continue
            step: int | None = column
            while step is not None:
                owner = came_from[step]
                row_of[step], step = owner, column_of.get(owner)
            return


def describe_expected(expected: ExpectedTool) -> str:
    """``refund(amount=20.0, …)`` as a person reads it."""
    if expected.arguments is None:
        return expected.name
    shown = ", ".join(f"{key}={_shown(value)}" for key, value in expected.arguments.items())
    return f"{expected.name}({shown})"


def why_missing(expected: ExpectedTool, extra: Sequence[ToolCall]) -> str:
    """What kept an expectation unmet, in a few words."""
    named = [call for call in extra if call.name == expected.name]
    if not named:
        return "it was not called"
    broken = [call.malformed for call in named if call.malformed is not None]
    if broken:
        return broken[0]
    call = named[0]
    if expected.arguments is None:
        return "it was not called often enough"
    subset = expected.match is ArgumentMatch.SUBSET
    for key, value in expected.arguments.items():
        if key not in call.arguments:
            return f"called without {key}"
        if not values_match(value, call.arguments[key], subset=subset, tolerance=expected.tolerance):
            return f"called with {key}={_shown(call.arguments[key])} instead of {_shown(value)}"
    more = sorted(set(call.arguments) - set(expected.arguments))
    return f"called with more arguments: {', '.join(more)}" if more else "it was not called often enough"


def _shown(value: Any) -> str:
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except (ValueError, RecursionError, TypeError):
        text = "…"
    text = writable(text)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
