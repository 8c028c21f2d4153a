"""Decision tables of ``next_step``: one row, one sentence."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from fairway.rollout.deciding import DecisionKind, Measured, ReleaseFacts
from fairway.rollout.desired import active_holds, is_frozen
from fairway.rollout.evidence import MirrorPairs, Probed, Smoked, SmokeOutcome
from fairway.rollout.next_step import next_step
from fairway.rollout.requests import AnswerKind, HoldKind, Verb
from fairway.rollout.values import Approval, Hold, Phase, Scaling, Strategy, Warm
from fairway.rollout.verbs import ONE_STEP_BACK
from fairway.targets.port import InstanceState
from fairway.targets.shadow import shadow_configuration
from fairway.testing.rollout_cases import (
    CANDIDATE,
    GATES,
    NEXT,
    OLDEST,
    POLICY,
    STABLE,
    T0,
    canary_plan,
    digest_of,
    finding,
    measured,
    plan_for,
    ready_arm,
    request,
    rollout_state,
    route_state,
    snapshot,
)
from fairway.traffic.fence import Fence
from fairway.traffic.port import RouterObserved
from fairway.traffic.table import Role
from fairway.units import Verdict
from fairway.verdict.values import Alarm, AlarmAction, GateKind

PASS, FAIL, INCONCLUSIVE, NO_DATA, ERROR = Verdict
LIVE = (Phase.PREPARING, Phase.STEPPING, Phase.PROMOTING, Phase.SOAKING)


def roles(decision):
    return {arm.spec.role: arm.spec.release_digest for arm in decision.desired.arms}


# -- a step ------------------------------------------------------------------------------------------------------------


def test_a_step_whose_gates_passed_and_dwelled_goes_on_to_the_next():
    decision = next_step(snapshot(route_state(rollout_state(Phase.STEPPING)), measured=measured(PASS)))
    assert (decision.kind, decision.code) == (DecisionKind.ADVANCE, "gates_passed")
    assert decision.desired.split == 10_000
    assert decision.state.rollout.step == 1
    assert decision.state.rollout.step_from is None, "blocks of the old split must not count for the new step"


def test_the_last_step_goes_on_to_the_whole():
    decision = next_step(snapshot(route_state(rollout_state(Phase.STEPPING, step=3)), measured=measured(PASS)))
    assert decision.state.rollout.phase is Phase.PROMOTING
    assert roles(decision) == {Role.STABLE: CANDIDATE.release, Role.BASELINE: STABLE.release}


@pytest.mark.parametrize("verdict", [INCONCLUSIVE, NO_DATA, ERROR], ids=str)
@pytest.mark.parametrize("gate", [0, 1], ids=["failures", "p95"])
@pytest.mark.parametrize("step", range(4))
def test_whatever_is_not_a_pass_does_not_advance(verdict, gate, step):
    verdicts = [PASS, PASS, PASS]
    verdicts[gate] = verdict
    decision = next_step(snapshot(route_state(rollout_state(Phase.STEPPING, step=step)), measured=measured(*verdicts)))
    assert decision.kind is DecisionKind.WAIT
    assert decision.desired.split == canary_plan().steps[step].split


def test_a_gate_without_a_finding_does_not_advance():
    found = replace(measured(PASS), findings=measured(PASS).findings[:1])
    assert next_step(snapshot(route_state(rollout_state(Phase.STEPPING)), measured=found)).kind is DecisionKind.WAIT


def test_nothing_measured_does_not_advance():
    decision = next_step(snapshot(route_state(rollout_state(Phase.STEPPING)), measured=measured()))
    assert (decision.kind, decision.code) == (DecisionKind.WAIT, "needs_evidence")


def test_a_step_without_gates_never_advances_by_itself():
    plan = canary_plan()
    bare = replace(plan, steps=tuple(replace(step, gates=(), dwell=0.0) for step in plan.steps))
    decision = next_step(snapshot(route_state(rollout_state(Phase.STEPPING, plan=bare)), measured=measured(PASS)))
    assert decision.kind is DecisionKind.WAIT


def test_gates_that_passed_wait_for_the_dwell_in_observed_seconds():
    decision = next_step(snapshot(route_state(rollout_state(Phase.STEPPING)), measured=measured(PASS, seconds=19.9)))
    assert (decision.kind, decision.code) == (DecisionKind.WAIT, "needs_evidence")


@pytest.mark.parametrize("gate", range(3), ids=[gate.name for gate in GATES])
@pytest.mark.parametrize("others", [PASS, NO_DATA, INCONCLUSIVE, ERROR], ids=str)
def test_one_failed_gate_rolls_back_whatever_the_others_say(gate, others):
    verdicts = [others, others, others]
    verdicts[gate] = FAIL
    decision = next_step(snapshot(route_state(rollout_state(Phase.STEPPING)), measured=measured(*verdicts)))
    assert (decision.kind, decision.code) == (DecisionKind.ROLL_BACK, "gate_failed")
    assert decision.desired.split == 0
    assert decision.desired.masks == (CANDIDATE.release,)
    assert roles(decision) == {Role.STABLE: STABLE.release}


@pytest.mark.parametrize("phase", [Phase.STEPPING, Phase.SOAKING])
def test_a_trigger_rolls_back_or_pauses_whatever_the_gates_say(phase: Phase):
    for action, kind in ((AlarmAction.ROLL_BACK, DecisionKind.ROLL_BACK), (AlarmAction.PAUSE, DecisionKind.PAUSE)):
        alarm = Alarm(name="error_rate", action=action, reason="3% for 5 min")
        found = replace(measured(PASS, PASS, PASS), alarms=(alarm,))
        decision = next_step(snapshot(route_state(rollout_state(phase)), measured=found))
        assert decision.kind is kind
        assert "error_rate: 3% for 5 min" in decision.reason
        paused = route_state(rollout_state(phase, paused="grace paused"))
        again = next_step(snapshot(paused, measured=found))
        assert again.kind is (DecisionKind.ROLL_BACK if kind is DecisionKind.ROLL_BACK else DecisionKind.WAIT)


def test_a_failed_gate_rolls_back_also_while_paused_held_or_waiting_for_approval():
    paused = rollout_state(Phase.STEPPING, paused="grace paused")
    held = Hold(kind=HoldKind.NO_ADVANCE, actor="grace", reason="launch day")
    for state in (route_state(paused), route_state(rollout_state(Phase.STEPPING), hold=held)):
        assert next_step(snapshot(state, measured=measured(FAIL))).kind is DecisionKind.ROLL_BACK


def test_an_absolute_failure_that_stable_shares_is_no_evidence_against_the_candidate():
    shared = (
        finding(GATES[0], INCONCLUSIVE),
        finding(GATES[1], INCONCLUSIVE),
        finding(GATES[2], FAIL, stable_fails_too=True),
    )
    decision = next_step(
        snapshot(route_state(rollout_state(Phase.STEPPING)), measured=replace(measured(PASS), findings=shared))
    )
    assert decision.kind is not DecisionKind.ROLL_BACK


@pytest.mark.parametrize("must_pass", [True, False])
def test_a_broken_limit_that_is_not_shown_beside_stable_holds_the_step_and_no_override_goes_past_it(must_pass):
    state = rollout_state(Phase.STEPPING)
    gates = tuple(replace(gate, must_pass=must_pass and gate.must_pass) for gate in state.plan.steps[0].gates)
    steps = (replace(state.plan.steps[0], gates=gates), *state.plan.steps[1:])
    state = replace(state, plan=replace(state.plan, steps=steps))
    broken = replace(finding(GATES[2], FAIL), worse_than_stable=False)
    found = replace(measured(PASS), findings=(*measured(PASS).findings[:2], broken))
    decision = next_step(snapshot(route_state(state), measured=found))
    assert (decision.kind, decision.code) == (DecisionKind.WAIT, "needs_evidence"), decision.reason
    assert "FAIL" in decision.reason
    for verb in (Verb.SKIP, Verb.PROMOTE):
        told = next_step(
            snapshot(route_state(state), measured=found, requests=(request(verb, reason="launch", actor="grace"),))
        )
        assert told.answers[0].code == "gate_failed", told.answers


def test_after_a_shared_outage_a_person_resumes_and_the_evidence_begins_anew():
    broken = replace(finding(GATES[2], FAIL, stable_fails_too=True), worse_than_stable=False)
    found = replace(measured(PASS), findings=(*measured(PASS).findings[:2], broken))
    paused = rollout_state(Phase.STEPPING, paused="both arms suffer")
    before = paused.step_from
    over = request(Verb.RESUME, actor="grace", reason="over")
    asked = snapshot(route_state(paused), measured=found, requests=(over,))
    after = next_step(asked).state.rollout
    assert not after.paused
    assert after.step_from == after.counted_from > before
    # What a gate holds against the candidate itself is not forgotten by anybody's word.
    damning = replace(found, findings=(*found.findings[:2], replace(broken, worse_than_stable=True)))
    kept = next_step(replace(asked, measured=damning)).state.rollout
    assert kept.counted_from == paused.counted_from


def test_an_outage_of_both_arms_pauses_instead_of_rolling_back():
    found = replace(measured(FAIL), shared_cause="both arms fail since 12:00")
    decision = next_step(snapshot(route_state(rollout_state(Phase.STEPPING)), measured=found))
    assert (decision.kind, decision.code) == (DecisionKind.PAUSE, "shared_cause")
    assert decision.state.rollout.paused


def test_after_the_outage_a_latched_comparative_failure_still_rolls_back():
    state = route_state(rollout_state(Phase.STEPPING, paused="both arms suffer"))
    assert next_step(snapshot(state, measured=measured(FAIL))).kind is DecisionKind.ROLL_BACK


def test_a_paused_rollout_does_not_advance():
    state = route_state(rollout_state(Phase.STEPPING, paused="grace paused"))
    assert next_step(snapshot(state, measured=measured(PASS))).kind is DecisionKind.WAIT


def test_a_held_route_does_not_advance_until_the_hold_expires():
    hold = Hold(kind=HoldKind.NO_ADVANCE, actor="grace", reason="launch", until=T0 + timedelta(seconds=1))
    state = route_state(rollout_state(Phase.STEPPING), hold=hold)
    assert next_step(snapshot(state, measured=measured(PASS))).code == "held"
    later = T0 + timedelta(seconds=1)
    assert next_step(snapshot(state, measured=measured(PASS), now=later)).kind is DecisionKind.ADVANCE


def test_a_freeze_stops_even_a_rollback_by_automation_but_not_a_person():
    hold = Hold(kind=HoldKind.FREEZE, actor="grace", reason="incident", until=T0 + timedelta(hours=1))
    state = route_state(rollout_state(Phase.STEPPING), hold=hold)
    assert next_step(snapshot(state, measured=measured(FAIL))).code == "frozen"
    aborted = next_step(snapshot(state, measured=measured(FAIL), requests=(request(Verb.ABORT),)))
    assert aborted.state.rollout.phase is Phase.ROLLING_BACK


@pytest.mark.parametrize("state", [InstanceState.CRASH_LOOP, InstanceState.NEVER_READY], ids=str)
@pytest.mark.parametrize("phase", [Phase.PREPARING, Phase.STEPPING, Phase.PROMOTING], ids=str)
def test_a_candidate_that_stops_serving_is_rolled_back(state, phase):
    arms = (ready_arm(STABLE), ready_arm(CANDIDATE, state=state))
    decision = next_step(snapshot(route_state(rollout_state(phase)), arms=arms, measured=measured(PASS)))
    assert decision.kind is DecisionKind.ROLL_BACK
    assert "exit code 1" in decision.reason


def test_telemetry_that_cannot_be_read_waits_then_pauses_and_never_rolls_back():
    blind = measured(error="the gateway does not answer")
    first = next_step(snapshot(route_state(rollout_state(Phase.STEPPING)), measured=blind))
    assert (first.kind, first.code) == (DecisionKind.WAIT, "instrument_error")
    later = snapshot(first.state, measured=blind, now=T0 + timedelta(seconds=31))
    assert next_step(later).kind is DecisionKind.PAUSE
    back = next_step(snapshot(first.state, measured=measured(PASS), now=T0 + timedelta(seconds=5)))
    assert back.state.rollout.telemetry_lost_at is None


def test_a_step_that_cannot_decide_within_its_cap_pauses_for_a_person():
    state = route_state(rollout_state(Phase.STEPPING))
    decision = next_step(snapshot(state, measured=measured(INCONCLUSIVE), now=T0 + timedelta(seconds=600)))
    assert (decision.kind, decision.code) == (DecisionKind.PAUSE, "step_undecided")


def test_a_step_counts_only_from_the_block_after_every_gateway_confirmed_it():
    waiting = route_state(rollout_state(Phase.STEPPING, step_from=None, counted_from=None))
    behind = RouterObserved(confirmed=Fence(term=1, seq=4), gateways=2)
    held_up = next_step(snapshot(waiting, router=behind, measured=measured(PASS)))
    assert held_up.code == "waiting_for_gateways"
    now = T0 + timedelta(seconds=3)
    decision = next_step(snapshot(waiting, measured=measured(PASS), now=now))
    assert decision.code == "in_force"
    assert decision.state.rollout.step_from == T0.timestamp() + 10
    assert decision.state.rollout.counted_from == T0.timestamp() + 10


def test_a_step_that_began_without_stables_p95_counts_again_once_it_is_known():
    state = route_state(rollout_state(Phase.STEPPING, theta=None))
    assert next_step(snapshot(state, measured=measured(NO_DATA))).code == "needs_evidence"
    decision = next_step(snapshot(state, measured=measured(NO_DATA, theta=200.0)))
    assert decision.code == "yardstick_set"
    assert decision.desired.theta == {"stable": 200.0, "candidate": 300.0}
    assert decision.state.rollout.step_from is None


def test_a_yardstick_that_moved_is_refreshed_and_the_evidence_stays():
    state = route_state(rollout_state(Phase.STEPPING, phase_at=T0 - timedelta(seconds=200)))
    near = next_step(snapshot(state, measured=measured(INCONCLUSIVE, theta=450.0)))
    assert near.state.rollout.theta == 400.0
    far = next_step(snapshot(state, measured=measured(INCONCLUSIVE, theta=200.0)))
    assert far.code == "yardstick_moved"
    assert (far.state.rollout.theta, far.state.rollout.step_from) == (200.0, 0.0)
    again = next_step(snapshot(far.state, measured=measured(INCONCLUSIVE, theta=600.0)))
    assert again.state.rollout.theta == 200.0, "not twice within a few blocks"


def test_no_living_gateway_confirms_nothing():
    nobody = RouterObserved(confirmed=None, gateways=0)
    for phase in (Phase.PROMOTING, Phase.ROLLING_BACK):
        decision = next_step(snapshot(route_state(rollout_state(phase)), router=nobody))
        assert decision.code == "waiting_for_gateways"


# -- preparing ---------------------------------------------------------------------------------------------------------


def test_a_candidate_gets_no_traffic_before_it_is_ready():
    arms = (ready_arm(STABLE), ready_arm(CANDIDATE, state=InstanceState.STARTING))
    decision = next_step(snapshot(route_state(rollout_state(Phase.PREPARING)), arms=arms))
    assert (decision.code, decision.desired.split) == ("starting", 0)
    assert decision.desired.masks == (CANDIDATE.release,)


def test_a_ready_candidate_gets_its_first_step():
    decision = next_step(snapshot(route_state(rollout_state(Phase.PREPARING))))
    assert (decision.code, decision.desired.split) == ("candidate_ready", 5_000)
    assert decision.desired.masks == ()


def test_a_candidate_that_is_not_ready_in_time_is_rolled_back():
    arms = (ready_arm(STABLE), ready_arm(CANDIDATE, state=InstanceState.STARTING))
    late = T0 + timedelta(seconds=21)
    decision = next_step(snapshot(route_state(rollout_state(Phase.PREPARING)), arms=arms, now=late))
    assert decision.code == "prepare_timeout"


def test_a_release_the_target_refuses_is_rolled_back_with_its_reason():
    decision = next_step(
        snapshot(
            route_state(rollout_state(Phase.PREPARING)),
            arms=(ready_arm(STABLE),),
            refused={CANDIDATE.release: "the signature does not verify"},
        )
    )
    assert decision.code == "release_refused"
    assert "signature" in decision.reason


def test_an_approval_is_asked_before_the_first_exposure_and_counts_only_for_what_it_named():
    plan = canary_plan(approval=True)
    state = route_state(rollout_state(Phase.PREPARING, plan=plan))
    assert next_step(snapshot(state)).code == "approval_needed"
    right = Approval(
        actor="grace", at=T0, release=CANDIDATE.release, effective=CANDIDATE.effective, policy_digest=POLICY
    )
    assert next_step(snapshot(replace(state, approvals=(right,)))).code == "candidate_ready"
    for wrong in (
        replace(right, release=NEXT.release),
        replace(right, effective=digest_of("7")),
        replace(right, policy_digest=digest_of("8")),
    ):
        assert next_step(snapshot(replace(state, approvals=(wrong,)))).code == "approval_needed"


# -- promotion, soak, the end ------------------------------------------------------------------------------------------


def test_the_candidate_is_stable_only_once_every_gateway_serves_it():
    state = route_state(rollout_state(Phase.PROMOTING))
    behind = RouterObserved(confirmed=Fence(term=1, seq=4), gateways=2)
    assert next_step(snapshot(state, router=behind)).state.stable == STABLE
    decision = next_step(snapshot(state))
    assert (decision.code, decision.state.stable) == ("promoted", CANDIDATE)
    assert decision.state.history == (STABLE, OLDEST)
    assert roles(decision)[Role.BASELINE] == STABLE.release, "the old stable stays warm"


def test_a_soak_that_fails_returns_to_the_release_before():
    decision = next_step(snapshot(route_state(rollout_state(Phase.SOAKING)), measured=measured(FAIL)))
    assert decision.code == "soak_failed"
    assert decision.state.stable == STABLE
    assert decision.state.history == (OLDEST,)
    assert roles(decision) == {Role.STABLE: STABLE.release}


@pytest.mark.parametrize("verdict", [NO_DATA, ERROR], ids=str)
def test_a_soak_without_data_is_not_over(verdict):
    decision = next_step(snapshot(route_state(rollout_state(Phase.SOAKING)), measured=measured(verdict)))
    assert decision.code == "soaking"


def test_a_soak_that_was_seen_for_long_enough_is_done():
    decision = next_step(snapshot(route_state(rollout_state(Phase.SOAKING)), measured=measured(INCONCLUSIVE)))
    assert (decision.code, decision.state.rollout.phase) == ("done", Phase.DONE)


def test_the_former_stable_is_let_go_after_its_warm_time():
    state = route_state(rollout_state(Phase.DONE))
    assert Role.BASELINE in roles(next_step(snapshot(state)))
    late = next_step(snapshot(state, now=T0 + timedelta(seconds=100)))
    assert Role.BASELINE not in roles(late)


def test_a_rollback_is_over_once_every_gateway_confirmed_it_and_blocks_the_release():
    state = route_state(rollout_state(Phase.ROLLING_BACK, cause="gate_failed"))
    decision = next_step(snapshot(state))
    assert (decision.code, decision.state.rollout.phase) == ("rolled_back", Phase.ROLLED_BACK)
    assert decision.state.blocked == (CANDIDATE.release,)


def test_a_persons_abort_blocks_nothing():
    state = route_state(rollout_state(Phase.ROLLING_BACK, cause="aborted"))
    assert next_step(snapshot(state)).state.blocked == ()


def test_a_rollback_keeps_the_table_until_stable_is_there_to_take_the_traffic():
    arms = (ready_arm(STABLE, state=InstanceState.STARTING), ready_arm(CANDIDATE))
    stepping = snapshot(route_state(rollout_state(Phase.STEPPING)))
    rolling = replace(stepping, arms=arms, measured=measured(FAIL))
    first = next_step(rolling)
    assert first.state.changed_by == rolling.state.changed_by, "no new table yet"
    waiting = replace(rolling, state=first.state, measured=measured())
    assert next_step(waiting).code == "stable_not_ready"
    back = next_step(replace(waiting, arms=(ready_arm(STABLE), ready_arm(CANDIDATE))))
    assert back.state.changed_by == Fence(term=1, seq=8)
    assert back.state.rollout.phase is Phase.ROLLING_BACK, "not over before gateways confirm the new table"


def test_a_failing_first_release_pauses_because_there_is_nothing_to_return_to():
    first = rollout_state(Phase.SOAKING, stable=None)
    state = route_state(first, history=(), warm=())
    decision = next_step(snapshot(state, measured=measured(FAIL)))
    assert (decision.kind, decision.code) == (DecisionKind.PAUSE, "first_release_failing")


# -- people's verbs ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", LIVE, ids=str)
def test_an_abort_goes_to_stable_from_every_live_phase(phase):
    found = measured(PASS)
    decision = next_step(
        snapshot(route_state(rollout_state(phase)), requests=(request(Verb.ABORT, reason="page"),), measured=found)
    )
    assert decision.state.rollout.phase is Phase.ROLLING_BACK
    assert roles(decision)[Role.STABLE] == STABLE.release
    assert CANDIDATE.release in decision.desired.masks
    assert decision.answers[0].kind is AnswerKind.APPLIED
    assert decision.state.changed_by == Fence(term=1, seq=8)


def test_an_abort_comes_before_a_promotion_asked_first():
    asked = (request(Verb.PROMOTE, reason="looks fine"), request(Verb.ABORT, reason="no"))
    decision = next_step(snapshot(route_state(rollout_state(Phase.STEPPING)), requests=asked))
    assert decision.state.rollout.phase is Phase.ROLLING_BACK
    by_id = {answer.request_id: answer.kind for answer in decision.answers}
    assert by_id == {asked[0].id: AnswerKind.REFUSED, asked[1].id: AnswerKind.APPLIED}


def test_two_clicks_on_promote_are_one_step():
    twice = (request(Verb.PROMOTE, actor="ada", reason="ok"), request(Verb.PROMOTE, actor="grace", reason="ok"))
    decision = next_step(snapshot(route_state(rollout_state(Phase.STEPPING)), requests=twice))
    assert decision.state.rollout.step == 1
    assert [answer.kind for answer in decision.answers] == [AnswerKind.APPLIED, AnswerKind.REFUSED]


REFUSALS = [
    ("promoting needs a reason", Phase.STEPPING, request(Verb.PROMOTE), "reason_needed"),
    ("promoting needs a step", Phase.PREPARING, request(Verb.PROMOTE, reason="x"), "not_stepping"),
    ("a moved route", Phase.STEPPING, request(Verb.PAUSE, if_version=3), "moved"),
    ("resuming what runs", Phase.STEPPING, request(Verb.RESUME), "not_paused"),
    ("a second start", Phase.STEPPING, request(Verb.START, release=NEXT.release), "rollout_live"),
    ("the same start twice", Phase.STEPPING, request(Verb.START, release=CANDIDATE.release), "already_rolling"),
    ("an unknown release", Phase.DONE, request(Verb.START, release=digest_of("5")), "unknown_release"),
    ("what is stable", Phase.DONE, request(Verb.START, release=CANDIDATE.release), "already_stable"),
    ("no rollout", Phase.DONE, request(Verb.ABORT), "no_rollout"),
    ("pausing nothing", Phase.DONE, request(Verb.PAUSE), "no_rollout"),
    ("never stable", Phase.DONE, request(Verb.ROLLBACK, to=NEXT.release), "never_stable"),
    ("a bad hold", Phase.DONE, request(Verb.HOLD, kind="forever", reason="x"), "bad_hold"),
    ("a hold without reason", Phase.DONE, request(Verb.HOLD, kind="no-advance"), "reason_needed"),
    ("an endless freeze", Phase.DONE, request(Verb.HOLD, kind="freeze", reason="x"), "freeze_too_long"),
    ("releasing no hold", Phase.DONE, request(Verb.RELEASE_HOLD), "no_hold"),
    ("an author approves", Phase.DONE, request(Verb.APPROVE, actor="ada", release=NEXT.release), "author_approves"),
    ("lifting no block", Phase.DONE, request(Verb.LIFT_BLOCK, release=NEXT.release, reason="x"), "not_blocked"),
]


@pytest.mark.parametrize(("phase", "asked", "code"), [row[1:] for row in REFUSALS], ids=[row[0] for row in REFUSALS])
def test_a_verb_that_does_not_fit_is_refused_with_its_code_and_changes_nothing(phase, asked, code):
    before = snapshot(route_state(rollout_state(phase)), requests=(asked,))
    decision = next_step(before)
    assert (decision.answers[0].kind, decision.answers[0].code) == (AnswerKind.REFUSED, code)
    assert decision.answers[0].message
    assert replace(decision.state, code="") == replace(before.state, code="")


def test_a_blocked_release_does_not_start_until_the_block_is_lifted():
    state = route_state(blocked=(NEXT.release,))
    start = request(Verb.START, release=NEXT.release)
    assert next_step(snapshot(state, requests=(start,))).answers[0].code == "blocked"
    lift = request(Verb.LIFT_BLOCK, release=NEXT.release, reason="false alarm")
    lifted = next_step(snapshot(state, requests=(lift,)))
    assert next_step(snapshot(lifted.state, requests=(start,))).kind is DecisionKind.START


def test_a_superseding_start_first_goes_back_to_stable_and_then_starts():
    asked = request(Verb.START, release=NEXT.release, supersede=True)
    first = next_step(snapshot(route_state(rollout_state(Phase.STEPPING)), requests=(asked,)))
    assert (first.code, first.answers) == ("superseded", ())
    assert first.state.rollout.phase is Phase.ROLLING_BACK
    arms = (ready_arm(STABLE), ready_arm(CANDIDATE))
    confirmed = RouterObserved(confirmed=first.state.changed_by, gateways=1)
    back = next_step(replace(snapshot(first.state, requests=(asked,), arms=arms), router=confirmed))
    assert back.state.rollout.phase is Phase.ROLLED_BACK
    started = next_step(snapshot(back.state, requests=(asked,)))
    assert (started.kind, started.state.rollout.candidate) == (DecisionKind.START, NEXT)
    assert started.state.rollout.stable == STABLE


def test_a_rollback_without_a_rollout_returns_to_the_last_stable_directly():
    asked = request(Verb.ROLLBACK, reason="bad answers")
    state = route_state(rollout_state(Phase.DONE))
    first = next_step(snapshot(state, requests=(asked,)))
    assert first.state.rollout.candidate == STABLE
    assert first.state.rollout.going_back
    ready = next_step(snapshot(first.state))
    assert ready.state.rollout.phase is Phase.PROMOTING
    promoted = next_step(snapshot(ready.state))
    done = next_step(snapshot(promoted.state))
    assert (done.state.stable, done.state.rollout.phase) == (STABLE, Phase.DONE)
    assert CANDIDATE.release in done.state.blocked


def test_a_first_release_goes_straight_to_the_whole():
    state = route_state(stable=None, history=())
    asked = request(Verb.START, release=CANDIDATE.release)
    started = next_step(snapshot(state, requests=(asked,), arms=()))
    assert roles(started) == {Role.CANDIDATE: CANDIDATE.release}
    ready = next_step(snapshot(started.state, arms=(ready_arm(CANDIDATE),)))
    assert roles(ready) == {Role.STABLE: CANDIDATE.release}


def test_aborting_a_first_release_serves_nobody():
    state = route_state(rollout_state(Phase.PROMOTING, stable=None), stable=None, history=())
    decision = next_step(snapshot(state, requests=(request(Verb.ABORT),), arms=(ready_arm(CANDIDATE),)))
    assert decision.desired.arms == ()
    assert decision.state.changed_by == Fence(term=1, seq=8)


def test_a_start_during_the_soak_finishes_it_first():
    asked = request(Verb.START, release=NEXT.release)
    decision = next_step(
        snapshot(route_state(rollout_state(Phase.SOAKING)), requests=(asked,), measured=measured(INCONCLUSIVE))
    )
    assert decision.state.rollout.candidate == NEXT
    assert decision.state.rollout.stable == CANDIDATE


def test_a_start_during_a_failing_soak_waits_for_the_rollback():
    asked = request(Verb.START, release=NEXT.release)
    decision = next_step(
        snapshot(route_state(rollout_state(Phase.SOAKING)), requests=(asked,), measured=measured(FAIL))
    )
    assert decision.code == "soak_failed"
    assert decision.answers == ()


# -- the table ---------------------------------------------------------------------------------------------------------


def test_an_arm_that_moved_gets_a_new_table_without_a_step():
    before = snapshot(route_state(rollout_state(Phase.STEPPING)), measured=measured(INCONCLUSIVE))
    same = next_step(before)
    assert same.state.changed_by == before.state.changed_by
    elsewhere = replace(ready_arm(STABLE), instances=ready_arm(STABLE, count=2).instances[1:])
    moved = replace(before, state=same.state, arms=(elsewhere, ready_arm(CANDIDATE)))
    decision = next_step(moved)
    assert decision.code == "endpoints_changed"
    assert decision.state.changed_by == Fence(term=1, seq=8)
    assert decision.state.rollout.step == 0


def test_deciding_twice_on_the_same_state_changes_nothing():
    first = next_step(snapshot(route_state(rollout_state(Phase.STEPPING)), measured=measured(INCONCLUSIVE)))
    again = next_step(snapshot(first.state, measured=measured(INCONCLUSIVE)))
    assert again.state == first.state


def test_a_rollout_and_its_approval_follow_the_policy_of_the_release_itself():
    own = canary_plan(20_000, policy_digest=digest_of("4"), approval=True)
    facts = ReleaseFacts(arm=NEXT, plan=own)
    start = request(Verb.START, release=NEXT.release)
    started = next_step(snapshot(route_state(), requests=(start,), releases={NEXT.release: facts}))
    assert started.state.rollout.plan == own
    approve = request(Verb.APPROVE, release=NEXT.release)
    approved = next_step(snapshot(started.state, requests=(approve,), releases={NEXT.release: facts}))
    assert approved.state.approvals[0].policy_digest == digest_of("4")


# -- what a review found -----------------------------------------------------------------------------------------------


def promoted():
    """1.1.0 is stable after 1.0.0, the rollout is done."""
    return route_state(rollout_state(Phase.DONE))


def rolled_back_once():
    """A person went back from 1.1.0 to 1.0.0."""
    state = next_step(snapshot(promoted(), requests=(request(Verb.ROLLBACK),))).state
    for _ in range(3):
        state = next_step(snapshot(state)).state
    assert (state.stable, state.rollout.phase) == (STABLE, Phase.DONE)
    return state


def test_a_second_rollback_goes_further_back_and_never_forward_to_the_release_that_was_left():
    state = rolled_back_once()
    assert state.blocked == (CANDIDATE.release,)
    later = T0 + ONE_STEP_BACK + timedelta(seconds=1)
    decision = next_step(replace(snapshot(state, requests=(request(Verb.ROLLBACK, actor="ada"),)), now=later))
    assert decision.state.rollout.candidate == OLDEST


def rolled_back_in_a_step():
    return route_state(rollout_state(Phase.ROLLED_BACK, cause="aborted", counted_from=0.0))


@pytest.mark.parametrize("state", [rolled_back_once(), rolled_back_in_a_step()], ids=["a rollback", "an abort"])
def test_two_people_who_press_rollback_go_back_one_release_and_a_name_or_a_version_goes_further(state):
    again = next_step(snapshot(state, requests=(request(Verb.ROLLBACK, actor="grace"),)))
    (answer,) = again.answers
    assert (answer.kind, answer.code) == (AnswerKind.REFUSED, "just_rolled_back")
    assert f"went back to {STABLE.version} " in answer.message
    assert f"{OLDEST.version} would be next: say --to" in answer.message
    assert (again.state.stable, again.state.rollout, again.state.blocked) == (STABLE, state.rollout, state.blocked)
    named = next_step(snapshot(state, requests=(request(Verb.ROLLBACK, to=OLDEST.release),)))
    assert named.state.rollout.candidate == OLDEST
    seen = snapshot(state)
    meant = replace(request(Verb.ROLLBACK), if_version=seen.head.seq)
    assert next_step(replace(seen, requests=(meant,))).state.rollout.candidate == OLDEST
    late = replace(request(Verb.ROLLBACK), if_version=seen.head.seq - 1)
    assert next_step(replace(seen, requests=(late,))).answers[0].code == "moved"


@pytest.mark.parametrize("phase", [Phase.PREPARING, Phase.STEPPING, Phase.PROMOTING, Phase.SOAKING], ids=str)
@pytest.mark.parametrize(("verb", "blocked"), [(Verb.ROLLBACK, (CANDIDATE.release,)), (Verb.ABORT, ())], ids=str)
def test_a_rollback_of_a_live_rollout_blocks_what_it_leaves_and_an_abort_does_not(phase, verb, blocked):
    state = route_state(rollout_state(phase))
    asked = request(verb, reason="wrong answers")
    state = next_step(snapshot(state, requests=(asked,))).state
    for _ in range(3):
        state = next_step(snapshot(state, router=RouterObserved(confirmed=state.changed_by, gateways=1))).state
    assert (state.rollout.phase, state.blocked) == (Phase.ROLLED_BACK, blocked)
    start = next_step(snapshot(state, requests=(request(Verb.START, release=CANDIDATE.release),)))
    assert start.answers[0].code == ("blocked" if blocked else "")


def test_with_nothing_unblocked_to_go_back_to_a_rollback_is_refused():
    state = replace(rolled_back_once(), history=(CANDIDATE,))
    later = T0 + ONE_STEP_BACK + timedelta(seconds=1)
    refused = next_step(replace(snapshot(state, requests=(request(Verb.ROLLBACK),)), now=later))
    assert refused.answers[0].code == "no_previous"
    asked = request(Verb.ROLLBACK, to=CANDIDATE.release)
    assert next_step(snapshot(state, requests=(asked,))).answers[0].code == "blocked"


@pytest.mark.parametrize("phase", [Phase.PREPARING, Phase.STEPPING, Phase.PROMOTING, Phase.SOAKING], ids=str)
def test_a_gateway_that_tripped_rolls_the_candidate_back_everywhere(phase):
    tripped = RouterObserved(confirmed=Fence(term=1, seq=9), gateways=2, tripped=(CANDIDATE.release,))
    decision = next_step(snapshot(route_state(rollout_state(phase)), router=tripped, measured=measured(PASS)))
    assert (decision.kind, decision.code) == (DecisionKind.ROLL_BACK, "gateway_tripped")


def test_a_trip_away_from_another_release_is_not_the_candidates():
    tripped = RouterObserved(confirmed=Fence(term=1, seq=9), gateways=2, tripped=(NEXT.release,))
    decision = next_step(snapshot(route_state(rollout_state(Phase.STEPPING)), router=tripped, measured=measured(PASS)))
    assert decision.kind is DecisionKind.ADVANCE


@pytest.mark.parametrize("phase", [Phase.PREPARING, Phase.STEPPING, Phase.PROMOTING], ids=str)
def test_nothing_moves_forward_while_a_person_has_pinned_the_gateway(phase):
    pinned = RouterObserved(confirmed=Fence(term=1, seq=9), gateways=1, pinned=STABLE.release)
    before = rollout_state(phase)
    decision = next_step(snapshot(route_state(before), router=pinned, measured=measured(PASS)))
    assert (decision.kind, decision.code) == (DecisionKind.WAIT, "pinned")
    assert decision.state.rollout == before
    failing = next_step(snapshot(route_state(rollout_state(Phase.STEPPING)), router=pinned, measured=measured(FAIL)))
    assert failing.kind is DecisionKind.ROLL_BACK


@pytest.mark.parametrize("phase", [Phase.PREPARING, Phase.STEPPING, Phase.PROMOTING], ids=str)
def test_nothing_moves_forward_while_a_person_has_masked_the_candidate_on_a_gateway(phase):
    masked = RouterObserved(confirmed=Fence(term=1, seq=9), gateways=1, masked=(CANDIDATE.release,))
    before = rollout_state(phase)
    decision = next_step(snapshot(route_state(before), router=masked, measured=measured(PASS)))
    assert (decision.kind, decision.code) == (DecisionKind.WAIT, "masked")
    assert decision.state.rollout == before
    failing = next_step(snapshot(route_state(rollout_state(Phase.STEPPING)), router=masked, measured=measured(FAIL)))
    assert failing.kind is DecisionKind.ROLL_BACK
    other = replace(masked, masked=(NEXT.release,))
    moves = next_step(snapshot(route_state(rollout_state(Phase.STEPPING)), router=other, measured=measured(PASS)))
    assert moves.kind is DecisionKind.ADVANCE, "another release's mask is nobody's hindrance"


@pytest.mark.parametrize("phase", [Phase.STEPPING, Phase.PROMOTING], ids=str)
def test_nothing_moves_forward_while_a_gateway_leaves_an_instance_of_the_candidate_out(phase):
    without = RouterObserved(confirmed=Fence(term=1, seq=9), gateways=1, left_out=(CANDIDATE.release,))
    before = rollout_state(phase)
    decision = next_step(snapshot(route_state(before), router=without, measured=measured(PASS)))
    assert (decision.kind, decision.code) == (DecisionKind.WAIT, "left_out")
    assert decision.state.rollout == before
    failing = next_step(snapshot(route_state(rollout_state(Phase.STEPPING)), router=without, measured=measured(FAIL)))
    assert failing.kind is DecisionKind.ROLL_BACK
    other = replace(without, left_out=(NEXT.release,))
    moves = next_step(snapshot(route_state(rollout_state(Phase.STEPPING)), router=other, measured=measured(PASS)))
    assert moves.kind is DecisionKind.ADVANCE, "of another release it is nobody's hindrance"


@pytest.mark.parametrize("blind", [NO_DATA, ERROR], ids=str)
def test_a_gate_that_need_not_pass_must_still_see(blind):
    decision = next_step(snapshot(route_state(rollout_state(Phase.STEPPING)), measured=measured(PASS, PASS, blind)))
    assert decision.kind is DecisionKind.WAIT


@pytest.mark.parametrize("verdict", [INCONCLUSIVE, NO_DATA, ERROR], ids=str)
def test_a_plan_in_which_no_gate_must_pass_does_not_advance_without_a_pass(verdict):
    plan = canary_plan()
    lax = tuple(replace(gate, must_pass=False) for gate in GATES)
    plan = replace(plan, steps=tuple(replace(step, gates=lax) for step in plan.steps))
    decision = next_step(snapshot(route_state(rollout_state(Phase.STEPPING, plan=plan)), measured=measured(verdict)))
    assert decision.kind is DecisionKind.WAIT


def test_a_release_without_steps_is_not_started_over_a_stable_one():
    direct = replace(canary_plan(), strategy=Strategy.DIRECT, steps=())
    facts = {NEXT.release: ReleaseFacts(arm=NEXT, plan=direct)}
    asked = request(Verb.START, release=NEXT.release)
    assert next_step(snapshot(route_state(), requests=(asked,), releases=facts)).answers[0].code == "no_steps"
    slipped_in = route_state(rollout_state(Phase.PREPARING, plan=direct))
    assert next_step(snapshot(slipped_in)).code == "no_steps"


def test_an_abort_cancels_a_start_that_was_asked_before_it():
    asked = (request(Verb.START, release=NEXT.release), request(Verb.ABORT))
    decision = next_step(snapshot(route_state(), requests=asked))
    codes = {answer.request_id: answer.code for answer in decision.answers}
    assert codes[asked[0].id] == "aborted"
    assert decision.state.rollout is None


def test_an_abort_cancels_a_superseding_start_too():
    asked = (request(Verb.START, release=NEXT.release, supersede=True), request(Verb.ABORT))
    decision = next_step(snapshot(route_state(rollout_state(Phase.STEPPING)), requests=asked))
    assert decision.state.rollout.phase is Phase.ROLLING_BACK
    assert {answer.code for answer in decision.answers} == {"aborted", ""}


def test_a_start_asked_after_an_abort_is_meant():
    asked = (request(Verb.ABORT), request(Verb.START, release=NEXT.release))
    decision = next_step(snapshot(route_state(), requests=asked))
    assert decision.state.rollout.candidate == NEXT


def test_a_failing_first_release_can_be_replaced_by_a_better_one():
    first = rollout_state(Phase.SOAKING, stable=None, paused="it fails")
    state = route_state(first, history=(), warm=())
    asked = request(Verb.START, release=NEXT.release)
    decision = next_step(snapshot(state, requests=(asked,), measured=measured(FAIL)))
    assert decision.state.rollout.candidate == NEXT


def test_a_soak_that_was_cut_short_is_not_called_a_success():
    asked = request(Verb.START, release=NEXT.release)
    before = snapshot(route_state(rollout_state(Phase.SOAKING)), requests=(asked,), measured=measured(NO_DATA))
    started = next_step(before)
    assert started.state.rollout.stable == CANDIDATE
    assert started.state.history[0] == STABLE, "what a rollback goes back to stays"


def test_an_outage_in_the_soak_pauses_instead_of_rolling_back():
    shared = tuple(replace(each, stable_fails_too=True) for each in measured(FAIL).findings)
    found = replace(measured(FAIL), findings=shared)
    decision = next_step(snapshot(route_state(rollout_state(Phase.SOAKING)), measured=found))
    assert (decision.kind, decision.code) == (DecisionKind.PAUSE, "shared_cause")


def test_conversations_of_an_older_release_keep_their_arm_through_the_next_promotion():
    older = Warm(arm=OLDEST, until=T0 + timedelta(seconds=100))
    state = route_state(rollout_state(Phase.PROMOTING), warm=(older,))
    arms = (ready_arm(STABLE), ready_arm(CANDIDATE), ready_arm(OLDEST))
    during = next_step(snapshot(state, arms=arms))
    kept = {arm.spec.release_digest for arm in during.desired.arms}
    assert kept == {STABLE.release, CANDIDATE.release, OLDEST.release}
    assert [warm.arm for warm in during.state.warm] == [STABLE, OLDEST]


def test_a_candidate_that_is_still_warm_keeps_its_conversations_while_it_prepares():
    going_back = rollout_state(Phase.PREPARING, candidate=OLDEST, going_back=True, paused="wait")
    state = route_state(going_back, warm=(Warm(arm=OLDEST, until=T0 + timedelta(seconds=100)),))
    decision = next_step(snapshot(state, arms=(ready_arm(STABLE), ready_arm(OLDEST))))
    assert decision.desired.masks == ()
    assert roles(decision) == {Role.STABLE: STABLE.release, Role.BASELINE: OLDEST.release}


def test_a_freeze_keeps_the_former_stable_warm():
    freeze = Hold(kind=HoldKind.FREEZE, actor="grace", reason="incident", until=T0 + timedelta(hours=1))
    state = route_state(rollout_state(Phase.DONE), hold=freeze)
    late = next_step(snapshot(state, now=T0 + timedelta(seconds=200)))
    assert Role.BASELINE in roles(late)


def test_one_person_does_not_replace_anothers_freeze():
    freeze = Hold(kind=HoldKind.FREEZE, actor="grace", reason="incident", until=T0 + timedelta(hours=1))
    asked = request(Verb.HOLD, actor="ada", kind="no-advance", reason="mine")
    decision = next_step(snapshot(route_state(hold=freeze), requests=(asked,)))
    assert [hold.actor for hold in active_holds(decision.state, T0)] == ["grace", "ada"]
    assert is_frozen(decision.state, T0)


def test_an_approval_of_the_first_exposure_is_none_of_a_later_step():
    plan = canary_plan()
    plan = replace(plan, steps=tuple(replace(step, approval=True) for step in plan.steps))
    first = Approval(
        actor="grace", at=T0, release=CANDIDATE.release, effective=CANDIDATE.effective, policy_digest=POLICY
    )
    state = route_state(rollout_state(Phase.STEPPING, plan=plan), approvals=(first,))
    assert next_step(snapshot(state, measured=measured(PASS))).code == "approval_needed"
    asked = request(Verb.APPROVE, release=CANDIDATE.release)
    approved = next_step(snapshot(state, requests=(asked,), measured=measured(PASS)))
    assert approved.state.approvals[-1].step == 0
    assert next_step(snapshot(approved.state, measured=measured(PASS))).kind is DecisionKind.ADVANCE


OVER_OTHERS = [
    ("another's hold", {"hold": Hold(kind=HoldKind.NO_ADVANCE, actor="ada", reason="launch")}, {}, "held"),
    ("a missing approval", {}, {"plan": canary_plan(approval=True)}, "approval_needed"),
]


@pytest.mark.parametrize(
    ("state", "rollout", "code"), [row[1:] for row in OVER_OTHERS], ids=[r[0] for r in OVER_OTHERS]
)
def test_promoting_by_hand_overrides_gates_but_not_other_people(state, rollout, code):
    asked = request(Verb.PROMOTE, reason="I know better", full=True)
    before = route_state(rollout_state(Phase.STEPPING, **rollout), **state)
    assert next_step(snapshot(before, requests=(asked,))).answers[0].code == code


def test_an_author_does_not_promote_past_the_approval_of_others():
    given = Approval(actor="ada", at=T0, release=CANDIDATE.release, effective=CANDIDATE.effective, policy_digest=POLICY)
    rollout = rollout_state(Phase.STEPPING, plan=canary_plan(approval=True), authors=("grace",))
    asked = request(Verb.PROMOTE, actor="grace", reason="mine")
    decision = next_step(snapshot(route_state(rollout, approvals=(given,)), requests=(asked,)))
    assert decision.answers[0].code == "author_promotes"


# -- steps that probe, mirror, or wait for instances -------------------------------------------------------------------

SHADOW = replace(CANDIDATE, effective=shadow_configuration(CANDIDATE.effective))


def probed(**changes):
    found = Probed(release=CANDIDATE.release, effective=CANDIDATE.effective, seconds=6.0, asked=6)
    return replace(found, **changes)


def smoking(**changes):
    state = route_state(rollout_state(Phase.STEPPING, plan=plan_for(Strategy.BLUE_GREEN, replicas=1)))
    return next_step(snapshot(state, **{"probed": probed(), **changes}))


def test_a_smoke_in_which_every_probe_succeeded_for_long_enough_goes_on():
    decision = smoking()
    assert (decision.kind, decision.code) == (DecisionKind.ADVANCE, "gates_passed")
    assert decision.desired.split == 10_000


@pytest.mark.parametrize(
    "found",
    [None, probed(seconds=4.9), probed(asked=0), probed(release=NEXT.release), probed(effective=SHADOW.effective)],
    ids=["none", "too short", "no answer", "of another release", "of its shadow"],
)
def test_a_smoke_waits_for_probes_of_this_arm(found):
    decision = smoking(probed=found)
    assert (decision.kind, decision.code) == (DecisionKind.WAIT, "needs_evidence")
    assert decision.desired.split == 0


def smoke(outcome, **changes):
    found = Smoked(release=CANDIDATE.release, effective=CANDIDATE.effective, outcome=outcome, text=f"it {outcome}")
    return probed(smokes=True, smoke=replace(found, **changes))


@pytest.mark.parametrize("outcome", [SmokeOutcome.PASSED, SmokeOutcome.NONE_DECLARED])
def test_a_smoke_suite_that_passed_goes_on_and_says_so(outcome):
    decision = smoking(probed=smoke(outcome))
    assert (decision.kind, decision.code) == (DecisionKind.ADVANCE, "gates_passed")
    assert f"it {outcome}" in decision.reason


@pytest.mark.parametrize(
    "found",
    [probed(smokes=True), smoke(SmokeOutcome.PASSED, release=NEXT.release),
     smoke(SmokeOutcome.PASSED, effective=SHADOW.effective), smoke(SmokeOutcome.FAILED, release=NEXT.release)],
    ids=["still runs", "of another release", "of its shadow", "failed, of another release"],
)  # fmt: skip
def test_a_smoke_suite_is_waited_for(found):
    decision = smoking(probed=found)
    assert (decision.kind, decision.code, decision.desired.split) == (DecisionKind.WAIT, "needs_evidence", 0)


@pytest.mark.parametrize("outcome", [SmokeOutcome.ERROR, SmokeOutcome.TIMEOUT])
def test_a_smoke_suite_that_says_nothing_pauses_once_and_never_goes_on(outcome):
    decision = smoking(probed=smoke(outcome))
    assert (decision.kind, decision.code) == (DecisionKind.PAUSE, "smoke_error")
    paused = next_step(snapshot(decision.state, probed=smoke(outcome)))
    assert (paused.kind, paused.code, paused.desired.split) == (DecisionKind.WAIT, "paused", 0)


@pytest.mark.parametrize("paused", ["", "grace paused"])
def test_a_smoke_suite_that_failed_goes_back_also_while_paused(paused):
    rollout = rollout_state(Phase.STEPPING, plan=plan_for(Strategy.BLUE_GREEN), paused=paused)
    decision = next_step(snapshot(route_state(rollout), probed=smoke(SmokeOutcome.FAILED)))
    assert (decision.kind, decision.code) == (DecisionKind.ROLL_BACK, "smoke_failed")


@pytest.mark.parametrize("paused", ["", "grace paused"])
def test_a_probe_that_fails_rolls_back_also_while_paused(paused):
    rollout = rollout_state(Phase.STEPPING, plan=plan_for(Strategy.BLUE_GREEN), paused=paused)
    decision = next_step(snapshot(route_state(rollout), probed=probed(error="it answered 500")))
    assert (decision.kind, decision.code) == (DecisionKind.ROLL_BACK, "probe_failed")


def test_traffic_by_rules_that_fails_in_the_smoke_rolls_back():
    found = Measured(findings=(finding(GATES[2], FAIL),))
    assert smoking(measured=found).code == "gate_failed"


@pytest.mark.parametrize("verdict", [PASS, NO_DATA], ids=str)
def test_without_traffic_by_rules_the_probes_alone_decide(verdict):
    assert smoking(measured=Measured(findings=(finding(GATES[2], verdict),))).kind is DecisionKind.ADVANCE


def mirrored(pairs, **changes):
    state = route_state(rollout_state(Phase.STEPPING, plan=plan_for(Strategy.SHADOW, replicas=1), **changes))
    arms = (ready_arm(STABLE), ready_arm(SHADOW))
    return next_step(snapshot(state, arms=arms, measured=Measured(mature_seconds=20.0, pairs=pairs)))


def test_pairs_that_pass_start_the_candidate_itself_and_expose_nobody_before_it_is_ready():
    decision = mirrored(MirrorPairs(compared=500))
    assert decision.code == "gates_passed"
    rollout = decision.state.rollout
    assert (rollout.step, rollout.scaling) == (1, Scaling.STARTING)
    assert (decision.desired.split, decision.desired.mirror) == (0, 0)
    assert roles(decision) == {Role.STABLE: STABLE.release, Role.CANDIDATE: CANDIDATE.release}
    assert CANDIDATE.release in decision.desired.masks
    waiting = next_step(snapshot(decision.state, arms=(ready_arm(STABLE), ready_arm(SHADOW))))
    assert (waiting.kind, waiting.code) == (DecisionKind.WAIT, "starting")
    ready = next_step(snapshot(decision.state))
    assert (ready.kind, ready.code) == (DecisionKind.ADVANCE, "instances_ready")
    assert ready.desired.split == 5_000


@pytest.mark.parametrize(
    "pairs",
    [None, MirrorPairs(), MirrorPairs(compared=49), MirrorPairs(compared=500, diverged=501)],
    ids=["none", "empty", "too few", "most diverged"],
)
def test_pairs_that_prove_nothing_wait(pairs):
    decision = mirrored(pairs)
    assert (decision.kind, decision.code) == (DecisionKind.WAIT, "needs_evidence")
    assert (decision.desired.split, decision.desired.mirror) == (0, 20_000)


def test_pairs_that_prove_nothing_until_the_cap_pause_for_a_person():
    decision = mirrored(MirrorPairs(compared=10), phase_at=T0 - timedelta(hours=1))
    assert (decision.kind, decision.code) == (DecisionKind.PAUSE, "step_undecided")


def test_a_shadow_that_fails_where_stable_does_not_is_rolled_back():
    assert mirrored(MirrorPairs(compared=500, shadow_failed=100, stable_failed=1)).code == "mirror_failed"


@pytest.mark.parametrize("strategy", [Strategy.BLUE_GREEN, Strategy.SHADOW], ids=str)
def test_a_failed_gate_rolls_back_while_a_step_waits_for_its_instances(strategy):
    rollout = rollout_state(Phase.STEPPING, step=1, plan=plan_for(strategy), scaling=Scaling.STARTING)
    decision = next_step(snapshot(route_state(rollout), measured=measured(FAIL)))
    assert decision.code == "gate_failed"


def test_a_step_whose_instances_are_still_starting_is_not_promoted_by_hand():
    rollout = rollout_state(Phase.STEPPING, step=1, plan=plan_for(Strategy.ROLLING), scaling=Scaling.STARTING)
    decision = next_step(snapshot(route_state(rollout), requests=(request(Verb.PROMOTE, reason="ok"),)))
    assert decision.answers[0].code == "still_starting"


@pytest.mark.parametrize(
    ("hold", "paused", "code"),
    [
        (None, "grace paused", "paused"),
        (Hold(kind=HoldKind.NO_ADVANCE, actor="grace", reason="launch"), "", "held"),
    ],
    ids=["paused", "held"],
)
def test_a_soak_that_was_seen_for_long_enough_waits_for_the_person_who_stopped_it(hold, paused, code):
    state = route_state(rollout_state(Phase.SOAKING, paused=paused), hold=hold)
    found = Measured(findings=(finding(GATES[2], PASS),), mature_seconds=30.0)
    decision = next_step(snapshot(state, measured=found))
    assert (decision.kind, decision.code) == (DecisionKind.WAIT, code)


def test_where_nothing_was_compared_the_soak_is_over_only_once_success_has_passed():
    plan = plan_for(Strategy.BLUE_GREEN, gray=False)
    state = route_state(rollout_state(Phase.SOAKING, plan=plan))
    for verdict, kind in ((INCONCLUSIVE, DecisionKind.WAIT), (PASS, DecisionKind.FINISH)):
        found = Measured(findings=(finding(GATES[2], verdict),), mature_seconds=30.0)
        assert next_step(snapshot(state, measured=found)).kind is kind
    assert next_step(snapshot(state, measured=Measured(mature_seconds=30.0))).kind is DecisionKind.WAIT


@pytest.mark.parametrize("ended_by", ["itself", "a person", "the next release"])
def test_however_the_soak_ends_the_old_colour_is_scaled_down(ended_by):
    whole = replace(STABLE, replicas=3)
    rollout = rollout_state(Phase.SOAKING, plan=plan_for(Strategy.BLUE_GREEN), stable=whole)
    state = route_state(rollout, warm=(Warm(arm=whole, until=T0 + timedelta(seconds=100)),))
    asked = {
        "itself": (),
        "a person": (request(Verb.SKIP, reason="seen by hand"),),
        "the next release": (request(Verb.START, release=NEXT.release),),
    }[ended_by]
    found = Measured(findings=(finding(GATES[2], PASS),), mature_seconds=30.0)
    decision = next_step(snapshot(state, measured=found, requests=asked))
    assert [(warm.arm.release, warm.arm.replicas) for warm in decision.state.warm] == [(STABLE.release, 1)]


@pytest.mark.parametrize(
    ("units", "verdict", "must_pass", "kind"),
    [
        ((0, 0), NO_DATA, False, DecisionKind.ADVANCE),
        ((0, 40), NO_DATA, False, DecisionKind.WAIT),
        ((40, 0), NO_DATA, False, DecisionKind.WAIT),
        ((0, 0), NO_DATA, True, DecisionKind.WAIT),
        ((0, 0), ERROR, False, DecisionKind.WAIT),
    ],
    ids=["neither reports", "the candidate fell silent", "stable is silent", "it must pass", "it is broken"],
)
def test_an_agent_that_never_reports_is_not_held_up_by_gates_on_what_is_reported(units, verdict, must_pass, kind):
    gate = replace(GATES[2], name="guardrail", kind=GateKind.GUARDRAIL, must_pass=must_pass)
    plan = canary_plan()
    plan = replace(plan, steps=tuple(replace(step, gates=(*step.gates, gate)) for step in plan.steps))
    seen = measured(PASS)
    silent = finding(gate, verdict, units_candidate=units[0], units_stable=units[1])
    state = route_state(rollout_state(Phase.STEPPING, plan=plan))
    decision = next_step(snapshot(state, measured=replace(seen, findings=(*seen.findings, silent))))
    assert decision.kind is kind


@pytest.mark.parametrize("supersede", [False, True])
@pytest.mark.parametrize("verdict", [INCONCLUSIVE, NO_DATA, PASS], ids=str)
def test_a_soak_that_is_the_only_proof_is_not_cut_short_by_the_next_release(verdict, supersede):
    state = route_state(rollout_state(Phase.SOAKING, plan=plan_for(Strategy.BLUE_GREEN, gray=False)))
    found = Measured(findings=(finding(GATES[2], verdict),), mature_seconds=1.0)
    asked = request(Verb.START, release=NEXT.release, supersede=supersede)
    decision = next_step(snapshot(state, measured=found, requests=(asked,)))
    if verdict is PASS:
        assert decision.code == "started"
    elif supersede:
        assert (decision.kind, decision.code) == (DecisionKind.ROLL_BACK, "superseded")
        assert decision.state.stable.release == STABLE.release
    else:
        assert decision.answers[0].code == "rollout_live"
        assert decision.state.rollout.candidate.release == CANDIDATE.release


ADA_HOLDS = Hold(kind=HoldKind.NO_ADVANCE, actor="ada", reason="looking at it")
STOPPED_SOAKS = [
    ("paused", {"paused": "ada paused: looking at it"}, {}, {}, "soak_paused"),
    ("held", {}, {"hold": ADA_HOLDS}, {}, "held"),
    ("not measured", {}, {}, {"error": "no telemetry"}, "soak_unseen"),
]


@pytest.mark.parametrize("first", [False, True], ids=["over a stable", "the first release"])
@pytest.mark.parametrize(
    ("rollout", "state", "seen", "code"), [row[1:] for row in STOPPED_SOAKS], ids=[row[0] for row in STOPPED_SOAKS]
)
def test_a_start_does_not_end_a_soak_that_a_person_stopped_or_nobody_sees(rollout, state, seen, code, first):
    soaking = rollout_state(Phase.SOAKING, **rollout, **({"stable": None} if first else {}))
    before = route_state(soaking, **state, **({"history": (), "warm": ()} if first else {}))
    for supersede in (False, True) if first else (False,):
        asked = request(Verb.START, release=NEXT.release, supersede=supersede)
        decision = next_step(snapshot(before, requests=(asked,), measured=measured(PASS, seconds=1.0, **seen)))
        assert (decision.answers[0].kind, decision.answers[0].code) == (AnswerKind.REFUSED, code)
        assert decision.state.rollout == soaking


@pytest.mark.parametrize(
    ("rollout", "state", "seen"), [row[1:4] for row in STOPPED_SOAKS], ids=[row[0] for row in STOPPED_SOAKS]
)
def test_superseding_takes_such_a_soak_back_to_the_stable_before_it(rollout, state, seen):
    before = route_state(rollout_state(Phase.SOAKING, **rollout), **state)
    asked = request(Verb.START, release=NEXT.release, supersede=True)
    decision = next_step(snapshot(before, requests=(asked,), measured=measured(PASS, seconds=1.0, **seen)))
    assert decision.code == "superseded"
    assert decision.state.rollout.phase is Phase.ROLLING_BACK
    assert decision.state.stable == STABLE


def test_a_persons_own_hold_does_not_keep_their_start_from_ending_the_soak():
    before = route_state(rollout_state(Phase.SOAKING), hold=ADA_HOLDS)
    asked = request(Verb.START, actor="ada", release=NEXT.release)
    assert next_step(snapshot(before, requests=(asked,), measured=measured(INCONCLUSIVE))).code == "started"


@pytest.mark.parametrize(
    ("code", "seen"),
    [
        (
            "trigger_fired",
            {"measured": measured(PASS, alarms=(Alarm(name="burst", action=AlarmAction.ROLL_BACK, reason="9 of 10"),))},
        ),
        ("candidate_crashed", {"arms": (ready_arm(STABLE), ready_arm(CANDIDATE, state=InstanceState.CRASH_LOOP))}),
    ],
)
def test_a_start_during_a_soak_that_goes_back_for_another_reason_waits_too(code, seen):
    asked = request(Verb.START, release=NEXT.release)
    decision = next_step(snapshot(route_state(rollout_state(Phase.SOAKING)), requests=(asked,), **seen))
    assert (decision.code, decision.answers) == (code, ())


STOPS = [request(Verb.ABORT), request(Verb.ROLLBACK), request(Verb.ROLLBACK, to=STABLE.release)]


@pytest.mark.parametrize("stop", STOPS, ids=["abort", "rollback", "rollback to its stable"])
@pytest.mark.parametrize("phase", [*LIVE, Phase.ROLLING_BACK])
def test_what_a_person_stopped_does_not_start_anyway(stop, phase):
    start = request(Verb.START, release=NEXT.release, supersede=True)
    decision = next_step(snapshot(route_state(rollout_state(phase)), requests=(start, stop)))
    assert {answer.request_id: answer.code for answer in decision.answers}[start.id] == "aborted"
    assert decision.state.rollout.phase is Phase.ROLLING_BACK
    meant = next_step(snapshot(route_state(rollout_state(phase)), requests=(stop, start)))
    assert start.id not in {answer.request_id for answer in meant.answers}, "asked after it, it waits its turn"


def test_an_abort_cancels_a_retry_that_was_asked_before_it():
    state = route_state(rollout_state(Phase.ROLLED_BACK), blocked=(CANDIDATE.release,))
    retry = request(Verb.RETRY, release=CANDIDATE.release, reason="the shop was down")
    decision = next_step(snapshot(state, requests=(retry, request(Verb.ABORT))))
    assert {answer.request_id: answer.code for answer in decision.answers}[retry.id] == "aborted"
    assert decision.state.rollout == state.rollout
    assert next_step(snapshot(state, requests=(request(Verb.ABORT), retry))).state.rollout.live


def test_a_rollback_that_ends_nothing_cancels_no_start():
    start = request(Verb.START, release=NEXT.release)
    further = request(Verb.ROLLBACK, to=OLDEST.release)
    superseding = request(Verb.START, release=NEXT.release, supersede=True)
    live = route_state(rollout_state(Phase.STEPPING))
    decision = next_step(snapshot(live, requests=(superseding, further)))
    assert [answer.code for answer in decision.answers] == ["rollout_live"], "only the rollback is refused"
    assert decision.state.rollout.cause == "superseded"
    settled = next_step(snapshot(route_state(), requests=(start, further)))
    assert {answer.request_id: answer.code for answer in settled.answers}[start.id] == "rollout_live"


def test_going_back_to_one_that_fails_at_once_loses_nothing_of_the_history():
    state = route_state(None, stable=CANDIDATE, history=(STABLE, OLDEST, NEXT))
    begun = next_step(snapshot(state, requests=(request(Verb.ROLLBACK, reason="bad answers"),)))
    ready = next_step(snapshot(begun.state))
    promoted = next_step(snapshot(ready.state))
    assert (promoted.code, promoted.state.history) == ("promoted", (OLDEST, NEXT, CANDIDATE))
    broken = (ready_arm(STABLE, state=InstanceState.CRASH_LOOP), ready_arm(CANDIDATE))
    crashed = next_step(snapshot(promoted.state, arms=broken))
    assert (crashed.code, crashed.state.stable) == ("candidate_crashed", CANDIDATE)
    assert crashed.state.history == (OLDEST, NEXT), "what is stable again is no former one, the others stay"
    back = next_step(snapshot(crashed.state, arms=broken))
    further = next_step(snapshot(back.state, requests=(request(Verb.ROLLBACK, reason="still bad"),)))
    assert further.state.rollout.candidate == OLDEST


def test_nobody_goes_back_to_what_is_stable_now():
    state = route_state(None, history=(STABLE, OLDEST))
    assert next_step(snapshot(state, requests=(request(Verb.ROLLBACK),))).state.rollout.candidate == OLDEST
    named = next_step(snapshot(state, requests=(request(Verb.ROLLBACK, to=STABLE.release),)))
    assert (named.answers[0].kind, named.answers[0].code) == (AnswerKind.REFUSED, "already_stable")
    alone = next_step(snapshot(replace(state, history=(STABLE,)), requests=(request(Verb.ROLLBACK),)))
    assert alone.answers[0].code == "no_previous"
