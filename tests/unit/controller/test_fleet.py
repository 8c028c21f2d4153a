"""Many routes under one process."""

from __future__ import annotations

from fairway.controller.fleet import Fleet
from fairway.errors import PermanentError
from fairway.testing.virtual_clock import VirtualClock


class Route:
    """A controller that only counts."""

    route = "support/production"

    def __init__(self, again: float = 1.0, error: Exception | None = None) -> None:
        self.again = again
        self.error = error
        self.ticks = 0

    async def tick_safely(self) -> float:
        self.ticks += 1
        if self.error is not None:
            raise self.error
        return self.again


async def test_a_route_that_fails_costs_its_own_tick_and_no_others():
    broken, well = Route(error=PermanentError("the disk is full", code="disk_full")), Route()
    assert await Fleet(controllers=[broken, well], clock=VirtualClock()).look_at_all() == 2
    assert (broken.ticks, well.ticks) == (1, 1)


async def test_a_route_on_the_move_is_looked_at_again_before_the_next_pass():
    clock = VirtualClock()
    moving, idle = Route(again=0.05), Route(again=1.0)
    fleet = Fleet(controllers=[moving, idle], clock=clock)
    await fleet.run(lambda: clock.monotonic() >= 20)
    assert idle.ticks == 2
    assert moving.ticks >= 20
