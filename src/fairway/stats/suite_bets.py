# ruff: noqa: RUF002 - Greek letters and minus signs stand as in the papers
"""An e-value for "the suite's mean fell by the margin or more", that goes on over any number of attempts.

In a round both arms play every case once or more. With ``S_c`` the sum of the differences of a cluster's ``n_c``
cases, the wealth of a bet λ is multiplied by ``Π_c (1 + λ (S_c + n_c m))``. Given the past the clusters are independent
and the expected factor is at most ``(1 + λ · mean over clusters of n_c (Δ_c + m))^C ≤ 1`` when the *suite's* mean
difference is −m or less, whatever the single cases' true differences (the inequality of arithmetic and geometric means;
this is what a constant bet buys). So wealth over rounds is a supermartingale, and so is its mean over a grid of bets.

Error bound: ``P(wealth ever ≥ 1/α) ≤ α`` (Ville), at every number of cases, trials and attempts: re-running until it
passes does not help. In adaptive waves that play a case with probability π > 0 known beforehand, ``D / π`` stands for
its difference, 0 when it was not played; the largest bet shrinks to match.

Source: Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting", arXiv 2010.09686, sections
3-4 (constant and mixed bets), where the observations have one common mean; the weaker condition is as shown above.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fairway.stats.logspace import log_mean_exp

_BETS = (0.004, 0.008, 0.016, 0.03, 0.06, 0.11, 0.2, 0.35, 0.6, 1.0)
"""Shares of the largest bet that cannot lose more than everything."""

_LOG_WEIGHTS = tuple(-math.log(len(_BETS)) for _ in _BETS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What one round showed.

    Attributes:
        clusters: Sum of the differences and number of cases of each cluster, and how many such clusters there are.
        lowest: The smallest value a case's difference can have in this round, known before it: −1, or −1/π.
    """

    clusters: Mapping[tuple[float, int], int]
    lowest: float = -1.0


def log_wealth(rounds: Sequence[Round], margin: float) -> float:
    """``ln`` of the wealth against "the mean difference is −``margin`` or less"; 0 without rounds.

    Rises with every difference and with the margin.

    Args:
        rounds: In any order; each played fresh by both arms, or a single one.
        margin: m in (−1, 1).
    """
    logs = [0.0] * len(_BETS)
    for one in rounds:
        if not one.clusters:
            continue
        widest = max(cases for _, cases in one.clusters)
        most = 1.0 / (widest * (-one.lowest - margin))
        for index, share in enumerate(_BETS):
            logs[index] += _gain(one, share * most, margin)
    return log_mean_exp(logs, _LOG_WEIGHTS)


def mean_bound(rounds: Sequence[Round], log_needed: float) -> float:
    """The lower confidence bound of the mean: what :func:`log_wealth` does not exclude at ``log_needed``, to 1e-4."""
    low, high = -1.0, 1.0
    if log_wealth(rounds, 1 - 1e-6) < log_needed:
        return -1.0
    while high - low > 1e-4:
        middle = (low + high) / 2
        if log_wealth(rounds, -middle) >= log_needed:
            low = middle
        else:
            high = middle
    return low


def _gain(one: Round, bet: float, margin: float) -> float:
    total = 0.0
    for (difference, cases), often in one.clusters.items():
        factor = 1.0 + bet * (difference + cases * margin)
        if factor <= 0.0:
            return -math.inf
        total += often * math.log(factor)
    return total
