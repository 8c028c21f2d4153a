"""Skip, retry, withdraw, roles and broken glass: what people may do past automation, and what stays on record."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairway.bundle.environment import EnvironmentKind
from fairway.rollout.deciding import DecisionKind
from fairway.rollout.evidence import MirrorPairs, Probed, Smoked, SmokeOutcome
from fairway.rollout.next_step import next_step
from fairway.rollout.people import NOBODY_LISTED, BrokenGlass, People, Role
from fairway.rollout.refusals import INSTEAD
from fairway.rollout.requests import AnswerKind, HoldKind, Verb
from fairway.rollout.roles import MATRIX, Right, right_of, why_not
from fairway.rollout.values import Hold, Phase, Strategy
from fairway.rollout.wire import snapshot_from_bytes, snapshot_to_bytes, state_from_wire, state_to_wire
from fairway.targets.port import InstanceState
from fairway.targets.shadow import shadow_configuration
from fairway.testing.rollout_cases import (
    CANDIDATE,
    NEXT,
    STABLE,
    T0,
    canary_plan,
    measured,
    plan_for,
    ready_arm,
    request,
    rollout_state,
    route_state,
    snapshot,
)
from fairway.traffic.port import RouterObserved
from fairway.units import Verdict
from fairway.verdict.values import Alarm, AlarmAction

PASS, FAIL, OPEN = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE
PEOPLE = People(
    roles={
        Role.RELEASE_MANAGER: ("ada",),
        Role.OPERATOR: ("grace",),
        Role.DEVELOPER: ("ken", "grace"),
        Role.AUDITOR: ("joan",),
    }
)
ROLLED_BACK = rollout_state(Phase.ROLLED_BACK, cause="gate_failed", cause_text="failures failed")
BLOCKED = route_state(ROLLED_BACK, blocked=(CANDIDATE.release,))


def told(state, *asked, **changes):
    return next_step(snapshot(state, requests=asked, **changes))


# -- the matrix --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", EnvironmentKind)
def test_the_matrix_has_a_row_for_every_verb_and_admin_is_in_each(kind):
    assert set(MATRIX[kind]) == set(Right)
    assert all(Role.ADMIN in roles for roles in MATRIX[kind].values())
    assert {verb.value for verb in Verb if verb.value in {right.value for right in Right}} >= {"start", "abort", "skip"}


@pytest.mark.parametrize("right", Right)
def test_production_allows_nobody_what_staging_does_not(right):
    assert MATRIX[EnvironmentKind.PRODUCTION][right] <= MATRIX[EnvironmentKind.STAGING][right]
    assert MATRIX[EnvironmentKind.STAGING][right] <= MATRIX[EnvironmentKind.DEV][right]


@given(st.sampled_from(Right), st.sampled_from(EnvironmentKind), st.sampled_from(["ada", "ken", "joan", "stranger"]))
def test_with_nobody_listed_everybody_has_every_role_and_an_abort_is_never_refused(right, kind, actor):
    assert why_not(actor, right, people=NOBODY_LISTED, kind=kind) == ""
    assert why_not(actor, Right.ABORT, people=PEOPLE, kind=kind) == ""


@pytest.mark.parametrize(
    ("actor", "right", "allowed"),
    [
        ("ada", Right.SKIP, True),
        ("ADA", Right.SKIP, True),
        ("grace", Right.SKIP, False),
        ("grace", Right.RESUME, True),
        ("ken", Right.RESUME, False),
        ("ken", Right.PAUSE, True),
        ("joan", Right.PAUSE, False),
        ("stranger", Right.START, False),
    ],
)
def test_a_right_of_production_is_for(actor, right, allowed):
    assert (why_not(actor, right, people=PEOPLE, kind=EnvironmentKind.PRODUCTION) == "") is allowed


def test_the_refusal_says_who_one_is_and_who_may():
    said = why_not("grace", Right.SKIP, people=PEOPLE, kind=EnvironmentKind.PRODUCTION)
    assert said == "grace is developer and operator; skip in production is for release_manager, admin"
    assert "ken has no role" not in said
    assert why_not("stranger", Right.SKIP, people=PEOPLE, kind=EnvironmentKind.STAGING).startswith(
        "stranger has no role in this project; skip in staging is for "
    )


def test_the_grave_form_of_a_verb_has_a_row_of_its_own():
    assert right_of(request(Verb.PROMOTE, full=True)) is Right.PROMOTE_FULL
    assert right_of(request(Verb.HOLD, kind="freeze")) is Right.FREEZE
    assert right_of(request(Verb.START, release="x", supersede=True)) is Right.SUPERSEDE
    assert right_of(request(Verb.START, release="x", supersede=True, override=True)) is Right.START_PAST
    assert right_of(request(Verb.RESUME), past_alarm=True) is Right.RESUME_PAST
    assert right_of(request(Verb.ROLLBACK)) is Right.ROLLBACK
    assert right_of(request(Verb.ROLLBACK), goes_back=True) is Right.ABORT


OVERRIDING = [
    (Right.PROMOTE, rollout_state(Phase.STEPPING), request(Verb.PROMOTE, actor="ada")),
    (Right.PROMOTE_FULL, rollout_state(Phase.STEPPING), request(Verb.PROMOTE, actor="ada", full=True)),
    (Right.SKIP, rollout_state(Phase.STEPPING), request(Verb.SKIP, actor="ada")),
    (Right.RETRY, ROLLED_BACK, request(Verb.RETRY, actor="ada", release=CANDIDATE.release)),
    (Right.LIFT_BLOCK, ROLLED_BACK, request(Verb.LIFT_BLOCK, actor="ada", release=CANDIDATE.release)),
    (Right.FREEZE, rollout_state(Phase.STEPPING), request(Verb.HOLD, actor="ada", kind="freeze")),
    (Right.START_PAST, None, request(Verb.START, actor="ada", release=NEXT.release, override=True)),
    (Right.RESUME_PAST, rollout_state(Phase.STEPPING, paused="the split"), request(Verb.RESUME, actor="ada")),
]
SPLIT = Alarm(name="sample_ratio", action=AlarmAction.PAUSE, reason="the split does not arrive as told")


@pytest.mark.parametrize(("right", "rollout", "asked"), OVERRIDING, ids=[row[0].value for row in OVERRIDING])
def test_an_override_needs_a_reason_and_a_role(right, rollout, asked):
    assert right_of(asked, past_alarm=True) is right
    state = route_state(rollout, blocked=(CANDIDATE.release,))
    alarming = replace(measured(OPEN), alarms=(SPLIT,))
    assert told(state, asked, people=PEOPLE, measured=alarming).answers[0].code == "reason_needed"
    by_ken = replace(asked, actor="ken", reason="I want to")
    assert told(state, by_ken, people=PEOPLE, measured=alarming).answers[0].code == "role_missing"


# -- broken glass ------------------------------------------------------------------------------------------------------


def test_breaking_the_glass_does_it_loudly_and_owes_a_note():
    state = route_state(rollout_state(Phase.STEPPING))
    asked = request(Verb.SKIP, actor="ken", reason="site is down", break_glass=True)
    broken = told(state, asked, people=PEOPLE, measured=measured(OPEN))
    assert broken.kind is DecisionKind.ADVANCE
    assert broken.reason.startswith("BREAK GLASS: ken skipped step 1 of 4 without its evidence")
    assert "a note is owed: fairway audit note 8" in broken.answers[0].message
    assert broken.state.glass[0].seq == 8
    noted = told(broken.state, request(Verb.NOTE, actor="ken", reason="ticket 12: provider outage"), people=PEOPLE)
    assert noted.code == "noted"
    assert (noted.state.glass[0].note, noted.state.glass[0].noted_by) == ("ticket 12: provider outage", "ken")
    again = told(noted.state, request(Verb.NOTE, actor="ken", reason="more"), people=PEOPLE)
    assert again.answers[0].code == "no_note_owed"


def test_glass_is_not_broken_without_a_reason_nor_recorded_when_it_was_not_needed():
    state = route_state(rollout_state(Phase.STEPPING))
    silent = request(Verb.SKIP, actor="ken", break_glass=True)
    assert told(state, silent, people=PEOPLE).answers[0].code == "reason_needed"
    allowed = request(Verb.SKIP, actor="ada", reason="seen by hand", break_glass=True)
    assert told(state, allowed, people=PEOPLE, measured=measured(OPEN)).state.glass == ()


def test_broken_glass_goes_past_a_role_and_never_past_an_approval_a_failed_gate_or_a_hold():
    asked = request(Verb.SKIP, actor="ken", reason="now", break_glass=True)
    plain = route_state(rollout_state(Phase.STEPPING))
    unapproved = route_state(rollout_state(Phase.STEPPING, plan=canary_plan(approval=True)))
    held = replace(plain, hold=Hold(kind=HoldKind.NO_ADVANCE, actor="grace", reason="launch"))
    assert told(unapproved, asked, people=PEOPLE).answers[0].code == "approval_needed"
    assert told(held, asked, people=PEOPLE).answers[0].code == "held"
    assert told(plain, asked, people=PEOPLE, measured=measured(FAIL)).answers[0].code == "gate_failed"
    approving = request(Verb.APPROVE, actor="ken", reason="now", break_glass=True, release=CANDIDATE.release)
    taken = snapshot(unapproved, requests=(approving,), people=PEOPLE)
    releases = {d: replace(facts, plan=canary_plan(approval=True)) for d, facts in taken.releases.items()}
    assert next_step(replace(taken, releases=releases)).answers[0].code == "not_an_approver"


# -- skip --------------------------------------------------------------------------------------------------------------


def test_skip_leaves_the_step_without_its_evidence_and_says_what_stood_open():
    state = route_state(rollout_state(Phase.STEPPING))
    skipped = told(state, request(Verb.SKIP, reason="seen by hand"), measured=measured(OPEN, PASS, PASS, seconds=30.0))
    assert (skipped.kind, skipped.code) == (DecisionKind.ADVANCE, "step_skipped")
    assert skipped.state.rollout.step == 1
    (override,) = skipped.state.rollout.overrides
    assert (override.verb, override.actor, override.reason) == ("skip", "grace", "seen by hand")
    assert override.past == "failures INCONCLUSIVE; 30s observed"


def test_skip_in_the_soak_ends_it_unless_it_fails():
    state = route_state(rollout_state(Phase.SOAKING))
    skipped = told(state, request(Verb.SKIP, reason="seen by hand"), measured=measured(OPEN))
    assert (skipped.kind, skipped.code) == (DecisionKind.FINISH, "soak_skipped")
    assert (skipped.state.rollout.phase, skipped.state.rollout.cause) == (Phase.DONE, "soak_skipped")
    failing = told(state, request(Verb.SKIP, reason="seen by hand"), measured=measured(FAIL))
    assert failing.answers[0].code == "gate_failed"


@pytest.mark.parametrize("phase", [Phase.PREPARING, Phase.PROMOTING, Phase.ROLLING_BACK, Phase.DONE, Phase.ROLLED_BACK])
def test_there_is_nothing_to_skip_in(phase):
    state = route_state(rollout_state(phase))
    assert told(state, request(Verb.SKIP, reason="x")).answers[0].code == "nothing_to_skip"


@pytest.mark.parametrize("phase", [Phase.PROMOTING, Phase.ROLLING_BACK])
def test_it_is_too_late_to_pause_when_there_is_no_step_left(phase):
    assert told(route_state(rollout_state(phase)), request(Verb.PAUSE)).answers[0].code == "too_late"


def test_a_promotion_by_hand_reads_as_an_override_and_not_as_a_pass():
    state = route_state(rollout_state(Phase.STEPPING, step=1))
    promoted = told(state, request(Verb.PROMOTE, full=True, reason="hotfix"), measured=measured(OPEN))
    assert promoted.reason == "grace promoted to 100% past its gates: hotfix"
    assert promoted.state.rollout.overrides[0].verb == "promote_full"
    assert promoted.state.rollout.overrides[0].past == (
        "failures INCONCLUSIVE, p95 INCONCLUSIVE, 1 other not passed; 16m40s observed"
    )


# -- retry -------------------------------------------------------------------------------------------------------------


def test_retry_begins_again_with_every_gate_anew_for_the_same_users():
    asked = request(Verb.RETRY, release=CANDIDATE.release, reason="the shop was down, not us")
    again = told(BLOCKED, asked)
    rollout = again.state.rollout
    assert (again.kind, again.code) == (DecisionKind.START, "retried")
    assert CANDIDATE.release not in again.state.blocked
    assert rollout.id != ROLLED_BACK.id
    assert (rollout.bucket_salt, rollout.attempt) == (ROLLED_BACK.id, 2)
    assert (rollout.phase, rollout.step, rollout.counted_from) == (Phase.PREPARING, 0, None)
    assert again.desired.split == 0
    third = replace(again.state, rollout=replace(rollout, phase=Phase.ROLLED_BACK))
    more = told(third, replace(asked, id="another-request"))
    assert (more.state.rollout.bucket_salt, more.state.rollout.attempt) == (ROLLED_BACK.id, 3)


NOT_RETRIED = [
    ("another release", BLOCKED, {"release": NEXT.release, "reason": "x"}, "not_rolled_back"),
    ("without a reason", BLOCKED, {"release": CANDIDATE.release}, "reason_needed"),
    ("a live rollout", route_state(rollout_state(Phase.STEPPING)), {"release": CANDIDATE.release}, "rollout_live"),
    ("one that ended well", route_state(rollout_state(Phase.DONE)), {"release": CANDIDATE.release}, "not_rolled_back"),
    ("nothing yet", route_state(), {"release": CANDIDATE.release}, "not_rolled_back"),
]


@pytest.mark.parametrize(
    ("state", "args", "code"), [row[1:] for row in NOT_RETRIED], ids=[row[0] for row in NOT_RETRIED]
)
def test_retry_is_refused_for(state, args, code):
    refused = told(state, request(Verb.RETRY, **args))
    assert refused.answers[0].code == code
    assert refused.state.blocked == state.blocked


def test_a_retry_waits_for_an_approval_of_its_own():
    from fairway.rollout.values import Approval

    plan = canary_plan(approval=True)
    used = Approval(
        actor="grace",
        at=T0,
        release=CANDIDATE.release,
        effective=CANDIDATE.effective,
        policy_digest=plan.policy_digest,
        used_by=ROLLED_BACK.id,
    )
    taken = snapshot(
        replace(BLOCKED, approvals=(used,)),
        requests=(request(Verb.RETRY, release=CANDIDATE.release, reason="the shop was down"),),
    )
    releases = {d: replace(facts, plan=plan) for d, facts in taken.releases.items()}
    again = next_step(replace(taken, releases=releases))
    assert next_step(snapshot(again.state)).code == "approval_needed"


# -- withdraw ----------------------------------------------------------------------------------------------------------

START = replace(request(Verb.START, actor="ken", release=NEXT.release), id="start-1")


def by(actor, target="start-1", **changes):
    return replace(request(Verb.WITHDRAW, actor=actor, request=target), id=f"withdraw-{actor}", **changes)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_request_nobody_has_answered_is_taken_back_and_answered_by_the_same_event(order):
    both = (START, by("ken"))
    decision = told(route_state(), *[both[n] for n in order], people=PEOPLE)
    answers = {answer.request_id: answer for answer in decision.answers}
    assert answers["start-1"].code == "withdrawn"
    assert answers["withdraw-ken"].kind is AnswerKind.APPLIED
    assert decision.state.rollout is None


def test_what_is_answered_already_or_unknown_cannot_be_taken_back():
    assert told(route_state(), by("ken"), people=PEOPLE).answers[0].code == "not_pending"


@pytest.mark.parametrize(("actor", "goes"), [("grace", True), ("ada", True), ("joan", False)])
def test_anothers_request_is_taken_back_only_with_the_role(actor, goes):
    started = replace(START, actor="ada")
    decision = told(route_state(), started, by(actor), people=PEOPLE)
    answers = {answer.request_id: answer for answer in decision.answers}
    assert (answers["start-1"].code == "withdrawn") is goes
    assert (answers[f"withdraw-{actor}"].code == "") is goes
    assert (decision.state.rollout is None) is goes


def test_nobody_takes_back_anothers_abort():
    state = route_state(rollout_state(Phase.STEPPING))
    abort = replace(request(Verb.ABORT, actor="joan"), id="abort-1")
    decision = told(state, abort, by("ada", target="abort-1"), people=PEOPLE)
    assert decision.state.rollout.phase is Phase.ROLLING_BACK
    assert {answer.code for answer in decision.answers} == {"", "not_yours"}


def test_an_abort_that_was_withdrawn_takes_no_start_with_it():
    abort = replace(request(Verb.ABORT, actor="ken"), id="abort-1")
    state = replace(route_state(), rollout=None)
    decision = told(state, replace(START, actor="ada"), abort, by("ken", target="abort-1"), people=PEOPLE)
    assert decision.state.rollout.candidate == NEXT


# -- optimistic check, and what is kept --------------------------------------------------------------------------------


@given(
    st.sampled_from([Verb.PROMOTE, Verb.SKIP, Verb.PAUSE, Verb.ABORT, Verb.HOLD, Verb.WITHDRAW, Verb.RETRY, Verb.NOTE]),
    st.integers(0, 20),
)
@settings(max_examples=100, deadline=None)
def test_a_request_made_at_another_version_changes_nothing(verb, version):
    taken = snapshot(route_state(rollout_state(Phase.STEPPING)), measured=measured(OPEN))
    if version == taken.head.seq:
        return
    asked = request(verb, reason="x", if_version=version, request="start-1", kind="no-advance")
    decision = next_step(replace(taken, requests=(asked,)))
    assert decision.answers[0].code == "moved"
    assert replace(decision.state, code="", table="", changed_by=taken.state.changed_by) == replace(
        taken.state, code="", table=""
    )


def test_roles_overrides_and_glass_survive_the_ledger():
    broken = BrokenGlass(request="r", seq=3, verb="skip", actor="ken", at=T0 - timedelta(hours=1), reason="down")
    state = route_state(rollout_state(Phase.STEPPING), glass=(broken,))
    skipped = told(state, request(Verb.SKIP, actor="ada", reason="seen"), people=PEOPLE, measured=measured(OPEN))
    assert state_from_wire(state_to_wire(skipped.state)) == skipped.state
    taken = snapshot(state, people=PEOPLE, environment_kind=EnvironmentKind.STAGING)
    assert snapshot_from_bytes(snapshot_to_bytes(taken)) == taken


def test_a_hold_is_released_by_its_holder_or_with_the_role():
    hold = Hold(kind=HoldKind.NO_ADVANCE, actor="ken", reason="looking")
    state = route_state(rollout_state(Phase.STEPPING), hold=hold)
    for actor, code in (("ken", ""), ("grace", ""), ("joan", "role_missing")):
        assert told(state, request(Verb.RELEASE_HOLD, actor=actor), people=PEOPLE).answers[0].code == code
    assert (
        told(state, request(Verb.RELEASE_HOLD, actor="grace"), people=PEOPLE).reason == "grace released the hold of ken"
    )


def test_a_hold_that_is_over_before_it_begins_is_refused():
    asked = request(Verb.HOLD, kind="no-advance", reason="x", until=(T0 - timedelta(seconds=1)).isoformat())
    assert told(route_state(), asked).answers[0].code == "bad_hold"


def test_the_router_and_the_stable_of_these_cases_are_the_quiet_ones():
    taken = snapshot(route_state())
    assert taken.router == RouterObserved(confirmed=taken.state.changed_by, gateways=1)
    assert taken.state.stable == STABLE


# -- every verb, in every state ----------------------------------------------------------------------------------------

some_people = st.sampled_from([NOBODY_LISTED, PEOPLE])
anything = st.builds(
    request,
    st.sampled_from(Verb),
    actor=st.sampled_from(["ada", "grace", "ken", "joan", "stranger"]),
    reason=st.sampled_from(["", "because"]),
    if_version=st.sampled_from([None, None, 7, 8]),
    release=st.sampled_from([NEXT.release, CANDIDATE.release, STABLE.release, "sha256:nonsense", ""]),
    full=st.booleans(),
    supersede=st.booleans(),
    break_glass=st.booleans(),
    kind=st.sampled_from(["no-advance", "freeze", "forever"]),
    until=st.sampled_from([None, "2026-01-01T02:00:00+00:00", "2026-01-01T02:00:00", "tomorrow", 7]),
    before=st.sampled_from([None, "first", "100%", "7%", 7]),
    request=st.sampled_from(["", "start-1", "nobody"]),
    event=st.sampled_from([None, 3, "three"]),
    of=st.sampled_from([None, "ada", "grace"]),
)
asked_for = st.lists(anything, max_size=4).map(
    lambda many: tuple(replace(one, id=f"r{n}") for n, one in enumerate(many))
)
states = st.builds(
    route_state,
    st.one_of(st.none(), st.builds(rollout_state, st.sampled_from(Phase), step=st.integers(0, 3))),
    blocked=st.sampled_from([(), (CANDIDATE.release,)]),
    hold=st.sampled_from([None, Hold(kind=HoldKind.FREEZE, actor="ada", reason="x", until=T0 + timedelta(hours=1))]),
    glass=st.sampled_from([(), (BrokenGlass(request="r", seq=3, verb="skip", actor="ken", at=T0, reason="down"),)]),
)


@given(states, asked_for, some_people, st.sampled_from(EnvironmentKind))
@settings(max_examples=500, deadline=None)
def test_every_verb_has_an_answer_in_every_state_and_is_decided_the_same_again(state, asked, people, kind):
    taken = snapshot(state, requests=asked, people=people, environment_kind=kind, measured=measured(OPEN))
    decision = next_step(taken)
    assert next_step(snapshot_from_bytes(snapshot_to_bytes(taken))) == decision
    ids = [answer.request_id for answer in decision.answers]
    assert len(ids) == len(set(ids))
    for answer in decision.answers:
        assert answer.kind is AnswerKind.APPLIED or (answer.code and answer.message)


@given(states, anything, some_people)
@settings(max_examples=500, deadline=None)
def test_what_a_role_forbids_changes_nothing_and_leaves_no_glass_without_a_reason(state, asked, people):
    plain = replace(asked, args={**asked.args, "break_glass": False}, if_version=None)
    decision = next_step(snapshot(state, requests=(plain,), people=people, measured=measured(OPEN)))
    codes = {answer.code for answer in decision.answers}
    if "role_missing" in codes:
        assert decision.state.rollout == state.rollout
        assert (decision.state.hold, decision.state.blocked, decision.state.glass) == (
            state.hold,
            state.blocked,
            state.glass,
        )
    assert all(one.reason for one in decision.state.glass)
    assert len(decision.state.glass) == len(state.glass)


# -- what no override goes past ----------------------------------------------------------------------------------------

GRAVE = Alarm(name="burst", action=AlarmAction.ROLL_BACK, reason="9 of 10 failed")
LOOKED_AT = Alarm(name="sample ratio", action=AlarmAction.PAUSE, reason="31% instead of 10%")
CRASHED = (ready_arm(STABLE), ready_arm(CANDIDATE, state=InstanceState.CRASH_LOOP))
SHADOW = replace(CANDIDATE, effective=shadow_configuration(CANDIDATE.effective))
WORSE = MirrorPairs(compared=500, shadow_failed=100, stable_failed=1)
SILENT = Probed(release=CANDIDATE.release, effective=CANDIDATE.effective, seconds=0.0, asked=3, error="it answered 500")
SAID_NO = Smoked(release=CANDIDATE.release, effective=CANDIDATE.effective, outcome=SmokeOutcome.FAILED, text="1 failed")
REFUSED = replace(SILENT, error="", smokes=True, smoke=SAID_NO)

AGAINST = [
    ("mirror_failed", Strategy.SHADOW, {"measured": measured(pairs=WORSE)}),
    ("shadow_unattested", Strategy.SHADOW, {"measured": measured(pairs=replace(WORSE, unattested=1))}),
    ("probe_failed", Strategy.BLUE_GREEN, {"probed": SILENT}),
    ("smoke_failed", Strategy.BLUE_GREEN, {"probed": REFUSED}),
    ("trigger_fired", Strategy.CANARY, {"measured": measured(OPEN, alarms=(GRAVE,))}),
    ("candidate_crashed", Strategy.CANARY, {"measured": measured(OPEN), "arms": CRASHED}),
    (
        "candidate_crashed",
        Strategy.SHADOW,
        {"arms": (ready_arm(STABLE), ready_arm(SHADOW, state=InstanceState.NEVER_READY))},
    ),
]
OVERRIDE_OF_A_STEP = [
    request(Verb.PROMOTE, reason="I know better"),
    request(Verb.PROMOTE, reason="I know better", full=True),
    request(Verb.SKIP, reason="I know better"),
]


@pytest.mark.parametrize("asked", OVERRIDE_OF_A_STEP, ids=["promote", "full", "skip"])
@pytest.mark.parametrize(("code", "strategy", "seen"), AGAINST, ids=[f"{row[0]}-{row[1]}" for row in AGAINST])
def test_no_override_goes_past_what_automation_goes_back_for(asked, code, strategy, seen):
    state = route_state(rollout_state(Phase.STEPPING, plan=plan_for(strategy)))
    assert told(state, **seen).code == code, "automation goes back for the same reason"
    refused = told(state, asked, **seen)
    assert (refused.answers[0].kind, refused.answers[0].code) == (AnswerKind.REFUSED, code)
    assert refused.state.rollout == state.rollout
    assert INSTEAD[code]


@pytest.mark.parametrize(
    ("code", "seen"),
    [
        ("trigger_fired", {"measured": measured(OPEN, alarms=(GRAVE,))}),
        ("candidate_crashed", {"measured": measured(OPEN), "arms": CRASHED}),
    ],
)
def test_a_soak_is_not_skipped_past_them_either(code, seen):
    state = route_state(rollout_state(Phase.SOAKING))
    assert told(state, request(Verb.SKIP, reason="seen"), **seen).answers[0].code == code


def test_what_only_asks_for_a_person_or_is_of_another_arm_stops_no_override():
    other = replace(SILENT, release=NEXT.release)
    smoke = route_state(rollout_state(Phase.STEPPING, plan=plan_for(Strategy.BLUE_GREEN)))
    canary = route_state(rollout_state(Phase.STEPPING))
    asked = request(Verb.SKIP, reason="seen by hand")
    assert told(smoke, asked, probed=other).code == "step_skipped"
    assert told(canary, asked, probed=SILENT).code == "step_skipped", "a probe of a step that probes nothing"
    assert told(canary, asked, measured=measured(OPEN, alarms=(LOOKED_AT,))).code == "step_skipped"
