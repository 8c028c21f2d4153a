"""Which expected tool call is met by which actual one: a maximum one-to-one matching, so that counts matter."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from fairway.evals.assertions.json_text import parse_json
from fairway.evals.assertions.predicates import ABSENT, Leniency, Mismatch, mismatch, render
from fairway.evals.plain_text import plain, writable_value
from fairway.evals.values import ArgumentMatch, ExpectedTool, ToolCall

UNNAMED = "?"
"""Name of a call that does not say which tool it calls."""


def parse_tool_call(raw: Any) -> ToolCall:
    """Read one entry of an agent's list of calls.

    Accepts ``"name"``, ``{"name", "arguments"}``, OpenAI's ``{"function": {"name", "arguments"}}`` and ``{"type":
    "function_call", …}``, Anthropic's ``{"type": "tool_use", "name", "input"}``, Gemini's ``{"functionCall": {"name",
    "args"}}`` and LangChain's ``{"name", "args"}``; arguments are an object or its JSON text. What cannot be read is a
    call with ``malformed`` set, never an exception.
    """
    if isinstance(raw, str) and raw:
        return ToolCall(name=plain(raw))
    for wrapper in ("function", "functionCall", "function_call"):
        if isinstance(raw, Mapping) and isinstance(raw.get(wrapper), Mapping):
            raw = raw[wrapper]
    if not isinstance(raw, Mapping) or not isinstance(raw.get("name"), str) or not raw["name"]:
        return ToolCall(name=UNNAMED, malformed=f"not a tool call: {render(raw)}")
    name = plain(raw["name"])
    arguments = next((raw[key] for key in ("arguments", "input", "args") if raw.get(key) is not None), None)
    if arguments is None or arguments == "":
        return ToolCall(name=name)
    if isinstance(arguments, str):
        parsed = parse_json(arguments)
        if parsed.problem is not None:
            return ToolCall(name=name, malformed=f"arguments are not JSON ({plain(parsed.problem)})")
        arguments = parsed.value
    if not isinstance(arguments, Mapping):
        return ToolCall(name=name, malformed=f"arguments are not an object: {render(arguments)}")
    try:
        return ToolCall(name=name, arguments=writable_value(arguments))
    except RecursionError:
        return ToolCall(name=name, malformed="arguments are nested too deeply")


def values_match(expected: Any, actual: Any, *, subset: bool, tolerance: float = 0.0) -> bool:
    """Whether an argument's value is the expected one, by the rules of `predicates.mismatch`."""
    return mismatch(expected, actual, Leniency(subset=subset, tolerance=tolerance)) is None


def call_mismatch(expected: ExpectedTool, call: ToolCall) -> Mismatch | None:
    """The first argument in which a call of the right name is not what is expected; ``None``: it is."""
    if expected.arguments is None:
        return None
    return mismatch(
        expected.arguments,
        call.arguments,
        Leniency(
            subset=expected.match is ArgumentMatch.SUBSET,
            tolerance=expected.tolerance,
            relative=expected.relative,
            coerce=expected.coerce,
        ),
    )


def meets(expected: ExpectedTool, call: ToolCall) -> bool:
    """Whether a call is one that the expectation asks for; a malformed call meets nothing."""
    if call.malformed is not None or call.name != expected.name:
        return False
    return call_mismatch(expected, call) is None


class Order(StrEnum):
    """How the order of calls matters.

    ``none``: not at all. ``subsequence``: the expected calls come in their order, others may stand between them.
    ``exact``: the calls are the expected ones in their order and no others.
    """

    NONE = "none"
    SUBSEQUENCE = "subsequence"
    EXACT = "exact"


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolMatching:
    """Result of matching expected to actual calls.

    Attributes:
        wanted: The expectations after expansion by ``count``, in order.
        calls: The actual calls, in order.
        pairs: ``(index in wanted, index in calls)``, ascending.
    """

    wanted: tuple[ExpectedTool, ...]
    calls: tuple[ToolCall, ...]
    pairs: tuple[tuple[int, int], ...]

    @property
    def missing(self) -> tuple[ExpectedTool, ...]:
        """Expectations no call is left for."""
        met = {row for row, _ in self.pairs}
        return tuple(one for row, one in enumerate(self.wanted) if row not in met)

    @property
    def extra(self) -> tuple[ToolCall, ...]:
        """Calls no expectation is left for, malformed ones included."""
        taken = {column for _, column in self.pairs}
        return tuple(call for column, call in enumerate(self.calls) if column not in taken)


