"""Requests of conversations that a shadow does not follow: they take the short way, and each is counted all the same.

A slow shadow fills its room at once, and from then on nearly all conversations are such: what is done for each of
their requests is what a mirror costs its users.
"""

from __future__ import annotations

from fairway.gateway.telemetry import Cell
from fairway.gateway.thresholds import Thresholds


class LeftOut(Thresholds):
    """Thresholds of such conversations: every answer passes the limit of time, and is counted by that.

    So no other request pays for the counting. It counts requests on the short way alone; those on the general way are
    counted when they begin.
    """

    requests: int
    """Requests since it was last asked."""
    slow_above: float
    """Seconds up to which a request is within every limit of time."""

    @classmethod
    def held_against(cls, thresholds: Thresholds) -> LeftOut:
        """The same thresholds, passed by every answer."""
        made = cls(*thresholds._replace(soonest=-1.0))
        made.requests = 0
        made.slow_above = thresholds.soonest
        return made

    def mark_times(self, cell: Cell, unit: bytes, whole: float, first_byte: float) -> None:
        """Count a request, and mark its unit by how long it took, in seconds."""
        self.requests += 1
        if whole > self.slow_above:
            super().mark_times(cell, unit, whole, first_byte)

    def taken(self) -> int:
        """How many requests there were; the count begins again."""
        taken, self.requests = self.requests, 0
        return taken
