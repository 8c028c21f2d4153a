"""Gates on means in a project's file, in a plan, and in words."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pydantic import ValidationError

from fairway.gateway.thresholds import TOKENS_BY_UNIT
from fairway.rollout.config import RolloutSection
from fairway.rollout.deciding import Measured
from fairway.rollout.describe import describe_status
from fairway.rollout.describe_plan import describe_forecast, plan_report
from fairway.rollout.forecast import Traffic, forecast
from fairway.rollout.gate_plan import alpha_spent
from fairway.rollout.next_step import next_step
from fairway.rollout.plan import compile_plan
from fairway.rollout.port import JournalEntry
from fairway.rollout.status import status_wire
from fairway.rollout.thresholds import thresholds_of
from fairway.rollout.values import Phase, Plan
from fairway.rollout.wire import decision_to_wire, state_from_wire, state_to_wire
from fairway.stats.paired import Paired, with_differences
from fairway.stats.power import detectable_difference, pair_growth, pairs_to_tell
from fairway.testing.memory_ledger import MemoryLedger
from fairway.testing.rollout_cases import ROUTE, T0, rollout_state, route_state, snapshot
from fairway.testing.virtual_clock import VirtualClock
from fairway.traffic.fence import Fence
from fairway.units import Verdict
from fairway.verdict.values import MEAN_KINDS, GateFinding, GateKind, GateSpec


def plan(**gates: object) -> Plan:
    return compile_plan(RolloutSection.model_validate({"gates": gates}))


def means(asked: Plan, step: int = 0) -> dict[str, GateSpec]:
    return {gate.name: gate for gate in asked.steps[step].gates if gate.kind in MEAN_KINDS}


def test_without_a_word_of_the_project_no_mean_is_looked_at_and_no_error_is_spent_on_it() -> None:
    assert means(plan()) == {}
    assert means(plan(cost_mean=None, score_mean={"enabled": False})) == {}
    without, with_it = plan().steps[0].gates, plan(cost_mean="+10%").steps[0].gates
    assert without[0].alpha_fail > with_it[0].alpha_fail
    assert alpha_spent(plan(cost_mean="+10%", score_mean="2pt", tokens_mean={}, feedback_mean={})) <= 0.04 + 1e-9


def test_a_mean_is_asked_for_in_one_word_or_in_full() -> None:
    asked = plan(
        cost_mean="+10%",
        tokens_mean={"margins": ["+50%", "+40%", "+30%", "+20%"], "cap": 4000, "must_pass": True},
        score_mean="2pt",
        feedback_mean={},
    )
    first, final = means(asked), means(asked, 3)
    assert (first["cost_mean"].margin, first["cost_mean"].fail_margin, first["cost_mean"].cap) == (1.1, 1.1, None)
    assert (first["tokens_mean"].margin, first["tokens_mean"].fail_margin, first["tokens_mean"].cap) == (1.5, 1.2, 4000)
    assert (first["tokens_mean"].must_pass, first["cost_mean"].must_pass) == (True, False)
    assert (first["score_mean"].margin, final["score_mean"].margin) == (0.02, 0.02)
    assert [means(asked, step)["feedback_mean"].margin for step in range(4)] == [0.1, 0.05, 0.03, 0.02]
    assert {gate.kind for gate in first.values()} == MEAN_KINDS
    assert {gate.stages for gate in first.values()} == {4}
    state = route_state(rollout_state(Phase.STEPPING, plan=asked))
    assert state_from_wire(state_to_wire(state)) == state


def test_gateways_are_asked_for_tokens_by_conversation_only_where_a_gate_looks_at_their_mean() -> None:
    for asked, told in ((plan(tokens_mean={}), True), (plan(cost_mean={}), False)):
        rollout = rollout_state(Phase.STEPPING, plan=asked)
        limits = thresholds_of(rollout, asked.steps[0])
        assert limits.get(TOKENS_BY_UNIT) == ({"stable": 0.0, "candidate": 0.0} if told else None)


def test_a_cap_is_dollars_as_people_write_them() -> None:
    for written in ("$0.50", "0.5", 0.5):
        assert means(plan(cost_mean={"cap": written}))["cost_mean"].cap == 0.5


@pytest.mark.parametrize(
    ("gates", "told"),
    [
        ({"cost_mean": "10%"}, "cost_mean.margins.0"),
        ({"cost_mean": {"cap": 0}}, "a cap must be above 0"),
        ({"cost_mean": {"cap": "-$1"}}, "is not a cap; write dollars such as $0.50"),
        ({"cost_mean": {"cap": True}}, "a cap must be above 0"),
        ({"cost_mean": {"cap": float("inf")}}, "a cap must be above 0"),
        ({"score_mean": {"cap": 1}}, "Extra inputs are not permitted"),
        ({"score_mean": "+10%"}, "is not a margin; write points such as 5pt"),
        ({"cost_mean": {"margins": ["+10%", "+20%"]}}, "gates.cost_mean.margins has 2 entries"),
        ({"score_mean": {"margins": ["1pt", "2pt", "3pt", "4pt"]}}, "gates.score_mean.margins must not grow"),
        ({"feedback_mean": {"must_pass": "maybe"}}, "feedback_mean.must_pass"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(gates: dict[str, object], told: str) -> None:
    with pytest.raises(ValidationError) as refused:
        RolloutSection.model_validate({"gates": gates})
    assert told in str(refused.value)


def test_a_plan_tells_what_a_step_shows_of_a_mean_and_how_long_it_takes() -> None:
    asked = plan(cost_mean={"must_pass": True}, score_mean="5pt", feedback_mean={})
    told = describe_forecast(asked, Traffic(per_minute=200))
    assert (
        "mean cost of a request within +100% of stable: 5m12s at this traffic, about 52 conversations;"
        " 100 conversations in the dwell show 1.78 times the mean"
    ) in told
    assert "mean score of a request within 5 points of stable, must only not fail: " in told
    assert "points lower" in told
    assert "conversations, if each gave feedback; " in told
    assert "mean cost of a request within +10% of stable: " in told
    unknown = describe_forecast(asked, None)
    assert "mean cost of a request within +100% of stable\n" in unknown
    report = plan_report(asked, Traffic(per_minute=200))
    (cost,) = [gate for gate in report["forecast"][0]["gates"] if gate["gate"] == "cost_mean"]
    assert (cost["units_needed"], cost["units_in_dwell"]) == (52, 100)
    assert "mean feedback within 10 points / 5 points / 3 points / 2 points of stable" in told


def test_more_traffic_shows_smaller_effects_and_none_shows_nothing() -> None:
    asked = plan(cost_mean={}, score_mean={})
    shown: dict[str, list[float | None]] = {"cost_mean": [], "score_mean": []}
    for per_minute in (1, 100, 1_000, 100_000):
        for found in forecast(asked, Traffic(per_minute=per_minute))[0].gates:
            if found.gate.name in shown:
                shown[found.gate.name].append(found.shows)
    for name, margin in (("cost_mean", 1.1), ("score_mean", 0.02)):
        assert shown[name][0] is None
        known = [value for value in shown[name] if value is not None]
        assert known == sorted(known, reverse=True)
        assert known[-1] == pytest.approx(margin, rel=0.3)
        assert known[-1] > margin


@pytest.mark.parametrize(("edge", "spread"), [(0.05, 0.2), (0.2, 0.3), (0.02, 0.05), (0.1, 0.02)])
def test_pairs_are_about_as_many_as_the_test_takes_and_no_bet_grows_faster(edge: float, spread: float) -> None:
    # Differences of two values, as regular as can be: none is luckier than another.
    paired, pairs = Paired(), pairs_to_tell(edge, spread**2, 0.05)
    assert pairs is not None
    drawn = 0
    while paired.log_e_pass < 3.0 and drawn < 20 * pairs:
        sign = 1 if drawn % 2 else -1
        paired = with_differences(paired, [-edge + sign * spread], margin=0.0, prior=0.25)
        drawn += 1
    assert 0.4 * pairs <= drawn <= 2.5 * pairs
    assert pair_growth(-edge, 1.0) == pair_growth(0.0, 1.0) == 0.0
    assert pairs_to_tell(0.0, 1.0, 0.05) is None


def test_a_difference_that_can_be_told_is_told_in_so_many_pairs() -> None:
    assert detectable_difference(0, 0.04, 0.002) is None
    assert detectable_difference(15, 0.04, 0.002) is None
    found = detectable_difference(400, 0.04, 0.002)
    assert found is not None
    needs = pairs_to_tell(found, 0.04, 0.002)
    assert needs is not None
    assert needs <= 400


def test_status_tells_a_mean_with_the_figures_it_was_reached_on_and_those_of_now() -> None:
    latched = GateFinding(
        gate="cost_mean", kind=GateKind.COST_MEAN, verdict=Verdict.PASS, margin=2.0, units_candidate=300,
        units_stable=5000, estimate_candidate=0.0121, estimate_stable=0.0119,
        reason="the mean cost of a request is $0.0118 in 60 candidate conversations against $0.0121 in 900 on stable",
    )  # fmt: skip
    silent = replace(
        latched, gate="score_mean", kind=GateKind.SCORE_MEAN, verdict=Verdict.NO_DATA, estimate_candidate=None,
        estimate_stable=None, reason="neither release reports score in its outcome, so this cannot be measured",
    )  # fmt: skip
    screen = _screen(latched, silent)
    assert "evidence   cost_mean (must not fail): PASS - the mean cost of a request is $0.0118 in 60 " in screen
    assert "now $0.0121 in 300 against $0.0119 in 5,000 on stable" in screen
    assert "evidence   score_mean (must not fail): NO_DATA - neither release reports score" in screen


def _screen(*findings: GateFinding) -> str:
    """The status of a rollout whose controller last journaled these findings."""
    ledger = MemoryLedger(clock=VirtualClock())
    lease = ledger.acquire_lease(ROUTE, "controller-1", seconds=10.0)
    assert lease is not None
    state = route_state(rollout_state(Phase.STEPPING))
    decision = next_step(snapshot(state, measured=Measured(findings=findings, mature_seconds=1000.0)))
    ledger.journal(
        JournalEntry(
            route=ROUTE, fence=Fence(term=lease.term, seq=1), at=T0, kind=decision.kind.value, code=decision.code,
            reason=decision.reason, actor=decision.actor, state=state_to_wire(decision.state),
            decision=decision_to_wire(decision),
        ),
        lease,
    )  # fmt: skip
    return describe_status(status_wire(ledger, ROUTE, None, now=T0))
