"""What a script or a webhook says, read strictly: neither silence nor a score of 0 is ever a pass."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fairway.evals.assertions.finding import Finding, at_least, broken, held, violated
from fairway.evals.assertions.predicates import render
from fairway.evals.plain_text import plain
from fairway.evals.values import PASS_SCORE

_READ = ("pass", "pass_", "score", "reason")
_PASSED_OVER = frozenset(
    {
        "named_scores",
        "namedScores",
        "component_results",
        "componentResults",
        "tokens_used",
        "tokensUsed",
        "metadata",
        "assertion",
        "comment",
    }
)
"""What else a script written for promptfoo may say; it decides nothing."""
_LONGEST_REASON = 2_000


def read_verdict(value: Any, threshold: float | None) -> Finding:
    """The finding of what was returned: true or false, a score from 0 to 1, or ``{pass, score, reason}``.

    A score alone must reach the threshold, 0.7 when there is none. With ``pass``, both must agree: ``pass: true`` and a
    score of 0, or below the threshold, is a violation; so is ``pass: false``, whatever its score. Anything else -
    nothing, text, a number outside 0 to 1, an object without either - is an error.

    Args:
        value: JSON.
        threshold: Of the assertion, above 0.
    """
    if isinstance(value, bool):
        return held() if value else violated("it says no")
    if isinstance(value, int | float):
        problem = _score_problem(value)
        return broken(problem) if problem else at_least(float(value), threshold or PASS_SCORE, "its score")
    if not isinstance(value, Mapping):
        return broken(f"it must say true, false, a score or {{pass, score, reason}}; it said {render(value)}")
    return _object(value, threshold)


def _score_problem(score: Any) -> str | None:
    if isinstance(score, bool) or not isinstance(score, int | float):
        return f"its score is no number: {render(score)}"
    if not 0 <= score <= 1:  # so is what is not a number
        return f"its score is not between 0 and 1: {render(score)}"
    return None


def _object(value: Mapping[str, Any], threshold: float | None) -> Finding:
    if "pass" in value and "pass_" in value:
        return broken("its answer has both 'pass' and 'pass_'")
    other = [str(key) for key in value if key not in _READ and key not in _PASSED_OVER]
    if other:
        return broken(f"its answer has keys nobody knows: {render(other)}")
    passed, score, reason = value.get("pass", value.get("pass_")), value.get("score"), value.get("reason")
    if passed is not None and not isinstance(passed, bool):
        return broken(f"its 'pass' is neither true nor false: {render(passed)}")
    if reason is not None and not isinstance(reason, str):
        return broken(f"its reason is no text: {render(reason)}")
    problem = _score_problem(score) if score is not None else None
    if problem is not None:
        return broken(problem)
    told = f": {plain(reason.strip())[:_LONGEST_REASON]}" if reason and reason.strip() else ""
    if passed is None and score is None:
        return broken("its answer has neither 'pass' nor 'score'")
    if passed is False:
        # a score that would be enough contradicts the no, and must not lift a case over its own threshold
        said = 0.0 if score is None else float(score)
        return violated(f"it says no{told}", score=said if said < (threshold or PASS_SCORE) else 0.0)
    if score is None:
        return held()
    return _by_score(float(score), threshold, passed is True, told)


def _by_score(score: float, threshold: float | None, passed: bool, told: str) -> Finding:
    if passed and threshold is None:
        return held(score) if score > 0 else violated(f"it says yes with a score of 0{told}")
    found = at_least(score, threshold or PASS_SCORE, "its score")
    return found if found.message == "" else violated(found.message + told, score=score)
