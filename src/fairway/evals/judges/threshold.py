"""The score a judged assertion needs."""

from __future__ import annotations

from fairway.evals.judges.kinds import JUDGE_KINDS
from fairway.evals.judges.settings import JudgeSettings
from fairway.evals.values import Assertion


def threshold_of(assertion: Assertion, settings: JudgeSettings) -> float:
    """What the suite says, else what the kind needs, else what the settings say; 0 to 1."""
    if assertion.threshold is not None:
        return assertion.threshold
    own = JUDGE_KINDS[assertion.type].threshold
    return settings.threshold if own is None else own
