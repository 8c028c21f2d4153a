# ruff: noqa: RUF002 - Greek letters and minus signs stand as in the papers
"""Intervals for a share: one that may be looked at any time (a confidence sequence), one for a fixed count."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

DEFAULT_TUNED_UNITS = 500.0
"""Units at which the confidence sequence is tightest; tens to tens of thousands lose little."""

_TUNED_ALPHA = 0.05
_LOG_20 = math.log(1 / _TUNED_ALPHA)
_NORMALISER = 2 * _LOG_20 + math.log(1 + 2 * _LOG_20)


def log_e_rate(bad: int, units: int, rate: float, *, tuned_units: float = DEFAULT_TUNED_UNITS) -> float:
    """``ln E`` against "the rate is exactly ``rate``", two-sided.

    The beta-binomial mixture ``B(a + x, b + n − x) / B(a, b) / (p^x (1 − p)^{n − x})`` with ``a = cp, b = c(1 − p)``,
    so that the prior sits around the null and its width follows it.

    Source: Howard, Ramdas, McAuliffe, Sekhon, "Time-uniform, nonparametric, nonasymptotic confidence sequences", arXiv
    1810.08240, proposition 7, and the tuning of their package ``confseq`` (``bernoulli_confidence_interval``), whose
    published values the tests reproduce to 1e-5.

    Args:
        bad: Units with a bad event, ``x``.
        units: Units, ``n``.
        rate: ``p`` in (0, 1).
        tuned_units: Where the sequence is tightest.
    """
    concentration = max(tuned_units / _NORMALISER - 1.0, 1e-3)
    a, b = concentration * rate, concentration * (1.0 - rate)
    good = units - bad
    gamma = math.lgamma
    return (
        (gamma(a + bad) - gamma(a) if bad else 0.0)
        + (gamma(b + good) - gamma(b) if good else 0.0)
        - gamma(concentration + units)
        + gamma(concentration)
        - bad * math.log(rate)
        - good * math.log1p(-rate)
    )


def rate_bounds(bad: int, units: int, alpha: float, *, tuned_units: float = DEFAULT_TUNED_UNITS) -> tuple[float, float]:
    """A confidence sequence for a rate: with probability ≥ 1 − ``alpha`` it holds the rate at every look, together.

    All rates that :func:`log_e_rate` does not reject at ``alpha``. Assumes that each unit, given the past, is bad with
    the same probability; under drift it brackets the mean rate only roughly, and what uses it says how it copes.

    Args:
        bad: Units with a bad event.
        units: Units counted.
        alpha: Error over all looks and both sides.
        tuned_units: Where the sequence is tightest.

    Returns:
        Lower and upper bound, to a relative 1e-7; ``(0, 1)`` without units.
    """
    return (
        rate_lower(bad, units, alpha, tuned_units=tuned_units),
        rate_upper(bad, units, alpha, tuned_units=tuned_units),
    )


_TINY = 1e-12


@lru_cache(maxsize=4096)
def rate_lower(bad: int, units: int, alpha: float, *, tuned_units: float = DEFAULT_TUNED_UNITS) -> float:
    """The lower bound of :func:`rate_bounds` alone."""
    excess = _excess(bad, units, alpha, tuned_units)
    return _root(excess, _TINY, bad / units) if bad and excess(_TINY) > 0 else 0.0


@lru_cache(maxsize=4096)
def rate_upper(bad: int, units: int, alpha: float, *, tuned_units: float = DEFAULT_TUNED_UNITS) -> float:
    """The upper bound of :func:`rate_bounds` alone."""
    excess = _excess(bad, units, alpha, tuned_units)
    return _root(excess, 1 - _TINY, bad / units) if bad < units and excess(1 - _TINY) > 0 else 1.0


def _excess(bad: int, units: int, alpha: float, tuned_units: float) -> Callable[[float], float]:
    threshold = math.log(1.0 / alpha)

    def excess(rate: float) -> float:
        return log_e_rate(bad, units, min(max(rate, _TINY), 1 - _TINY), tuned_units=tuned_units) - threshold

    return excess


def _root(function: Callable[[float], float], outside: float, inside: float) -> float:
    """Where ``function`` falls from above zero at ``outside`` to below zero at ``inside``; a point still outside.

    Bisection while the ends differ by much - in the geometric middle when by orders of magnitude, because rates near 0
    are what this is for - then regula falsi with the Illinois step (Dowell and Jarratt 1971).
    """
    above, below = function(outside), function(inside)
    side = 0
    for _ in range(200):
        low, high = min(outside, inside), max(outside, inside)
        if high - low <= 1e-7 * high:
            break
        if above > 3.0:
            middle = math.sqrt(low * high) if low > 0 and high > 4 * low else (low + high) / 2
            side = 0
        else:
            middle = outside + (inside - outside) * above / (above - below)
            margin = 2e-8 * (high - low) + 1e-9 * high  # so that both ends close in
            middle = min(max(middle, low + margin), high - margin)
        value = function(middle)
        if value > 0:
            outside, above = middle, value
            below *= 0.5 if side == 1 else 1.0
            side = 1
        else:
            inside, below = middle, value
            above *= 0.5 if side == -1 else 1.0
            side = -1
    return outside


def clopper_pearson(bad: int, units: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """The exact interval of a rate for a count fixed beforehand: for reports and tests, not for repeated looks.

    Source: Clopper and Pearson 1934; both tails ``(1 − confidence) / 2``, from the regularised incomplete beta
    function.
    """
    tail = (1.0 - confidence) / 2
    lower = 0.0 if bad == 0 else beta_quantile(tail, bad, units - bad + 1)
    upper = 1.0 if bad == units else beta_quantile(1 - tail, bad + 1, units - bad)
    return lower, upper


def beta_quantile(probability: float, a: float, b: float) -> float:
    """The ``probability`` quantile of Beta(a, b), by bisection to 1e-12."""
    low, high = 0.0, 1.0
    while high - low > 1e-12:
        middle = (low + high) / 2
        if incomplete_beta(middle, a, b) < probability:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def incomplete_beta(x: float, a: float, b: float) -> float:
    """Regularised incomplete beta function I_x(a, b), for a, b > 0.

    Source: the continued fraction of DLMF 8.17.22, evaluated by Lentz's method; 1e-14 relative where it converges,
    which it does within a few hundred terms for the counts of a rollout.
    """
    if x <= 0.0 or x >= 1.0:
        return 0.0 if x <= 0.0 else 1.0
    if x > (a + 1) / (a + b + 2):
        return 1.0 - incomplete_beta(1.0 - x, b, a)
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x))
    return front * _beta_fraction(x, a, b) / a


def _beta_fraction(x: float, a: float, b: float) -> float:
    tiny = 1e-300
    d = 1.0 / _away_from_zero(1.0 - (a + b) * x / (a + 1.0), tiny)
    c, result = 1.0, d
    for m in range(1, 10_000):
        for numerator in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1.0 / _away_from_zero(1.0 + numerator * d, tiny)
            c = _away_from_zero(1.0 + numerator / c, tiny)
            result *= d * c
        if abs(d * c - 1.0) < 1e-14:
            break
    return result


def _away_from_zero(value: float, tiny: float) -> float:
    return value if abs(value) > tiny else tiny
