"""A rollback that proves bad itself: the next one takes its place, and nobody is sent through what was left."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from fairway.rollout.deciding import Decision
from fairway.rollout.next_step import next_step
from fairway.rollout.requests import AnswerKind, Verb
from fairway.rollout.values import Phase, RolloutState, RouteState, Scaling, Strategy, Warm
from fairway.testing.rollout_cases import (
    CANDIDATE,
    NEXT,
    OLDEST,
    STABLE,
    T0,
    canary_plan,
    measured,
    ready_arm,
    request,
    rollout_state,
    route_state,
    snapshot,
)
from fairway.traffic.port import RouterObserved
from fairway.traffic.table import Role
from fairway.units import Verdict

MIX, LEFT, OLDER = CANDIDATE, STABLE, OLDEST
"""A mix of former parts, the bad release it was to replace, and what was stable before that."""


def going_back(phase: Phase, **changes: object) -> RouteState:
    plan = canary_plan(strategy=Strategy.DIRECT)
    from_left = rollout_state(phase, candidate=MIX, stable=LEFT, plan=plan, going_back=True)
    promoted = phase is Phase.SOAKING
    state = route_state(
        from_left,
        stable=MIX if promoted else LEFT,
        history=(OLDER, LEFT) if promoted else (OLDER,),
        warm=(Warm(arm=LEFT, until=T0),) if promoted else (),
    )
    return route_state(
        state.rollout, **{"stable": state.stable, "history": state.history, "warm": state.warm} | changes
    )


def back(state: RouteState, verb: Verb = Verb.ROLLBACK, **args: object) -> Decision:
    bad = measured(Verdict.FAIL)
    asked = request(verb, reason="the mix is bad too", **args)
    arms = (ready_arm(LEFT), ready_arm(MIX))
    return next_step(snapshot(state, requests=(asked,), measured=bad, arms=arms))


def test_from_the_soak_of_a_mix_that_is_bad_a_person_goes_to_another_former_stable_and_meanwhile_stays_where_it_is():
    decision = back(going_back(Phase.SOAKING), to=OLDER.release)
    rollout = decision.state.rollout
    assert (decision.answers[0].kind, decision.code) == (AnswerKind.APPLIED, "rollback_requested")
    assert (rollout.candidate, rollout.stable, rollout.phase) == (OLDER, MIX, Phase.PREPARING)
    assert rollout.going_back
    serves = {arm.spec.role: arm.spec.release_digest for arm in decision.desired.arms}
    assert serves[Role.STABLE] == MIX.release  # not by way of the bad release that was left
    assert decision.desired.split == 0
    assert decision.state.blocked == (LEFT.release,)


@pytest.mark.parametrize("phase", [Phase.PREPARING, Phase.PROMOTING], ids=str)
def test_before_the_mix_is_stable_the_other_rollback_takes_its_place_and_blocks_nothing_yet(phase):
    decision = back(going_back(phase), to=OLDER.release)
    rollout = decision.state.rollout
    assert (rollout.candidate, rollout.stable, rollout.phase) == (OLDER, LEFT, Phase.PREPARING)
    assert decision.state.blocked == ()
    assert MIX.release not in {arm.spec.release_digest for arm in decision.desired.arms}


@pytest.mark.parametrize("phase", [Phase.PREPARING, Phase.PROMOTING, Phase.SOAKING], ids=str)
def test_the_release_that_was_left_is_returned_to_only_when_a_person_names_it(phase):
    again = back(going_back(phase))
    assert (again.answers[0].kind, again.answers[0].code) == (AnswerKind.REFUSED, "already_rolling_back")
    assert f"abort returns to {LEFT.version}" in again.answers[0].message
    named = back(going_back(phase), to=LEFT.release)
    assert named.state.rollout.phase is Phase.ROLLING_BACK
    assert named.state.stable == LEFT
    aborted = back(going_back(phase), Verb.ABORT)
    assert aborted.state.rollout.phase is Phase.ROLLING_BACK


@pytest.mark.parametrize("phase", [Phase.PREPARING, Phase.PROMOTING, Phase.SOAKING], ids=str)
def test_what_is_blocked_or_never_served_replaces_nothing(phase):
    state = going_back(phase, blocked=(OLDER.release,))
    refused = back(state, to=OLDER.release)
    assert (refused.answers[0].code, refused.state.rollout) == ("blocked", state.rollout)
    never = back(going_back(phase), to=NEXT.release)
    assert (never.answers[0].code, never.state.rollout) == ("never_stable", going_back(phase).rollout)
    same = back(going_back(phase), to=MIX.release)
    assert same.answers[0].code == "already_rolling_back"


def test_while_traffic_is_on_its_way_back_another_rollback_waits_for_its_end():
    decision = back(going_back(Phase.ROLLING_BACK), to=OLDER.release)
    assert decision.answers == ()
    assert decision.state.rollout.phase in (Phase.ROLLING_BACK, Phase.ROLLED_BACK)


# -- after something went back -----------------------------------------------------------------------------------------


def ended(rollout: RolloutState, by: Verb | None) -> RouteState:
    """What comes of a rollout that a person ends, or a gateway that tripped, once every gateway has confirmed it."""
    asked = () if by is None else (request(by, reason="wrong answers"),)
    tripped = (CANDIDATE.release,) if by is None else ()
    begins = snapshot(route_state(rollout), requests=asked)
    begins = replace(begins, router=replace(begins.router, tripped=tripped))
    state = next_step(begins).state
    for _ in range(3):
        state = next_step(snapshot(state, router=RouterObserved(confirmed=state.changed_by, gateways=1))).state
    assert (state.rollout.phase, state.stable) == (Phase.ROLLED_BACK, STABLE)
    return state


def five_minutes_later(state: RouteState) -> Decision:
    asked = request(Verb.ROLLBACK, actor="grace", reason="1.0.0 is bad too")
    return next_step(replace(snapshot(state, requests=(asked,)), now=T0 + timedelta(minutes=5)))


NEVER_STABLE = [
    (rollout_state(Phase.PREPARING), None),
    (rollout_state(Phase.STEPPING), None),
    (rollout_state(Phase.PROMOTING, counted_from=0.0), None),
]


@pytest.mark.parametrize(("rollout", "by"), NEVER_STABLE, ids=[f"{row[0].phase} by {row[1]}" for row in NEVER_STABLE])
def test_a_canary_that_went_back_by_itself_keeps_nobody_from_taking_production_back(rollout, by):
    decision = five_minutes_later(ended(rollout, by))
    assert decision.answers[0].kind is AnswerKind.APPLIED
    assert decision.state.rollout.candidate == OLDEST


WENT_BACK = [
    (rollout_state(Phase.SOAKING), None, "production"),
    (rollout_state(Phase.SOAKING), Verb.ROLLBACK, "production"),
    (rollout_state(Phase.STEPPING), Verb.ROLLBACK, "the users of 1.1.0"),
    (rollout_state(Phase.STEPPING, counted_from=None), Verb.ABORT, "the users of 1.1.0"),
    (rollout_state(Phase.PROMOTING), Verb.ABORT, "the users of 1.1.0"),
    (rollout_state(Phase.PREPARING), Verb.ROLLBACK, "the rollout of 1.1.0"),
    (rollout_state(Phase.STEPPING, counted_from=None, scaling=Scaling.STARTING), Verb.ABORT, "the rollout of 1.1.0"),
]


@pytest.mark.parametrize(("rollout", "by", "what"), WENT_BACK, ids=[f"{row[0].phase} by {row[1]}" for row in WENT_BACK])
def test_what_went_back_a_moment_ago_is_told_as_it_was_and_is_not_asked_for_twice(rollout, by, what):
    (answer,) = five_minutes_later(ended(rollout, by)).answers
    assert (answer.kind, answer.code) == (AnswerKind.REFUSED, "just_rolled_back")
    assert answer.message == f"{what} went back to 1.0.0 (done 5m ago); 0.9.0 would be next: say --to"