def match_tools(expected: Sequence[ExpectedTool], calls: Sequence[ToolCall], order: Order = Order.NONE) -> ToolMatching:
    """Match as many expectations as possible, each to its own call.

    Without an order: maximum bipartite matching by augmenting paths (Kuhn, breadth first). Unlike a greedy pass, the
    result does not depend on the order of calls, and ``f(any)`` never takes the only call that ``f(x=1)`` could have
    had. With an order: the largest matching whose pairs do not cross, by dynamic programming.
    """
    wanted = tuple(one for one in expected for _ in range(one.count))

    def edge(row: int, column: int) -> bool:
        return meets(wanted[row], calls[column])

    match = maximum_matching if order is Order.NONE else ordered_matching
    return ToolMatching(wanted=wanted, calls=tuple(calls), pairs=match(len(wanted), len(calls), edge))


def ordered_matching(rows: int, columns: int, edge: Callable[[int, int], bool]) -> tuple[tuple[int, int], ...]:
    """Largest set of pairs joined by ``edge`` in which rows and columns ascend together; the earliest of them.

    The recurrence of the longest common subsequence over any relation, not only equality: O(``rows`` * ``columns``).
    """
    best = [[0] * (columns + 1) for _ in range(rows + 1)]
    joined = [[edge(row, column) for column in range(columns)] for row in range(rows)]
    for row in reversed(range(rows)):
        for column in reversed(range(columns)):
            skip = max(best[row + 1][column], best[row][column + 1])
            best[row][column] = max(skip, best[row + 1][column + 1] + 1) if joined[row][column] else skip
    pairs: list[tuple[int, int]] = []
    row = column = 0
    while row < rows and column < columns:
        if joined[row][column]:  # no matching of the rest is larger than one that has this pair
            pairs.append((row, column))
            row, column = row + 1, column + 1
        elif best[row + 1][column] >= best[row][column + 1]:
            row += 1
        else:
            column += 1
    return tuple(pairs)


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
    shown = ", ".join(f"{key}={render(value)}" for key, value in expected.arguments.items())
    return f"{expected.name}({shown})"


def why_missing(expected: ExpectedTool, extra: Sequence[ToolCall]) -> str:
    """What kept an expectation unmet, in a few words."""
    named = [call for call in extra if call.name == expected.name]
    if not named:
        return "it was not called"
    broken = [call.malformed for call in named if call.malformed is not None]
    if broken:
        return broken[0]
    if expected.arguments is None:
        return "it was not called often enough"
    differing = nearest_call(expected, named)
    return "it was not called often enough" if differing is None else f"called {in_words(differing[1])}"


def nearest_call(expected: ExpectedTool, calls: Sequence[ToolCall]) -> tuple[ToolCall, Mismatch] | None:
    """Of calls with the right name, the one with most arguments right, and the first that is not.

    ``None``: one of them is right altogether, or there is none.
    """
    found: list[tuple[int, ToolCall, Mismatch]] = []
    for call in calls:
        differing = call_mismatch(expected, call)
        if differing is None:
            return None
        found.append((_arguments_right(expected, call), call, differing))
    if not found:
        return None
    _, call, differing = max(found, key=lambda one: one[0])
    return call, differing


def _arguments_right(expected: ExpectedTool, call: ToolCall) -> int:
    how = Leniency(
        subset=expected.match is ArgumentMatch.SUBSET,
        tolerance=expected.tolerance,
        relative=expected.relative,
        coerce=expected.coerce,
    )
    declared = expected.arguments or {}
    return sum(mismatch(want, call.arguments.get(key, ABSENT), how) is None for key, want in declared.items())


def in_words(differing: Mismatch) -> str:
    """How a call differs, to stand after "called": ``with amount="20" instead of 20``."""
    if not differing.path:
        return f"with more arguments: {differing.rule.removeprefix('more keys: ')}"
    if differing.rule:
        return f"with {differing}"
    if differing.have is ABSENT:
        return f"without {differing.where}"
    return f"with {differing.where}={render(differing.have)} instead of {render(differing.want)}"
