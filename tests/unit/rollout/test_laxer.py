"""Whatever makes a plan easier to come through than stable's is named; what makes it stricter is not."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairway.rollout.config import RolloutSection
from fairway.rollout.deciding import DecisionKind
from fairway.rollout.evidence import MirrorGate
from fairway.rollout.laxer import PLAN, laxer
from fairway.rollout.laxer_gates import ALARMS, GATE, MIRROR, SOURCE, Laxer, is_laxer
from fairway.rollout.next_step import next_step
from fairway.rollout.plan import compile_plan
from fairway.rollout.values import Phase, Plan
from fairway.sources.values import SourceGate
from fairway.stats.bernoulli import log_e_below
from fairway.testing.rollout_cases import finding, measured, rollout_state, route_state, snapshot
from fairway.units import Verdict
from fairway.verdict.kinds import limit_of
from fairway.verdict.values import AlarmPolicy, GateKind, GateSpec

CUSTOM = {"name": "cpu", "http": {"url": "http://localhost:9/x"}, "at_most": 0.8}


def plan(**keys: Any) -> Plan:
    return compile_plan(RolloutSection.model_validate(keys))


ASKED: dict[str, Any] = {"quorum": 2, "roles": ["qa"], "expires": "1h", "steps": ["first", "100%"]}
STRICT: dict[str, Any] = {"approval": ASKED, "gates": {"custom": [CUSTOM]}}


@pytest.mark.parametrize(
    ("keys", "word"),
    [
        ({"steps": ["50%", "100%"]}, "steps: 1 before 100% instead of 4"),
        ({"steps": ["10%", "20%", "30%", "50%", "100%"]}, "first exposure: more than 5% at once"),
        ({"steps": ["5%", "20%", "30%", "50%", "100%"]}, "steps: 1 before 20% instead of 2"),
        ({"dwell": "1m"}, "dwell: 1m instead of 10m observed before 10%"),
        ({"steps": [{"split": "5%", "dwell": "0s"}, "10%", "30%", "50%"]}, "dwell: 0ms instead of 10m"),
        ({"cap": "4h"}, "cap: a step may stay undecided for 4h instead of 2h"),
        ({"soak": "1m"}, "soak: 1m instead of 30m"),
        ({"alpha_pass": 0.2}, "in 0.2 instead of 0.05 of rollouts"),
        ({"alpha_fail": 0.01}, "error budget: FAIL takes more evidence of every gate (0.01 instead of 0.04 in all)"),
        ({"strategy": "rolling"}, "strategy: rolling instead of canary"),
        ({"strategy": "blue-green"}, "strategy: blue-green instead of canary"),
        ({"instrument_budget": "10m"}, "telemetry may be unreadable for 10m instead of 1m"),
        ({"rolling": {"mixed": True}}, "conversations may change release between requests"),
        ({"gates": {"success": {"minimum": "50%"}}}, "gate success: 50% instead of 99.5%"),
        ({"gates": {"success": {"enabled": False}}}, "gate success is not asked"),
        ({"gates": {"failures": {"margins": ["60pt"]}}}, "gate failures: 60 points instead of 5 points before 10%"),
        ({"gates": {"p95": {"enabled": False}}}, "gate p95 is not asked before 10%"),
        ({"gates": {"p95": {"must_pass": False}}}, "gate p95: must only not fail instead of having to pass"),
        ({"gates": {"tool_errors": {"maximum": "50%"}}}, "gate tool_errors: 50% instead of 3%"),
        ({"gates": {"loops": {"iterations": 900}}}, "gate loops: threshold 900 instead of 25"),
        ({"gates": {"minimum_units": 1}}, "minimum units 1 instead of 20"),
        ({"gates": {"minimum_units": 900}}, "triggers: conversations before a trigger says anything 900 instead of 20"),
        ({"triggers": {"error_rate": None}}, "triggers: the limit of errors is off"),
        ({"triggers": {"exposure": 9000}}, "triggers: the exposure budget 9000 instead of 100"),
        ({"triggers": {"sample_ratio": False}}, "nobody looks whether conversations arrive as the split says"),
        ({"approval": "none"}, "approval: nobody is asked before the first exposure"),
        ({"approval": ASKED | {"quorum": 1}}, "1 instead of 2 people"),
        ({"approval": ASKED | {"roles": []}}, "by whoever may approve instead of qa"),
        ({"approval": ASKED | {"roles": ["qa", "admin"]}}, "by qa or admin instead of qa"),
        ({"approval": ASKED | {"expires": None}}, "a yes counts for ever instead of 1h"),
        ({"approval": ASKED | {"steps": ["first"]}}, "approval: nobody is asked before 100%"),
        ({"approval": ASKED | {"authors_may": True}}, "authors may approve what they wrote"),
        ({"gates": {"custom": []}}, "custom gate cpu is not asked"),
        ({"gates": {"custom": [CUSTOM | {"at_most": 0.9}]}}, "custom gate cpu: at most 0.9 instead of 0.8"),
    ],
)  # fmt: skip
def test_each_loosening_of_a_policy_is_named(keys: dict[str, Any], word: str) -> None:
    gates = STRICT["gates"] | keys.get("gates", {})
    found = laxer(plan(**STRICT), plan(**STRICT | keys | {"gates": gates}))
    assert any(word in one for one in found), found


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"steps": ["1%", "5%", "10%", "30%", "50%", "100%"]},
        {"dwell": "20m"},
        {"soak": "2h"},
        {"alpha_pass": 0.01},
        {"strategy": "shadow"},
        {"warm": "1m", "replicas": 5, "ready_timeout": "5m"},
        {"gates": {"success": {"minimum": "99.9%"}, "failures": {"margins": ["0.1pt"]}, "p95": {"margins": ["+10%"]}}},
        {"gates": {"tokens": {"must_pass": True}}},
        {"triggers": {"exposure": 10}},
        {"approval": {"quorum": 2, "steps": ["first"]}},
    ],
)
def test_what_is_stricter_or_decides_nothing_is_not_named(keys: dict[str, Any]) -> None:
    assert laxer(plan(), plan(**keys)) == ()


@pytest.mark.parametrize(
    ("table", "of"), [(GATE, GateSpec), (ALARMS, AlarmPolicy), (MIRROR, MirrorGate), (SOURCE, SourceGate), (PLAN, Plan)]
)
def test_every_field_has_a_direction(table: dict[str, object], of: Any) -> None:
    assert set(table) == {one.name for one in fields(of)}


@given(st.sampled_from(sorted(GATE)), st.data())
def test_any_field_of_a_gate_moved_in_its_laxer_direction_is_named(name: str, data: st.DataObject) -> None:
    base = plan()
    gate = next(each for each in base.steps[0].gates if each.kind is GateKind.FAILURES)
    moved = {
        "margin": gate.margin * 2, "fail_margin": 0.9, "alpha_fail": gate.alpha_fail / 3, "alpha_pass": 0.3,
        "must_pass": False, "minimum_units": 1, "settle_blocks": 0, "kind": GateKind.UNKNOWN, "threshold": 3.0,
        "cap": 3.0,
    }  # fmt: skip
    if name not in moved or (name == "threshold" and gate.threshold is None):
        return
    place = data.draw(st.integers(0, len(base.steps) - 1))
    steps = tuple(
        replace(step, gates=tuple(replace(g, **{name: moved[name]}) if g.name == gate.name else g for g in step.gates))
        if index >= place
        else step
        for index, step in enumerate(base.steps)
    )
    assert laxer(base, replace(base, steps=steps)) != ()


POLICIES = st.fixed_dictionaries(
    {},
    optional={
        "steps": st.lists(st.integers(1, 99), min_size=1, max_size=4, unique=True).map(
            lambda shares: [*(f"{share}%" for share in sorted(shares)), "100%"]
        ),
        "dwell": st.sampled_from(["0s", "1m", "10m"]),
        "soak": st.sampled_from(["0s", "30m"]),
        "alpha_pass": st.sampled_from([0.01, 0.05, 0.2]),
        "approval": st.sampled_from(["none", "required", {"quorum": 2}, {"steps": ["50%"]}]),
    },
)
SUCCESS = st.fixed_dictionaries(
    {}, optional={"minimum": st.sampled_from(["90%", "99%", "99.9%"]), "must_pass": st.booleans()}
)
P95 = st.sampled_from([{}, {"must_pass": False}, {"margins": ["+10%"]}, {"margins": ["+90%"]}, {"enabled": False}])


@settings(max_examples=60, deadline=None)
@given(POLICIES, POLICIES, POLICIES)
def test_what_is_not_laxer_twice_is_not_laxer_at_all(one: Any, two: Any, three: Any) -> None:
    first, second, third = (plan(**keys) for keys in (one, two, three))
    assert laxer(first, first) == ()
    if laxer(first, second) == () and laxer(second, third) == ():
        assert laxer(first, third) == ()


def _verdict(gate: GateSpec, units: int, bad: int, ratio: float) -> Verdict:
    """What a gate says of so many units with so many bad ones, and a candidate that slow."""
    if units < gate.minimum_units:
        return Verdict.NO_DATA
    if gate.kind is GateKind.SUCCESS:
        passed = log_e_below(bad, units, limit_of(gate)) >= -math.log(gate.alpha_pass)
    else:
        passed = ratio < gate.margin if gate.margin > 1 else bad / units < gate.margin
    return Verdict.PASS if passed else Verdict.INCONCLUSIVE


@settings(max_examples=120, deadline=None)
@given(POLICIES, POLICIES, SUCCESS, SUCCESS, P95, P95, st.integers(0, 4000), st.floats(0, 0.1), st.floats(1, 2),
       st.floats(0, 900))  # fmt: skip
def test_evidence_that_moves_the_candidates_plan_on_and_not_stables_is_due_to_what_is_named(
    ours: Any,
    theirs: Any,
    our: Any,
    their: Any,
    p95: Any,
    other: Any,
    units: int,
    rate: float,
    ratio: float,
    seen: float,
) -> None:
    """Before 100 %, with the same evidence: who comes through by its own plan came through stable's, or it is named."""
    stable = plan(**ours, gates={"success": our, "p95": p95})
    candidate = plan(**theirs, gates={"success": their, "p95": other})
    if laxer(stable, candidate):
        return
    moved = []
    for each in (candidate, stable):
        step = each.steps[-1]
        found = tuple(finding(gate, _verdict(gate, units, int(rate * units), ratio)) for gate in step.gates)
        now = replace(measured(Verdict.PASS), findings=found, mature_seconds=seen)
        rollout = rollout_state(Phase.STEPPING, plan=each, step=len(each.steps) - 1)
        moved.append(next_step(snapshot(route_state(rollout), measured=now)).kind is DecisionKind.ADVANCE)
    assert not moved[0] or moved[1]


def test_none_is_the_laxest_limit_and_nothing_is_laxer_than_itself() -> None:
    assert is_laxer(Laxer.HIGHER, 0.1, None)
    assert is_laxer(Laxer.LOWER, 0.1, None)
    assert not is_laxer(Laxer.HIGHER, None, 0.1)
    assert not any(is_laxer(each, value, value) for each in Laxer for value in (None, 0, 1.5, True))
