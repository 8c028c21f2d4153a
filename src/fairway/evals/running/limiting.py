"""How many calls one endpoint gets at a time: as many as it takes, found by asking."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass

from fairway.clock import Clock

_SHRINK = 0.5
_HOPELESS = 50


@dataclass(slots=True)
class Slot:
    """One call's place; ``epoch`` says which limit it was started under."""

    epoch: int


class AdaptiveLimit:
    """Additive increase, multiplicative decrease, below a fixed maximum.

    It starts at the maximum: an endpoint that is well is never held back. A refusal (429, 503) halves the limit, once
    for all calls that were started under the old one; each answer raises it by one over itself, so by about one for
    each round of calls. ``Retry-After`` stops everybody, not only the call that was told.

    Source: Chiu and Jain 1989, "Analysis of the increase and decrease algorithms for congestion avoidance": additive
    increase with multiplicative decrease is the pair that converges to an efficient and fair share.
    """

    def __init__(self, maximum: int, *, clock: Clock) -> None:
        self.maximum = maximum
        self._clock = clock
        self._limit = float(maximum)
        self._epoch = 0
        self._active = 0
        self._refused_in_a_row = 0
        self._not_before = 0.0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def limit(self) -> int:
        """Calls that may be in flight now."""
        return max(1, int(self._limit))

    @property
    def active(self) -> int:
        """Calls in flight."""
        return self._active

    @property
    def hopeless(self) -> bool:
        """Nothing but refusals for a long time: waiting them out is no use, a single try each is enough."""
        return self._refused_in_a_row >= max(_HOPELESS, 2 * self.maximum)

    async def acquire(self) -> Slot:
        """A place, in the order they were asked for."""
        if self._active < self.limit and not self._waiting:
            self._active += 1
        else:
            await self._in_turn()
        return await self._rested()

    async def _in_turn(self) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self._leave()  # it was handed a place that nobody takes
            else:
                self._waiting.remove(waiter)
            raise

    async def _rested(self) -> Slot:
        """Wait out what ``Retry-After`` asked of all."""
        try:
            while (rest := self._not_before - self._clock.monotonic()) > 0:
                await self._clock.sleep(rest)
        except asyncio.CancelledError:
            self._leave()
            raise
        return Slot(epoch=self._epoch)

    def _wake(self) -> None:
        while self._waiting and self._active < self.limit:
            waiter = self._waiting.popleft()
            if not waiter.done():
                self._active += 1
                waiter.set_result(None)

    def _leave(self) -> None:
        self._active -= 1
        self._wake()

    def answered(self, slot: Slot) -> None:
        """A call was answered."""
        self._refused_in_a_row = 0
        if self._limit < self.maximum:
            self._limit = min(float(self.maximum), self._limit + 1.0 / self._limit)
        self._leave()

    def refused(self, slot: Slot, retry_after: float | None) -> None:
        """A call was refused because there are too many.

        Args:
            slot: Its place.
            retry_after: Seconds in which nothing is to be sent; ``None``: not said.
        """
        self._refused_in_a_row += 1
        if slot.epoch == self._epoch:
            self._epoch += 1
            self._limit = max(1.0, self._limit * _SHRINK)
        if retry_after is not None:
            self._not_before = max(self._not_before, self._clock.monotonic() + retry_after)
        self._leave()

    def failed(self, slot: Slot) -> None:
        """A call ended in another way, which says nothing about how many it takes."""
        self._leave()
