"""The fast path and the real engine take the same decisions on the same traffic."""

from __future__ import annotations

from typing import Any

import pytest

from fairway.rollout.config import RolloutSection
from fairway.rollout.plan import compile_plan
from fairway.rollout.wire import state_from_wire
from fairway.simulate.rollout import BEGIN, ModelledRun, exposing
from fairway.simulate.traffic import ArmModel, ModelledTraffic, drift, outage
from fairway.testing.modelled_rollout import ModelledRollout
from fairway.testing.rollout_cases import ROUTE

QUICK = RolloutSection.model_validate(
    {
        "steps": ["5%", "30%", "50%", "100%"],
        "dwell": "80s",
        "cap": "7m",
        "gates": {
            "success": "97%",
            "failures": {"margins": ["8pt", "5pt", "3pt"]},
            "p95": {"margins": ["+100%", "+50%", "+50%"]},
        },
    }
)
BLOCKS = 54
HEALTHY = ArmModel(failure=0.01)
CASES: dict[str, dict[str, Any]] = {
    "healthy": {"units_per_block": 60},
    "failing": {"units_per_block": 40, "candidate": ArmModel(failure=0.01, excess=0.2)},
    "slow": {"units_per_block": 30, "candidate": ArmModel(latency_ms=1500)},
    "few, heavy and sticky": {"units_per_block": 3, "heavy_users": 12},
    "an outage": {"units_per_block": 40, "failures": outage(30, 42, 40.0)},
    "drift, noise, turns": {
        "units_per_block": 12,
        "turns": 3,
        "failures": drift(6.0, 30),
        "load": lambda index: 1.0 + 2.0 * (index > 25),
        "load_noise": 0.1,
    },
    "late and delayed": {
        "units_per_block": 30,
        "onset": 30,
        "delay": 6,
        "candidate": ArmModel(failure=0.01, excess=0.3),
    },
    "a trigger": {"units_per_block": 160, "candidate": ArmModel(failure=0.035)},
    "unknown outcomes": {
        "units_per_block": 30,
        "stable": ArmModel(failure=0.01, unknown=0.05),
        "candidate": ArmModel(failure=0.01, unknown=0.05),
    },
}


def traffic(name: str, seed: int) -> ModelledTraffic:
    return ModelledTraffic(seed=seed, **{"stable": HEALTHY, "candidate": HEALTHY, **CASES[name]})


async def decided_by_the_engine(model: ModelledTraffic, blocks: int) -> list[tuple[float, str, str]]:
    rollout = ModelledRollout(traffic=model, plan=exposing(compile_plan(QUICK)))
    await rollout.run(blocks=blocks)
    found: list[tuple[float, str, str]] = []
    for entry in rollout.ledger.events(ROUTE, after=0):
        state = state_from_wire(entry.state)
        if state.rollout is None or state.rollout.candidate.version != "1.1.0":
            continue
        found.append(
            ((entry.at - BEGIN).total_seconds(), entry.code, f"{state.rollout.phase.value} {state.rollout.step}")
        )
    return found


def decided_in_the_fast_path(model: ModelledTraffic, blocks: int) -> list[tuple[float, str, str]]:
    run = ModelledRun(traffic=model, plan=compile_plan(QUICK))
    run.start()
    for _ in range(blocks):
        if run.over:
            break
        run.block()
    return [(event.at, event.code, event.stands) for event in run.events if event.stands]


@pytest.mark.parametrize("name", CASES)
async def test_the_fast_path_decides_what_the_engine_decides(name: str) -> None:
    engine = await decided_by_the_engine(traffic(name, 1), BLOCKS)
    fast = decided_in_the_fast_path(traffic(name, 1), BLOCKS)
    assert len(engine) > 3
    assert fast == engine


async def test_the_cases_reach_every_kind_of_ending() -> None:
    codes = {code for name in CASES for _, code, _ in decided_in_the_fast_path(traffic(name, 1), BLOCKS)}
    wanted = {
        "gate_failed", "gates_passed", "shared_cause", "instrument_error", "yardstick_moved", "step_undecided",
        "trigger_fired",
    }  # fmt: skip
    assert wanted - codes == set()
