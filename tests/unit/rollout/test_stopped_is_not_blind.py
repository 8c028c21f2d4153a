"""What is paused or still starting is judged all the same; what is refused changes nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fairway.rollout.deciding import Decision, DecisionKind, Measured, ReleaseFacts
from fairway.rollout.next_step import next_step
from fairway.rollout.people import People, Role
from fairway.rollout.requests import AnswerKind, Verb
from fairway.rollout.values import Phase, RolloutState, Scaling, Strategy
from fairway.targets.port import InstanceState
from fairway.testing.rollout_cases import (
    CANDIDATE,
    GATES,
    NEXT,
    STABLE,
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
from fairway.units import Verdict
from fairway.verdict.values import Alarm, AlarmAction

GRAVE = Alarm(name="error_rate", action=AlarmAction.ROLL_BACK, reason="90 of 100 failed")
MILD = Alarm(name="error_rate", action=AlarmAction.PAUSE, reason="stable fails too")
SHARED = replace(measured(), findings=(finding(GATES[2], Verdict.FAIL, stable_fails_too=True),), mature_seconds=5.0)
CRASHED = (ready_arm(STABLE), ready_arm(CANDIDATE, state=InstanceState.CRASH_LOOP))
ALONE = replace(finding(GATES[2], Verdict.FAIL), worse_than_stable=False)


def soaking(found: Measured, **changes: object) -> Decision:
    state = route_state(rollout_state(Phase.SOAKING, paused="both suffer", **changes))  # type: ignore[arg-type]
    return next_step(snapshot(state, measured=found))


def test_a_soak_that_is_paused_for_an_outage_still_goes_back() -> None:
    assert soaking(SHARED).code == "shared_cause"
    assert soaking(replace(SHARED, alarms=(GRAVE,))).code == "trigger_fired"
    crashed = snapshot(route_state(rollout_state(Phase.SOAKING, paused="both suffer")), measured=SHARED, arms=CRASHED)
    assert next_step(crashed).code == "candidate_crashed"
    failing = replace(SHARED, findings=(*SHARED.findings, finding(GATES[0], Verdict.FAIL)))
    assert soaking(failing).code == "soak_failed"


def test_a_soak_that_is_paused_for_an_alarm_still_goes_back() -> None:
    found = replace(measured(), alarms=(MILD,), mature_seconds=1000.0)
    assert soaking(found).kind is DecisionKind.WAIT
    state = route_state(rollout_state(Phase.SOAKING, paused="an alarm"))
    assert next_step(snapshot(state, measured=found, arms=CRASHED)).code == "candidate_crashed"


def test_a_candidate_that_will_not_serve_while_stable_does_is_no_outage() -> None:
    found = replace(measured(Verdict.INCONCLUSIVE), shared_cause="stable's failures jumped")
    state = route_state(rollout_state(Phase.STEPPING, paused="both suffer"))
    assert next_step(snapshot(state, measured=found)).code == "shared_cause"
    assert next_step(snapshot(state, measured=found, arms=CRASHED)).code == "candidate_crashed"
    both = tuple(ready_arm(ref, state=InstanceState.CRASH_LOOP) for ref in (STABLE, CANDIDATE))
    assert next_step(snapshot(state, measured=found, arms=both)).code == "shared_cause"


ROLLING = plan_for(Strategy.ROLLING)
ALL_READY = (ready_arm(STABLE, count=3), ready_arm(CANDIDATE, count=3))


def starting(found: Measured, *, phase: Phase, **changes: object) -> Decision:
    last = len(ROLLING.steps) - 1
    rollout = rollout_state(
        phase, step=1 if phase is Phase.STEPPING else last, plan=ROLLING, candidate=replace(CANDIDATE, replicas=3)
    )
    rollout = replace(rollout, scaling=Scaling.STARTING, step_from=None, counted_from=0.0)
    rollout = replace(rollout, **changes)  # type: ignore[arg-type]
    return next_step(snapshot(route_state(rollout), measured=found, arms=ALL_READY))


@pytest.mark.parametrize("phase", [Phase.STEPPING, Phase.PROMOTING])
@pytest.mark.parametrize(
    "third",
    [ALONE, finding(GATES[2], Verdict.NO_DATA), finding(GATES[2], Verdict.ERROR)],
    ids=["a broken limit", "no data", "a broken instrument"],
)
def test_while_instances_start_a_broken_limit_or_a_blind_gate_lets_nobody_further(phase: Phase, third: object) -> None:
    passed = measured(Verdict.PASS)
    assert starting(passed, phase=phase).code == "instances_ready"
    found = replace(passed, findings=(*passed.findings[:2], third))
    assert starting(found, phase=phase).kind is DecisionKind.WAIT


def test_what_was_open_when_all_traffic_had_moved_waits_for_a_person_in_the_soak() -> None:
    plan = canary_plan()
    rollout = rollout_state(Phase.PROMOTING, step=len(plan.steps) - 1, plan=plan, counted_from=0.0)
    found = replace(measured(Verdict.PASS), findings=(*measured(Verdict.PASS).findings[:2], ALONE))
    after = next_step(snapshot(route_state(rollout), measured=found))
    assert after.code == "promoted"
    assert "success failed" in promoted(after).paused
    assert not promoted(next_step(snapshot(route_state(rollout), measured=measured(Verdict.PASS)))).paused


def promoted(decision: Decision) -> RolloutState:
    assert decision.state.rollout is not None
    return decision.state.rollout


LOOSE = ReleaseFacts(arm=NEXT, authors=("ada",), plan=canary_plan(50_000), compared=True, stable_plan=canary_plan())
REFUSED = {
    "stable_unknown": (ReleaseFacts(arm=NEXT, authors=("ada",), plan=canary_plan(), unknown="not here"), {}, ""),
    "reason_needed": (ReleaseFacts(arm=NEXT, authors=("ada",), plan=canary_plan()), {"override": True}, ""),
    "no_steps": (ReleaseFacts(arm=NEXT, authors=("ada",), plan=canary_plan(steps=())), {}, ""),
    "author_loosens": (LOOSE, {"override": True}, "hurry"),
}


@pytest.mark.parametrize("code", REFUSED)
@pytest.mark.parametrize("phase", [Phase.SOAKING, Phase.STEPPING])
def test_a_start_that_is_refused_ends_nothing(code: str, phase: Phase) -> None:
    facts, args, reason = REFUSED[code]
    before = route_state(rollout_state(phase))
    if phase is Phase.STEPPING:
        args = {**args, "supersede": True}
    asked = request(Verb.START, actor="ada", release=NEXT.release, reason=reason, **args)
    people = People(roles={Role.ADMIN: ("ada", "grace")})
    seen = measured(Verdict.PASS, seconds=3.0)
    quiet = snapshot(before, measured=seen, people=people, releases={NEXT.release: facts})
    decision = next_step(replace(quiet, requests=(asked,)))
    (answer,) = decision.answers
    assert (answer.kind, answer.code) == (AnswerKind.REFUSED, code)
    assert decision.state.rollout == next_step(quiet).state.rollout
