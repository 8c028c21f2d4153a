"""Whose yes counts for what, until when, and that nobody is exposed without the quorum."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairway.rollout.approvals import asked, missing, points, sentence, subject_of, with_points
from fairway.rollout.config import RolloutSection
from fairway.rollout.deciding import DecisionKind
from fairway.rollout.next_step import next_step
from fairway.rollout.people import People, Quorum, Role
from fairway.rollout.plan import compile_plan
from fairway.rollout.refusals import INSTEAD
from fairway.rollout.requests import AnswerKind, Request, Verb
from fairway.rollout.values import Approval, Phase, Scaling
from fairway.testing.rollout_cases import (
    CANDIDATE,
    NEXT,
    POLICY,
    ROUTE,
    STABLE,
    T0,
    canary_plan,
    digest_of,
    measured,
    ready_arm,
    request,
    rollout_state,
    route_state,
    snapshot,
)
from fairway.traffic.port import RouterObserved
from fairway.units import Verdict

PASS, FAIL = Verdict.PASS, Verdict.FAIL


def yes(actor="grace", *, at=T0, step=None, **changes):
    base = Approval(
        actor=actor,
        at=at,
        release=CANDIDATE.release,
        effective=CANDIDATE.effective,
        policy_digest=POLICY,
        step=step,
        roles=(Role.RELEASE_MANAGER,),
    )
    return replace(base, **changes)


def preparing(*approvals, quorum, **changes):
    plan = canary_plan(approval=True, quorum=quorum)
    return route_state(rollout_state(Phase.PREPARING, plan=plan, **changes), approvals=approvals)


# -- what counts -------------------------------------------------------------------------------------------------------

TWO = Quorum(count=2)
NOT_ENOUGH = [
    ("nobody", (), TWO),
    ("one of two", (yes(),), TWO),
    ("the same person twice", (yes(), yes(at=T0 - timedelta(hours=1))), TWO),
    ("the same person in capitals", (yes("grace@example.org"), yes("Grace@Example.org")), TWO),
    ("an author", (yes(), yes("ada")), TWO),
    ("an author in capitals", (yes(), yes("Ada")), TWO),
    ("one without the role", (yes(roles=(Role.DEVELOPER,)),), Quorum(roles=(Role.QA,))),
    ("one that has expired", (yes(at=T0 - timedelta(seconds=60)),), Quorum(expires=60.0)),
    ("one of another step", (yes(step=0),), Quorum()),
    ("one that another attempt was exposed on", (yes(used_by="1.1.0-before"),), Quorum()),
]


@pytest.mark.parametrize(("given_", "quorum"), [row[1:] for row in NOT_ENOUGH], ids=[row[0] for row in NOT_ENOUGH])
def test_first_exposure_waits_when_the_quorum_is_not_met_by(given_, quorum):
    assert next_step(snapshot(preparing(*given_, quorum=quorum, authors=("ada",)))).code == "approval_needed"


ENOUGH = [
    ("two people", (yes(), yes("linus")), TWO),
    ("one with one of the roles", (yes(roles=(Role.QA, Role.DEVELOPER)),), Quorum(roles=(Role.QA, Role.ADMIN))),
    ("one that has a second left", (yes(at=T0 - timedelta(seconds=59)),), Quorum(expires=60.0)),
    ("an author whom the policy lets", (yes("ada"),), Quorum(authors_may=True)),
]


@pytest.mark.parametrize(("given_", "quorum"), [row[1:] for row in ENOUGH], ids=[row[0] for row in ENOUGH])
def test_first_exposure_goes_ahead_on(given_, quorum):
    assert next_step(snapshot(preparing(*given_, quorum=quorum, authors=("ada",)))).code == "candidate_ready"


def flipped(digest: str, place: int) -> str:
    place = len("sha256:") + place % 64
    return digest[:place] + ("0" if digest[place] != "0" else "1") + digest[place + 1 :]


@given(st.sampled_from(["release", "effective", "policy_digest"]), st.integers(0, 63))
@settings(max_examples=200, deadline=None)
def test_any_changed_byte_of_release_configuration_or_policy_voids_an_approval(what, place):
    given_ = yes()
    state = preparing(given_, quorum=Quorum())
    assert missing(state, state.rollout, T0, entering=0) is None
    changed = replace(given_, **{what: flipped(getattr(given_, what), place)})
    other = replace(state, approvals=(changed,))
    assert missing(other, other.rollout, T0, entering=0) is not None
    assert next_step(snapshot(other)).code == "approval_needed"


POLICY_CHANGES = st.one_of(
    st.tuples(st.just("dwell"), st.integers(1, 599)),
    st.tuples(st.just("warm"), st.integers(1, 1799)),
    st.tuples(st.just("alpha_fail"), st.floats(0.001, 0.039)),
    st.tuples(st.just("steps"), st.sampled_from([["5%", "50%"], ["1%"], ["5%", "10%", "30%", "51%"]])),
    st.tuples(st.just("gates"), st.sampled_from([{"minimum_units": 21}, {"success": "99.4%"}])),
    st.tuples(st.just("approval"), st.sampled_from([{"quorum": 2}, {"expires": "1h"}, {"authors_may": True}])),
)


@given(POLICY_CHANGES)
@settings(max_examples=100, deadline=None)
def test_another_policy_is_another_digest_and_voids_what_was_approved_under_the_first(change):
    before = compile_plan(RolloutSection.model_validate({"approval": "required"}))
    after = compile_plan(RolloutSection.model_validate({"approval": "required"} | dict([change])))
    given_ = yes(policy_digest=before.policy_digest)
    rollout = rollout_state(Phase.PREPARING, plan=replace(after, quorum=Quorum()))
    found = asked((given_,), subject_of(rollout), step=None, now=T0)
    assert not found.met
    assert asked((given_,), subject_of(replace(rollout, plan=before)), step=None, now=T0).met


# -- giving and taking back --------------------------------------------------------------------------------------------


def facts_with(state, plan, **changes):
    taken = snapshot(state, plan=plan, **changes)
    releases = {digest: replace(facts, plan=plan) for digest, facts in taken.releases.items()}
    return replace(taken, releases=releases)


def test_two_people_approve_one_after_the_other_and_status_can_say_who():
    plan = canary_plan(approval=True, quorum=TWO)
    state = route_state(rollout_state(Phase.PREPARING, plan=plan))
    first = next_step(facts_with(state, plan, requests=(request(Verb.APPROVE, release=CANDIDATE.release),)))
    assert first.answers[0].message == "grace approved 1.1.0 (1 of 2)"
    waits = next_step(facts_with(first.state, plan))
    assert waits.reason == "1.1.0 waits for 1 of 2 approvals before first exposure (grace approved)"
    second = request(Verb.APPROVE, actor="linus", release=CANDIDATE.release)
    both = next_step(facts_with(first.state, plan, requests=(second,)))
    gone_on = next_step(facts_with(both.state, plan))
    assert gone_on.code == "candidate_ready"
    assert {one.used_by for one in gone_on.state.approvals} == {state.rollout.id}


def test_an_approval_that_an_exposure_was_made_on_expires_no_longer_but_can_be_taken_back():
    plan = canary_plan(approval=True, quorum=Quorum(expires=60.0))
    used = yes(used_by="1.1.0-r1", at=T0 - timedelta(days=1))
    stepping = route_state(rollout_state(Phase.STEPPING, plan=plan), approvals=(used,))
    assert next_step(snapshot(stepping, measured=measured(PASS))).kind is DecisionKind.ADVANCE
    asked_for = request(Verb.REVOKE, reason="the shop changed its mind", release=CANDIDATE.release)
    taken = next_step(snapshot(stepping, requests=(asked_for,), measured=measured(PASS)))
    assert (taken.kind, taken.code) == (DecisionKind.PAUSE, "approval_revoked")
    assert next_step(snapshot(taken.state, measured=measured(PASS))).code == "paused"
    resumed = next_step(snapshot(taken.state, requests=(request(Verb.RESUME),), measured=measured(PASS)))
    assert next_step(snapshot(resumed.state, measured=measured(PASS))).code == "approval_needed"


def test_a_yes_given_again_once_people_are_exposed_expires_no_longer():
    plan = with_points(canary_plan(quorum=Quorum(count=2, expires=25.0)), ("first",))
    used = (yes(used_by="1.1.0-r1"), yes("linus", used_by="1.1.0-r1"))
    state = route_state(rollout_state(Phase.STEPPING, plan=plan, step=1), approvals=used)
    for asked_for in (
        request(Verb.REVOKE, reason="let me look", release=CANDIDATE.release),
        request(Verb.RESUME),
        request(Verb.APPROVE, release=CANDIDATE.release),
    ):
        state = next_step(facts_with(state, plan, requests=(asked_for,), measured=measured(PASS))).state
    later = T0 + timedelta(seconds=60)
    assert next_step(facts_with(state, plan, now=later, measured=measured(PASS))).code == "gates_passed"


def test_a_quorum_that_is_not_met_again_is_not_kept_and_says_that_its_exposure_is_past():
    plan = with_points(canary_plan(quorum=Quorum(count=3, expires=25.0)), ("first",))
    state = route_state(rollout_state(Phase.STEPPING, plan=plan, step=1), approvals=(yes("linus", used_by="1.1.0-r1"),))
    asked_for = request(Verb.APPROVE, release=CANDIDATE.release)
    state = next_step(facts_with(state, plan, requests=(asked_for,), measured=measured(PASS))).state
    assert [one.used_by for one in state.approvals] == ["1.1.0-r1", None]
    waits = next_step(facts_with(state, plan, measured=measured(PASS)))
    assert waits.code == "approval_needed"
    assert waits.reason == (
        "1.1.0 waits for 1 of 3 approvals to go on: one for first exposure, which is past, was taken back"
        " (linus, grace approved)"
    )
    later = next_step(facts_with(state, plan, now=T0 + timedelta(seconds=60), measured=measured(PASS)))
    assert "2 of 3" in later.reason


@pytest.mark.parametrize(("phase", "entered"), [(Phase.STEPPING, 1), (Phase.PROMOTING, 4)])
def test_an_approval_taken_back_while_instances_of_the_step_start_stops_its_exposure(phase, entered):
    plan = with_points(canary_plan(), (10_000, 100_000))
    given_ = (yes(step=0, used_by="1.1.0-r1"), yes(step=3, used_by="1.1.0-r1"))
    starting = rollout_state(phase, plan=plan, step=min(entered, 3), step_from=None, scaling=Scaling.STARTING)
    state = route_state(starting, approvals=given_)
    assert next_step(snapshot(state)).code == "instances_ready"
    asked_for = request(Verb.REVOKE, reason="wrong release", release=CANDIDATE.release)
    taken = next_step(snapshot(state, requests=(asked_for,)))
    assert taken.kind is DecisionKind.PAUSE
    resumed = next_step(snapshot(taken.state, requests=(request(Verb.RESUME),)))
    assert next_step(snapshot(resumed.state)).code == "approval_needed"


def test_somebody_elses_approval_is_taken_back_only_with_the_role():
    people = People(roles={Role.RELEASE_MANAGER: ("grace",), Role.QA: ("linus",), Role.DEVELOPER: ("ken",)})
    state = preparing(yes("linus"), quorum=Quorum())
    for actor, answer in (("ken", "role_missing"), ("grace", ""), ("linus", "")):
        asked_for = request(Verb.REVOKE, actor=actor, reason="wrong release", release=CANDIDATE.release, of="linus")
        assert next_step(snapshot(state, requests=(asked_for,), people=people)).answers[0].code == answer


@pytest.mark.parametrize(
    ("actor", "roles", "answer"),
    [
        ("linus", (), ""),
        ("ken", (), "not_an_approver"),
        ("ken", (Role.DEVELOPER,), ""),
        ("linus", (Role.ADMIN,), "not_an_approver"),
    ],
)
def test_who_may_approve_is_the_policys_word_and_else_the_matrix(actor, roles, answer):
    people = People(roles={Role.QA: ("linus",), Role.DEVELOPER: ("ken",)})
    plan = canary_plan(approval=True, quorum=Quorum(roles=roles))
    state = route_state(rollout_state(Phase.PREPARING, plan=plan))
    asked_for = request(Verb.APPROVE, actor=actor, release=CANDIDATE.release)
    assert next_step(facts_with(state, plan, requests=(asked_for,), people=people)).answers[0].code == answer


def test_every_approval_an_exposure_was_made_on_is_spent_by_it():
    plan = with_points(canary_plan(), ("first", 30_000, 100_000))
    given_ = (yes(used_by="1.1.0-r1"), yes(step=1), yes(step=3), yes("linus", step=0))
    state = route_state(rollout_state(Phase.STEPPING, plan=plan, step=1), approvals=given_)
    advanced = next_step(snapshot(state, measured=measured(PASS)))
    assert [one.used_by for one in advanced.state.approvals] == ["1.1.0-r1", "1.1.0-r1", None, None]
    promoted = next_step(snapshot(state, requests=(request(Verb.PROMOTE, actor="linus", full=True, reason="hotfix"),)))
    assert [one.used_by for one in promoted.state.approvals] == ["1.1.0-r1", "1.1.0-r1", "1.1.0-r1", None]


def test_what_no_policy_asks_for_is_not_approved():
    asked_for = request(Verb.APPROVE, release=NEXT.release)
    assert next_step(snapshot(route_state(), requests=(asked_for,))).answers[0].code == "approval_not_asked"


LATER = with_points(canary_plan(), ("first", 100_000))


@pytest.mark.parametrize(
    ("step", "before", "answer", "counts_for"),
    [
        (1, None, "approval_not_due", ()),
        (1, "100%", "", (3,)),
        (1, "first", "", (None,)),
        (1, "30%", "no_such_point", ()),
        (3, None, "", (3,)),
    ],
)
def test_a_yes_is_for_what_is_waited_for_or_named_and_never_for_something_else(step, before, answer, counts_for):
    used = yes("linus", used_by="1.1.0-r1")
    state = route_state(rollout_state(Phase.STEPPING, plan=LATER, step=step), approvals=(used,))
    named = {} if before is None else {"before": before}
    asked_for = request(Verb.APPROVE, release=CANDIDATE.release, **named)
    taken = next_step(facts_with(state, LATER, requests=(asked_for,)))
    assert taken.answers[0].code == answer
    assert tuple(one.step for one in taken.state.approvals[1:]) == counts_for
    if before == "100%":
        assert taken.answers[0].message == "grace approved 1.1.0 before 100%"
        full = request(Verb.PROMOTE, actor="ken", full=True, reason="hotfix")
        assert next_step(snapshot(taken.state, requests=(full,))).code == "promoted_by_person"


@pytest.mark.parametrize("named", ["40%", "second", "50.5%"])
@pytest.mark.parametrize("live", [True, False])
def test_a_point_the_policy_does_not_have_is_called_that_with_those_it_has(named, live):
    rollout = rollout_state(Phase.PREPARING, plan=LATER) if live else None
    asked_for = request(Verb.APPROVE, release=CANDIDATE.release, before=named)
    taken = next_step(facts_with(route_state(rollout), LATER, requests=(asked_for,)))
    assert (taken.answers[0].code, taken.state.approvals) == ("no_such_point", ())
    assert taken.answers[0].message == f"{named} is no point at which the policy of 1.1.0 asks: first, 100%"
    assert "100%" not in INSTEAD["no_such_point"] + INSTEAD["approval_not_due"]


def test_a_first_release_waits_for_what_any_of_its_steps_asks():
    plan = with_points(canary_plan(), ("first", 30_000))
    later = replace(plan, approval=False)
    for asks_late in (plan, later):
        nothing_yet = replace(route_state(), stable=None, history=())
        start = request(Verb.START, release=CANDIDATE.release)
        begun = next_step(facts_with(nothing_yet, asks_late, requests=(start,)))
        assert begun.state.rollout.plan.approval
        assert next_step(facts_with(begun.state, asks_late)).code == "approval_needed"


def test_shares_of_the_policy_become_points_of_the_plan():
    policy = {"steps": ["5%", "10%", "50%", "100%"], "approval": {"steps": ["first", "50%", "100%"], "quorum": 2}}
    plan = compile_plan(RolloutSection.model_validate(policy))
    assert points(plan, entering=0) == (None,)
    assert points(plan, entering=1) == (None,)
    assert points(plan, entering=2) == (None, 1)
    assert points(plan, entering=3) == (None, 1, 2)
    state = route_state(rollout_state(Phase.STEPPING, plan=plan, step=2))
    lacking = asked((), subject_of(state.rollout), step=2, now=T0)
    assert sentence(lacking, version="1.1.0", plan=plan) == "1.1.0 waits for 2 of 2 approvals before 100%"


def test_a_failed_gate_while_waiting_for_an_approval_still_rolls_back():
    plan = canary_plan()
    plan = replace(plan, steps=tuple(replace(step, approval=True) for step in plan.steps))
    for approvals in ((), (yes(step=1),)):
        state = route_state(rollout_state(Phase.STEPPING, plan=plan), approvals=approvals)
        assert next_step(snapshot(state, measured=measured(PASS))).code == "approval_needed"
        assert next_step(snapshot(state, measured=measured(PASS, FAIL))).code == "gate_failed"


# -- the law -----------------------------------------------------------------------------------------------------------

ACTORS = ("ada", "grace", "linus", "ken", "Grace")
PEOPLE = People(roles={Role.RELEASE_MANAGER: ("grace", "ada"), Role.QA: ("linus",), Role.DEVELOPER: ("ken",)})
EXPIRES = 100.0
LAW_PLAN = with_points(canary_plan(approval=True, quorum=Quorum(count=2, expires=EXPIRES)), ("first", 30_000, 100_000))


@dataclass
class Oracle:
    """Keeps its own books of every yes, in the simplest way, and judges each exposure by them."""

    given: list = field(default_factory=list)
    used: set = field(default_factory=set)

    def note(self, verb, actor, step, now):
        actor = actor.casefold()
        if verb is Verb.REVOKE:
            self.given = [one for one in self.given if one[0] != actor]
        else:
            self.given.append((actor, step, now))

    def allows(self, rollout, entered, now):
        needed = [None, *[left for left in (1, 3) if entered > left]]
        return all(self._met(rollout, point, now) for point in needed)

    def stands_on(self, rollout, point, now):
        """People are exposed past ``point`` already: a quorum that is met again is one they are exposed on."""
        self._met(rollout, point, now)

    def _met(self, rollout, point, now):
        counted = set()
        for one in self.given:
            actor, step, at = one
            by = {attempt for attempt, used in self.used if used == one}
            alive = rollout in by or (not by and (now - at).total_seconds() < EXPIRES)
            if step == point and actor != "ada" and alive:
                counted.add(actor)
        if len(counted) < 2:
            return False
        newest = {actor: max(at for a, s, at in self.given if (a, s) == (actor, point)) for actor in counted}
        self.used |= {(rollout, (actor, point, at)) for actor, at in newest.items()}
        return True


moves = st.lists(
    st.one_of(
        st.tuples(st.sampled_from([Verb.APPROVE, Verb.APPROVE, Verb.APPROVE, Verb.REVOKE]), st.sampled_from(ACTORS)),
        st.tuples(
            st.sampled_from(
                [Verb.PROMOTE, Verb.SKIP, Verb.RESUME, Verb.RETRY, Verb.START, Verb.ABORT, Verb.LIFT_BLOCK]
            ),
            st.sampled_from(["grace", "linus"]),
        ),
        st.tuples(st.just("full"), st.just("grace")),
        st.tuples(st.just("time"), st.sampled_from([1, 40, 70, 120])),
        st.tuples(st.just("tick"), st.sampled_from([PASS, PASS, PASS, FAIL])),
    ),
    max_size=40,
)


def exposure_of(rollout):
    if rollout is None or not rollout.live or rollout.phase in (Phase.PREPARING, Phase.ROLLING_BACK):
        return 0
    return rollout.step + 1 if rollout.phase is Phase.STEPPING else len(rollout.plan.steps) + 1


def already_past(rollout, point):
    return exposure_of(rollout) > (0 if point is None else point + 1)


def asked_by(move, number, now):
    verb, actor = move
    args = {"release": CANDIDATE.release}
    if verb == "full":
        verb, args = Verb.PROMOTE, {"full": True}
    return Request(id=f"r{number:07d}", route=ROUTE, verb=verb, actor=actor, at=now, args=args, reason="because")


@given(moves)
@settings(max_examples=400, deadline=None)
def test_law_no_exposure_without_the_quorum_in_whatever_order_requests_expiries_and_revocations_arrive(story):
    """The one law of approvals; the oracle shares no code with what it judges."""
    oracle, now = Oracle(), T0
    state = route_state(rollout_state(Phase.PREPARING, plan=LAW_PLAN, authors=("ada",)))
    for number, (what, value) in enumerate(story):
        if what == "time":
            now += timedelta(seconds=value)
            continue
        asks = () if what == "tick" else (asked_by((what, value), number, now),)
        state, now = one_tick(state, oracle, asks, now, value if what == "tick" else PASS)
        state, now = one_tick(state, oracle, (), now, PASS)


def one_tick(state, oracle, asks, now, verdict):
    arms = (ready_arm(STABLE), ready_arm(CANDIDATE))
    base = snapshot(
        replace(state, table=""), now=now, arms=arms, measured=measured(verdict), requests=asks, people=PEOPLE
    )
    releases = {d: replace(facts, plan=LAW_PLAN, authors=("ada",)) for d, facts in base.releases.items()}
    router = RouterObserved(confirmed=base.state.changed_by, gateways=1)
    before = base.state.rollout
    if before is not None and before.phase is Phase.STEPPING and before.step_from is None:
        counting = replace(before, step_from=0.0, counted_from=0.0)
        base = replace(base, state=replace(base.state, rollout=counting))
    decision = next_step(replace(base, releases=releases, router=router))
    after = decision.state.rollout
    for ask, answer in zip(asks, decision.answers, strict=False):
        if answer.kind is AnswerKind.APPLIED and ask.verb in (Verb.APPROVE, Verb.REVOKE):
            step = decision.state.approvals[-1].step if ask.verb is Verb.APPROVE else None
            oracle.note(ask.verb, ask.actor, step, now)
            if ask.verb is Verb.APPROVE and after is not None and already_past(after, step):
                oracle.stands_on(after.id, step, now)
    if exposure_of(after) > (exposure_of(before) if before is not None and after.id == before.id else 0):
        entered = len(LAW_PLAN.steps) if after.phase is Phase.PROMOTING else after.step
        assert oracle.allows(after.id, entered, now), (decision.code, decision.state.approvals)
    return decision.state, now + timedelta(seconds=1)


def test_the_law_has_stories_that_reach_the_whole():
    """The law would hold of a rollout that never moves; this one does."""
    story = [(Verb.APPROVE, "grace"), (Verb.APPROVE, "linus")] + [("tick", PASS)] * 2
    oracle, now = Oracle(), T0
    state = route_state(rollout_state(Phase.PREPARING, plan=LAW_PLAN, authors=("ada",)))
    for number, move in enumerate(story * 3):
        asks = () if move[0] == "tick" else (asked_by(move, number, now),)
        state, now = one_tick(state, oracle, asks, now, PASS)
        state, now = one_tick(state, oracle, (), now, PASS)
    assert state.rollout.phase in (Phase.PROMOTING, Phase.SOAKING, Phase.DONE), state.rollout


def test_an_approval_of_another_release_says_so():
    asked_for = request(Verb.APPROVE, release=digest_of("e"))
    assert next_step(snapshot(route_state(), requests=(asked_for,))).answers[0].code == "unknown_release"
