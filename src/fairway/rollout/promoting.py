"""At 100 %: until every gateway has confirmed it, and the soak after. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from fairway.rollout.against import broken_arm, failed_gate, observed_arm
from fairway.rollout.deciding import DecisionKind, Snapshot
from fairway.rollout.desired import active_hold
from fairway.rollout.instances import goes_back_whole, instances_of, last_stable, scaled_down, soak_lacks
from fairway.rollout.judged import next_block
from fairway.rollout.mixes import overdue_mix, verified
from fairway.rollout.obeying import blocked_after
from fairway.rollout.outcome import (
    Outcome,
    confirmed,
    is_blind,
    left_out,
    not_confirmed,
    pause,
    pinned,
    roll_back,
    unapproved,
    wait,
)
from fairway.rollout.preparing import starting
from fairway.rollout.source_rules import source_failed, source_stops, source_waits
from fairway.rollout.stepping import alarmed, instrument, unsettled
from fairway.rollout.values import ArmRef, Phase, RolloutState, RouteState, Scaling, Warm
from fairway.units import Verdict, format_duration

HISTORY = 50
"""Former stables remembered."""


def promoting(snapshot: Snapshot, rollout: RolloutState) -> Outcome:
    """The candidate is stable once every gateway has confirmed 100 %; until then the last step's gates judge it."""
    state = snapshot.state
    if broken := broken_arm(observed_arm(snapshot, rollout.candidate.release, rollout.candidate.effective)):
        return roll_back(snapshot, "candidate_crashed", f"{rollout.candidate.version} stopped serving ({broken})")
    waits = _still_judged(snapshot, rollout) or pinned(snapshot, rollout) or left_out(snapshot, rollout)
    if waits is not None:
        return waits
    if rollout.scaling is Scaling.STARTING:
        return _last_instances(snapshot, rollout)
    if not confirmed(snapshot):
        return _unconfirmed(snapshot, rollout)
    rollout = _with_what_is_open(snapshot, rollout)
    begins = next_block(snapshot)
    counted = begins if rollout.counted_from is None else rollout.counted_from
    soaking = replace(
        rollout,
        phase=Phase.SOAKING,
        phase_at=snapshot.now,
        step_from=begins,
        step_fence=state.changed_by,
        served=None,
        counted_from=counted,
    )
    moved = replace(
        state,
        stable=rollout.candidate,
        history=_history(state, rollout),
        warm=_kept_warm(state, rollout, snapshot.now + timedelta(seconds=rollout.plan.warm)),
        rollout=soaking,
    )
    reason = f"{rollout.candidate.version} is stable: every gateway serves 100%"
    return Outcome(kind=DecisionKind.ADVANCE, code="promoted", reason=reason, state=moved)


def _still_judged(snapshot: Snapshot, rollout: RolloutState) -> Outcome | None:
    """What the gates of the last step find goes on counting; an outage pauses, once."""
    cause = snapshot.measured.shared_cause
    if rollout.stable is None or cause:
        told = not cause or rollout.paused or rollout.stable is None
        text = f"both arms suffer, this is not the candidate: {cause}"
        return None if told else pause(snapshot, rollout, "shared_cause", text)
    proof = failed_gate(snapshot, rollout)
    if proof is not None:
        return roll_back(snapshot, proof.code, proof.text)
    return alarmed(snapshot, rollout) or source_failed(snapshot, rollout)


def _with_what_is_open(snapshot: Snapshot, rollout: RolloutState) -> RolloutState:
    """Paused where a limit was broken on the way and stable not shown to be better: a soak cannot show that."""
    failed = [finding for finding in snapshot.measured.findings if finding.verdict is Verdict.FAIL]
    if not failed or rollout.paused or rollout.going_back or rollout.stable is None:
        return rollout
    told = "; ".join(f"{finding.gate} failed: {finding.reason}" for finding in failed)
    return replace(rollout, paused=f"all traffic had moved already when {told}")


def _unconfirmed(snapshot: Snapshot, rollout: RolloutState) -> Outcome:
    """Wait for the last gateway, for a while; whoever goes back, or has nothing to go back to, only waits."""
    text = "gateways have not confirmed 100%"
    if rollout.going_back or rollout.stable is None:
        return wait(snapshot.state, "waiting_for_gateways", text, again=0.05)
    return not_confirmed(snapshot, rollout, rollout.phase_at, text)


def _last_instances(snapshot: Snapshot, rollout: RolloutState) -> Outcome:
    """All traffic waits for all instances of the candidate."""
    waits = (
        starting(snapshot, rollout, instances_of(rollout, None))
        or _held(snapshot, rollout)
        or unapproved(snapshot, rollout, entering=len(rollout.plan.steps))
        or instrument(snapshot, rollout)
        or source_stops(snapshot, rollout)
        or unsettled(snapshot, rollout)
    )
    if waits is not None:
        return waits
    noted = replace(rollout, scaling=Scaling.EXPOSED, phase_at=snapshot.now)
    return Outcome(
        kind=DecisionKind.ADVANCE,
        code="instances_ready",
        reason=f"every instance of {rollout.candidate.version} is ready; all traffic goes to it",
        state=replace(snapshot.state, rollout=noted),
        again=0.05,
    )


