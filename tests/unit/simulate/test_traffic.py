"""The traffic model does what it says."""

from __future__ import annotations

import math
from typing import Any

import pytest

from fairway.observe.blocks import GAMMA
from fairway.observe.fold import Block
from fairway.simulate.rollout import WARM_UP_BLOCKS
from fairway.simulate.scenario import Effect, Shape
from fairway.simulate.suite import policy_of, scenario_of
from fairway.simulate.traffic import (
    MODELLED_CANDIDATE,
    MODELLED_STABLE,
    ArmModel,
    ModelledTraffic,
    drift,
    outage,
)
from fairway.traffic.table import Role


def share(hits: int, of: int, expected: float) -> None:
    """Within five standard errors."""
    assert abs(hits / of - expected) <= 5 * math.sqrt(expected * (1 - expected) / of), (hits / of, expected)


def blocks(count: int, split: float = 0.3, theta: dict[Role, float] | None = None, **model: Any):
    traffic = ModelledTraffic(seed=5, **model)
    return [traffic.next_block(split=split, theta=theta) for _ in range(count)]


def total(found: Any, release: str, name: str) -> int:
    return sum(len(getattr(block.arms[release], name)) for block in found if release in block.arms)


def test_the_same_seed_gives_the_same_blocks_and_another_one_others() -> None:
    def wires(seed: int) -> list[dict[str, Any]]:
        traffic = ModelledTraffic(
            seed=seed, units_per_block=20, turns=3, heavy_users=7, load_noise=0.2, failures=drift(4, 10)
        )
        limits = {Role.STABLE: 900.0, Role.CANDIDATE: 990.0}
        return [traffic.next_block(split=0.3, theta=limits).to_wire() for _ in range(30)]

    assert wires(3) == wires(3)
    assert wires(3) != wires(4)


def test_conversations_fail_and_go_to_the_candidate_as_often_as_modelled() -> None:
    found = blocks(400, units_per_block=50, stable=ArmModel(failure=0.04), candidate=ArmModel(failure=0.3, excess=0.1))
    stable, candidate = total(found, MODELLED_STABLE, "active"), total(found, MODELLED_CANDIDATE, "active")
    assert stable + candidate == pytest.approx(400 * 50, rel=0.05)
    share(candidate, stable + candidate, 0.3)
    share(total(found, MODELLED_STABLE, "failed_units"), stable, 0.04)
    share(total(found, MODELLED_CANDIDATE, "failed_units"), candidate, 0.4)


@pytest.mark.parametrize("turns", [1, 4])
def test_a_conversation_fails_as_often_whatever_its_number_of_turns(turns: int) -> None:
    found = blocks(400, units_per_block=30, turns=turns, first_turn=2.0, stable=ArmModel(failure=0.2), split=0.0)
    units, failed = set(), set()
    for block in found[:-turns]:
        units.update(block.arms[MODELLED_STABLE].active)
        failed.update(block.arms[MODELLED_STABLE].failed_units)
    share(len(failed), len(units), 0.2)


def test_latency_is_lognormal_and_slow_is_what_is_above_theta() -> None:
    p95 = 400.0 * math.exp(1.6449 * 0.5)
    found = blocks(300, units_per_block=60, theta={Role.STABLE: p95, Role.CANDIDATE: p95 * 2})
    for release, expected in ((MODELLED_STABLE, 0.05), (MODELLED_CANDIDATE, 0.00125)):
        share(total(found, release, "slow_units"), total(found, release, "active"), expected)
    counts = sum(sum(block.arms[MODELLED_STABLE].latency_ms.values()) for block in found)
    assert counts == total(found, MODELLED_STABLE, "active")


def test_another_unit_of_time_shifts_the_histogram_and_nothing_else() -> None:
    limits = {Role.STABLE: 900.0, Role.CANDIDATE: 900.0}
    scaled = {role: limit * GAMMA**300 for role, limit in limits.items()}
    one = blocks(20, units_per_block=30, theta=limits)
    other = blocks(
        20,
        units_per_block=30,
        theta=scaled,
        stable=ArmModel(latency_ms=400 * GAMMA**300),
        candidate=ArmModel(latency_ms=400 * GAMMA**300),
    )
    for mine, theirs in zip(one, other, strict=True):
        for release, arm in mine.arms.items():
            assert arm.slow_units == theirs.arms[release].slow_units
            assert {index + 300: count for index, count in arm.latency_ms.items()} == theirs.arms[release].latency_ms


