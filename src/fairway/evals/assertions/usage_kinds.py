"""Checks of what a trial cost, how long it took and how it ended. What is not reported is unknown, never a pass."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fairway.evals.assertions.case_check import count_tokens
from fairway.evals.assertions.finding import Finding, held, unknown, violated
from fairway.evals.assertions.kind import BadValueError
from fairway.evals.assertions.readers import known_keys, mapping, most_or_range, one_of, whole
from fairway.evals.assertions.text_kinds import within
from fairway.evals.trials import Observed
from fairway.evals.values import Assertion, TokenCount

_FINISHES: Mapping[str, str] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "completed": "stop",
    "max_tokens": "length",
    "max_output_tokens": "length",
    "tool_use": "tool_calls",
    "function_call": "tool_calls",
    "refusal": "content_filter",
}
"""The vendors' words for the same endings."""


def check_cost(assertion: Assertion, observed: Observed) -> Finding:
    """All replies together cost at most ``threshold`` US dollars."""
    costs = [reply.cost_micros for reply in observed.replies]
    if any(cost is None for cost in costs):
        return unknown("what it cost is neither reported nor computable from a price")
    dollars = sum(cost or 0 for cost in costs) / 1_000_000
    limit = assertion.threshold or 0.0
    return held() if dollars <= limit else violated(f"it cost {dollars:.6g} US dollars, at most {limit:g} are allowed")


def check_latency(assertion: Assertion, observed: Observed) -> Finding:
    """All replies together took at most ``threshold`` milliseconds."""
    if observed.duration_seconds is None:
        return unknown("how long it took was not measured, or the reply came from the cache")
    took, limit = observed.duration_seconds * 1000, assertion.threshold or 0.0
    return held() if took <= limit else violated(f"it took {took:.0f} ms, at most {limit:g} are allowed")


def check_tokens(assertion: Assertion, observed: Observed) -> Finding:
    """All replies together used so many tokens."""
    which = TokenCount(assertion.value.get("count", observed.case.count_tokens))
    count = count_tokens(observed.replies, which)
    if count is None:
        return unknown("the agent does not report its tokens")
    return within(count, assertion.value, "tokens" if which is TokenCount.TOTAL else "output tokens")


def tokens_value(value: Any) -> dict[str, Any]:
    """Reader of ``{min, max, count}``; a bare number is the most."""
    if not isinstance(value, Mapping):
        return dict(most_or_range(value))
    known_keys(mapping(value), {"min": whole(), "max": whole(), "count": one_of(*TokenCount)})
    found: dict[str, Any] = dict(most_or_range({key: inner for key, inner in value.items() if key != "count"}))
    if "count" in value:
        found["count"] = value["count"]
    return found


def check_finish_reason(assertion: Assertion, observed: Observed) -> Finding:
    """The last reply ended for the named reason (``stop``, ``length``, ``tool_calls``, ``content_filter``)."""
    reason = observed.replies[-1].finish_reason
    if reason is None:
        return unknown("why the reply ended is not reported")
    if _finish(reason) == _finish(assertion.value):
        return held()
    return violated(f"the reply ended with {reason!r} instead of {assertion.value!r}", subject=reason)


def _finish(word: str) -> str:
    low = word.strip().lower()
    return _FINISHES.get(low, low)


def finish_value(value: Any) -> str:
    """Reader of a finish reason."""
    if not isinstance(value, str) or not value.strip():
        raise BadValueError("expected a finish reason such as stop or length")
    return value.strip()
