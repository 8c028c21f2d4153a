"""Many routes under one controller process: each looked at once a pass, none able to stop the others."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from fairway.clock import Clock
from fairway.errors import FairwayError
from fairway.units import RouteId

log = logging.getLogger("fairway.controller")

PASS_SECONDS = 10.0
"""Between two passes over a great many routes: as long as a telemetry block, so that each is judged when it comes."""
AT_A_TIME = 32
"""Routes that may wait for something - a gateway, a target - at the same time."""
_ROUTES_A_BREATH = 50


class Ticking(Protocol):
    """One route's controller, as a fleet needs it."""

    @property
    def route(self) -> RouteId:
        """Which."""
        ...

    async def tick_safely(self) -> float:
        """Look once; returns after how many seconds it is worth looking again."""
        ...


@dataclass(slots=True, kw_only=True)
class Fleet:
    """Looks at every route once a pass; one that waits or fails costs nobody else anything.

    A route that is on the move - its last tick asked to be looked at within ``soon`` seconds - is looked at again when
    it asked for, so that a confirmation or an instance that became ready does not wait for the next pass. No route is
    ever looked at twice at the same time.

    Attributes:
        controllers: One a route; their leases have to be longer than ``pass_seconds``.
        pass_seconds: From the beginning of a pass to that of the next.
        soon: Seconds.
        at_a_time: Routes whose ticks may wait at the same time.
    """

    controllers: Sequence[Ticking]
    clock: Clock
    pass_seconds: float = PASS_SECONDS
    soon: float = 0.5
    at_a_time: int = AT_A_TIME
    _moving: list[tuple[float, Ticking]] = field(default_factory=list)
    _failed: Exception | None = None
    _looked: int = 0

    async def run(self, stopping: Callable[[], bool]) -> None:
        """Pass after pass until told to stop; a pass that took too long is followed by the next at once.

        Raises:
            Exception: When not one route could be looked at in a pass: then it is the process that is broken.
        """
        while not stopping():
            begun = self.clock.monotonic()
            await self.look_at_all()
            if self._failed is not None and not self._looked:
                raise self._failed
            while not stopping() and (left := begun + self.pass_seconds - self.clock.monotonic()) > 0:
                await self.clock.sleep(min(left, self._rest()))
                await self.look_at_moving()

    async def look_at_all(self) -> int:
        """One pass over every route; returns how many there were."""
        self._moving, self._failed, self._looked = [], None, 0
        return await self._look_at(self.controllers)

    async def look_at_moving(self) -> int:
        """The routes on the move whose time has come; returns how many there were."""
        now = self.clock.monotonic()
        due = [controller for at, controller in self._moving if at <= now]
        self._moving = [(at, controller) for at, controller in self._moving if at > now]
        return await self._look_at(due)

    def _rest(self) -> float:
        """Seconds until a route on the move is due, ``soon`` at most."""
        now = self.clock.monotonic()
        return max(0.0, min((at - now for at, _ in self._moving), default=self.soon))

    async def _look_at(self, controllers: Sequence[Ticking]) -> int:
        """Each once; ticks that never wait follow one another in one task, which costs least."""
        each = enumerate(controllers, start=1)
        await asyncio.gather(*(self._look_on(each) for _ in range(min(self.at_a_time, len(controllers)))))
        return len(controllers)

    async def _look_on(self, each: Iterator[tuple[int, Ticking]]) -> None:
        for count, controller in each:
            await self._look(controller)
            if count % _ROUTES_A_BREATH == 0:
                await asyncio.sleep(0)

    async def _look(self, controller: Ticking) -> None:
        try:
            again = await controller.tick_safely()
        except FairwayError as error:
            log.error("%s: %s", controller.route, error.message)
            self._failed = error
            return
        except Exception as error:
            log.exception("%s: it could not be looked at", controller.route)
            self._failed = error
            return
        self._looked += 1
        if again < self.soon:
            self._moving.append((self.clock.monotonic() + again, controller))
