"""What the gates and triggers of a rollout find in what was read of its blocks. Pure.

The controller and the simulator read blocks differently - one whatever the ledger keeps, the other each block once -
and both ask here what follows from them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fairway.observe.fold import Block
from fairway.rollout.deciding import Measured
from fairway.rollout.evidence import MirrorPairs
from fairway.rollout.judged import Judged
from fairway.rollout.values import RolloutState
from fairway.units import Verdict
from fairway.verdict.panel import Panel
from fairway.verdict.shared_cause import shared_cause
from fairway.verdict.soak_alarms import SoakWatch
from fairway.verdict.values import Alarm, GateFinding


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What was read for what is judged now.

    Attributes:
        panel: The gates of the rollout, or of its soak, with every block taken.
        begins: Epoch seconds from which blocks count for the step, or the soak.
        mature_seconds: Of comparable blocks since then with a part of the candidate.
        counted: Blocks since the first exposure, in order of ``t0``; not looked at in the soak.
        soak: Comparable blocks of the soak; not looked at in a step.
        watch: Triggers of the soak; ``None``: none.
        pairs: Of a mirrored step.
        jumps: Whether stable's failures may have jumped; ``False`` saves looking for it where that cannot be.
    """

    panel: Panel
    begins: float
    mature_seconds: float
    counted: Sequence[Block] = ()
    soak: Sequence[Block] = ()
    watch: SoakWatch | None = None
    pairs: MirrorPairs | None = None
    jumps: bool = True


def measured(rollout: RolloutState, of: Judged, reading: Reading) -> Measured:
    """What is found; nothing of yardsticks, errors and outside sources, which are not of the gates."""
    findings = reading.panel.judge(of.gates, step_from=reading.begins)
    outage = "" if of.soaking else _shared_cause(rollout, findings, reading)
    return Measured(
        findings=findings,
        mature_seconds=reading.mature_seconds,
        shared_cause=outage,
        # What a shared cause explains is no alarm.
        alarms=() if outage else _alarms(rollout, of, reading),
        pairs=reading.pairs,
    )


def _shared_cause(rollout: RolloutState, findings: tuple[GateFinding, ...], reading: Reading) -> str:
    if rollout.stable is None:
        return ""
    both = any(finding.verdict is Verdict.FAIL and finding.stable_fails_too for finding in findings)
    if not both and not reading.jumps:
        return ""
    return shared_cause(findings, reading.counted, candidate=rollout.candidate.release, stable=rollout.stable.release)


def _alarms(rollout: RolloutState, of: Judged, reading: Reading) -> tuple[Alarm, ...]:
    if of.soaking:
        return () if reading.watch is None else reading.watch.alarming(reading.soak)
    return () if rollout.stable is None else reading.panel.alarming(reading.counted)
