"""While traffic is shared: what stops a step, what keeps it waiting, and what lets it pass. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from fairway.rollout.against import Proof, broken_arm, crashed, failed_gate, failed_smoke, grave_alarm, observed_arm
from fairway.rollout.deciding import DecisionKind, Snapshot
from fairway.rollout.desired import active_hold
from fairway.rollout.evidence import MirrorGate, Smoked, SmokeOutcome
from fairway.rollout.instances import instances_of
from fairway.rollout.judged import next_block, serving
from fairway.rollout.mirroring import judge_pairs
from fairway.rollout.outcome import (
    Outcome,
    confirmed,
    exposure,
    is_blind,
    left_out,
    move_on,
    not_confirmed,
    pause,
    pinned,
    roll_back,
    unapproved,
    wait,
)
from fairway.rollout.preparing import starting
from fairway.rollout.source_gates import passed_words
from fairway.rollout.source_rules import source_failed, source_stops, source_waits
from fairway.rollout.values import Exposure, RolloutState, Scaling, Step
from fairway.units import Verdict, format_duration, format_share
from fairway.verdict.kinds import KINDS, Test
from fairway.verdict.values import GateFinding

YARDSTICK_MOVED = 1.25
"""Ratio by which stable's P95 has to have moved before gateways get the new one."""
YARDSTICK_BLOCKS = 12
"""Blocks one yardstick stays at least: each change costs a block."""


def stepping(snapshot: Snapshot, rollout: RolloutState) -> Outcome:
    """The first rule that has something to say; one step further when none has."""
    for rule in _STEP_RULES:
        outcome = rule(snapshot, rollout)
        if outcome is not None:
            return outcome
    return move_on(snapshot, rollout, "gates_passed", _in_favour(snapshot, rollout.plan.steps[rollout.step]))


def _in_favour(snapshot: Snapshot, step: Step) -> str:
    """What spoke for going on: probes or pairs, the gates that passed with their evidence, the others by name."""
    findings = snapshot.measured.findings
    if step.mirroring is not None:
        return f"mirror passed: {judge_pairs(step.mirroring, snapshot.measured.pairs)[1]}"
    if step.probe and snapshot.probed is not None:
        seconds, asked = format_duration(snapshot.probed.seconds), snapshot.probed.asked
        smoked = "" if snapshot.probed.smoke is None else f"; {snapshot.probed.smoke.text}"
        return f"every instance answered {asked} probes in {seconds}{smoked}"
    passed = [f"{finding.gate} passed: {finding.reason}" for finding in findings if finding.verdict is Verdict.PASS]
    others = [finding.gate for finding in findings if finding.verdict is not Verdict.PASS]
    beside = f"{', '.join(others)} did not fail" if others else ""
    return "; ".join(filter(None, [*passed, beside, passed_words(snapshot, snapshot.state.rollout)]))


def _shared_cause(snapshot: Snapshot, rollout: RolloutState) -> Outcome | None:
    cause = snapshot.measured.shared_cause
    if not cause or _crashes_alone(snapshot, rollout):
        return None
    if rollout.paused:
        return wait(snapshot.state, "shared_cause", rollout.paused)
    return pause(snapshot, rollout, "shared_cause", f"both arms suffer, this is not the candidate: {cause}")


def _crashes_alone(snapshot: Snapshot, rollout: RolloutState) -> bool:
    """A candidate that will not serve while stable does: no outage does that."""
    stable = rollout.stable
    if stable is None or crashed(snapshot, rollout) is None:
        return False
    return not broken_arm(observed_arm(snapshot, stable.release, stable.effective))


def unsettled(snapshot: Snapshot, rollout: RolloutState) -> Outcome | None:
    """No further than what is served while a limit is broken there, or a gate cannot see; for as long as the cap."""
    found = snapshot.measured.findings
    failed = [finding for finding in found if finding.verdict is Verdict.FAIL]
    unseen = [finding for finding in found if is_blind(finding)]
    if not (failed or unseen) or not rollout.plan.steps:
        return None
    return _undecided(snapshot, rollout, _waiting_for(snapshot, failed or unseen, 0.0))


