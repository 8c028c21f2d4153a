"""Figures beside the SLA snapshot: what is unknown is null with a reason, never zero."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.observe.blocks import bin_of
from fairway.observe.fold import ArmBlock, Block
from fairway.traffic.fence import Fence
from fairway.traffic.table import Role
from fairway.units import Digest
from fairway.verdict.sla_figures import SlaFigures, figures

RELEASE = Digest("sha256:" + "1" * 64)
NOT_SEEN = {"crashes", "memory_spike_ratio", "cpu", "log_errors"}


def block(t0: float = 0.0, *, role: Role = Role.STABLE, gap: bool = False, **arm: object) -> Block:
    made = ArmBlock(role=role, **arm)  # type: ignore[arg-type]
    return Block(t0=t0, seconds=10, fence=Fence(term=1, seq=1), arms={RELEASE: made}, gap=gap)


def told(*blocks: Block) -> SlaFigures:
    return figures(blocks, RELEASE)


def busy(**arm: object) -> Block:
    known: dict[str, object] = {
        "assigned": 600,
        "finished": 600,
        "reported": 600,
        "latency_ms": {bin_of(100.0): 590, bin_of(2000.0): 10},
        "first_byte_ms": {bin_of(50.0): 600},
        "tokens": {bin_of(300.0): 600},
        "sums": {
            "tokens_in": 120_000.0, "tokens_out": 60_000.0, "iterations": 900.0, "tools": 300.0, "tool_errors": 3.0,
            "cost_micros": 450_000.0, "cost_reports": 300.0, "score_micros": 90e6, "score_reports": 100.0,
            "feedback_micros": 4e6, "feedback_reports": 5.0,
        },
    }  # fmt: skip
    return block(**(known | arm))  # type: ignore[arg-type]


def test_every_figure_that_can_be_measured_is_told_from_the_blocks() -> None:
    found = told(busy())
    values = found.values
    assert values["requests_per_minute"] == 3600
    assert (values["p50_latency_ms"], values["p99_latency_ms"]) == pytest.approx((100, 2000), rel=0.006)
    assert (values["p95_first_byte_ms"], values["p95_tokens"]) == pytest.approx((50, 300), rel=0.006)
    assert (values["tokens_in_per_request"], values["tokens_out_per_request"]) == (200, 100)
    assert (values["iterations_per_request"], values["tool_calls_per_request"]) == (1.5, 0.5)
    assert values["cost_per_request_usd"] == pytest.approx(0.0015)  # of the requests that said one
    assert (values["judge_score"], values["user_feedback"]) == pytest.approx((0.9, 0.8))
    assert values["tool_error_rate"] == pytest.approx(0.01)
    assert values["failure_samples"] == {}
    assert set(found.unknown) == NOT_SEEN


def test_a_quantile_of_too_few_values_is_unknown_and_says_how_many_are_missing() -> None:
    found = told(busy(latency_ms={bin_of(100.0): 499}))
    assert found.values["p99_latency_ms"] is None
    assert found.unknown["p99_latency_ms"] == "499 values, 500 are needed"
    assert told(busy(latency_ms={bin_of(100.0): 500})).values["p99_latency_ms"] == pytest.approx(100, rel=0.006)


def test_what_an_agent_never_said_is_unknown_and_never_zero() -> None:
    silent = told(busy(sums={}, tokens={}))
    unsaid = {
        "p95_tokens", "tokens_in_per_request", "tokens_out_per_request", "iterations_per_request",
        "tool_calls_per_request", "tool_error_rate", "cost_per_request_usd", "judge_score", "user_feedback",
    }  # fmt: skip
    assert set(silent.unknown) == unsaid | NOT_SEEN
    assert {silent.unknown[name] for name in unsaid} == {"its agent says nothing of it in its outcomes"}


def test_a_release_nobody_asked_anything_has_no_figure_at_all() -> None:
    for found in (told(), told(busy(gap=True)), told(busy(role=Role.SHADOW))):
        assert set(found.values) == set(found.unknown)
        assert found.unknown["p99_latency_ms"] == "no request was seen"


def test_why_requests_failed_is_told_by_samples_the_most_frequent_first() -> None:
    samples = tuple({"request": str(n), "status": "500", "reason": "timeout" if n else "refused"} for n in range(4))
    assert list(told(busy(failed=9, exemplars=samples)).values["failure_samples"].items()) == [
        ("timeout", 3),
        ("refused", 1),
    ]
    undescribed = told(busy(failed=9))
    assert (undescribed.values["failure_samples"], undescribed.unknown["failure_samples"]) == (
        None,
        "no failure was described",
    )


@given(
    requests=st.integers(0, 2000),
    sums=st.dictionaries(
        st.sampled_from(["tokens_in", "tokens_out", "iterations", "tools", "cost_micros", "cost_reports"]),
        st.integers(1, 10**6).map(float),
    ),
    tokens=st.integers(0, 2000),
)
def test_a_figure_is_known_or_has_a_reason_and_never_both(requests: int, sums: dict[str, float], tokens: int) -> None:
    histogram = {bin_of(100.0): tokens} if tokens else {}
    found = told(block(assigned=requests, finished=requests, reported=requests, sums=sums, tokens=histogram))
    assert {name for name, value in found.values.items() if value is None} == set(found.unknown)
    assert list(found.to_wire()) == [*found.values, "unknown"]
