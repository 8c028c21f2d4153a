"""What the gate found: the verdict, why, and every figure it rests on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from fairway.evals.gating.policy import Rule
from fairway.evals.values import CaseOutcome
from fairway.units import Verdict

REGRESSION = "REGRESSION"

_EXITS = {Verdict.PASS: 0, Verdict.FAIL: 1, Verdict.INCONCLUSIVE: 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """An estimate and where the truth lies with the given confidence; ``low`` and ``high`` may be infinite."""

    estimate: float
    low: float
    high: float
    confidence: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """The two sides' pass rates and how they compare.

    Attributes:
        cases, clusters: How many, of those on both sides; cases of one family are one cluster.
        trials: Decided trials of the candidate and of the baseline.
        candidate, baseline: Mean over cases of the pass rate of a case's trials, 0 to 1.
        difference: Candidate's minus the baseline's, over cases with decided trials on both sides; adaptive trials are
            weighted by the inverse probability of having been played.
        p_regression: P-value of the randomisation test of "no change" against "worse".
        alpha: What it had to be below, at this look.
        within_margin: Whether it is shown that the fall is less than the margin: what a PASS needs.
        rule: ``tango`` (K = 1), ``score`` (more repeats, or adaptive) or ``betting`` (from the second attempt on).
        attempt, wave: Which look this was, from 0.
        decided: The look the verdict was shown at, which may be an earlier one; ``None``: at none.
    """

    cases: int
    clusters: int
    trials: tuple[int, int]
    candidate: float
    baseline: float
    difference: Interval
    p_regression: float
    alpha: float
    within_margin: bool
    rule: str
    attempt: int = 0
    wave: int = 0
    decided: tuple[int, int] | None = None

    @property
    def decided_earlier(self) -> bool:
        """Whether an earlier look showed it, and the later ones neither repeat nor contradict it."""
        return self.decided is not None and self.decided != (self.attempt, self.wave)


@dataclass(frozen=True, slots=True, kw_only=True)
class PassPower:
    """pass^k: the chance that k fresh runs of a case *all* pass, mean over the cases that ran k times or more.

    Attributes:
        k: Runs that must all pass.
        cases: How many cases it is the mean of.
        candidate, baseline: Estimates; ``None``: no case of that side ran so often, or there is no such side.
    """

    k: int
    cases: int
    candidate: float
    baseline: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """Cost or tokens of the candidate over the baseline's, paired by case.

    Attributes:
        ratio: Geometric mean over cases of the ratio of a case's means, with its interval; ``None``: not known.
        totals: Mean of a case on each side, in millionths of a US dollar or in tokens; ``None``: not known.
        limit: What it may be at most; ``None``: gates nothing.
        unknown: Cases of which one side's figure is not known, as ``suite/id``.
        verdict: PASS, FAIL, INCONCLUSIVE, or ERROR when something needed is unknown; about the limit.
    """

    what: str
    ratio: Interval | None
    means: tuple[float, float] | None
    limit: float | None
    cases: int
    unknown: tuple[str, ...] = ()
    verdict: Verdict = Verdict.PASS


class Flag(StrEnum):
    """What the trials of one case say by themselves, after Holm's correction over all cases."""

    WORSE = "worse"
    BETTER = "better"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseFigure:
    """One case on both sides.

    Attributes:
        candidate, baseline: Passed and decided trials; ``None``: that side does not have the case.
        outcome: Of the candidate, by the case's own rule (k of K); ``None``: it does not have the case.
        p_worse, p_better: Fisher's exact test, one-sided, before correction.
        adjusted: The smaller of the two after Holm's correction.
    """

    suite: str
    case_id: str
    candidate: tuple[int, int] | None
    baseline: tuple[int, int] | None
    outcome: CaseOutcome | None
    critical: bool = False
    p_worse: float = 1.0
    p_better: float = 1.0
    adjusted: float = 1.0
    flag: Flag = Flag.NONE

    @property
    def name(self) -> str:
        """``suite/id``."""
        return f"{self.suite}/{self.case_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class WouldDecide:
    """What would decide an INCONCLUSIVE comparison, at the variance that was seen and with power 0.8.

    Attributes:
        detectable: The smallest fall this many cases and repeats would show as a REGRESSION, as a share.
        cases: Cases, with the repeats of now, that would PASS a candidate without a change; ``None``: not to be told.
        repeats: Repeats of each of the present cases that would; ``None``: repeats alone never would.
        floor: With fewer cases not even a run without one failure can pass.
    """

    detectable: float | None
    cases: int | None
    repeats: int | None
    floor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalDecision:
    """The gate's verdict and all it rests on.

    Attributes:
        reasons: Most important first; never empty.
        blocking: The cases that made the verdict what it is.
        counts: The candidate's trials by outcome.
        notes: What decides nothing but must be said.
        attempts: How many attempts of the candidate it rests on.
    """

    verdict: Verdict
    rule: Rule
    compared: bool
    reasons: tuple[str, ...]
    blocking: tuple[CaseFigure, ...] = ()
    quality: Quality | None = None
    pass_power: PassPower | None = None
    cost: Ratio | None = None
    tokens: Ratio | None = None
    cases: tuple[CaseFigure, ...] = ()
    would_decide: WouldDecide | None = None
    counts: Mapping[CaseOutcome, int] = field(default_factory=dict)
    tool_accuracy: float | None = None
    notes: tuple[str, ...] = ()
    attempts: int = 1

    @property
    def label(self) -> str:
        """The verdict as people read it: a FAIL of a comparison is a REGRESSION."""
        return REGRESSION if self.compared and self.verdict is Verdict.FAIL else self.verdict.value

    @property
    def exit_code(self) -> int:
        """0 PASS, 1 REGRESSION or FAIL, 2 INCONCLUSIVE, 3 ERROR and NO_DATA."""
        return _EXITS.get(self.verdict, 3)

    def to_json(self) -> dict[str, Any]:
        """As reports, evidence and ``-o json`` carry it; infinite bounds are null."""
        return {
            "verdict": self.verdict.value,
            "label": self.label,
            "rule": self.rule.value,
            "compared": self.compared,
            "attempts": self.attempts,
            "reasons": list(self.reasons),
            "notes": list(self.notes),
            "counts": {outcome.value: count for outcome, count in self.counts.items()},
            "tool_accuracy": self.tool_accuracy,
            "quality": _quality_json(self.quality) if self.quality else None,
            "pass_power": _pass_power_json(self.pass_power) if self.pass_power else None,
            "cost": _ratio_json(self.cost) if self.cost else None,
            "tokens": _ratio_json(self.tokens) if self.tokens else None,
            "would_decide": _would_decide_json(self.would_decide) if self.would_decide else None,
            "blocking": [case.name for case in self.blocking],
            "cases": [_case_json(case) for case in self.cases],
        }


