"""Yardsticks: the value beyond which a request is slow, or long, taken from stable's own recent past."""

from __future__ import annotations

from collections.abc import Iterable

from fairway.observe.fold import Block
from fairway.observe.quantile import merged, quantile, size
from fairway.units import Digest
from fairway.verdict.kinds import KINDS, Test
from fairway.verdict.values import GateKind

THETA_SHARE = KINDS[GateKind.LATENCY_P95].share

YARDSTICKS = frozenset(
    kind
    for kind, recipe in KINDS.items()
    if recipe.test is Test.RELATIVE and recipe.histogram and kind is not GateKind.LATENCY_P95
)
"""Kinds of gates that need one beside theta."""

_BEYOND = 5
"""Values that have to lie beyond a quantile for it to say anything: 100 requests for a P95, 500 for a P99."""


def theta(
    blocks: Iterable[Block], now: float, stable: Digest, *, window: float = 600.0, minimum: int = 100
) -> float | None:
    """Stable's P95 in ms over the previous ``window``, or as much of it as there is; ``None`` with too few requests.

    Only the past may set it: a threshold fixed before the block keeps T1 valid, whatever it is.

    Args:
        blocks: Mature blocks, in any order; gaps are left out, mixed blocks count.
        now: Epoch seconds.
        stable: The release whose latency counts.
        window: Seconds.
        minimum: Finished requests below which a P95 says too little (100 have five beyond it).
    """
    return yardstick(blocks, now, stable, GateKind.LATENCY_P95, window=window, minimum=minimum)


def yardstick(
    blocks: Iterable[Block],
    now: float,
    stable: Digest,
    kind: GateKind,
    *,
    window: float = 600.0,
    minimum: int | None = None,
) -> float | None:
    """The same for whatever a gate of that kind is about: milliseconds or tokens.

    Args:
        blocks: Mature blocks.
        now: Epoch seconds.
        stable: The release that is the measure.
        kind: One of a quantile.
        window: Seconds.
        minimum: Values needed; ``None``: so many that five lie beyond the quantile.
    """
    recipe = KINDS[kind]
    recent = merged(
        getattr(block.arms[stable], recipe.histogram)
        for block in blocks
        if block.t0 >= now - window and not block.gap and stable in block.arms
    )
    least = round(_BEYOND / (1 - recipe.share)) if minimum is None else minimum
    return quantile(recent, recipe.share) if size(recent) >= max(1, least) else None
