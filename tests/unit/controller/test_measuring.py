"""What a controller holds in memory changes no measurement: one that takes over finds the same."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from fairway.controller.measure import BlockMeasurer
from fairway.observe.blocks import bin_value
from fairway.observe.fold import ArmBlock, Block
from fairway.observe.port import Pulled
from fairway.rollout.deciding import Measured
from fairway.rollout.values import Phase, RouteState
from fairway.testing.memory_ledger import MemoryLedger
from fairway.testing.rollout_cases import CANDIDATE, GATES, ROUTE, STABLE, canary_plan, rollout_state, route_state
from fairway.testing.virtual_clock import VirtualClock
from fairway.traffic.fence import Fence
from fairway.traffic.table import Role
from fairway.units import RolloutId, UnitHash, Verdict


class Silence:
    """Nothing new: blocks are given by the test."""

    async def pull(self, route: object, *, after: str | None) -> Pulled:
        return Pulled(batches=(), cursor="")


class Watched:
    """A route under one controller that stays, beside which others can take over."""

    def __init__(self, seconds: float = 10.0) -> None:
        self.seconds = seconds
        self.clock = VirtualClock()
        self.ledger = MemoryLedger(clock=self.clock)
        self.staying = self.measurer()

    def measurer(self) -> BlockMeasurer:
        return BlockMeasurer(route=ROUTE, ledger=self.ledger, source=Silence(), clock=self.clock)

    def block(
        self, t0: float, *, candidate: tuple[UnitHash, ...] = (), latency: int = 70, failing: bool = False
    ) -> Block:
        """Twenty conversations on stable, the same in every block without a candidate, and those of the candidate."""
        begun = int(t0) if candidate else 0
        units = tuple(UnitHash(f"f{begun:011x}{number:04x}") for number in range(20))
        arms = {STABLE.release: arm(Role.STABLE, units, latency)}
        if candidate:
            arms[CANDIDATE.release] = arm(Role.CANDIDATE, candidate, latency, candidate if failing else ())
        split = 50_000 if candidate else 0
        return Block(t0=t0, seconds=self.seconds, fence=Fence(term=1, seq=1), arms=arms, split=split)

    async def serve(self, state: RouteState, blocks: int, **what: object) -> Measured:
        for _ in range(blocks):
            t0 = self.clock.now().timestamp() // self.seconds * self.seconds
            self.clock.advance(self.seconds)
            self.staying.keep((self.block(t0, **what),))  # type: ignore[arg-type]
            measured = await self.staying.measure(state)
        return measured


def arm(role: Role, units: tuple[UnitHash, ...], latency: int, failed: tuple[UnitHash, ...] = ()) -> ArmBlock:
    count = len(units)
    return ArmBlock(
        role=role, assigned=count, served=count, finished=count, reported=count, by={"hash": count},
        latency_ms={latency: count}, active=units, failed=len(failed), failed_units=failed,
    )  # fmt: skip


async def test_a_retry_is_measured_as_by_a_controller_that_takes_over_then() -> None:
    route = Watched()
    quiet = route_state(None)
    await route.serve(quiet, 400)
    now = route.clock.now()
    plan = canary_plan()  # of gates that must pass: the figures of others may be some blocks old
    must_pass = tuple(replace(step, gates=GATES[:2]) for step in plan.steps)
    retried = replace(
        rollout_state(Phase.STEPPING, plan=replace(plan, steps=must_pass)),
        started_at=now,
        salt="the first attempt",
        counted_from=now.timestamp(),
        step_from=now.timestamp(),
    )
    begun = tuple(UnitHash(f"{number:016x}") for number in range(10))
    found = await route.serve(route_state(retried), 12, candidate=begun)
    assert found.read is not None
    assert found.read.count == int(3600 / route.seconds) + 12  # who came within a pin's life is not new
    assert await route.measurer().measure(route_state(retried)) == found


@pytest.mark.parametrize("seconds", [1.0, 10.0, 60.0])
async def test_the_yardstick_is_that_of_sixty_blocks_however_long_they_are(seconds: float) -> None:
    route = Watched(seconds)
    now = datetime.fromtimestamp(route.clock.now().timestamp(), UTC)
    preparing = replace(
        rollout_state(Phase.PREPARING), started_at=now + timedelta(days=1), counted_from=None, step_from=None
    )
    await route.serve(route_state(preparing), 60, latency=90)
    found = await route.serve(route_state(preparing), 45, latency=70)
    assert found == await route.measurer().measure(route_state(preparing))
    assert found.theta is not None
    assert found.theta > bin_value(89)  # a quarter of the sixty blocks were slow


async def test_a_retry_is_judged_by_its_own_blocks_alone_however_bad_the_attempt_before_was() -> None:
    route = Watched()
    begun = route.clock.now().timestamp()
    first = replace(rollout_state(Phase.STEPPING), counted_from=begun, step_from=begun)
    units = [tuple(UnitHash(f"{block:04x}{number:012x}") for number in range(10)) for block in range(40)]
    for block in units[:20]:
        found = await route.serve(route_state(first), 1, candidate=block, failing=True)
    failed = next(one for one in found.findings if one.gate == "failures")
    assert (failed.verdict, failed.bad_candidate) == (Verdict.FAIL, 200)
    again = route.clock.now().timestamp()
    retried = replace(
        first, id=RolloutId("1.1.0-r2"), salt=first.id, attempt=2, counted_from=again, step_from=again
    )  # fmt: skip
    for block in units[20:]:
        found = await route.serve(route_state(retried), 1, candidate=block)
    anew = next(one for one in found.findings if one.gate == "failures")
    assert anew.verdict is not Verdict.FAIL
    assert (anew.units_candidate, anew.bad_candidate) == (200, 0)
    assert found.mature_seconds == 200.0
