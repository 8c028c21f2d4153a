"""From what was observed to a case's result: pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from fairway.evals.assertions.case_check import CheckFinding, check_case, tools_called
from fairway.evals.assertions.check import best_score, check, needs_measuring, weighted_score
from fairway.evals.assertions.kind import How
from fairway.evals.assertions.registry import KINDS
from fairway.evals.judges.kinds import JUDGE_KINDS
from fairway.evals.plain_text import plain
from fairway.evals.trials import Observed, Trial
from fairway.evals.values import (
    PASS_SCORE,
    UNDECIDED,
    Assertion,
    AssertionResult,
    Case,
    CaseOutcome,
    CaseResult,
    Found,
    Reply,
    Violation,
    runs_needed,
)

_PREVIEW = 300
_HAIR = 1e-12
_OPEN = (
    (Found.INVALID, CaseOutcome.INVALID),
    (Found.ERROR, CaseOutcome.ERROR),
    (Found.UNKNOWN, CaseOutcome.UNKNOWN),
)
"""What makes a case undecided, the worst first."""


@dataclass(frozen=True, slots=True)
class _Scored:
    """What decides one trial.

    Attributes:
        keys: What the case's own keys say (``expected_tools``, ``max_tokens`` …).
        results: Of each assertion, by position in ``Case.checks``.
        ignored: Positions that decide nothing: weight 0, and a rubric that is documentation without a judge.
    """

    keys: CheckFinding
    results: tuple[AssertionResult, ...]
    ignored: frozenset[int]

    @property
    def counted(self) -> list[AssertionResult]:
        return [result for position, result in enumerate(self.results) if position not in self.ignored]


def to_measure(case: Case, replies: Sequence[Reply]) -> tuple[int, ...]:
    """Positions in ``case.checks`` that a judge, a script or a call still has to decide.

    None once a violation that needs no call decides the trial: a key of the case, an assertion, or, with a
    ``threshold``, a score that can no longer be reached.
    """
    checks = case.checks
    positions = tuple(position for position, one in enumerate(checks) if needs_measuring(one))
    if not positions or not replies:
        return ()
    if check_case(case, replies).violations:
        return ()
    observed = Observed(case=case, replies=tuple(replies), duration_seconds=_duration(replies))
    results = [check(one, observed) for one in checks]
    counted = [result for result in results if result.weight > 0]
    return () if _fails(case, counted) else positions


def score_trial(suite: str, case: Case, trial: Trial, *, threshold: float = PASS_SCORE) -> CaseResult:
    """Result of one trial.

    A trial passes when no key of the case and no assertion is violated, or, with ``case.threshold``, when no key is
    violated and the weighted mean of the assertions' scores reaches it. A violation that was seen fails the trial,
    whatever else could not be checked; else anything undecided leaves it undecided: unknown is never a pass.

    Args:
        suite: Name of the suite.
        case: What must hold.
        trial: What was observed, and what was measured of it.
        threshold: Score a judge's grade must reach where the assertion says none, for grades measured without one.

    Returns:
        ``error`` for a trial with trouble or without a reply to each turn.
    """
    if trial.trouble is not None or len(trial.replies) < len(case.turns):
        why = trial.error or (trial.trouble.value if trial.trouble else "it was not played to its end")
        return _result(suite, case, trial, CaseOutcome.ERROR, undecided=why)
    observed = Observed(
        case=case, replies=trial.replies, duration_seconds=None if trial.cached else _duration(trial.replies)
    )
    checks = case.checks
    results = tuple(_of(position, one, trial, observed, threshold) for position, one in enumerate(checks))
    scored = _Scored(check_case(case, trial.replies), results, _ignored(case, checks, results))
    return _decide(suite, case, trial, scored)


def _of(position: int, assertion: Assertion, trial: Trial, observed: Observed, threshold: float) -> AssertionResult:
    """What was measured, where that was needed, else what the observation says."""
    if not needs_measuring(assertion):
        return check(assertion, observed)
    measured = trial.measured.get(position)
    # after a suite was edited another assertion may stand at this place: what was measured is not about it
    if measured is None or measured.type != assertion.name:
        return check(assertion, observed)
    return _graded(assertion, measured, threshold)


def _graded(assertion: Assertion, measured: AssertionResult, threshold: float) -> AssertionResult:
    """A judge's grade is a violation below the threshold, also where a majority of votes was content with it."""
    kind = JUDGE_KINDS.get(assertion.type)
    if kind is None or assertion.negated or measured.found is not Found.HELD or measured.score is None:
        return measured
    needed = assertion.threshold or kind.threshold or threshold
    if measured.score >= needed - _HAIR:
        return measured
    message = f"the judge's score is {measured.score:.3g}, at least {needed:g} is needed: {measured.reason or ''}"
    return replace(measured, found=Found.VIOLATED, message=message.rstrip(": "))


