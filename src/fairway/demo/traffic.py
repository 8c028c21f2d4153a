"""Conversation traffic for the demo: open loop, seeded, every request recorded."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from fairway.demo.conversations import (
    DEFAULT_TENANTS,
    DEFAULT_WEIGHTS,
    Conversation,
    Kind,
    Turn,
    plan_conversation,
)
from fairway.demo.http import Answer, Client, TransportError

RELEASE_HEADER = "x-fairway-release"
APOLOGY = b"I could not finish this"
"""What the template agent says when it failed: how a customer, too, sees a bad release."""

MAX_RECORDS = 200_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One request.

    Attributes:
        at: When it was sent, seconds since the epoch.
        seconds: Until the whole answer, or until it failed.
        status: ``None`` when no whole answer came; ``error`` then says why.
        release: What the answer says served it, ``None`` when it does not say.
        apologised: The agent answered that it could not do it.
    """

    at: float
    seconds: float
    status: int | None
    error: str | None
    release: str | None
    conversation: str
    tenant: str
    kind: Kind
    turn: int
    streamed: bool
    apologised: bool

    @property
    def failed(self) -> bool:
        """No whole answer, or a server error."""
        return self.status is None or self.status >= 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A conversation that went on with another release than the one it was with."""

    conversation: str
    at: float
    before: str
    after: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseTraffic:
    """What one release served."""

    requests: int
    failed: int
    apologised: int
    conversations: int
    p50_seconds: float | None
    p95_seconds: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficStats:
    """What happened so far.

    Attributes:
        skipped: Conversations that were not begun because too many were running.
        errors: Failed requests by reason.
        by_release: ``None`` as a key: answers that do not say who served them.
        misrouted: Moves away from a release that was not rolled back.
        moved: All moves.
        latest_seconds: By how much the slowest start was behind its time.
    """

    requests: int
    conversations: int
    skipped: int
    failed: int
    apologised: int
    errors: Mapping[str, int]
    by_status: Mapping[int, int]
    by_release: Mapping[str | None, ReleaseTraffic]
    misrouted: tuple[Move, ...]
    moved: tuple[Move, ...]
    latest_seconds: float

    def wire(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "requests": self.requests,
            "conversations": self.conversations,
            "skipped": self.skipped,
            "failed": self.failed,
            "apologised": self.apologised,
            "errors": dict(self.errors),
            "by_status": {str(status): count for status, count in sorted(self.by_status.items())},
            "by_release": {
                release or "unknown": {
                    "requests": one.requests,
                    "failed": one.failed,
                    "apologised": one.apologised,
                    "conversations": one.conversations,
                    "p50_seconds": one.p50_seconds,
                    "p95_seconds": one.p95_seconds,
                }
                for release, one in self.by_release.items()
            },
            "misrouted": len(self.misrouted),
            "moved": len(self.moved),
            "latest_seconds": round(self.latest_seconds, 3),
        }


@dataclass(slots=True)
class _Counts:
    """Running counts of one release; latencies of the newest requests only."""

    requests: int = 0
    failed: int = 0
    apologised: int = 0
    conversations: set[str] = field(default_factory=set)
    seconds: deque[float] = field(default_factory=lambda: deque(maxlen=20_000))


class TrafficGenerator:
    """Begins conversations at a constant rate, however slow the answers are, until it is stopped.

    Args:
        url: Where the gateway or agent listens, ``http://host:port``.
        seed: The same seed says the same things in the same order.
        conversations_per_second: Mean rate; the gaps vary by half.
        tenants: Sent as ``x-tenant``.
        weights: Of the kinds of conversation.
        turns: Fewest and most messages of a conversation.
        think_seconds: Pause before a further message.
        streamed_share: Share of messages sent to ``/chat/stream``.
        path: Of the chat; ``/stream`` is added for streams.
        max_in_flight: Conversations at a time; one that would be more is skipped and counted.
        timeout_seconds: For one answer.
        first_number: Number of the first conversation, to go on where another generator stopped.
    """

    def __init__(
        self,
        url: str,
        *,
        seed: int = 1,
        conversations_per_second: float = 20.0,
        tenants: Sequence[str] = DEFAULT_TENANTS,
        weights: Mapping[Kind, float] = DEFAULT_WEIGHTS,
        turns: tuple[int, int] = (1, 3),
        think_seconds: tuple[float, float] = (0.2, 0.8),
        streamed_share: float = 0.05,
        path: str = "/chat",
        max_in_flight: int = 400,
        timeout_seconds: float = 30.0,
        first_number: int = 0,
    ) -> None:
        address = urlsplit(url)
        if address.scheme != "http" or not address.hostname or conversations_per_second <= 0:
            raise ValueError(f"expected http://host:port and a rate above 0, got {url!r}, {conversations_per_second}")
        self.rate = conversations_per_second
        self.number = first_number
        self._client = Client(address.hostname, address.port or 80)
        self._plan = {
            "seed": seed,
            "tenants": tuple(tenants),
            "weights": weights,
            "turns": turns,
            "think_seconds": think_seconds,
            "streamed_share": streamed_share,
        }
        self._gaps = random.Random(f"gaps:{seed}")  # noqa: S311 - seeded on purpose
        self._path = path
        self._max_in_flight = max_in_flight
        self._timeout = timeout_seconds
        self._running: set[asyncio.Task[None]] = set()
        self._pacer: asyncio.Task[None] | None = None
        self._begun = 0
        self._skipped = 0
        self._latest = 0.0
        self._errors: Counter[str] = Counter()
        self._by_status: Counter[int] = Counter()
        self._by_release: dict[str | None, _Counts] = {}
        self._moves: list[Move] = []
        self._rolled_back: set[str] = set()
        self.records: deque[Record] = deque(maxlen=MAX_RECORDS)

    def start(self) -> None:
        """Begin; needs a running event loop."""
        if self._pacer is None:
            self._pacer = asyncio.create_task(self._pace())

    async def stop(self, *, finish_seconds: float = 10.0) -> None:
        """Begin no more, let the running conversations end, at most so long; what is cut then is not recorded."""
        if self._pacer is not None:
            self._pacer.cancel()
            await asyncio.gather(self._pacer, return_exceptions=True)
            self._pacer = None
        if self._running:
            await asyncio.wait(self._running, timeout=finish_seconds)
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        self._client.close()

    def note_rollback(self, release: str) -> None:
        """A release was rolled back: conversations may move away from it, before or after this call."""
        self._rolled_back.add(release)

    def stats(self) -> TrafficStats:
        """What happened so far."""
        counts = self._by_release.values()
        return TrafficStats(
            requests=sum(one.requests for one in counts),
            conversations=self._begun,
            skipped=self._skipped,
            failed=sum(one.failed for one in counts),
            apologised=sum(one.apologised for one in counts),
            errors=dict(self._errors),
            by_status=dict(self._by_status),
            by_release={release: _release_traffic(one) for release, one in self._by_release.items()},
            misrouted=tuple(move for move in self._moves if move.before not in self._rolled_back),
            moved=tuple(self._moves),
            latest_seconds=self._latest,
        )

    async def _pace(self) -> None:
        due = time.monotonic()
        while True:
            behind = time.monotonic() - due
            if behind < 0:
                await asyncio.sleep(-behind)
            else:
                self._latest = max(self._latest, behind)
                await asyncio.sleep(0)
            self._begin()
            due += self._gaps.uniform(0.5, 1.5) / self.rate

    def _begin(self) -> None:
        conversation = plan_conversation(self.number, **self._plan)  # type: ignore[arg-type]
        self.number += 1
        if len(self._running) >= self._max_in_flight:
            self._skipped += 1
            return
        self._begun += 1
        task = asyncio.create_task(self._converse(conversation))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _converse(self, conversation: Conversation) -> None:
        served_by: str | None = None
        for index, turn in enumerate(conversation.turns):
            if turn.think_seconds:
                await asyncio.sleep(turn.think_seconds)
            record = await self._ask(conversation, turn, index)
            self._keep(record)
            if record.release is not None:
                if served_by not in (None, record.release):
                    move = Move(conversation=conversation.id, at=record.at, before=str(served_by), after=record.release)
                    self._moves.append(move)
                served_by = record.release

    async def _ask(self, conversation: Conversation, turn: Turn, index: int) -> Record:
        body = json.dumps({"message": turn.message, "thread_id": conversation.id}).encode()
        headers = (("x-conversation-id", conversation.id), ("x-tenant", conversation.tenant))
        path = f"{self._path}/stream" if turn.streamed else self._path
        at, started = time.time(), time.monotonic()
        answer: Answer | None = None
        error: str | None = None
        try:
            answer = await self._client.post(path, body, headers, timeout=self._timeout)
        except TransportError as problem:
            error = str(problem)
        return Record(
            at=at,
            seconds=time.monotonic() - started,
            status=answer.status if answer else None,
            error=error or (f"status {answer.status}" if answer and answer.status >= 500 else None),
            release=answer.headers.get(RELEASE_HEADER) if answer else None,
            conversation=conversation.id,
            tenant=conversation.tenant,
            kind=conversation.kind,
            turn=index,
            streamed=turn.streamed,
            apologised=answer is not None and APOLOGY in answer.body,
        )

    def _keep(self, record: Record) -> None:
        self.records.append(record)
        counts = self._by_release.setdefault(record.release, _Counts())
        counts.requests += 1
        counts.failed += record.failed
        counts.apologised += record.apologised
        counts.conversations.add(record.conversation)
        counts.seconds.append(record.seconds)
        if record.status is not None:
            self._by_status[record.status] += 1
        if record.error is not None:
            self._errors[record.error] += 1


def _release_traffic(counts: _Counts) -> ReleaseTraffic:
    ordered = sorted(counts.seconds)
    return ReleaseTraffic(
        requests=counts.requests,
        failed=counts.failed,
        apologised=counts.apologised,
        conversations=len(counts.conversations),
        p50_seconds=_quantile(ordered, 0.50),
        p95_seconds=_quantile(ordered, 0.95),
    )


def _quantile(ordered: Sequence[float], share: float) -> float | None:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None


def affected_users(records: Iterable[Record], *, release: str) -> frozenset[str]:
    """Conversations that got a failed or apologising answer from a release."""
    return frozenset(
        record.conversation for record in records if record.release == release and (record.failed or record.apologised)
    )
