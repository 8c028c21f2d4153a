"""Custom gates in a decision: they hold and they stop, and nothing they say ever moves a rollout on."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairway.rollout.deciding import DecisionKind
from fairway.rollout.describe import describe_status
from fairway.rollout.describe_plan import describe_forecast, plan_report
from fairway.rollout.next_step import next_step
from fairway.rollout.port import JournalEntry
from fairway.rollout.replay import decide_again
from fairway.rollout.requests import AnswerKind, Verb
from fairway.rollout.source_gates import asked_now
from fairway.rollout.status import status_wire
from fairway.rollout.values import Phase, Scaling, Served, Strategy
from fairway.rollout.wire import decision_to_wire, snapshot_from_bytes, snapshot_to_bytes, state_to_wire
from fairway.simulate.rollout import exposing
from fairway.sources.values import (
    Answered,
    OnFail,
    Question,
    SourceAnswer,
    SourceGate,
    SourceKind,
    SourceReading,
)
from fairway.testing.memory_ledger import MemoryLedger
from fairway.testing.rollout_cases import (
    CANDIDATE,
    GATES,
    ROUTE,
    STABLE,
    T0,
    canary_plan,
    finding,
    measured,
    plan_for,
    ready_arm,
    request,
    rollout_state,
    route_state,
    snapshot,
)
from fairway.testing.virtual_clock import VirtualClock
from fairway.traffic.fence import Fence
from fairway.units import Verdict

NOW = T0.timestamp()
FORWARD = (DecisionKind.ADVANCE, DecisionKind.FINISH)
CPU = SourceGate(
    name="cpu",
    question=Question(kind=SourceKind.PROMETHEUS, url="http://127.0.0.1:9090", query='cpu{release="{{arm}}"}'),
    at_most=0.8,
    holds_for=30.0,
    every=10.0,
    errors=3,
)
BILLING = SourceGate(
    name="billing", question=Question(kind=SourceKind.HTTP, url="http://127.0.0.1/ok", pointer="/ok"), holds_for=0.0
)
BACK = replace(CPU, on_fail=OnFail.ROLL_BACK)
COMPARES = replace(CPU, name="cpu-beside-stable", at_most=None, most_of_stable=1.1)


def reading(gate, outcome=Answered.VALUE, *, within=True, seconds=30.0, errors=0, age=1.0):
    """What a gate's source came to: the limit kept (or broken) for so long, or no figure."""
    figure = outcome is Answered.VALUE
    answer = SourceAnswer(outcome=outcome, value=0.5 if figure else None, detail="" if figure else outcome.value)
    at = NOW - age
    return SourceReading(
        gate=gate.name,
        at=at,
        answer=answer,
        stable=answer if gate.compares else None,
        holds_since=at - seconds if figure and within else None,
        breaks_since=at - seconds if figure and not within else None,
        errors=errors,
    )


def at_step(*gates, readings=(), verdict=Verdict.PASS, phase=Phase.STEPPING, **changes):
    seconds = changes.pop("seconds", 1000.0)
    requests = changes.pop("requests", ())
    plan = canary_plan(sources=gates)
    state = route_state(rollout_state(phase, plan=plan, **changes))
    found = replace(measured(verdict, seconds=seconds), sources=tuple(readings))
    if phase is Phase.SOAKING:
        found = replace(found, findings=(finding(GATES[2], verdict),))
    return snapshot(state, measured=found, requests=requests)


def test_a_step_goes_on_when_the_custom_gates_have_passed_too_and_says_what_that_is_worth():
    decision = next_step(at_step(CPU, BILLING, readings=(reading(CPU), reading(BILLING))))
    assert (decision.kind, decision.code) == (DecisionKind.ADVANCE, "gates_passed")
    assert "cpu, billing passed (guarantee: none)" in decision.reason


