"""Laws of the decision, on states nobody thought of."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairway.rollout.deciding import DecisionKind, Measured
from fairway.rollout.desired import desired_of
from fairway.rollout.evidence import MirrorPairs, Probed
from fairway.rollout.instances import instances_of
from fairway.rollout.judged import judged
from fairway.rollout.mirroring import judge_pairs
from fairway.rollout.next_step import next_step
from fairway.rollout.reconcile import ApplyTable, DrainArm, EnsureArm, reconcile
from fairway.rollout.replay import replay
from fairway.rollout.requests import HoldKind, Verb
from fairway.rollout.values import Hold, Phase, Scaling, Served, Strategy
from fairway.rollout.wire import (
    decision_to_wire,
    snapshot_from_bytes,
    snapshot_to_bytes,
    state_from_wire,
    state_to_wire,
)
from fairway.targets.port import InstanceState
from fairway.targets.shadow import shadow_configuration
from fairway.testing.rollout_cases import (
    CANDIDATE,
    GATES,
    NEXT,
    STABLE,
    T0,
    canary_plan,
    finding,
    plan_for,
    ready_arm,
    request,
    rollout_state,
    route_state,
    snapshot,
)
from fairway.traffic.fence import ZERO_FENCE, Fence
from fairway.traffic.port import RouterObserved
from fairway.traffic.table import Role
from fairway.units import Verdict

FORWARD = (DecisionKind.ADVANCE, DecisionKind.FINISH)

SHADOW = replace(CANDIDATE, effective=shadow_configuration(CANDIDATE.effective))
PLANS = (
    canary_plan(),
    *(plan_for(strategy) for strategy in (Strategy.BLUE_GREEN, Strategy.ROLLING, Strategy.SHADOW)),
    plan_for(Strategy.BLUE_GREEN, gray=False),
)

verdicts = st.sampled_from(Verdict)
arms = st.lists(
    st.builds(
        ready_arm,
        st.sampled_from([STABLE, CANDIDATE, NEXT, SHADOW]),
        state=st.sampled_from(InstanceState),
        count=st.integers(1, 3),
    ),
    max_size=4,
    unique_by=lambda arm: (arm.release_digest, arm.effective_digest),
).map(tuple)
findings = st.tuples(verdicts, verdicts, verdicts, st.booleans()).map(
    lambda drawn: (
        finding(GATES[0], drawn[0]),
        finding(GATES[1], drawn[1]),
        finding(GATES[2], drawn[2], stable_fails_too=drawn[3]),
    )
)
measurements = st.builds(
    Measured,
    findings=st.one_of(st.just(()), findings),
    mature_seconds=st.floats(0, 2000),
    shared_cause=st.sampled_from(["", "both arms fail"]),
    theta=st.one_of(st.none(), st.floats(1, 5000)),
    error=st.sampled_from(["", "the gateway does not answer"]),
    pairs=st.one_of(
        st.none(),
        st.builds(
            MirrorPairs,
            compared=st.integers(0, 2000),
            shadow_failed=st.sampled_from([0, 0, 1, 40]),
            diverged=st.integers(0, 2000),
        ),
    ),
)
probes = st.one_of(
    st.none(),
    st.builds(
        Probed,
        release=st.sampled_from([CANDIDATE.release, NEXT.release]),
        effective=st.just(CANDIDATE.effective),
        seconds=st.floats(0, 30),
        asked=st.integers(0, 30),
        error=st.sampled_from(["", "", "it answered 500"]),
    ),
)
routers = st.builds(
    RouterObserved,
    confirmed=st.one_of(st.none(), st.builds(Fence, term=st.integers(0, 2), seq=st.integers(0, 9))),
    gateways=st.integers(0, 3),
)
holds = st.one_of(
    st.none(),
    st.builds(
        Hold,
        kind=st.sampled_from(HoldKind),
        actor=st.just("grace"),
        reason=st.just("launch"),
        until=st.sampled_from([None, T0 - timedelta(seconds=1), T0 + timedelta(hours=1)]),
    ),
)
asked = st.lists(
    st.one_of(
        st.builds(
            request, st.sampled_from([Verb.PROMOTE, Verb.PAUSE, Verb.RESUME]), reason=st.sampled_from(["", "ok"])
        ),
        st.builds(request, st.sampled_from([Verb.ABORT, Verb.ROLLBACK])),
        st.builds(
            request,
            st.just(Verb.START),
            release=st.sampled_from([NEXT.release, CANDIDATE.release, "sha256:nonsense"]),
            supersede=st.booleans(),
        ),
    ),
    max_size=3,
    unique_by=lambda each: each.id,
).map(tuple)


@st.composite
def rollouts(draw):
    plan = draw(st.sampled_from(PLANS))
    replicas = draw(st.sampled_from([1, 3]))
    stable = draw(st.sampled_from([None, STABLE, replace(STABLE, replicas=3)]))
    return rollout_state(
        draw(st.sampled_from(Phase)),
        plan=plan,
        step=draw(st.integers(0, len(plan.steps) - 1)),
        candidate=replace(CANDIDATE, replicas=replicas),
        paused=draw(st.sampled_from(["", "grace paused"])),
        step_from=draw(st.sampled_from([None, 0.0])),
        stable=stable,
        telemetry_lost_at=draw(st.sampled_from([None, T0 - timedelta(seconds=60)])),
        phase_at=draw(st.sampled_from([T0 - timedelta(seconds=5), T0 - timedelta(hours=1), T0 + timedelta(hours=1)])),
        scaling=Scaling.EXPOSED if stable is None else draw(st.sampled_from(Scaling)),
    )


live_rollouts = rollouts().filter(lambda rollout: rollout.phase is not Phase.STEPPING or rollout.stable is not None)
"""A first release never steps: there is nothing to compare it with."""


@st.composite
def snapshots(draw, requests=asked):
    rollout = draw(st.one_of(st.none(), live_rollouts))
    state = route_state(rollout, hold=draw(holds))
    taken = snapshot(state, arms=draw(arms), measured=draw(measurements), requests=draw(requests), probed=draw(probes))
    if draw(st.booleans()):
        taken = replace(taken, router=draw(routers))
    if draw(st.booleans()):
        taken = replace(taken, state=replace(taken.state, table="sha256:of another table"))
    return taken


nobody_asks = st.just(())


def in_favour(plan, step, scaling):
    """A step in which everything speaks for going on: states drawn at random hardly ever are one."""
    rollout = rollout_state(
        Phase.STEPPING,
        plan=plan,
        step=step,
        candidate=replace(CANDIDATE, replicas=3),
        stable=replace(STABLE, replicas=3),
        scaling=scaling,
    )
    return snapshot(
        route_state(rollout),
        arms=tuple(ready_arm(ref, count=3) for ref in (STABLE, CANDIDATE, SHADOW)),
        measured=Measured(
            findings=tuple(finding(gate, Verdict.PASS) for gate in plan.steps[step].gates),
            mature_seconds=1000.0,
            theta=400.0,
            pairs=MirrorPairs(compared=2000),
        ),
        probed=Probed(release=CANDIDATE.release, effective=CANDIDATE.effective, seconds=30.0, asked=30),
    )


STEPS = [(plan, step, scaling) for plan in PLANS for step in range(len(plan.steps)) for scaling in Scaling]


def seen(taken, **changes):
    return replace(taken, measured=replace(taken.measured, **changes))


def one_finding(taken, which, verdict):
    """One gate says something else; ``None``: nothing."""
    found = list(taken.measured.findings)
    if not found:
        return taken
    place = which % len(found)
    found[place : place + 1] = [] if verdict is None else [replace(found[place], verdict=verdict)]
    return seen(taken, findings=tuple(found))


def with_rollout(taken, **changes):
    return replace(taken, state=replace(taken.state, rollout=replace(taken.state.rollout, **changes)))


AGAINST = st.one_of(
    st.tuples(st.integers(0, 2), st.sampled_from([*Verdict, None])).map(lambda d: lambda t: one_finding(t, *d)),
    st.floats(0, 30).map(lambda value: lambda t: seen(t, mature_seconds=value)),
    st.sampled_from([
        lambda t: seen(t, findings=()),
        lambda t: seen(t, error="the gateway does not answer"),
        lambda t: seen(t, shared_cause="both arms fail"),
        lambda t: seen(t, pairs=None),
        lambda t: seen(t, pairs=MirrorPairs(compared=10)),
        lambda t: seen(t, pairs=MirrorPairs(compared=200, shadow_failed=40)),
        lambda t: replace(t, probed=None),
        lambda t: replace(t, probed=replace(t.probed, seconds=1.0)) if t.probed else t,
        lambda t: replace(t, probed=replace(t.probed, error="it answered 500")) if t.probed else t,
        lambda t: replace(t, arms=t.arms[:1]),
        lambda t: with_rollout(t, paused="grace paused"),
        lambda t: with_rollout(t, step_from=None),
    ]),
    routers.map(lambda router: lambda t: replace(t, router=router)),
    holds.map(lambda hold: lambda t: replace(t, state=replace(t.state, hold=hold))),
)  # fmt: skip


@st.composite
def nearly_on(draw):
    """A step in which everything but two things at most speaks for going on."""
    taken = in_favour(*draw(st.sampled_from(STEPS)))
    for spoil in draw(st.lists(AGAINST, max_size=2)):
        taken = spoil(taken)
    return taken


anywhere = st.one_of(snapshots(nobody_asks), nearly_on())


@pytest.mark.parametrize(("plan", "step", "scaling"), STEPS)
def test_where_everything_speaks_for_it_automation_goes_on_so_that_the_laws_have_something_to_forbid(
    plan, step, scaling
):
    assert next_step(in_favour(plan, step, scaling)).kind is DecisionKind.ADVANCE


def of(examples: int) -> int:
    """So many where every part is required, a third of them otherwise."""
    return examples if os.environ.get("FAIRWAY_REQUIRE_ALL") else examples // 3


@given(snapshots())
@settings(max_examples=of(600), deadline=None)
def test_next_step_is_total_and_a_pure_function_of_its_snapshot(taken):
    decision = next_step(taken)
    assert next_step(snapshot_from_bytes(snapshot_to_bytes(taken))) == decision
    assert state_from_wire(json.loads(json.dumps(state_to_wire(decision.state)))) == decision.state
    assert replay(snapshot_to_bytes(taken)) == {
        "decision": decision_to_wire(decision),
        "state": state_to_wire(decision.state),
    }


@given(snapshots())
@settings(max_examples=of(600), deadline=None)
def test_law_3_weights_sum_to_the_whole_and_each_role_is_there_once(taken):
    desired = next_step(taken).desired
    assert 0 <= desired.split <= 100_000
    roles = [arm.spec.role for arm in desired.arms]
    assert len(roles) == len(set(roles))
    releases = [arm.spec.release_digest for arm in desired.arms]
    assert len(releases) == len(set(releases))
    if desired.split:
        assert Role.CANDIDATE in roles
        assert Role.STABLE in roles


@given(anywhere)
@settings(max_examples=of(800), deadline=None)
def test_law_4_automation_widens_exposure_only_on_a_pass_of_every_gate_that_must(taken):
    decision = next_step(taken)
    before, after = taken.state.rollout, decision.state.rollout
    if before is None or before.phase is not Phase.STEPPING or decision.kind not in FORWARD:
        return
    step = before.plan.steps[before.step]
    if before.scaling is Scaling.STARTING:
        assert (after.phase, after.step, after.scaling) == (Phase.STEPPING, before.step, Scaling.EXPOSED)
        needs = instances_of(before, step)
        there = [arm for arm in taken.arms if arm.effective_digest == needs.effective]
        assert len(there[0].ready()) >= needs.candidate
        return
    assert after.step > before.step or after.phase is Phase.PROMOTING
    assert not taken.measured.error
    if step.probe:
        assert (taken.probed.release, taken.probed.error) == (before.candidate.release, "")
        assert taken.probed.asked
        assert taken.probed.seconds >= step.dwell
        return
    assert taken.measured.mature_seconds >= step.dwell
    if step.mirroring is not None:
        assert judge_pairs(step.mirroring, taken.measured.pairs)[0] is Verdict.PASS
        return
    found = {each.gate: each.verdict for each in taken.measured.findings}
    for gate in step.gates:
        assert found[gate.name] is not Verdict.FAIL or any(f.stable_fails_too for f in taken.measured.findings)
        if gate.must_pass:
            assert found[gate.name] is Verdict.PASS


@given(anywhere)
@settings(max_examples=of(300), deadline=None)
def test_law_3_automation_only_adds_users_until_it_goes_back_and_reshuffles_nobody(taken):
    before, decision = taken.state.rollout, next_step(taken)
    after = decision.state.rollout
    if before is None or before.phase is not Phase.STEPPING or after.phase is not Phase.STEPPING:
        return
    earlier = desired_of(taken.state, taken.now)
    assert decision.desired.split >= earlier.split
    assert decision.desired.salt == earlier.salt


@given(snapshots(nobody_asks))
@settings(max_examples=of(300), deadline=None)
def test_nobody_meets_a_candidate_in_a_step_that_only_mirrors_or_probes(taken):
    desired = next_step(taken).desired
    rollout = next_step(taken).state.rollout
    if rollout is None or rollout.phase is not Phase.STEPPING:
        return
    roles = {arm.spec.role: arm.spec for arm in desired.arms}
    if Role.SHADOW in roles:
        assert roles[Role.SHADOW].effective_digest == SHADOW.effective
        assert Role.CANDIDATE not in roles
    step = rollout.plan.steps[rollout.step]
    if not step.split:
        assert desired.split == 0
    if desired.mirror:
        assert Role.SHADOW in roles


@given(anywhere)
@settings(max_examples=of(300), deadline=None)
def test_law_10_a_persons_pin_of_the_gateway_survives_automation(taken):
    taken = replace(taken, router=replace(taken.router, pinned=STABLE.release, tripped=()))
    before, decision = taken.state.rollout, next_step(taken)
    if before is None or before.phase not in (Phase.PREPARING, Phase.STEPPING, Phase.PROMOTING):
        return
    after = decision.state.rollout
    assert after.phase in (before.phase, Phase.ROLLING_BACK)
    if after.phase is before.phase:
        assert after.step == before.step
        assert decision.desired.split <= desired_of(taken.state, taken.now).split


@given(anywhere, holds)
@settings(max_examples=of(600), deadline=None)
def test_law_10_a_persons_hold_outranks_automation(taken, hold):
    taken = replace(taken, state=replace(taken.state, hold=hold))
    if hold is None or (hold.until is not None and hold.until <= T0):
        return
    decision = next_step(taken)
    before, after = taken.state.rollout, decision.state.rollout
    if before is None or not before.live:
        return
    if hold.kind is HoldKind.FREEZE:
        assert after == before
    elif before.phase is Phase.STEPPING:
        assert (after.phase, after.step) in ((Phase.STEPPING, before.step), (Phase.ROLLING_BACK, before.step))


@given(snapshots(nobody_asks), st.sampled_from([Verb.ABORT, Verb.ROLLBACK]))
@settings(max_examples=of(600), deadline=None)
def test_law_5_an_abort_reaches_stable_from_every_live_state(taken, verb):
    rollout = taken.state.rollout
    if rollout is None or not rollout.live:
        return
    decision = next_step(replace(taken, requests=(request(verb, reason="page"),)))
    ending = decision.state.rollout
    assert ending.phase is Phase.ROLLING_BACK
    stable = [arm.spec.release_digest for arm in decision.desired.arms if arm.spec.role is Role.STABLE]
    assert stable == ([] if rollout.stable is None else [rollout.stable.release])
    assert decision.desired.split == 0
    assert rollout.candidate.release in decision.desired.masks


@given(snapshots())
@settings(max_examples=of(400), deadline=None)
def test_every_request_that_is_answered_is_answered_once(taken):
    decision = next_step(taken)
    ids = [answer.request_id for answer in decision.answers]
    assert len(ids) == len(set(ids))
    assert set(ids) <= {each.id for each in taken.requests}
    for answer in decision.answers:
        assert answer.code or answer.seq == taken.head.seq + 1


@st.composite
def served_and_judged(draw):
    """A candidate users meet, in any phase of any strategy, held, paused, pinned or waiting, and its judge's FAIL."""
    plan = replace(
        draw(st.sampled_from(PLANS)), approval=draw(st.booleans()), prepare_timeout=draw(st.sampled_from([30.0, 1e6]))
    )
    phase = draw(st.sampled_from([Phase.STEPPING, Phase.PROMOTING, Phase.SOAKING]))
    last = len(plan.steps) - 1
    step = last if phase is not Phase.STEPPING else draw(st.integers(0, last))
    in_force = phase is Phase.SOAKING or (phase is Phase.STEPPING and draw(st.booleans()))
    before = step if phase is Phase.PROMOTING else step - 1
    rollout = rollout_state(
        phase,
        plan=plan,
        step=step,
        candidate=replace(CANDIDATE, replicas=3),
        stable=replace(STABLE, replicas=3),
        counted_from=None if phase is Phase.STEPPING and not in_force and before < 0 else 0.0,
        step_from=0.0 if in_force else None,
        served=None if in_force or before < 0 else Served(step=before, since=0.0),
        paused=draw(st.sampled_from(["", "grace paused"])),
        phase_at=draw(st.sampled_from([T0 - timedelta(seconds=5), T0 - timedelta(hours=1), T0 + timedelta(hours=1)])),
        scaling=draw(st.sampled_from(Scaling)),
    )
    of = judged(rollout)
    gates = () if of is None else of.gates
    hold = draw(holds.filter(lambda held: held is None or held.kind is not HoldKind.FREEZE))
    failing = draw(st.integers(0, len(gates) - 1)) if gates else 0
    found = tuple(
        finding(gate, Verdict.FAIL if place == failing else draw(st.sampled_from([Verdict.PASS, Verdict.ERROR])))
        for place, gate in enumerate(gates)
    )
    taken = snapshot(
        route_state(rollout, hold=hold),
        arms=draw(arms),
        measured=replace(draw(measurements), findings=found, shared_cause=""),
    )
    if draw(st.booleans()):
        taken = replace(taken, router=draw(routers))
    return replace(taken, router=replace(taken.router, pinned=draw(st.sampled_from([None, STABLE.release]))))


