"""What the simulator measures is what a controller measures, wherever a rollout stands."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from fairway.controller.measure import BlockMeasurer
from fairway.observe.port import Pulled
from fairway.rollout.config import RolloutSection
from fairway.rollout.deciding import Measured
from fairway.rollout.plan import compile_plan
from fairway.rollout.values import Phase, RolloutState, Served
from fairway.simulate.reading import BlockReader
from fairway.simulate.rollout import BEGIN, CANDIDATE, STABLE, exposing
from fairway.simulate.traffic import ArmModel, ModelledTraffic, outage
from fairway.testing.memory_ledger import MemoryLedger
from fairway.testing.rollout_cases import ROUTE, rollout_state, route_state
from fairway.testing.virtual_clock import VirtualClock
from fairway.traffic.fence import Fence
from fairway.traffic.table import Role

PLAN = exposing(compile_plan(RolloutSection.model_validate({"steps": ["10%", "50%", "100%"]})))
SECOND_STEP, WHOLE = 30, 60
CASES = {
    "healthy": {"candidate": ArmModel(failure=0.01)},
    "failing": {"candidate": ArmModel(failure=0.01, excess=0.1)},
    "outage": {"candidate": ArmModel(failure=0.01), "failures": outage(40, 70, 40.0)},
}


class Silence:
    async def pull(self, route: object, *, after: str | None) -> Pulled:
        return Pulled(batches=(), cursor="")


def standing(index: int) -> RolloutState:
    """A rollout after so many blocks: in its first step, on the way to the second, in it, and on the way to 100 %."""
    t0 = BEGIN.timestamp()
    first = Served(step=0, since=t0, fence=Fence(term=1, seq=1))
    second = Served(step=1, since=t0 + 10 * SECOND_STEP, fence=Fence(term=1, seq=2))
    rollout = rollout_state(
        Phase.STEPPING, plan=PLAN, candidate=CANDIDATE, stable=STABLE, counted_from=t0, started_at=BEGIN
    )
    if index < SECOND_STEP - 5:
        return replace(rollout, step=0, step_from=first.since, step_fence=first.fence)
    if index < SECOND_STEP:
        return replace(rollout, step=1, step_from=None, served=first)
    if index < WHOLE:
        return replace(rollout, step=1, step_from=second.since - 50, step_fence=second.fence)
    return replace(rollout, phase=Phase.PROMOTING, step=1, step_from=None, served=second)


def essence(measured: Measured) -> tuple[object, ...]:
    verdicts = [(each.gate, each.verdict, each.stable_fails_too) for each in measured.findings]
    alarms = [(each.name, each.action) for each in measured.alarms]
    return verdicts, measured.mature_seconds, measured.shared_cause, alarms, measured.theta, measured.pairs


@pytest.mark.parametrize("case", CASES)
async def test_the_simulator_and_a_controller_measure_the_same_blocks_alike_wherever_a_rollout_stands(case):
    traffic = ModelledTraffic(seed=5, units_per_block=40, stable=ArmModel(failure=0.01), **CASES[case])
    traffic.began = BEGIN.timestamp()
    clock = VirtualClock()
    clock.advance((BEGIN - clock.now()).total_seconds())
    reader = BlockReader(candidate=CANDIDATE.release, stable=STABLE.release, plan=PLAN)
    measurer = BlockMeasurer(route=ROUTE, ledger=MemoryLedger(clock=clock), source=Silence(), clock=clock)
    seen = set()
    for index in range(WHOLE + 15):
        rollout = standing(index)
        fence = 1 if index < SECOND_STEP else 2
        limits = {Role.STABLE: 900.0, Role.CANDIDATE: 900.0}
        block = traffic.next_block(split=0.1 if fence == 1 else 0.5, theta=limits, fence=fence)
        clock.advance(10.0)
        reader.keep(block)
        measurer.keep((block,))
        found = await measurer.measure(route_state(rollout))
        assert essence(reader.measured(rollout, clock.now().timestamp())) == essence(found), index
        assert found.read is not None
        assert found.read.at == datetime.fromtimestamp(clock.now().timestamp(), UTC).timestamp()
        assert found.findings, "whatever is served is judged"
        if index == SECOND_STEP:
            assert found.mature_seconds == 10  # none of the first step's blocks, though its start was noted too early
        seen |= {each.verdict.value for each in found.findings} | ({"shared"} if found.shared_cause else set())
    assert {"healthy": "PASS", "failing": "FAIL", "outage": "shared"}[case] in seen
