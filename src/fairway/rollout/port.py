"""What a rollout needs from the ledger."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Protocol

from fairway.rollout.requests import Answer, Request
from fairway.traffic.fence import Fence
from fairway.units import RouteId


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The right to write one route.

    Attributes:
        holder: Who has it, unique per controller process.
        term: Raised by one at each acquisition by another holder; the first half of every fence written under it.
        expires_at: By the ledger's clock.
    """

    route: RouteId
    holder: str
    term: int
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalEntry:
    """One event of a route: a decision, the state after it, and the requests it answers.

    Attributes:
        fence: ``(lease term, previous seq + 1)``.
        kind: What was decided: ``advance``, ``wait``, ``pause``, ``roll_back``, ``finish``, ``start`` …
        code: Stable reason code, e.g. ``gate_failed``.
        reason: One sentence for people.
        actor: Who caused it: a person for a verb, ``controller`` for automation.
        state: Wire form of the route's state after the event.
        decision: Wire form of the decision, evidence included.
        snapshot: Canonical JSON of everything the decision looked at, kept as a blob, so that it can be replayed.
        answers: Requests consumed by this event.
    """

    route: RouteId
    fence: Fence
    at: datetime
    kind: str
    code: str
    reason: str
    actor: str
    state: Mapping[str, Any]
    decision: Mapping[str, Any]
    snapshot: bytes = b""
    answers: tuple[Answer, ...] = ()
    version: Literal[1] = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalHead:
    """Where a route stands: the last event's fence and state; ``None`` before the first."""

    fence: Fence
    state: Mapping[str, Any] | None


class RolloutLedger(Protocol):
    """Durable record of routes. Every write is one transaction; a stale writer is refused.

    Methods are synchronous and short; any may raise :class:`fairway.errors.TransientError` when the database is
    busy or gone, and :class:`fairway.errors.PermanentError` when the disk is full (``code="disk_full"``).
    """

    def acquire_lease(self, route: RouteId, holder: str, *, seconds: float, at_least: int = 0) -> Lease | None:
        """Take or renew the lease, by the database's clock.

        Args:
            route: Whose lease.
            holder: Who takes it.
            seconds: Until it expires.
            at_least: Lowest term: above that of a table gateways still serve from before the ledger was restored.

        Returns:
            The lease - same term when ``holder`` still has it, term + 1 when it was free or expired -, or ``None``
            when another holder has it.
        """
        ...

    def release_lease(self, lease: Lease) -> None:
        """Give it back; a no-op when it is no longer ours."""
        ...

    def head(self, route: RouteId) -> JournalHead:
        """The last event's fence and state."""
        ...

    def journal(self, entry: JournalEntry, lease: Lease) -> None:
        """Append an event, its state, its snapshot blob, its answers and its audit record in one transaction.

        Raises:
            ConflictError: When the lease is not held any more (``code="lease_lost"``), or ``entry.fence.seq`` is not
                the head's plus one (``code="journal_moved"``); nothing is written.
        """
        ...

    def events(self, route: RouteId, *, after: int = 0, limit: int = 200) -> tuple[JournalEntry, ...]:
        """Events with ``seq > after``, oldest first, without their snapshots (``b""``)."""
        ...

    def snapshot(self, route: RouteId, seq: int) -> bytes:
        """The snapshot blob of one event.

        Raises:
            NotFoundError: When there is no such event or it kept none.
        """
        ...

    def submit(self, request: Request) -> Answer:
        """Record a request; the same id again returns what became of it."""
        ...

    def pending(self, route: RouteId) -> tuple[Request, ...]:
        """Unanswered requests in the order they came."""
        ...

    def answer(self, request_id: str) -> Answer:
        """What became of a request.

        Raises:
            NotFoundError: When there is no such request.
        """
        ...

    def add_blocks(self, route: RouteId, blocks: Iterable[Mapping[str, Any]]) -> None:
        """Keep mature telemetry blocks (wire form, key ``t0``); one already kept is left as it is."""
        ...

    def blocks(self, route: RouteId, *, since: float = 0.0, upto: float = math.inf) -> tuple[Mapping[str, Any], ...]:
        """Kept blocks with ``since <= t0 <= upto``, in order of ``t0``."""
        ...

    def routes(self) -> tuple[RouteId, ...]:
        """Every route with an event, a request or a lease."""
        ...

    def lease_of(self, route: RouteId) -> Lease | None:
        """Who holds the route now, or ``None`` when nobody alive does."""
        ...
