"""What a gateway decided by itself, or a person decided at it, until a controller has put it on record.

Kept on disk, because controller and ledger may be away for days: which release, who or what decided, when, and on what
evidence. The controller asks for all of it and records what it has not recorded yet, so nothing is ever taken out here
but by what is newer.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from fairway.gateway.disk import read_json, write_json
from fairway.gateway.state import LocalDecisions
from fairway.traffic.local_http import LocalRequest

log = logging.getLogger("fairway.gateway")

MAX_EVENTS = 256
"""So many are kept, the newest."""


UNNAMED = "somebody at the gateway"
"""Who decided, when they do not say."""

_MAX_ACTOR = 200


def actor_in(request: LocalRequest) -> str:
    """Who asks for a decision, by their own word (query parameter ``actor``)."""
    named = "".join(char for char in request.query.get("actor", "")[:_MAX_ACTOR] if char.isprintable()).strip()
    return named or UNNAMED


class Did(StrEnum):
    """What was decided."""

    TRIPPED = "tripped"
    UNTRIPPED = "untripped"
    TRIP_ENDED = "trip_ended"
    PINNED = "pinned"
    UNPINNED = "unpinned"
    MASKED = "masked"
    UNMASKED = "unmasked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One thing that is different from before.

    Attributes:
        did: What.
        release: It is about; ``None``: a pin before there was any table.
        to: Release that gets its traffic, where that is known.
    """

    did: Did
    release: str | None
    to: str | None = None


def changes(before: LocalDecisions, after: LocalDecisions, *, by_table: bool = False) -> Iterator[Change]:
    """What is different between two sets of decisions.

    Args:
        before: In force until now.
        after: In force from now on.
        by_table: A newer table of the controller made the difference.
    """
    if before.tripped != after.tripped:
        if before.tripped is not None:
            ended = Did.TRIP_ENDED if by_table else Did.UNTRIPPED
            yield Change(did=ended, release=before.tripped)
        if after.tripped is not None:
            yield Change(did=Did.TRIPPED, release=after.tripped, to=after.tripped_to)
    if before.pinned != after.pinned:
        did = Did.PINNED if after.pinned else Did.UNPINNED
        yield Change(did=did, release=after.pinned_to if after.pinned else before.pinned_to)
    for release in sorted(set(after.masked) - set(before.masked)):
        yield Change(did=Did.MASKED, release=release, to=after.masked_to)
    for release in sorted(set(before.masked) - set(after.masked)):
        yield Change(did=Did.UNMASKED, release=release)


class Chronicle:
    """The last decisions of one gateway, oldest first."""

    def __init__(self, path: Path, *, gateway: str, boot: str, wall: Callable[[], float] = time.time) -> None:
        """Go on with what is on disk.

        Args:
            path: The file.
            gateway: Whose decisions these are.
            boot: Of this process; makes the names of events unique.
            wall: Epoch seconds.
        """
        self._path = path
        self._gateway = gateway
        self._boot = boot
        self._wall = wall
        self._count = 0
        self.events: list[dict[str, Any]] = []
        self.kept = True
        """Whether everything is on disk."""
        try:
            known = read_json(path)
        except ValueError:
            known = None
        if isinstance(known, list):
            self.adopt(event for event in known if isinstance(event, dict) and isinstance(event.get("id"), str))

    def note(
        self, found: Iterable[Change], *, actor: str | None, evidence: Mapping[str, Any] | None, fence: str
    ) -> None:
        """Note what was decided just now.

        Args:
            found: What.
            actor: Who says so; ``None``: the gateway by itself.
            evidence: What it goes by: counts of the window it looked at.
            fence: Of the table in force.
        """
        for change in found:
            self._count += 1
            self.events.append(
                {
                    "id": f"{self._gateway}-{self._boot}-{self._count}",
                    "at": self._wall(),
                    "did": change.did.value,
                    "release": change.release,
                    "to": change.to,
                    "actor": actor or f"gateway {self._gateway}",
                    "evidence": dict(evidence) if evidence is not None and change.did is Did.TRIPPED else None,
                    "fence": fence,
                }
            )
            self.kept = False
        del self.events[:-MAX_EVENTS]
        self.keep()

    def adopt(self, events: Iterable[dict[str, Any]]) -> None:
        """Take over what the gateway process before this one noted."""
        known = {event["id"] for event in self.events}
        fresh = [event for event in events if event["id"] not in known]
        if fresh:
            self.events = sorted((*self.events, *fresh), key=lambda event: float(event.get("at", 0.0)))[-MAX_EVENTS:]
            self.kept = False

    def keep(self) -> None:
        """Write what is not on disk yet, as soon as that takes it; never raises."""
        if self.kept:
            return
        try:
            write_json(self._path, self.events)
            self.kept = True
        except OSError as error:
            log.error("what was decided is not on disk yet: %s", error)
