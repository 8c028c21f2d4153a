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
        seconds: Observed, after the first block (whose conversations may have begun before it).
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


def traffic_rate(blocks: Iterable[Block]) -> TrafficRate | None:
    """The rate over blocks in order of time; ``None`` when fewer than two say anything.

    A conversation counts once, in the block it is first seen in; those of the first block are left out, because they
    may be old.
    """
    known: set[object] = set()
    units, seconds, first = 0, 0.0, True
    for block in blocks:
        if block.gap:
            continue
        active = {unit for arm in block.arms.values() for unit in arm.active}
        if not first:
            units += len(active - known)
            seconds += block.seconds
        known |= active
        first = False
    return TrafficRate(units=units, seconds=seconds) if seconds else None
