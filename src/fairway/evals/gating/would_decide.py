# ruff: noqa: RUF002 - Greek letters and minus signs stand as in the papers
"""What would decide a comparison that is not: more cases, or more repeats, at the variance that was seen."""

from __future__ import annotations

import math
from statistics import NormalDist

from fairway.evals.gating.decision import WouldDecide
from fairway.evals.gating.matching import Pairing, Tally
from fairway.evals.gating.policy import WAVES, EvalPolicy
from fairway.evals.gating.quality import cluster_means, see
from fairway.stats.paired_score import clusters_needed

POWER = 0.8
"""Chance of the verdict that the numbers of cases and repeats are given for."""

_MOST = 1_000_000
_NORMAL = NormalDist()


def would_decide(pairing: Pairing, policy: EvalPolicy) -> WouldDecide:
    """Numbers for a new run of planned repeats, should nothing have changed.

    ``n = (z_α + z_β)² (ω² + σ²/K) / m²`` with the margin as the effect: ω² is the variance between cases of the true
    differences and σ²/K what K repeats leave of the variance within a case; their sum is the variance of the cases'
    differences, and the second part is estimated from the repeats themselves.

    Source: Miller, "Adding error bars to evals", arXiv 2411.00640, section 5 (there for a difference from 0).
    """
    seen = see(pairing, pairing.looks[-1])
    values = cluster_means(pairing, seen.plain)
    count = len(values)
    last = WAVES - 1 if policy.adaptive else 0
    alpha = policy.within_alpha(last)
    floor = clusters_needed(policy.margin, alpha)
    if count < 2:
        return WouldDecide(detectable=None, cases=None, repeats=None, floor=floor)
    mean = sum(values) / count
    variance = sum((value - mean) ** 2 for value in values) / (count - 1)
    reach = _NORMAL.inv_cdf(1 - alpha) + _NORMAL.inv_cdf(POWER)
    seen_from = _NORMAL.inv_cdf(1 - policy.worse_alpha(0, last)) + _NORMAL.inv_cdf(POWER)
    clusters = max(floor, math.ceil(reach**2 * variance / policy.margin**2))
    cases = math.ceil(clusters * len(pairing.cases) / count)
    return WouldDecide(
        detectable=seen_from * math.sqrt(variance / count) if variance > 0 else None,
        cases=cases if cases <= _MOST else None,
        repeats=_repeats(pairing, variance, (policy.margin / reach) ** 2 * count) if count >= floor else None,
        floor=floor,
    )


def _repeats(pairing: Pairing, variance: float, allowed: float) -> int | None:
    """Repeats of each case after which the variance of the clusters' differences is ``allowed``.

    ``None`` when cases ran once, so that nothing is known of the variance within them, when cases come in families, or
    when the differences between cases alone are too many.
    """
    if len(pairing.clusters) < len(pairing.cases) or len(pairing.looks) > 1:
        return None
    sides = [one for case in pairing.cases for one in (case.mine.get((0, 0)), case.theirs.get((0, 0))) if one]
    if not sides or any(one.decided < 2 for one in sides):
        return None
    within = sum(_noise(one) for one in sides) / len(pairing.cases)
    trials = sum(one.decided for one in sides) / len(sides)
    left = allowed - max(0.0, variance - within)
    if left <= 0:
        return None
    return max(math.ceil(trials * within / left), math.ceil(trials))


def _noise(one: Tally) -> float:
    """Unbiased estimate of the variance of a pass rate over its trials."""
    rate = one.passed / one.decided
    return rate * (1 - rate) / (one.decided - 1)
