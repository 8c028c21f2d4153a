"""θ and shared cause."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fairway.observe.blocks import bin_of
from fairway.observe.fold import ArmBlock, Block
from fairway.observe.quantile import quantile
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
from fairway.units import Verdict
from fairway.verdict.shared_cause import shared_cause
from fairway.verdict.theta import theta
from fairway.verdict.values import GateFinding, GateKind


def latencies(t0: float, *values: float, release: str = MODELLED_STABLE, **changes: object) -> Block:
    histogram: dict[int, int] = {}
    for value in values:
        histogram[bin_of(value)] = histogram.get(bin_of(value), 0) + 1
    arm = ArmBlock(role=Role.STABLE, assigned=len(values), finished=len(values), latency_ms=histogram)
    block = Block(t0=t0, seconds=10, fence=Fence(term=1, seq=1), arms={release: arm})  # type: ignore[dict-item]
    return replace(block, **changes)  # type: ignore[arg-type]


def test_a_quantile_is_exact_to_half_a_percent() -> None:
    block = latencies(0, *range(1, 1001))
    histogram = block.arms[MODELLED_STABLE].latency_ms
    for share in (0.01, 0.5, 0.95, 0.99, 1.0):
        assert quantile(histogram, share) == pytest.approx(1000 * share, rel=0.005)
    assert quantile({}, 0.95) is None


def test_theta_is_stables_p95_of_the_last_ten_minutes() -> None:
    old = latencies(0, *[5000.0] * 1000)
    recent = [latencies(600 + 10 * i, *[100.0] * 9, 200.0) for i in range(20)]
    assert theta([old, *recent], 800.0, MODELLED_STABLE) == pytest.approx(200, rel=0.005)
    assert theta([old, *recent], 599.0, MODELLED_STABLE) == pytest.approx(5000, rel=0.005)


def test_theta_is_unknown_with_too_few_requests_and_deaf_to_gaps_and_other_releases() -> None:
    few = [latencies(0, *[100.0] * 99)]
    assert theta(few, 10.0, MODELLED_STABLE) is None
    assert theta([*few, latencies(10, *[100.0] * 50, gap=True)], 20.0, MODELLED_STABLE) is None
    assert theta([*few, latencies(10, *[100.0] * 50, release=MODELLED_CANDIDATE)], 20.0, MODELLED_STABLE) is None
    assert theta([*few, latencies(10, 100.0, fence=None)], 20.0, MODELLED_STABLE) is not None


def finding(verdict: Verdict, *, stable_fails_too: bool) -> GateFinding:
    return GateFinding(
        gate="success",
        kind=GateKind.SUCCESS,
        verdict=verdict,
        margin=0.995,
        reason="9 of 90 candidate conversations failed, the limit is 0.500%",
        stable_fails_too=stable_fails_too,
    )


def causes(traffic: ModelledTraffic, blocks: int, *, split: float = 0.2) -> list[str]:
    seen: list[Block] = []
    said = []
    for _ in range(blocks):
        seen.append(traffic.next_block(split=split))
        said.append(shared_cause((), seen, candidate=MODELLED_CANDIDATE, stable=MODELLED_STABLE))
    return said


def test_a_limit_that_stable_breaks_as_well_is_a_shared_cause() -> None:
    arms = {"candidate": MODELLED_CANDIDATE, "stable": MODELLED_STABLE}
    assert shared_cause([finding(Verdict.FAIL, stable_fails_too=True)], (), **arms).startswith("success: stable breaks")
    assert not shared_cause([finding(Verdict.FAIL, stable_fails_too=False)], (), **arms)
    assert not shared_cause([finding(Verdict.INCONCLUSIVE, stable_fails_too=True)], (), **arms)


def test_a_jump_of_stables_failures_is_a_shared_cause_while_it_lasts() -> None:
    model = ArmModel(failure=0.01, spread=0)
    said = causes(
        ModelledTraffic(seed=1, units_per_block=20, stable=model, candidate=model, failures=outage(30, 36, 40.0)), 60
    )
    assert not any(said[:30])
    assert any("failures jumped" in reason for reason in said[30:35])
    assert not any(said[44:])


def test_neither_a_bad_candidate_nor_ordinary_weather_is_a_shared_cause() -> None:
    calm = ArmModel(failure=0.02, spread=0)
    for seed in range(20):
        bad = ModelledTraffic(seed=seed, units_per_block=20, stable=calm, candidate=ArmModel(failure=0.5, spread=0))
        assert not any(causes(bad, 60))
        windy = ModelledTraffic(
            seed=seed, units_per_block=20, stable=calm, candidate=calm, heavy_users=10, failures=drift(4, 60)
        )
        assert not any(causes(windy, 60))