@pytest.mark.parametrize(
    "found",
    [
        None,
        reading(CPU, seconds=20.0),
        reading(CPU, within=False, seconds=20.0),
        reading(CPU, age=100.0),
        *[reading(CPU, outcome) for outcome in Answered if outcome is not Answered.VALUE],
    ],
    ids=str,
)
def test_what_has_not_passed_holds_the_step_and_nothing_else(found):
    decision = next_step(at_step(CPU, readings=() if found is None else (found,)))
    assert (decision.kind, decision.code) == (DecisionKind.WAIT, "custom_gate_waits")
    assert decision.state.rollout.step == 0
    assert not decision.state.rollout.paused


def test_custom_gates_alone_are_no_evidence():
    for verdict in (Verdict.INCONCLUSIVE, Verdict.NO_DATA):
        decision = next_step(at_step(CPU, BILLING, readings=(reading(CPU), reading(BILLING)), verdict=verdict))
        assert (decision.kind, decision.code) == (DecisionKind.WAIT, "needs_evidence")
    without = at_step(CPU, readings=(reading(CPU),))
    unproved = tuple(replace(one, verdict=Verdict.INCONCLUSIVE) for one in without.measured.findings)
    optional = tuple(replace(gate, must_pass=False) for gate in GATES)
    steps = tuple(replace(step, gates=optional) for step in without.state.rollout.plan.steps)
    plan = replace(without.state.rollout.plan, steps=steps)
    state = route_state(replace(without.state.rollout, plan=plan))
    bare = snapshot(state, measured=replace(without.measured, findings=unproved))
    assert next_step(bare).code == "needs_evidence", "a policy whose gates need not pass still needs one of them to"


def test_a_custom_gate_that_fails_pauses_unless_it_was_declared_to_roll_back():
    paused = next_step(at_step(CPU, readings=(reading(CPU, within=False),)))
    assert (paused.kind, paused.code) == (DecisionKind.PAUSE, "custom_gate_failed")
    assert "guarantee: none" in paused.reason
    back = next_step(at_step(BACK, readings=(reading(BACK, within=False),)))
    assert (back.kind, back.code) == (DecisionKind.ROLL_BACK, "custom_gate_failed")
    assert back.state.rollout.phase is Phase.ROLLING_BACK
    while_paused = next_step(at_step(BACK, readings=(reading(BACK, within=False),), paused="ada paused"))
    assert while_paused.kind is DecisionKind.ROLL_BACK


def test_a_source_that_cannot_be_read_pauses_after_so_many_errors_and_never_goes_back():
    for gate in (CPU, BACK):
        few = next_step(at_step(gate, readings=(reading(gate, Answered.UNREACHABLE, errors=2),)))
        assert (few.kind, few.code) == (DecisionKind.WAIT, "custom_gate_waits")
        many = next_step(at_step(gate, readings=(reading(gate, Answered.UNREACHABLE, errors=3),)))
        assert (many.kind, many.code) == (DecisionKind.PAUSE, "custom_gate_unreadable")
        assert many.state.rollout.paused == many.reason


def test_who_resumes_in_spite_of_it_is_not_paused_again_and_the_step_is_held_all_the_same():
    broken = (reading(CPU, Answered.UNREACHABLE, errors=3),)
    resume = request(Verb.RESUME, reason="the dashboard is wrong")
    resumed = next_step(at_step(CPU, readings=broken, paused="its source cannot be read", requests=(resume,)))
    assert resumed.state.rollout.overlooked == ("custom:cpu",)
    after = next_step(at_step(CPU, readings=broken, overlooked=("custom:cpu",)))
    assert (after.kind, after.code) == (DecisionKind.WAIT, "custom_gate_waits")


def test_a_person_may_skip_past_a_custom_gate_and_it_is_on_record_what_stood_open():
    skip = request(Verb.SKIP, reason="prometheus is being moved")
    decision = next_step(at_step(CPU, readings=(reading(CPU, Answered.UNREACHABLE, errors=3),), requests=(skip,)))
    assert decision.code == "step_skipped"
    assert "cpu ERROR (custom)" in decision.state.rollout.overrides[0].past


def test_no_override_goes_past_a_custom_gate_that_rolls_back():
    skip = request(Verb.SKIP, reason="surely fine")
    decision = next_step(at_step(BACK, readings=(reading(BACK, within=False),), requests=(skip,)))
    assert decision.answers[0].kind is AnswerKind.REFUSED
    assert decision.answers[0].code == "custom_gate_failed"


