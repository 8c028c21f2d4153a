"""While the candidate starts, and what has to be true before anybody meets it. Pure."""

from __future__ import annotations

from fairway.rollout.against import broken_arm, observed_arm
from fairway.rollout.deciding import Snapshot
from fairway.rollout.desired import active_hold, serves_old_conversations
from fairway.rollout.instances import Instances, goes_back_whole, instances_of, is_shadow, step_now
from fairway.rollout.outcome import Outcome, move_on, pinned, roll_back, unapproved, wait
from fairway.rollout.values import RolloutState, Strategy
from fairway.units import format_duration


def starting(snapshot: Snapshot, rollout: RolloutState, needs: Instances) -> Outcome | None:
    """Roll back when the instances will not be ready, wait while they are not; ``None`` once they are."""
    state, version = snapshot.state, rollout.candidate.version
    refused = snapshot.refused.get(rollout.candidate.release)
    if refused:
        return roll_back(snapshot, "release_refused", f"{version} was not started: {refused}")
    arm = observed_arm(snapshot, rollout.candidate.release, needs.effective)
    if broken := broken_arm(arm):
        return roll_back(snapshot, "candidate_not_ready", f"{version} never became ready ({broken})")
    ready = 0 if arm is None else len(arm.ready())
    wanted = 1 if rollout.going_back else needs.candidate  # one good answer now is better than many later
    if ready >= wanted:
        return None
    waited = (snapshot.now - rollout.phase_at).total_seconds()
    if waited > rollout.plan.prepare_timeout:
        limit = format_duration(rollout.plan.prepare_timeout)
        reason = f"{version} had {ready} of {wanted} instances ready after {limit}"
        return roll_back(snapshot, "prepare_timeout", reason)
    return wait(state, "starting", f"{version} is starting: {ready} of {wanted} ready", again=0.2)


def preparing(snapshot: Snapshot, rollout: RolloutState) -> Outcome:
    """Wait until every instance is ready and has read back its digest; roll back when it will not be."""
    step = step_now(rollout)
    if is_shadow(step) and serves_old_conversations(snapshot.state, rollout, snapshot.now):
        text = f"{rollout.candidate.version} still serves conversations that began on it; its shadow starts after them"
        return wait(snapshot.state, "still_warm", text)
    return starting(snapshot, rollout, instances_of(rollout, step)) or _first_exposure(snapshot, rollout)


def _first_exposure(snapshot: Snapshot, rollout: RolloutState) -> Outcome:
    state = snapshot.state
    if rollout.paused:
        return wait(state, "paused", rollout.paused)
    if rollout.plan.strategy is not Strategy.DIRECT:
        stable = rollout.stable
        arm = None if stable is None else observed_arm(snapshot, stable.release, stable.effective)
        if arm is None or not arm.ready():
            return wait(state, "stable_not_ready", "stable is not ready, there is nothing to compare with", again=0.5)
    if (lacking := unapproved(snapshot, rollout, entering=0)) is not None:
        return lacking
    if rollout.plan.strategy is Strategy.DIRECT and rollout.stable is not None and not rollout.going_back:
        return wait(state, "no_steps", "its plan compares nothing with stable, so it is not exposed")
    if (held := pinned(snapshot, rollout)) is not None and not goes_back_whole(rollout):
        return held
    hold = active_hold(state, snapshot.now)
    if hold is not None and not goes_back_whole(rollout):
        return wait(state, "held", f"{hold.actor} holds: {hold.reason}")
    return move_on(snapshot, rollout, "candidate_ready", f"{rollout.candidate.version} is ready")
