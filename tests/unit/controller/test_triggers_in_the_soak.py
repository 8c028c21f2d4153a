"""After the promotion the triggers go on through the real engine: back to the former stable, or a person looks."""

from __future__ import annotations

import pytest

from fairway.rollout.config import RolloutSection
from fairway.rollout.plan import compile_plan
from fairway.rollout.requests import Request, Verb
from fairway.rollout.values import Phase, Plan
from fairway.testing.modelled_rollout import ModelledRollout
from fairway.testing.modelled_traffic import ArmModel, ModelledTraffic, outage
from fairway.testing.rollout_cases import ROUTE

HEALTHY, BAD = ArmModel(failure=0.004), ArmModel(failure=0.004, excess=0.3)


def calm(seed: int, *, turns: int = 1) -> ModelledTraffic:
    return ModelledTraffic(seed=seed, units_per_block=60, stable=HEALTHY, candidate=HEALTHY, turns=turns)


def plan(**triggers: object) -> Plan:
    """A short way to the promotion, and a soak in which no gate looks: only triggers can end it."""
    gates = {
        "success": {"enabled": False}, "unknown": "90pt",
        "failures": {"margins": ["20pt"]}, "p95": {"margins": ["+900%"], "must_pass": False},
    }  # fmt: skip
    asked = {"steps": ["50%", "100%"], "dwell": "30s", "soak": "1h", "gates": gates, "triggers": triggers}
    return compile_plan(RolloutSection.model_validate(asked))


async def soaked(
    traffic: ModelledTraffic, blocks: int, *, followed: Plan | None = None, bad: ArmModel | None = None
) -> ModelledRollout:
    """A rollout some blocks into its soak; ``bad``: as what the candidate shows itself once everybody is on it."""
    rollout = ModelledRollout(traffic=traffic, plan=followed or plan())
    assert await rollout.run(blocks=120) is Phase.SOAKING
    if bad is not None:
        traffic.candidate = bad
    for _ in range(blocks):
        await rollout._block()
    return rollout


def codes(rollout: ModelledRollout) -> list[str]:
    return [event.code for event in rollout.ledger.events(ROUTE, after=0)]


def phase(rollout: ModelledRollout) -> Phase | None:
    return None if rollout.state.rollout is None else rollout.state.rollout.phase


async def test_a_fault_that_begins_after_the_promotion_goes_back_by_its_trigger() -> None:
    rollout = await soaked(calm(3), 30, bad=BAD)
    assert phase(rollout) in (Phase.ROLLING_BACK, Phase.ROLLED_BACK)
    assert "trigger_fired" in codes(rollout)
    reason = next(event.reason for event in rollout.ledger.events(ROUTE, after=0) if event.code == "trigger_fired")
    assert "since the promotion" in reason or "after the promotion" in reason
    assert rollout.state.stable is not None
    assert rollout.state.stable.version == "1.0.0"


async def test_a_healthy_release_soaks_on() -> None:
    rollout = await soaked(calm(4), 60)
    assert phase(rollout) is Phase.SOAKING
    assert not {"trigger_fired", "trigger_paused"} & set(codes(rollout))


async def test_what_the_former_stable_suffers_too_pauses_and_a_person_may_go_on() -> None:
    traffic = calm(5, turns=8)
    rollout = await soaked(traffic, 0)
    traffic.failures = outage(0, 10_000, 250.0)
    for _ in range(6):
        await rollout._block()
    assert phase(rollout) is Phase.SOAKING
    assert "trigger_paused" in codes(rollout)
    rollout.ledger.submit(
        Request(id="go", route=ROUTE, verb=Verb.RESUME, actor="grace", at=rollout.clock.now(), reason="the provider")
    )
    for _ in range(6):
        await rollout._look()
    assert rollout.state.rollout is not None
    assert not rollout.state.rollout.paused
    assert rollout.state.rollout.overlooked
    assert rollout.state.code == "soaking"


@pytest.mark.parametrize("limits", [{"error_rate": None}, {"error_rate": "60%", "latency": None}])
async def test_a_limit_that_is_off_or_wide_is_so_in_the_soak_too(limits: dict[str, object]) -> None:
    rollout = await soaked(calm(3), 30, followed=plan(**limits), bad=BAD)
    assert phase(rollout) is Phase.SOAKING
    assert "trigger_fired" not in codes(rollout)


async def test_a_release_as_slow_as_stable_always_was_waits_for_a_person_once() -> None:
    slow = ArmModel(failure=0.004, latency_ms=4_000.0)
    traffic = ModelledTraffic(seed=6, units_per_block=60, stable=slow, candidate=slow)
    rollout = await soaked(traffic, 40)
    assert phase(rollout) is Phase.SOAKING
    assert codes(rollout).count("trigger_paused") == 1
    assert "trigger_fired" not in codes(rollout)
    rollout.ledger.submit(
        Request(id="go", route=ROUTE, verb=Verb.RESUME, actor="grace", at=rollout.clock.now(), reason="as ever")
    )
    for _ in range(10):
        await rollout._block()
    assert codes(rollout).count("trigger_paused") == 1
    assert rollout.state.code == "soaking"


async def test_a_release_that_grows_slow_after_the_promotion_goes_back() -> None:
    rollout = await soaked(calm(7), 40, bad=ArmModel(failure=0.004, latency_ms=6_000.0))
    assert phase(rollout) in (Phase.ROLLING_BACK, Phase.ROLLED_BACK)
    reason = next(event.reason for event in rollout.ledger.events(ROUTE, after=0) if event.code == "trigger_fired")
    assert reason.startswith("latency: ")
