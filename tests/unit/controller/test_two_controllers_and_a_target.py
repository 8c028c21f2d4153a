"""A controller that wakes in a world that has moved on takes nothing out of service."""

from __future__ import annotations

import asyncio
from typing import Any

from fairway.rollout.requests import Verb
from fairway.rollout.values import Phase
from fairway.testing.memory_target import MemoryTarget
from fairway.testing.rollout_cases import CANDIDATE, ROUTE
from fairway.testing.rollout_world import RolloutWorld
from fairway.traffic.fence import Fence


class StopsInADrain:
    """The target as a controller sees it that is stopped in the middle of a drain."""

    def __init__(self, target: MemoryTarget) -> None:
        self._target = target
        self.inside, self.go_on = asyncio.Event(), asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._target, name)

    async def drain(self, *args: Any, **options: Any) -> None:
        self.inside.set()
        await self.go_on.wait()
        await self._target.drain(*args, **options)


async def stepping() -> RolloutWorld:
    world = RolloutWorld(5)
    world.serve_first()
    await world.settle()
    world.ask(Verb.START, release=CANDIDATE.release)
    await world.until(Phase.STEPPING)
    await world.run(3)
    return world


async def test_one_that_was_stopped_in_a_drain_drains_nothing_of_what_serves_again_when_it_wakes():
    world = await stepping()
    stale, stopped = world.controller, StopsInADrain(world.target)
    stale.target = stopped
    world.ask(Verb.ABORT)
    ticking = None
    while not stopped.inside.is_set():
        if ticking is None or ticking.done():
            await world.clock.sleep(0.1)
            ticking = asyncio.create_task(stale.tick_safely())
        await asyncio.sleep(0)
        for gateway in world.gateways:
            gateway.settle(world.clock.monotonic())
    await world.clock.sleep(15)  # its lease ends
    world.controller = world.new_controller(interrupted=False)
    await world.run(20)
    world.ask(Verb.RETRY, release=CANDIDATE.release)
    await world.until(Phase.STEPPING)
    await world.run(5)
    assert {int(gateway.table.split) for gateway in world.gateways} == {5_000}
    stopped.go_on.set()
    await ticking
    assert world.target.draining() == set()
    assert stale.lease is None
    await world.until(Phase.DONE)
    assert world.broken_laws() == []


async def test_one_whose_lease_was_taken_while_an_operation_took_long_does_not_begin_the_next():
    world = await stepping()
    controller = world.controller
    took = []

    class Slow:
        def __getattr__(self, name: str) -> Any:
            return getattr(world.target, name)

        async def ensure(self, route: Any, spec: Any, **options: Any) -> None:
            took.append(spec.release_digest)
            await world.clock.sleep(60)
            assert world.ledger.acquire_lease(ROUTE, "another", seconds=600) is not None

    controller.target = Slow()
    await world.target.stop(ROUTE, CANDIDATE.release)
    await world.target.stop(ROUTE, world.state.stable.release)
    await controller.tick_safely()
    assert len(took) == 1  # both arms are missing, and the second is another controller's to start
    assert controller.lease is None


async def test_a_ledger_that_was_restored_takes_over_from_the_term_its_target_knows():
    world = await stepping()
    await world.target.follow(ROUTE, Fence(term=7, seq=1))
    world.controller = world.new_controller(interrupted=False)
    await world.clock.sleep(15)
    world.ask(Verb.ABORT)
    await world.until(Phase.ROLLED_BACK)
    assert world.controller.lease is not None
    assert world.controller.lease.term == 8
    await world.run(60)
    assert world.unsettled() == []
