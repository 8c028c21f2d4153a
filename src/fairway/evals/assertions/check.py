"""Whether an assertion holds, from what was observed alone: pure. What cannot be known is unknown, never a pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from fairway.evals.assertions.finding import Finding, broken, held
from fairway.evals.assertions.kind import How
from fairway.evals.assertions.predicates import render
from fairway.evals.assertions.registry import KINDS
from fairway.evals.trials import Observed
from fairway.evals.values import Assertion, AssertionResult, Found

_NOT_MEASURED = {
    How.SCRIPTED: "its script was not run",
    How.CALLED: "it was not asked",
    How.JUDGED: "no judge is configured",
    How.SET: "some of it was not measured",
}
_WORST = (Found.ERROR, Found.INVALID, Found.UNKNOWN)
EVERY = "every"
LAST = "last"


def needs_measuring(assertion: Assertion) -> bool:
    """Whether it takes more than the observation to decide it: a judge, a script, a call."""
    if assertion.members:
        return any(needs_measuring(member) for member in assertion.members)
    kind = KINDS.get(assertion.type)
    return kind is not None and kind.how in (How.SCRIPTED, How.CALLED, How.JUDGED)


def check(assertion: Assertion, observed: Observed) -> AssertionResult:
    """Decide one assertion.

    Args:
        assertion: As `parse_assertions` gives it.
        observed: What it is about; its option ``turn`` (a number from 1, ``last``, ``every``) says which replies.

    Returns:
        ``unknown`` for what only a judge, a script or a call can decide: `Measurers` does that. ``error`` for a type
        nobody knows.
    """
    if assertion.members:
        return combine_set(assertion, [check(member, observed) for member in assertion.members])
    kind = KINDS.get(assertion.type)
    if kind is None:
        return result_of(assertion, broken(f"{assertion.type!r} is no type of assertion"))
    if kind.check is None:
        return result_of(assertion, Finding(Found.UNKNOWN, None, _NOT_MEASURED[kind.how]))
    turn = assertion.options.get("turn", LAST)
    if turn == EVERY:
        return _worst([_decided(assertion, kind.check(assertion, each)) for each in turns_of(observed)])
    one = of_turn(observed, turn)
    return _decided(assertion, broken(f"there is no turn {turn}") if one is None else kind.check(assertion, one))


def turns_of(observed: Observed) -> list[Observed]:
    """One observation a reply."""
    return [replace(observed, replies=(reply,), duration_seconds=reply.latency_seconds) for reply in observed.replies]


def of_turn(observed: Observed, turn: Any) -> Observed | None:
    """The observation of one turn, numbered from 1; all of it for ``last``. ``None``: there is no such turn."""
    if turn == LAST:
        return observed
    if not 1 <= int(turn) <= len(observed.replies):
        return None
    reply = observed.replies[int(turn) - 1]
    return replace(observed, replies=(reply,), duration_seconds=reply.latency_seconds)


def _worst(results: Sequence[AssertionResult]) -> AssertionResult:
    """Of every turn's result: a violation that was seen, else what could not be decided, else the lowest score."""
    order = (Found.VIOLATED, *_WORST, Found.HELD)
    worst = min(enumerate(results), key=lambda item: (order.index(item[1].found), item[1].score or 0.0))
    number, result = worst
    return replace(result, message=f"turn {number + 1}: {result.message}") if result.message else result


def _decided(assertion: Assertion, finding: Finding) -> AssertionResult:
    return result_of(assertion, negated(assertion, finding) if assertion.negated else finding)


def result_of(assertion: Assertion, finding: Finding) -> AssertionResult:
    """A finding as the result of an assertion; ``not-`` is not applied."""
    return AssertionResult(
        type=assertion.name,
        found=finding.found,
        score=finding.score,
        weight=assertion.weight,
        metric=assertion.metric,
        message=finding.message,
        subject=finding.subject,
        detail=finding.detail,
    )


def negated(assertion: Assertion, finding: Finding) -> Finding:
    """What ``not-<type>`` finds where the type finds this: what is undecided or unreadable stays so."""
    score = finding.score
    if finding.found is Found.HELD:
        what = "" if assertion.value is None else f" {render(assertion.value)}"
        subject = assertion.value if isinstance(assertion.value, str) else finding.subject
        turned = 1 - score if score is not None and score < 1 else 0.0
        told = f"{assertion.type}{what} holds, and must not"
        return Finding(Found.VIOLATED, turned, told, subject, finding.detail)
    if finding.found is Found.VIOLATED and not finding.unreadable:
        return held(1 - score if score is not None else 1.0, detail=finding.detail)
    return finding


def combine_set(assertion: Assertion, results: Sequence[AssertionResult]) -> AssertionResult:
    """The result of an ``assert-set`` from those of its members.

    Without a threshold every member must hold. With one, the weighted mean of the scores must reach it: a set that
    cannot reach it whatever the undecided members say is violated, and one that has undecided members is undecided
    otherwise. Members of weight 0 decide nothing.

    Args:
        assertion: The set.
        results: One for each of its members, in their order.
    """
    counted = [result for result in results if result.weight > 0]
    open_ones = [result for result in counted if result.found in _WORST]
    bad = [result for result in counted if result.found is Found.VIOLATED]
    score = weighted_score(counted)
    failed = best_score(counted) < assertion.threshold - 1e-12 if assertion.threshold else bool(bad)
    if failed:
        message = "; ".join(f"{result.type}: {result.message}" for result in bad)
        finding = Finding(Found.VIOLATED, best_score(counted), message or "too little of it holds")
    elif open_ones:
        worst = min(open_ones, key=lambda result: _WORST.index(result.found))
        finding = Finding(worst.found, None, "; ".join(f"{one.type}: {one.message}" for one in open_ones))
    else:
        finding = Finding(Found.HELD, score)
    costs = [result.cost_micros for result in results]
    whole = replace(
        _decided(assertion, finding),
        cost_micros=None if None in costs else sum(cost for cost in costs if cost is not None),
        calls=sum(result.calls for result in results),
        subject=next((result.subject for result in bad if result.subject), "") if failed else "",
        detail={"members": [member_json(result) for result in results]},
    )
    return replace(whole, reason=next((result.reason for result in results if result.reason), None))


def member_json(result: AssertionResult) -> dict[str, Any]:
    """A member's result as the detail of its set carries it."""
    return {
        "type": result.type,
        "found": result.found.value,
        "score": result.score,
        "weight": result.weight,
        "metric": result.metric,
        "message": result.message,
    }


def weighted_score(results: Sequence[AssertionResult]) -> float | None:
    """Weighted mean of the scores; ``None``: one of them is undecided, or no weight is above 0."""
    total = sum(result.weight for result in results)
    if total <= 0 or any(result.score is None for result in results if result.weight > 0):
        return None
    return sum((result.score or 0.0) * result.weight for result in results) / total


def best_score(results: Sequence[AssertionResult]) -> float:
    """The weighted mean when everything undecided turns out well."""
    total = sum(result.weight for result in results)
    return sum((1.0 if result.score is None else result.score) * result.weight for result in results) / (total or 1.0)
