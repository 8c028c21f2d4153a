# ruff: noqa: RUF002 - Greek letters and minus signs stand as in the papers
"""What a test can and cannot see: units needed, and the smallest effect that would be noticed."""

from __future__ import annotations

import math

from fairway.stats.bernoulli import log_e_below
from fairway.stats.paired import CAUTION

_MORE_THAN_ANYONE_WAITS = 10**9


def bernoulli_divergence(p: float, q: float) -> float:
    """KL(p ‖ q) in nats of one yes-or-no outcome; infinite when q rules out what p allows."""
    total = 0.0
    for a, b in ((p, q), (1.0 - p, 1.0 - q)):
        if a > 0:
            if b <= 0:
                return math.inf
            total += a * math.log(a / b)
    return max(0.0, total)


def share_of_events(ratio: float, weight: float) -> float:
    """``q(ρ) = ρw / (ρw + 1 − w)``: the share of events on a candidate with weight ``w`` (see ``stats.logrank``)."""
    return ratio * weight / (ratio * weight + 1.0 - weight)


def clean_units(limit: float, alpha: float) -> int:
    """Clean units that exclude a rate ≥ ``limit`` by the best possible test: ``⌈ln(1/α) / −ln(1 − limit)⌉``."""
    return math.ceil(math.log(1 / alpha) / -math.log1p(-limit))


def clean_units_mixture(limit: float, alpha: float, *, clean_weight: float = 0.0) -> int:
    """Units without a failure until :func:`fairway.stats.bernoulli.log_e_below` passes; at most a billion."""
    threshold = math.log(1 / alpha)
    low, high = 0, 1
    while high < _MORE_THAN_ANYONE_WAITS and log_e_below(0, high, limit, clean_weight=clean_weight) < threshold:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if log_e_below(0, middle, limit, clean_weight=clean_weight) < threshold:
            low = middle
        else:
            high = middle
    return min(high, _MORE_THAN_ANYONE_WAITS)


def units_to_pass(limit: float, rate: float, alpha: float) -> int | None:
    """About how many units, at a true ``rate``, until an absolute gate passes at ``alpha``; ``None`` when it will not.

    ``(ln(1/α) + ½) / KL(rate ‖ limit)``, at least the mixture's clean count: within 20 % of the exact median of
    :func:`median_units_to_pass` for rates of .2 to .6 of the limit.
    """
    if rate >= limit or bernoulli_divergence(rate, limit) < 1e-9:
        return None
    by_drift = (math.log(1 / alpha) + 0.5) / bernoulli_divergence(rate, limit)
    return _capped(max(by_drift, clean_units_mixture(limit, alpha)))


def median_units_to_pass(limit: float, rate: float, alpha: float, *, at_most: int = 20_000) -> int | None:
    """The exact median of units until an absolute gate passes, by enumeration; ``None`` beyond ``at_most``.

    Exact up to outcomes of probability 1e-12; takes a second for ten thousand units, so it is for plans, not for ticks.
    """
    threshold = math.log(1 / alpha)
    alive: dict[int, float] = {0: 1.0}
    passing = -1  # the most bad units with which one passes now; never falls
    running = 1.0
    for units in range(1, at_most + 1):
        after: dict[int, float] = {}
        for bad, chance in alive.items():
            after[bad] = after.get(bad, 0.0) + chance * (1.0 - rate)
            after[bad + 1] = after.get(bad + 1, 0.0) + chance * rate
        while passing < units and log_e_below(passing + 1, units, limit) >= threshold:
            passing += 1
        for bad in [bad for bad in after if bad <= passing]:
            running -= after.pop(bad)
        alive = {bad: chance for bad, chance in after.items() if chance > 1e-12}
        if running <= 0.5:
            return units
    return None


def events_to_tell(ratio: float, margin: float, weight: float, alpha: float) -> int | None:
    """Events after which T1 tells a true ``ratio`` from the margin ratio; ``None`` when they are the same.

    Smallest n with ``n · KL(q(ratio) ‖ q(margin)) ≥ ln(1/α) + ½ ln n + 1``: the drift of the log e-value against its
    threshold and the price of not knowing the ratio beforehand (Robbins 1970; Howard et al., arXiv 1810.08240,
    section 3.1).
    """
    divergence = bernoulli_divergence(share_of_events(ratio, weight), share_of_events(margin, weight))
    if divergence < 1e-9:
        return None
    n = 1.0
    for _ in range(60):
        following = (math.log(1 / alpha) + 0.5 * math.log(max(n, 1.0)) + 1.0) / divergence
        if abs(following - n) < 0.5:
            break
        n = following
    return _capped(n)


def detectable_ratio(events: int, margin: float, weight: float, alpha: float) -> float | None:
    """The minimum detectable effect: the smallest hazard ratio above ``margin`` that ``events`` events would reveal.

    Solves ``n · KL(q(ρ') ‖ q(M)) = ln(1/α) + ½ ln n + 1``; ``None`` when no ratio would do.
    """
    if events < 1 or not 0 < weight < 1:
        return None
    needed = (math.log(1 / alpha) + 0.5 * math.log(events) + 1.0) / events
    at_margin = share_of_events(margin, weight)
    if bernoulli_divergence(1.0, at_margin) < needed:
        return None
    low, high = at_margin, 1.0
    while high - low > 1e-12:
        middle = (low + high) / 2
        if bernoulli_divergence(middle, at_margin) < needed:
            low = middle
        else:
            high = middle
    return math.inf if high >= 1.0 - 1e-11 else high * (1.0 - weight) / (weight * (1.0 - high))


def _capped(units: float) -> int | None:
    return math.ceil(units) if units < _MORE_THAN_ANYONE_WAITS else None


def pair_growth(edge: float, variance: float) -> float:
    """Nats a pair of ``stats.paired`` adds, on average, to the log wealth of the best fixed bet; 0 without an edge.

    ``λe − λ²(σ² + e²)/2`` for differences of variance σ² whose mean lies ``e`` on the right side of the margin: the
    second order of ``E ln(1 + λX)``, at the best bet ``λ = e / (σ² + e²)`` (Waudby-Smith and Ramdas, arXiv 2010.09686,
    section 4.3) or the largest that is made, .75. The bets learn that λ, which :func:`detectable_difference` pays for.
    """
    if edge <= 0:
        return 0.0
    second = variance + edge * edge
    bet = min(edge / second, CAUTION)
    return bet * edge - bet * bet * second / 2


def pairs_to_tell(edge: float, variance: float, alpha: float) -> int | None:
    """About how many pairs until T2 reaches ``1/alpha``; ``None`` when the differences do not speak for it.

    ``(ln(1/α) + 1) / growth``: the one nat is what learning the bet costs at this size.
    """
    growth = pair_growth(edge, variance)
    return math.ceil((math.log(1 / alpha) + 1.0) / growth) if growth > 1e-9 else None


def detectable_difference(pairs: int, variance: float, alpha: float) -> float | None:
    """The smallest difference beyond the margin that so many pairs would show; ``None`` when they show nothing.

    Solves ``n · growth(e) = ln(1/α) + ½ ln n + 1``: the same price of not knowing the effect as
    :func:`detectable_ratio` (Robbins 1970).
    """
    if pairs < 1:
        return None
    price = (math.log(1 / alpha) + 0.5 * math.log(pairs) + 1.0) / pairs
    low, high = 0.0, 1.0
    if pair_growth(high, variance) < price:
        return None
    while high - low > 1e-6:
        middle = (low + high) / 2
        if pair_growth(middle, variance) < price:
            low = middle
        else:
            high = middle
    return high
