"""The decision: what is desired of a route now, why, on which evidence, and when to look again. Pure and total."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from fairway.rollout.desired import active_hold, desired_of, is_frozen, served_digest, serves_nobody
from fairway.rollout.requests import Answer, HoldKind, Request, Verb
from fairway.rollout.values import (
    ArmRef,
    Decision,
    DecisionKind,
    Phase,
    RolloutState,
    RouteState,
    Snapshot,
    Strategy,
    Warm,
)
from fairway.rollout.verbs import Obeyed, advance, approved, begin_rollback, cancel, live, obey
from fairway.targets.port import InstanceState, ObservedArm
from fairway.traffic.fence import Fence
from fairway.units import Digest, Verdict, format_duration, format_share
from fairway.verdict.values import AlarmAction, GateFinding, GateKind

_BROKEN = frozenset({InstanceState.CRASH_LOOP, InstanceState.NEVER_READY})
YARDSTICK_MOVED = 1.25
"""Ratio by which stable's P95 has to have moved before gateways get the new one."""
YARDSTICK_BLOCKS = 12
"""Blocks one yardstick stays at least: each change costs a block."""
HISTORY = 50
"""Former stables remembered."""
_URGENT = frozenset({Verb.ABORT, Verb.ROLLBACK})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outcome:
    """What one rule decided, before the table is looked at."""

    kind: DecisionKind
    code: str
    reason: str
    state: RouteState
    again: float = 1.0


def next_step(snapshot: Snapshot) -> Decision:
    """Decide.

    Order: people's verbs, abort first → freeze → shared cause → a failed gate → the target's health → instrument
    errors → no-advance hold → evidence and dwell → approval → advance. Unknown never advances: a rule that cannot
    tell waits, and a wait that outlives its cap pauses for a person.
    """
    obeyed, answers, actor = _obey_all(snapshot)
    outcome = obeyed if obeyed is not None else _automate(snapshot)
    state, changed = _with_table(outcome.state, snapshot)
    code = outcome.code
    if changed and outcome.kind in (DecisionKind.WAIT, DecisionKind.IDLE) and outcome.state.code == code:
        code = "endpoints_changed"
    state = replace(state, code=outcome.code)
    return Decision(
        kind=outcome.kind,
        code=code,
        reason=outcome.reason,
        state=state,
        desired=desired_of(state, snapshot.now),
        answers=answers,
        evidence=snapshot.measured.findings,
        look_again_after=outcome.again,
        actor=actor,
    )


def _with_table(state: RouteState, snapshot: Snapshot) -> tuple[RouteState, bool]:
    """Stamp the fence of this event on the state when gateways have to serve something else from now on."""
    desired = desired_of(state, snapshot.now)
    if serves_nobody(desired, snapshot.arms) and state.table:
        return state, False
    table = served_digest(desired, snapshot.arms, snapshot.route_policy)
    if table == state.table and not _ahead(snapshot):
        return state, False
    return replace(state, table=table, changed_by=Fence(term=snapshot.term, seq=snapshot.head.seq + 1)), True


def _obey_all(snapshot: Snapshot) -> tuple[_Outcome | None, tuple[Answer, ...], str]:
    """Fold the pending requests into the state, aborts first; ``None`` when none had an effect."""
    state = snapshot.state
    answers: list[Answer] = []
    effects: list[tuple[Obeyed, str]] = []
    overtaken = _overtaken(snapshot.requests)
    for request in sorted(snapshot.requests, key=lambda request: request.verb not in _URGENT):
        obeyed = cancel(request, state) if request.id in overtaken else obey(request, state, snapshot)
        if obeyed.answer is not None:
            answers.append(obeyed.answer)
        if obeyed.answer is not None or obeyed.state != state:
            effects.append((obeyed, request.actor))
        state = obeyed.state
    if not effects:
        return None, (), "controller"
    told = next((pair for pair in effects if pair[0].state != snapshot.state), effects[0])
    outcome = _Outcome(kind=told[0].kind, code=told[0].code, reason=told[0].reason, state=state, again=0.0)
    return outcome, tuple(answers), told[1]


def _overtaken(requests: tuple[Request, ...]) -> frozenset[str]:
    """Starts that came before an abort: the abort meant them too."""
    last_abort = max((place for place, request in enumerate(requests) if request.verb is Verb.ABORT), default=0)
    return frozenset(request.id for request in requests[:last_abort] if request.verb is Verb.START)


