"""How the judges grade: a plain value, all of it part of the instrument."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from fairway.units import Digest

JUDGE_VERSION = "2"
"""Raised whenever a question to a judge or the reading of its answer changes; part of the instrument digest."""

DEFAULT_SCALE: Mapping[str, float] = {"meets": 1.0, "mostly_meets": 0.7, "partly_meets": 0.4, "does_not_meet": 0.0}
"""Grades of a rubric from best to worst and the score each stands for."""


class PanelRule(StrEnum):
    """What the votes of several grades come to.

    ``majority``: the lower middle of the scores, which reaches a threshold exactly when more than half of them do.
    ``unanimous``: the lowest score, which reaches it when all do.
    """

    MAJORITY = "majority"
    UNANIMOUS = "unanimous"


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthRules:
    """What a judge must show on the calibration set before its grades count.

    Attributes:
        items: Labelled items at least, and ``each`` of good and of bad ones.
        sensitivity, specificity: Least share of good items it passes, of bad ones it fails.
        kappa: Least agreement with the labels beyond chance.
        flip_rate: Largest share of items on which its own repeated grades disagree, and of items on which it differs
            from the recorded calibration.
        repeats: How often each item is graded; with 1 the flip rate is not known and not asked for.
        drift_alpha: A loss against the recorded calibration counts as drift at this level.
    """

    items: int = 20
    each: int = 5
    sensitivity: float = 0.8
    specificity: float = 0.8
    kappa: float = 0.6
    flip_rate: float = 0.1
    repeats: int = 2
    drift_alpha: float = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeSettings:
    """How the judges grade.

    Attributes:
        model: Provider and model as the project names it; for reports and the instrument digest.
        panel: Further models that grade the same; empty: ``model`` alone.
        rule: What their votes come to.
        guidance: What holds for every case, added before its rubric; ``None``: nothing.
        scale: Grade words of a rubric and their scores, 0 to 1.
        threshold: A graded assertion that says nothing else holds with this score or more.
        max_tokens: Of a judge's answer; where claims are listed, at least `CLAIMS_TOKENS`.
        repeats: Independent grades of each model; they vote first, by the same rule.
        health: What the calibration must show; ``None``: there is no calibration set.
        calibration_set: Digest of the set; ``None``: there is none.
        parameters: Of the requests to a model, by its name, besides what is said here.
    """

    model: str
    panel: tuple[str, ...] = ()
    rule: PanelRule = PanelRule.MAJORITY
    guidance: str | None = None
    scale: Mapping[str, float] = field(default_factory=lambda: dict(DEFAULT_SCALE))
    threshold: float = 0.7
    max_tokens: int = 512
    repeats: int = 1
    health: HealthRules | None = None
    calibration_set: Digest | None = None
    parameters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        problem = scale_problem(self.scale)
        if problem is not None:
            raise ValueError(problem)
        if self.repeats < 1 or len(set(self.models)) != len(self.models):
            raise ValueError("judges need a repeat or more, and each model once")

    @property
    def models(self) -> tuple[str, ...]:
        """Every model that votes, in the order of reports."""
        return (self.model, *self.panel)


CLAIMS_TOKENS = 4096
"""A judge that lists claims is given at least so many tokens for it."""


def scale_problem(scale: object) -> str | None:
    """What is wrong with grade words and their scores; ``None``: nothing."""
    if not isinstance(scale, Mapping) or len(scale) < 2:
        return "a scale needs two or more grades, each with its score"
    for word, score in scale.items():
        if not isinstance(word, str) or not word or word != word.strip() or len(word) > 64 or not word.isprintable():
            return f"{word!r} is no grade: a printable word of at most 64 characters"
        if isinstance(score, bool) or not isinstance(score, int | float) or not 0.0 <= score <= 1.0:
            return f"the score of grade {word!r} of the scale is not from 0 to 1"
    if min(scale.values()) == max(scale.values()):
        return "every grade of the scale has the same score"
    return None
