# ruff: noqa: RUF002 - minus signs stand as in the papers
"""Cost and tokens of the candidate over the baseline's, paired by case."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache

from fairway.evals.gating.decision import Interval, Ratio
from fairway.evals.gating.matching import Pairing
from fairway.evals.trials import CaseTrials
from fairway.evals.values import UNDECIDED, CaseOutcome
from fairway.stats.intervals import beta_quantile
from fairway.units import Verdict

Figures = Callable[[CaseTrials], Sequence[int | None]]


def compare_figures(pairing: Pairing, what: str, figures: Figures, *, limit: float | None, alpha: float) -> Ratio:
    """The geometric mean over cases of the ratio of a case's means, with its interval.

    A Student interval of the mean log ratio, its spread taken over clusters with the factor C/(C − 1) (Liang and Zeger
    1986; the same estimate as in Miller, arXiv 2411.00640, section 2.2). With one cluster nothing is known of the
    spread and the interval is everything.

    Args:
        pairing: Cases on both sides.
        what: How reports call it.
        figures: The figure of each trial of a case; ``None``: not known.
        limit: What the ratio may be at most; ``None``: reported only.
        alpha: Error of the interval, both sides together.
    """
    logs: list[float | None] = []
    unknown, mine, theirs = [], [], []
    for case in pairing.cases:
        one, other = _mean(case.candidate, figures), _mean(case.baseline, figures)
        if one is None or other is None or (one == 0) != (other == 0):
            unknown.append(f"{case.candidate.suite}/{case.candidate.case_id}")
            logs.append(None)
            continue
        mine.append(one)
        theirs.append(other)
        logs.append(math.log(one / other) if other else 0.0)
    ratio = _interval(pairing, logs, alpha)
    return Ratio(
        what=what,
        ratio=ratio,
        means=(sum(mine) / len(mine), sum(theirs) / len(theirs)) if mine else None,
        limit=limit,
        cases=len(mine),
        unknown=tuple(unknown),
        verdict=_verdict(ratio, limit, unknown),
    )


def _verdict(ratio: Interval | None, limit: float | None, unknown: Sequence[str]) -> Verdict:
    if limit is None:
        return Verdict.PASS
    if unknown or ratio is None:
        return Verdict.ERROR
    if ratio.high <= limit * (1 + 1e-9):
        return Verdict.PASS
    return Verdict.FAIL if ratio.low > limit else Verdict.INCONCLUSIVE


def _mean(case: CaseTrials, figures: Figures) -> float | None:
    """Mean of the decided trials; ``None`` when one of them does not say, or there is none."""
    seen, outcomes = figures(case), case.outcomes
    if outcomes.count(CaseOutcome.PASSED) + outcomes.count(CaseOutcome.FAILED) < len(outcomes):
        seen = [figure for figure, outcome in zip(seen, outcomes, strict=True) if outcome not in UNDECIDED]
    if not seen or None in seen:
        return None
    return sum(figure for figure in seen if figure is not None) / len(seen)


def _interval(pairing: Pairing, logs: Sequence[float | None], alpha: float) -> Interval | None:
    known = [value for value in logs if value is not None]
    if not known:
        return None
    mean = sum(known) / len(known)
    sums = [
        sum(value - mean for index in members if (value := logs[index]) is not None)
        for members in pairing.clusters
        if any(logs[index] is not None for index in members)
    ]
    count = len(sums)
    if count < 2:
        return Interval(estimate=math.exp(mean), low=0.0, high=math.inf, confidence=1 - alpha)
    error = math.sqrt(count / (count - 1) * sum(value * value for value in sums)) / len(known)
    reach = student(1 - alpha / 2, count - 1) * error
    return Interval(estimate=math.exp(mean), low=math.exp(mean - reach), high=_exp(mean + reach), confidence=1 - alpha)


def _exp(value: float) -> float:
    return math.exp(value) if value < 700 else math.inf


@lru_cache(maxsize=256)
def student(probability: float, degrees: int) -> float:
    """The quantile of Student's distribution for a ``probability`` in (0.5, 1): ``t² = ν (1 − x)/x``, x from a beta."""
    x = beta_quantile(2 * (1 - probability), degrees / 2, 0.5)
    return math.sqrt(degrees * (1 - x) / x) if x > 0 else math.inf
