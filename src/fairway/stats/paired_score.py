# ruff: noqa: RUF002 - Greek letters and minus signs stand as in the papers
"""Tango's score test for a mean of paired differences, for graded differences too.

Against "the mean is μ₀" the statistic is ``z = √n (d̄ − μ₀) / σ₀``, with σ₀ the spread under the *null*: of the most
likely distribution that has mean μ₀, among those on the values that were seen and the lowest possible one. For
differences of −1, 0 and 1 (one trial an arm) this is Tango's test for paired proportions, also where nothing differs:
the null puts its mass on values nobody saw, so a spread of 0 never makes certainty. With more repeats the differences
are graded and the most likely distribution is the one of the empirical likelihood.

Source: Tango, "Equivalence test and confidence interval for the difference in proportions for the paired-sample
design", Statistics in Medicine 17 (1998) 891-908; Owen, "Empirical likelihood" (2001), section 2.9 (weights
``1 / (n (1 + λ(y − μ₀)))``); the lowest value joins the support as in Honda and Takemura, JMLR 16 (2015), section 3.

Error bound: asymptotic; the size at the margin is measured, not proven (docs/evals/gate.md). What a gate needs besides
is the exact floor of :func:`clusters_needed`, below which even a run without one failure could be chance.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

Weighted = Mapping[float, int]
"""Values and how often each was seen."""


def score_above(values: Weighted, null: float, lowest: float) -> float:
    """``z`` against "the mean is ``null`` or less"; 0 when the mean is not above it.

    Args:
        values: At least one; none below ``lowest``.
        null: μ₀ > ``lowest``.
        lowest: The smallest value a difference can have, seen or not.
    """
    count = sum(values.values())
    edge = sum(value * often for value, often in values.items()) - count * null
    if edge <= 0:
        return 0.0
    if null <= lowest:
        return math.inf
    return edge / math.sqrt(count * _null_variance(values, count, null, lowest))


def lower_bound(values: Weighted, z: float, lowest: float) -> float:
    """The smallest mean that the test does not reject at ``z``, to 1e-5; ``lowest`` when it rejects none."""
    mean = sum(value * often for value, often in values.items()) / sum(values.values())
    near = lowest + 1e-7 * max(1.0, mean - lowest)
    if mean <= near or score_above(values, near, lowest) <= z:
        return lowest
    return _crossing(lambda null: score_above(values, null, lowest) - z, near, mean, 1e-5)


def clusters_needed(margin: float, alpha: float) -> int:
    """Cases without one failure that exclude a fall by ``margin``: ``⌈ln α / ln(1 − margin)⌉``.

    If one case in ``1/margin`` broke for good, a suite of n cases would still look clean with ``(1 − margin)^n``.
    """
    return math.ceil(math.log(alpha) / math.log1p(-margin) - 1e-9)


def _null_variance(values: Weighted, count: int, null: float, lowest: float) -> float:
    """Variance of the most likely distribution with mean ``null``, when the mean that was seen is higher."""
    moved = [(value - null, often) for value, often in values.items()]
    below = lowest - null
    most = -1.0 / below
    tilt = most if _pull(moved, most) >= 0 else _tilt(moved, most)
    shares = [(offset, often / (count * (1.0 + tilt * offset))) for offset, often in moved if tilt * offset > -1]
    left = max(0.0, 1.0 - sum(share for _, share in shares))
    return sum(share * offset * offset for offset, share in shares) + left * below * below


def _pull(moved: list[tuple[float, int]], tilt: float) -> float:
    """Derivative of the log likelihood ratio; falls with the tilt."""
    total = 0.0
    for offset, often in moved:
        room = 1.0 + tilt * offset
        if room <= 1e-12:
            return -math.inf
        total += often * offset / room
    return total


def _tilt(moved: list[tuple[float, int]], most: float) -> float:
    """Where the pull is 0, in (0, ``most``), by Newton's method kept inside a bracket."""
    low, high, tilt = 0.0, most, most / 2
    for _ in range(100):
        pull = slope = 0.0
        for offset, often in moved:
            part = offset / (1.0 + tilt * offset)
            pull += often * part
            slope += often * part * part
        low, high = (tilt, high) if pull > 0 else (low, tilt)
        step = tilt + pull / slope
        following = step if low < step < high else (low + high) / 2
        if abs(following - tilt) <= 1e-9 * most:
            return following
        tilt = following
    return tilt


def _crossing(function: Callable[[float], float], positive: float, negative: float, tolerance: float) -> float:
    """Where ``function`` changes sign: regula falsi with the Illinois step; the positive end of the last bracket."""
    above, below = function(positive), function(negative)
    side = 0
    for _ in range(100):
        if abs(positive - negative) <= tolerance:
            break
        middle = positive + (negative - positive) * (above / (above - below) if math.isfinite(above) else 0.5)
        inset = 0.05 * tolerance
        low, high = min(positive, negative), max(positive, negative)
        middle = min(max(middle, low + inset), high - inset)
        value = function(middle)
        if value > 0:
            positive, above = middle, value
            below *= 0.5 if side == 1 else 1.0
            side = 1
        else:
            negative, below = middle, value
            above *= 0.5 if side == -1 else 1.0
            side = -1
    return positive
