"""Whoever meets the candidate, it is judged: while instances start, while gateways confirm, and by the right blocks."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from fairway.controller.measure import BlockMeasurer
from fairway.observe.blocks import bin_of
from fairway.observe.fold import ArmBlock, Block
from fairway.observe.port import Pulled
from fairway.rollout.deciding import BlocksRead, Measured
from fairway.rollout.next_step import next_step
from fairway.rollout.requests import Verb
from fairway.rollout.values import Phase, Scaling, Served, Strategy
from fairway.testing.memory_ledger import MemoryLedger
from fairway.testing.rollout_cases import (
    CANDIDATE,
    GATES,
    ROUTE,
    STABLE,
    T0,
    canary_plan,
    finding,
    measured,
    plan_for,
    request,
    rollout_state,
    route_state,
    snapshot,
)
from fairway.testing.rollout_world import RolloutWorld
from fairway.testing.virtual_clock import VirtualClock
from fairway.traffic.fence import Fence
from fairway.traffic.table import Role
from fairway.units import UnitHash, Verdict
from fairway.verdict.values import AlarmAction, AlarmPolicy


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


# -- by a clock that was ahead ----------------------------------------------------------------------------------------

HOUR = 3600.0


async def test_a_step_that_began_by_a_clock_an_hour_ahead_is_judged_by_the_blocks_of_its_own_table():
    """The clock is right again when these are read; the blocks have the gateways' clocks, which always were."""
    now = T0.timestamp()
    rollout = rollout_state(
        Phase.STEPPING,
        step=1,
        plan=PLAN,
        step_from=now + HOUR,
        step_fence=NEW,
        counted_from=now + HOUR,
        started_at=T0 + timedelta(hours=1),
    )
    before = [block(now - 100 + 10 * number, OLD) for number in range(10)]
    own = [block(now + 10 * number, NEW) for number in range(60)]
    found = await measured_at(rollout, [*before, *own], T0 + timedelta(minutes=11))
    assert found.mature_seconds == 600
    assert {finding.units_candidate for finding in found.findings} == {10}
    state = next_step(snapshot(route_state(rollout), now=T0 + timedelta(minutes=11), measured=found)).state
    again = await measured_at(state.rollout, [*before, *own], T0 + timedelta(minutes=12))
    assert again.mature_seconds == 600
    assert state.rollout.step_from <= now + 12 * 60


async def test_evidence_a_person_made_begin_anew_does_not_take_back_what_was_before():
    now = T0.timestamp()
    resumed = rollout_state(
        Phase.STEPPING, step=1, plan=PLAN, step_from=now, step_fence=NEW, anew_from=now, counted_from=now
    )
    outage = [block(now - 600 + 10 * number, NEW) for number in range(60)]
    assert (await measured_at(resumed, outage, T0)).mature_seconds == 0
    assert (await measured_at(resumed, [*outage, block(now, NEW)], T0)).mature_seconds == 10


async def test_what_stable_did_before_the_promotion_is_not_forgotten_by_a_resume():
    """An outage of both in the soak, a person resumes, and then the release alone is bad: that is no custom."""
    now = T0.timestamp()

    def served(t0: float, fence: Fence, *roles: Role, failing: bool) -> Block:
        arm = {"assigned": 20, "finished": 20, "served": 20, "active": UNITS, "failed": 20 if failing else 0}
        failed = UNITS if failing else ()
        arms = {
            release: ArmBlock(role=role, failed_units=failed, latency_ms={bin_of(200.0): 20}, **arm)
            for release, role in ((STABLE.release, Role.STABLE), (CANDIDATE.release, Role.CANDIDATE))
            if role in roles
        }
        return Block(t0=t0, seconds=10.0, fence=fence, arms=arms)

    plan = replace(PLAN, alarms=AlarmPolicy())
    soaking = rollout_state(
        Phase.SOAKING, plan=plan, step_from=now - 1800, step_fence=NEW, counted_from=now - 2400, paused="an outage"
    )
    before = [served(now - 2400 + 10 * n, OLD, *Role, failing=False) for n in range(60)]
    outage = [served(now - 1800 + 10 * n, NEW, *Role, failing=True) for n in range(180)]
    known = BlocksRead(at=now, upto=now - 10, count=240)
    failed = (finding(GATES[2], Verdict.FAIL, stable_fails_too=True, worse_than_stable=False),)
    resumed = next_step(
        snapshot(
            route_state(soaking),
            requests=(request(Verb.RESUME, reason="the provider is back"),),
            measured=Measured(read=known, findings=failed),
        )
    ).state.rollout
    assert resumed.step_from == now
    alone = [served(now + 10 * n, NEW, Role.CANDIDATE, failing=True) for n in range(60)]
    found = await measured_at(resumed, [*before, *outage, *alone], T0 + timedelta(seconds=620))
    assert {alarm.action for alarm in found.alarms} == {AlarmAction.ROLL_BACK}


@pytest.mark.parametrize("ahead", [0, 1], ids=["a right clock", "a clock an hour ahead"])
def test_a_cap_that_began_by_a_clock_that_was_ahead_comes_all_the_same(ahead):
    rollout = rollout_state(Phase.STEPPING, step=1, phase_at=T0 + timedelta(hours=ahead))
    state, cap = route_state(rollout), rollout.plan.steps[1].cap
    undecided = measured(Verdict.INCONCLUSIVE)
    first = next_step(snapshot(state, now=T0, measured=undecided))
    assert (first.code, first.state.rollout.phase_at) == ("needs_evidence", T0)
    late = next_step(snapshot(first.state, now=T0 + timedelta(seconds=cap + 1), measured=undecided))
    assert late.code == "step_undecided"


def test_what_two_machines_clocks_may_differ_by_is_left_as_it_is():
    rollout = rollout_state(Phase.STEPPING, step=1, phase_at=T0 + timedelta(seconds=5))
    assert next_step(snapshot(route_state(rollout), now=T0)).state.rollout.phase_at == rollout.phase_at
