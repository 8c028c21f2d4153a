"""Which tools a case speaks of, in its keys and in its assertions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fairway.evals.values import Assertion, Case


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolNames:
    """Tools a case wants to see called, and those it does not."""

    expected: frozenset[str]
    forbidden: frozenset[str]


def tool_names(case: Case) -> ToolNames:
    """Every tool a case names."""
    expected = {tool.name for tool in case.expected_tools or ()}
    forbidden = set(case.forbidden_tools)
    for wanted, name in _named(case.assertions, wanted=True):
        (expected if wanted else forbidden).add(name)
    return ToolNames(expected=frozenset(expected), forbidden=frozenset(forbidden))


def _named(assertions: Sequence[Assertion], *, wanted: bool) -> Iterable[tuple[bool, str]]:
    for one in assertions:
        asked = wanted is not one.negated
        yield from _named(one.members, wanted=asked)
        value = one.value
        if one.type == "tool-calls" and isinstance(value, Mapping):
            yield from ((asked, name) for name in _names(value.get("expected", ())))
            yield from ((not asked, name) for name in _names(value.get("forbidden", ())))
        elif one.type in ("tool-call-f1", "trajectory:tool-used", "trajectory:tool-args-match"):
            yield from ((asked, name) for name in _names(value))
        elif one.type == "trajectory:tool-sequence":
            steps = value.get("steps", ()) if isinstance(value, Mapping) else value
            yield from ((asked, name) for name in _names(steps))


def _names(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        if not any(mark in value for mark in "*?["):
            yield value
    elif isinstance(value, Mapping):
        yield from _names(value.get("name", ()))
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _names(one)
