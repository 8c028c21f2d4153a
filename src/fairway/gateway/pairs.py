"""Records of compared pairs: what the two answers of one request were, without anything they said.

A worker keeps a few until its next report, the parent the latest ones in memory; how many there were is in the
telemetry. A record has ids, statuses, times and sizes, and whether the bodies agree: no content, and no digest of it,
which would tell short answers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import Any

from fairway.gateway.comparing import PLAIN, Comparison, Finding, Side
from fairway.units import Digest

NOTED, PLAIN_NOTED = 100, 20
"""Pairs a worker notes between two reports: of those that say something, and of those in which both fared alike."""

KEPT, PLAIN_KEPT = 1000, 200
"""The same, of what the parent keeps: so the many that agree do not push out the few that do not."""


class PairLog:
    """What a worker notes until it reports."""

    __slots__ = ("_noted", "_plain", "unnoted")

    def __init__(self) -> None:
        self._noted: list[dict[str, Any]] = []
        self._plain: list[dict[str, Any]] = []
        self.unnoted = 0
        """Pairs there was no room for since the last report."""

    def note(
        self, found: Comparison, primary: Side, shadow: Side, *, at: float, request: bytes, key: bytes, release: Digest
    ) -> None:
        """Note a pair.

        Args:
            found: What the comparison said.
            primary: The user's answer.
            shadow: The shadow's.
            at: Epoch seconds.
            request: Its id.
            key: Of its conversation; only its hash is kept, as in the telemetry.
            release: Of the shadow.
        """
        plain = found.finding in PLAIN
        notes, limit = (self._plain, PLAIN_NOTED) if plain else (self._noted, NOTED)
        if len(notes) >= limit:
            self.unnoted += 1
            return
        notes.append(
            {
                "at": round(at, 3),
                "request": request.decode("latin-1"),
                "unit": blake2b(key, digest_size=8).hexdigest(),
                "release": release,
                "finding": found.finding.value,
                "same_body": primary.digest == shadow.digest,
                "primary": _side(primary),
                "shadow": _side(shadow),
            }
        )

    def taken(self) -> dict[str, Any] | None:
        """What was noted since the last time; ``None``: nothing."""
        if not self._noted and not self._plain:
            return None
        told = {"pairs": [*self._noted, *self._plain], "unnoted": self.unnoted}
        self._noted, self._plain, self.unnoted = [], [], 0
        return told


def _side(side: Side) -> dict[str, Any]:
    outcome = side.outcome
    return {
        "verdict": side.verdict,
        "code": side.code,
        "status": side.status,
        "ms": round(side.seconds * 1000, 3),
        "bytes": side.length,
        "tokens": outcome.tokens if outcome is not None and outcome.counted else None,
        "tools": None if outcome is None else outcome.tools,
    }


class PairBook:
    """The latest pairs of all workers, in the memory of the gateway's parent.

    Attributes:
        unnoted: Pairs compared that no worker had room to note.
    """

    __slots__ = ("_noted", "_plain", "unnoted")

    def __init__(self) -> None:
        self._noted: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self._plain: deque[dict[str, Any]] = deque(maxlen=PLAIN_KEPT)
        self.unnoted = 0

    def keep(self, told: Mapping[str, Any] | None) -> None:
        """Keep what a worker tells, as :meth:`PairLog.taken` gives it."""
        if not told:
            return
        self.unnoted += told["unnoted"]
        for pair in told["pairs"]:
            (self._plain if pair["finding"] in PLAIN else self._noted).append(pair)

    def latest(self, findings: Iterable[Finding] = (), *, last: int = KEPT) -> list[dict[str, Any]]:
        """The latest pairs, the oldest of them first.

        Args:
            findings: Only of these; empty: of all.
            last: At most so many.
        """
        wanted = set(findings)
        found = [pair for pair in (*self._noted, *self._plain) if not wanted or pair["finding"] in wanted]
        found.sort(key=lambda pair: float(pair["at"]))
        return found[-last:] if last > 0 else []
