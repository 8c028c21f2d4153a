"""A flag somebody sets is in force in every gateway within seconds, and costs a rollout nothing."""

from __future__ import annotations

import pytest

from fairway.rollout.requests import Verb
from fairway.rollout.values import Phase
from fairway.testing.rollout_cases import CANDIDATE, STABLE
from fairway.testing.rollout_world import RolloutWorld
from fairway.traffic.flags import TableFlag
from fairway.units import WHOLE, Parts

IN_FORCE_SECONDS = 30.0
"""What SPEC A10 promises; a tick and a pull take two."""


async def rolling(seed: int) -> tuple[RolloutWorld, list[tuple[TableFlag, ...]]]:
    world = RolloutWorld(seed)
    flags: list[tuple[TableFlag, ...]] = [()]
    world.controller.flags_of = lambda: flags[0]
    world.ask(Verb.START, release=STABLE.release)
    await world.until(Phase.DONE)
    world.ask(Verb.START, release=CANDIDATE.release)
    await world.until(Phase.STEPPING)
    await world.run(3.0)
    return world, flags


@pytest.mark.parametrize("seed", range(5))
async def test_every_gateway_has_it_in_time_and_the_rollout_keeps_its_step_and_its_evidence(seed: int) -> None:
    world, flags = await rolling(seed)
    before = world.state.rollout
    assert before is not None
    split = [gateway.table.split for gateway in world.gateways if gateway.table]
    for wanted in ((TableFlag(name="refunds", share=WHOLE),), (TableFlag(name="refunds", share=Parts(0)),), ()):
        flags[0] = wanted
        began = world.clock.monotonic()
        while any(gateway.table is None or gateway.table.flags != wanted for gateway in world.gateways):
            assert world.clock.monotonic() - began < IN_FORCE_SECONDS
            await world.tick()
        assert world.clock.monotonic() - began < 2.0
    after = world.state.rollout
    assert after is not None
    assert (after.phase, after.step, after.step_from) == (before.phase, before.step, before.step_from)
    assert [gateway.table.split for gateway in world.gateways if gateway.table] == split
    await world.until(Phase.DONE)


async def test_a_gateway_keeps_its_flags_when_the_controller_is_gone_and_the_next_one_agrees() -> None:
    world, flags = await rolling(7)
    flags[0] = (TableFlag(name="refunds", share=WHOLE),)
    await world.run(3.0)
    successor = world.new_controller()
    successor.flags_of = lambda: flags[0]
    world.controller = successor
    served = [gateway.table.fence for gateway in world.gateways if gateway.table]
    await world.run(15.0)
    assert all(gateway.table and gateway.table.flags == flags[0] for gateway in world.gateways)
    assert world.phase is not Phase.ROLLED_BACK
    assert len(served) == 2
