"""While the candidate starts, and what has to be true before anybody meets it. Pure."""

from __future__ import annotations

from fairway.rollout.desired import active_hold
from fairway.rollout.outcome import Outcome, broken_arm, move_on, observed_arm, pinned, roll_back, wait
from fairway.rollout.values import RolloutState, Snapshot, Strategy
from fairway.rollout.verbs import approved
from fairway.units import format_duration


def preparing(snapshot: Snapshot, rollout: RolloutState) -> Outcome:
    """Wait until every instance is ready and has read back its digest; roll back when it will not be."""
    state, candidate = snapshot.state, rollout.candidate
    refused = snapshot.refused.get(candidate.release)
    if refused:
        return roll_back(snapshot, "release_refused", f"{candidate.version} was not started: {refused}")
    arm = observed_arm(snapshot, candidate.release, candidate.effective)
    if broken := broken_arm(arm):
        return roll_back(snapshot, "candidate_not_ready", f"{candidate.version} never became ready ({broken})")
    ready = 0 if arm is None else len(arm.ready())
    waited = (snapshot.now - rollout.phase_at).total_seconds()
    if ready < candidate.replicas:
        if waited > rollout.plan.prepare_timeout:
            limit = format_duration(rollout.plan.prepare_timeout)
            reason = f"{candidate.version} had {ready} of {candidate.replicas} instances ready after {limit}"
            return roll_back(snapshot, "prepare_timeout", reason)
        reason = f"{candidate.version} is starting: {ready} of {candidate.replicas} ready"
        return wait(state, "starting", reason, again=0.2)
    return _first_exposure(snapshot, rollout)


def _first_exposure(snapshot: Snapshot, rollout: RolloutState) -> Outcome:
    state = snapshot.state
    if rollout.paused:
        return wait(state, "paused", rollout.paused)
    if rollout.plan.strategy is Strategy.CANARY:
        stable = rollout.stable
        arm = None if stable is None else observed_arm(snapshot, stable.release, stable.effective)
        if arm is None or not arm.ready():
            return wait(state, "stable_not_ready", "stable is not ready, there is nothing to compare with", again=0.5)
    if rollout.plan.approval and not approved(state, rollout, step=None):
        reason = f"{rollout.candidate.version} waits for an approval before first exposure"
        return wait(state, "approval_needed", reason)
    if rollout.plan.strategy is Strategy.DIRECT and rollout.stable is not None and not rollout.going_back:
        return wait(state, "no_steps", "its plan compares nothing with stable, so it is not exposed")
    if (held := pinned(snapshot, rollout)) is not None and not rollout.going_back:
        return held
    hold = active_hold(state, snapshot.now)
    if hold is not None and not rollout.going_back:
        return wait(state, "held", f"{hold.actor} holds: {hold.reason}")
    return move_on(snapshot, rollout, "candidate_ready", f"{rollout.candidate.version} is ready")
