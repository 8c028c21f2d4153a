"""Is it an outage that both arms suffer, rather than a bad candidate?"""

from __future__ import annotations

from collections.abc import Sequence

from fairway.observe.fold import Block
from fairway.stats.intervals import clopper_pearson
from fairway.units import Digest, UnitHash, Verdict
from fairway.verdict.roster import Units
from fairway.verdict.values import GateFinding

RECENT_BLOCKS = 6
EARLIER_UNITS = 30
RECENT_BAD_UNITS = 5
CONFIDENCE = 0.9998
JUMP_FACTOR, JUMP_POINTS = 3.0, 0.02
_SUFFERING_UNITS, _SUFFERING_CONFIDENCE = 2, 0.998


def shared_cause(findings: Sequence[GateFinding], blocks: Sequence[Block], *, candidate: Digest, stable: Digest) -> str:
    """Why this looks like a shared cause, one clause for people; ``""`` when it does not.

    Nothing does once a gate speaks against the candidate beside stable (``GateFinding.damning``): what both arms share
    cannot show that. Else there are two ways: an absolute limit is broken by the candidate and by stable as well, or
    stable's own failures jumped in the last minute. A false alarm holds a good release, so a jump needs five failed
    units and a lower bound (one-sided, error 1e-4) above three times the earlier rate plus two points.

    Args:
        findings: Of the step's gates.
        blocks: Mature blocks of the rollout, in order of ``t0``.
        candidate: Release on trial; its requests are not looked at here, only its findings.
        stable: Release it is compared with.
    """
    if candidate != stable:
        if any(finding.damning for finding in findings):
            return ""
        for finding in findings:
            if finding.verdict is Verdict.FAIL and finding.stable_fails_too:
                return f"{finding.gate}: stable breaks the limit as well ({finding.reason})"
    return _jump(blocks, stable)


def suffers(limit: float, bad: Sequence[Units], known: Sequence[Units]) -> bool:
    """Whether an arm breaks an absolute limit in the newest of these blocks: in the last one, two, … all of them.

    Two bad units at least, and an exact lower bound (Clopper-Pearson, one-sided, error 1e-3 each) above the limit: one
    unlucky conversation of the last few is no outage, and a calm minute before it hides none.

    Args:
        limit: Share of bad units.
        bad: Units with a bad event, a set for each block, the newest last.
        known: Units counted, the same.
    """
    failed: Units = frozenset()
    units: Units = frozenset()
    for struck, seen in zip(reversed(bad), reversed(known), strict=True):
        failed |= struck
        units |= struck | seen
        if len(failed) < _SUFFERING_UNITS:
            continue
        if clopper_pearson(len(failed), len(units), confidence=_SUFFERING_CONFIDENCE)[0] > limit:
            return True
    return False


def _jump(blocks: Sequence[Block], stable: Digest) -> str:
    usable = [block for block in blocks if stable in block.arms and not block.gap]
    earlier_bad, earlier = _units(usable[:-RECENT_BLOCKS], stable)
    recent_bad, recent = _units(usable[-RECENT_BLOCKS:], stable)
    if len(earlier) < EARLIER_UNITS or len(recent_bad) < RECENT_BAD_UNITS:
        return ""
    rate_before = (len(earlier_bad) + 1) / (len(earlier) + 1)
    lower, _ = clopper_pearson(len(recent_bad), len(recent), confidence=CONFIDENCE)
    if lower <= JUMP_FACTOR * rate_before + JUMP_POINTS:
        return ""
    return (
        f"stable's failures jumped: {len(recent_bad)} of {len(recent)} units in the last {RECENT_BLOCKS} blocks,"
        f" {len(earlier_bad)} of {len(earlier)} before"
    )


def _units(blocks: Sequence[Block], release: Digest) -> tuple[frozenset[UnitHash], frozenset[UnitHash]]:
    """Distinct units that failed, and distinct units that were active."""
    arms = [block.arms[release] for block in blocks]
    failed = frozenset(unit for arm in arms for unit in arm.failed_units)
    return failed, frozenset(unit for arm in arms for unit in arm.active) | failed