def _automate(snapshot: Snapshot) -> _Outcome:
    state = snapshot.state
    rollout = live(state)
    if rollout is None:
        return _settled(snapshot)
    hold = active_hold(state, snapshot.now)
    if hold is not None and hold.kind is HoldKind.FREEZE:
        return _wait(state, "frozen", f"{hold.actor} froze the route: {hold.reason}")
    return _tripped(snapshot, rollout) or _PHASES[rollout.phase](snapshot, rollout)


def _tripped(snapshot: Snapshot, rollout: RolloutState) -> _Outcome | None:
    """A gateway took the candidate's traffic away by itself: go back everywhere."""
    if rollout.phase is Phase.ROLLING_BACK or rollout.candidate.release not in snapshot.router.tripped:
        return None
    if rollout.stable is None:
        return None
    back, bad = rollout.stable.version, rollout.candidate.version
    reason = f"a gateway went back to {back} by itself: {bad} passed its exposure limit"
    return _roll_back(snapshot, "gateway_tripped", reason)


def _pinned(snapshot: Snapshot, rollout: RolloutState) -> _Outcome | None:
    """A person pinned the gateway's traffic: nothing moves forward until they let go."""
    if snapshot.router.pinned is None:
        return None
    return _wait(snapshot.state, "pinned", "a person pinned the gateway's traffic: fairway gateway pin none lets go")


def _settled(snapshot: Snapshot) -> _Outcome:
    state = snapshot.state
    over = tuple(warm for warm in state.warm if snapshot.now >= warm.until)
    if over and not is_frozen(state, snapshot.now):
        kept = replace(state, warm=tuple(warm for warm in state.warm if warm not in over))
        names = ", ".join(warm.arm.version for warm in over)
        return _Outcome(
            kind=DecisionKind.FINISH, code="warm_ended", reason=f"{names} is no longer kept warm", state=kept
        )
    what = "no release yet" if state.stable is None else f"{state.stable.version} is stable"
    return _Outcome(kind=DecisionKind.IDLE, code="settled", reason=what, state=state)


def _wait(state: RouteState, code: str, reason: str, again: float = 1.0) -> _Outcome:
    return _Outcome(kind=DecisionKind.WAIT, code=code, reason=reason, state=state, again=again)


def _roll_back(snapshot: Snapshot, code: str, reason: str) -> _Outcome:
    state = begin_rollback(snapshot.state, snapshot.now, cause=code, text=reason)
    return _Outcome(kind=DecisionKind.ROLL_BACK, code=code, reason=reason, state=state, again=0.0)


def _pause(snapshot: Snapshot, rollout: RolloutState, code: str, reason: str) -> _Outcome:
    state = replace(snapshot.state, rollout=replace(rollout, paused=reason))
    return _Outcome(kind=DecisionKind.PAUSE, code=code, reason=reason, state=state)


def _observed(snapshot: Snapshot, release: Digest, effective: Digest) -> ObservedArm | None:
    for arm in snapshot.arms:
        if arm.release_digest == release and arm.effective_digest == effective:
            return arm
    return None


def _broken(arm: ObservedArm | None) -> str:
    """Why an arm will not serve, or an empty string."""
    for instance in () if arm is None else arm.instances:
        if instance.state in _BROKEN:
            return f"{instance.state.value.replace('_', ' ')}: {instance.detail}".strip(": ")
    return ""


def _preparing(snapshot: Snapshot, rollout: RolloutState) -> _Outcome:
    state, candidate = snapshot.state, rollout.candidate
    refused = snapshot.refused.get(candidate.release)
    if refused:
        return _roll_back(snapshot, "release_refused", f"{candidate.version} was not started: {refused}")
    arm = _observed(snapshot, candidate.release, candidate.effective)
    if broken := _broken(arm):
        return _roll_back(snapshot, "candidate_not_ready", f"{candidate.version} never became ready ({broken})")
    ready = 0 if arm is None else len(arm.ready())
    waited = (snapshot.now - rollout.phase_at).total_seconds()
    if ready < candidate.replicas:
        if waited > rollout.plan.prepare_timeout:
            limit = format_duration(rollout.plan.prepare_timeout)
            reason = f"{candidate.version} had {ready} of {candidate.replicas} instances ready after {limit}"
            return _roll_back(snapshot, "prepare_timeout", reason)
        reason = f"{candidate.version} is starting: {ready} of {candidate.replicas} ready"
        return _wait(state, "starting", reason, again=0.2)
    return _first_exposure(snapshot, rollout)


