"""Whoever meets the candidate, it is judged: while instances start, while gateways confirm, and by the right blocks."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from fairway.controller.measure import BlockMeasurer
from fairway.observe.fold import ArmBlock, Block
from fairway.observe.port import Pulled
from fairway.rollout.deciding import BlocksRead, Measured
from fairway.rollout.next_step import next_step
from fairway.rollout.requests import Verb
from fairway.rollout.values import Phase, Scaling, Served, Strategy
from fairway.testing.memory_ledger import MemoryLedger
from fairway.testing.rollout_cases import (
    CANDIDATE,
    ROUTE,
    STABLE,
    T0,
    canary_plan,
    plan_for,
    rollout_state,
    route_state,
    snapshot,
)
from fairway.testing.rollout_world import RolloutWorld
from fairway.testing.virtual_clock import VirtualClock
from fairway.traffic.fence import Fence
from fairway.traffic.table import Role
from fairway.units import UnitHash, Verdict


async def rolled_to(*phases: Phase, step: int = 0, **options) -> RolloutWorld:
    world = RolloutWorld(3, **options)
    world.serve_first()
    await world.settle()
    world.ask(Verb.START, release=CANDIDATE.release)
    await world.until(*phases)
    while world.state.rollout.phase is Phase.STEPPING and world.state.rollout.step < step:
        await world.tick()
    return world


@pytest.mark.parametrize(
    ("verb", "args"),
    [(Verb.HOLD, {"kind": "no-advance"}), (Verb.PAUSE, {}), (None, {})],
    ids=["held", "paused", "instances never ready"],
)
@pytest.mark.parametrize("phase", [Phase.STEPPING, Phase.PROMOTING], ids=str)
async def test_what_is_served_while_the_next_instances_start_is_judged_and_taken_back(phase, verb, args):
    plan = replace(plan_for(Strategy.ROLLING), prepare_timeout=10_000.0)
    world = await rolled_to(phase, step=1, plan=plan)
    rollout = world.state.rollout
    assert (rollout.phase, rollout.scaling) == (phase, Scaling.STARTING)
    assert {int(gateway.table.split) for gateway in world.gateways} <= {33_333, 66_666}
    if verb is None:
        world.target.crash(CANDIDATE.release, instance=-1)
    else:
        world.ask(verb, **args)
    await world.tick()
    world.measurer.bad.add(CANDIDATE.release)
    await world.run(120)
    rollout = world.state.rollout
    assert (rollout.phase, rollout.cause) == (Phase.ROLLED_BACK, "gate_failed")
    assert {int(gateway.table.split) for gateway in world.gateways} == {0}


async def test_telemetry_that_is_lost_while_instances_start_lets_no_traffic_on_to_them():
    world = await rolled_to(Phase.STEPPING, step=1, plan=plan_for(Strategy.ROLLING))
    assert world.state.rollout.scaling is Scaling.STARTING
    world.measurer.blind = True
    await world.run(120)
    rollout = world.state.rollout
    assert (rollout.step, rollout.scaling) == (1, Scaling.STARTING)
    assert rollout.paused.startswith("cannot measure")
    assert {int(gateway.table.split) for gateway in world.gateways} == {33_333}


async def test_until_the_last_gateway_has_confirmed_all_traffic_the_last_steps_gates_go_on():
    world = await rolled_to(Phase.STEPPING, step=3)
    while world.state.rollout.step_from is None:
        await world.tick()
    world.gateways[1].delay = 1e9  # alive, and takes no new table
    await world.until(Phase.PROMOTING)
    world.measurer.bad.add(CANDIDATE.release)
    await world.run(60)
    assert world.phase is Phase.ROLLING_BACK
    assert world.state.rollout.cause == "gate_failed"
    assert world.gateways[0].table.arms[0].release == STABLE.release


@pytest.mark.parametrize(("step", "phase"), [(1, Phase.STEPPING), (3, Phase.PROMOTING)])
async def test_a_gateway_that_takes_no_table_pauses_the_rollout_for_a_person(step, phase):
    world = await rolled_to(Phase.STEPPING, step=step if phase is Phase.PROMOTING else step - 1)
    while world.state.rollout.step_from is None:
        await world.tick()
    world.gateways[1].delay = 1e9
    await world.until(phase)
    while world.state.rollout.step < step:
        await world.tick()
    await world.run(world.plan.instrument_budget / 2)
    assert not world.state.rollout.paused
    await world.run(world.plan.instrument_budget + 60)
    assert (world.phase, world.state.rollout.step) == (phase, step)
    assert "gateways_unconfirmed" in {event.code for event in world.events}
    assert "nothing that is served can be compared" in world.state.rollout.paused
    world.gateways[1].delay = 0.1
    world.gateways[1].offer(world.gateways[0].table, world.clock.monotonic())
    world.ask(Verb.RESUME)
    await world.until(Phase.DONE)
    assert world.state.stable.release == CANDIDATE.release


async def test_the_first_exposure_that_a_gateway_does_not_take_pauses_as_well():
    world = await rolled_to(Phase.PREPARING)
    world.gateways[1].delay = 1e9
    world.measurer.bad.add(CANDIDATE.release)
    await world.run(world.plan.instrument_budget + 120)
    rollout = world.state.rollout
    assert (rollout.phase, rollout.step, rollout.counted_from) == (Phase.STEPPING, 0, None)
    assert rollout.paused.startswith("gateways have not confirmed the split")
    world.ask(Verb.ABORT)
    await world.run(5)
    assert {int(gateway.table.split) for gateway in world.gateways} == {0}


# -- by the right blocks ----------------------------------------------------------------------------------------------

OLD, NEW = Fence(term=1, seq=3), Fence(term=1, seq=5)
PLAN = replace(canary_plan(), steps=tuple(replace(step, dwell=600.0) for step in canary_plan().steps))
UNITS = tuple(UnitHash(f"{number:016x}") for number in range(20))


class Silence:
    async def pull(self, route: object, *, after: str | None) -> Pulled:
        return Pulled(batches=(), cursor="")


def block(t0: float, fence: Fence) -> Block:
    def arm(role: Role, units: tuple[UnitHash, ...]) -> ArmBlock:
        count = len(units)
        return ArmBlock(role=role, assigned=count, finished=count, served=count, by={"hash": count}, active=units)

    arms = {STABLE.release: arm(Role.STABLE, UNITS[:10]), CANDIDATE.release: arm(Role.CANDIDATE, UNITS[10:])}
    return Block(t0=t0, seconds=10.0, fence=fence, split=50_000, arms=arms)


async def measured_at(rollout, blocks, now) -> Measured:
    clock = VirtualClock()
    clock.advance((now - clock.now()).total_seconds())
    measurer = BlockMeasurer(route=ROUTE, ledger=MemoryLedger(clock=clock), source=Silence(), clock=clock)
    measurer.keep(tuple(blocks))
    return await measurer.measure(route_state(rollout))


@pytest.mark.parametrize("back", [0, 10, 60], ids=lambda minutes: f"{minutes} min back")
async def test_a_clock_that_goes_back_makes_no_block_of_the_step_before_one_of_the_next(back):
    """Blocks have the gateways' clocks; the newest 40 s are served and not yet mature when the step begins."""
    began, now = T0.timestamp(), T0 - timedelta(minutes=back)
    before = [block(began - 700 + 10 * number, OLD) for number in range(70)]
    fresh = rollout_state(
        Phase.STEPPING,
        step=1,
        plan=PLAN,
        step_from=None,
        served=Served(step=0, since=began - 700, fence=OLD),
        counted_from=began - 700,
        phase_at=now,
        started_at=T0 - timedelta(hours=1),
    )
    seen = await measured_at(fresh, before[:66], now)
    begun = next_step(snapshot(route_state(fresh, changed_by=NEW), now=now, measured=seen))
    assert begun.code == "in_force"
    rollout = begun.state.rollout
    assert rollout.step_from >= before[65].t0 + 10
    later = await measured_at(rollout, before, now)
    assert later.mature_seconds == 0
    assert not any(finding.verdict is Verdict.PASS and finding.gate == "p95" for finding in later.findings)
    began_at = max(began, rollout.step_from)
    after = [block(began_at + 10 * number, NEW) for number in range(3)]
    assert (await measured_at(rollout, [*before, *after], now)).mature_seconds == 30


async def test_a_step_never_begins_before_the_one_before_it():
    fresh = rollout_state(
        Phase.STEPPING, step=1, step_from=None, served=Served(step=0, since=T0.timestamp() + 500), counted_from=0.0
    )
    begun = next_step(snapshot(route_state(fresh), now=T0))
    assert begun.state.rollout.step_from >= T0.timestamp() + 500


async def test_blocks_of_the_last_step_are_none_of_the_soak():
    now = T0.timestamp()
    state = route_state(
        rollout_state(Phase.PROMOTING, step=3, counted_from=now - 700, served=Served(step=3, since=now - 700)),
        changed_by=NEW,
    )
    read = BlocksRead(at=now, upto=now - 20, count=70)
    soaking = next_step(snapshot(state, now=T0 - timedelta(minutes=10), measured=Measured(read=read))).state.rollout
    assert soaking.phase is Phase.SOAKING
    before = [block(now - 700 + 10 * number, OLD) for number in range(75)]
    assert (await measured_at(soaking, before, T0)).mature_seconds == 0
    assert (await measured_at(soaking, [*before, block(now + 50, NEW)], T0)).mature_seconds == 10
