"""What asks for a person, and what a person has resumed in spite of, for as long as that lasts. Pure."""

from __future__ import annotations

from dataclasses import replace

from fairway.rollout.deciding import Snapshot
from fairway.rollout.source_gates import asked_now, overlooked_name, stopping
from fairway.rollout.values import RolloutState
from fairway.verdict.values import AlarmAction


def asking(snapshot: Snapshot, rollout: RolloutState) -> dict[str, str]:
    """What asks for a person now, by the name a rollout remembers it by: alarms that pause, and custom gates."""
    alarms = {each.name: each.reason for each in snapshot.measured.alarms if each.action is AlarmAction.PAUSE}
    return alarms | {overlooked_name(one): one.reason for one in stopping(snapshot, rollout)}


def past_alarms(snapshot: Snapshot, rollout: RolloutState) -> dict[str, str]:
    """What a resume now would overrule, with its reason: what asks and has not been overlooked."""
    return {name: why for name, why in asking(snapshot, rollout).items() if name not in rollout.overlooked}


def without_ended(snapshot: Snapshot) -> Snapshot:
    """The snapshot in which a person overlooks only what goes on: the same again is another finding, and pauses.

    What could not be looked at has not ended: telemetry that cannot be read, a shared cause, which no alarm is told
    beside, and a custom gate that is not asked where the rollout is.
    """
    rollout = snapshot.state.rollout
    if rollout is None or not rollout.live or not rollout.overlooked:
        return snapshot
    there = asking(snapshot, rollout)
    unseen = _unseen(snapshot, rollout)
    kept = tuple(name for name in rollout.overlooked if name in there or name in unseen)
    if kept == rollout.overlooked:
        return snapshot
    return replace(snapshot, state=replace(snapshot.state, rollout=replace(rollout, overlooked=kept)))


def _unseen(snapshot: Snapshot, rollout: RolloutState) -> frozenset[str]:
    measured = snapshot.measured
    custom = {name for name in rollout.overlooked if name.startswith("custom:")}
    asked = {f"custom:{gate.name}" for gate in asked_now(rollout)}
    hidden = custom - asked
    if measured.read is None or measured.error or measured.shared_cause or not measured.findings:
        hidden |= set(rollout.overlooked) - custom
    return frozenset(hidden)
