# ruff: noqa: RUF002, RUF003 - Greek letters and minus signs stand as in the papers
"""T1: the anytime-valid logrank test on first bad events of units, conditioned on the block.

Event *j* is the *j*-th distinct unit to have its first bad event, ``x_j = 1`` when it is on the candidate. With
``w_j`` the candidate's share of the units still at risk in the event's block and ``ρ`` the ratio of the two arms'
hazards,
``P(x_j = 1 | past, an event happens) = q_j(ρ) = ρ w_j / (ρ w_j + 1 − w_j)``. For a margin ratio ``M`` and a grid
``kh, k = 1..K`` with weights ``π_k ∝ exp(−(kh)² / 2τ²)``::

    E_FAIL = Σ_k π_k Π_j [q_j(M e^{kh}) / q_j(M)]^{x_j} [(1 − q_j(M e^{kh})) / (1 − q_j(M))]^{1 − x_j}
    E_PASS = the same with e^{−kh}

Error bound: for every true ratio ρ ≤ M, ``P(E_FAIL ever ≥ 1/α) ≤ α``; for every ρ ≥ M, ``P(E_PASS ever ≥ 1/α) ≤ α``
(Ville), at any number of looks. Whatever multiplies the hazard of both arms alike - drift, an outage, a change of the
split - cancels.

Source: ter Schure, Pérez-Ortiz, Ly, Grünwald, "The anytime-valid logrank test: error control under continuous
monitoring with unlimited horizon", arXiv 2011.06931, section 2 (its e-process with an alternative, mixed over a grid
as in section 4). Departures: (1) the margin M instead of 1, which for q is the same as a weight ``M w / (M w + 1 −
w)``; (2) several events of one block share the block's ``w`` and are taken as a binomial draw. At M = 1 the exact law
is hypergeometric, which is smaller in the convex order (Hoeffding 1963, theorem 4), so that the e-value stays one;
elsewhere this is an approximation for blocks in which only few of the units fail, checked by simulation; (3) M may
change from block to block as long as it is fixed before the block (a predictable null).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from operator import sub

from fairway.stats.logspace import log_mean_exp


class Direction(Enum):
    """Which side of the margin is the alternative: ``WORSE`` gives E_FAIL, ``BETTER`` gives E_PASS."""

    WORSE = 1
    BETTER = -1


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """Alternatives ``M e^{±kh}``: the steps ``kh``, their exponentials and the logs of their weights."""

    steps: tuple[float, ...]
    factors_up: tuple[float, ...]
    factors_down: tuple[float, ...]
    log_weights: tuple[float, ...]

    @classmethod
    def half_normal(cls, *, count: int, step: float, tau: float) -> Grid:
        """``kh`` for ``k = 1..count`` with weights ``∝ exp(−(kh)² / 2τ²)``."""
        steps = tuple(k * step for k in range(1, count + 1))
        raw = [math.exp(-(value**2) / (2 * tau**2)) for value in steps]
        total = math.fsum(raw)
        return cls(
            steps=steps,
            factors_up=tuple(math.exp(value) for value in steps),
            factors_down=tuple(math.exp(-value) for value in steps),
            log_weights=tuple(math.log(value / total) for value in raw),
        )


ERRORS = Grid.half_normal(count=40, step=0.1, tau=1.0)
"""For failures, whose ratio is often large."""

QUANTILES = Grid.half_normal(count=60, step=0.05, tau=0.7)
"""For latency and other quantiles, where 10 % matter."""


def nothing_yet(grid: Grid) -> tuple[float, ...]:
    """The log likelihood ratios before any event: zeros, one for each alternative of the grid."""
    return (0.0,) * len(grid.steps)


def with_events(
    log_ratios: tuple[float, ...],
    grid: Grid,
    direction: Direction,
    *,
    candidate: int,
    stable: int,
    weight: float,
    margin: float,
) -> tuple[float, ...]:
    """The log likelihood ratios after one more block; linear in the grid, a few microseconds.

    Args:
        log_ratios: So far, one for each alternative.
        grid: The alternatives.
        direction: E_FAIL or E_PASS.
        candidate: Units of the candidate with their first bad event in this block.
        stable: The same of stable.
        weight: Candidate's share of the units at risk in this block, in [0, 1]; at 0 and 1 nothing can be learnt.
        margin: M of this block, > 0, fixed before the block.
    """
    events = candidate + stable
    if events == 0 or not 0.0 < weight < 1.0:
        return log_ratios
    # ln q1/q0 = ±kh − d and ln (1 − q1)/(1 − q0) = −d, with d = ln((M e^{±kh} w + 1 − w) / (M w + 1 − w)).
    costs = _costs(grid, direction is Direction.WORSE, margin, weight)
    if not candidate:
        if events == 1:
            return tuple(map(sub, log_ratios, costs))
        return tuple([so_far - events * cost for so_far, cost in zip(log_ratios, costs, strict=True)])
    shift = candidate * direction.value
    return tuple(
        [
            so_far + shift * step - events * cost
            for so_far, step, cost in zip(log_ratios, grid.steps, costs, strict=True)
        ]
    )


@lru_cache(maxsize=4096)
def _costs(grid: Grid, worse: bool, margin: float, weight: float) -> tuple[float, ...]:
    """What any event takes from each alternative: kept, because small blocks have few different shares at risk."""
    scaled, rest = margin * weight, 1.0 - weight
    at_margin = math.log(scaled + rest)
    factors = grid.factors_up if worse else grid.factors_down
    log = math.log
    return tuple([log(scaled * factor + rest) - at_margin for factor in factors])


def log_e_value(log_ratios: tuple[float, ...], grid: Grid) -> float:
    """``ln E``: the mixture over the grid; 0 before any event."""
    return log_mean_exp(log_ratios, grid.log_weights)
