"""Whole rollouts of every strategy, through the real engine over a world in memory."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fairway.rollout.evidence import SmokeOutcome
from fairway.rollout.requests import AnswerKind, Verb
from fairway.rollout.values import Phase, Plan, Scaling, Strategy
from fairway.targets.port import InstanceState
from fairway.targets.shadow import shadow_configuration
from fairway.testing.memory_target import Behaviour
from fairway.testing.rollout_cases import CANDIDATE, NEXT, ROUTE, STABLE, canary_plan, plan_for
from fairway.testing.rollout_world import RolloutWorld
from fairway.traffic.table import Role

STRATEGIES = (Strategy.CANARY, Strategy.BLUE_GREEN, Strategy.ROLLING, Strategy.SHADOW)
every_strategy = pytest.mark.parametrize("strategy", STRATEGIES, ids=str)


async def serving(plan: Plan, seed: int = 1, **options) -> RolloutWorld:
    """A world in which STABLE serves with as many instances as the plan has, and the dust has settled."""
    world = RolloutWorld(seed, plan=plan, **options)
    world.serve_first()
    await world.until(Phase.DONE)
    await world.run(5)
    return world


def shares(world: RolloutWorld) -> list[int]:
    splits = [int(table.split) for table in world.gateways[0].history]
    return [split for split in dict.fromkeys(splits) if split]


@every_strategy
async def test_a_good_release_is_promoted_and_a_bad_one_is_not(strategy):
    world = await serving(plan_for(strategy))
    world.ask(Verb.START, release=CANDIDATE.release)
    await world.until(Phase.DONE)
    await world.run(200)
    assert (world.state.stable.release, world.state.stable.replicas) == (CANDIDATE.release, 3)
    assert shares(world) == [int(step.split) for step in world.plan.steps if step.split]
    assert world.broken_laws() == []
    assert world.unsettled() == []

    bad = await serving(plan_for(strategy))
    bad.measurer.bad.add(CANDIDATE.release)
    bad.ask(Verb.START, release=CANDIDATE.release)
    await bad.until(Phase.ROLLED_BACK)
    await bad.run(60)
    assert bad.state.stable.release == STABLE.release
    assert CANDIDATE.release in bad.state.blocked
    assert bad.broken_laws() == []
    assert bad.unsettled() == []


@every_strategy
@pytest.mark.parametrize("phase", [Phase.PREPARING, Phase.STEPPING, Phase.PROMOTING, Phase.SOAKING], ids=str)
async def test_an_abort_reaches_every_gateway_within_a_second_from_every_phase(strategy, phase):
    world = await serving(plan_for(strategy))
    world.ask(Verb.START, release=CANDIDATE.release)
    await world.until(phase)
    asked = world.ask(Verb.ABORT)
    await world.run(1.0)
    assert world.ledger.answer(asked).kind is AnswerKind.APPLIED
    assert {served[:2] for served in world.served()} == {(STABLE.release, 0)}
    await world.run(60)
    assert world.unsettled() == [], "all instances of stable are back"


@every_strategy
async def test_an_abort_reaches_every_gateway_within_a_second_from_every_moment(strategy):
    """Every tick of a rollout, instances that start and stable that shrinks included."""
    world = await serving(plan_for(strategy))
    world.ask(Verb.START, release=CANDIDATE.release)
    moments: dict[tuple[Phase, int, Scaling], float] = {}
    begun = world.clock.monotonic()
    while world.phase is not Phase.DONE or world.state.rollout.candidate != CANDIDATE:
        rollout = world.state.rollout
        if rollout.candidate.release == CANDIDATE.release and rollout.live:
            moments.setdefault((rollout.phase, rollout.step, rollout.scaling), world.clock.monotonic() - begun)
        if rollout.candidate.release == CANDIDATE.release and not rollout.live:
            break
        await world.tick()
    assert len(moments) >= 4
    for (phase, step, scaling), after in moments.items():
        again = await serving(plan_for(strategy))
        again.ask(Verb.START, release=CANDIDATE.release)
        await again.run(after + 0.01)
        again.ask(Verb.ABORT)
        await again.run(1.0)
        assert {served[:2] for served in again.served()} == {(STABLE.release, 0)}, (phase, step, scaling)


@every_strategy
async def test_a_new_release_in_the_middle_first_returns_to_stable_and_then_starts(strategy):
    world = await serving(plan_for(strategy))
    world.ask(Verb.START, release=CANDIDATE.release)
    await world.until(Phase.STEPPING)
    await world.run(3)
    before = len(world.gateways[0].history)
    world.ask(Verb.START, release=NEXT.release, supersede=True)
    await world.until(Phase.DONE)
    tables = world.gateways[0].history[before:]
    first_of_next = next(n for n, table in enumerate(tables) if any(arm.release == NEXT.release for arm in table.arms))
    back = [table for table in tables[:first_of_next] if CANDIDATE.release in table.masks]
    assert back, "traffic was on stable alone before the next release was in any table"
    assert world.state.stable.release == NEXT.release
    assert world.broken_laws() == []


# -- blue-green --------------------------------------------------------------------------------------------------------


async def test_the_idle_colour_is_probed_before_anybody_meets_it_and_the_old_one_is_scaled_down_later():
    world = await serving(plan_for(Strategy.BLUE_GREEN, gray=False))
    colour = world.state.active
    world.ask(Verb.START, release=CANDIDATE.release)
    await world.until(Phase.STEPPING)
    assert world.target.running(ROUTE)[CANDIDATE.release] == 3
    assert world.state.active is colour
    await world.until(Phase.SOAKING)
    codes = [event.code for event in world.events]
    assert "gates_passed" in codes
    assert world.state.active is colour.other
    assert shares(world) == [], "nobody met it before everybody did"
    assert world.target.running(ROUTE)[STABLE.release] == 3, "the old colour is whole while the new one soaks"
    await world.until(Phase.DONE)
    await world.run(5)
    assert world.target.running(ROUTE)[STABLE.release] == 1
    await world.run(200)
    assert STABLE.release not in world.target.running(ROUTE)


async def test_the_smoke_suite_is_played_once_and_speaks_for_the_colour():
    world = await serving(plan_for(Strategy.BLUE_GREEN, gray=False))
    world.ask(Verb.START, release=CANDIDATE.release)
    await world.until(Phase.SOAKING)
    assert world.smoked == [CANDIDATE.release]
    passed = next(event for event in world.events if event.code == "gates_passed")
    assert passed.reason.startswith("every instance answered")
    assert "smoke passed" in passed.reason


async def test_a_colour_that_fails_its_smoke_suite_meets_nobody():
    world = await serving(plan_for(Strategy.BLUE_GREEN))
    world.smokes[CANDIDATE.release] = SmokeOutcome.FAILED
    world.ask(Verb.START, release=CANDIDATE.release)
    await world.until(Phase.ROLLED_BACK)
    assert world.state.rollout.cause == "smoke_failed"
    assert shares(world) == []
    assert CANDIDATE.release in world.state.blocked


@pytest.mark.parametrize("outcome", [SmokeOutcome.ERROR, SmokeOutcome.TIMEOUT])
async def test_a_smoke_suite_that_cannot_be_run_pauses_and_runs_again_when_a_person_resumes(outcome):
    world = await serving(plan_for(Strategy.BLUE_GREEN, gray=False))
    world.smokes[CANDIDATE.release] = outcome
    world.ask(Verb.START, release=CANDIDATE.release)
    await world.until(Phase.STEPPING)
    await world.run(60)
    assert [event.code for event in world.events].count("smoke_error") == 1
    assert world.state.rollout.paused == f"smoke {outcome.value}"
    assert world.smoked == [CANDIDATE.release], "not again and again: it may act"
    world.ask(Verb.RESUME)
    await world.run(20)
    assert world.smoked == [CANDIDATE.release] * 2
    assert world.state.rollout.paused, "what still cannot be run still passes nothing"
    world.smokes.clear()
    world.ask(Verb.RESUME)
    await world.until(Phase.SOAKING)
    assert len(world.smoked) == 3
    assert shares(world) == []


async def test_a_policy_may_go_back_when_the_smoke_suite_cannot_be_run():
    plan = plan_for(Strategy.BLUE_GREEN)
    plan = replace(plan, steps=(replace(plan.steps[0], back_on_error=True), *plan.steps[1:]))
    world = await serving(plan)
    world.smokes[CANDIDATE.release] = SmokeOutcome.TIMEOUT
    world.ask(Verb.START, release=CANDIDATE.release)
    await world.until(Phase.ROLLED_BACK)
    assert world.state.rollout.cause == "smoke_error"
    assert shares(world) == []


async def test_a_project_without_a_smoke_suite_goes_on_by_its_ready_path_and_it_is_said():
    world = await serving(plan_for(Strategy.BLUE_GREEN, gray=False))
    world.smokes[CANDIDATE.release] = SmokeOutcome.NONE_DECLARED
    world.ask(Verb.START, release=CANDIDATE.release)
    await world.until(Phase.SOAKING)
    assert "smoke none_declared" in next(event for event in world.events if event.code == "gates_passed").reason


async def test_a_colour_that_does_not_answer_its_probes_meets_nobody():
    world = await serving(plan_for(Strategy.BLUE_GREEN))
    world.fails_smoke.add(CANDIDATE.release)
    world.ask(Verb.START, release=CANDIDATE.release)
    await world.until(Phase.ROLLED_BACK)
    assert world.state.rollout.cause == "probe_failed"
    assert shares(world) == []
    assert all(table.arms[0].release != CANDIDATE.release for table in world.gateways[0].history)


async def test_a_colour_that_fails_after_the_switch_is_switched_back():
    world = await serving(plan_for(Strategy.BLUE_GREEN, gray=False))
    colour = world.state.active
    world.measurer.bad.add(CANDIDATE.release)
    world.target.script(CANDIDATE.release, Behaviour(ready_after=1.0, drains_in=1.0))
    world.measurer.decides_after = 12.0  # the smoke is over before the gates know
    world.ask(Verb.START, release=CANDIDATE.release)
    await world.until(Phase.SOAKING)
    assert world.state.active is colour.other
    await world.until(Phase.ROLLED_BACK)
    assert world.state.active is colour
    assert {served[0] for served in world.served()} == {STABLE.release}


async def test_seconds_in_which_no_controller_looked_are_no_smoke():
    world = await serving(plan_for(Strategy.BLUE_GREEN, gray=False))
    world.ask(Verb.START, release=CANDIDATE.release)
    await world.until(Phase.STEPPING)
    await world.run(3)
    world.clock.advance(60)
    world.controller = world.new_controller()
    await world.run(2)
    assert world.phase is Phase.STEPPING, "the new controller has looked for two seconds, five are asked"
    await world.until(Phase.SOAKING, seconds=30)


# -- rolling -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
async def test_one_more_instance_than_stable_has_and_never_one_less_serves(seed):
    world = await serving(plan_for(Strategy.ROLLING), seed)
    world.ask(Verb.START, release=CANDIDATE.release)
    most, least = 0, 99
    while world.phase is not Phase.SOAKING or world.state.stable.release != CANDIDATE.release:
        await world.tick()
        arms = await world.target.observe(ROUTE)
        living = [one for arm in arms for one in arm.instances if one.state is not InstanceState.DRAINING]
        ready = {one.endpoint for one in living if one.state is InstanceState.READY}
        most = max(most, len(living))
        for gateway in world.gateways:
            served = {endpoint for arm in gateway.table.arms for endpoint in arm.endpoints}
            assert served <= ready, "an instance was taken away before a gateway left it"
            least = min(least, len(served))
    assert (least, most) == (3, 4)
    assert world.broken_laws() == []


async def test_traffic_follows_instances_and_stable_keeps_one_for_its_conversations():
    world = await serving(plan_for(Strategy.ROLLING))
    world.ask(Verb.START, release=CANDIDATE.release)
    await world.until(Phase.SOAKING)
    await world.run(3)
    assert shares(world) == [33_333, 66_666]
    for table in world.gateways[0].history:
        candidate = table.arm(Role.CANDIDATE)
        if table.split:
            assert len(candidate.endpoints) >= round(table.split * 3 / 100_000)
    assert world.target.running(ROUTE) == {STABLE.release: 1, CANDIDATE.release: 3}


async def test_an_instance_that_never_becomes_ready_stops_the_roll_where_it_is_and_returns():
    world = await serving(plan_for(Strategy.ROLLING))
    world.ask(Verb.START, release=CANDIDATE.release)
    await world.until(Phase.STEPPING)
    world.target.script(CANDIDATE.release, Behaviour(ready_after=None, never_ready_after=10.0))
    await world.until(Phase.ROLLED_BACK)
    await world.run(60)
    assert max(shares(world)) <= 33_333
    assert world.unsettled() == []


# -- shadow ------------------------------------------------------------------------------------------------------------


async def test_a_shadow_runs_apart_and_what_people_meet_afterwards_is_another_process():
    world = await serving(plan_for(Strategy.SHADOW))
    world.ask(Verb.START, release=CANDIDATE.release)
    await world.until(Phase.STEPPING)
    arms = {arm.effective_digest for arm in await world.target.observe(ROUTE)}
    assert arms == {STABLE.effective, shadow_configuration(CANDIDATE.effective)}
    await world.run(3)
    table = world.gateways[0].table
    assert (table.mirror, table.split) == (20_000, 0)
    assert table.arm(Role.SHADOW).release == CANDIDATE.release
    await world.until(Phase.DONE)
    assert world.broken_laws() == []
    arms = {arm.effective_digest for arm in await world.target.observe(ROUTE)}
    assert shadow_configuration(CANDIDATE.effective) not in arms


async def test_a_plan_with_a_shadow_is_refused_where_requests_cannot_be_copied():
    world = await serving(plan_for(Strategy.SHADOW))
    world.controller.router.capabilities = replace(world.controller.router.capabilities, mirror=False)
    asked = world.ask(Verb.START, release=CANDIDATE.release)
    await world.run(1)
    assert world.ledger.answer(asked).code == "cannot_mirror"


async def test_a_plan_that_probes_is_refused_by_a_controller_that_cannot():
    world = await serving(plan_for(Strategy.BLUE_GREEN))
    world.controller.prober = None
    asked = world.ask(Verb.START, release=CANDIDATE.release)
    await world.run(1)
    assert world.ledger.answer(asked).code == "cannot_probe"


async def test_a_rolling_plan_is_refused_by_a_router_that_is_not_sticky_unless_it_says_mixed():
    for mixed, code in ((False, "not_sticky"), (True, "")):
        world = await serving(replace(plan_for(Strategy.ROLLING), mixed=mixed))
        world.controller.router.capabilities = replace(world.controller.router.capabilities, sticky=False)
        asked = world.ask(Verb.START, release=CANDIDATE.release)
        await world.run(1)
        assert world.ledger.answer(asked).code == code


# -- people ------------------------------------------------------------------------------------------------------------


@every_strategy
async def test_a_soak_that_a_person_paused_is_not_over_until_a_person_resumes(strategy):
    world = await serving(plan_for(strategy))
    world.ask(Verb.START, release=CANDIDATE.release)
    await world.until(Phase.SOAKING)
    world.ask(Verb.PAUSE)
    await world.run(300)
    assert world.phase is Phase.SOAKING
    assert STABLE.release in world.target.running(ROUTE), "what it would return to stays, however long it takes"
    world.ask(Verb.RESUME)
    await world.until(Phase.DONE, seconds=120)


async def test_a_paused_soak_that_fails_still_goes_back():
    world = await serving(canary_plan())
    world.ask(Verb.START, release=CANDIDATE.release)
    await world.until(Phase.SOAKING)
    world.ask(Verb.PAUSE)
    await world.run(1)
    world.measurer.bad.add(CANDIDATE.release)
    await world.until(Phase.ROLLED_BACK)


async def test_instances_that_become_ready_under_a_hold_get_no_traffic():
    world = await serving(plan_for(Strategy.ROLLING))
    world.target.script(CANDIDATE.release, Behaviour(ready_after=4.0, drains_in=1.0))
    world.ask(Verb.START, release=CANDIDATE.release)
    while world.state.rollout.scaling is not Scaling.STARTING or world.state.rollout.step != 1:
        await world.tick()
    world.ask(Verb.HOLD, kind="no-advance")
    await world.run(30)
    assert max(shares(world)) == 33_333
    world.ask(Verb.RELEASE_HOLD)
    await world.until(Phase.DONE)