def _first_exposure(snapshot: Snapshot, rollout: RolloutState) -> _Outcome:
    state = snapshot.state
    if rollout.paused:
        return _wait(state, "paused", rollout.paused)
    if rollout.plan.strategy is Strategy.CANARY:
        stable = rollout.stable
        arm = None if stable is None else _observed(snapshot, stable.release, stable.effective)
        if arm is None or not arm.ready():
            return _wait(state, "stable_not_ready", "stable is not ready, there is nothing to compare with", again=0.5)
    if rollout.plan.approval and not approved(state, rollout, step=None):
        reason = f"{rollout.candidate.version} waits for an approval before first exposure"
        return _wait(state, "approval_needed", reason)
    if rollout.plan.strategy is Strategy.DIRECT and rollout.stable is not None and not rollout.going_back:
        return _wait(state, "no_steps", "its plan compares nothing with stable, so it is not exposed")
    if (pinned := _pinned(snapshot, rollout)) is not None and not rollout.going_back:
        return pinned
    hold = active_hold(state, snapshot.now)
    if hold is not None and not rollout.going_back:
        return _wait(state, "held", f"{hold.actor} holds: {hold.reason}")
    return _advance(snapshot, rollout, "candidate_ready", f"{rollout.candidate.version} is ready")


def _advance(snapshot: Snapshot, rollout: RolloutState, code: str, why: str) -> _Outcome:
    moved = advance(snapshot.state, snapshot)
    assert moved.rollout is not None
    if moved.rollout.phase is Phase.PROMOTING:
        reason = f"{why}; all traffic goes to {rollout.candidate.version}"
        return _Outcome(kind=DecisionKind.ADVANCE, code=code, reason=reason, state=moved, again=0.05)
    share = format_share(moved.rollout.plan.steps[moved.rollout.step].split)
    reason = f"{why}; {share} of new conversations go to {rollout.candidate.version}"
    return _Outcome(kind=DecisionKind.ADVANCE, code=code, reason=reason, state=moved, again=0.05)


def _stepping(snapshot: Snapshot, rollout: RolloutState) -> _Outcome:
    for rule in _STEP_RULES:
        outcome = rule(snapshot, rollout)
        if outcome is not None:
            return outcome
    return _advance(snapshot, rollout, "gates_passed", _in_favour(snapshot.measured.findings))


def _in_favour(findings: tuple[GateFinding, ...]) -> str:
    """What spoke for going on: the gates that passed with their evidence, the others by name."""
    passed = [f"{finding.gate} passed: {finding.reason}" for finding in findings if finding.verdict is Verdict.PASS]
    others = [finding.gate for finding in findings if finding.verdict is not Verdict.PASS]
    return "; ".join([*passed, *([f"{', '.join(others)} did not fail"] if others else [])])


def _shared_cause(snapshot: Snapshot, rollout: RolloutState) -> _Outcome | None:
    cause = snapshot.measured.shared_cause
    if not cause:
        return None
    if rollout.paused:
        return _wait(snapshot.state, "shared_cause", rollout.paused)
    return _pause(snapshot, rollout, "shared_cause", f"both arms suffer, this is not the candidate: {cause}")


def _damning(finding: GateFinding) -> bool:
    """A FAIL that speaks against the candidate: comparative, or absolute while stable is well."""
    if finding.verdict is not Verdict.FAIL:
        return False
    return finding.kind is not GateKind.SUCCESS or not finding.stable_fails_too


def _failed_gate(snapshot: Snapshot, rollout: RolloutState) -> _Outcome | None:
    damning = [finding for finding in snapshot.measured.findings if _damning(finding)]
    if not damning:
        return None
    names = ", ".join(finding.gate for finding in damning)
    return _roll_back(snapshot, "gate_failed", f"{names} failed: " + "; ".join(finding.reason for finding in damning))


def _alarmed(snapshot: Snapshot, rollout: RolloutState) -> _Outcome | None:
    """A trigger fired beside the gates."""
    alarms = snapshot.measured.alarms
    grave = [alarm for alarm in alarms if alarm.action is AlarmAction.ROLL_BACK]
    if grave and rollout.stable is not None:
        return _roll_back(snapshot, "trigger_fired", "; ".join(f"{alarm.name}: {alarm.reason}" for alarm in grave))
    if not alarms or rollout.paused:
        return None
    return _pause(snapshot, rollout, "trigger_paused", "; ".join(f"{alarm.name}: {alarm.reason}" for alarm in alarms))


