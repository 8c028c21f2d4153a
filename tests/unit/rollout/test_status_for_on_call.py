"""Status when something is wrong: no controller, a pause, nothing that serves, an answer nobody heard."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from fairway.rollout.describe import describe_status
from fairway.rollout.next_step import next_step
from fairway.rollout.people import People
from fairway.rollout.people import Role as PersonRole
from fairway.rollout.port import JournalEntry
from fairway.rollout.requests import Verb
from fairway.rollout.status import status_wire
from fairway.rollout.unheard import LISTED
from fairway.rollout.values import Phase
from fairway.rollout.wire import decision_to_wire, snapshot_to_bytes, state_to_wire
from fairway.testing.memory_ledger import MemoryLedger
from fairway.testing.rollout_cases import (
    CANDIDATE,
    GATES,
    ROUTE,
    STABLE,
    T0,
    finding,
    measured,
    request,
    rollout_state,
    route_state,
    snapshot,
)
from fairway.testing.virtual_clock import VirtualClock
from fairway.traffic.fence import Fence
from fairway.units import Verdict

SEEN = {
    "at": T0.timestamp() - 3,
    "kind": "wait",
    "code": "needs_evidence",
    "reason": "needs 400 more",
    "split": 5000,
    "evidence": [],
    "arms": [{"release": STABLE.release, "instances": [{"id": "1", "endpoint": "x", "state": "ready", "detail": ""}]}],
    "gateways": 1,
    "confirmed": "1.1",
    "confirmed_by": {"g1": "1.1"},
    "alarms": [],
}


def recorded(state, *, alive=False, requests=(), people=None, at=T0, **changes):
    """A ledger whose last event was decided on ``state``; its controller has gone, or lives."""
    ledger = MemoryLedger(clock=VirtualClock())
    lease = ledger.acquire_lease(ROUTE, "controller-1", seconds=10.0)
    for asked in requests:
        ledger.submit(asked)
    seen = replace(snapshot(state, requests=requests, **changes), now=at)
    seen = seen if people is None else replace(seen, people=people)
    decision = next_step(seen)
    entry = JournalEntry(
        route=ROUTE,
        fence=Fence(term=lease.term, seq=1),
        at=at,
        kind=decision.kind.value,
        code=decision.code,
        reason=decision.reason,
        actor=decision.actor,
        state=state_to_wire(decision.state),
        decision=decision_to_wire(decision),
        snapshot=snapshot_to_bytes(seen),
        answers=decision.answers,
    )
    ledger.journal(entry, lease)
    if not alive:
        ledger.release_lease(lease)
    return ledger


def undecided():
    found = (finding(GATES[0], Verdict.INCONCLUSIVE, units_needed=1240),)
    return {"measured": replace(measured(), findings=found)}


def test_what_a_controller_that_has_gone_saw_is_told_as_that_and_nothing_is_foretold():
    ledger = recorded(route_state(rollout_state(Phase.STEPPING)), **undecided())
    for view, last in ((SEEN, None), (None, SEEN)):  # gone just now, or for long
        status = status_wire(ledger, ROUTE, view, now=T0, last_view=last)
        assert (status["observed"], status["alarms"]) == (None, [])
        assert status["waits_for"]["code"] == "no_controller"
        screen = describe_status(status)
        assert "controller none is running: start one with fairway up" in screen
        assert "last seen  " in screen
        assert "1.0.0 1 of 1 ready; what is true now is not known" in screen
        for claim in ("observed ", "gateways ", "at this traffic", "waits for"):
            assert claim not in screen
        assert json.loads(json.dumps(status, allow_nan=False)) == status


def test_while_a_controller_lives_its_view_is_what_is_observed():
    ledger = recorded(route_state(rollout_state(Phase.STEPPING)), alive=True, **undecided())
    status = status_wire(ledger, ROUTE, SEEN, now=T0, last_view=SEEN, trouble="the controller keeps ending")
    assert status["last_seen"] is None
    assert status["controller_trouble"] == ""
    assert "observed   1.0.0: 1 of 1 ready" in describe_status(status)


def test_why_no_controller_stays_alive_is_said_instead_of_how_to_start_one():
    ledger = recorded(route_state(rollout_state(Phase.STEPPING)))
    screen = describe_status(status_wire(ledger, ROUTE, None, now=T0, trouble="the controller keeps ending: full"))
    assert "controller the controller keeps ending: full" in screen
    assert "start one with" not in screen


@pytest.mark.parametrize(
    ("phase", "ways"),
    [
        (Phase.STEPPING, "fairway rollout resume | fairway rollout skip --reason '…' | fairway rollout abort"),
        (Phase.SOAKING, "fairway rollout resume | fairway rollout skip --reason '…' | fairway rollout abort"),
        (Phase.PREPARING, "fairway rollout resume | fairway rollout abort"),
    ],
    ids=str,
)
def test_a_paused_rollout_says_what_a_person_can_do_and_each_of_it_is_obeyed(phase, ways):
    state = route_state(rollout_state(phase, paused="undecided after 20s"))
    screen = describe_status(status_wire(recorded(state, alive=True), ROUTE, None, now=T0))
    assert f"next       {ways}" in screen
    for way in ways.split(" | "):
        verb = Verb(way.removeprefix("fairway rollout ").split()[0])
        (answer,) = next_step(snapshot(state, requests=(request(verb, reason="looked at"),))).answers
        assert answer.kind.value == "applied", way


def test_a_rollout_that_goes_on_by_itself_asks_nobody():
    screen = describe_status(status_wire(recorded(route_state(rollout_state(Phase.STEPPING))), ROUTE, None, now=T0))
    assert "next  " not in screen


def test_a_first_release_that_was_taken_away_leaves_nothing_and_status_says_what_to_deploy():
    gone = rollout_state(Phase.ROLLED_BACK, stable=None)
    screen = describe_status(status_wire(recorded(route_state(gone, stable=None, history=())), ROUTE, None, now=T0))
    assert "stable     NONE: every request is refused (503), until a release is deployed" in screen
    assert "next       fairway deploy <release>" in screen


def refused_hold(asked_before: float):
    """``bob`` asked for a hold, and somebody else has the roles."""
    hold = replace(request(Verb.HOLD, actor="bob", reason="lunch", kind="no-advance"), at=T0)
    people = People(roles={PersonRole.RELEASE_MANAGER: ("ada",)})
    return recorded(route_state(), requests=(hold,), people=people, at=T0 + timedelta(seconds=asked_before))


def test_a_refusal_that_came_when_nobody_was_there_any_more_is_listed_for_a_while():
    ledger = refused_hold(90)
    status = status_wire(ledger, ROUTE, None, now=T0 + timedelta(minutes=10))
    (one,) = status["refused"]
    assert (one["verb"], one["by"], one["code"]) == ("hold", "bob", "role_missing")
    assert "REFUSED    hold by bob, asked at" in describe_status(status)
    assert status_wire(ledger, ROUTE, None, now=T0 + timedelta(minutes=2) + LISTED)["refused"] == []


def test_a_refusal_whoever_asked_was_told_is_not_listed_again():
    assert status_wire(refused_hold(0.3), ROUTE, None, now=T0 + timedelta(minutes=1))["refused"] == []


def test_a_version_nobody_serves_is_named_by_its_digest():
    view = {**SEEN, "arms": [{"release": "sha256:" + "9" * 64, "instances": []}]}
    ledger = recorded(route_state(None, stable=CANDIDATE))
    assert "99999999 0 of 0 ready" in describe_status(status_wire(ledger, ROUTE, None, now=T0, last_view=view))
