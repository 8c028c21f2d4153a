"""What the custom gates of a rollout find where it is, and what of it asks for a person or speaks against it. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from fairway.rollout.deciding import Snapshot
from fairway.rollout.judged import judged
from fairway.rollout.values import Phase, RolloutState, Scaling
from fairway.sources.judging import judge_source
from fairway.sources.placeholders import needs_stable
from fairway.sources.values import OnFail, SourceFinding, SourceGate
from fairway.units import Verdict


def asked_now(rollout: RolloutState) -> tuple[SourceGate, ...]:
    """The custom gates of a rollout where it is: while users meet the candidate by its share, and in the soak.

    They go on with the traffic that is served: while the next step's instances start, and until the last gateway has
    confirmed 100 %. Nobody has met it in a smoke or a mirrored step, so nothing outside can know it yet. At 100 %
    stable has no traffic of its own left to compare with, so that gates that compare end with the last step; and what
    names stable is not asked for a first release.
    """
    gates, of = rollout.plan.sources, judged(rollout)
    if not gates or of is None:
        return ()
    if of.step is not None:
        met = of.step.split > 0 and not of.step.probe and of.step.mirroring is None
        whole = rollout.phase is Phase.PROMOTING and rollout.scaling is not Scaling.STARTING
        return tuple(gate for gate in gates if met and not (whole and gate.compares))
    if not rollout.plan.soak:
        return ()
    known = rollout.stable is not None
    return tuple(gate for gate in gates if not gate.compares and (known or not needs_stable(gate.question)))


def source_findings(snapshot: Snapshot, rollout: RolloutState | None) -> tuple[SourceFinding, ...]:
    """What each custom gate says now, in the plan's order; one nobody has asked says NO_DATA."""
    if rollout is None or not rollout.plan.sources:
        return ()
    readings = {reading.gate: reading for reading in snapshot.measured.sources}
    now = snapshot.now.timestamp()
    return tuple(judge_source(gate, readings.get(gate.name), now=now) for gate in asked_now(rollout))


def against_by_sources(snapshot: Snapshot, rollout: RolloutState) -> str:
    """What custom gates that roll back have against the candidate, in words; empty when nothing."""
    failed = [
        finding
        for finding in source_findings(snapshot, rollout)
        if finding.verdict is Verdict.FAIL and finding.on_fail is OnFail.ROLL_BACK
    ]
    return in_words(failed)


def stopping(snapshot: Snapshot, rollout: RolloutState | None) -> tuple[SourceFinding, ...]:
    """Custom gates a person has to look at: failed ones that pause, and sources that cannot be read."""
    return tuple(
        finding
        for finding in source_findings(snapshot, rollout)
        if finding.stops or (finding.verdict is Verdict.FAIL and finding.on_fail is OnFail.PAUSE)
    )


def overlooked_name(finding: SourceFinding) -> str:
    """What a rollout remembers such a gate by."""
    return f"custom:{finding.gate}"


def passed_words(snapshot: Snapshot, rollout: RolloutState | None) -> str:
    """That custom gates let a step pass, and what that is worth; empty without any."""
    names = [one.gate for one in source_findings(snapshot, rollout) if one.verdict is Verdict.PASS]
    return f"{', '.join(names)} passed (guarantee: none)" if names else ""


def in_words(failed: Sequence[SourceFinding]) -> str:
    """Custom gates that failed, with what that is worth; empty without any."""
    if not failed:
        return ""
    names = ", ".join(one.gate for one in failed)
    reasons = "; ".join(one.reason for one in failed)
    return f"{names} failed (a custom gate, guarantee: none): {reasons}"
