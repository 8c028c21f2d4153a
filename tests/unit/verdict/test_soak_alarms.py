"""Triggers after the promotion: rule and evidence, an outage told from a bad release where something can tell it."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from fairway.observe.blocks import bin_of
from fairway.observe.fold import ArmBlock, Block
from fairway.testing.modelled_traffic import (
    MODELLED_CANDIDATE,
    MODELLED_STABLE,
    ArmModel,
    ModelledTraffic,
    drift,
    outage,
)
from fairway.traffic.fence import Fence
from fairway.traffic.table import Role
from fairway.units import UnitHash
from fairway.verdict.soak_alarms import Before, SoakWatch, stood_before
from fairway.verdict.values import Alarm, AlarmAction, AlarmPolicy

POLICY = AlarmPolicy()
HEALTHY = ArmModel(failure=0.005)


def soak(traffic: ModelledTraffic, blocks: int, *, split: float = 1.0) -> list[Block]:
    return [traffic.next_block(split=split) for _ in range(blocks)]


KEPT = Before(error_rate=True, latency=True)


def watch(policy: AlarmPolicy = POLICY, *, first: bool = False, before: Before = KEPT) -> SoakWatch:
    former = None if first else MODELLED_STABLE
    return SoakWatch(candidate=MODELLED_CANDIDATE, former=former, policy=policy, before=before)


def first_alarm(blocks: list[Block], policy: AlarmPolicy = POLICY, *, first: bool = False) -> tuple[int, Alarm] | None:
    seen = watch(policy, first=first)
    for count in range(1, len(blocks) + 1):
        alarms = seen.alarming(blocks[:count])
        if alarms:
            return count, alarms[0]
    return None


def traffic(seed: int = 1, units: float = 60, **model: object) -> ModelledTraffic:
    return ModelledTraffic(seed=seed, units_per_block=units, **{"stable": HEALTHY, "candidate": HEALTHY, **model})


def test_a_release_that_fails_for_five_minutes_is_left() -> None:
    blocks = soak(traffic(candidate=ArmModel(failure=0.005, excess=0.1)), 60)
    found = first_alarm(blocks, replace(POLICY, failed_traces=None))
    assert found is not None
    count, alarm = found
    assert count == 30  # the rule's window, and the evidence is there by then
    assert (alarm.name, alarm.action) == ("error_rate", AlarmAction.ROLL_BACK)
    assert "the limit is 2.0%" in alarm.reason
    assert "nothing served beside it" in alarm.reason


def test_a_burst_of_failed_traces_does_not_wait_for_the_window() -> None:
    found = first_alarm(soak(traffic(candidate=ArmModel(failure=0.005, excess=0.3)), 60))
    assert found is not None
    assert found[0] < 10
    assert (found[1].name, found[1].action) == ("failed_traces", AlarmAction.ROLL_BACK)


def test_a_slow_release_is_left_after_its_window() -> None:
    slow = ArmModel(failure=0.005, latency_ms=4_000.0)
    found = first_alarm(soak(traffic(candidate=slow), 60))
    assert found is not None
    assert found[0] == 18  # three minutes
    assert (found[1].name, found[1].action) == ("latency", AlarmAction.ROLL_BACK)


def test_what_the_former_stable_suffers_too_pauses() -> None:
    bad = ArmModel(failure=0.2)
    found = first_alarm(soak(traffic(stable=bad, candidate=bad), 60, split=0.9))
    assert found is not None
    assert found[1].action is AlarmAction.PAUSE
    assert "an outage of both" in found[1].reason


def test_slowness_of_both_pauses() -> None:
    slow = ArmModel(failure=0.005, latency_ms=4_000.0)
    found = first_alarm(soak(traffic(stable=slow, candidate=slow), 60, split=0.9))
    assert found is not None
    assert (found[1].name, found[1].action) == ("latency", AlarmAction.PAUSE)


def test_a_former_stable_that_is_well_blames_the_release() -> None:
    bad = ArmModel(failure=0.005, excess=0.1)
    found = first_alarm(soak(traffic(candidate=bad), 60, split=0.9))
    assert found is not None
    assert found[1].action is AlarmAction.ROLL_BACK
    assert "nothing served beside it" not in found[1].reason


def test_of_a_first_release_its_gates_alone_speak() -> None:
    bad = ArmModel(failure=0.2, latency_ms=4_000.0)
    assert first_alarm(soak(traffic(candidate=bad), 60), first=True) is None


SLOW, FAILING = ArmModel(failure=0.005, latency_ms=4_000.0), ArmModel(failure=0.2)


@pytest.mark.parametrize(
    ("model", "before"),
    [
        (SLOW, Before(error_rate=True, latency=False)),
        (FAILING, Before(error_rate=False, latency=True)),
    ],
    ids=["slow by custom", "failing by custom"],
)
def test_what_stable_did_before_is_no_reason_to_leave_the_release_that_does_it_too(
    model: ArmModel, before: Before
) -> None:
    blocks = soak(traffic(candidate=model), 60)
    customs = watch(before=before).alarming(blocks)
    assert customs
    assert {alarm.action for alarm in customs} == {AlarmAction.PAUSE}
    assert all("most of the time before the promotion" in alarm.reason for alarm in customs)
    pauses = watch(before=Before()).alarming(blocks)
    assert pauses
    assert {alarm.action for alarm in pauses} == {AlarmAction.PAUSE}
    assert all("is not known" in alarm.reason for alarm in pauses)


def test_what_stable_was_like_is_read_off_the_blocks_before() -> None:
    def before(model: ArmModel, blocks: int = 20, units: float = 60) -> Before:
        served = [traffic(units=units, stable=model).next_block(split=0.1) for _ in range(blocks)]
        return stood_before(POLICY, served, MODELLED_STABLE)

    assert before(HEALTHY) == KEPT
    assert before(SLOW) == Before(error_rate=True, latency=False)
    assert before(FAILING) == Before(error_rate=False, latency=True)
    assert before(HEALTHY, blocks=0) == Before()
    assert stood_before(POLICY, soak(traffic(), 20), MODELLED_STABLE) == Before(), "it served nothing then"


def served_before(seconds: range, *, failing: float, ms: float, seed: int = 1) -> list[Block]:
    """Stable with 500 users who come back: a fifth of them in each block."""
    chance = random.Random(seed)
    users = [UnitHash(f"{number:016x}") for number in range(500)]
    blocks = []
    for t0 in seconds:
        units = [unit for unit in users if chance.random() < 0.2]
        failed = tuple(unit for unit in units if chance.random() < failing)
        arm = ArmBlock(
            role=Role.STABLE,
            assigned=len(units),
            failed=len(failed),
            latency_ms={bin_of(ms): len(units)},
            active=tuple(units),
            failed_units=failed,
        )
        blocks.append(Block(t0=t0, seconds=10.0, fence=Fence(term=1, seq=1), arms={MODELLED_STABLE: arm}))
    return blocks


@pytest.mark.parametrize("minutes", [10, 30, 60])
def test_a_stable_that_fails_once_in_a_thousand_requests_kept_a_limit_of_two_percent(minutes: int) -> None:
    """Over an hour nearly a third of those who come back often have seen a failure."""
    blocks = served_before(range(0, minutes * 60, 10), failing=0.001, ms=200)
    assert stood_before(POLICY, blocks, MODELLED_STABLE) == KEPT
    worse = served_before(range(0, minutes * 60, 10), failing=0.02, ms=200)
    assert stood_before(POLICY, worse, MODELLED_STABLE) == Before(error_rate=False, latency=True)


def test_four_slow_minutes_of_an_hour_are_no_custom() -> None:
    calm = served_before(range(0, 3360, 10), failing=0.0, ms=200)
    slow = served_before(range(3360, 3600, 10), failing=0.0, ms=9_000)
    assert stood_before(POLICY, [*calm, *slow], MODELLED_STABLE) == KEPT
    mostly = served_before(range(1200, 3600, 10), failing=0.0, ms=9_000)
    before = stood_before(POLICY, [*calm[:120], *mostly], MODELLED_STABLE)
    assert before == Before(error_rate=True, latency=False)


@pytest.mark.parametrize("policy", [replace(POLICY, error_rate=None), replace(POLICY, latency_ms=None)])
def test_a_limit_that_is_switched_off_says_nothing(policy: AlarmPolicy) -> None:
    bad = ArmModel(failure=0.2, latency_ms=4_000.0)
    seen = watch(policy)
    names = {alarm.name for alarm in seen.alarming(soak(traffic(candidate=bad), 60))}
    assert names == ({"latency"} if policy.error_rate is None else {"error_rate", "failed_traces"})


def test_evidence_without_the_rule_is_no_alarm() -> None:
    """A short outage that is over: shown beyond doubt, and no reason to go back any more."""
    weather = outage(5, 14, 60.0)
    blocks = soak(traffic(failures=weather), 60)
    policy = replace(POLICY, failed_traces=None)
    seen = watch(policy)
    assert seen.alarming(blocks) == ()
    assert seen._failures is not None
    assert seen._failures.shows(0.0001)


@pytest.mark.parametrize("units", [2, 20, 200])
def test_a_healthy_release_soaks_in_peace_in_any_weather(units: float) -> None:
    for seed in range(12):
        heavy = traffic(seed, units, heavy_users=8, turns=3, failures=drift(2.0, 90), load=drift(3.0, 60))
        assert first_alarm(soak(heavy, 120)) is None


def test_reading_the_same_blocks_again_changes_nothing() -> None:
    blocks = soak(traffic(candidate=ArmModel(failure=0.04)), 40)
    once, often = watch(), watch()
    for count in range(1, len(blocks) + 1):
        often.alarming(blocks[:count])
        often.alarming(blocks[:count])
    assert once.alarming(blocks) == often.alarming(blocks)
    assert once._failures == often._failures


def test_few_conversations_are_no_error_rate() -> None:
    blocks = soak(traffic(units=0.3, candidate=ArmModel(failure=0.9)), 30)
    assert all(alarm.name != "error_rate" for alarm in watch().alarming(blocks))
