# ruff: noqa: RUF002 - Greek letters and minus signs stand as in the papers
"""Absolute e-values for a share of units: is the failure rate below, or above, a limit ``p0``?

With ``x`` of ``n`` units bad and alternatives ``p_k`` on the right side of the limit, weights ``π_k``::

    E = Σ_k π_k (p_k / p0)^x ((1 − p_k) / (1 − p0))^{n − x}

Error bound: as long as each unit, given the past, is bad with probability ≥ p0 (``log_e_below``) or ≤ p0
(``log_e_above``), ``P(E ever ≥ 1/α) ≤ α`` (Ville); neither a constant rate nor independence is needed.

Source: Robbins 1970 (mixtures); Waudby-Smith and Ramdas, arXiv 2010.09686, section 2, for the composite null by
monotonicity: every factor falls (rises) with the true rate. The grid is geometric with equal weights, because how far
below its limit a healthy rate lies is not known even in its order of magnitude. At ``p0 = .005, α = .05`` it passes
after 723 units without a failure, and at half of the tries by 1,274 units when the true rate is .1 %, by about 7,520
when it is .3 % (exact, see the tests). Departure: a unit that turns bad after it was counted moves from ``n − x`` to
``x``, so the caller gives its conservative count (:mod:`fairway.verdict.gates` lags ``n`` for a claim of health).
"""

from __future__ import annotations

import math
from functools import lru_cache

from fairway.stats.logspace import log_sum_exp

_POINTS = 11
_NEAREST, _FARTHEST = 0.93, 0.022
_RATIOS = tuple(_FARTHEST * (_NEAREST / _FARTHEST) ** (i / (_POINTS - 1)) for i in range(_POINTS))
_LOG_RATIOS = tuple(math.log(ratio) for ratio in _RATIOS)
_LOG_WEIGHT = -math.log(_POINTS)


def log_e_below(bad: float, units: float, limit: float, *, clean_weight: float = 0.0) -> float:
    """``ln E`` against "the rate is ``limit`` or more": evidence of health.

    Args:
        bad: Units with a bad event, 0 … ``units``.
        units: Units counted.
        limit: ``p0``, in (0, 1).
        clean_weight: Prior weight of the alternative p = 0, in [0, 1]; that part dies with the first bad unit, and
            without any it needs the fewest units (``ln(1/α) / −ln(1 − p0)``).

    Returns:
        Natural log of the e-value; 0 without units.
    """
    limit, good = _inside(limit), units - bad
    share = math.log1p(-clean_weight) + _LOG_WEIGHT if clean_weight < 1 else -math.inf
    gains = _gains_below(limit)
    parts = [share + bad * ratio + good * gain for ratio, gain in zip(_LOG_RATIOS, gains, strict=True)]
    if clean_weight > 0 and bad == 0:
        parts.append(math.log(clean_weight) - good * math.log1p(-limit))
    return log_sum_exp(parts)


def log_e_above(bad: float, units: float, limit: float) -> float:
    """``ln E`` against "the rate is ``limit`` or less": evidence of a breach.

    The alternatives are the mirror image of :func:`log_e_below` in the odds, which keeps them below 1.

    Args:
        bad: Units with a bad event.
        units: Units counted.
        limit: ``p0``, in (0, 1).
    """
    costs = _costs_above(_inside(limit))
    return log_sum_exp(
        [_LOG_WEIGHT - bad * ratio - units * cost for ratio, cost in zip(_LOG_RATIOS, costs, strict=True)]
    )


@lru_cache(maxsize=256)
def _gains_below(limit: float) -> tuple[float, ...]:
    """What a good unit adds to each alternative's log likelihood ratio."""
    return tuple(math.log1p(-limit * ratio) - math.log1p(-limit) for ratio in _RATIOS)


@lru_cache(maxsize=256)
def _costs_above(limit: float) -> tuple[float, ...]:
    """What a unit takes from each alternative's log likelihood ratio."""
    return tuple(math.log1p(limit * (1 / ratio - 1)) for ratio in _RATIOS)


def _inside(limit: float) -> float:
    """A limit of 0 % or 100 % as the nearest one that can be tested."""
    return min(max(limit, 1e-9), 1 - 1e-9)
