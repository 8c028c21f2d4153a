"""Times in a rollout that have not come yet: a controller whose clock was ahead wrote them. Pure.

Caps and time limits count from them, so that none would end before the clock has caught up. What is ahead by more than
clocks of two machines may differ by is taken for now, and recorded so with the next event.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from fairway.rollout.deciding import Snapshot
from fairway.rollout.desired import is_frozen
from fairway.rollout.judged import FAST_SECONDS, first_unseen
from fairway.rollout.values import RolloutState

SKEW = timedelta(seconds=10)
"""So much ahead is nothing: a takeover by another machine writes no event for it."""


def not_ahead(snapshot: Snapshot) -> Snapshot:
    """The snapshot with no time of its live rollout in the future; a freeze leaves the rollout as it is."""
    rollout = snapshot.state.rollout
    if rollout is None or not rollout.live or is_frozen(snapshot.state, snapshot.now):
        return snapshot
    past = _blocks_past(_past(rollout, snapshot), snapshot)
    return snapshot if past == rollout else replace(snapshot, state=replace(snapshot.state, rollout=past))


def _past(rollout: RolloutState, snapshot: Snapshot) -> RolloutState:
    now, latest = snapshot.now, snapshot.now + SKEW
    if rollout.phase_at > latest:
        rollout = replace(rollout, phase_at=now)
    if rollout.theta_at is not None and rollout.theta_at > latest:
        rollout = replace(rollout, theta_at=now)
    if rollout.telemetry_lost_at is not None and rollout.telemetry_lost_at > latest:
        rollout = replace(rollout, telemetry_lost_at=now)
    return rollout


def _blocks_past(rollout: RolloutState, snapshot: Snapshot) -> RolloutState:
    """Blocks count from now on at the latest, where their tables tell which step they are of (:class:`Judged`)."""
    read, first = snapshot.measured.read, first_unseen(snapshot)
    latest = max(snapshot.now.timestamp(), 0.0 if read is None else read.upto) + FAST_SECONDS
    anew, counted, served = rollout.anew_from, rollout.counted_from, rollout.served
    known = rollout.step_fence is not None or (served is not None and served.fence is not None)
    if not known:
        return rollout
    if rollout.step_from is not None and rollout.step_from > latest:
        rollout = replace(rollout, step_from=first)
    if served is not None and served.since > latest:
        rollout = replace(rollout, served=replace(served, since=first))
    if counted is not None and counted > latest:
        rollout = replace(rollout, counted_from=first)
    return rollout if anew is None or anew <= latest else replace(rollout, anew_from=first)
