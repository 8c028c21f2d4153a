"""What an evaluation must show before a release goes on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from fairway.evals.values import CaseOutcome

ATTEMPTS_SHARE = 0.2
"""Share of alpha that is kept for every attempt after the first, together."""

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
        min_cases: With fewer cases nothing passes.
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

    def spent_at(self, attempt: int, wave: int) -> float:
        """Alpha of the look after ``wave`` of ``attempt``, both from 0; all of them together sum to at most alpha.

        The first attempt has all but :data:`ATTEMPTS_SHARE`, at once when its repeats are planned, else over its waves,
        most at the last one. Attempt ``a`` of those that follow has ``1 / (a (a + 1))`` of the rest.
        """
        spending = _ADAPTIVE_SPENDING if self.adaptive else _PLANNED_SPENDING
        if wave >= len(spending):
            return 0.0
        share = 1.0 - ATTEMPTS_SHARE if attempt == 0 else ATTEMPTS_SHARE / (attempt * (attempt + 1))
        return self.alpha * share * spending[wave]

    @property
    def first_alpha(self) -> float:
        """Alpha of the first attempt, all its looks together."""
        return self.alpha * (1.0 - ATTEMPTS_SHARE)

    @property
    def repeated_alpha(self) -> float:
        """Alpha of all attempts after the first, together."""
        return self.alpha * ATTEMPTS_SHARE
