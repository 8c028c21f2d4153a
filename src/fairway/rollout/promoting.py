"""At 100 %: until every gateway has confirmed it, and the soak after. Pure."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from fairway.rollout.outcome import (
    Outcome,
    broken_arm,
    confirmed,
    next_block,
    observed_arm,
    pause,
    pinned,
    roll_back,
    wait,
)
from fairway.rollout.stepping import alarmed
from fairway.rollout.values import ArmRef, DecisionKind, Phase, RolloutState, RouteState, Snapshot, Warm
from fairway.units import Verdict, format_duration

HISTORY = 50
"""Former stables remembered."""


def promoting(snapshot: Snapshot, rollout: RolloutState) -> Outcome:
    """The candidate is stable once every gateway has confirmed 100 %."""
    state = snapshot.state
    if broken := broken_arm(observed_arm(snapshot, rollout.candidate.release, rollout.candidate.effective)):
        return roll_back(snapshot, "candidate_crashed", f"{rollout.candidate.version} stopped serving ({broken})")
    if (held := pinned(snapshot, rollout)) is not None:
        return held
    if not confirmed(snapshot):
        return wait(state, "waiting_for_gateways", "gateways have not confirmed 100% yet", again=0.05)
    soaking = replace(rollout, phase=Phase.SOAKING, phase_at=snapshot.now, step_from=next_block(snapshot))
    moved = replace(
        state,
        stable=rollout.candidate,
        history=_history(state, rollout),
        warm=_kept_warm(state, rollout, snapshot.now + timedelta(seconds=rollout.plan.warm)),
        rollout=soaking,
    )
    reason = f"{rollout.candidate.version} is stable: every gateway serves 100%"
    return Outcome(kind=DecisionKind.ADVANCE, code="promoted", reason=reason, state=moved)


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


def soaking(snapshot: Snapshot, rollout: RolloutState) -> Outcome:
    """Done once the soak has been observed without a FAIL; the former stable stays warm for going back."""
    state = snapshot.state
    failed = [finding for finding in snapshot.measured.findings if finding.verdict is Verdict.FAIL]
    if failed:
        why = "; ".join(finding.reason for finding in failed)
        if rollout.stable is None:
            if rollout.paused:
                return wait(state, "first_release_failing", rollout.paused)
            return pause(snapshot, rollout, "first_release_failing", f"{why}; there is no earlier release to return to")
        if all(finding.stable_fails_too for finding in failed):
            return _shared_in_soak(snapshot, rollout, why)
        return roll_back(snapshot, "soak_failed", f"failed after promotion: {why}")
    if (alarm := alarmed(snapshot, rollout)) is not None:
        return alarm
    if snapshot.measured.alarms:
        return wait(state, "paused", rollout.paused)
    if broken := broken_arm(observed_arm(snapshot, rollout.candidate.release, rollout.candidate.effective)):
        if rollout.stable is not None:
            return roll_back(snapshot, "candidate_crashed", f"{rollout.candidate.version} stopped serving ({broken})")
        return wait(state, "stable_crashed", f"{rollout.candidate.version} does not serve ({broken})")
    blind = [f for f in snapshot.measured.findings if f.verdict in (Verdict.NO_DATA, Verdict.ERROR)]
    observed = snapshot.measured.mature_seconds
    if rollout.plan.soak and (observed < rollout.plan.soak or blind or snapshot.measured.error):
        seen, whole = format_duration(observed), format_duration(rollout.plan.soak)
        return wait(state, "soaking", f"{rollout.candidate.version} soaks: {seen} of {whole} observed")
    blocked = state.blocked
    if rollout.going_back and rollout.stable is not None and rollout.stable.release not in blocked:
        blocked = (*blocked, rollout.stable.release)
    done = replace(rollout, phase=Phase.DONE, phase_at=snapshot.now, cause="succeeded")
    reason = f"rollout of {rollout.candidate.version} is done"
    return Outcome(
        kind=DecisionKind.FINISH, code="done", reason=reason, state=replace(state, rollout=done, blocked=blocked)
    )


def _shared_in_soak(snapshot: Snapshot, rollout: RolloutState, why: str) -> Outcome:
    """The former stable, still serving the conversations that began on it, fails as well: an outage."""
    if rollout.paused:
        return wait(snapshot.state, "shared_cause", rollout.paused)
    return pause(snapshot, rollout, "shared_cause", f"the former stable fails too, this is not the release: {why}")
