"""Custom gates in a decision: where they hold it, where they end it, and that they never move it on. Pure.

They carry no guarantee. What passes here is no evidence, so that a step needs its statistical gates all the same: each
rule below waits, pauses or goes back, and says nothing otherwise.
"""

from __future__ import annotations

from fairway.rollout.deciding import Snapshot
from fairway.rollout.outcome import Outcome, pause, roll_back, wait
from fairway.rollout.source_gates import against_by_sources, in_words, overlooked_name, source_findings, stopping
from fairway.rollout.values import Phase, RolloutState
from fairway.units import Verdict, format_duration


def source_failed(snapshot: Snapshot, rollout: RolloutState) -> Outcome | None:
    """Go back for a custom gate that was declared to; where nothing stands behind the candidate, a person decides."""
    told = against_by_sources(snapshot, rollout)
    if not told:
        return None
    if rollout.stable is not None:
        return roll_back(snapshot, "custom_gate_failed", told)
    if rollout.paused:
        return wait(snapshot.state, "custom_gate_failed", rollout.paused)
    return pause(snapshot, rollout, "custom_gate_failed", f"{told}; there is no earlier release to return to")


def source_stops(snapshot: Snapshot, rollout: RolloutState) -> Outcome | None:
    """Pause for a custom gate a person has to look at, once: what they resumed in spite of only holds."""
    if rollout.paused:
        return None
    new = [one for one in stopping(snapshot, rollout) if overlooked_name(one) not in rollout.overlooked]
    if not new:
        return None
    failed = [one for one in new if one.verdict is Verdict.FAIL]
    if failed:
        return pause(snapshot, rollout, "custom_gate_failed", in_words(failed))
    told = "; ".join(f"{one.gate}: {one.reason}" for one in new)
    return pause(snapshot, rollout, "custom_gate_unreadable", f"a custom gate's source cannot be read: {told}")


def source_waits(snapshot: Snapshot, rollout: RolloutState) -> Outcome | None:
    """Hold while a custom gate has not passed; pause for a person once the step's cap is over."""
    open_ones = [one for one in source_findings(snapshot, rollout) if one.verdict is not Verdict.PASS]
    if not open_ones:
        return None
    told = "; ".join(f"{one.gate} is {one.verdict.value}: {one.reason}" for one in open_ones)
    if rollout.phase is Phase.STEPPING:
        cap = rollout.plan.steps[rollout.step].cap
        if (snapshot.now - rollout.phase_at).total_seconds() > cap and not rollout.paused:
            return pause(snapshot, rollout, "step_undecided", f"undecided after {format_duration(cap)}: {told}")
    return wait(snapshot.state, "custom_gate_waits", f"custom gates hold it: {told}")
