"""A resume in spite of an alarm is an override: with a reason, on record, and for as long as that alarm lasts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fairway.rollout.deciding import BlocksRead, DecisionKind, Measured
from fairway.rollout.next_step import next_step
from fairway.rollout.people import People, Role
from fairway.rollout.requests import AnswerKind, Verb
from fairway.rollout.values import Phase, RouteState
from fairway.testing.rollout_cases import T0, measured, request, rollout_state, route_state, snapshot
from fairway.units import Verdict
from fairway.verdict.values import Alarm, AlarmAction

PEOPLE = People(roles={Role.RELEASE_MANAGER: ("grace",), Role.OPERATOR: ("olga",)})
READ = BlocksRead(at=T0.timestamp(), upto=T0.timestamp(), count=9)
SPLIT = Alarm(name="sample_ratio", action=AlarmAction.PAUSE, reason="the split does not arrive as told")


def seen(*alarms: Alarm, **changes) -> Measured:
    return replace(measured(Verdict.INCONCLUSIVE), alarms=alarms, read=READ, **changes)


def paused() -> RouteState:
    state = next_step(snapshot(route_state(rollout_state(Phase.STEPPING)), measured=seen(SPLIT))).state
    assert state.rollout is not None
    assert state.rollout.paused
    return state


def resumed(reason: str = "a known bot", **changes):
    asked = request(Verb.RESUME, actor="grace", reason=reason)
    return next_step(snapshot(paused(), measured=seen(SPLIT), requests=(asked,), **changes))


def test_it_needs_a_reason():
    answer = resumed("").answers[0]
    assert (answer.kind, answer.code) == (AnswerKind.REFUSED, "reason_needed")
    assert "sample_ratio" in answer.message


def test_it_is_an_override_on_record_that_is_no_promotion():
    decision = resumed()
    assert decision.state.rollout is not None
    (one,) = decision.state.rollout.overrides
    assert (one.verb, one.actor, one.reason, one.past, one.whole) == (
        "resume",
        "grace",
        "a known bot",
        SPLIT.reason,
        False,
    )
    assert decision.reason == "grace resumed in spite of sample_ratio: a known bot"


def test_it_is_for_those_who_may_overrule_evidence():
    asked = request(Verb.RESUME, actor="olga", reason="go on")
    taken = snapshot(paused(), measured=seen(SPLIT), requests=(asked,), people=PEOPLE)
    assert next_step(taken).answers[0].code == "role_missing"
    calm = next_step(replace(taken, measured=seen()))
    assert calm.answers[0].kind is AnswerKind.APPLIED, "nothing asks any more"
    assert calm.state.rollout is not None
    assert not calm.state.rollout.overrides


def test_the_same_alarm_going_on_does_not_pause_again_and_another_one_does():
    state = resumed().state
    assert next_step(snapshot(state, measured=seen(SPLIT))).kind is DecisionKind.WAIT
    other = replace(SPLIT, name="latency")
    decision = next_step(snapshot(state, measured=seen(SPLIT, other)))
    assert (decision.kind, decision.code) == (DecisionKind.PAUSE, "trigger_paused")


def test_an_alarm_that_ended_and_comes_again_pauses_again():
    ended = next_step(snapshot(resumed().state, measured=seen())).state
    assert ended.rollout is not None
    assert ended.rollout.overlooked == ()
    again = next_step(snapshot(ended, measured=seen(SPLIT)))
    assert (again.kind, again.code) == (DecisionKind.PAUSE, "trigger_paused")


@pytest.mark.parametrize(
    "blind",
    [seen(error="the gateway does not answer"), seen(shared_cause="both fail"), Measured(), replace(seen(), read=None)],
    ids=["error", "outage", "nothing", "not read"],
)
def test_what_could_not_be_looked_at_has_not_ended(blind: Measured):
    state = next_step(snapshot(resumed().state, measured=blind)).state
    assert state.rollout is not None
    assert state.rollout.overlooked == ("sample_ratio",)


def test_resuming_what_a_person_paused_needs_no_reason():
    state = route_state(rollout_state(Phase.STEPPING, paused="ken paused"))
    decision = next_step(snapshot(state, measured=seen(), requests=(request(Verb.RESUME, actor="grace"),)))
    assert decision.answers[0].kind is AnswerKind.APPLIED
