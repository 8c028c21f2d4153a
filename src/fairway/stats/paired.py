# ruff: noqa: RUF002 - Greek letters and minus signs stand as in the papers
"""T2: an e-value for a mean difference within a margin, by betting on pairs.

Each candidate unit is paired with its own disjoint group of stable units of the same time; ``D_i = x_i − mean of the
group``, in [−1, 1]. Against "the mean difference is ≥ m" (PASS) and "≤ m" (FAIL) the wealth is::

    E_PASS = Π (1 + λ_i (m − D_i)),   λ_i = clip((m − μ̂) / (σ̂² + (m − μ̂)²), 0, .75 / (1 − m))
    E_FAIL = Π (1 + λ_i (D_i − m)),   λ_i = clip((μ̂ − m) / (σ̂² + (μ̂ − m)²), 0, .75 / (1 + m))

with μ̂ and σ̂² from the pairs before.

Error bound: as long as each difference, given the past, has a mean ≥ m (≤ m), ``P(E ever ≥ 1/α) ≤ α`` (Ville).
Nothing is assumed of the level: it may drift, and an outage common to both arms has a difference of mean 0.

Source: Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting", arXiv 2010.09686, sections
3 and 4 (the approximately growth-optimal bet, truncated at .75 of what could ruin). Departures: the variance starts
with one pseudo-difference, for rates as large as the margin, which only moves the first bets; for rates near 0 the
bets reach the growth rate of the exact binomial test to a few per cent.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

CAUTION = 0.75
"""Share of what could ruin that is bet at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Paired:
    """The two wealths and what the next bets are sized by.

    Attributes:
        count: Pairs so far.
        total, squares: Sum of the differences and of their squares.
        log_e_fail, log_e_pass: Natural logs of the e-values.
    """

    count: int = 0
    total: float = 0.0
    squares: float = 0.0
    log_e_fail: float = 0.0
    log_e_pass: float = 0.0


def with_differences(
    paired: Paired,
    differences: Iterable[float],
    *,
    margin: float,
    fail_margin: float | None = None,
    prior: float | None = None,
) -> Paired:
    """The wealths after more pairs, in their order.

    Args:
        paired: So far.
        differences: Each in [−1, 1].
        margin: m towards PASS, in [0, 1).
        fail_margin: m towards FAIL; ``None``: the same.
        prior: The size of the pseudo-difference the variance starts with; ``None``: the margin, which is right for
            rates near 0. Needed where a margin is 0.
    """
    margin = min(max(margin, 0.0), 1 - 1e-9)
    limit = margin if fail_margin is None else min(max(fail_margin, 0.0), 1 - 1e-9)
    count, total, squares = paired.count, paired.total, paired.squares
    log_e_fail, log_e_pass = paired.log_e_fail, paired.log_e_pass
    most_fail, most_pass = CAUTION / (1.0 + limit), CAUTION / (1.0 - margin)
    doubt_fail, doubt_pass = (limit**2, margin**2) if prior is None else (prior**2, prior**2)
    for difference in differences:
        mean = total / (count + 1)
        log_e_fail += _gain(mean - limit, squares, count, mean, doubt_fail, most_fail, difference - limit)
        log_e_pass += _gain(margin - mean, squares, count, mean, doubt_pass, most_pass, margin - difference)
        count += 1
        total += difference
        squares += difference * difference
    return Paired(count=count, total=total, squares=squares, log_e_fail=log_e_fail, log_e_pass=log_e_pass)


def _gain(edge: float, squares: float, count: int, mean: float, doubt: float, most: float, outcome: float) -> float:
    """What the log wealth wins on the next difference: nothing is bet without an edge."""
    if edge <= 0:
        return 0.0
    variance = max(max(squares + doubt, 1e-12) / (count + 1) - mean * mean, 1e-12)
    return math.log1p(min(edge / (variance + edge * edge), most) * outcome)


def differences(candidate: Sequence[float], stable: Sequence[float]) -> list[float]:
    """Pair each candidate outcome, or value in [0, 1], with its own group of ``⌊n_s / n_c⌋`` stable ones.

    In the order given. With fewer stable units than candidate ones, each stable unit is used once and the rest is left
    out. The order must not depend on the outcomes (that of the units' hashes does not).
    """
    if not candidate or not stable:
        return []
    group = max(1, len(stable) // len(candidate))
    pairs = min(len(candidate), len(stable))
    return [float(candidate[i]) - sum(stable[i * group : (i + 1) * group]) / group for i in range(pairs)]
