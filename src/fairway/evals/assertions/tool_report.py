"""What a person needs to know about a matching of tool calls: every unmatched expectation and call, and why."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

from fairway.evals.assertions.predicates import Mismatch, render
from fairway.evals.assertions.tool_match import (
    ToolMatching,
    call_mismatch,
    describe_expected,
    in_words,
    meets,
    nearest_call,
)
from fairway.evals.plain_text import writable_value
from fairway.evals.values import ExpectedTool, ToolCall


def describe_call(call: ToolCall) -> str:
    """``refund(amount=20.0)`` as a person reads it."""
    if call.malformed is not None:
        return f"{call.name}({call.malformed})"
    return f"{call.name}({', '.join(f'{key}={render(value)}' for key, value in call.arguments.items())})"


def rates(matching: ToolMatching) -> tuple[float, float, float]:
    """Precision, recall and F1 of a matching; nothing expected and nothing called is perfect in all three."""
    met, wanted, called = len(matching.pairs), len(matching.wanted), len(matching.calls)
    precision = met / called if called else float(not wanted)
    recall = met / wanted if wanted else 1.0
    total = wanted + called
    return precision, recall, 2 * met / total if total else 1.0


def unmatched_expectations(matching: ToolMatching) -> list[dict[str, Any]]:
    """Each expectation without a call: ``{expected, index, nearest, path, reason}``.

    ``nearest`` is the call of that name with most arguments right, one that no expectation took first; ``path`` the
    first argument in which it differs, as a JSON pointer.
    """
    met = {row for row, _ in matching.pairs}
    return [
        {"expected": describe_expected(one), "tool": one.name, "index": row, **_why_unmet(one, matching)}
        for row, one in enumerate(matching.wanted)
        if row not in met
    ]


def _why_unmet(expected: ExpectedTool, matching: ToolMatching) -> dict[str, Any]:
    taken = {column for _, column in matching.pairs}
    free = [call for column, call in enumerate(matching.calls) if column not in taken and call.name == expected.name]
    used = [call for column, call in enumerate(matching.calls) if column in taken and call.name == expected.name]
    if any(meets(expected, call) for call in free):
        return _said("it was called, but not in the expected order")
    readable = [call for call in free if call.malformed is None]
    found = nearest_call(expected, readable)
    if found is not None:
        return _said(f"called {in_words(found[1])}", found[0], found[1])
    if free:
        return _said(f"its call is malformed: {free[0].malformed}", free[0])
    if any(meets(expected, call) for call in used):
        return _said("every call that fits is taken by another expectation; it was not called often enough")
    found = nearest_call(expected, used)
    if found is not None:
        return _said(f"called {in_words(found[1])}, and that call is what another expectation asks for", *found)
    close = get_close_matches(expected.name, {call.name for call in matching.calls}, n=1)
    return _said(f"it was not called; {close[0]} was" if close else "it was not called")


def _said(reason: str, call: ToolCall | None = None, differing: Mismatch | None = None) -> dict[str, Any]:
    return {
        "nearest": describe_call(call) if call else None,
        "path": differing.pointer if differing else None,
        "reason": reason,
    }


def unmatched_calls(matching: ToolMatching) -> list[dict[str, Any]]:
    """Each call without an expectation: ``{call, index, nearest, path, reason}``, as `unmatched_expectations`."""
    taken = {column for _, column in matching.pairs}
    return [
        {"call": describe_call(call), "tool": call.name, "index": column, **_why_extra(call, matching)}
        for column, call in enumerate(matching.calls)
        if column not in taken
    ]


def _why_extra(call: ToolCall, matching: ToolMatching) -> dict[str, Any]:
    if call.malformed is not None:
        return {"nearest": None, "path": None, "reason": call.malformed}
    named = [one for one in matching.wanted if one.name == call.name]
    if not named:
        return {"nearest": None, "path": None, "reason": "no expectation asks for this tool"}
    if any(meets(one, call) for one in named):
        met = {row for row, _ in matching.pairs}
        open_rows = [row for row, one in enumerate(matching.wanted) if row not in met and meets(one, call)]
        reason = "called out of the expected order" if open_rows else "called once more than expected"
        return {"nearest": describe_expected(named[0]), "path": None, "reason": reason}
    nearest, differing = _nearest_expectation(call, named)
    return {
        "nearest": describe_expected(nearest),
        "path": differing.pointer if differing else None,
        "reason": f"called {in_words(differing)}" if differing else "",
    }


def _nearest_expectation(call: ToolCall, named: Sequence[ExpectedTool]) -> tuple[ExpectedTool, Mismatch | None]:
    def right(one: ExpectedTool) -> int:
        wrong = call_mismatch(one, call)
        declared = list(one.arguments or {})
        return declared.index(str(wrong.path[0])) if wrong and wrong.path and str(wrong.path[0]) in declared else 0

    best = max(named, key=right)
    return best, call_mismatch(best, call)


def calls_json(calls: Sequence[ToolCall]) -> list[dict[str, Any]]:
    """Calls as a report's diff takes them."""
    return [
        {"name": call.name, "arguments": writable_value(dict(call.arguments)), "malformed": call.malformed}
        for call in calls
    ]