def test_a_step_held_for_longer_than_its_cap_pauses_for_a_person():
    looked = at_step(CPU, readings=(reading(CPU, Answered.EMPTY),), phase_at=T0 - timedelta(seconds=601))
    decision = next_step(looked)
    assert (decision.kind, decision.code) == (DecisionKind.PAUSE, "step_undecided")
    assert "cpu is NO_DATA" in decision.reason


def test_the_soak_is_held_by_absolute_custom_gates_and_not_by_those_that_compare():
    held = next_step(at_step(CPU, COMPARES, phase=Phase.SOAKING))
    assert (held.kind, held.code) == (DecisionKind.WAIT, "custom_gate_waits")
    assert [one.gate for one in held.sources] == ["cpu"]
    done = next_step(at_step(CPU, COMPARES, readings=(reading(CPU),), phase=Phase.SOAKING))
    assert done.kind is DecisionKind.FINISH
    back = next_step(at_step(BACK, readings=(reading(BACK, within=False),), phase=Phase.SOAKING))
    assert (back.kind, back.state.stable) == (DecisionKind.ROLL_BACK, STABLE)
    paused = next_step(at_step(CPU, readings=(reading(CPU, within=False),), phase=Phase.SOAKING))
    assert (paused.kind, paused.code) == (DecisionKind.PAUSE, "custom_gate_failed")


def test_a_first_release_pauses_where_there_is_nothing_to_go_back_to_and_is_not_asked_about_stable():
    names_stable = replace(BACK, name="old", question=replace(CPU.question, query="cpu{release='{{stable}}'}"))
    looked = at_step(BACK, names_stable, readings=(reading(BACK, within=False),), phase=Phase.SOAKING, stable=None)
    decision = next_step(looked)
    assert (decision.kind, decision.code) == (DecisionKind.PAUSE, "custom_gate_failed")
    assert [one.gate for one in decision.sources] == ["cpu"]


def test_nothing_outside_is_asked_before_users_meet_the_candidate():
    for strategy in (Strategy.BLUE_GREEN, Strategy.SHADOW):
        plan = replace(plan_for(strategy), sources=(CPU,))
        assert asked_now(rollout_state(Phase.STEPPING, plan=plan, step=0)) == ()
        assert asked_now(rollout_state(Phase.STEPPING, plan=plan, step=1)) == (CPU,)
    for phase in set(Phase) - {Phase.STEPPING, Phase.SOAKING}:
        assert asked_now(rollout_state(phase, plan=canary_plan(sources=(CPU,)))) == ()
    assert asked_now(rollout_state(Phase.SOAKING, plan=canary_plan(sources=(CPU,), soak=0.0))) == ()


@pytest.mark.parametrize("phase", [Phase.STEPPING, Phase.PROMOTING])
def test_while_the_next_instances_start_the_gates_of_the_step_that_is_served_are_asked_and_heeded(phase):
    plan = replace(plan_for(Strategy.ROLLING), sources=(BACK, COMPARES))
    rollout = rollout_state(
        phase, plan=plan, step=1, step_from=None, scaling=Scaling.STARTING, counted_from=0.0,
        served=Served(step=0, since=0.0),
    )  # fmt: skip
    assert asked_now(rollout) == (BACK, COMPARES)
    failed = replace(measured(Verdict.PASS), sources=(reading(BACK, within=False),))
    decision = next_step(snapshot(route_state(rollout), measured=failed))
    assert (decision.kind, decision.code) == (DecisionKind.ROLL_BACK, "custom_gate_failed")
    only_pauses = replace(rollout, plan=replace(plan, sources=(CPU,)))
    failed = replace(measured(Verdict.PASS), sources=(reading(CPU, within=False),))
    arms = (ready_arm(STABLE, count=3), ready_arm(CANDIDATE, count=3))
    held = next_step(snapshot(route_state(only_pauses), measured=failed, arms=arms))
    assert (held.kind, held.code) == (DecisionKind.PAUSE, "custom_gate_failed")
    assert held.state.rollout.scaling is Scaling.STARTING