def _candidate_health(snapshot: Snapshot, rollout: RolloutState) -> _Outcome | None:
    candidate = rollout.candidate
    broken = _broken(_observed(snapshot, candidate.release, candidate.effective))
    if broken:
        return _roll_back(snapshot, "candidate_crashed", f"{candidate.version} stopped serving ({broken})")
    return None


def _instrument(snapshot: Snapshot, rollout: RolloutState) -> _Outcome | None:
    error = snapshot.measured.error or next(
        (f"{f.gate}: {f.reason}" for f in snapshot.measured.findings if f.verdict is Verdict.ERROR), ""
    )
    state = snapshot.state
    if not error:
        if rollout.telemetry_lost_at is None:
            return None
        return _wait(
            replace(state, rollout=replace(rollout, telemetry_lost_at=None)), "telemetry_back", "telemetry is back"
        )
    lost = rollout.telemetry_lost_at or snapshot.now
    if rollout.paused:
        return _wait(state, "paused", rollout.paused)
    if (snapshot.now - lost).total_seconds() > rollout.plan.instrument_budget:
        return _pause(snapshot, rollout, "instrument_error", f"cannot measure: {error}")
    noted = replace(state, rollout=replace(rollout, telemetry_lost_at=lost))
    return _wait(noted, "instrument_error", f"cannot measure: {error}")


def _in_force(snapshot: Snapshot, rollout: RolloutState) -> _Outcome | None:
    """Count blocks for the step only once every gateway serves its split."""
    if rollout.step_from is not None:
        return None
    if not _confirmed(snapshot):
        return _wait(snapshot.state, "waiting_for_gateways", "gateways have not confirmed the split yet", again=0.05)
    begins = _next_block(snapshot)
    noted = replace(
        rollout, step_from=begins, counted_from=rollout.counted_from if rollout.counted_from is not None else begins
    )
    share = format_share(rollout.plan.steps[rollout.step].split)
    return _wait(replace(snapshot.state, rollout=noted), "in_force", f"every gateway serves {share}; counting begins")


def _confirmed(snapshot: Snapshot) -> bool:
    """Whether every live gateway serves exactly what is desired now: read back, never "sent"."""
    confirmed, state = snapshot.router.confirmed, snapshot.state
    if confirmed is None or snapshot.router.gateways == 0 or confirmed != state.changed_by:
        return False
    return state.table == served_digest(desired_of(state, snapshot.now), snapshot.arms, snapshot.route_policy)


def _ahead(snapshot: Snapshot) -> bool:
    """Whether gateways serve a table this ledger never decided: it was restored, or began anew."""
    confirmed = snapshot.router.confirmed
    return confirmed is not None and confirmed > snapshot.state.changed_by


def _next_block(snapshot: Snapshot) -> float:
    return math.ceil(snapshot.now.timestamp() / snapshot.block_seconds) * snapshot.block_seconds


def _yardstick(snapshot: Snapshot, rollout: RolloutState) -> _Outcome | None:
    """Give gateways stable's P95: when it becomes known, and again when it has moved.

    Any yardstick fixed before a block is valid, so evidence gathered under the old one stays; the block in which the
    table changes is mixed and left out.
    """
    known, seen = rollout.theta, snapshot.measured.theta
    needed = any(gate.kind is GateKind.LATENCY_P95 for gate in rollout.plan.steps[rollout.step].gates)
    if not needed or seen is None:
        return None
    if known is None:
        noted = replace(rollout, theta=seen, theta_at=snapshot.now, step_from=None)
        reason = f"stable's P95 is {seen:.0f} ms; counting begins again with it"
        return _wait(replace(snapshot.state, rollout=noted), "yardstick_set", reason, again=0.05)
    since = rollout.theta_at or rollout.phase_at
    moved = max(known / seen, seen / known) > YARDSTICK_MOVED
    if not moved or (snapshot.now - since).total_seconds() < YARDSTICK_BLOCKS * snapshot.block_seconds:
        return None
    noted = replace(rollout, theta=seen, theta_at=snapshot.now)
    reason = f"stable's P95 moved from {known:.0f} to {seen:.0f} ms"
    return _wait(replace(snapshot.state, rollout=noted), "yardstick_moved", reason)


def _person_waits(snapshot: Snapshot, rollout: RolloutState) -> _Outcome | None:
    if rollout.paused:
        return _wait(snapshot.state, "paused", rollout.paused)
    return None