def _backed_out(snapshot: Snapshot, proof: Proof | None) -> Outcome | None:
    return None if proof is None else roll_back(snapshot, proof.code, proof.text)


def _failed_gate(snapshot: Snapshot, rollout: RolloutState) -> Outcome | None:
    return _backed_out(snapshot, failed_gate(snapshot, rollout))


def _failed_smoke(snapshot: Snapshot, rollout: RolloutState) -> Outcome | None:
    return _backed_out(snapshot, failed_smoke(snapshot, rollout))


def _broken_smoke(snapshot: Snapshot, rollout: RolloutState) -> Outcome | None:
    """A smoke that says nothing of the candidate: a person looks, or it goes back, as the policy says."""
    smoke = _smoke_of(snapshot, rollout)
    if smoke is None or smoke.outcome not in (SmokeOutcome.ERROR, SmokeOutcome.TIMEOUT):
        return None
    if rollout.plan.steps[rollout.step].back_on_error:
        return roll_back(snapshot, "smoke_error", smoke.text)
    return None if rollout.paused else pause(snapshot, rollout, "smoke_error", smoke.text)


def _smoke_of(snapshot: Snapshot, rollout: RolloutState) -> Smoked | None:
    probed, candidate = snapshot.probed, rollout.candidate
    smoke = None if probed is None else probed.smoke
    same = smoke is not None and (smoke.release, smoke.effective) == (candidate.release, candidate.effective)
    return smoke if same and rollout.plan.steps[rollout.step].probe else None


def _instances(snapshot: Snapshot, rollout: RolloutState) -> Outcome | None:
    """Traffic of the step waits for its instances; nothing goes to them while a person holds the route."""
    if rollout.scaling is not Scaling.STARTING:
        return None
    step = rollout.plan.steps[rollout.step]
    waits = (
        starting(snapshot, rollout, instances_of(rollout, step))
        or _person_waits(snapshot, rollout)
        or pinned(snapshot, rollout)
        or _no_advance(snapshot, rollout)
        or unapproved(snapshot, rollout, entering=rollout.step)
        or instrument(snapshot, rollout)
        or source_stops(snapshot, rollout)
        or unsettled(snapshot, rollout)
    )
    if waits is not None:
        return waits
    noted = replace(rollout, scaling=Scaling.EXPOSED, phase_at=snapshot.now)
    version = rollout.candidate.version
    return Outcome(
        kind=DecisionKind.ADVANCE,
        code="instances_ready",
        reason=f"the instances of {version} are ready; {exposure(step, version)}",
        state=replace(snapshot.state, rollout=noted),
        again=0.05,
    )


def alarmed(snapshot: Snapshot, rollout: RolloutState) -> Outcome | None:
    """A trigger fired beside the gates; what a person resumed in spite of pauses no more."""
    alarms = snapshot.measured.alarms
    grave = grave_alarm(snapshot, rollout)
    if grave is not None and rollout.stable is not None:
        return roll_back(snapshot, grave.code, grave.text)
    open_ones = [alarm for alarm in alarms if alarm.name not in rollout.overlooked]
    if not open_ones or rollout.paused:
        return None
    told = "; ".join(f"{alarm.name}: {alarm.reason}" for alarm in open_ones)
    return pause(snapshot, rollout, "trigger_paused", told)


def _candidate_health(snapshot: Snapshot, rollout: RolloutState) -> Outcome | None:
    return _backed_out(snapshot, crashed(snapshot, rollout))


def instrument(snapshot: Snapshot, rollout: RolloutState) -> Outcome | None:
    """Wait while telemetry cannot be read or a gate is broken; pause once the budget for that is spent."""
    error = snapshot.measured.error or next(
        (f"{f.gate}: {f.reason}" for f in snapshot.measured.findings if f.verdict is Verdict.ERROR), ""
    )
    state = snapshot.state
    if not error:
        if rollout.telemetry_lost_at is None:
            return None
        return wait(
            replace(state, rollout=replace(rollout, telemetry_lost_at=None)), "telemetry_back", "telemetry is back"
        )
    lost = rollout.telemetry_lost_at or snapshot.now
    if rollout.paused:
        return wait(state, "paused", rollout.paused)
    if (snapshot.now - lost).total_seconds() > rollout.plan.instrument_budget:
        return pause(snapshot, rollout, "instrument_error", f"cannot measure: {error}")
    noted = replace(state, rollout=replace(rollout, telemetry_lost_at=lost))
    return wait(noted, "instrument_error", f"cannot measure: {error}")


