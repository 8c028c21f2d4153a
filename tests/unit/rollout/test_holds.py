"""Holds are a person's own: nobody takes another's away without the role for it, whatever they hold themselves."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairway.rollout.desired import active_holds
from fairway.rollout.next_step import next_step
from fairway.rollout.people import People, Role
from fairway.rollout.requests import AnswerKind, HoldKind, Verb
from fairway.rollout.values import Hold, Phase, RouteState
from fairway.rollout.wire import state_from_wire, state_to_wire
from fairway.testing.rollout_cases import T0, measured, request, rollout_state, route_state, snapshot
from fairway.units import Verdict

PEOPLE = People(roles={Role.RELEASE_MANAGER: ("grace",), Role.OPERATOR: ("olga",), Role.DEVELOPER: ("ada", "ken")})
NAMES = ("grace", "olga", "ada", "ken")
GRACE = Hold(kind=HoldKind.NO_ADVANCE, actor="grace", reason="legal says no")
ADA = Hold(kind=HoldKind.NO_ADVANCE, actor="ada", reason="mine")


def told(state: RouteState, *requests):
    return next_step(snapshot(state, requests=requests, people=PEOPLE))


def held(**changes) -> RouteState:
    return route_state(rollout_state(Phase.STEPPING), **changes)


def test_a_hold_beside_anothers_does_not_end_it_nor_does_its_release():
    after = told(held(hold=GRACE), request(Verb.HOLD, actor="ada", reason="mine", kind="no-advance")).state
    assert [hold.actor for hold in active_holds(after, T0)] == ["grace", "ada"]
    released = told(after, request(Verb.RELEASE_HOLD, actor="ada"))
    assert released.answers[0].kind is AnswerKind.APPLIED
    assert active_holds(released.state, T0) == (GRACE,)
    again = told(released.state, request(Verb.RELEASE_HOLD, actor="ada"))
    assert again.answers[0].code == "role_missing"
    decision = next_step(snapshot(released.state, people=PEOPLE, measured=measured(Verdict.PASS)))
    assert (decision.code, decision.reason) == ("held", "grace holds: legal says no")


def test_who_has_the_role_says_whose_hold_ends_when_there_are_several():
    state = held(hold=GRACE, holds_beside=(ADA,))
    assert told(state, request(Verb.RELEASE_HOLD, actor="olga")).answers[0].code == "whose_hold"
    assert told(state, request(Verb.RELEASE_HOLD, actor="olga", of="ken")).answers[0].code == "no_hold"
    ended = told(state, request(Verb.RELEASE_HOLD, actor="olga", of="grace", reason="she is away"))
    assert active_holds(ended.state, T0) == (ADA,)
    assert ended.reason == "olga released the hold of grace: she is away"


def test_a_new_hold_of_ones_own_takes_the_place_of_the_last():
    after = told(held(hold=ADA), request(Verb.HOLD, actor="Ada", reason="longer", kind="no-advance")).state
    assert [hold.reason for hold in active_holds(after, T0)] == ["longer"]


@pytest.mark.parametrize("verb", [Verb.PROMOTE, Verb.SKIP])
def test_nobody_goes_past_any_hold_of_another(verb: Verb):
    own = Hold(kind=HoldKind.NO_ADVANCE, actor="grace", reason="mine")
    state = held(hold=own, holds_beside=(ADA,))
    answer = told(state, request(verb, actor="grace", reason="go on")).answers[0]
    assert (answer.code, answer.message) == ("held", "ada holds the route: mine")


def test_holds_beside_others_survive_the_wire():
    state = held(hold=GRACE, holds_beside=(ADA,))
    assert state_from_wire(json.loads(json.dumps(state_to_wire(state)))) == state


moves = st.lists(
    st.tuples(
        st.sampled_from(NAMES),
        st.sampled_from(["hold", "freeze", "release", "release_of"]),
        st.sampled_from(NAMES),
    ),
    max_size=12,
)


@settings(max_examples=200, deadline=None)
@given(moves)
def test_only_the_holder_or_somebody_with_the_role_ends_a_hold(said):
    state = held()
    for actor, what, whose in said:
        args = {"kind": "no-advance"} if what == "hold" else {"kind": "freeze"}
        if what == "freeze":
            args["until"] = (T0 + timedelta(hours=1)).isoformat()
        verb = Verb.HOLD if what in ("hold", "freeze") else Verb.RELEASE_HOLD
        args = args if verb is Verb.HOLD else {"of": whose if what == "release_of" else None}
        before = {hold.actor for hold in active_holds(state, T0)}
        state = told(state, request(verb, actor=actor, reason="x", **args)).state
        after = {hold.actor for hold in active_holds(state, T0)}
        assert len(after) == len(active_holds(state, T0)), "one a person"
        gone = before - after
        assert gone <= {actor} or actor in ("grace", "olga")
        assert len(gone) <= 1
