"""What a request is held against, and how its unit is marked: on the short way as on the general one."""

from __future__ import annotations

import math
from hashlib import blake2b

import pytest

from fairway.gateway.telemetry import Cell
from fairway.gateway.thresholds import NO_THRESHOLDS, TOKENS_BY_UNIT, Thresholds, thresholds_for
from fairway.observe.blocks import OTHER_MARKS, bin_of
from fairway.traffic.fence import Fence
from fairway.traffic.outcome import Outcome, OutcomeStatus, parse_outcome
from fairway.traffic.table import Role
from fairway.units import Digest
from fairway.verdict.kinds import KINDS

THETA = {
    "latency_ms": {Role.STABLE: 400.0, Role.CANDIDATE: 440.0},
    "latency_last_ms": {Role.STABLE: 400.0, Role.CANDIDATE: 425.0},
    "latency_p99_ms": {Role.STABLE: 900.0, Role.CANDIDATE: 1_800.0},
    "latency_limit_ms": {Role.STABLE: 5_000.0, Role.CANDIDATE: 5_000.0},
    "first_byte_ms": {Role.STABLE: 200.0, Role.CANDIDATE: 240.0},
    "tokens": {Role.STABLE: 1_000.0, Role.CANDIDATE: 1_500.0},
    "iterations": {Role.STABLE: 25.0, Role.CANDIDATE: 25.0},
}


def cell() -> Cell:
    return Cell(
        t0=0.0, end=10.0, release=Digest("sha256:" + "a" * 64), role=Role.CANDIDATE, fence=Fence(term=1, seq=1),
        regime="r", split=5_000,
    )  # fmt: skip


def outcome(**figures: int) -> Outcome:
    return Outcome(status=OutcomeStatus.OK, **figures)


def marks_of(limits: Thresholds, *, whole: float = 0.0, first: float = 0.0, said: Outcome | None = None) -> set[str]:
    counted = cell()
    limits.mark_times(counted, b"u-1", whole, first)
    if said is not None:
        limits.mark_outcome(counted, b"u-1", said)
    return set(counted.take().marks)


@pytest.mark.parametrize(
    ("whole", "first", "marks"),
    [
        (0.39, 0.19, set()),
        (0.41, 0.19, {"slow", "slow_last"}),
        (0.41, 0.21, {"slow", "slow_last", "first_byte_slow"}),
        (0.95, 0.0, {"slow", "slow_last", "slow_p99"}),
        (5.1, 0.0, {"slow", "slow_last", "slow_p99", "too_slow"}),
    ],
)
def test_a_unit_is_marked_by_each_time_its_request_passed(whole: float, first: float, marks: set[str]) -> None:
    assert marks_of(thresholds_for(THETA, Role.STABLE), whole=whole, first=first) == marks


def test_each_role_has_its_own_thresholds() -> None:
    stable, candidate = thresholds_for(THETA, Role.STABLE), thresholds_for(THETA, Role.CANDIDATE)
    assert marks_of(stable, whole=0.42) == {"slow", "slow_last"}
    assert marks_of(candidate, whole=0.42) == set()
    assert marks_of(candidate, whole=0.43) == {"slow_last"}
    assert (stable.soonest, candidate.soonest) == (0.2, 0.24)


def test_what_an_agent_said_marks_its_unit() -> None:
    limits = thresholds_for(THETA, Role.STABLE)
    said = outcome(tool_errors=2, guardrail=1, callback_failed=1, tokens_in=800, tokens_out=201, iterations=26)
    assert marks_of(limits, said=said) == {"tool_error", "guardrail", "callback_failed", "tokens_high", "looped"}
    assert marks_of(limits, said=outcome(tokens_in=800, tokens_out=200, iterations=25)) == set()
    # Without a table that names limits only what is bad in itself is marked.
    assert marks_of(NO_THRESHOLDS, said=said) == {"tool_error", "guardrail", "callback_failed"}


def test_no_thresholds_mark_nobody_and_nothing_passes_them() -> None:
    assert thresholds_for({}, Role.STABLE) == NO_THRESHOLDS
    assert NO_THRESHOLDS.soonest == math.inf
    assert marks_of(NO_THRESHOLDS, whole=1e9, first=1e9) == set()
    assert thresholds_for({"of a later version": {Role.STABLE: 1.0}}, Role.STABLE) == NO_THRESHOLDS


def test_every_mark_a_gate_looks_at_is_one_a_gateway_makes() -> None:
    known = {"failed", "slow", "unknown", *OTHER_MARKS}
    assert {recipe.mark for recipe in KINDS.values() if not recipe.value} <= known
    made = marks_of(
        thresholds_for(THETA, Role.STABLE),
        whole=9.0,
        first=9.0,
        said=outcome(tool_errors=1, guardrail=1, callback_failed=1, tokens_in=5_000, iterations=99),
    )
    assert made == {"slow", *OTHER_MARKS}
    assert {recipe.yardstick for recipe in KINDS.values()} - {""} == {*THETA, TOKENS_BY_UNIT}


def test_an_increment_says_its_split_who_reported_and_the_tokens_of_each_request() -> None:
    counted = cell()
    one, other = outcome(tokens_in=90, tokens_out=10, tools=2), outcome(tokens_in=1_000)
    for said in (one, one, other, outcome()):
        counted.add(said)
    increment = counted.take()
    assert (increment.split, increment.reported) == (5_000, 4)
    assert increment.histograms == {"tokens": {bin_of(100): 2, bin_of(1_000): 1}}
    assert increment.sums == {"tokens_in": 1_180, "tokens_out": 20, "tools": 4}
    assert counted.take().reported == 0


def test_a_unit_is_named_once_in_a_block_however_often_it_is_marked() -> None:
    limits, counted = thresholds_for(THETA, Role.STABLE), cell()
    for _ in range(3):
        limits.mark_times(counted, b"u-1", 0.5, 0.0)
    named = (blake2b(b"u-1", digest_size=8).hexdigest(),)
    assert counted.take().marks == {"slow": named, "slow_last": named}


def test_what_an_outcome_marks_is_worked_out_once_and_is_no_part_of_what_it_is() -> None:
    read = parse_outcome("status=ok, tokens_in=3, tokens_out=4, tool_errors=1")
    assert read is not None
    assert (read.tokens, read.marks) == (7, ("tool_error",))
    assert read == outcome(tokens_in=3, tokens_out=4, tool_errors=1)
