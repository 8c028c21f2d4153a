# ruff: noqa: RUF002 - Greek letters and minus signs stand as in the papers
"""The ratio of two means of independent samples, with an interval: for a fixed window, not for repeated looks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fairway.stats.intervals import beta_quantile


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanRatio:
    """``mean(first) / mean(second)`` and its two-sided interval."""

    ratio: float
    lower: float
    upper: float


def mean_ratio(first: Sequence[float], second: Sequence[float], *, confidence: float = 0.98) -> MeanRatio | None:
    """How many times the mean of ``second`` the mean of ``first`` is.

    Welch's t on the logarithm of the ratio (delta method): variance ``s₁²/(n₁m₁²) + s₂²/(n₂m₂²)``, degrees of freedom
    by Satterthwaite. Each variance is taken with one more deviation of a quarter of the common mean, so that a sample
    in which all values are equal is not believed to have no variance at all.

    Source: Welch 1947, on the log scale. Approximate for skewed samples of unlike size: of a nominal 1 % a bound errs
    in up to 4 % of log-normal samples (σ = 1) of 30 against 300, in 1-2 % of samples of one size, which the tests show.

    Args:
        first: At least two values ≥ 0, independent of each other.
        second: The same.
        confidence: Of the interval; either bound alone errs with half the rest.

    Returns:
        ``None`` when there are fewer, or a mean is 0: then no ratio is known.
    """
    if min(len(first), len(second)) < 2:
        return None
    means = (math.fsum(first) / len(first), math.fsum(second) / len(second))
    if min(means) <= 0:
        return None
    common = (means[0] + means[1]) / 2
    parts = []
    for values, mean in zip((first, second), means, strict=True):
        squares = math.fsum((value - mean) ** 2 for value in values) + (common / 4) ** 2
        parts.append((squares / (len(values) - 1) / (len(values) * mean * mean), len(values) - 1))
    variance = parts[0][0] + parts[1][0]
    freedom = variance**2 / sum(part**2 / degrees for part, degrees in parts)
    width = t_quantile((1 + confidence) / 2, freedom) * math.sqrt(variance)
    ratio = means[0] / means[1]
    return MeanRatio(ratio=ratio, lower=ratio * math.exp(-width), upper=ratio * math.exp(width))


def t_quantile(probability: float, freedom: float) -> float:
    """The ``probability`` ≥ ½ quantile of Student's t with ``freedom`` > 0 degrees of freedom.

    Source: ``t² = f (1 − x)/x`` with x the ``2(1 − p)`` quantile of Beta(f/2, ½).
    """
    x = beta_quantile(2 * (1 - probability), freedom / 2, 0.5)
    return math.sqrt(freedom * (1 - x) / x) if x > 0 else math.inf
