"""What an evaluation must show before a release goes on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from fairway.evals.values import CaseOutcome

_KEPT_WORSE = 0.05
"""Share of alpha that REGRESSION keeps for all attempts after the first. They add trials to those of the first, so that
a fall the first one nearly showed is shown by the next at a far smaller alpha."""

_KEPT_WITHIN = 0.20
"""Share of alpha that PASS keeps for the attempts after the first. More, because the test of the first attempt is
asymptotic, and what it may err beyond its nominal share comes out of this."""

_PLANNED_SPENDING = (1.0,)
_ADAPTIVE_SPENDING = (0.05, 0.15, 0.30, 0.50)

WAVES = len(_ADAPTIVE_SPENDING)
"""How many waves an adaptive attempt has at most; the first plays what was planned."""


class Rule(StrEnum):
    """How quality is judged: against a baseline, or only by the share of cases that failed."""

    COMPARE = "compare"
    SIMPLE = "simple"


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalPolicy:
    """What the gate asks. It is fixed before the first attempt: the error rates hold for a policy nobody adjusts after.

    Attributes:
        margin: By how much the suite's mean pass rate may fall, in (0, 1): 0.05 is five points.
        alpha: Error of each of the two verdicts, over all looks and attempts: REGRESSION without a change, and PASS of
            a candidate that is worse by the margin.
        max_failed: SIMPLE: failed cases must be *fewer* than this share of those that could be decided.
        max_errors, max_invalid, max_unknown: Share of a side's trials that may end so; 0 tolerates none.
        tool_accuracy: Share of the expected tool calls that must be made; ``None``: not looked at.
        cost_ratio, token_ratio: Candidate's cost or tokens a case over the baseline's may be at most this; ``None``:
            reported, gates nothing.
        min_cases: With fewer cases that were decided, on both sides where there are two, nothing passes.
        gate_flags: A case that is worse by itself, after Holm's correction, is a REGRESSION; else it is only shown.
        adaptive: Repeats are added in waves where the outcome is in doubt, so that the gate looks more than once in an
            attempt; alpha is spent accordingly.
        max_repeat: So many repeats of a case an adaptive attempt plays at most, on each side.
    """

    rule: Rule = Rule.COMPARE
    margin: float = 0.05
    alpha: float = 0.05
    max_failed: float = 0.10
    max_errors: float = 0.0
    max_invalid: float = 0.0
    max_unknown: float = 0.0
    tool_accuracy: float | None = None
    cost_ratio: float | None = None
    token_ratio: float | None = None
    min_cases: int = 1
    gate_flags: bool = False
    adaptive: bool = False
    max_repeat: int = 8

    def __post_init__(self) -> None:
        """Refuse what no gate can mean.

        Raises:
            ValueError: A share outside its range, or a ratio that is not positive.
        """
        for name, share in (("margin", self.margin), ("alpha", self.alpha)):
            if not 0 < share < 1:
                raise ValueError(f"{name} must be between 0 and 1, got {share}")
        shares = (self.max_failed, self.max_errors, self.max_invalid, self.max_unknown, self.tool_accuracy)
        if any(share is not None and not 0 <= share <= 1 for share in shares):
            raise ValueError("a share must be between 0 and 1")
        for ratio in (self.cost_ratio, self.token_ratio):
            if ratio is not None and not (ratio > 0 and math.isfinite(ratio)):
                raise ValueError("a ratio must be a positive number")
        if self.min_cases < 1 or self.max_repeat < 1:
            raise ValueError("min_cases and max_repeat must be 1 or more")

    def cap(self, outcome: CaseOutcome) -> float:
        """The tolerated share of an undecided outcome."""
        caps = {CaseOutcome.ERROR: self.max_errors, CaseOutcome.INVALID: self.max_invalid}
        return caps.get(outcome, self.max_unknown)

    def worse_alpha(self, attempt: int, wave: int) -> float:
        """Alpha of REGRESSION at the look after ``wave`` of ``attempt``, both from 0; all together at most alpha.

        The first attempt has nearly all of it, at once when its repeats are planned, else over its waves, most at the
        last one. Attempt ``a`` of those that follow has ``1 / (a (a + 1))`` of the rest.
        """
        share = 1.0 - _KEPT_WORSE if attempt == 0 else _KEPT_WORSE / (attempt * (attempt + 1))
        return self.alpha * share * self._spending(wave)

    def within_alpha(self, wave: int) -> float:
        """Alpha of PASS at the look after ``wave`` of the first attempt."""
        return self.alpha * (1.0 - _KEPT_WITHIN) * self._spending(wave)

    @property
    def later_within_alpha(self) -> float:
        """Alpha of PASS in all attempts after the first, together."""
        return self.alpha * _KEPT_WITHIN

    def _spending(self, wave: int) -> float:
        spending = _ADAPTIVE_SPENDING if self.adaptive else _PLANNED_SPENDING
        return spending[wave] if wave < len(spending) else 0.0