def _ignored(case: Case, checks: Sequence[Assertion], results: Sequence[AssertionResult]) -> frozenset[int]:
    ignored = {position for position, one in enumerate(checks) if one.weight == 0}
    last = len(checks) - 1
    documented = case.rubric is not None and not case.rubric_required and case.has_checks
    if documented and results[last].found is Found.UNKNOWN:
        ignored.add(last)
    return frozenset(ignored)


def _decide(suite: str, case: Case, trial: Trial, scored: _Scored) -> CaseResult:
    counted = scored.counted
    if scored.keys.violations:
        return _result(suite, case, trial, CaseOutcome.FAILED, scored, score=scored.keys.score)
    if _fails(case, counted):
        return _result(suite, case, trial, CaseOutcome.FAILED, scored, score=best_score(counted))
    for found, outcome in _OPEN:
        told = [_undecided(result) for result in counted if result.found is found]
        if outcome is CaseOutcome.UNKNOWN:
            told = [*scored.keys.unknown, *told]
            if not counted and not _has_keys(case):
                told.append("it checks nothing")
        if told:
            return _result(suite, case, trial, outcome, scored, undecided="; ".join(told))
    score = weighted_score(counted)
    return _result(suite, case, trial, CaseOutcome.PASSED, scored, score=scored.keys.score if score is None else score)


def _fails(case: Case, counted: Sequence[AssertionResult]) -> bool:
    """Whether assertions decide against the trial, whatever the undecided ones would say."""
    if not case.threshold:
        return any(result.found is Found.VIOLATED and result.weight > 0 for result in counted)
    return bool(counted) and best_score(counted) < case.threshold - _HAIR


def _undecided(result: AssertionResult) -> str:
    kind = KINDS.get(result.type.removeprefix("not-"))
    if kind is not None and kind.how is How.JUDGED and result.calls == 0 and result.found is Found.UNKNOWN:
        return f"it has a {result.type} and {result.message}"
    return f"{result.type}: {result.message}"


def _has_keys(case: Case) -> bool:
    """Whether a key of the case itself looks at the reply, its assertions aside."""
    return replace(case, assertions=()).has_checks


def _result(
    suite: str,
    case: Case,
    trial: Trial,
    outcome: CaseOutcome,
    scored: _Scored | None = None,
    *,
    score: float | None = None,
    undecided: str | None = None,
) -> CaseResult:
    keys = scored.keys if scored else None
    results = scored.results if scored else ()
    expected, met = _tools(keys, results)
    calls = tools_called(trial.replies) or ()
    return CaseResult(
        suite=suite,
        case_id=case.id,
        name=case.name,
        outcome=outcome,
        critical=case.critical,
        rule=case.rule,
        tools_called=tuple(call.name for call in calls),
        response_preview=_preview(trial.replies[-1].text) if trial.replies else "",
        token_count=keys.token_count if keys else None,
        violations=_violations(case, outcome, scored) if scored else (),
        score=score,
        undecided=undecided,
        notes=(*keys.notes, *_notes(outcome, scored)) if keys and scored else (),
        judge_reason=next((result.reason for result in results if result.reason), None),
        duration_seconds=trial.duration_seconds,
        runs_passed=int(outcome is CaseOutcome.PASSED),
        tools_expected=expected,
        tools_met=met,
        assertions=results,
        cost_micros=_cost(trial.replies),
    )


def _violations(case: Case, outcome: CaseOutcome, scored: _Scored) -> tuple[Violation, ...]:
    """What is wrong; with a ``threshold`` that is reached, what an assertion says is a remark and no violation."""
    if outcome is CaseOutcome.PASSED or (case.threshold and outcome is not CaseOutcome.FAILED):
        return scored.keys.violations
    found = [_violation(result) for result in scored.counted if result.found is Found.VIOLATED]
    return (*scored.keys.violations, *found)


