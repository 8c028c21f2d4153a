"""Going back to a release of former parts: directly when every part has served here, else only through its gates."""

from __future__ import annotations

import pytest

from fairway.rollout.next_step import next_step
from fairway.rollout.requests import AnswerKind, Verb
from fairway.rollout.values import Decision, Phase, ReleaseFacts, RouteState, Strategy
from fairway.testing.rollout_cases import NEXT, OLDEST, STABLE, ready_arm, request, rollout_state, route_state, snapshot

DERIVED = NEXT


def decide(state: RouteState, facts: ReleaseFacts | None) -> Decision:
    known = {} if facts is None else {DERIVED.release: facts}
    wanted = request(Verb.ROLLBACK, reason="refunds", to=DERIVED.release, release=DERIVED.release)
    return next_step(snapshot(state, requests=(wanted,), releases=known, arms=(ready_arm(STABLE),)))


def settled(**changes: object) -> RouteState:
    return route_state(None, stable=STABLE, history=(OLDEST,), **changes)


def test_parts_that_have_all_served_here_come_back_directly():
    decision = decide(settled(), ReleaseFacts(arm=DERIVED, never_stable=()))
    assert (decision.answers[0].kind, decision.code) == (AnswerKind.APPLIED, "rollback_requested")
    rollout = decision.state.rollout
    assert rollout is not None
    assert (rollout.candidate, rollout.phase, rollout.going_back) == (DERIVED, Phase.PREPARING, True)
    assert rollout.plan.strategy is Strategy.DIRECT


@pytest.mark.parametrize(
    ("facts", "code"),
    [
        (None, "never_stable"),
        (ReleaseFacts(arm=DERIVED), "never_stable"),
        (ReleaseFacts(arm=DERIVED, never_stable=("prompts",)), "never_stable"),
        (ReleaseFacts(arm=DERIVED, never_stable=(), refusal="it lacks evidence"), "release_refused"),
    ],
)
def test_a_part_that_never_served_or_is_not_known_or_not_proven_does_not(facts: ReleaseFacts | None, code: str):
    decision = decide(settled(), facts)
    assert (decision.answers[0].kind, decision.answers[0].code) == (AnswerKind.REFUSED, code)
    assert decision.state.rollout is None


def test_one_that_was_rolled_back_here_stays_blocked():
    decision = decide(settled(blocked=(DERIVED.release,)), ReleaseFacts(arm=DERIVED, never_stable=()))
    assert decision.answers[0].code == "blocked"


def test_a_release_that_was_stable_itself_needs_no_facts():
    state = settled()
    wanted = request(Verb.ROLLBACK, to=OLDEST.release)
    decision = next_step(snapshot(state, requests=(wanted,), releases={}, arms=(ready_arm(STABLE),)))
    assert decision.answers[0].kind is AnswerKind.APPLIED


def test_a_live_rollout_is_aborted_first():
    live = route_state(rollout_state(Phase.STEPPING), history=(OLDEST,))
    decision = decide(live, ReleaseFacts(arm=DERIVED, never_stable=()))
    assert decision.answers[0].code == "rollout_live"
