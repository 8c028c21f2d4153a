"""Status: one screen, and the same as a value."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from fairway.observe.fold import ArmBlock, Block
from fairway.rollout.approvals import with_points
from fairway.rollout.describe import describe_status
from fairway.rollout.describe_plan import describe_forecast
from fairway.rollout.forecast import Traffic
from fairway.rollout.next_step import next_step
from fairway.rollout.people import BrokenGlass, Override, People, Quorum, Role
from fairway.rollout.port import JournalEntry
from fairway.rollout.requests import HoldKind, Verb
from fairway.rollout.status import status_wire
from fairway.rollout.traffic_rate import TrafficRate, traffic_rate
from fairway.rollout.values import Approval, Hold, Phase
from fairway.rollout.wire import decision_to_wire, state_to_wire
from fairway.testing.memory_ledger import MemoryLedger
from fairway.testing.rollout_cases import (
    CANDIDATE,
    GATES,
    NEXT,
    POLICY,
    ROUTE,
    STABLE,
    T0,
    canary_plan,
    finding,
    measured,
    request,
    rollout_state,
    route_state,
    snapshot,
)
from fairway.testing.virtual_clock import VirtualClock
from fairway.traffic.fence import Fence
from fairway.traffic.table import Role as ArmRole
from fairway.units import Verdict

PASS, OPEN = Verdict.PASS, Verdict.INCONCLUSIVE


def yes(actor="grace", **changes):
    base = Approval(actor=actor, at=T0, release=CANDIDATE.release, effective=CANDIDATE.effective, policy_digest=POLICY)
    return replace(base, **changes)


def recorded(state, *, requests=(), blocks=(), **changes):
    """A ledger whose last event led to ``state``; the controller that wrote it is alive."""
    ledger = MemoryLedger(clock=VirtualClock())
    lease = ledger.acquire_lease(ROUTE, "controller-1", seconds=10.0)
    decision = next_step(snapshot(state, **changes))
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
    for asked in requests:
        ledger.submit(asked)
    ledger.add_blocks(ROUTE, [block.to_wire() for block in blocks])
    return ledger


def block(number, *, new, old=0):
    """Ten seconds in which ``new`` conversations began and ``old`` went on."""
    units = tuple(f"{number * 1000 + n:016x}" for n in range(new)) + tuple(f"{n:016x}" for n in range(old))
    started = T0.timestamp() - 400 + number * 10
    arm = ArmBlock(role=ArmRole.STABLE, assigned=new, served=new, finished=new, active=tuple(sorted(units)))
    return Block(t0=started, seconds=10.0, fence=Fence(term=1, seq=5), arms={STABLE.release: arm})


def test_a_conversation_counts_once_and_those_of_the_first_block_may_be_old():
    assert traffic_rate([]) is None
    assert traffic_rate([block(1, new=500)]) is None
    seen = [block(1, new=500), block(2, new=20, old=9), block(3, new=20, old=9)]
    found = traffic_rate(seen)
    assert found == TrafficRate(units=49, seconds=20.0)
    assert traffic_rate(seen, now=T0.timestamp() - 360) == found
    assert traffic_rate(seen, now=T0.timestamp() - 180) == TrafficRate(units=49, seconds=200.0)  # then nobody came
    assert found.seconds_until(245, share=0.1) == pytest.approx(1000.0)
    assert TrafficRate(units=0, seconds=20.0).seconds_until(1, share=0.1) is None


def test_status_says_how_many_more_conversations_and_how_long_at_this_traffic():
    undecided = (finding(GATES[0], OPEN, units_needed=1240), finding(GATES[1], PASS), finding(GATES[2], PASS))
    state = route_state(rollout_state(Phase.STEPPING, step=1))
    seen = [block(n, new=12) for n in range(40)]
    ledger = recorded(state, blocks=seen, measured=replace(measured(PASS), findings=undecided))
    status = status_wire(ledger, ROUTE, None, now=T0)
    assert status["waits_for"]["conversations"] == 1240
    assert status["waits_for"]["seconds"] == pytest.approx(1240 / (1.2 * 0.1))
    assert status["waits_for"]["text"] == "needs about 1,240 more conversations, about 3 h at this traffic"
    assert "waits for  needs about 1,240 more conversations, about 3 h at this traffic" in describe_status(status)


def test_without_traffic_no_time_is_promised():
    undecided = tuple(finding(gate, OPEN, units_needed=60) for gate in GATES)
    ledger = recorded(route_state(rollout_state(Phase.STEPPING)), measured=replace(measured(OPEN), findings=undecided))
    status = status_wire(ledger, ROUTE, None, now=T0)
    assert status["waits_for"]["text"] == "needs about 60 more conversations, no traffic comes now"
    assert status["waits_for"]["seconds"] is None


def test_a_latched_verdict_stands_beside_the_figures_of_now():
    latched = replace(
        finding(GATES[0], PASS, units_candidate=900, bad_candidate=11, units_stable=9000, bad_stable=80),
        reason="1 of 400 candidate conversations failed against 30 of 4,000 on stable (e-value 21 ≥ 20)",
    )
    findings = (latched, finding(GATES[1], OPEN), finding(GATES[2], PASS))
    ledger = recorded(route_state(rollout_state(Phase.STEPPING)), measured=replace(measured(OPEN), findings=findings))
    status = status_wire(ledger, ROUTE, None, now=T0)
    assert status["evidence"][0]["latched"] == latched.reason
    assert status["evidence"][0]["present"] == "11 of 900 against 80 of 9,000 on stable"
    assert status["evidence"][1]["latched"] == ""
    screen = describe_status(status)
    assert "failures (must pass): PASS - 1 of 400 candidate" in screen
    assert "now 11 of 900 against 80 of 9,000 on stable" in screen


def test_gates_that_only_must_not_fail_share_a_line_until_one_fails():
    state = route_state(rollout_state(Phase.STEPPING))
    quiet = recorded(state, measured=measured(PASS, OPEN, OPEN))
    screen = describe_status(status_wire(quiet, ROUTE, None, now=T0))
    assert "evidence   success (must not fail): INCONCLUSIVE" in screen.splitlines()
    assert len(status_wire(quiet, ROUTE, None, now=T0)["evidence"]) == len(GATES)
    loud = recorded(state, measured=measured(PASS, OPEN, Verdict.ERROR))
    screen = describe_status(status_wire(loud, ROUTE, None, now=T0))
    assert "evidence   success (must not fail): ERROR - success says ERROR" in screen.splitlines()


def test_figures_that_have_not_moved_are_not_told_twice():
    same = replace(
        finding(GATES[0], PASS, units_candidate=400, bad_candidate=1, units_stable=4000, bad_stable=30),
        reason="1 of 400 candidate conversations failed against 30 of 4,000 on stable (e-value 21 ≥ 20)",
    )
    findings = (same, finding(GATES[1], OPEN), finding(GATES[2], PASS))
    ledger = recorded(route_state(rollout_state(Phase.STEPPING)), measured=replace(measured(OPEN), findings=findings))
    assert "now 1 of 400" not in describe_status(status_wire(ledger, ROUTE, None, now=T0))


def test_approvals_given_missing_and_expired_are_told_for_each_point():
    plan = with_points(canary_plan(quorum=Quorum(count=2, expires=3600.0)), ("first", 100_000))
    old = yes("linus", at=T0 - timedelta(hours=2))
    state = route_state(rollout_state(Phase.PREPARING, plan=plan), approvals=(yes(), old))
    status = status_wire(recorded(state), ROUTE, None, now=T0)
    first, last = status["approvals"]
    assert (first["before"], first["given"], first["missing"], first["due"]) == ("first exposure", ["grace"], 1, True)
    assert first["expired"] == ["linus"]
    assert (last["before"], last["missing"], last["due"]) == ("100%", 2, False)
    screen = describe_status(status)
    assert "approvals  before first exposure: 1 of 2 (grace), 1 missing, counts until" in screen
    assert "; expired: linus" in screen
    assert (
        "why        approval_needed: 1.1.0 waits for 1 of 2 approvals before first exposure (grace approved)" in screen
    )


def test_a_yes_given_before_anything_is_started_is_told_with_whose_it_is_and_for_what():
    early = yes(release=NEXT.release, effective=NEXT.effective, at=T0 - timedelta(hours=1))
    spent = yes("ken", release=NEXT.release, used_by="1.2.0-r1")
    for rollout in (None, rollout_state(Phase.STEPPING)):
        ledger = recorded(route_state(rollout, approvals=(early, replace(early, actor="linus", step=0), spent)))
        named = status_wire(ledger, ROUTE, None, now=T0, version_of={NEXT.release: NEXT.version}.get)
        assert [(one["by"], one["version"], one["step"]) for one in named["early_approvals"]] == [
            ("grace", NEXT.version, None),
            ("linus", NEXT.version, 1),
        ]
        screen = describe_status(named)
        assert f"approvals  {NEXT.version}, which no rollout is about, before first exposure: grace at " in screen
        assert f"approvals  {NEXT.version}, which no rollout is about, before what follows step 1: linus" in screen
    assert status_wire(recorded(route_state(None)), ROUTE, None, now=T0)["early_approvals"] == []


def test_what_is_blocked_is_told_by_its_version():
    state = route_state(rollout_state(Phase.ROLLED_BACK), blocked=(CANDIDATE.release, NEXT.release))
    bare = describe_status(status_wire(recorded(state), ROUTE, None, now=T0))
    assert f"blocked    {CANDIDATE.version} (" in bare
    named = status_wire(recorded(state), ROUTE, None, now=T0, version_of={NEXT.release: NEXT.version}.get)
    assert named["blocked"] == [CANDIDATE.release, NEXT.release]
    assert named["blocked_versions"] == {CANDIDATE.release: CANDIDATE.version, NEXT.release: NEXT.version}
    assert f", {NEXT.version} (" in describe_status(named)


def test_requests_nobody_has_answered_are_told_with_who_takes_them_back():
    start = replace(request(Verb.START, actor="ken", release=NEXT.release), id="3fa9c1d2aa")
    back = replace(request(Verb.WITHDRAW, actor="grace", request=start.id), id="77777777bb")
    people = People(roles={Role.DEVELOPER: ("ken",)})
    status = status_wire(recorded(route_state(), requests=(start, back)), ROUTE, None, now=T0, people=people)
    assert [one["withdrawn_by"] for one in status["requests"]] == ["grace", None]
    assert status["requests"][0]["roles"] == ["developer"]
    assert "request    3fa9c1d2 start by ken at 2026-01-01 01:00, not answered, withdrawn by grace" in describe_status(
        status
    )


def test_an_override_and_broken_glass_cannot_be_read_past():
    override = Override(verb="promote_full", actor="grace", at=T0, reason="hotfix", past="failures INCONCLUSIVE")
    glass = BrokenGlass(request="r", seq=8, verb="promote", actor="ken", at=T0, reason="site is down")
    done = rollout_state(Phase.DONE, overrides=(override,))
    status = status_wire(recorded(route_state(done, glass=(glass,))), ROUTE, None, now=T0)
    screen = describe_status(status)
    assert "OVERRIDE   promote full by grace at 2026-01-01 01:00, not passed (failures INCONCLUSIVE): hotfix" in screen
    assert "GLASS      broken by ken at 2026-01-01 01:00 (promote): site is down; a note is owed" in screen
    noted = replace(glass, note="ticket 12")
    explained = status_wire(recorded(route_state(done, glass=(noted,))), ROUTE, None, now=T0)
    assert "GLASS" not in describe_status(explained)


def test_a_hold_that_is_over_is_not_told():
    hold = Hold(kind=HoldKind.NO_ADVANCE, actor="ada", reason="launch", until=T0 + timedelta(hours=1))
    ledger = recorded(route_state(rollout_state(Phase.STEPPING), hold=hold))
    assert "hold       no-advance by ada until 2026-01-01 02:00: launch" in describe_status(
        status_wire(ledger, ROUTE, None, now=T0)
    )
    assert status_wire(ledger, ROUTE, None, now=T0 + timedelta(hours=2))["hold"] is None


def test_every_hold_is_told_the_freeze_first():
    launch = Hold(kind=HoldKind.NO_ADVANCE, actor="ada", reason="launch")
    freeze = Hold(kind=HoldKind.FREEZE, actor="grace", reason="incident", until=T0 + timedelta(hours=1))
    ledger = recorded(route_state(rollout_state(Phase.STEPPING), hold=launch, holds_beside=(freeze,)))
    status = status_wire(ledger, ROUTE, None, now=T0)
    assert ([one["by"] for one in status["holds"]], status["hold"]["by"]) == (["grace", "ada"], "grace")
    told = describe_status(status)
    first = "hold       freeze by grace until 2026-01-01 02:00: incident"
    assert f"{first}\nhold       no-advance by ada: launch" in told


VIEW = {
    "at": 1.0,
    "kind": "wait",
    "code": "waiting_for_gateways",
    "reason": "gateways have not confirmed the split yet",
    "split": 5000,
    "evidence": [],
    "arms": [
        {
            "release": CANDIDATE.release,
            "instances": [
                {"id": "1", "endpoint": "127.0.0.1:1", "state": "ready", "restarts": 0, "detail": ""},
                {"id": "2", "endpoint": "127.0.0.1:2", "state": "crash_loop", "restarts": 4, "detail": "exit code 1"},
            ],
        }
    ],
    "gateways": 2,
    "confirmed": "1.4",
    "confirmed_by": {"g1": "1.5", "g2": "1.4"},
    "tripped": [],
    "pinned": None,
    "telemetry_error": "",
    "alarms": [{"name": "sample_ratio", "action": "pause", "reason": "the arms do not fit the split"}],
}


def test_what_is_desired_stands_beside_what_is_observed_and_by_which_gateways():
    ledger = recorded(route_state(rollout_state(Phase.STEPPING)))
    status = status_wire(ledger, ROUTE, VIEW, now=T0)
    assert not status["observed"]["in_force"]
    screen = describe_status(status)
    assert "desired    1.0.0 as stable x1, 1.1.0 as candidate x1; 5% to the candidate" in screen
    assert "observed   1.1.0: 1 of 2 ready (crash loop at 127.0.0.1:2: exit code 1)" in screen
    assert "gateways   not all serve fence 1.5 yet: g2 at 1.4" in screen
    assert "ALARM      sample_ratio (pause): the arms do not fit the split" in screen
    both = status_wire(ledger, ROUTE, VIEW | {"confirmed": "1.5", "confirmed_by": {"g1": "1.5", "g2": "1.5"}}, now=T0)
    assert "gateways   all 2 serve it (g1, g2), fence 1.5" in describe_status(both)


@pytest.mark.parametrize("phase", [*Phase, None])
def test_every_phase_has_a_screen_and_a_value_that_is_json(phase):
    state = route_state() if phase is None else route_state(rollout_state(phase))
    status = status_wire(recorded(state), ROUTE, None, now=T0)
    assert json.loads(json.dumps(status, allow_nan=False)) == status
    assert describe_status(status).startswith("route      support/production (event 1)")


def test_a_route_where_nothing_has_happened_has_a_status_too():
    status = status_wire(MemoryLedger(clock=VirtualClock()), ROUTE, None)
    assert describe_status(status).splitlines()[1:] == [
        "stable     none yet",
        "controller none is running: start one with fairway up",
    ]


def test_a_plan_says_how_long_each_step_takes_at_this_traffic():
    plan = with_points(canary_plan(quorum=Quorum(count=2, roles=(Role.QA,), expires=3600.0)), ("first", 100_000))
    text = describe_forecast(plan, Traffic(per_minute=60))
    assert "2 people approve (qa), which counts for 1h, before the first exposure" in text
    assert "   2 people approve (qa), which counts for 1h, before the next" in text
    assert "so it pauses for a person" in text
    assert "never decided at this traffic" in describe_forecast(plan, Traffic(per_minute=0))
    assert "at this traffic" not in describe_forecast(plan, None)


def test_status_says_whose_yes_a_release_of_former_parts_waits_for():
    plan = canary_plan(steps=(), approval=True, quorum=Quorum(count=2))
    ledger = recorded(route_state(rollout_state(Phase.PREPARING, plan=plan, going_back=True)))
    (asked,) = status_wire(ledger, ROUTE, None, now=T0)["approvals"]
    assert (asked["before"], asked["needed"], asked["missing"], asked["due"]) == ("first exposure", 2, 2, True)


def test_a_mix_that_nobody_verified_is_told_wherever_it_is_named():
    mix = replace(STABLE, unverified=True)
    wire = status_wire(recorded(route_state(None, stable=mix, history=(NEXT,))), ROUTE, None)
    assert (wire["stable"]["unverified"], "unverified" in wire["former"][0]) == (True, False)
    assert f"stable     {STABLE.version} (" in describe_status(wire)
    assert "UNVERIFIED: a mix of former parts" in describe_status(wire)
    assert "UNVERIFIED" not in describe_status(status_wire(recorded(route_state(None, stable=STABLE)), ROUTE, None))
