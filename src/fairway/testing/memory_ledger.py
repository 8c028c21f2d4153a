"""An honest ledger in memory, with a place to fail before and after every write."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from fairway.canonical import canonical_json
from fairway.clock import Clock, SystemClock
from fairway.errors import ConflictError, NotFoundError
from fairway.ledger.records import DeploymentRecord
from fairway.ledger.redaction import redact, redact_json
from fairway.ledger.releases import choose, refuse_secrets, version_taken
from fairway.release.values import Evidence, SignedRelease
from fairway.release.wire import plain, read_json
from fairway.rollout.port import JournalEntry, JournalHead, Lease
from fairway.rollout.requests import Answer, AnswerKind, Request
from fairway.traffic.fence import ZERO_FENCE
from fairway.units import AgentName, Digest, EnvironmentName, RouteId

_LONG_AGO = datetime.min.replace(tzinfo=UTC)


def _never(point: str) -> None:
    """No fault."""


@dataclass(slots=True)
class _Route:
    holder: str = ""
    term: int = 0
    expires_at: datetime = _LONG_AGO
    events: list[JournalEntry] = field(default_factory=list)
    blocks: dict[tuple[float, str], Mapping[str, Any]] = field(default_factory=dict)


class MemoryLedger:
    """A :class:`fairway.rollout.port.RolloutLedger` and :class:`fairway.release.port.ReleaseStore` in memory.

    Behaves as the ledger in a database does, and passes the same contract tests: everything kept is a copy as JSON
    gives it back, secrets are replaced, a write happens whole or not at all. It keeps no audit chain.

    Args:
        clock: The database's clock, which leases run by.
        fail_at: Called as ``fail_at("before journal")`` and ``fail_at("after journal")`` around every write; what it
            raises reaches the caller. *Before*: nothing was written. *After*: all of it was, and the caller cannot
            know - as when a process is killed. Points: ``acquire_lease``, ``release_lease``, ``journal``, ``submit``,
            ``add_blocks``, ``add_release``, ``add_evidence``, ``record_deployment``, ``record_run``. May be replaced
            at any time through the attribute of the same name.

    Example::

        def crash(point: str) -> None:
            if point == "after journal":
                raise Killed

        ledger = MemoryLedger(fail_at=crash)
    """

    def __init__(self, *, clock: Clock | None = None, fail_at: Callable[[str], None] | None = None) -> None:
        self.fail_at = fail_at or _never
        self._clock = clock or SystemClock()
        self._lock = threading.RLock()
        self._routes: dict[RouteId, _Route] = {}
        self._requests: dict[str, Request] = {}
        self._waiting: dict[RouteId, dict[str, Request]] = {}
        self._answers: dict[str, Answer] = {}
        self._releases: dict[AgentName, list[SignedRelease]] = {}
        self._evidence: list[Evidence] = []
        self._deployments: dict[str, DeploymentRecord] = {}
        self._runs: dict[str, Mapping[str, Any]] = {}

    @contextmanager
    def _write(self, point: str) -> Iterator[None]:
        with self._lock:
            self.fail_at(f"before {point}")
            yield
            self.fail_at(f"after {point}")

    # --- routes

    def acquire_lease(self, route: RouteId, holder: str, *, seconds: float, at_least: int = 0) -> Lease | None:
        """Take or renew the lease of a route; ``None`` when another holder has it."""
        with self._write("acquire_lease"):
            now = self._clock.now()
            found = self._routes.setdefault(route, _Route())
            held = found.expires_at > now
            if held and found.holder != holder:
                return None
            found.term = max(found.term + (0 if held else 1), at_least)
            found.holder, found.expires_at = holder, now + timedelta(seconds=seconds)
            return Lease(route=route, holder=holder, term=found.term, expires_at=found.expires_at)

    def release_lease(self, lease: Lease) -> None:
        """Give a lease back; a no-op when it is no longer ours."""
        with self._write("release_lease"):
            found = self._routes.get(lease.route)
            if found is not None and (found.holder, found.term) == (lease.holder, lease.term):
                found.expires_at = _LONG_AGO

    def lease_of(self, route: RouteId) -> Lease | None:
        """Who holds the route now."""
        with self._lock:
            found = self._routes.get(route)
            if found is None or found.expires_at <= self._clock.now():
                return None
            return Lease(route=route, holder=found.holder, term=found.term, expires_at=found.expires_at)

    def head(self, route: RouteId) -> JournalHead:
        """The last event's fence and state."""
        with self._lock:
            events = self._events(route)
            return JournalHead(fence=events[-1].fence, state=events[-1].state) if events else _EMPTY

    def journal(self, entry: JournalEntry, lease: Lease) -> None:
        """Append an event, its state, snapshot and answers.

        Raises:
            ConflictError: ``lease_lost``, ``journal_moved`` or ``request_answered``; nothing is written.
        """
        with self._write("journal"):
            held = self.lease_of(entry.route)
            mine = held is not None and (held.holder, held.term) == (lease.holder, lease.term)
            if not mine or lease.route != entry.route or entry.fence.term != lease.term:
                raise ConflictError(f"{lease.holder} does not hold the lease of {entry.route}", code="lease_lost")
            events = self._events(entry.route)
            if entry.fence.seq != len(events) + 1:
                raise ConflictError(f"the journal of {entry.route} is at {len(events)}", code="journal_moved")
            kept = _kept_entry(entry)
            self._check_answers(entry)
            events.append(kept)
            for answer in kept.answers:
                self._answers[answer.request_id] = answer
                self._waiting[entry.route].pop(answer.request_id)

    def events(self, route: RouteId, *, after: int = 0, limit: int = 200) -> tuple[JournalEntry, ...]:
        """Events with ``seq > after``, oldest first, without their snapshots."""
        with self._lock:
            return tuple(replace(entry, snapshot=b"") for entry in self._events(route)[after : after + limit])

    def snapshot(self, route: RouteId, seq: int) -> bytes:
        """The snapshot of one event.

        Raises:
            NotFoundError: When there is no such event or it kept none.
        """
        with self._lock:
            events = self._events(route)
            if not 1 <= seq <= len(events) or not events[seq - 1].snapshot:
                raise NotFoundError(f"event {seq} of {route} has no snapshot", code="snapshot_not_found")
            return events[seq - 1].snapshot

    def submit(self, request: Request) -> Answer:
        """Record a request; the same id again returns what became of it.

        Raises:
            ConflictError: When the id was used for another wish (``code="request_id_reused"``).
        """
        with self._write("submit"):
            kept = replace(request, args=_copy(request.args), reason=redact(request.reason))
            if request.id not in self._requests:
                self._waiting.setdefault(request.route, {})[request.id] = kept
            known = self._requests.setdefault(request.id, kept)
            if (known.route, known.verb, known.args, known.actor) != (kept.route, kept.verb, kept.args, kept.actor):
                raise ConflictError(
                    f"request id {request.id!r} was used before for something else", code="request_id_reused"
                )
            return self.answer(request.id)

    def pending(self, route: RouteId) -> tuple[Request, ...]:
        """Unanswered requests in the order they came."""
        with self._lock:
            return tuple(self._waiting.get(route, {}).values())

    def answer(self, request_id: str) -> Answer:
        """What became of a request.

        Raises:
            NotFoundError: When there is no such request.
        """
        with self._lock:
            if request_id not in self._requests:
                raise NotFoundError(f"there is no request {request_id!r}", code="request_not_found")
            return self._answers.get(request_id, Answer(request_id=request_id, kind=AnswerKind.PENDING))

    def add_blocks(self, route: RouteId, blocks: Iterable[Mapping[str, Any]]) -> None:
        """Keep mature telemetry blocks; one already kept (same ``t0`` and ``release``) is left as it is."""
        with self._write("add_blocks"):
            kept = self._routes.setdefault(route, _Route()).blocks
            for block in [_copy(block) for block in blocks]:
                kept.setdefault((float(block["t0"]), str(block.get("release", ""))), block)

    def blocks(self, route: RouteId, *, since: float = 0.0, upto: float = math.inf) -> tuple[Mapping[str, Any], ...]:
        """Kept blocks with ``since <= t0 <= upto``, in order."""
        with self._lock:
            kept = self._routes[route].blocks if route in self._routes else {}
            return tuple(kept[key] for key in sorted(kept) if since <= key[0] <= upto)

    def routes(self) -> tuple[RouteId, ...]:
        """Every route with an event, a request or a lease."""
        with self._lock:
            known = {route for route, found in self._routes.items() if found.events or found.term}
            return tuple(sorted(known | {request.route for request in self._requests.values()}))

    # --- releases

    def add_release(self, release: SignedRelease) -> None:
        """Record a release; the same one again is a no-op.

        Raises:
            ConflictError: When the version exists with another digest (``code="version_taken"``).
            RefusedError: When its manifest holds a secret (``code="secret_in_release"``).
        """
        with self._write("add_release"):
            refuse_secrets(release)
            known = self._releases.setdefault(release.manifest.agent, [])
            same = [r for r in known if r.manifest.release_version == release.manifest.release_version]
            if same and same[0].manifest.release_digest != release.manifest.release_digest:
                raise version_taken(release)
            if not same:
                known.insert(0, release)

    def find_release(self, agent: AgentName, reference: str) -> SignedRelease:
        """By version, tag, digest, digest prefix (≥ 8 hex) or commit (≥ 7 hex).

        Raises:
            NotFoundError: Naming the nearest versions that exist.
        """
        known = self.list_releases(agent)
        manifests = [release.manifest for release in known]
        rows = [(m.release_version, str(m.release_digest), m.tag, m.commit_sha) for m in manifests]
        return known[choose(agent, reference, rows)]

    def list_releases(self, agent: AgentName) -> tuple[SignedRelease, ...]:
        """Newest first."""
        with self._lock:
            return tuple(self._releases.get(agent, ()))

    def add_evidence(self, evidence: Iterable[Evidence]) -> None:
        """Record findings, all or none of them."""
        with self._write("add_evidence"):
            self._evidence += [replace(finding, figures=_copy(finding.figures)) for finding in evidence]

    def list_evidence(self, release: Digest) -> tuple[Evidence, ...]:
        """All findings about a release, oldest first."""
        with self._lock:
            return tuple(finding for finding in self._evidence if finding.release == release)

    # --- deployments and runs

    def record_deployment(self, record: DeploymentRecord) -> None:
        """Record a deployment, or what became of it under the same id."""
        with self._write("record_deployment"):
            self._deployments.pop(record.id, None)
            self._deployments[record.id] = replace(record, figures=_copy(record.figures))

    def list_deployments(
        self, agent: AgentName | None = None, environment: EnvironmentName | None = None, *, limit: int = 100
    ) -> tuple[DeploymentRecord, ...]:
        """Deployments, last recorded first."""
        with self._lock:
            newest = reversed(self._deployments.values())
            found = [r for r in newest if agent in (None, r.agent) and environment in (None, r.environment)]
            return tuple(found[:limit])

    def record_run(self, run_id: str, payload: Mapping[str, Any], *, actor: str = "pipeline") -> None:
        """Record a pipeline run, or what became of it under the same id."""
        with self._write("record_run"):
            kept = _copy(payload)
            self._runs.pop(run_id, None)
            self._runs[run_id] = kept

    def list_runs(self, *, limit: int = 100) -> tuple[tuple[str, Mapping[str, Any]], ...]:
        """``(run id, payload)``, last recorded first."""
        with self._lock:
            return tuple(list(reversed(self._runs.items()))[:limit])

    def _events(self, route: RouteId) -> list[JournalEntry]:
        return self._routes[route].events if route in self._routes else []

    def _check_answers(self, entry: JournalEntry) -> None:
        waiting = {request.id for request in self.pending(entry.route)}
        for answer in entry.answers:
            if answer.request_id not in waiting or answer.kind is AnswerKind.PENDING:
                raise ConflictError(
                    f"request {answer.request_id!r} of {entry.route} is not waiting for an answer",
                    code="request_answered",
                )
            waiting.remove(answer.request_id)


_EMPTY = JournalHead(fence=ZERO_FENCE, state=None)


def _kept_entry(entry: JournalEntry) -> JournalEntry:
    return replace(
        entry,
        at=entry.at.astimezone(UTC),
        state=_copy(entry.state),
        decision=_copy(entry.decision),
        reason=redact(entry.reason),
        answers=tuple(replace(answer, message=redact(answer.message)) for answer in entry.answers),
        snapshot=redact_json(entry.snapshot) if entry.snapshot else b"",
    )


def _copy(value: Mapping[str, Any]) -> Any:
    """As it comes back from a database: JSON, without secrets, shared with nobody."""
    return read_json(redact_json(canonical_json(plain(value))))