def test_at_all_traffic_only_what_compares_nothing_is_asked_until_the_last_gateway_has_confirmed_it():
    plan = canary_plan(sources=(BACK, COMPARES))
    rollout = rollout_state(Phase.PROMOTING, plan=plan, step=3, served=Served(step=3, since=0.0))
    assert asked_now(rollout) == (BACK,)


gates = st.sampled_from([CPU, BACK, COMPARES, BILLING, replace(CPU, name="loose", errors=1, holds_for=0.0)])
readings = st.builds(
    reading,
    gates,
    st.sampled_from([Answered.VALUE] * 6 + list(Answered)),
    within=st.booleans(),
    seconds=st.sampled_from([0.0, 29.0, 30.0, 500.0]),
    errors=st.integers(0, 6),
    age=st.sampled_from([0.0, 10.0, 34.0, 36.0, -5.0]),
)
asked = st.lists(
    st.sampled_from(
        [request(Verb.PROMOTE, reason="ok"), request(Verb.RESUME, reason="ok"), request(Verb.SKIP, reason="ok")]
    ),
    max_size=1,  # of two, one may move the rollout because the other was refused
).map(tuple)


@st.composite
def looks(draw):
    strategy = draw(st.sampled_from([Strategy.CANARY, Strategy.BLUE_GREEN, Strategy.ROLLING, Strategy.SHADOW]))
    sources = tuple(draw(st.lists(gates, max_size=3, unique_by=lambda gate: gate.name)))
    must = draw(st.booleans())
    steps = tuple(
        replace(step, gates=tuple(replace(gate, must_pass=gate.must_pass and must) for gate in step.gates))
        for step in plan_for(strategy).steps
    )
    plan = replace(plan_for(strategy), steps=steps, sources=sources)
    phase = draw(st.sampled_from([Phase.STEPPING, Phase.STEPPING, Phase.SOAKING, *Phase]))
    rollout = rollout_state(
        phase,
        plan=plan,
        step=draw(st.integers(0, len(plan.steps) - 1)),
        paused=draw(st.sampled_from(["", "", "grace paused"])),
        stable=draw(st.sampled_from([STABLE, STABLE, None])),
        overlooked=draw(st.sampled_from([(), ("custom:cpu",)])),
        phase_at=draw(st.sampled_from([T0 - timedelta(seconds=10), T0 - timedelta(seconds=5000)])),
    )
    found = replace(
        measured(*draw(st.tuples(*[st.sampled_from([Verdict.PASS, Verdict.PASS, *Verdict])] * 3))),
        mature_seconds=draw(st.sampled_from([0.0, 1000.0])),
        sources=tuple(draw(st.lists(readings, max_size=3, unique_by=lambda one: one.gate))),
    )
    return snapshot(route_state(rollout), measured=found, requests=draw(asked))


def without_sources(looked):
    rollout = looked.state.rollout
    bare = replace(rollout, plan=replace(rollout.plan, sources=()))
    return replace(looked, state=replace(looked.state, rollout=bare), measured=replace(looked.measured, sources=()))


@settings(max_examples=120)
@given(looks())
def test_no_custom_gate_ever_turns_a_hold_into_an_advance(looked):
    decision, bare = next_step(looked), next_step(without_sources(looked))
    if decision.kind in FORWARD:
        assert bare.kind in FORWARD
        assert (decision.state.rollout.phase, decision.state.rollout.step) == (
            bare.state.rollout.phase,
            bare.state.rollout.step,
        )


