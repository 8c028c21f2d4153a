"""Many routes under one process."""

from __future__ import annotations

import asyncio

import pytest

from fairway.controller.engine import POLL_SECONDS
from fairway.controller.fleet import Fleet
from fairway.errors import PermanentError
from fairway.testing.virtual_clock import VirtualClock


class Route:
    """A controller that only counts; its ticks wait for ``gate``, where there is one."""

    route = "support/production"

    def __init__(self, again: float = 1.0, error: Exception | None = None, gate: asyncio.Event | None = None) -> None:
        self.again = again
        self.error = error
        self.gate = gate
        self.ticks = 0
        self.ticking = 0

    async def tick_safely(self) -> float:
        self.ticks += 1
        self.ticking += 1
        assert self.ticking == 1, "looked at twice at the same time"
        if self.gate is not None:
            await self.gate.wait()
        self.ticking -= 1
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


@pytest.mark.parametrize("error", [PermanentError("the disk is full", code="disk_full"), ZeroDivisionError()])
async def test_when_no_route_can_be_looked_at_the_process_is_what_is_broken(error: Exception):
    clock = VirtualClock()
    with pytest.raises(type(error)):
        await Fleet(controllers=[Route(error=error), Route(error=error)], clock=clock).run(lambda: False)
    one_well = Fleet(controllers=[Route(error=error), Route()], clock=clock, pass_seconds=1.0)
    await one_well.run(lambda: clock.monotonic() >= 5)


async def test_a_route_that_waits_for_its_gateway_holds_up_no_other():
    gate = asyncio.Event()
    slow, others = Route(gate=gate), [Route() for _ in range(200)]
    looking = asyncio.create_task(Fleet(controllers=[slow, *others], clock=VirtualClock()).look_at_all())
    for _ in range(20):
        await asyncio.sleep(0)
    assert {route.ticks for route in others} == {1}
    assert not looking.done()
    gate.set()
    assert await looking == 201


async def test_one_route_is_looked_at_as_often_as_a_persons_verb_needs_and_sooner_when_it_asks():
    for again, least, most in ((1.0, 40, 42), (0.05, 190, 260)):
        clock = VirtualClock()
        route = Route(again=again)
        fleet = Fleet(controllers=[route], clock=clock, pass_seconds=POLL_SECONDS, soon=POLL_SECONDS)
        await fleet.run(lambda clock=clock: clock.monotonic() >= 10)
        assert least <= route.ticks <= most
