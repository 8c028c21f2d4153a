"""Is it an outage that both arms suffer, rather than a bad candidate?"""

from __future__ import annotations

from collections.abc import Sequence

from fairway.observe.fold import Block
from fairway.stats.intervals import clopper_pearson
from fairway.units import Digest, UnitHash, Verdict
from fairway.verdict.values import ABSOLUTE_KINDS, GateFinding

RECENT_BLOCKS = 6
EARLIER_UNITS = 30
RECENT_BAD_UNITS = 5
CONFIDENCE = 0.9998
JUMP_FACTOR, JUMP_POINTS = 3.0, 0.02


def shared_cause(findings: Sequence[GateFinding], blocks: Sequence[Block], *, candidate: Digest, stable: Digest) -> str:
    """Why this looks like a shared cause, one clause for people; ``""`` when it does not.

    Two ways: an absolute limit is broken by the candidate and by stable as well, or stable's own failures jumped in the
    last minute. A limit that stable breaks all the time excuses nothing once a gate that compares the two has failed.
    Pausing is cheap and a wrong rollback is not, yet a false alarm also holds a good release, so a
    jump needs five failed units and a lower bound (one-sided, error 1e-4) above three times the earlier rate plus two
    points.

    Args:
        findings: Of the step's gates.
        blocks: Mature blocks of the rollout, in order of ``t0``.
        candidate: Release on trial; its requests are not looked at here, only its findings.
        stable: Release it is compared with.
    """
    failed = [finding for finding in findings if finding.verdict is Verdict.FAIL and candidate != stable]
    worse = any(finding.kind not in ABSOLUTE_KINDS for finding in failed)  # by what the arms do not share
    for finding in () if worse else failed:
        if finding.stable_fails_too:
            return f"{finding.gate}: stable breaks the limit as well ({finding.reason})"
    return _jump(blocks, stable)


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
