"""Telemetry that comes after its blocks were read is told as a broken instrument, never passed over."""

from __future__ import annotations

import pytest

from fairway.controller.measure import LATE_SECONDS, BlockMeasurer
from fairway.observe.blocks import Batch, Increment
from fairway.observe.port import Pulled
from fairway.rollout.next_step import next_step
from fairway.rollout.values import Phase
from fairway.testing.memory_ledger import MemoryLedger
from fairway.testing.rollout_cases import CANDIDATE, ROUTE, rollout_state, route_state, snapshot
from fairway.testing.virtual_clock import VirtualClock
from fairway.traffic.fence import Fence
from fairway.traffic.table import Role
from fairway.units import UnitHash


class Gateway:
    """Brings what a test gives it; a reader that begins anew gets everything again."""

    def __init__(self) -> None:
        self.kept: list[Batch] = []

    async def pull(self, route: object, *, after: str | None) -> Pulled:
        first = 0 if after is None else int(after)
        return Pulled(batches=tuple(self.kept[first:]), cursor=str(len(self.kept)))


class Route:
    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.began = self.clock.now().timestamp()
        self.gateway, self.ledger = Gateway(), MemoryLedger(clock=self.clock)
        self.state = route_state(
            rollout_state(Phase.STEPPING, counted_from=self.began, step_from=self.began, started_at=self.clock.now())
        )

    def measurer(self) -> BlockMeasurer:
        return BlockMeasurer(route=ROUTE, ledger=self.ledger, source=self.gateway, clock=self.clock)

    def says(self, worker: int, seq: int, at: float, *, failed: int = 0, requests: int = 0) -> None:
        """A worker's batch: requests that began and ended in the first block."""
        units = tuple(UnitHash(f"{worker:08x}{number:08x}") for number in range(requests))
        increments = (
            Increment(
                t0=self.began, release=CANDIDATE.release, role=Role.CANDIDATE, fence=Fence(term=1, seq=1),
                assigned=requests, finished=requests, served=requests, failed=failed, marks={"active": units},
            ),
        )  # fmt: skip
        self.gateway.kept.append(
            Batch(
                gateway="g", boot="b", worker=worker, seq=seq, at=self.began + at, block_seconds=10.0, timeout=30.0,
                increments=increments if requests else (),
            )
        )  # fmt: skip


async def cut_off() -> tuple[Route, BlockMeasurer]:
    """One of two workers is cut off from the reader after its first word, and goes on serving."""
    route = Route()
    route.says(1, 1, -1.0)
    route.says(2, 1, -1.0)
    measurer = route.measurer()
    await measurer.measure(route.state)
    route.says(1, 2, 12.0, requests=5)
    for second in range(13, 60):
        route.says(1, second - 10, float(second))
    route.clock.advance(60.0)
    return route, measurer


async def test_a_block_a_worker_was_silent_in_counts_for_nothing():
    route, measurer = await cut_off()
    found = await measurer.measure(route.state)
    assert found.mature_seconds == 0
    assert not any(finding.units_candidate for finding in found.findings)
    assert not found.error


async def test_what_comes_late_is_a_broken_instrument_for_a_while_and_holds_the_step():
    route, measurer = await cut_off()
    await measurer.measure(route.state)
    route.says(2, 2, 14.0, requests=100, failed=100)
    found = await measurer.measure(route.state)
    assert found.error.startswith("telemetry came late: 1 reports")
    decision = next_step(snapshot(route.state, measured=found))
    assert (decision.kind.value, decision.code) == ("wait", "instrument_error")
    route.clock.advance(LATE_SECONDS / 2)
    route.says(2, 3, 15.0, requests=100, failed=100)
    assert "2 reports" in (await measurer.measure(route.state)).error
    route.clock.advance(LATE_SECONDS + 1)
    assert (await measurer.measure(route.state)).error == ""


@pytest.mark.parametrize("forgets", [False, True])
async def test_what_a_controller_that_takes_over_reads_again_is_not_late(forgets):
    route, measurer = await cut_off()
    await measurer.measure(route.state)
    if forgets:
        measurer.forget()
    else:
        measurer = route.measurer()
    assert (await measurer.measure(route.state)).error == ""
    assert (await measurer.measure(route.state)).error == ""