def _evidence(snapshot: Snapshot, rollout: RolloutState) -> _Outcome | None:
    """Wait until every gate that must pass has passed, none is blind, and the step has been seen for long enough.

    At least one gate has to have passed, whatever the policy asks for: nothing is not evidence.
    """
    step = rollout.plan.steps[rollout.step]
    found = {finding.gate: finding for finding in snapshot.measured.findings}
    missing = [gate for gate in step.gates if gate.name not in found]
    open_gates = [
        found[gate.name]
        for gate in step.gates
        if gate.name in found and gate.must_pass and found[gate.name].verdict is not Verdict.PASS
    ]
    blind = [each for each in found.values() if each.verdict in (Verdict.NO_DATA, Verdict.ERROR)]
    proved = any(found[gate.name].verdict is Verdict.PASS for gate in step.gates if gate.name in found)
    observed = snapshot.measured.mature_seconds >= step.dwell
    if proved and observed and not (missing or open_gates or blind):
        return None
    open_gates = open_gates or blind
    if (snapshot.now - rollout.phase_at).total_seconds() > step.cap:
        cap = format_duration(step.cap)
        return _pause(
            snapshot,
            rollout,
            "step_undecided",
            f"undecided after {cap}: {_waiting_for(snapshot, open_gates, step.dwell)}",
        )
    return _wait(snapshot.state, "needs_evidence", _waiting_for(snapshot, open_gates, step.dwell))


def _waiting_for(snapshot: Snapshot, open_gates: list[GateFinding], dwell: float) -> str:
    if not snapshot.measured.findings:
        return "no telemetry of this step yet"
    if open_gates:
        parts = []
        for finding in open_gates:
            more = f" (about {finding.units_needed:,} more conversations)" if finding.units_needed else ""
            parts.append(f"{finding.gate} is {finding.verdict.value}{more}")
        return ", ".join(parts)
    seen = format_duration(snapshot.measured.mature_seconds)
    return f"every gate passed; {seen} of {format_duration(dwell)} observed"


def _no_advance(snapshot: Snapshot, rollout: RolloutState) -> _Outcome | None:
    hold = active_hold(snapshot.state, snapshot.now)
    if hold is None:
        return None
    return _wait(snapshot.state, "held", f"{hold.actor} holds: {hold.reason}")


def _step_approval(snapshot: Snapshot, rollout: RolloutState) -> _Outcome | None:
    if rollout.plan.steps[rollout.step].approval and not approved(snapshot.state, rollout, step=rollout.step):
        return _wait(snapshot.state, "approval_needed", f"step {rollout.step + 1} waits for an approval")
    return None


_STEP_RULES: tuple[Callable[[Snapshot, RolloutState], _Outcome | None], ...] = (
    _shared_cause,
    _failed_gate,
    _alarmed,
    _candidate_health,
    _instrument,
    _in_force,
    _yardstick,
    _person_waits,
    _pinned,
    _no_advance,
    _evidence,
    _step_approval,
)


def _promoting(snapshot: Snapshot, rollout: RolloutState) -> _Outcome:
    state = snapshot.state
    if broken := _broken(_observed(snapshot, rollout.candidate.release, rollout.candidate.effective)):
        return _roll_back(snapshot, "candidate_crashed", f"{rollout.candidate.version} stopped serving ({broken})")
    if (pinned := _pinned(snapshot, rollout)) is not None:
        return pinned
    if not _confirmed(snapshot):
        return _wait(state, "waiting_for_gateways", "gateways have not confirmed 100% yet", again=0.05)
    soaking = replace(rollout, phase=Phase.SOAKING, phase_at=snapshot.now, step_from=_next_block(snapshot))
    moved = replace(
        state,
        stable=rollout.candidate,
        history=_history(state, rollout),
        warm=_kept_warm(state, rollout, snapshot.now + timedelta(seconds=rollout.plan.warm)),
        rollout=soaking,
    )
    reason = f"{rollout.candidate.version} is stable: every gateway serves 100%"
    return _Outcome(kind=DecisionKind.ADVANCE, code="promoted", reason=reason, state=moved)


def _history(state: RouteState, rollout: RolloutState) -> tuple[ArmRef, ...]:
    """Former stables, newest first; one that was gone back *from* stands last: nobody returns to it by default."""
    left = () if rollout.stable is None else (rollout.stable,)
    again = {rollout.candidate.release, *(arm.release for arm in left)}
    others = tuple(arm for arm in state.history if arm.release not in again)
    return ((*others, *left) if rollout.going_back else (*left, *others))[:HISTORY]


