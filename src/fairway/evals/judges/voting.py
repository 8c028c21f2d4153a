"""What the votes of several grades come to: pure. A vote that was not cast could have been anything."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fairway.evals.judges.answer import Graded
from fairway.evals.judges.settings import PanelRule
from fairway.evals.values import Found


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """One model's grade in one repeat, or why there is none.

    Attributes:
        repeat: From 0.
        grade: ``None``: there is none.
        missing, problem: What it is instead (``invalid``, ``error``, ``unknown``) and why; ``None``: there is a grade.
        calls: Paid calls it took.
        cost_micros: What they cost, in millionths of a US dollar; ``None``: not known.
    """

    model: str
    repeat: int = 0
    grade: Graded | None = None
    missing: Found | None = None
    problem: str | None = None
    calls: int = 0
    cost_micros: int | None = 0

    def to_json(self) -> dict[str, Any]:
        """As a report shows it."""
        said: dict[str, Any] = {"model": self.model, "repeat": self.repeat}
        if self.grade is None:
            return said | {"missing": (self.missing or Found.ERROR).value, "problem": self.problem or ""}
        grade = self.grade
        return said | {"grade": grade.grade, "score": grade.score, "reason": grade.reason, "attempts": grade.attempts}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What votes come to.

    Attributes:
        found: HELD or VIOLATED; else why it could not be decided.
        score: The lowest the missing votes leave possible, 0 to 1; ``None``: undecided.
        shown: The vote whose reason a report shows; ``None``: none was cast.
        agreement: Share of votes that are the most frequent one, a missing one being a vote of its own.
    """

    found: Found
    score: float | None
    shown: Vote | None
    agreement: float


def tally(votes: Sequence[Vote], *, rule: PanelRule, threshold: float, negated: bool = False) -> Tally:
    """What votes come to: each model's repeats first, then the models, by the same rule.

    A missing vote could have been anything from far below every grade to far above. The outcome stands when it is the
    same at both ends, so that a vote nobody could read changes no outcome and decides none; else it is undecided:
    ``error`` when a vote could not be asked for (asking again may help), then ``invalid``, then ``unknown``.

    Args:
        votes: One or more.
        rule: How votes become one.
        threshold: It holds with this score or more.
        negated: It holds when it does not; what is undecided stays so.
    """
    low = _by_model(votes, rule, -math.inf)
    high = _by_model(votes, rule, math.inf)
    missing = {vote.missing or Found.ERROR for vote in votes if vote.grade is None}
    agreement = max(Counter(_word(vote) for vote in votes).values()) / len(votes)
    if (low >= threshold) != (high >= threshold):
        found = next(kind for kind in (Found.ERROR, Found.INVALID, Found.UNKNOWN) if kind in missing)
        shown = next(vote for vote in votes if vote.grade is None and (vote.missing or Found.ERROR) is found)
        return Tally(found=found, score=None, shown=shown, agreement=agreement)
    held = (low >= threshold) != negated
    score = 1.0 - min(high, 1.0) if negated else max(low, 0.0)
    decided = low if low >= threshold else high
    return Tally(
        found=Found.HELD if held else Found.VIOLATED,
        score=score,
        shown=_nearest(votes, decided),
        agreement=agreement,
    )


def _by_model(votes: Sequence[Vote], rule: PanelRule, missing: float) -> float:
    models: dict[str, list[float]] = {}
    for vote in votes:
        models.setdefault(vote.model, []).append(missing if vote.grade is None else vote.grade.score)
    return _reduced([_reduced(scores, rule) for scores in models.values()], rule)


def _reduced(scores: Sequence[float], rule: PanelRule) -> float:
    ordered = sorted(scores)
    return ordered[0] if rule is PanelRule.UNANIMOUS else ordered[(len(ordered) - 1) // 2]


def _word(vote: Vote) -> str:
    return f"grade {vote.grade.grade}" if vote.grade is not None else f"missing {vote.missing}"


def _nearest(votes: Sequence[Vote], score: float) -> Vote | None:
    cast = [vote for vote in votes if vote.grade is not None]
    return min(cast, key=lambda vote: abs((vote.grade.score if vote.grade else 0.0) - score), default=None)
