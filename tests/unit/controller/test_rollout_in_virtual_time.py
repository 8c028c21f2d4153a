"""The real engine over a world in memory: whole canaries, people's verbs, stale controllers, a lost ledger."""

from __future__ import annotations

import pytest

from fairway.errors import ConflictError
from fairway.rollout.next_step import next_step
from fairway.rollout.requests import AnswerKind, Verb
from fairway.rollout.values import Phase
from fairway.testing.interruptions import Killed
from fairway.testing.memory_ledger import MemoryLedger
from fairway.testing.memory_router import MemoryRouter
from fairway.testing.memory_target import Behaviour
from fairway.testing.rollout_cases import CANDIDATE, ROUTE, STABLE
from fairway.testing.rollout_world import RolloutWorld
from fairway.traffic.fence import Fence


async def serving(seed: int = 1, **options) -> RolloutWorld:
    """A world in which STABLE serves and the dust has settled."""
    world = RolloutWorld(seed, **options)
    budget, world.injector.budget = world.injector.budget, 0
    world.serve_first()
    await world.until(Phase.DONE)
    await world.run(5)
    world.injector.budget = budget
    return world


async def test_a_good_release_is_promoted_step_by_step():
    world = await serving()
    world.ask(Verb.START, release=CANDIDATE.release)
    await world.until(Phase.DONE)
    await world.run(200)
    splits = [table.split for table in world.gateways[0].history]
    assert [split for split in dict.fromkeys(splits) if split] == [5_000, 10_000, 30_000, 50_000]
    assert world.state.stable == CANDIDATE
    assert world.broken_laws() == []
    assert world.unsettled() == []


async def test_a_bad_release_is_rolled_back_and_its_arm_ends():
    world = await serving()
    world.measurer.bad.add(CANDIDATE.release)
    world.ask(Verb.START, release=CANDIDATE.release)
    await world.until(Phase.ROLLED_BACK)
    await world.run(30)
    assert world.state.stable == STABLE
    assert CANDIDATE.release in world.state.blocked
    assert max(table.split for table in world.gateways[0].history) == 5_000
    assert world.broken_laws() == []
    assert world.unsettled() == []


@pytest.mark.parametrize("phase", [Phase.PREPARING, Phase.STEPPING, Phase.PROMOTING, Phase.SOAKING], ids=str)
async def test_an_abort_reaches_every_gateway_within_a_second_of_virtual_time(phase):
    world = await serving()
    world.ask(Verb.START, release=CANDIDATE.release)
    await world.until(phase)
    asked = world.ask(Verb.ABORT)
    await world.run(1.0)
    assert world.ledger.answer(asked).kind is AnswerKind.APPLIED
    assert {served[:2] for served in world.served()} == {(STABLE.release, 0)}


async def test_a_rollback_after_promotion_returns_within_a_second_while_the_former_stable_is_warm():
    world = await serving()
    world.ask(Verb.START, release=CANDIDATE.release)
    await world.until(Phase.DONE)
    world.ask(Verb.ROLLBACK)
    await world.run(1.5)
    assert {served[0] for served in world.served()} == {STABLE.release}
    await world.run(200)
    assert world.unsettled() == []


async def test_a_candidate_that_never_becomes_ready_gets_no_traffic():
    world = await serving()
    world.target.script(CANDIDATE.release, Behaviour(ready_after=None, never_ready_after=10.0))
    world.ask(Verb.START, release=CANDIDATE.release)
    await world.until(Phase.ROLLED_BACK)
    await world.run(30)
    assert all(table.split == 0 for table in world.gateways[0].history)
    assert world.unsettled() == []


async def test_a_release_the_target_refuses_is_not_deployed():
    world = await serving()
    world.target.script(CANDIDATE.release, Behaviour(refused=True))
    world.ask(Verb.START, release=CANDIDATE.release)
    await world.until(Phase.ROLLED_BACK)
    assert "not signed" in world.state.rollout.cause_text


async def test_a_stable_arm_that_restarts_on_another_port_gets_a_new_table_and_no_step():
    world = await serving()
    before = world.gateways[0].table.fence
    world.target.crash(STABLE.release)
    await world.run(10)
    assert world.gateways[0].table.fence >= before
    assert world.gateways[0].table.arms[0].endpoints
    assert world.broken_laws() == []


async def test_blind_telemetry_never_promotes():
    world = await serving()
    world.measurer.blind = True
    world.ask(Verb.START, release=CANDIDATE.release)
    await world.run(400)
    assert world.phase is Phase.STEPPING
    assert world.state.rollout.step == 0
    assert world.state.rollout.paused


async def test_a_person_who_asks_twice_gets_one_step():
    world = await serving()
    world.ask(Verb.START, release=CANDIDATE.release)
    await world.until(Phase.STEPPING)
    asked = [world.ask(Verb.PROMOTE, reason="ok") for _ in range(2)]
    await world.run(0.5)
    answers = sorted(world.ledger.answer(each).kind for each in asked)
    assert answers == [AnswerKind.APPLIED, AnswerKind.REFUSED]
    assert world.state.rollout.step == 1


async def test_a_stale_controller_is_refused_by_the_ledger_and_changes_no_traffic():
    world = await serving()
    stale = world.controller
    world.ask(Verb.START, release=CANDIDATE.release)
    await world.until(Phase.STEPPING)
    lease = stale.lease
    world.clock.advance(60)  # the stale one sleeps through its lease
    world.controller = world.new_controller()
    await world.run(2)
    assert world.controller.lease.term == lease.term + 1
    fence = world.gateways[0].table.fence
    snapshot = await stale.gather(lease)
    with pytest.raises(ConflictError):
        stale._journal(snapshot, next_step(snapshot), lease)
    assert await stale.tick() == 1.0, "it stands by"
    assert stale.lease is None, "it knows that it has lost the route"
    assert world.gateways[0].table.fence == fence


async def test_a_gateway_refuses_a_lower_fence():
    world = await serving()
    table = world.gateways[0].table
    router = MemoryRouter(world.clock, world.gateways)
    older = type(table).from_wire({**table.to_wire(), "fence": [0, 1], "masks": [STABLE.release]})
    await router.apply(older)
    await world.clock.sleep(1)
    await router.observe(ROUTE)
    assert world.gateways[0].table == table
    assert older.fence == Fence(term=0, seq=1)


async def test_a_hold_stands_until_it_is_released_and_the_rollout_then_goes_on():
    world = await serving()
    world.ask(Verb.START, release=CANDIDATE.release)
    await world.until(Phase.STEPPING)
    world.ask(Verb.HOLD, kind="no-advance")
    await world.run(200)
    assert (world.phase, world.state.rollout.step) == (Phase.STEPPING, 0)
    world.ask(Verb.RELEASE_HOLD)
    await world.until(Phase.DONE)


def test_a_kill_is_no_exception_a_handler_could_swallow():
    assert not issubclass(Killed, Exception)


async def test_after_the_ledger_was_lost_or_restored_gateways_get_what_it_says_and_not_what_they_kept():
    world = await serving()
    world.ask(Verb.START, release=CANDIDATE.release)
    await world.until(Phase.DONE)
    kept = world.gateways[0].table.fence
    world.ledger = MemoryLedger(clock=world.clock)  # a backup older than anything: it knows nothing
    world.controller = world.new_controller()
    world.serve_first()
    await world.until(Phase.DONE, seconds=120)
    assert world.gateways[0].table.fence > kept
    assert {served[0] for served in world.served()} == {STABLE.release}
    assert world.controller.lease.term > kept.term
