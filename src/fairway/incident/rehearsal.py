"""Whether going back was rehearsed: read from evidence. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fairway.release.values import Evidence
from fairway.units import Digest, Verdict

REHEARSAL = "rehearsal"
"""Kind of its evidence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsed:
    """The last rehearsal of going back to a release.

    Attributes:
        verdict: PASS; FAIL when it went wrong, or counts no more; NO_DATA when there was none.
        at: When; ``None``: never.
        seconds: What it took; ``None``: not known.
        reason: One sentence.
    """

    verdict: Verdict
    at: datetime | None
    seconds: float | None
    reason: str

    def to_wire(self) -> dict[str, Any]:
        """A JSON-able value."""
        return {
            "verdict": self.verdict.value,
            "at": None if self.at is None else self.at.isoformat(),
            "seconds": self.seconds,
            "reason": self.reason,
        }


def rehearsed(evidence: Iterable[Evidence], release: Digest, effective: Digest | None, *, now: datetime) -> Rehearsed:
    """What is known of rehearsals of a release in the configuration it would have; the newest counts."""
    found = [
        one
        for one in evidence
        if one.kind == REHEARSAL and one.release == release and one.effective == effective and one.at <= now
    ]
    if not found:
        return Rehearsed(verdict=Verdict.NO_DATA, at=None, seconds=None, reason="never rehearsed")
    last = max(found, key=lambda one: one.at)
    seconds = last.figures.get("seconds")
    known = float(seconds) if isinstance(seconds, int | float) and not isinstance(seconds, bool) else None
    day = f"{last.at:%Y-%m-%d %H:%M} UTC"
    if last.verdict is not Verdict.PASS:
        why = f"the rehearsal of {day} failed: {last.figures.get('problem', 'no reason on record')}"
        return Rehearsed(verdict=Verdict.FAIL, at=last.at, seconds=known, reason=why)
    if last.expires is not None and last.expires <= now:
        return Rehearsed(
            verdict=Verdict.FAIL, at=last.at, seconds=known, reason=f"last rehearsed {day}, which is too long ago"
        )
    took = "" if known is None else f", took {known:.1f} s"
    return Rehearsed(verdict=Verdict.PASS, at=last.at, seconds=known, reason=f"rehearsed {day}{took}")