@given(served_and_judged())
@settings(max_examples=of(600), deadline=None)
def test_whatever_the_phase_what_is_served_and_judged_bad_goes_back_at_the_next_decision(taken):
    rollout = taken.state.rollout
    served = desired_of(taken.state, taken.now)
    roles = {arm.spec.release_digest: arm.spec.role for arm in served.arms}
    whole = roles.get(CANDIDATE.release) is Role.STABLE
    if not whole and not served.split:
        return  # nobody meets it by its share
    if rollout.counted_from is None:
        assert rollout.step == 0  # the first gateways have taken its first table: that wait has a cap, and no blocks
        return
    assert judged(rollout) is not None, "somebody meets the candidate, and nobody judges it"
    if not judged(rollout).gates or not taken.measured.findings:
        return
    decision = next_step(taken)
    assert decision.state.rollout.phase is Phase.ROLLING_BACK
    assert decision.kind is DecisionKind.ROLL_BACK
    assert decision.desired.split == 0
    stable = [arm.spec.release_digest for arm in decision.desired.arms if arm.spec.role is Role.STABLE]
    assert stable == [STABLE.release]


@given(snapshots(), st.one_of(st.none(), st.builds(Fence, term=st.integers(0, 2), seq=st.integers(0, 9))))
@settings(max_examples=of(600), deadline=None)
def test_reconcile_never_drains_what_is_desired_or_not_yet_out_of_every_gateway(taken, published):
    decision = next_step(taken)
    operations = reconcile(
        state=decision.state,
        desired=decision.desired,
        observed=taken.arms,
        router=taken.router,
        published=published,
        route_policy="",
    )
    wanted = {(arm.spec.release_digest, arm.spec.effective_digest) for arm in decision.desired.arms}
    confirmed = taken.router.confirmed or ZERO_FENCE
    for operation in operations:
        if isinstance(operation, DrainArm):
            assert (operation.release, operation.effective) not in wanted
            assert confirmed >= decision.state.changed_by
            assert taken.router.gateways > 0
        if isinstance(operation, ApplyTable):
            assert operation.fence == decision.state.changed_by
            assert published is None or published < operation.fence
        if isinstance(operation, EnsureArm):
            assert operation.spec in [arm.spec for arm in decision.desired.arms]


@given(snapshots())
@settings(max_examples=of(300), deadline=None)
def test_what_gateways_serve_changes_only_under_a_new_fence(taken):
    decision = next_step(taken)
    confirmed = taken.router.confirmed
    undecided = confirmed is not None and confirmed > taken.state.changed_by
    if decision.state.table != taken.state.table or (undecided and decision.state.changed_by != taken.state.changed_by):
        assert decision.state.changed_by == Fence(term=taken.term, seq=taken.head.seq + 1)
    else:
        assert decision.state.changed_by == taken.state.changed_by


def test_the_default_canary_plan_is_the_one_of_the_contract():
    assert [step.split for step in canary_plan().steps] == [5_000, 10_000, 30_000, 50_000]