def _violation(result: AssertionResult) -> Violation:
    bare = result.type.removeprefix("not-")
    judged = bare in JUDGE_KINDS
    return Violation(
        check="judge/score" if judged else f"assert/{result.type}",
        message=result.message if judged else f"{result.type}: {result.message}",
        subject=result.subject,
    )


def _notes(outcome: CaseOutcome, scored: _Scored) -> tuple[str, ...]:
    """Remarks: what is violated and decides nothing, by its weight or because the threshold is reached."""
    passed = outcome is CaseOutcome.PASSED
    return tuple(
        f"{result.type}: {result.message}"
        for position, result in enumerate(scored.results)
        if result.message and (passed or position in scored.ignored)
    )


def _tools(keys: CheckFinding | None, results: Sequence[AssertionResult]) -> tuple[int, int]:
    """Expected tool calls and how many were made, of the case's keys and its ``tool-calls`` assertions."""
    expected, met = (keys.tools_expected, keys.tools_met) if keys else (0, 0)
    for result in results:
        if result.type == "tool-calls" and result.weight > 0 and result.detail is not None:
            expected += int(result.detail["expected"])
            met += int(result.detail["met"])
    return expected, met


def _duration(replies: Sequence[Reply]) -> float | None:
    """Seconds of all replies; ``None``: one was not measured."""
    total = 0.0
    for reply in replies:
        if reply.latency_seconds is None:
            return None
        total += reply.latency_seconds
    return total


def _cost(replies: Sequence[Reply]) -> int | None:
    """Millionths of a US dollar of all replies; ``None``: of one it is not known, or there is none."""
    total = 0
    for reply in replies:
        if reply.cost_micros is None:
            return None
        total += reply.cost_micros
    return total if replies else None


def _preview(text: str) -> str:
    flat = plain(" ".join(text[: _PREVIEW * 20].split()))
    return flat if len(flat) <= _PREVIEW else flat[: _PREVIEW - 1] + "…"


def combine_runs(case: Case, runs: Sequence[CaseResult]) -> CaseResult:
    """Result of a repeated case: passed when ``at_least`` runs passed, failed when that cannot be reached any more.

    Of more runs than planned (adaptive repeats) the same share must pass, as in the gate.

    An undecided run could have gone either way, so in between the case is undecided too. A run that is planned and not
    there counts as one that could have gone either way.
    """
    passed = sum(run.outcome is CaseOutcome.PASSED for run in runs)
    failed = [run for run in runs if run.outcome is CaseOutcome.FAILED]
    undecided = [run for run in runs if run.outcome in UNDECIDED]
    needed = runs_needed(case.at_least, case.repeat, len(runs))
    if passed >= needed:
        shown = next(run for run in runs if run.outcome is CaseOutcome.PASSED)
    elif max(case.repeat, len(runs)) - len(failed) < needed:
        shown = failed[0]
    elif undecided:
        shown = undecided[0]
    else:
        shown = _unfinished(case, runs)
    scores = [run.score for run in runs if run.score is not None]
    tokens = [run.token_count for run in runs]
    costs = [run.cost_micros for run in runs]
    return replace(
        shown,
        # the most any run used: a limit must hold in each
        token_count=None if None in tokens else max(count for count in tokens if count is not None),
        score=sum(scores) / len(scores) if scores and shown.outcome not in UNDECIDED else None,
        duration_seconds=sum(run.duration_seconds for run in runs),
        runs=len(runs),
        tools_expected=sum(run.tools_expected for run in runs),
        tools_met=sum(run.tools_met for run in runs),
        runs_passed=passed,
        cost_micros=None if None in costs else sum(cost for cost in costs if cost is not None),
    )


def _unfinished(case: Case, runs: Sequence[CaseResult]) -> CaseResult:
    """Every run that is there is decided, and too few are there to decide the case."""
    why = f"{len(runs)} of {case.repeat} runs are there, and {case.at_least} must pass"
    return replace(runs[-1], outcome=CaseOutcome.UNKNOWN, undecided=why)
