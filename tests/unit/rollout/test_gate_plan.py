"""The error budget of a rollout: what gates, soak and mirror may err with together."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairway.errors import PermanentError
from fairway.rollout.config import RolloutSection
from fairway.rollout.describe_plan import describe_forecast, plan_report
from fairway.rollout.gate_plan import GATE_NAMES, alpha_spent, pass_spent, within_budget
from fairway.rollout.mean_plan import MEAN_NAMES
from fairway.rollout.plan import compile_plan
from fairway.verdict.kinds import KINDS, Test
from fairway.verdict.values import MEAN_KINDS, GateKind


def policy(**keys: object) -> RolloutSection:
    return RolloutSection.model_validate(keys)


def test_by_default_gates_spend_four_percent_and_the_alarms_half_a_percent_each() -> None:
    plan = compile_plan(policy())
    assert alpha_spent(plan) == pytest.approx(0.04)
    assert plan.alarms is not None
    assert (plan.alarms.alpha, plan.alarms.sample_alpha) == (0.005, 0.005)
    assert alpha_spent(plan) + plan.alarms.alpha + plan.alarms.sample_alpha <= 0.05 + 1e-12


FLAGS = st.dictionaries(
    st.sampled_from([name for name in (*GATE_NAMES, *MEAN_NAMES) if name != "failures"]), st.booleans()
)


@settings(max_examples=80, deadline=None)
@given(
    FLAGS,
    st.sampled_from(["canary", "blue-green", "rolling", "shadow", "auto"]),
    st.sampled_from([0.01, 0.04, 0.1]),
    st.sampled_from(["0s", "30m"]),
    st.lists(st.integers(1, 99), min_size=1, max_size=6, unique=True).map(sorted),
    st.integers(1, 5),
)
def test_no_policy_compiles_to_a_plan_that_errs_more_often_than_it_says(
    enabled: dict[str, bool], strategy: str, alpha: float, soak: str, shares: list[int], replicas: int
) -> None:
    short = {"tool_errors": "maximum", "callback_failures": "maximum", "guardrail": "margin", "unknown": "margin"}
    gates = {
        name: {"enabled": on, **({short[name]: "3%" if short[name] == "maximum" else "3pt"} if name in short else {})}
        for name, on in enabled.items()
    }
    if strategy == "blue-green":
        gates["success"] = {"enabled": True}
    asked = policy(
        gates=gates, strategy=strategy, alpha_fail=alpha, soak=soak, replicas=replicas,
        steps=[*(f"{share}%" for share in shares), "100%"],
    )  # fmt: skip
    assert alpha_spent(compile_plan(asked)) <= alpha + 1e-9


def test_the_budgets_that_are_shown_are_those_that_are_spent_and_add_up() -> None:
    plan = compile_plan(policy(strategy="shadow"))
    shown = plan_report(plan, None)["budgets"]
    assert shown["alpha_fail"] == pytest.approx(alpha_spent(plan)) == pytest.approx(0.04)
    assert shown["in_all"] == pytest.approx(0.05)
    told = "0.04 for all FAILs together, 0.005 for the triggers, 0.005 for the sample ratio: 0.05 in all; 0.05 for each"
    assert told in describe_forecast(plan, None)
    off = {"error_rate": None, "latency": None, "failed_traces": None, "exposure": None, "sample_ratio": False}
    alone = plan_report(compile_plan(policy(triggers=off)), None)["budgets"]
    assert (alone["triggers"], alone["sample_ratio"], alone["in_all"]) == (0, 0, alone["alpha_fail"])


@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.2])
def test_a_gate_passes_what_is_beyond_its_margin_in_at_most_alpha_pass_bound_of_stable_and_all(alpha: float) -> None:
    plan = compile_plan(policy(alpha_pass=alpha, strategy="auto"))
    gates = [*(gate for step in plan.steps for gate in step.gates), *plan.soak_gates]
    assert {round(pass_spent(gate), 12) for gate in gates} == {alpha}
    in_points = [gate for gate in gates if KINDS[gate.kind].test is Test.ADDITIVE]
    assert in_points
    assert all(gate.alpha_pass == pytest.approx(alpha / 1.1) for gate in in_points)


def test_a_success_that_is_proved_in_the_soak_alone_has_its_part_of_the_budget_too() -> None:
    plan = compile_plan(policy(strategy="blue-green", soak="0s"))
    assert [gate.must_pass for gate in plan.soak_gates] == [True]
    assert alpha_spent(plan) <= 0.04 + 1e-9
    assert alpha_spent(plan) > max(gate.alpha_fail for gate in plan.soak_gates)


def test_a_plan_beyond_its_budget_is_refused() -> None:
    plan = compile_plan(policy())
    step = plan.steps[0]
    greedy = replace(plan, steps=(replace(step, gates=(replace(step.gates[0], alpha_fail=0.03), *step.gates[1:])),))
    with pytest.raises(PermanentError, match=r"may err in 0\.0\d+ of rollouts together, 0\.04 is allowed"):
        within_budget(greedy, 0.04)


def test_every_gate_that_needs_no_agents_word_stands_in_the_default_plan_with_its_default() -> None:
    plan = compile_plan(policy())
    gates = {gate.kind: gate for gate in plan.steps[-1].gates}
    assert set(gates) == set(GateKind) - {GateKind.EXCESS_FAILURES, GateKind.EXCESS_SLOW} - MEAN_KINDS
    assert {kind: gates[kind].margin for kind in gates} == {
        GateKind.FAILURES: 0.005, GateKind.GUARDRAIL: 0.05, GateKind.UNKNOWN: 0.01, GateKind.LATENCY_P95: 1.1,
        GateKind.LATENCY_P95_LAST: 1.1,
        GateKind.LATENCY_P99: 1.25, GateKind.FIRST_BYTE_P95: 1.2, GateKind.TOKENS_P95: 1.5, GateKind.SUCCESS: 0.995,
        GateKind.TOOL_ERRORS: 0.03, GateKind.CALLBACK_FAILURES: 0.02, GateKind.LOOPS: 0.01,
    }  # fmt: skip
    assert gates[GateKind.LOOPS].threshold == 25
    assert {gate.name for gate in plan.steps[0].gates if gate.must_pass} == {"failures", "p95"}
    by_step = {kind for kind in gates if KINDS[kind].test is Test.RELATIVE} - {GateKind.LATENCY_P95_LAST}
    assert {kind for kind, gate in gates.items() if gate.from_step} == by_step
    assert {gate.stages for gate in gates.values()} == {4}


def test_the_last_margin_of_the_p95_is_a_gate_at_every_step_unless_all_margins_are_alike() -> None:
    plan = compile_plan(policy())
    for step in plan.steps:
        (last,) = [gate for gate in step.gates if gate.kind is GateKind.LATENCY_P95_LAST]
        assert (last.margin, last.must_pass, last.from_step) == (1.1, False, False)
    alike = compile_plan(policy(gates={"p95": {"margins": ["+10%"]}}))
    assert all(gate.kind is not GateKind.LATENCY_P95_LAST for step in alike.steps for gate in step.gates)
    for one in (plan, alike):
        spent = sum(gate.alpha_fail for gate in one.steps[0].gates if gate.kind.startswith("latency_p95"))
        assert spent == pytest.approx(0.04 * 4 / 20, rel=0.25)


def test_who_widens_the_margin_of_the_p95_widens_what_is_not_said_of_other_times() -> None:
    wide = compile_plan(policy(gates={"p95": {"margins": ["+150%"]}})).steps[-1]
    margins = {gate.name: gate.margin for gate in wide.gates}
    assert (margins["p99"], margins["first_byte"], margins["tokens"]) == (4.0, 2.5, 1.5)
    said = compile_plan(policy(gates={"p95": {"margins": ["+150%"]}, "p99": {"margins": ["+10%"]}})).steps[-1]
    assert {gate.name: gate.margin for gate in said.gates}["p99"] == pytest.approx(1.1)


def test_a_gate_that_is_switched_off_is_in_no_step_and_leaves_its_part_to_the_others() -> None:
    less = compile_plan(policy(gates={name: {"enabled": False} for name in ("p99", "first_byte", "tokens", "loops")}))
    assert {gate.name for gate in less.steps[0].gates}.isdisjoint({"p99", "first_byte", "tokens", "loops"})
    assert less.steps[0].gates[0].alpha_fail > compile_plan(policy()).steps[0].gates[0].alpha_fail
    assert alpha_spent(less) == pytest.approx(0.04)


def test_limits_are_read_as_people_write_them() -> None:
    asked = policy(
        gates={
            "tool_errors": "5%", "guardrail": "2pt", "loops": {"contained": "98%", "iterations": 8},
            "p99": {"margins": ["+80%"]},
        },
        triggers={"error_rate": "3%", "latency": "2s", "error_window": "2m", "failed_traces": None, "exposure": 10},
    )  # fmt: skip
    plan = compile_plan(asked)
    gates = {gate.name: gate for gate in plan.steps[1].gates}
    assert (gates["tool_errors"].margin, gates["guardrail"].margin, gates["p99"].margin) == (0.05, 0.02, 1.8)
    assert (gates["loops"].margin, gates["loops"].threshold) == (pytest.approx(0.02), 8)
    alarms = plan.alarms
    assert alarms is not None
    assert (alarms.error_rate, alarms.error_window, alarms.latency_ms) == (0.03, 120.0, 2_000.0)
    assert (alarms.failed_traces, alarms.exposure) == (None, 10)


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("gates", {"tool_errors": "0%"}, "above 0% and below 100%"),
        ("gates", {"loops": {"contained": "100%"}}, "can never be shown"),
        ("gates", {"p99": {"margins": ["+10%", "+20%"]}}, "p99.margins has 2 entries"),
        ("gates", {"tokens": {"margins": ["+10%", "+20%", "+20%", "+20%"]}}, "tokens.margins must not grow"),
        ("gates", {"unknown": "200pt"}, "below 100 points"),
        ("triggers", {"error_rate": "100%"}, "null switches the trigger off"),
        ("triggers", {"latency": "0s"}, "longer than 0s"),
        ("triggers", {"exposure": 0}, "greater than"),
        ("triggers", {"memory": 1}, "Extra inputs"),
    ],
)
def test_what_cannot_be_judged_by_is_refused(key: str, value: object, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        policy(**{key: value})


def test_the_plan_in_words_has_every_gate_with_its_margins_and_every_alarm() -> None:
    told = describe_forecast(compile_plan(policy()), None)
    for words in (
        "failures within 5 points of stable", "failures within 0.5 points of stable", "P95 within +10% of stable",
        "guardrail hits within 5 points", "unknown outcomes within 1 point", "P99 within +200% / +100% / +50% / +25%",
        "P95 of the first byte within", "P95 of tokens within", "success ≥ 99.5%", "tool errors ≤ 3%",
        "callback failures ≤ 2%", "requests beyond 25 iterations ≤ 1%", "errors > 2% for 5m", "P95 > 5s for 3m",
        "50 failed requests in excess", "100 bad conversations in excess", "do not arrive as the split says",
    ):  # fmt: skip
        assert words in told, words
    off = {"error_rate": None, "latency": None, "failed_traces": None, "exposure": None, "sample_ratio": False}
    assert "stops at once" not in describe_forecast(compile_plan(policy(triggers=off)), None)
    assert "pauses when" not in describe_forecast(compile_plan(policy(triggers=off)), None)
