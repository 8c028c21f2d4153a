"""Requests that wait for a connection to their arm: first come, first served, and no hole where one gave up."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from enum import StrEnum
from math import ceil
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fairway.gateway.upstream import Upstream

SMOOTHED = 0.2
"""Weight of the latest time between two turns in the smoothed one."""

STALL_SECONDS = 0.1
"""A time limit that is noticed this much late was noticed by a process that had no processor."""

LONGEST_RETRY_AFTER = 60
"""Seconds; a client told to come back later than that would rather not."""


class Turn(StrEnum):
    """What became of the wait for a connection, when none was handed over."""

    MAY_OPEN = "may_open"
    FULL = "queue_full"
    LATE = "queue_timeout"


class WaitingLine:
    """The requests of one arm that wait, in one worker."""

    __slots__ = ("_gap", "_give_back", "_last", "_waiting", "places", "seconds", "turned_away")

    def __init__(self, give_back: Callable[[Upstream | None], None]) -> None:
        """Begin empty and without places.

        Args:
            give_back: Takes what was handed to a request that is not there any more; ``None``: leave to open one.
        """
        self._waiting: OrderedDict[asyncio.Future[Upstream | None], None] = OrderedDict()
        self._give_back = give_back
        self.places = 0
        """How many may wait."""
        self.seconds = 0.0
        """How long one may wait."""
        self.turned_away: dict[Turn, int] = {}
        """Requests that got nothing, by why."""
        self._gap = 0.0
        self._last = 0.0

    def __len__(self) -> int:
        return len(self._waiting)

    def join(self) -> asyncio.Future[Upstream | None] | None:
        """Stand in line; ``None`` when it is full."""
        if len(self._waiting) >= self.places:
            self._count(Turn.FULL)
            return None
        if not self._waiting:
            self._last = monotonic()
        mine: asyncio.Future[Upstream | None] = asyncio.get_running_loop().create_future()
        self._waiting[mine] = None
        return mine

    async def wait(self, mine: asyncio.Future[Upstream | None]) -> Upstream | Turn:
        """A connection that was given back, or leave to open one, when it is this request's turn."""
        begun = monotonic()
        try:
            await asyncio.wait((mine,), timeout=self.seconds)
            if not mine.done() and monotonic() - begun > self.seconds + STALL_SECONDS:
                await asyncio.wait((mine,), timeout=self.seconds)  # nobody could have a turn while nothing ran here
        except BaseException:
            self._waiting.pop(mine, None)
            if mine.done() and not mine.cancelled():
                self._give_back(mine.result())  # it was handed over in the very moment the request gave up
            mine.cancel()
            raise
        if not mine.done():
            self._waiting.pop(mine, None)
            mine.cancel()
            self._count(Turn.LATE)
            return Turn.LATE
        handed = mine.result()
        return Turn.MAY_OPEN if handed is None else handed

    def _count(self, turn: Turn) -> None:
        self.turned_away[turn] = self.turned_away.get(turn, 0) + 1

    def hand(self, upstream: Upstream | None) -> bool:
        """Give a connection, or leave to open one (``None``), to the first; ``False`` when nobody waits."""
        while self._waiting:
            first, _ = self._waiting.popitem(last=False)
            if first.done():
                continue  # cancelled, and not yet told
            now = monotonic()
            gap, self._last = now - self._last, now
            self._gap = gap if not self._gap else self._gap + SMOOTHED * (gap - self._gap)
            first.set_result(upstream)
            return True
        return False

    def retry_after(self) -> int:
        """Seconds until one who comes now would have had its turn, going by how fast the line has moved; 1 to 60."""
        expected = (len(self._waiting) + 1) * self._gap if self._gap else self.seconds
        return max(1, min(LONGEST_RETRY_AFTER, ceil(expected)))
