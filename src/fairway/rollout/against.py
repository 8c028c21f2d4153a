"""What speaks against a candidate now: what automation goes back for, and no override goes past. Pure.

The automatic rules and people's verbs both read it here, so that neither knows a failure the other does not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fairway.rollout.deciding import Snapshot
from fairway.rollout.evidence import SmokeOutcome
from fairway.rollout.instances import instances_of, step_now
from fairway.rollout.mirroring import judge_pairs
from fairway.rollout.source_gates import against_by_sources
from fairway.rollout.values import RolloutState
from fairway.targets.port import InstanceState, ObservedArm
from fairway.units import Digest, Verdict
from fairway.verdict.values import AlarmAction

_BROKEN = frozenset({InstanceState.CRASH_LOOP, InstanceState.NEVER_READY})


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """One thing that speaks against the candidate: its reason code, and a sentence."""

    code: str
    text: str


def against(snapshot: Snapshot, rollout: RolloutState) -> Proof | None:
    """The first thing that speaks against the candidate where the rollout is; ``None`` when nothing does."""
    return next((proof for find in _FINDS if (proof := find(snapshot, rollout)) is not None), None)


def failed_gate(snapshot: Snapshot, rollout: RolloutState) -> Proof | None:
    """Gates that found the candidate worse than stable, or bad where there is nothing to compare it with."""
    damning = [finding for finding in snapshot.measured.findings if finding.damning]
    if not damning:
        return None
    names = ", ".join(finding.gate for finding in damning)
    return Proof(code="gate_failed", text=f"{names} failed: " + "; ".join(finding.reason for finding in damning))


def grave_alarm(snapshot: Snapshot, rollout: RolloutState) -> Proof | None:
    """Triggers beside the gates that ask to go back."""
    grave = [alarm for alarm in snapshot.measured.alarms if alarm.action is AlarmAction.ROLL_BACK]
    if not grave:
        return None
    return Proof(code="trigger_fired", text="; ".join(f"{alarm.name}: {alarm.reason}" for alarm in grave))


def failed_source(snapshot: Snapshot, rollout: RolloutState) -> Proof | None:
    """Custom gates that were declared to roll back."""
    told = against_by_sources(snapshot, rollout)
    return Proof(code="custom_gate_failed", text=told) if told else None


def failed_smoke(snapshot: Snapshot, rollout: RolloutState) -> Proof | None:
    """A probe that failed, or mirrored pairs in which the shadow is worse; only of the step that asks for it."""
    step, probed, candidate = step_now(rollout), snapshot.probed, rollout.candidate
    if step is None:
        return None
    if step.mirroring is not None:
        if (unattested := shadow_unattested(snapshot, rollout)) is not None:
            return unattested
        verdict, reason = judge_pairs(step.mirroring, snapshot.measured.pairs)
        return Proof(code="mirror_failed", text=reason) if verdict is Verdict.FAIL else None
    if not step.probe or probed is None:
        return None
    if (probed.release, probed.effective) != (candidate.release, candidate.effective):
        return None
    smoke = probed.smoke
    same = smoke is not None and (smoke.release, smoke.effective) == (candidate.release, candidate.effective)
    if smoke is not None and same and smoke.outcome is SmokeOutcome.FAILED:
        return Proof(code="smoke_failed", text=f"{candidate.version} failed its smoke: {smoke.text}")
    if not probed.error:
        return None
    return Proof(code="probe_failed", text=f"{candidate.version} failed its smoke: {probed.error}")


def shadow_unattested(snapshot: Snapshot, rollout: RolloutState) -> Proof | None:
    """A shadow that answered without saying that it is one: its tools may have been real."""
    pairs = snapshot.measured.pairs
    if pairs is None or not pairs.unattested:
        return None
    text = (
        f"an answer of the shadow of {rollout.candidate.version} did not say that it was one (shadow=1 in its outcome),"
        " although rollout.shadow.heeded declares it: its tools may have been real; nothing more is copied to it"
    )
    return Proof(code="shadow_unattested", text=text)


def crashed(snapshot: Snapshot, rollout: RolloutState) -> Proof | None:
    """Instances of the candidate that will not serve, as it runs where the rollout is."""
    candidate = rollout.candidate
    effective = instances_of(rollout, step_now(rollout)).effective
    broken = broken_arm(observed_arm(snapshot, candidate.release, effective))
    if not broken:
        return None
    return Proof(code="candidate_crashed", text=f"{candidate.version} stopped serving ({broken})")


def observed_arm(snapshot: Snapshot, release: Digest, effective: Digest) -> ObservedArm | None:
    """The arm as the target sees it; ``None`` when it is not there."""
    for arm in snapshot.arms:
        if arm.release_digest == release and arm.effective_digest == effective:
            return arm
    return None


def broken_arm(arm: ObservedArm | None) -> str:
    """Why an arm will not serve, or an empty string."""
    for instance in () if arm is None else arm.instances:
        if instance.state in _BROKEN:
            return f"{instance.state.value.replace('_', ' ')}: {instance.detail}".strip(": ")
    return ""


_FINDS: tuple[Callable[[Snapshot, RolloutState], Proof | None], ...] = (
    failed_gate,
    grave_alarm,
    failed_source,
    failed_smoke,
    crashed,
)
