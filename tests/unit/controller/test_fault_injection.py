"""Controllers killed and stopped at any point of any strategy, while people ask for anything: every law, every time.

A seed is a schedule: which strategy, how many instances, which release is bad, what people ask for and when, what
crashes, and where controllers are killed. ``FAIRWAY_SCHEDULES`` says how many are run (CI sets 5,000); by default a
part of them, so that ``make test`` stays short. A seed that broke a law is run alone with ``-k`` and its number in
``FAIRWAY_FIRST_SCHEDULE``.
"""

from __future__ import annotations

import os
import random
from dataclasses import replace

import pytest

from fairway.rollout.evidence import SmokeOutcome
from fairway.rollout.requests import Verb
from fairway.rollout.values import Phase, Plan, Strategy
from fairway.testing.memory_target import Behaviour
from fairway.testing.rollout_cases import CANDIDATE, NEXT, OLDEST, ROUTE, STABLE, plan_for
from fairway.testing.rollout_world import RolloutWorld

STRATEGIES = (Strategy.CANARY, Strategy.BLUE_GREEN, Strategy.ROLLING, Strategy.SHADOW)
CHUNKS = 8
SCHEDULES = int(os.environ.get("FAIRWAY_SCHEDULES", "96"))
FIRST = int(os.environ.get("FAIRWAY_FIRST_SCHEDULE", "0"))
OVERRIDES = ("promoted_by_person", "step_skipped", "soak_skipped")
HALF_AN_HOUR = "2026-01-01T01:00:00+00:00"
ASKED = (
    (Verb.ABORT, {}),
    (Verb.PAUSE, {}),
    (Verb.RESUME, {}),
    (Verb.ROLLBACK, {}),
    (Verb.ROLLBACK, {"to": STABLE.release}),
    (Verb.START, {"release": NEXT.release, "supersede": True}),
    (Verb.START, {"release": NEXT.release}),
    (Verb.START, {"release": OLDEST.release, "supersede": True}),
    (Verb.HOLD, {"kind": "no-advance"}),
    (Verb.HOLD, {"kind": "freeze", "until": HALF_AN_HOUR}),
    (Verb.RELEASE_HOLD, {}),
    (Verb.PROMOTE, {}),
    (Verb.PROMOTE, {"full": True}),
    (Verb.SKIP, {}),
    (Verb.RETRY, {"release": CANDIDATE.release}),
    (Verb.APPROVE, {"release": CANDIDATE.release}),
    (Verb.REVOKE, {"release": CANDIDATE.release}),
    (Verb.LIFT_BLOCK, {"release": CANDIDATE.release}),
)


def drawn_plan(chance: random.Random, strategy: Strategy) -> Plan:
    plan = plan_for(strategy, replicas=chance.choice([2, 3]), gray=chance.random() < 0.6)
    return replace(plan, approval=chance.random() < 0.15)


async def serving(plan: Plan, seed: int, **options) -> RolloutWorld:
    world = RolloutWorld(seed, plan=replace(plan, approval=False), **options)
    budget, world.injector.budget = world.injector.budget, 0
    world.serve_first()
    await world.until(Phase.DONE)
    await world.run(3)
    world.plan = plan
    world.injector.budget = budget
    world.controller = world.new_controller()
    return world