def test_weather_counts_blocks_from_the_first_one_wherever_it_begins() -> None:
    traffic = ModelledTraffic(
        seed=1, units_per_block=100, stable=ArmModel(failure=0.01), failures=outage(3, 4, 50.0), began=1.7e9
    )
    failed = [len(traffic.next_block(split=0.0).arms[MODELLED_STABLE].failed_units) for _ in range(8)]
    assert max(failed[:3] + failed[5:]) < 10 < min(failed[3:5])


def test_a_late_fault_begins_at_its_block_and_not_before() -> None:
    found = blocks(40, split=0.5, units_per_block=100, onset=20, candidate=ArmModel(failure=0.5))
    share(total(found[:20], MODELLED_CANDIDATE, "failed_units"), total(found[:20], MODELLED_CANDIDATE, "active"), 0.01)
    share(total(found[20:], MODELLED_CANDIDATE, "failed_units"), total(found[20:], MODELLED_CANDIDATE, "active"), 0.5)


def test_heavy_users_stay_with_their_arm_while_the_split_grows() -> None:
    traffic = ModelledTraffic(seed=2, units_per_block=1, heavy_users=60)
    on_candidate: set[str] = set()
    for split in (0.1, 0.3, 0.6):
        now: set[str] = set()
        for _ in range(10):
            block = traffic.next_block(split=split)
            if MODELLED_CANDIDATE in block.arms:
                now.update(unit for unit in block.arms[MODELLED_CANDIDATE].active if int(unit, 16) < 60)
        assert on_candidate <= now
        assert len(now) > len(on_candidate)
        on_candidate = now


@pytest.mark.parametrize("shape", Shape)
def test_every_shape_brings_about_as_many_turns_a_minute_and_hits_both_arms_alike(shape: Shape) -> None:
    scenario = scenario_of(policy_of(), shape=shape, per_minute=300.0)
    traffic = scenario.traffic(1)
    found = [traffic.next_block(split=0.5) for _ in range(WARM_UP_BLOCKS + scenario.blocks)]
    turns = sum(len(arm.active) for block in found for arm in block.arms.values())
    assert turns / traffic.turns == pytest.approx(300.0 * len(found) / 6, rel=0.1)
    stable, candidate = (
        total(found, release, "failed_units") / total(found, release, "active")
        for release in (MODELLED_STABLE, MODELLED_CANDIDATE)
    )
    assert candidate == pytest.approx(stable, rel=0.6, abs=0.003)


def test_an_effect_is_what_it_is_called() -> None:
    p95 = {
        effect: traffic.candidate.latency_ms / traffic.stable.latency_ms
        for effect in Effect
        for traffic in (scenario_of(policy_of(), effect=effect).traffic(1),)
    }
    assert p95[Effect.P95_50] == pytest.approx(1.5)
    assert p95[Effect.MARGIN_P95] == pytest.approx(1.1)
    assert p95[Effect.TWICE_P95] == pytest.approx(1.2)
    at_margin = scenario_of(policy_of(), effect=Effect.MARGIN_ERRORS).traffic(1)
    assert at_margin.candidate.excess == pytest.approx(0.005)
    assert at_margin.candidate.failure == at_margin.stable.failure


def test_what_is_counted_only_when_looked_at_is_counted_once_and_travels_like_the_rest() -> None:
    (block,) = blocks(1, units_per_block=300, turns=2, beside=True)
    again = Block.from_wire(block.to_wire())
    assert again == block
    for release, arm in block.arms.items():
        for histogram in (arm.tokens, arm.first_byte_ms):
            assert sum(histogram.values()) == len(arm.active) == sum(count for _, count in histogram.items())
            assert {index: histogram[index] for index in histogram} == histogram
        shift = min(arm.latency_ms) - min(arm.first_byte_ms)
        assert shift == pytest.approx(math.log(1 / 0.4) / math.log(GAMMA), abs=1)
        assert again.arms[release].tokens == arm.tokens
