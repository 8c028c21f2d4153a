"""Gates that read together say what each says alone, also when a controller takes over in the middle."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest

from fairway.observe.fold import Block
from fairway.rollout.config import RolloutSection
from fairway.rollout.plan import compile_plan
from fairway.rollout.values import Plan
from fairway.testing.modelled_traffic import MODELLED_CANDIDATE, MODELLED_STABLE, ArmModel, ModelledTraffic
from fairway.traffic.table import Role
from fairway.units import WHOLE, Verdict
from fairway.verdict.evidence import log_e_fail, log_e_pass
from fairway.verdict.findings import find, verdict_of
from fairway.verdict.gates import observe, start
from fairway.verdict.panel import Panel
from fairway.verdict.values import GateFinding, GateKind, GateSpec

STEP_BLOCKS = 15
WARM = 12


def plan(**gates: object) -> Plan:
    return compile_plan(RolloutSection.model_validate({"gates": {"minimum_units": 5, **gates}}))


def course(seed: int, plan: Plan, **candidate: float) -> tuple[list[Block], list[float]]:
    """Blocks of a whole rollout, and from when on each step counts; a gap and a mixed block are among them."""
    model = ArmModel(failure=0.03, unknown=0.002)
    traffic = ModelledTraffic(
        seed=seed,
        units_per_block=40,
        turns=3,
        aging=0.3,
        heavy_users=4,
        stable=model,
        candidate=replace(model, **candidate),
    )
    blocks = [traffic.next_block(split=0.0) for _ in range(WARM)]
    begins = []
    for step in plan.steps:
        margin = next(gate.margin for gate in step.gates if gate.name == "p95")
        theta = {Role.STABLE: 900.0, Role.CANDIDATE: 900.0 * margin}
        begins.append(blocks[-1].t0 + 20.0)
        for index in range(STEP_BLOCKS):
            block = traffic.next_block(split=step.split / WHOLE, theta=theta)
            blocks.append(replace(block, fence=None, split=None) if index == 0 else replace(block, gap=index == 6))
    return blocks, begins


def panel(plan: Plan, begins: list[float], *, lazy: bool = False) -> Panel:
    return Panel(
        candidate=MODELLED_CANDIDATE, stable=MODELLED_STABLE, since=begins[0], alarms=plan.alarms, lazy=lazy
    )  # fmt: skip


def step_at(block: Block, begins: list[float]) -> int:
    return max([index for index, begun in enumerate(begins) if block.t0 >= begun], default=0)


def said(findings: tuple[GateFinding, ...]) -> list[tuple[object, ...]]:
    return [(f.gate, f.verdict, f.units_candidate, f.bad_candidate, f.log_e_fail, f.log_e_pass) for f in findings]


CANDIDATES = {"healthy": {}, "failing": {"excess": 0.05}, "slow": {"latency_ms": 560.0}}
ALL_PASS = {name: {"must_pass": True} for name in ("p99", "first_byte", "tokens", "loops")}


@pytest.mark.parametrize("candidate", CANDIDATES.values(), ids=CANDIDATES.keys())
@pytest.mark.parametrize("seed", [1, 2])
def test_one_that_takes_over_at_any_step_says_what_one_that_was_there_says(seed: int, candidate: dict) -> None:
    asked = plan()
    blocks, begins = course(seed, asked, **candidate)
    there, compared = panel(asked, begins), 0
    for place, block in enumerate(blocks):
        there.take(block)
        if block.t0 < begins[0]:
            continue
        step = step_at(block, begins)
        gates, begun = asked.steps[step].gates, begins[step]
        findings = there.judge(gates, step_from=begun)
        if place % 7 == 0 or block is blocks[-1]:
            after = panel(asked, begins)
            for earlier in blocks[: place + 1]:
                after.take(earlier)
            again = after.judge(gates, step_from=begun)
            assert [f.verdict for f in findings] == [f.verdict for f in again]
            must = [index for index, gate in enumerate(gates) if gate.must_pass]
            for index in must:
                assert said(findings)[index] == pytest.approx(said(again)[index])
            assert there.alarming(blocks[: place + 1]) == after.alarming(blocks[: place + 1])
            compared += 1
    assert compared >= 8


@pytest.mark.parametrize("candidate", CANDIDATES.values(), ids=CANDIDATES.keys())
def test_a_lazy_panel_reaches_the_same_verdicts_at_every_block(candidate: dict) -> None:
    asked = plan()
    blocks, begins = course(3, asked, **candidate)
    eager, lazy = panel(asked, begins), panel(asked, begins, lazy=True)
    for block in blocks:
        eager.take(block)
        lazy.take(block)
        if block.t0 >= begins[0]:
            step = step_at(block, begins)
            gates, begun = asked.steps[step].gates, begins[step]
            verdicts = [f.verdict for f in eager.judge(gates, step_from=begun)]
            assert verdicts == [f.verdict for f in lazy.judge(gates, step_from=begun)]


def test_a_gate_in_company_says_what_it_says_alone() -> None:
    asked = plan()
    blocks, begins = course(5, asked, excess=0.01)
    together = panel(asked, begins)
    for block in blocks:
        together.take(block)
    step = asked.steps[-1]
    findings = together.judge(step.gates, step_from=begins[-1])
    for spec, finding in zip(step.gates, findings, strict=True):
        later = begins[-1] if spec.from_step else None
        state = start(spec, since=begins[0], pass_since=later)
        for block in blocks:
            state = observe(spec, state, block, candidate=MODELLED_CANDIDATE, stable=MODELLED_STABLE)
        assert find(spec, state) == finding


@pytest.mark.parametrize("candidate", CANDIDATES.values(), ids=CANDIDATES.keys())
def test_a_gate_that_sleeps_through_blocks_says_after_each_what_one_says_that_reads_them_all(candidate: dict) -> None:
    asked = plan(**ALL_PASS, tool_errors={"maximum": "3%", "must_pass": True})
    blocks, begins = course(9, asked, **candidate)
    together, compared = panel(asked, begins), 0
    states = {}
    for block in blocks:
        together.take(block)
        if block.t0 < begins[0]:
            continue
        step = step_at(block, begins)
        findings = together.judge(asked.steps[step].gates, step_from=begins[step])
        for spec, finding in zip(asked.steps[step].gates, findings, strict=True):
            if not spec.must_pass or (spec.from_step and step):
                continue
            known = states.get(spec.name)
            if known is None or known[0] != spec:
                states[spec.name] = known = spec, start(spec, since=begins[0]), 0
            _, state, read = known
            for each in blocks[read : blocks.index(block) + 1]:
                state = observe(spec, state, each, candidate=MODELLED_CANDIDATE, stable=MODELLED_STABLE)
            states[spec.name] = spec, state, blocks.index(block) + 1
            assert replace(find(spec, state), stable_fails_too=finding.stable_fails_too) == finding
            compared += 1
    assert compared > 200


@pytest.mark.parametrize("kind", [GateKind.EXCESS_FAILURES, GateKind.SUCCESS])
def test_a_gate_wakes_when_it_has_the_units_it_needs_though_nothing_is_bad_then(kind: GateKind) -> None:
    margin = 0.9 if kind is GateKind.SUCCESS else 1.0
    spec = GateSpec(name="gate", kind=kind, margin=margin, alpha_fail=0.05, alpha_pass=0.05, minimum_units=40)
    healthy, broken = ArmModel(failure=0.0), ArmModel(failure=0.9)
    traffic = ModelledTraffic(seed=4, units_per_block=12, stable=healthy, candidate=broken)
    blocks = [traffic.next_block(split=0.5) for _ in range(3)]
    traffic.candidate = healthy
    blocks += [traffic.next_block(split=0.5) for _ in range(12)]
    judged = Panel(candidate=MODELLED_CANDIDATE, stable=MODELLED_STABLE, since=0.0, lazy=True)
    state, verdicts = start(spec, since=0.0), []
    for block in blocks:
        judged.take(block)
        (finding,) = judged.judge([spec], step_from=0.0)
        state = observe(spec, state, block, candidate=MODELLED_CANDIDATE, stable=MODELLED_STABLE)
        assert finding.verdict is verdict_of(spec, state)
        verdicts.append(finding.verdict)
    assert verdicts[3] is Verdict.NO_DATA
    assert verdicts[-1] is Verdict.FAIL


@pytest.mark.parametrize("seed", range(4))
def test_gates_find_the_same_however_rarely_they_are_asked(seed: int) -> None:
    asked, rng = plan(**ALL_PASS), random.Random(seed)
    blocks, begins = course(20 + seed, asked, excess=0.02)
    mean = GateSpec(name="cost", kind=GateKind.COST_MEAN, margin=1.1, alpha_fail=0.01, alpha_pass=0.05)
    gates = (*asked.steps[0].gates, mean)
    now_and_then, at_the_end = panel(asked, begins, lazy=True), panel(asked, begins)
    for block in blocks:
        now_and_then.take(block)
        at_the_end.take(block)
        if block.t0 >= begins[0] and rng.random() < 0.7:
            now_and_then.judge([gate for gate in gates if rng.random() < 0.8], step_from=begins[0])
    now_and_then.lazy = False
    found = now_and_then.judge(gates, step_from=begins[0])
    for spec, mine, theirs in zip(gates, found, at_the_end.judge(gates, step_from=begins[0]), strict=True):
        assert mine.verdict is theirs.verdict
        if spec.must_pass:  # else its figures may be some blocks old
            assert mine == theirs


def test_what_is_not_kept_of_old_blocks_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = plan()
    blocks, begins = course(12, asked, excess=0.01)

    def told() -> list[tuple[GateFinding, ...]]:
        judged, found = panel(asked, begins), []
        for block in blocks:
            judged.take(block)
            if block.t0 >= begins[0]:
                step = step_at(block, begins)
                found.append(judged.judge(asked.steps[step].gates, step_from=begins[step]))
        return found

    whole = told()
    monkeypatch.setattr("fairway.verdict.panel.KEPT_BLOCKS", 5)
    assert told() == whole


def test_a_block_twice_or_late_changes_nothing() -> None:
    asked = plan()
    blocks, begins = course(6, asked)
    once, often = panel(asked, begins), panel(asked, begins)
    for place, block in enumerate(blocks):
        once.take(block)
        for repeated in (block, blocks[place // 2], block):
            often.take(repeated)
    gates = asked.steps[-1].gates
    assert once.judge(gates, step_from=begins[-1]) == often.judge(gates, step_from=begins[-1])
    assert once.alarming(blocks) == often.alarming(blocks)


def test_figures_of_gates_that_need_not_pass_are_a_minute_old_at_most_and_of_the_others_new() -> None:
    asked = plan()
    blocks, begins = course(7, asked)
    judged = panel(asked, begins)
    gates = asked.steps[0].gates
    counts: dict[str, list[int]] = {}
    for block in blocks[: WARM + STEP_BLOCKS]:
        judged.take(block)
        for finding in judged.judge(gates, step_from=begins[0]):
            counts.setdefault(finding.gate, []).append(finding.units_candidate)
    exact = panel(asked, begins)
    for block in blocks[: WARM + STEP_BLOCKS]:
        exact.take(block)
    last = {f.gate: f.units_candidate for f in exact.judge(gates, step_from=begins[0])}
    assert counts["failures"][-1] == last["failures"]
    assert last["p99"] >= counts["p99"][-1] >= counts["p99"][-7]


def test_zero_evidence_passes_no_gate() -> None:
    asked = plan(**ALL_PASS)
    empty = [Block(t0=10.0 * i, seconds=10.0, fence=None, arms={}) for i in range(40)]
    judged = panel(asked, [0.0])
    for block in empty:
        judged.take(block)
    for step in asked.steps:
        verdicts = {finding.verdict for finding in judged.judge(step.gates, step_from=0.0)}
        assert verdicts == {Verdict.NO_DATA}
    assert judged.alarming(empty) == ()


@pytest.mark.parametrize("candidate", CANDIDATES.values(), ids=CANDIDATES.keys())
def test_no_e_value_that_reached_its_threshold_is_missed_by_what_spares_computing_it(candidate: dict) -> None:
    asked = plan(**ALL_PASS)
    blocks, begins = course(11, asked, **candidate)
    latched = 0
    for gate in asked.steps[-1].gates:
        spec = replace(gate, alpha_fail=0.2, alpha_pass=0.3, minimum_units=5)
        state = start(spec, since=begins[0])
        for block in blocks:
            state = observe(spec, state, block, candidate=MODELLED_CANDIDATE, stable=MODELLED_STABLE)
            to_fail, to_pass = log_e_fail(spec, state), log_e_pass(spec, state)
            enough = verdict_of(spec, state) not in (Verdict.NO_DATA, Verdict.ERROR)
            if enough and to_fail >= -math.log(spec.alpha_fail) and not find(spec, state).stable_fails_too:
                assert state.evidence.failed is not None
            if enough and to_pass >= -math.log(spec.alpha_pass):
                assert state.evidence.passed is not None
        latched += (state.evidence.failed is not None) + (state.evidence.passed is not None)
    assert latched >= 2