def _interval_json(interval: Interval) -> dict[str, float | None]:
    finite = {"low": interval.low, "high": interval.high}
    bounds = {key: value if abs(value) != float("inf") else None for key, value in finite.items()}
    return {"estimate": interval.estimate, **bounds, "confidence": interval.confidence}


def _quality_json(quality: Quality) -> dict[str, Any]:
    return {
        "cases": quality.cases,
        "clusters": quality.clusters,
        "trials": {"candidate": quality.trials[0], "baseline": quality.trials[1]},
        "candidate": quality.candidate,
        "baseline": quality.baseline,
        "difference": _interval_json(quality.difference),
        "p_regression": quality.p_regression,
        "alpha": quality.alpha,
        "within_margin": quality.within_margin,
        "rule": quality.rule,
        "attempt": quality.attempt,
        "wave": quality.wave,
        "decided": list(quality.decided) if quality.decided else None,
    }


def _pass_power_json(power: PassPower) -> dict[str, Any]:
    return {"k": power.k, "cases": power.cases, "candidate": power.candidate, "baseline": power.baseline}


def _ratio_json(ratio: Ratio) -> dict[str, Any]:
    return {
        "ratio": _interval_json(ratio.ratio) if ratio.ratio else None,
        "candidate": ratio.means[0] if ratio.means else None,
        "baseline": ratio.means[1] if ratio.means else None,
        "limit": ratio.limit,
        "cases": ratio.cases,
        "unknown": list(ratio.unknown),
        "verdict": ratio.verdict.value,
    }


def _would_decide_json(would: WouldDecide) -> dict[str, Any]:
    return {
        "detectable": would.detectable,
        "cases": would.cases,
        "repeats": would.repeats,
        "floor": would.floor,
    }


def _case_json(case: CaseFigure) -> dict[str, Any]:
    return {
        "suite": case.suite,
        "case_id": case.case_id,
        "candidate": list(case.candidate) if case.candidate else None,
        "baseline": list(case.baseline) if case.baseline else None,
        "outcome": case.outcome.value if case.outcome else None,
        "critical": case.critical,
        "p_worse": case.p_worse,
        "p_better": case.p_better,
        "adjusted": case.adjusted,
        "flag": case.flag.value,
    }