def _held(snapshot: Snapshot, rollout: RolloutState) -> Outcome | None:
    """A person who paused or holds the route is waited for."""
    if rollout.paused:
        return wait(snapshot.state, "paused", rollout.paused)
    hold = active_hold(snapshot.state, snapshot.now)
    return None if hold is None else wait(snapshot.state, "held", f"{hold.actor} holds: {hold.reason}")


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
    left = last_stable(rollout)
    former = rollout.stable if left is None else replace(rollout.stable, replicas=min(left, rollout.stable.replicas))
    return (Warm(arm=former, until=until), *(w for w in kept if w.arm.release != rollout.stable.release))


def soaking(snapshot: Snapshot, rollout: RolloutState) -> Outcome:
    """Done once the soak has been observed without a FAIL; the former stable stays warm for going back."""
    for rule in _SOAK_RULES:
        outcome = rule(snapshot, rollout)
        if outcome is not None:
            return outcome
    state, rollout = verified(snapshot.state, rollout)
    done = replace(rollout, phase=Phase.DONE, phase_at=snapshot.now, cause="succeeded")
    return Outcome(
        kind=DecisionKind.FINISH,
        code="done",
        reason=f"rollout of {rollout.candidate.version} is done",
        state=replace(state, rollout=done, blocked=blocked_after(state, rollout), warm=scaled_down(state, rollout)),
    )


def _failed(snapshot: Snapshot, rollout: RolloutState) -> Outcome | None:
    failed = [finding for finding in snapshot.measured.findings if finding.verdict is Verdict.FAIL]
    if not failed:
        return None
    why = "; ".join(finding.reason for finding in failed)
    if rollout.stable is None:
        if rollout.paused:
            return None
        return pause(snapshot, rollout, "first_release_failing", f"{why}; there is no earlier release to return to")
    if any(finding.damning for finding in failed):
        return roll_back(snapshot, "soak_failed", f"failed after promotion: {why}")
    # The former stable, still serving the conversations that began on it, fails as well: an outage.
    if rollout.paused:
        return None
    return pause(snapshot, rollout, "shared_cause", f"the former stable fails too, this is not the release: {why}")


def _stopped(snapshot: Snapshot, rollout: RolloutState) -> Outcome | None:
    """What is paused for a FAIL or an alarm waits for a person, once nothing asks to go back."""
    if not rollout.paused:
        return None
    if any(finding.verdict is Verdict.FAIL for finding in snapshot.measured.findings):
        code = "first_release_failing" if rollout.stable is None else "shared_cause"
        return wait(snapshot.state, code, rollout.paused)
    # What a person resumed in spite of holds nothing up.
    return wait(snapshot.state, "paused", rollout.paused) if snapshot.measured.alarms else None


def _health(snapshot: Snapshot, rollout: RolloutState) -> Outcome | None:
    broken = broken_arm(observed_arm(snapshot, rollout.candidate.release, rollout.candidate.effective))
    if not broken:
        return None
    if rollout.stable is not None:
        return roll_back(snapshot, "candidate_crashed", f"{rollout.candidate.version} stopped serving ({broken})")
    return wait(snapshot.state, "stable_crashed", f"{rollout.candidate.version} does not serve ({broken})")


def _observing(snapshot: Snapshot, rollout: RolloutState) -> Outcome | None:
    blind = [finding for finding in snapshot.measured.findings if is_blind(finding)]
    observed = snapshot.measured.mature_seconds
    if rollout.plan.soak and (observed < rollout.plan.soak or blind or snapshot.measured.error):
        seen, whole = format_duration(observed), format_duration(rollout.plan.soak)
        return wait(snapshot.state, "soaking", f"{rollout.candidate.version} soaks: {seen} of {whole} observed")
    lacks = _unproved(snapshot, rollout)
    return wait(snapshot.state, "soaking", lacks) if lacks else None


def _a_person_holds(snapshot: Snapshot, rollout: RolloutState) -> Outcome | None:
    """A soak is not over while a person has paused or holds it; what goes back whole is not kept from its end."""
    return None if goes_back_whole(rollout) else _held(snapshot, rollout)


_SOAK_RULES: tuple[Callable[[Snapshot, RolloutState], Outcome | None], ...] = (
    _failed,
    alarmed,
    source_failed,
    _health,
    overdue_mix,
    _stopped,
    source_stops,
    _observing,
    source_waits,
    _a_person_holds,
)


def _unproved(snapshot: Snapshot, rollout: RolloutState) -> str:
    """Gates of the soak that must pass and have not, in words: where no step below 100 % compared anything."""
    found = {finding.gate: finding for finding in snapshot.measured.findings}
    lacking = soak_lacks(rollout, snapshot.measured.findings)
    if not lacking:
        return ""
    reasons = "; ".join(found[name].reason if name in found else "no data" for name in lacking)
    return f"{rollout.candidate.version} soaks until {', '.join(lacking)} passes: {reasons}"
