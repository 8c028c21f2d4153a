# ruff: noqa: RUF002 - Greek letters and minus signs stand as in the papers
"""Two rates of few trials, compared exactly; many such comparisons corrected; and the chance that k runs all pass."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache


@lru_cache(maxsize=65_536)
def fisher_lower(passed: int, trials: int, other_passed: int, other_trials: int) -> float:
    """Fisher's exact one-sided p-value of "the same rate" against "the first is lower"; 1 without trials.

    Source: Fisher 1935; the hypergeometric lower tail.
    """
    total = passed + other_passed
    whole = math.comb(trials + other_trials, total)
    ways = sum(math.comb(trials, a) * math.comb(other_trials, total - a) for a in range(passed + 1) if total >= a)
    return ways / whole


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Adjusted p-values: rejecting those ≤ α keeps the chance of *any* false one at α, however they depend.

    Source: Holm 1979, "A simple sequentially rejective multiple test procedure".
    """
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted = [1.0] * len(p_values)
    running = 0.0
    for rank, index in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return tuple(adjusted)


def pass_power_k(passed: int, trials: int, k: int) -> float | None:
    """pass^k of one case: the share of the ways to draw k of its trials in which all passed; ``None`` with fewer.

    ``C(c, k) / C(n, k)`` is unbiased for p^k, which ``(c/n)^k`` is not.

    Source: Yao et al., "τ-bench", arXiv 2406.12045, section 3.
    """
    return math.comb(passed, k) / math.comb(trials, k) if trials >= k > 0 else None
