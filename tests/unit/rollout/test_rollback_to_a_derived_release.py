"""Going back to a release of former parts: without steps when every part has served here, never without proof."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from fairway.rollout.deciding import NOTHING_MEASURED, Decision, Measured, ReleaseFacts
from fairway.rollout.mixes import MixStanding, standing_of
from fairway.rollout.next_step import next_step
from fairway.rollout.people import Quorum
from fairway.rollout.requests import AnswerKind, HoldKind, Verb
from fairway.rollout.values import Hold, Phase, Plan, RouteState, Strategy
from fairway.targets.port import ObservedArm
from fairway.testing.rollout_cases import (
    CANDIDATE,
    GATES,
    NEXT,
    OLDEST,
    STABLE,
    canary_plan,
    finding,
    ready_arm,
    request,
    rollout_state,
    route_state,
    snapshot,
)
from fairway.units import Verdict

DERIVED = NEXT
MIX = replace(DERIVED, unverified=True)


def decide(state: RouteState, facts: ReleaseFacts | None) -> Decision:
    known = {} if facts is None else {DERIVED.release: facts}
    wanted = request(Verb.ROLLBACK, reason="refunds", to=DERIVED.release, release=DERIVED.release)
    return next_step(snapshot(state, requests=(wanted,), releases=known, arms=(ready_arm(STABLE),)))


def settled(**changes: object) -> RouteState:
    return route_state(None, stable=STABLE, history=(OLDEST,), **changes)


def test_parts_that_have_all_served_here_come_back_without_steps_and_prove_their_mix_in_a_soak():
    decision = decide(settled(), ReleaseFacts(arm=DERIVED, never_stable=()))
    assert (decision.answers[0].kind, decision.code) == (AnswerKind.APPLIED, "rollback_requested")
    rollout = decision.state.rollout
    assert rollout is not None
    assert (rollout.candidate, rollout.phase, rollout.going_back) == (MIX, Phase.PREPARING, True)
    assert (rollout.plan.strategy, rollout.plan.steps) == (Strategy.DIRECT, ())
    own = canary_plan()
    assert rollout.plan.soak == own.soak
    assert [(gate.name, gate.must_pass) for gate in rollout.plan.soak_gates] == [("success", True)]


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


def test_a_release_that_was_stable_itself_needs_no_facts_no_approval_and_no_soak():
    wanted = request(Verb.ROLLBACK, to=OLDEST.release)
    arms = (ready_arm(STABLE), ready_arm(OLDEST))
    decision = next_step(snapshot(settled(), requests=(wanted,), releases={}, arms=arms, plan=FIRST))
    assert decision.answers[0].kind is AnswerKind.APPLIED
    assert followed(decision.state, arms)[-1] == "done"


def test_a_live_rollout_is_aborted_first():
    live = route_state(rollout_state(Phase.STEPPING), history=(OLDEST,))
    decision = decide(live, ReleaseFacts(arm=DERIVED, never_stable=()))
    assert decision.answers[0].code == "rollout_live"


# -- the mix itself ----------------------------------------------------------------------------------------------------

BOTH = (ready_arm(STABLE), ready_arm(DERIVED))
FIRST = canary_plan(approval=True, quorum=Quorum(count=2))
LATER = replace(
    canary_plan(quorum=Quorum(count=2)), steps=tuple(replace(s, approval=True) for s in canary_plan().steps)
)
PROVED = Measured(findings=(finding(GATES[2], Verdict.PASS),), mature_seconds=30.0)


def facts_with(plan: Plan | None = None) -> ReleaseFacts:
    return ReleaseFacts(arm=DERIVED, never_stable=(), plan=plan, authors=("ada",))


def followed(state: RouteState, arms: tuple[ObservedArm, ...] = BOTH, seen: Measured = NOTHING_MEASURED) -> list[str]:
    """Reason codes until nothing changes any more."""
    codes: list[str] = []
    for _ in range(6):
        decision = next_step(snapshot(state, arms=arms, measured=seen))
        codes.append(decision.code)
        if decision.state == state:
            break
        state = decision.state
    return [code for code in codes if code != "settled"]


def soaked(**changes: Any) -> RouteState:
    """A mix that serves everybody and is in its soak."""
    state = decide(settled(), facts_with()).state
    for _ in range(2):
        state = next_step(snapshot(state, arms=BOTH)).state
    assert state.rollout is not None
    assert (state.rollout.phase, state.stable) == (Phase.SOAKING, MIX)
    return replace(state, rollout=replace(state.rollout, **changes))


@pytest.mark.parametrize("plan", [FIRST, LATER], ids=["before the first exposure", "before a later step"])
def test_a_mix_meets_nobody_without_the_quorum_its_policy_asks_for_anywhere(plan: Plan):
    facts = facts_with(plan)
    state = decide(settled(), facts).state
    assert followed(state) == ["approval_needed", "approval_needed"]
    assert state.rollout is not None
    assert state.rollout.authors == ("ada",)

    def approved_by(state: RouteState, actor: str) -> Decision:
        asked = request(Verb.APPROVE, actor=actor, release=DERIVED.release)
        return next_step(snapshot(state, requests=(asked,), releases={DERIVED.release: facts}, arms=BOTH))

    assert approved_by(state, "ada").answers[0].code == "author_approves"
    one = approved_by(state, "grace").state
    assert followed(one)[0] == "approval_needed"
    two = approved_by(one, "ken").state
    assert followed(two)[:2] == ["candidate_ready", "promoted"]


def test_a_hold_keeps_a_mix_from_everybody_and_a_release_that_was_stable_here_comes_back_all_the_same():
    hold = Hold(kind=HoldKind.NO_ADVANCE, actor="grace", reason="launch day")
    mix = decide(settled(), facts_with()).state
    assert followed(replace(mix, hold=hold))[-1] == "held"
    assert mix.rollout is not None
    whole = replace(mix.rollout, candidate=DERIVED, plan=replace(mix.rollout.plan, soak_gates=()))
    assert followed(replace(mix, hold=hold, rollout=whole))[0] == "candidate_ready"


def test_a_mix_soaks_until_it_has_proved_itself_and_goes_back_when_it_fails():
    state = soaked()
    assert followed(state)[-1] == "soaking", "unknown is never a pass"
    assert followed(state, seen=replace(PROVED, mature_seconds=1.0))[-1] == "soaking"
    assert followed(state, seen=PROVED) == ["done"]
    failed = next_step(snapshot(state, arms=BOTH, measured=Measured(findings=(finding(GATES[2], Verdict.FAIL),))))
    assert (failed.code, failed.state.stable, failed.state.history) == ("soak_failed", STABLE, (OLDEST,))


def test_a_person_keeps_the_soak_of_a_mix_from_its_end():
    assert followed(soaked(paused="grace paused"), seen=PROVED)[-1] == "paused"


def test_what_a_mix_would_return_to_runs_as_long_as_it_soaks():
    state = soaked()
    late = state.warm[0].until + timedelta(seconds=1)
    served = next_step(snapshot(state, arms=BOTH, now=late)).desired
    assert {arm.spec.release_digest for arm in served.arms} == {DERIVED.release, STABLE.release}


def test_what_a_mix_replaced_is_blocked_also_when_the_next_release_ends_its_soak():
    asked = request(Verb.START, release=CANDIDATE.release)
    facts = {CANDIDATE.release: ReleaseFacts(arm=CANDIDATE)}
    started = next_step(snapshot(soaked(), requests=(asked,), releases=facts, arms=BOTH, measured=PROVED))
    assert (started.code, started.state.blocked) == ("started", (STABLE.release,))


# -- unverified until it has served as a whole -------------------------------------------------------------------------


def test_a_mix_is_unverified_from_the_start_until_its_soak_has_proved_it():
    state = soaked()
    assert state.stable is not None
    assert state.stable.unverified
    done = next_step(snapshot(state, arms=BOTH, measured=PROVED)).state
    assert done.rollout is not None
    assert (done.rollout.phase, done.stable, done.rollout.candidate) == (Phase.DONE, DERIVED, DERIVED)


def test_a_soak_that_a_person_ended_verifies_nothing():
    asked = request(Verb.SKIP, actor="grace", reason="the shop opens")
    ended = next_step(snapshot(soaked(), requests=(asked,), arms=BOTH)).state
    assert ended.rollout is not None
    assert (ended.rollout.phase, ended.stable) == (Phase.DONE, MIX)


def test_a_mix_whose_policy_has_no_gate_for_it_stays_unverified_and_is_held_like_any_other():
    nothing = replace(canary_plan(), soak_gates=(), soak=0.0)
    state = decide(settled(), facts_with(nothing)).state
    hold = Hold(kind=HoldKind.NO_ADVANCE, actor="grace", reason="launch day")
    assert followed(replace(state, hold=hold))[-1] == "held"
    for _ in range(4):
        state = next_step(snapshot(state, arms=BOTH)).state
    assert state.rollout is not None
    assert (state.rollout.phase, state.stable) == (Phase.DONE, MIX)


def test_a_release_that_was_stable_itself_is_never_marked():
    wanted = request(Verb.ROLLBACK, to=OLDEST.release)
    arms = (ready_arm(STABLE), ready_arm(OLDEST))
    state = next_step(snapshot(settled(), requests=(wanted,), arms=arms)).state
    assert state.rollout is not None
    assert not state.rollout.candidate.unverified


EXPIRES = replace(canary_plan(), mix_expires=3600.0)


def overdue(seconds: float, *, back: bool = False, seen: Measured = NOTHING_MEASURED, **changes: Any) -> Decision:
    plan = replace(EXPIRES, mix_goes_back=back)
    state = decide(settled(), facts_with(plan)).state
    for _ in range(2):
        state = next_step(snapshot(state, arms=BOTH)).state
    assert state.rollout is not None
    state = replace(state, rollout=replace(state.rollout, **changes))
    assert state.rollout is not None
    later = state.rollout.phase_at + timedelta(seconds=seconds)
    return next_step(snapshot(state, arms=BOTH, now=later, measured=seen))


def test_a_mix_that_nobody_verified_in_time_waits_for_a_person_once():
    assert overdue(3600).code == "soaking"
    decision = overdue(3601)
    assert (decision.code, decision.state.stable) == ("mix_unverified", MIX)
    assert "success has not passed" in decision.reason
    again = overdue(3601, paused="grace paused")
    assert (again.code, again.state.rollout and again.state.rollout.paused) == ("soaking", "grace paused")


def test_what_is_known_of_a_mix_is_told_of_its_release():
    assert standing_of(settled(), DERIVED.release) is MixStanding.NEVER_SERVED
    soaking = soaked()
    assert standing_of(soaking, DERIVED.release) is MixStanding.UNVERIFIED
    assert standing_of(decide(settled(), facts_with()).state, DERIVED.release) is MixStanding.UNVERIFIED
    done = next_step(snapshot(soaking, arms=BOTH, measured=PROVED)).state
    assert standing_of(done, DERIVED.release) is MixStanding.VERIFIED
    left = replace(done, stable=STABLE, history=(DERIVED,), rollout=None)
    assert standing_of(left, DERIVED.release) is MixStanding.VERIFIED
    assert standing_of(replace(left, history=(MIX,)), DERIVED.release) is MixStanding.UNVERIFIED
    failed = next_step(snapshot(soaking, arms=BOTH, measured=Measured(findings=(finding(GATES[2], Verdict.FAIL),))))
    assert standing_of(failed.state, DERIVED.release) is MixStanding.UNVERIFIED


def test_a_policy_may_take_an_unverified_mix_back_also_while_somebody_paused_it():
    for paused in ("", "grace paused"):
        decision = overdue(3601, back=True, paused=paused)
        assert (decision.code, decision.state.stable) == ("mix_unverified", STABLE)
        assert decision.state.rollout is not None
        assert decision.state.rollout.phase is Phase.ROLLING_BACK


def test_what_is_proved_in_time_or_no_mix_is_never_overdue():
    assert overdue(3600, seen=PROVED).code == "done"
    assert overdue(3601, candidate=DERIVED).code == "soaking"
