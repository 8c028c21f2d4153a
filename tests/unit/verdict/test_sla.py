"""The SLA snapshot: nine figures, one status; what is unknown is null, and never verified."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.observe.blocks import bin_of
from fairway.observe.fold import ArmBlock, Block
from fairway.testing.modelled_traffic import MODELLED_STABLE, ArmModel, ModelledTraffic
from fairway.traffic.fence import Fence
from fairway.traffic.table import Role
from fairway.units import Digest
from fairway.verdict.sla import SlaAction, SlaPolicy, SlaSnapshot, SlaStatus, historical_p95, snapshot

START = datetime(2026, 1, 1, tzinfo=UTC)
RELEASE = Digest("sha256:" + "1" * 64)
KEYS = [
    "version", "start_ts", "agent_group", "success_rate", "p95_latency_ms", "error_trace_ratio",
    "callback_fail_rate", "status", "action",
]  # fmt: skip


def block(t0: float = 0.0, *, requests: int = 20, role: Role = Role.STABLE, gap: bool = False, **arm: object) -> Block:
    known: dict[str, object] = {
        "assigned": requests,
        "finished": requests,
        "latency_ms": {bin_of(100.0): requests},
        "sums": {"tokens_in": 40.0},
    }
    return Block(
        t0=t0,
        seconds=10,
        fence=Fence(term=1, seq=1),
        arms={RELEASE: ArmBlock(role=role, **(known | arm))},  # type: ignore[arg-type]
        gap=gap,
    )


def hour(**arm: object) -> list[Block]:
    return [block(10.0 * i, **arm) for i in range(360)]  # type: ignore[arg-type]


def sla(blocks: list[Block], historical: float | None = None, **more: object) -> SlaSnapshot:
    return snapshot(
        blocks,
        RELEASE,
        version="1.2.0",
        start_ts=START,
        agent_group="support",
        historical_p95_ms=historical,
        **more,  # type: ignore[arg-type]
    )


def test_the_report_has_exactly_the_nine_keys() -> None:
    report = sla(hour()).to_wire()
    assert list(report) == KEYS
    assert (report["version"], report["success_rate"], report["error_trace_ratio"]) == ("1.2.0", 1.0, 0.0)
    assert (report["start_ts"], report["callback_fail_rate"]) == ("2026-01-01T00:00:00+00:00", 0.0)
    assert report["p95_latency_ms"] == pytest.approx(100, rel=0.006)


def test_without_traffic_nothing_is_known_and_nothing_concluded() -> None:
    report = sla([]).to_wire()
    figures = [report[name] for name in ("success_rate", "p95_latency_ms", "error_trace_ratio", "callback_fail_rate")]
    assert figures == [None] * 4
    assert (report["status"], report["action"]) == ("watching", None)


def test_an_hour_of_known_good_is_verified_and_less_is_watched() -> None:
    assert (sla(hour()).status, sla(hour()).action) == (SlaStatus.VERIFIED, SlaAction.READY_TO_PROMOTE)
    assert sla(hour()[:-1]).status is SlaStatus.WATCHING


def test_an_agent_that_reports_nothing_has_unknown_callbacks_and_is_not_verified() -> None:
    silent = sla(hour(sums={}))
    assert silent.callback_fail_rate is None
    assert (silent.status, silent.action) == (SlaStatus.WATCHING, None)
    assert "callback" in silent.reason
    declared = sla(hour(sums={}), policy=SlaPolicy(callback_fail_rate=None))
    assert (declared.status, declared.callback_fail_rate) == (SlaStatus.VERIFIED, None)


def test_unknown_outcomes_are_no_successes() -> None:
    assert sla(hour(unknown=20)).success_rate is None
    assert sla(hour(unknown=20)).status is SlaStatus.MANUAL_REVIEW
    some = sla(hour(unknown=2))
    assert (some.success_rate, some.status) == (1.0, SlaStatus.MANUAL_REVIEW)
    assert sla(hour(unknown=1)).status is SlaStatus.VERIFIED, "5% is within what is allowed"


def test_latency_that_was_never_measured_is_null_and_not_verified() -> None:
    blind = sla(hour(latency_ms={}))
    assert (blind.p95_latency_ms, blind.status) == (None, SlaStatus.WATCHING)


@pytest.mark.parametrize(
    ("blocks", "arm", "historical", "status", "action"),
    [
        (30, {}, None, SlaStatus.WATCHING, None),
        (30, {"failed": 1}, None, SlaStatus.BLOCKED, SlaAction.PAUSE),
        (50, {"failed": 1}, None, SlaStatus.BLOCKED, SlaAction.MASK),
        (30, {}, 80.0, SlaStatus.BLOCKED, SlaAction.ROLL_BACK),
        (30, {}, 84.0, SlaStatus.WATCHING, None),
        (30, {"sums": {"callback_failed": 1.0}}, None, SlaStatus.WATCHING, SlaAction.ALERT),
        (400, {"sums": {"callback_failed": 1.0}}, None, SlaStatus.WATCHING, SlaAction.ALERT),
        (4, {"failed": 10}, None, SlaStatus.WATCHING, None),
        (4, {"requests": 20, "failed": 20}, None, SlaStatus.BLOCKED, SlaAction.MASK),
    ],
)
def test_the_policy_says_what_to_do(
    blocks: int, arm: dict[str, object], historical: float | None, status: SlaStatus, action: SlaAction | None
) -> None:
    report = sla([block(10.0 * i, **arm) for i in range(blocks)], historical)  # type: ignore[arg-type]
    assert (report.status, report.action) == (status, action), report.reason


def test_a_release_that_was_rolled_back_is_that_whatever_its_figures() -> None:
    gone = sla(hour(), rolled_back=True)
    assert (gone.status, gone.action, gone.success_rate) == (SlaStatus.ROLLBACKED, None, 1.0)


def test_no_figures_verify_a_mix_that_no_soak_has_proved() -> None:
    assert sla(hour()).status is SlaStatus.VERIFIED
    mix = sla(hour(), unverified=True)
    assert (mix.status, mix.action) == (SlaStatus.WATCHING, None)
    assert "a mix of former parts" in mix.reason
    bad = [block(10.0 * i, failed=1) for i in range(30)]
    assert sla(bad, unverified=True).status is SlaStatus.BLOCKED, "and what breaks a limit breaks it"


def test_gaps_and_what_was_answered_as_a_shadow_do_not_count() -> None:
    gaps = sla([*hour(), *(block(4000.0 + i, failed=20, gap=True) for i in range(60))])
    assert (gaps.failed, gaps.status) == (0, SlaStatus.VERIFIED)
    shadow = sla([block(10.0 * i, role=Role.SHADOW) for i in range(360)])
    assert (shadow.requests, shadow.success_rate, shadow.status) == (0, None, SlaStatus.WATCHING)


def test_the_historical_mean_is_of_releases_that_served_well_and_unknown_without_one() -> None:
    good, bad = sla(hour()), replace(sla(hour(failed=20)), p95_latency_ms=9000.0)
    assert bad.status is SlaStatus.BLOCKED
    assert historical_p95([]) is None
    assert historical_p95([bad, sla([])]) is None
    assert historical_p95([good, replace(good, p95_latency_ms=300.0), bad]) == pytest.approx(200, rel=0.006)


def test_the_policys_limits_are_the_ones_that_count() -> None:
    strict = SlaPolicy(success_rate=0.999, clean_seconds=100.0, minimum_requests=10, failed_traces=10_000)
    assert sla([block(10.0 * i) for i in range(10)], policy=strict).status is SlaStatus.VERIFIED
    assert sla(hour(requests=200, failed=1), policy=strict).status is SlaStatus.BLOCKED
    assert sla(hour(requests=200, failed=1), policy=replace(strict, success_rate=0.99)).status is SlaStatus.VERIFIED


@given(
    data=st.lists(
        st.tuples(st.integers(0, 50), st.floats(0, 1), st.floats(0, 1), st.booleans(), st.booleans()), max_size=8
    )
)
def test_verified_means_that_every_figure_is_known(data: list[tuple[int, float, float, bool, bool]]) -> None:
    blocks = []
    for i, (requests, bad, unsure, timed, reports) in enumerate(data):
        failed = int(requests * bad)
        blocks.append(
            block(
                10.0 * i,
                requests=requests,
                failed=failed,
                unknown=int((requests - failed) * unsure),
                latency_ms={bin_of(50.0): requests} if timed and requests else {},
                sums={"iterations": 1.0} if reports else {},
            )
        )
    report = sla(blocks, policy=SlaPolicy(clean_seconds=0.0, minimum_requests=1))
    if report.status is SlaStatus.VERIFIED:
        assert None not in list(report.to_wire().values())
        assert report.success_rate is not None
        assert report.success_rate >= 0.99


def test_modelled_traffic_gives_a_figure_for_what_it_models() -> None:
    traffic = ModelledTraffic(seed=2, units_per_block=20, stable=ArmModel(failure=0.05))
    report = snapshot(
        [traffic.next_block(split=0) for _ in range(30)],
        MODELLED_STABLE,
        version="1",
        start_ts=None,
        agent_group="support",
    )
    assert report.success_rate == pytest.approx(0.95, abs=0.03)
    assert report.to_wire()["start_ts"] is None
