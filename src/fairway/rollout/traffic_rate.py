"""How many new conversations come to a route, from its recent telemetry: what turns "how many more" into "how long"."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fairway.observe.fold import Block

WINDOW_SECONDS = 900.0
"""How far back traffic is looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficRate:
    """New conversations of all arms.

    Attributes:
        units: Seen first within ``seconds``.
        seconds: Since the first block (whose conversations may have begun before it) until now.
    """

    units: int
    seconds: float

    @property
    def per_second(self) -> float:
        """New conversations a second."""
        return self.units / self.seconds

    def seconds_until(self, units: int, *, share: float) -> float | None:
        """Seconds until an arm with this share of them has met ``units`` more; ``None``: when none comes."""
        arriving = self.per_second * share
        return units / arriving if arriving > 0 else None


def traffic_rate(blocks: Iterable[Block], *, now: float | None = None) -> TrafficRate | None:
    """The rate over blocks in order of time; ``None`` when fewer than two say anything.

    A conversation counts once, in the block it is first seen in; those of the first block are left out, because they
    may be old. With ``now`` silence counts: where nothing came there is no block, and its time is in the rate as well.

    Args:
        blocks: In order of ``t0``.
        now: Epoch seconds; ``None``: only what was observed.
    """
    known: set[object] = set()
    units, seconds, since = 0, 0.0, None
    for block in blocks:
        if block.gap:
            continue
        active = {unit for arm in block.arms.values() for unit in arm.active}
        if since is None:
            since = block.t0 + block.seconds
        else:
            units += len(active - known)
            seconds += block.seconds
        known |= active
    if since is not None and now is not None and seconds:
        seconds = max(seconds, now - since)
    return TrafficRate(units=units, seconds=seconds) if seconds else None
