"""θ, shared cause and the SLA snapshot."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

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
from fairway.verdict.sla import SlaAction, SlaStatus, snapshot
from fairway.verdict.theta import theta
from fairway.verdict.values import GateFinding, GateKind

START = datetime(2026, 1, 1, tzinfo=UTC)


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


def traffic_blocks(blocks: int, **model: float) -> list[Block]:
    traffic = ModelledTraffic(seed=2, units_per_block=20, stable=ArmModel(**model))
    return [traffic.next_block(split=0) for _ in range(blocks)]


def sla(blocks: list[Block], historical: float | None = None):  # type: ignore[no-untyped-def]
    return snapshot(
        blocks,
        MODELLED_STABLE,
        version="1.2.0",
        start_ts=START,
        agent_group="support",
        historical_p95_ms=historical,
    )


def test_the_snapshot_has_the_fields_of_the_report() -> None:
    report = sla(traffic_blocks(30, failure=0.0)).to_wire()
    assert list(report) == [
        "version", "start_ts", "agent_group", "success_rate", "p95_latency_ms", "error_trace_ratio",
        "callback_fail_rate", "status", "action",
    ]  # fmt: skip
    assert (report["version"], report["success_rate"], report["error_trace_ratio"]) == ("1.2.0", 1.0, 0.0)
    assert report["start_ts"] == "2026-01-01T00:00:00+00:00"


def test_a_snapshot_without_traffic_knows_nothing_and_concludes_nothing() -> None:
    report = sla([]).to_wire()
    figures = [report[name] for name in ("success_rate", "p95_latency_ms", "error_trace_ratio", "callback_fail_rate")]
    assert figures == [None] * 4
    assert (report["status"], report["action"]) == ("watching", None)


def test_unknown_outcomes_are_not_successes_in_a_snapshot() -> None:
    report = sla(traffic_blocks(60, failure=0.0, unknown=1.0))
    assert (report.success_rate, report.status) == (None, SlaStatus.MANUAL_REVIEW)


@pytest.mark.parametrize(
    ("blocks", "model", "historical", "status", "action"),
    [
        (30, {"failure": 0.0}, None, SlaStatus.WATCHING, None),
        (400, {"failure": 0.0}, None, SlaStatus.VERIFIED, SlaAction.READY_TO_PROMOTE),
        (30, {"failure": 0.05}, None, SlaStatus.BLOCKED, SlaAction.PAUSE),
        (100, {"failure": 0.05}, None, SlaStatus.BLOCKED, SlaAction.MASK),
        (30, {"failure": 0.0}, 500.0, SlaStatus.BLOCKED, SlaAction.ROLL_BACK),
        (30, {"failure": 0.0}, 900.0, SlaStatus.WATCHING, None),
    ],
)
def test_the_policy_says_what_to_do(
    blocks: int, model: dict[str, float], historical: float | None, status: SlaStatus, action: SlaAction | None
) -> None:
    report = sla(traffic_blocks(blocks, **model), historical)
    assert (report.status, report.action) == (status, action)
