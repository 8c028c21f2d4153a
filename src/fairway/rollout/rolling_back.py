"""On the way back to stable: until every gateway has confirmed it. Pure."""

from __future__ import annotations

from dataclasses import replace

from fairway.rollout.deciding import DecisionKind, Snapshot
from fairway.rollout.desired import desired_of, serves_nobody
from fairway.rollout.outcome import Outcome, confirmed, wait
from fairway.rollout.values import Phase, RolloutState


def rolling_back(snapshot: Snapshot, rollout: RolloutState) -> Outcome:
    """Rolled back once stable serves and every gateway has confirmed it."""
    state = snapshot.state
    back_to = "no release" if rollout.stable is None else rollout.stable.version
    desired = desired_of(state, snapshot.now)
    if serves_nobody(desired, snapshot.arms):
        return wait(state, "stable_not_ready", f"going back: {back_to} is starting", again=0.1)
    if not confirmed(snapshot):
        return wait(state, "waiting_for_gateways", f"going back to {back_to}: gateways have not confirmed", again=0.05)
    ended = replace(rollout, phase=Phase.ROLLED_BACK, phase_at=snapshot.now)
    by_person = rollout.cause in ("aborted", "superseded")
    blocked = state.blocked
    if not by_person and rollout.candidate.release not in blocked:
        blocked = (*blocked, rollout.candidate.release)
    reason = f"every gateway serves {back_to} again"
    moved = replace(state, rollout=ended, blocked=blocked)
    return Outcome(kind=DecisionKind.FINISH, code="rolled_back", reason=reason, state=moved)