@settings(max_examples=60)
@given(
    st.lists(gates, min_size=1, max_size=3, unique_by=lambda gate: gate.name).map(tuple),
    st.tuples(*[st.sampled_from(sorted(set(Verdict) - {Verdict.PASS}))] * 3),
    st.booleans(),
    st.integers(0, 3),
)
def test_however_many_custom_gates_pass_nothing_moves_without_a_statistical_pass(sources, verdicts, must, step):
    looked = at_step(*sources, readings=[reading(gate, seconds=500.0) for gate in sources], step=step)
    rollout = looked.state.rollout
    asked_for = tuple(replace(gate, must_pass=must and gate.must_pass) for gate in GATES)
    plan = replace(rollout.plan, steps=tuple(replace(one, gates=asked_for) for one in rollout.plan.steps))
    found = replace(measured(*verdicts), sources=looked.measured.sources)
    decision = next_step(snapshot(route_state(replace(rollout, plan=plan)), measured=found))
    assert decision.sources
    assert all(one.verdict is Verdict.PASS for one in decision.sources)
    assert decision.kind not in FORWARD


@settings(max_examples=120)
@given(looks())
def test_automation_moves_on_only_when_every_custom_gate_it_asks_has_passed(looked):
    decision = next_step(replace(looked, requests=()))
    rollout = looked.state.rollout
    asks = bool(asked_now(rollout))
    if asks and decision.code in ("gates_passed", "done"):
        assert decision.sources
        assert all(one.verdict is Verdict.PASS for one in decision.sources)


@settings(max_examples=120)
@given(looks())
def test_a_source_without_figures_never_rolls_back(looked):
    empty = tuple(
        replace(one, answer=SourceAnswer(outcome=Answered.TIMED_OUT, detail="-"), holds_since=None, breaks_since=None)
        for one in looked.measured.sources
    )
    blind = replace(looked, measured=replace(looked.measured, sources=empty))
    if next_step(blind).kind is DecisionKind.ROLL_BACK:
        assert next_step(without_sources(looked)).kind is DecisionKind.ROLL_BACK


@settings(max_examples=50)
@given(looks())
def test_a_decision_with_custom_gates_is_taken_again_from_its_record(looked):
    content = snapshot_to_bytes(looked)
    assert snapshot_from_bytes(content) == looked
    decision, again = next_step(looked), decide_again(content)
    assert again.decision == decision_to_wire(decision)
    assert again.state == state_to_wire(decision.state)


def test_that_nothing_is_guaranteed_is_said_wherever_a_custom_gate_is_shown():
    plan = canary_plan(sources=(CPU, BACK))
    assert [one["guarantee"] for one in plan_report(plan, None)["sources"]] == ["none", "none"]
    lines = [line for line in describe_forecast(plan, None).splitlines() if "cpu" in line]
    assert lines == [
        "custom    cpu (guarantee: none): at most 0.8 for 30s, else pauses; asks http://127.0.0.1:9090 every 10s",
        "custom    cpu (guarantee: none): at most 0.8 for 30s, else rolls back; asks http://127.0.0.1:9090 every 10s",
    ]
    wire = decision_to_wire(next_step(at_step(CPU, readings=(reading(CPU),))))
    assert [(one["gate"], one["verdict"], one["guarantee"]) for one in wire["sources"]] == [("cpu", "PASS", "none")]


def test_the_status_shows_custom_gates_with_what_they_are_worth():
    ledger = MemoryLedger(clock=VirtualClock())
    lease = ledger.acquire_lease(ROUTE, "controller-1", seconds=10.0)
    decision = next_step(at_step(CPU, readings=(reading(CPU, seconds=10.0),)))
    ledger.journal(
        JournalEntry(
            route=ROUTE,
            fence=Fence(term=lease.term, seq=1),
            at=T0,
            kind=decision.kind.value,
            code=decision.code,
            reason=decision.reason,
            actor=decision.actor,
            state=state_to_wire(decision.state),
            decision=decision_to_wire(decision),
        ),
        lease,
    )
    status = status_wire(ledger, ROUTE, None, now=T0)
    assert [(one["gate"], one["guarantee"]) for one in status["sources"]] == [("cpu", "none")]
    shown = "custom     cpu (guarantee: none): INCONCLUSIVE - 0.5, asked for at most 0.8: kept for 10s of 30s"
    assert shown in describe_status(status)


def test_a_simulation_asks_nobody_outside():
    assert exposing(canary_plan(sources=(CPU,))).sources == ()
