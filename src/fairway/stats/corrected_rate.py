# ruff: noqa: RUF002 - Greek letters and minus signs stand as in the papers
"""The rate behind a rate that an imperfect judge measured."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist


@dataclass(frozen=True, slots=True, kw_only=True)
class CorrectedRate:
    """What the judged rate says of the true one.

    Attributes:
        judged: As the judge counted.
        rate: Corrected for its errors, 0 to 1.
        lower, upper: Confidence interval that includes the uncertainty about the judge.
    """

    judged: float
    rate: float
    lower: float
    upper: float


def corrected_rate(
    passed: float,
    units: int,
    *,
    good_passed: int,
    good: int,
    bad_failed: int,
    bad: int,
    confidence: float = 0.95,
) -> CorrectedRate | None:
    """The true pass rate from a judged one and what the judge showed on labelled items.

    The estimate is ``(p + q₀ − 1) / (q₀ + q₁ − 1)`` with specificity ``q₀`` and sensitivity ``q₁``, cut to 0 … 1. The
    interval takes all three as estimated: the delta method around shrunk shares, with a second-order shift of its
    middle, which keeps its coverage also for shares at 0 or 1 and few labelled items. The tests check it by
    simulation.

    Source: Rogan and Gladen 1978 for the estimate; Lang and Reiczigel 2014, "Confidence limits for prevalence of
    disease adjusted for estimated sensitivity and specificity", for the interval; arXiv 2511.21140 proposes both for
    models that judge. Where we differ: ``passed`` may be a sum of cases' pass rates, whose variance is at most that of
    as many single trials, so that the interval is then rather too wide.

    Args:
        passed: Units the judge passed; of repeated cases, the sum of their rates.
        units: Independent units: cases, not their repeats.
        good_passed: Good labelled items it passed.
        good: Good labelled items.
        bad_failed: Bad labelled items it failed.
        bad: Bad labelled items.
        confidence: Of the interval.

    Returns:
        ``None`` where nothing can be said: no unit, no good or no bad item, or a judge that is no better than chance.

    Raises:
        ValueError: More passed than there are.
    """
    if not (0 <= passed <= units and 0 <= good_passed <= good and 0 <= bad_failed <= bad):
        raise ValueError("counts of what passed are from 0 to all")
    if not (units and good and bad):
        return None
    sensitivity, specificity = good_passed / good, bad_failed / bad
    q1, q0 = (good_passed + 1) / (good + 2), (bad_failed + 1) / (bad + 2)
    if sensitivity + specificity <= 1 or q1 + q0 <= 1:
        return None
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    p = (passed + z * z / 2) / (units + z * z)
    slope = q0 + q1 - 1
    middle = (p + q0 - 1) / slope
    variance_q1, variance_q0 = q1 * (1 - q1) / (good + 2), q0 * (1 - q0) / (bad + 2)
    shift = 2 * z * z * (middle * variance_q1 - (1 - middle) * variance_q0)
    spread = p * (1 - p) / (units + z * z) + (1 - middle) ** 2 * variance_q0 + middle**2 * variance_q1
    half = z * math.sqrt(spread) / slope
    raw = passed / units
    rate = _share((raw + specificity - 1) / (sensitivity + specificity - 1))
    # around shrunk shares the interval can miss the estimate itself at the ends; a wider one misleads nobody
    return CorrectedRate(
        judged=raw,
        rate=rate,
        lower=min(rate, _share(middle + shift - half)),
        upper=max(rate, _share(middle + shift + half)),
    )


def _share(value: float) -> float:
    return min(1.0, max(0.0, value))
