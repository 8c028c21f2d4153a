"""Releases of former parts that never served as a whole: unverified until a soak has proved them. Pure.

Each part of such a mix was stable here, and the checks ran on exactly its content, but nobody has met the parts
together. It is marked :attr:`fairway.rollout.values.ArmRef.unverified` from the moment somebody goes back to it; only
the end of its own soak takes the mark away. A soak that a person ended, or that the next release cut short, does not.
"""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum

from fairway.rollout.deciding import Snapshot
from fairway.rollout.instances import soak_lacks
from fairway.rollout.outcome import Outcome, pause, roll_back
from fairway.rollout.values import RolloutState, RouteState
from fairway.units import Digest, format_duration


class MixStanding(StrEnum):
    """What is known of a derived release as a whole, on one route."""

    NEVER_SERVED = "never_served"
    UNVERIFIED = "unverified"
    VERIFIED = "verified"


def standing_of(state: RouteState, release: Digest) -> MixStanding:
    """How far a derived release has proved itself here; one that was rolled back has not."""
    rollout = state.rollout
    tried = () if rollout is None else (rollout.candidate,)
    known = [arm for arm in (state.stable, *tried, *state.history) if arm is not None and arm.release == release]
    if not known:
        return MixStanding.NEVER_SERVED
    return MixStanding.UNVERIFIED if any(arm.unverified for arm in known) else MixStanding.VERIFIED


def overdue_mix(snapshot: Snapshot, rollout: RolloutState) -> Outcome | None:
    """A mix that nobody could verify in its time: a person looks, or it goes back, as the policy says.

    Its time begins with its soak, and anew when a person lets it go on.
    """
    limit = rollout.plan.mix_expires
    if not rollout.candidate.unverified or limit is None:
        return None
    if (snapshot.now - rollout.phase_at).total_seconds() <= limit:
        return None
    version, lacks = rollout.candidate.version, soak_lacks(rollout, snapshot.measured.findings)
    missing = f"{', '.join(lacks)} has not passed" if lacks else "its soak is not over"
    text = f"{version} is a mix of former parts and not verified after {format_duration(limit)}: {missing}"
    if rollout.plan.mix_goes_back and rollout.stable is not None:
        return roll_back(snapshot, "mix_unverified", text)
    return None if rollout.paused else pause(snapshot, rollout, "mix_unverified", text)


def verified(state: RouteState, rollout: RolloutState) -> tuple[RouteState, RolloutState]:
    """Both after a soak that was observed to its end: a mix that had gates to pass has served as a whole.

    Args:
        state: With that mix as stable.
        rollout: Whose soak is over.
    """
    if not rollout.candidate.unverified or not rollout.plan.soak_gates:
        return state, rollout
    proved = replace(rollout.candidate, unverified=False)
    return replace(state, stable=proved), replace(rollout, candidate=proved)
