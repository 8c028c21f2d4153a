"""Many routes under one controller process: each looked at once a pass, none able to stop the others."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from fairway.clock import Clock
from fairway.controller.engine import RouteController
from fairway.errors import FairwayError

log = logging.getLogger("fairway.controller")

PASS_SECONDS = 10.0
"""Between two passes over all routes: as long as a telemetry block, so that each is judged when it is there."""
_ROUTES_A_BREATH = 50


@dataclass(slots=True, kw_only=True)
class Fleet:
    """Ticks every route once a pass, in order; a route that fails costs its own pass.

    A route that is on the move - its last tick asked to be looked at within ``soon`` seconds - is looked at again in
    between, so that a confirmation or an instance that became ready does not wait for the next pass.

    Attributes:
        controllers: One a route; their ``lease_seconds`` have to be longer than ``pass_seconds``.
        soon: Seconds.
    """

    controllers: Iterable[RouteController]
    clock: Clock
    pass_seconds: float = PASS_SECONDS
    soon: float = 0.5
    _moving: list[RouteController] = field(default_factory=list)

    async def run(self, stopping: Callable[[], bool]) -> None:
        """Pass after pass until told to stop; a pass that took too long is followed by the next at once."""
        while not stopping():
            begun = self.clock.monotonic()
            await self.look_at_all()
            while not stopping() and (left := begun + self.pass_seconds - self.clock.monotonic()) > 0:
                await self.clock.sleep(min(left, self.soon))
                await self.look_at_moving()

    async def look_at_all(self) -> int:
        """One pass over every route; returns how many there were."""
        self._moving = []
        count = 0
        for count, controller in enumerate(self.controllers, start=1):
            await self._look(controller)
            if count % _ROUTES_A_BREATH == 0:
                await asyncio.sleep(0)
        return count

    async def look_at_moving(self) -> int:
        """One pass over the routes that are on the move; returns how many there were."""
        moving, self._moving = self._moving, []
        for controller in moving:
            await self._look(controller)
        return len(moving)

    async def _look(self, controller: RouteController) -> None:
        try:
            again = await controller.tick_safely()
        except FairwayError as error:
            log.error("%s: %s", controller.route, error.message)
            return
        if again < self.soon:
            self._moving.append(controller)