async def run_schedule(seed: int, *, pauses: int = 0) -> RolloutWorld:
    """One schedule: up to eight kills anywhere, then quiet until all is as it was decided."""
    chance = random.Random(seed)
    plan = drawn_plan(chance, STRATEGIES[seed % len(STRATEGIES)])
    kills = 0 if pauses else chance.randint(1, 8)
    world = await serving(plan, seed, kills=kills, probability=chance.choice([0.03, 0.1, 0.25]))
    world.injector.pauses = pauses
    if chance.random() < 0.4:
        world.measurer.bad.add(CANDIDATE.release)
    if chance.random() < 0.1:
        world.fails_smoke.add(CANDIDATE.release)
    other = random.Random(f"smoke {seed}")
    if other.random() < 0.3:
        world.smokes[CANDIDATE.release] = other.choice(list(SmokeOutcome))
    if chance.random() < 0.2:
        world.target.script(CANDIDATE.release, Behaviour(ready_after=chance.choice([None, 5.0]), drains_in=2.0))
    world.ask(Verb.START, release=CANDIDATE.release)
    for _ in range(chance.randint(0, 4)):
        await world.run(chance.uniform(0.1, 40))
        verb, args = chance.choice(ASKED)
        world.ask(verb, **args)
        if chance.random() < 0.2:
            world.target.crash(chance.choice([STABLE.release, CANDIDATE.release]))
        if chance.random() < 0.1:
            world.gateways[0].alive = not world.gateways[0].alive
    await world.run(30)
    world.injector.budget = world.injector.pauses = 0
    world.gateways[0].alive = True
    if pauses:
        await world.run(20)
        await world.wake_stale()
    await come_to_rest(world)
    return world


async def come_to_rest(world: RolloutWorld) -> None:
    """A person mends what cannot be run, lets go of everything and says yes to everything, until nothing moves."""
    if world.smokes.get(CANDIDATE.release) in (SmokeOutcome.ERROR, SmokeOutcome.TIMEOUT):
        world.smokes.clear()  # they mend the suite
    for _ in range(12):
        world.ask(Verb.RELEASE_HOLD)
        world.ask(Verb.RESUME)
        rollout = world.state.rollout
        if rollout is not None and rollout.live:
            world.ask(Verb.APPROVE, release=rollout.candidate.release)
        await world.settle(seconds=120)
        if not world.ledger.pending(ROUTE) and not world.unsettled():
            return


def check(world: RolloutWorld, seed: int) -> None:
    where = f"seed {seed} ({world.plan.strategy}), killed at {world.injector.killed_at}, {world.injector.paused_at}"
    assert world.broken_laws() == [], where
    assert world.unsettled() == [], where
    assert not world.ledger.pending(ROUTE), f"{where}: a request was never answered"
    overridden = any(event.code in OVERRIDES for event in world.events)
    if world.measurer.bad and not overridden:
        assert world.state.stable.release != CANDIDATE.release, f"{where}: a bad release was promoted"
    failed = world.smokes.get(CANDIDATE.release) is SmokeOutcome.FAILED and world.plan.strategy is Strategy.BLUE_GREEN
    if failed and not overridden:
        assert world.state.stable.release != CANDIDATE.release, f"{where}: promoted past a smoke that failed"


@pytest.mark.slow
@pytest.mark.parametrize("chunk", range(CHUNKS))
async def test_killed_at_any_point_of_any_strategy_the_controller_converges_to_what_was_decided(chunk):
    size = max(1, SCHEDULES // CHUNKS)
    kills: set[str] = set()
    codes: set[str] = set()
    for seed in range(FIRST + chunk * size, FIRST + (chunk + 1) * size):
        world = await run_schedule(seed)
        kills |= set(world.injector.killed_at)
        codes |= {event.code for event in world.events}
        check(world, seed)
    if size < 100:
        return
    points = ("ledger.acquire_lease", "ledger.journal", "router.apply", "target.ensure", "target.drain")
    assert {f"{when} {point}" for when in ("before", "after") for point in points} <= kills
    assert {"aborted", "superseded", "retried", "promoted_by_person", "step_skipped", "frozen", "instances_ready",
            "probe_failed", "smoke_failed", "smoke_error", "mirror_failed", "gate_failed", "soak_failed",
            "done"} <= codes  # fmt: skip


@pytest.mark.slow
async def test_a_controller_stopped_in_mid_operation_changes_nothing_when_it_wakes_in_a_world_that_has_moved_on():
    """It believes to hold the lease and does what it was about to do: ledger, gateways and target refuse it."""
    woken: set[str] = set()
    for seed in range(10_000, 10_000 + max(24, SCHEDULES // 10)):
        world = await run_schedule(seed, pauses=2)
        woken |= set(world.injector.paused_at)
        check(world, seed)
    assert {"before router.apply", "before target.ensure"} <= woken