def _in_force(snapshot: Snapshot, rollout: RolloutState) -> Outcome | None:
    """Count blocks for the step only once every gateway serves its split."""
    if rollout.step_from is not None:
        return None
    if not confirmed(snapshot):
        since = rollout.phase_at if rollout.theta_at is None else max(rollout.phase_at, rollout.theta_at)
        return not_confirmed(snapshot, rollout, since, "gateways have not confirmed the split")
    begins = next_block(snapshot)
    step = rollout.plan.steps[rollout.step]
    noted = replace(
        rollout,
        step_from=begins,
        step_fence=snapshot.state.changed_by,
        served=None,
        counted_from=rollout.counted_from if rollout.counted_from is not None else begins,
        scaling=rollout.scaling if step.stable_replicas is None else Scaling.SHRUNK,
    )
    serves = format_share(step.split) if step.exposure is Exposure.HASH else step.name
    return wait(replace(snapshot.state, rollout=noted), "in_force", f"every gateway serves {serves}; counting begins")


def _yardstick(snapshot: Snapshot, rollout: RolloutState) -> Outcome | None:
    """Give gateways stable's P95: when it becomes known, and again when it has moved.

    Any yardstick fixed before a block is valid, so evidence gathered under the old one stays; the block in which the
    table changes is mixed and left out.
    """
    known, seen = rollout.theta, snapshot.measured.theta
    yardsticks = {**rollout.yardsticks, **snapshot.measured.yardsticks}
    needed = any(KINDS[gate.kind].test is Test.RELATIVE for gate in rollout.plan.steps[rollout.step].gates)
    if not needed or seen is None:
        return None
    if known is None:
        noted = replace(
            rollout,
            theta=seen,
            theta_at=snapshot.now,
            yardsticks=yardsticks,
            step_from=None,
            served=serving(rollout),
        )
        reason = f"stable's P95 is {seen:.0f} ms; counting begins again with it"
        return wait(replace(snapshot.state, rollout=noted), "yardstick_set", reason, again=0.05)
    since = rollout.theta_at or rollout.phase_at
    moved = max(known / seen, seen / known) > YARDSTICK_MOVED
    if not moved or (snapshot.now - since).total_seconds() < YARDSTICK_BLOCKS * snapshot.block_seconds:
        return None
    noted = replace(rollout, theta=seen, theta_at=snapshot.now, yardsticks=yardsticks)
    reason = f"stable's P95 moved from {known:.0f} to {seen:.0f} ms"
    return wait(replace(snapshot.state, rollout=noted), "yardstick_moved", reason)


def _person_waits(snapshot: Snapshot, rollout: RolloutState) -> Outcome | None:
    if rollout.paused:
        return wait(snapshot.state, "paused", rollout.paused)
    return None


def _evidence(snapshot: Snapshot, rollout: RolloutState) -> Outcome | None:
    """Wait until every gate that must pass has passed, none is blind, and the step has been seen for long enough.

    At least one gate has to have passed, whatever the policy asks for: nothing is not evidence.
    """
    step = rollout.plan.steps[rollout.step]
    if step.mirroring is not None or step.probe:
        lacks = (
            _lacks_pairs(snapshot, step.mirroring, step.dwell) if step.mirroring else _lacks_probes(snapshot, rollout)
        )
        return _undecided(snapshot, rollout, lacks) if lacks else None
    found = {finding.gate: finding for finding in snapshot.measured.findings}
    missing = [gate for gate in step.gates if gate.name not in found]
    open_gates = [
        found[gate.name]
        for gate in step.gates
        if gate.name in found and gate.must_pass and found[gate.name].verdict is not Verdict.PASS
    ]
    # A limit that is broken, and nothing yet that shows stable to be better: nobody goes on, nobody goes back.
    open_gates += [each for each in found.values() if each.verdict is Verdict.FAIL and each not in open_gates]
    blind = [each for each in found.values() if is_blind(each)]
    proved = any(found[gate.name].verdict is Verdict.PASS for gate in step.gates if gate.name in found)
    observed = snapshot.measured.mature_seconds >= step.dwell
    if proved and observed and not (missing or open_gates or blind):
        return None
    return _undecided(snapshot, rollout, _waiting_for(snapshot, open_gates or blind, step.dwell))


