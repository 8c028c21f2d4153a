"""From what was observed to a case's result: pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fairway.evals.assertions.case_check import CheckFinding, check_case, tools_called
from fairway.evals.judges.answer import Graded, Invalid
from fairway.evals.plain_text import plain
from fairway.evals.values import PASS_SCORE, UNDECIDED, Case, CaseOutcome, CaseResult, Reply, Violation

_PREVIEW = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One run of a case: what was answered, or why nothing was.

    Attributes:
        grade: ``None``: not judged.
        error: The agent or the judge could not be asked; nothing else counts then.
    """

    replies: tuple[Reply, ...] = ()
    grade: Graded | Invalid | None = None
    error: str | None = None
    duration_seconds: float = 0.0


def wants_grade(case: Case, replies: Sequence[Reply]) -> bool:
    """Whether the judge can still change the outcome: there is a rubric, and no check failed already."""
    return case.rubric is not None and not check_case(case, replies).violations


def score_attempt(suite: str, case: Case, attempt: Attempt, *, threshold: float = PASS_SCORE) -> CaseResult:
    """Result of one run. A violation that was seen fails the case, whatever else could not be checked."""
    if attempt.error is not None:
        return _result(suite, case, attempt, CaseOutcome.ERROR, undecided=attempt.error)
    finding = check_case(case, attempt.replies)
    grade = attempt.grade
    if finding.violations:
        return _result(suite, case, attempt, CaseOutcome.FAILED, finding, score=finding.score)
    if isinstance(grade, Invalid):
        return _result(suite, case, attempt, CaseOutcome.INVALID, finding, undecided=f"judge: {grade.problem}")
    if isinstance(grade, Graded) and grade.score < threshold:
        message = f"the judge says {grade.grade} ({grade.score:g}, at least {threshold:g} is needed): {grade.reason}"
        low = (Violation(check="judge/score", message=message),)
        return _result(suite, case, attempt, CaseOutcome.FAILED, finding, score=grade.score, more=low)
    unknown = list(finding.unknown)
    if grade is None and case.rubric is not None and (case.rubric_required or not case.has_checks):
        unknown.append("it has a rubric and no judge is configured")
    if grade is None and case.rubric is None and not case.has_checks:
        unknown.append("it checks nothing")
    if unknown:
        return _result(suite, case, attempt, CaseOutcome.UNKNOWN, finding, undecided="; ".join(unknown))
    score = grade.score if isinstance(grade, Graded) else finding.score
    return _result(suite, case, attempt, CaseOutcome.PASSED, finding, score=score)


def _result(
    suite: str,
    case: Case,
    attempt: Attempt,
    outcome: CaseOutcome,
    finding: CheckFinding | None = None,
    *,
    score: float | None = None,
    undecided: str | None = None,
    more: tuple[Violation, ...] = (),
) -> CaseResult:
    calls = tools_called(attempt.replies) or ()
    return CaseResult(
        suite=suite,
        case_id=case.id,
        name=case.name,
        outcome=outcome,
        critical=case.critical,
        rule=case.rule,
        tools_called=tuple(call.name for call in calls),
        response_preview=_preview(attempt.replies[-1].text) if attempt.replies else "",
        token_count=finding.token_count if finding else None,
        violations=(*(finding.violations if finding else ()), *more),
        score=score,
        undecided=undecided,
        notes=finding.notes if finding else (),
        judge_reason=attempt.grade.reason if isinstance(attempt.grade, Graded) else None,
        duration_seconds=attempt.duration_seconds,
        runs_passed=int(outcome is CaseOutcome.PASSED),
        tools_expected=finding.tools_expected if finding else 0,
        tools_met=finding.tools_met if finding else 0,
    )


def _preview(text: str) -> str:
    flat = plain(" ".join(text.split()))
    return flat if len(flat) <= _PREVIEW else flat[: _PREVIEW - 1] + "…"


def combine_runs(case: Case, runs: Sequence[CaseResult]) -> CaseResult:
    """Result of a repeated case: passed when ``at_least`` runs passed, failed when that cannot be reached any more.

    An undecided run could have gone either way, so in between the case is undecided too.
    """
    passed = sum(run.outcome is CaseOutcome.PASSED for run in runs)
    failed = [run for run in runs if run.outcome is CaseOutcome.FAILED]
    undecided = [run for run in runs if run.outcome in UNDECIDED]
    if passed >= case.at_least:
        shown = next(run for run in runs if run.outcome is CaseOutcome.PASSED)
    elif case.repeat - len(failed) < case.at_least:
        shown = failed[0]
    else:
        shown = undecided[0]
    scores = [run.score for run in runs if run.score is not None]
    tokens = [run.token_count for run in runs]
    return CaseResult(
        suite=shown.suite,
        case_id=shown.case_id,
        name=shown.name,
        outcome=shown.outcome,
        critical=shown.critical,
        rule=shown.rule,
        tools_called=shown.tools_called,
        response_preview=shown.response_preview,
        # the most any run used: a limit must hold in each
        token_count=None if None in tokens else max(count for count in tokens if count is not None),
        violations=shown.violations,
        score=sum(scores) / len(scores) if scores and shown.outcome not in UNDECIDED else None,
        undecided=shown.undecided,
        notes=shown.notes,
        judge_reason=shown.judge_reason,
        duration_seconds=sum(run.duration_seconds for run in runs),
        runs=len(runs),
        tools_expected=sum(run.tools_expected for run in runs),
        tools_met=sum(run.tools_met for run in runs),
        runs_passed=passed,
    )
