"""What the stage's older runner observes of one run of a case, scored as a trial is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fairway.evals.judges.answer import Graded, Invalid
from fairway.evals.scoring import score_trial, to_measure
from fairway.evals.trials import Trial, Trouble
from fairway.evals.values import PASS_SCORE, AssertionResult, Case, CaseResult, Found, Reply


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
    """Whether the judge can still change the outcome: there is a rubric, and nothing else decides."""
    return case.rubric is not None and len(case.checks) - 1 in to_measure(case, replies)


def score_attempt(suite: str, case: Case, attempt: Attempt, *, threshold: float = PASS_SCORE) -> CaseResult:
    """Result of one run, as `score_trial` says."""
    trial = Trial(
        suite=suite,
        case_id=case.id,
        replies=attempt.replies,
        trouble=None if attempt.error is None else Trouble.PROVIDER,
        error=attempt.error,
        measured={} if attempt.grade is None else {len(case.checks) - 1: _measured(attempt.grade, threshold)},
        duration_seconds=attempt.duration_seconds,
    )
    return score_trial(suite, case, trial, threshold=threshold)


def _measured(grade: Graded | Invalid, threshold: float) -> AssertionResult:
    if isinstance(grade, Invalid):
        return AssertionResult(
            type="llm-rubric", found=Found.INVALID, message=f"judge: {grade.problem}", cost_micros=None, calls=1
        )
    low = f"the judge says {grade.grade} ({grade.score:g}, at least {threshold:g} is needed): {grade.reason}"
    held = grade.score >= threshold
    return AssertionResult(
        type="llm-rubric",
        found=Found.HELD if held else Found.VIOLATED,
        score=grade.score,
        message="" if held else low,
        reason=grade.reason,
        cost_micros=None,
        calls=1,
    )