def _undecided(snapshot: Snapshot, rollout: RolloutState, lacks: str) -> Outcome:
    """Wait for what is lacking; pause for a person once the step's cap is over."""
    cap = rollout.plan.steps[rollout.step].cap
    if (snapshot.now - rollout.phase_at).total_seconds() > cap:
        return pause(snapshot, rollout, "step_undecided", f"undecided after {format_duration(cap)}: {lacks}")
    return wait(snapshot.state, "needs_evidence", lacks)


def _lacks_pairs(snapshot: Snapshot, gate: MirrorGate, dwell: float) -> str:
    """What a mirrored step still needs; empty when nothing."""
    verdict, reason = judge_pairs(gate, snapshot.measured.pairs)
    if verdict is not Verdict.PASS:
        return f"mirror is {verdict.value}: {reason}"
    seen = snapshot.measured.mature_seconds
    return "" if seen >= dwell else f"mirror passed; {format_duration(seen)} of {format_duration(dwell)} observed"


def _lacks_probes(snapshot: Snapshot, rollout: RolloutState) -> str:
    """What a smoke still needs; empty when nothing. Probes of another arm, or none, are not evidence."""
    dwell = rollout.plan.steps[rollout.step].dwell
    probed, candidate = snapshot.probed, rollout.candidate
    if probed is None or (probed.release, probed.effective) != (candidate.release, candidate.effective):
        return f"{candidate.version} has not been probed yet"
    if probed.asked and not probed.error and probed.seconds >= dwell:
        return _lacks_smoke(snapshot, rollout) if probed.smokes else ""
    return f"probes of {candidate.version} succeed for {format_duration(probed.seconds)} of {format_duration(dwell)}"


def _lacks_smoke(snapshot: Snapshot, rollout: RolloutState) -> str:
    """What a smoke suite still has to say; empty when it spoke for the arm, or the project has none."""
    smoke = _smoke_of(snapshot, rollout)
    if smoke is None:
        return f"the smoke of {rollout.candidate.version} still runs"
    return "" if smoke.outcome in (SmokeOutcome.PASSED, SmokeOutcome.NONE_DECLARED) else smoke.text


def _waiting_for(snapshot: Snapshot, open_gates: list[GateFinding], dwell: float) -> str:
    if not snapshot.measured.findings:
        return "no telemetry of this step yet"
    if open_gates:
        parts = []
        for finding in open_gates:
            more = f" (about {finding.units_needed:,} more conversations)" if finding.units_needed else ""
            if finding.verdict is Verdict.FAIL:
                more = f": {finding.reason}"
            parts.append(f"{finding.gate} is {finding.verdict.value}{more}")
        return ", ".join(parts)
    seen = format_duration(snapshot.measured.mature_seconds)
    return f"every gate passed; {seen} of {format_duration(dwell)} observed"


def _no_advance(snapshot: Snapshot, rollout: RolloutState) -> Outcome | None:
    hold = active_hold(snapshot.state, snapshot.now)
    if hold is None:
        return None
    return wait(snapshot.state, "held", f"{hold.actor} holds: {hold.reason}")


def _step_approval(snapshot: Snapshot, rollout: RolloutState) -> Outcome | None:
    return unapproved(snapshot, rollout, entering=rollout.step + 1)


_STEP_RULES: tuple[Callable[[Snapshot, RolloutState], Outcome | None], ...] = (
    _shared_cause,
    _failed_gate,
    alarmed,
    source_failed,
    _failed_smoke,
    _broken_smoke,
    _candidate_health,
    _instances,
    instrument,
    _in_force,
    _yardstick,
    source_stops,
    _person_waits,
    pinned,
    left_out,
    _no_advance,
    _evidence,
    source_waits,
    _step_approval,
)
