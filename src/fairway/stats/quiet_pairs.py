# ruff: noqa: RUF002 - Greek letters and minus signs stand as in the papers
"""T2 over pairs most of which differ by nothing: the same wealths as :mod:`fairway.stats.paired`, without a loop.

Where failures are rare nearly every difference is 0. Over a run of zeros the sums ``S`` of the differences and ``Q`` of
their squares stay, and the bet towards PASS on the next pair, the ``c``-th, is ``clip(h(1/c), 0, .75 / (1 − m))`` with
``h(u) = (m − S u) / (m² + (Q + m² − 2 m S) u)``: a Möbius function of ``u``, monotone while its denominator keeps its
sign. When both ends of a run are clipped, all of it is, and the wealth grows by the same factor for each pair. Towards
FAIL nothing is bet while ``S / c ≤ m``. Everything else is taken pair by pair; the two ways agree to rounding.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence, Set
from typing import TypeVar

from fairway.stats.paired import CAUTION, Paired, with_differences

_Unit = TypeVar("_Unit")


def quiet_differences(
    candidate: Sequence[_Unit], stable: Sequence[_Unit], bad: Set[_Unit]
) -> tuple[int, list[tuple[int, float]]]:
    """How many pairs there are, and ``(place, difference)`` of those that differ, in order.

    The same pairs as :func:`fairway.stats.paired.differences`.

    Args:
        candidate: Units of the candidate, in an order that does not depend on the outcomes.
        stable: The same of stable.
        bad: Those with a bad event.
    """
    pairs = min(len(candidate), len(stable))
    if not bad or not pairs:
        return pairs, []
    group = max(1, len(stable) // len(candidate))
    beside: dict[int, int] = {}
    for place in range(pairs * group):
        if stable[place] in bad:
            beside[place // group] = beside.get(place // group, 0) + 1
    ours = {place for place in range(pairs) if candidate[place] in bad}
    found = ((place, (place in ours) - beside.get(place, 0) / group) for place in sorted(ours | beside.keys()))
    return pairs, [(place, difference) for place, difference in found if difference]


def with_quiet_differences(
    paired: Paired,
    pairs: int,
    differing: Iterable[tuple[int, float]],
    *,
    margin: float,
    fail_margin: float | None = None,
) -> Paired:
    """The wealths after so many more pairs, of which only some differ; as ``paired.with_differences``.

    Args:
        paired: So far.
        pairs: How many.
        differing: ``(place, difference)`` in order of place, from 0; the others are 0.
        margin: m towards PASS, in (0, 1).
        fail_margin: m towards FAIL; ``None``: the same.
    """
    done = 0
    for place, difference in differing:
        paired = _with_zeros(paired, place - done, margin, fail_margin)
        paired = with_differences(paired, (difference,), margin=margin, fail_margin=fail_margin)
        done = place + 1
    return _with_zeros(paired, pairs - done, margin, fail_margin)


def _with_zeros(paired: Paired, pairs: int, margin: float, fail_margin: float | None) -> Paired:
    if pairs <= 0:
        return paired
    limit = margin if fail_margin is None else fail_margin
    count, total, squares = paired.count, paired.total, paired.squares
    most = CAUTION / (1.0 - margin) if 0.0 < margin < 1.0 else 0.0
    clipped = _bet(paired, count + 1, margin) >= most and _bet(paired, count + pairs, margin) >= most
    if not most or not clipped or total > limit * (count + 1):
        return with_differences(paired, (0.0,) * pairs, margin=margin, fail_margin=fail_margin)
    return Paired(
        count=count + pairs,
        total=total,
        squares=squares,
        log_e_fail=paired.log_e_fail,
        log_e_pass=paired.log_e_pass + pairs * math.log1p(most * margin),
    )


def _bet(paired: Paired, place: int, margin: float) -> float:
    """What is bet towards PASS on the ``place``-th pair (from 1) if all since were 0, before it is clipped."""
    mean = paired.total / place
    variance = max((paired.squares + margin * margin) / place - mean * mean, 1e-12)
    edge = margin - mean
    return edge / (variance + edge * edge) if edge > 1e-5 else 0.0
