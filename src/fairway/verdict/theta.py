"""θ: the latency beyond which a request is slow, taken from stable's own recent past."""

from __future__ import annotations

from collections.abc import Iterable

from fairway.observe.fold import Block
from fairway.observe.quantile import merged, quantile, size
from fairway.units import Digest

THETA_SHARE = 0.95


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
    recent = merged(
        block.arms[stable].latency_ms
        for block in blocks
        if block.t0 >= now - window and not block.gap and stable in block.arms
    )
    return quantile(recent, THETA_SHARE) if size(recent) >= max(1, minimum) else None
