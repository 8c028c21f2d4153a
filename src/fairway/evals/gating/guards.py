"""What holds a release whatever the mean says: critical cases, tool calls, and trials that could not be decided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from fairway.evals.gating.policy import EvalPolicy
from fairway.evals.trials import CaseTrials, Side
from fairway.evals.values import UNDECIDED, CaseOutcome, runs_needed
from fairway.units import Verdict

WORDS = {
    CaseOutcome.ERROR: "ended in an error",
    CaseOutcome.INVALID: "got no valid answer from the judge",
    CaseOutcome.UNKNOWN: "could not be checked",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """One reason not to pass.

    Attributes:
        blocking: The cases behind it, by suite and id.
    """

    verdict: Verdict
    reason: str
    blocking: tuple[tuple[str, str], ...] = ()


def case_outcome(case: CaseTrials) -> CaseOutcome:
    """The case's outcome over all its trials by its own rule, ``needed`` of ``planned``.

    With more trials than planned (attempts, adaptive repeats) the same share of them must pass, so that a failure is
    never washed out by running again. What is undecided is open as long as it could turn the outcome.
    """
    played = len(case.outcomes)
    passed = case.outcomes.count(CaseOutcome.PASSED)
    failed = case.outcomes.count(CaseOutcome.FAILED)
    trials = max(played, case.planned)
    needed = runs_needed(case.needed, case.planned, played)
    if passed >= needed:
        return CaseOutcome.PASSED
    if trials - failed < needed:
        return CaseOutcome.FAILED
    return next((outcome for outcome in UNDECIDED if outcome in case.outcomes), CaseOutcome.UNKNOWN)


def attempt_outcomes(case: CaseTrials) -> tuple[CaseOutcome, ...]:
    """The case's outcome in each attempt by itself, in their order; one when nothing tells attempts apart."""
    numbers = sorted(set(case.attempts))
    if len(numbers) < 2:
        return (case_outcome(case),)
    return tuple(case_outcome(replace(case, outcomes=_within(case, number))) for number in numbers)


def _within(case: CaseTrials, attempt: int) -> tuple[CaseOutcome, ...]:
    return tuple(one for one, number in zip(case.outcomes, case.attempts, strict=True) if number == attempt)


def critical_guards(candidate: Side) -> tuple[Held, ...]:
    """A critical case that failed is a FAIL, one that could not be decided an ERROR; failures first."""
    held = []
    for case in candidate.cases:
        outcome = case_outcome(case) if case.critical else CaseOutcome.PASSED
        if outcome is CaseOutcome.FAILED:
            held.append(_guard(case, Verdict.FAIL, f"critical case {case.case_id} failed{_how_often(case)}"))
        elif outcome is not CaseOutcome.PASSED:
            held.append(_guard(case, Verdict.ERROR, f"critical case {case.case_id} {WORDS[outcome]}"))
    return tuple(sorted(held, key=lambda one: one.verdict is not Verdict.FAIL))


def tool_guard(candidate: Side, policy: EvalPolicy) -> tuple[Held, ...]:
    """Too few of the expected tool calls were made."""
    accuracy = tool_accuracy(candidate)
    if policy.tool_accuracy is None or accuracy is None or accuracy >= policy.tool_accuracy:
        return ()
    reason = f"{accuracy:.1%} of the expected tool calls were made (at least {policy.tool_accuracy:.1%} must)"
    short = tuple((case.suite, case.case_id) for case in candidate.cases if case.tools_met < case.tools_expected)
    return (Held(verdict=Verdict.FAIL, reason=reason, blocking=short),)


def tool_accuracy(side: Side) -> float | None:
    """Share of the expected tool calls that were made; ``None`` when none was expected or could be checked."""
    expected = sum(case.tools_expected for case in side.cases)
    return sum(case.tools_met for case in side.cases) / expected if expected else None


def undecided_guards(side: Side, policy: EvalPolicy, *, whose: str, by_case: bool = False) -> tuple[Held, ...]:
    """More of a side's trials - or cases - ended undecided than the policy tolerates, or nothing was decided.

    Args:
        side: With at least one case.
        policy: Has the caps.
        whose: How reasons name the side, such as ``the baseline's ``; empty for the only one.
        by_case: Count cases by their own rule instead of trials.
    """
    outcomes = _outcomes(side, by_case=by_case)
    what = "cases" if by_case else "trials"
    held = []
    for outcome in UNDECIDED:
        found = [key for key, one in outcomes if one is outcome]
        if len(found) > policy.cap(outcome) * len(outcomes):
            reason = (
                f"{len(found)} of {len(outcomes)} {whose}{what} {WORDS[outcome]} "
                f"(at most {policy.cap(outcome):.0%} may), first {found[0][1]}"
            )
            held.append(Held(verdict=Verdict.ERROR, reason=reason, blocking=tuple(dict.fromkeys(found))))
    if not held and all(one in UNDECIDED for _, one in outcomes):
        held.append(Held(verdict=Verdict.ERROR, reason=f"none of the {whose}{what} could be decided"))
    return tuple(held)


def _outcomes(side: Side, *, by_case: bool) -> Sequence[tuple[tuple[str, str], CaseOutcome]]:
    if by_case:
        return [((case.suite, case.case_id), case_outcome(case)) for case in side.cases]
    return [((case.suite, case.case_id), outcome) for case in side.cases for outcome in case.outcomes]


def _guard(case: CaseTrials, verdict: Verdict, reason: str) -> Held:
    return Held(verdict=verdict, reason=reason, blocking=((case.suite, case.case_id),))


def _how_often(case: CaseTrials) -> str:
    passed, played = case.outcomes.count(CaseOutcome.PASSED), len(case.outcomes)
    if played <= 1:
        return ""
    return f" {played - passed} of {played} times (at least {case.needed} of {case.planned} must pass)"
