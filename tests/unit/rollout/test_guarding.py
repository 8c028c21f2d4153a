"""A policy that asks less than stable's needs somebody else's yes before anybody meets the release."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fairway.rollout.deciding import DecisionKind, ReleaseFacts
from fairway.rollout.describe import describe_status
from fairway.rollout.describe_plan import describe_forecast, plan_report
from fairway.rollout.guarding import NOT_KNOWN, plan_to_follow
from fairway.rollout.next_step import next_step
from fairway.rollout.people import People, Quorum, Role
from fairway.rollout.port import JournalEntry
from fairway.rollout.requests import AnswerKind, Verb
from fairway.rollout.status import status_wire
from fairway.rollout.values import Phase
from fairway.rollout.wire import decision_to_wire, state_to_wire
from fairway.testing.memory_ledger import MemoryLedger
from fairway.testing.rollout_cases import (
    NEXT,
    ROUTE,
    T0,
    canary_plan,
    ready_arm,
    request,
    rollout_state,
    route_state,
    snapshot,
)
from fairway.testing.rollout_cases import STABLE as NOW_STABLE
from fairway.traffic.fence import Fence

PEOPLE = People(
    roles={
        Role.RELEASE_MANAGER: ("grace", "ada"),
        Role.QA: ("linus",),
        Role.PLATFORM_ENGINEER: ("pat",),
    }
)
STRICT = canary_plan(5_000, 50_000)
LAX = canary_plan(50_000)


def facts(**changes: object) -> ReleaseFacts:
    base = ReleaseFacts(arm=NEXT, authors=("ada",), plan=LAX, compared=True, stable_plan=STRICT)
    return replace(base, **changes)  # type: ignore[arg-type]


def asked(
    verb: Verb, found: ReleaseFacts, *, actor: str = "grace", reason: str = "", state=None, people=PEOPLE, **args
):
    taken = snapshot(
        route_state(None) if state is None else state,
        requests=(request(verb, actor=actor, reason=reason, release=NEXT.release, **args),),
        releases={NEXT.release: found},
        arms=(ready_arm(NOW_STABLE), ready_arm(NEXT)),
        people=people,
    )
    return next_step(taken)


def started(found: ReleaseFacts, **changes):
    decision = asked(Verb.START, found, **changes)
    assert decision.answers[0].kind is AnswerKind.APPLIED, decision.answers
    return decision


def waits(decision):
    state = decision.state
    return next_step(snapshot(state, arms=(ready_arm(NOW_STABLE), ready_arm(NEXT)), people=PEOPLE))


def test_a_laxer_policy_waits_for_somebody_who_releases_though_neither_policy_asks_for_anybody():
    begun = started(facts())
    assert "its policy asks less than stable's: first exposure: more than 5% at once" in begun.reason
    waiting = waits(begun)
    assert (waiting.kind, waiting.code) == (DecisionKind.WAIT, "approval_needed")
    assert "its policy asks less than stable's" in waiting.reason
    assert asked(Verb.APPROVE, facts(), actor="ada", state=begun.state).answers[0].code == "author_approves"
    assert asked(Verb.APPROVE, facts(), actor="linus", state=begun.state).answers[0].code == "not_an_approver"
    yes = asked(Verb.APPROVE, facts(), actor="grace", state=begun.state)
    assert "first exposure: more than 5% at once" in yes.reason
    assert waits(yes).kind is DecisionKind.ADVANCE


def test_the_same_policy_waits_for_nobody():
    begun = started(facts(plan=STRICT))
    assert begun.state.rollout.plan.loosens == ()
    assert waits(begun).kind is DecisionKind.ADVANCE


def test_where_stables_policy_asks_for_people_a_laxer_one_is_asked_by_that_rule():
    quorum = Quorum(count=2, roles=(Role.QA, Role.RELEASE_MANAGER), expires=3600.0)
    strict = replace(
        STRICT, approval=True, quorum=quorum, steps=(STRICT.steps[0], replace(STRICT.steps[1], approval=True))
    )
    mine = replace(LAX, approval=True, quorum=Quorum(count=1, authors_may=True))
    plan = plan_to_follow(facts(plan=mine, stable_plan=strict), LAX, route_state(None))
    assert plan.quorum == Quorum(count=2, roles=quorum.roles, expires=3600.0, authors_may=False)
    assert (plan.approval, plan.steps[0].approval) == (True, True)
    assert "approval: 1 instead of 2 people" in plan.loosens


def test_what_nobody_can_read_counts_as_stricter():
    plan = plan_to_follow(facts(stable_plan=None), LAX, route_state(None))
    assert (plan.approval, plan.loosens) == (True, (NOT_KNOWN,))
    assert plan_to_follow(facts(compared=False, stable_plan=None), LAX, route_state(None)) == LAX


def test_a_yes_to_less_does_not_cover_more_loosening():
    begun = started(facts())
    yes = asked(Verb.APPROVE, facts(), actor="grace", state=begun.state).state
    (given,) = yes.approvals
    assert given.loosens == begun.state.rollout.plan.loosens
    more = replace(yes.rollout.plan, loosens=(*yes.rollout.plan.loosens, "soak: 0s instead of 30m"))
    waiting = replace(yes, rollout=replace(yes.rollout, plan=more))
    assert next_step(snapshot(waiting, arms=(ready_arm(NOW_STABLE), ready_arm(NEXT)))).code == "approval_needed"


def test_a_person_who_releases_may_take_it_upon_them_with_a_reason():
    assert asked(Verb.START, facts(), override=True).answers[0].code == "reason_needed"
    denied = asked(Verb.START, facts(), actor="pat", reason="go", override=True)
    assert denied.answers[0].code == "role_missing"
    own = asked(Verb.START, facts(), actor="ada", reason="go", override=True)
    assert own.answers[0].code == "author_loosens"
    begun = started(facts(), reason="fewer steps at night", override=True)
    (one,) = begun.state.rollout.overrides
    assert (one.verb, one.actor, one.whole) == ("start", "grace", False)
    assert "first exposure: more than 5% at once" in one.past
    assert waits(begun).kind is DecisionKind.ADVANCE


def test_alone_and_with_nobody_listed_an_author_says_why():
    begun = started(facts(), actor="ada", reason="my own machine", override=True, people=People())
    assert begun.state.rollout.overrides[0].reason == "my own machine"


def test_no_override_goes_past_approvals_that_stables_policy_asks_for():
    strict = replace(STRICT, approval=True)
    answer = asked(Verb.START, facts(stable_plan=strict), reason="go", override=True).answers[0]
    assert (answer.kind, answer.code) == (AnswerKind.REFUSED, "approval_needed")


@pytest.mark.parametrize("verb", [Verb.START, Verb.RETRY])
def test_beside_a_stable_nobody_knows_nothing_starts_without_a_person_who_says_why(verb: Verb):
    unknown = facts(plan=STRICT, unknown="stable 1.0.0 is not in this ledger")
    state = route_state(rollout_state(Phase.ROLLED_BACK, candidate=NEXT))
    answer = asked(verb, unknown, reason="again", state=state).answers[0]
    assert (answer.code, answer.message) == ("stable_unknown", "stable 1.0.0 is not in this ledger")
    begun = started(unknown, reason="restored from a backup", override=True)
    assert begun.state.rollout.overrides[0].past == "stable 1.0.0 is not in this ledger"


def test_a_retry_of_a_laxer_release_asks_as_well():
    state = route_state(rollout_state(Phase.ROLLED_BACK, candidate=NEXT))
    begun = asked(Verb.RETRY, facts(), reason="the outage is over", state=state)
    assert begun.answers[0].kind is AnswerKind.APPLIED
    assert waits(begun).code == "approval_needed"


def test_the_plan_and_the_status_say_what_is_laxer():
    plan = plan_to_follow(facts(), LAX, route_state(None))
    line = "LAXER     than stable's policy: first exposure: more than 5% at once"
    assert line in describe_forecast(plan, None)
    assert plan_report(plan, None)["loosens"] == list(plan.loosens)
    begun = started(facts())
    ledger = MemoryLedger()
    lease = ledger.acquire_lease(ROUTE, "controller", seconds=10.0)
    assert lease is not None
    entry = JournalEntry(
        route=ROUTE,
        fence=Fence(term=lease.term, seq=1),
        at=T0,
        kind=begun.kind.value,
        code=begun.code,
        reason=begun.reason,
        actor=begun.actor,
        state=state_to_wire(begun.state),
        decision=decision_to_wire(begun),
    )
    ledger.journal(entry, lease)
    status = status_wire(ledger, ROUTE, None, now=T0)
    assert status["rollout"]["loosens"] == list(plan.loosens)
    assert "LAXER      than stable's policy: first exposure: more than 5% at once" in describe_status(status)