def _kept_warm(state: RouteState, rollout: RolloutState, until: datetime) -> tuple[Warm, ...]:
    """What is kept for conversations under way: what was warm already, and the stable just left."""
    kept = tuple(warm for warm in state.warm if warm.arm.release != rollout.candidate.release)
    if rollout.stable is None:
        return kept
    return (Warm(arm=rollout.stable, until=until), *(w for w in kept if w.arm.release != rollout.stable.release))


def _soaking(snapshot: Snapshot, rollout: RolloutState) -> _Outcome:
    state = snapshot.state
    failed = [finding for finding in snapshot.measured.findings if finding.verdict is Verdict.FAIL]
    if failed:
        why = "; ".join(finding.reason for finding in failed)
        if rollout.stable is None:
            if rollout.paused:
                return _wait(state, "first_release_failing", rollout.paused)
            return _pause(
                snapshot, rollout, "first_release_failing", f"{why}; there is no earlier release to return to"
            )
        if all(finding.stable_fails_too for finding in failed):
            return _shared_in_soak(snapshot, rollout, why)
        return _roll_back(snapshot, "soak_failed", f"failed after promotion: {why}")
    if (alarmed := _alarmed(snapshot, rollout)) is not None:
        return alarmed
    if snapshot.measured.alarms:
        return _wait(state, "paused", rollout.paused)
    if broken := _broken(_observed(snapshot, rollout.candidate.release, rollout.candidate.effective)):
        if rollout.stable is not None:
            return _roll_back(snapshot, "candidate_crashed", f"{rollout.candidate.version} stopped serving ({broken})")
        return _wait(state, "stable_crashed", f"{rollout.candidate.version} does not serve ({broken})")
    blind = [f for f in snapshot.measured.findings if f.verdict in (Verdict.NO_DATA, Verdict.ERROR)]
    observed = snapshot.measured.mature_seconds
    if rollout.plan.soak and (observed < rollout.plan.soak or blind or snapshot.measured.error):
        seen, whole = format_duration(observed), format_duration(rollout.plan.soak)
        return _wait(state, "soaking", f"{rollout.candidate.version} soaks: {seen} of {whole} observed")
    blocked = state.blocked
    if rollout.going_back and rollout.stable is not None and rollout.stable.release not in blocked:
        blocked = (*blocked, rollout.stable.release)
    done = replace(rollout, phase=Phase.DONE, phase_at=snapshot.now, cause="succeeded")
    reason = f"rollout of {rollout.candidate.version} is done"
    return _Outcome(
        kind=DecisionKind.FINISH, code="done", reason=reason, state=replace(state, rollout=done, blocked=blocked)
    )


def _shared_in_soak(snapshot: Snapshot, rollout: RolloutState, why: str) -> _Outcome:
    """The former stable, still serving the conversations that began on it, fails as well: an outage."""
    if rollout.paused:
        return _wait(snapshot.state, "shared_cause", rollout.paused)
    return _pause(snapshot, rollout, "shared_cause", f"the former stable fails too, this is not the release: {why}")


def _rolling_back(snapshot: Snapshot, rollout: RolloutState) -> _Outcome:
    state = snapshot.state
    back_to = "no release" if rollout.stable is None else rollout.stable.version
    desired = desired_of(state, snapshot.now)
    if serves_nobody(desired, snapshot.arms):
        return _wait(state, "stable_not_ready", f"going back: {back_to} is starting", again=0.1)
    if not _confirmed(snapshot):
        return _wait(state, "waiting_for_gateways", f"going back to {back_to}: gateways have not confirmed", again=0.05)
    ended = replace(rollout, phase=Phase.ROLLED_BACK, phase_at=snapshot.now)
    by_person = rollout.cause in ("aborted", "superseded")
    blocked = state.blocked
    if not by_person and rollout.candidate.release not in blocked:
        blocked = (*blocked, rollout.candidate.release)
    reason = f"every gateway serves {back_to} again"
    moved = replace(state, rollout=ended, blocked=blocked)
    return _Outcome(kind=DecisionKind.FINISH, code="rolled_back", reason=reason, state=moved)


def _ended(snapshot: Snapshot, rollout: RolloutState) -> _Outcome:
    return _settled(snapshot)


_PHASES: dict[Phase, Callable[[Snapshot, RolloutState], _Outcome]] = {
    Phase.PREPARING: _preparing,
    Phase.STEPPING: _stepping,
    Phase.PROMOTING: _promoting,
    Phase.SOAKING: _soaking,
    Phase.ROLLING_BACK: _rolling_back,
    Phase.DONE: _ended,
    Phase.ROLLED_BACK: _ended,
}
