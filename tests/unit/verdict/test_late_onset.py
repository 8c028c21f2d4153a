"""A fault that begins late is found, and looking for it costs no false alarm: exact on small cases."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product

import pytest

from fairway.observe.fold import ArmBlock, Block
from fairway.traffic.fence import Fence
from fairway.traffic.table import Role
from fairway.units import Digest, UnitHash
from fairway.verdict.evidence import log_e_fail, log_e_fail_at_most, log_e_pass, log_e_pass_at_most
from fairway.verdict.findings import find
from fairway.verdict.gates import observe, start
from fairway.verdict.tally import GateState
from fairway.verdict.values import GateKind, GateSpec

STABLE, CANDIDATE = Digest("sha256:" + "a" * 64), Digest("sha256:" + "c" * 64)
P95 = GateSpec(name="p95", kind=GateKind.LATENCY_P95, margin=1.1, alpha_fail=0.01, alpha_pass=0.05, minimum_units=1)
TOOLS = GateSpec(name="tools", kind=GateKind.TOOL_ERRORS, margin=0.3, alpha_fail=0.01, alpha_pass=0.05, minimum_units=1)


def names(letter: str, number: int, count: int) -> tuple[UnitHash, ...]:
    return tuple(UnitHash(f"{letter}{number:07x}{i:08x}") for i in range(count))


def block(
    number: int, split: int | None, *, bad_c: int = 0, bad_s: int = 0, candidate: int = 2, stable: int = 6
) -> Block:
    """New units only; the first are slow, and had a tool that failed."""
    arms = {}
    for release, role, letter, count, bad in (
        (STABLE, Role.STABLE, "a", stable, bad_s), (CANDIDATE, Role.CANDIDATE, "c", candidate, bad_c)
    ):  # fmt: skip
        units = names(letter, number, count)
        marks = {"tool_error": units[:bad]} if bad else {}
        arms[release] = ArmBlock(
            role=role, assigned=count, finished=count, reported=count, active=units, slow_units=units[:bad], marks=marks
        )
    return Block(t0=10.0 * number, seconds=10.0, fence=Fence(term=1, seq=1), arms=arms, split=split)


def folded(spec: GateSpec, blocks: list[Block]) -> GateState:
    state = start(spec)
    for item in blocks:
        state = observe(spec, state, item, candidate=CANDIDATE, stable=STABLE)
    return state


SPLITS = (5_000, 5_000, 10_000, 10_000, None, 30_000, 30_000, 50_000, 50_000)
"""Of nine blocks: the second split begins with the third, and so on."""


@pytest.mark.parametrize("stages", [1, 2, 3, 4, 6])
def test_t1_with_late_onset_has_mean_one_over_every_course_at_ratio_one(stages: int) -> None:
    # One slow unit a block, on the candidate with probability 2/8: two to the ninth courses.
    spec, mean = replace(P95, stages=stages), []
    for course in product((0, 1), repeat=len(SPLITS)):
        chance = math.prod(0.25 if ours else 0.75 for ours in course)
        blocks = [block(n, SPLITS[n], bad_c=ours, bad_s=1 - ours) for n, ours in enumerate(course)]
        mean.append(chance * math.exp(log_e_fail(spec, folded(spec, blocks))))
    assert math.fsum(mean) == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize("stages", [1, 3, 4])
def test_the_absolute_test_with_late_onset_has_mean_one_at_most_at_its_limit(stages: int) -> None:
    spec, mean = replace(TOOLS, stages=stages), []
    for course in product((0, 1), repeat=len(SPLITS)):
        chance = math.prod(0.3 if bad else 0.7 for bad in course)
        blocks = [block(n, SPLITS[n], bad_c=bad, candidate=1) for n, bad in enumerate(course)]
        mean.append(chance * math.exp(log_e_fail(spec, folded(spec, blocks))))
    assert 0.8 < math.fsum(mean) <= 1.0 + 1e-9
    if stages == 1:
        assert math.fsum(mean) == pytest.approx(1.0, abs=1e-9)


def onset(spec: GateSpec, *, healthy: int, at: int) -> int:
    """Blocks of a fault until FAIL, which begins with the second split after so many healthy blocks."""
    blocks = [block(n, 5_000, bad_s=n % 2, bad_c=n % 7 == 0, candidate=4, stable=12) for n in range(healthy)]
    state = folded(spec, blocks)
    for n in range(healthy, healthy + 400):
        state = observe(
            spec, state, block(n, at, bad_c=2, bad_s=1, candidate=6, stable=10), candidate=CANDIDATE, stable=STABLE
        )
        if state.evidence.failed is not None:
            return n - healthy + 1
    return 400


def test_a_fault_that_begins_with_a_later_split_is_found_in_spite_of_the_healthy_ones_before() -> None:
    late, plain = replace(P95, stages=4), replace(P95, stages=1)
    assert onset(late, healthy=300, at=10_000) < 0.6 * onset(plain, healthy=300, at=10_000)
    # Nor does it cost much where the fault was there from the start.
    assert onset(late, healthy=0, at=5_000) <= onset(plain, healthy=0, at=5_000) + 4


def test_a_stage_that_never_begins_and_splits_nobody_said_start_none() -> None:
    unsaid = [block(n, None, bad_c=n % 3 == 0) for n in range(30)]
    assert folded(replace(P95, stages=4), unsaid).evidence.stages == ()
    many = [block(n, 1_000 * (n + 1), bad_s=1) for n in range(30)]
    state = folded(replace(P95, stages=4), many)
    assert len(state.evidence.stages) == 3  # the first needs none of its own


def test_the_bound_that_spares_the_sum_is_never_below_it() -> None:
    failing = GateSpec(name="f", kind=GateKind.FAILURES, margin=0.05, alpha_fail=0.01, alpha_pass=0.05, stages=4)
    for spec in (replace(P95, stages=4), replace(TOOLS, stages=4), failing):
        state = start(spec)
        for n in range(60):
            made = block(n, SPLITS[n % 9], bad_c=n % 4 == 0, bad_s=n % 3, candidate=4, stable=9)
            arms = {release: replace(arm, failed_units=arm.slow_units) for release, arm in made.arms.items()}
            state = observe(spec, state, replace(made, arms=arms), candidate=CANDIDATE, stable=STABLE)
            assert log_e_fail(spec, state) <= max(0.0, log_e_fail_at_most(spec, state)) + 1e-9
            if log_e_pass(spec, state) >= -math.log(spec.alpha_pass):
                assert log_e_pass_at_most(spec, state) >= log_e_pass(spec, state)


def test_each_new_kind_of_gate_fails_by_its_own_mark_and_says_so_in_words() -> None:
    words = {
        GateKind.TOOL_ERRORS: ("tool_error", 0.03, "had a tool that failed, the limit is 3%"),
        GateKind.CALLBACK_FAILURES: ("callback_failed", 0.02, "had a callback that failed, the limit is 2%"),
        GateKind.LOOPS: ("looped", 0.01, "ran into the limit of iterations, the limit is 1%"),
        GateKind.GUARDRAIL: ("guardrail", 0.05, "hit a guardrail against 0 of"),
        GateKind.UNKNOWN: ("unknown", 0.01, "had a request of unknown outcome against 0 of"),
        GateKind.LATENCY_P95_LAST: ("slow_last", 1.1, "had a request too slow to be finished against 0 of"),
        GateKind.LATENCY_P99: ("slow_p99", 1.25, "had a very slow request against 0 of"),
        GateKind.FIRST_BYTE_P95: ("first_byte_slow", 1.2, "waited long for a first byte against 0 of"),
        GateKind.TOKENS_P95: ("tokens_high", 1.5, "had a request of many tokens against 0 of"),
    }
    for kind, (mark, margin, told) in words.items():
        spec = GateSpec(name=kind.value, kind=kind, margin=margin, alpha_fail=0.002, alpha_pass=0.05)
        blocks = []
        for n in range(40):
            made = block(n, 30_000, candidate=6, stable=14)
            arm = made.arms[CANDIDATE]
            bad = arm.active[:3] if n % 2 else ()
            arm = (
                replace(arm, unknown_units=bad) if mark == "unknown" else replace(arm, marks={mark: bad} if bad else {})
            )
            blocks.append(replace(made, arms={**made.arms, CANDIDATE: arm}))
        finding = find(spec, folded(spec, blocks))
        assert finding.verdict.value == "FAIL", kind
        assert told in finding.reason


def test_gates_about_what_agents_report_measure_nothing_where_neither_reports() -> None:
    silent = []
    for n in range(60):
        made = block(n, 30_000)
        silent.append(replace(made, arms={release: replace(arm, reported=0) for release, arm in made.arms.items()}))
    finding = find(replace(TOOLS, minimum_units=20), folded(replace(TOOLS, minimum_units=20), silent))
    assert finding.verdict.value == "INCONCLUSIVE"
    assert finding.reason == "neither release says what became of its requests, so this cannot be measured"
    assert finding.units_candidate == 0
    heard = find(TOOLS, folded(TOOLS, [block(n, 30_000) for n in range(60)]))
    assert heard.verdict.value == "PASS"


def test_a_limit_that_stable_breaks_by_habit_is_not_held_against_the_candidate() -> None:
    spec = replace(TOOLS, margin=0.03, minimum_units=20)
    both = [block(n, 30_000, bad_c=1, bad_s=3, candidate=4, stable=12) for n in range(80)]
    finding = find(spec, folded(spec, both))
    assert finding.verdict.value == "INCONCLUSIVE"
    assert "beyond the limit, but not shown to be worse than stable (" in finding.reason
    alone = [block(n, 30_000, bad_c=1, candidate=4, stable=12) for n in range(80)]
    assert find(spec, folded(spec, alone)).verdict.value == "FAIL"
    # Failures are no habit: that gate says FAIL, and that stable fails too.
    success = GateSpec(name="s", kind=GateKind.SUCCESS, margin=0.97, alpha_fail=0.01, alpha_pass=0.05)
    failing = [
        replace(item, arms={release: replace(arm, failed_units=arm.slow_units) for release, arm in item.arms.items()})
        for item in both
    ]
    told = find(success, folded(success, failing))
    assert (told.verdict.value, told.worse_than_stable, told.damning) == ("FAIL", False, False)
