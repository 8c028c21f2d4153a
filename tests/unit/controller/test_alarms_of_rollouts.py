"""Alarms and yardsticks through the real engine: what a gateway is told, and what stops a rollout."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from fairway.observe.fold import Block
from fairway.rollout.config import RolloutSection
from fairway.rollout.plan import compile_plan
from fairway.rollout.requests import Request, Verb
from fairway.rollout.values import Phase, Plan
from fairway.testing.modelled_rollout import ModelledRollout
from fairway.testing.modelled_traffic import ArmModel, ModelledTraffic, outage
from fairway.testing.rollout_cases import ROUTE
from fairway.traffic.table import Role
from fairway.units import WHOLE


def plan(**triggers: object) -> Plan:
    """Gates so wide that only what stands beside them can stop a rollout."""
    wide = {
        "success": {"enabled": False},
        "failures": {"margins": ["90pt"]},
        "p95": {"margins": ["+900%"], "must_pass": False},
        "unknown": "90pt",
    }
    asked = {"steps": ["10%", "50%", "100%"], "dwell": "20m", "soak": "0s", "gates": wide, "triggers": triggers}
    return compile_plan(RolloutSection.model_validate(asked))


def rolled(traffic: ModelledTraffic, plan: Plan) -> ModelledRollout:
    return ModelledRollout(traffic=traffic, plan=plan)


def codes(rollout: ModelledRollout) -> list[str]:
    return [event.code for event in rollout.ledger.events(ROUTE, after=0)]


def last_reason(rollout: ModelledRollout, code: str) -> str:
    return next(event.reason for event in rollout.ledger.events(ROUTE, after=0) if event.code == code)


@pytest.mark.slow
async def test_a_burst_of_errors_rolls_back_by_the_trigger_though_every_gate_is_wide():
    traffic = ModelledTraffic(seed=1, units_per_block=60, candidate=ArmModel(failure=0.01, excess=0.15))
    rollout = rolled(traffic, plan(failed_traces=None, exposure=None))
    assert await rollout.run(blocks=60) in (Phase.ROLLING_BACK, Phase.ROLLED_BACK)
    assert "trigger_fired" in codes(rollout)
    assert "error_rate: " in last_reason(rollout, "trigger_fired")
    assert "the limit is 2.0%" in last_reason(rollout, "trigger_fired")


async def test_the_exposure_budget_ends_a_rollout_before_its_window_is_full():
    traffic = ModelledTraffic(seed=2, units_per_block=60, candidate=ArmModel(failure=0.01, excess=0.3))
    rollout = rolled(traffic, plan(failed_traces=None, exposure=15))
    assert await rollout.run(blocks=25) in (Phase.ROLLING_BACK, Phase.ROLLED_BACK)
    assert "exposure_budget: " in last_reason(rollout, "trigger_fired")


@pytest.mark.slow
async def test_an_outage_of_both_arms_sets_off_no_trigger():
    model = ArmModel(failure=0.004)
    traffic = ModelledTraffic(
        seed=3, units_per_block=60, stable=model, candidate=model, failures=outage(20, 40, 60.0)
    )  # fmt: skip
    rollout = rolled(traffic, plan(failed_traces=10, exposure=10))
    await rollout.run(blocks=30)
    assert "trigger_fired" not in codes(rollout)
    assert "shared_cause" in codes(rollout)


@dataclass(slots=True, kw_only=True)
class Losing(ModelledTraffic):
    """Half of the conversations that were told to go to the candidate never arrive there."""

    def next_block(self, *, split: float, **rest: object) -> Block:
        block = ModelledTraffic.next_block(self, split=split / 2, **rest)  # type: ignore[arg-type]
        return replace(block, split=round(split * WHOLE))


async def test_a_split_that_does_not_arrive_pauses_and_rolls_nothing_back():
    rollout = rolled(Losing(seed=4, units_per_block=80), plan())
    assert await rollout.run(blocks=20) is Phase.STEPPING
    assert "trigger_paused" in codes(rollout)
    assert "the split does not arrive as told" in last_reason(rollout, "trigger_paused")


async def test_gateways_are_told_every_threshold_a_gate_or_a_trigger_needs():
    traffic = ModelledTraffic(seed=5, units_per_block=120)
    policy = {
        "steps": ["20%", "100%"],
        "soak": "0s",
        "gates": {"p99": {"margins": ["+50%"]}, "p95": {"margins": ["+20%"]}},
    }
    rollout = rolled(traffic, compile_plan(RolloutSection.model_validate(policy)))
    await rollout.run(blocks=12, warm_up=12)
    table = rollout.gateway.table
    assert table is not None
    theta = table.theta
    assert theta["latency_limit_ms"] == {Role.STABLE: 5_000.0, Role.CANDIDATE: 5_000.0}
    assert theta["iterations"] == {Role.STABLE: 25.0, Role.CANDIDATE: 25.0}
    assert theta["latency_ms"][Role.CANDIDATE] == pytest.approx(1.2 * theta["latency_ms"][Role.STABLE])
    assert theta["latency_p99_ms"][Role.CANDIDATE] == pytest.approx(1.5 * theta["latency_p99_ms"][Role.STABLE])
    assert theta["latency_p99_ms"][Role.STABLE] > theta["latency_ms"][Role.STABLE]


async def test_a_healthy_release_passes_beside_the_triggers():
    traffic = ModelledTraffic(seed=6, units_per_block=60, turns=2, heavy_users=4)
    asked = compile_plan(
        RolloutSection.model_validate(
            {
                "steps": ["10%", "50%", "100%"], "dwell": "30s", "soak": "0s",
                "gates": {
                    "success": "95%", "failures": {"margins": ["10pt"]},
                    "p95": {"margins": ["+50%"], "must_pass": False},
                },
            }
        )
    )  # fmt: skip
    assert await rolled(traffic, asked).run(blocks=120) in (Phase.SOAKING, Phase.DONE, Phase.PROMOTING)


async def test_a_person_who_resumes_in_spite_of_the_sample_ratio_is_not_asked_again():
    rollout = rolled(Losing(seed=4, units_per_block=80), plan())
    await rollout.run(blocks=20)
    paused = codes(rollout).count("trigger_paused")
    rollout.ledger.submit(
        Request(id="resume", route=ROUTE, verb=Verb.RESUME, actor="grace", at=rollout.clock.now(), reason="a known bot")
    )
    for _ in range(10):
        await rollout._look()
    assert paused == 1
    assert codes(rollout).count("trigger_paused") == 1
    assert "resumed" in codes(rollout)
    assert rollout.state.rollout is not None
    assert rollout.state.rollout.overlooked == ("sample_ratio",)
    assert not rollout.state.rollout.paused
