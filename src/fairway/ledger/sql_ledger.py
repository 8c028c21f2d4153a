"""The ledger in a database: journals, requests, releases and records, each write a link of the audit chain."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from fairway.clock import Clock
from fairway.errors import FairwayError, NotFoundError, PermanentError, RefusedError
from fairway.ledger import releases, rollouts
from fairway.ledger.database import SqliteDatabase
from fairway.ledger.heads import append_head, last_row, last_signed, read_heads, sign_head
from fairway.ledger.records import AuditEntry, AuditReport, AuditRow, DeploymentRecord, SignedHead
from fairway.ledger.session import Session
from fairway.ledger.verification import verify_ledger
from fairway.release.trust import local_key, trusted_keys
from fairway.release.values import Evidence, SignedRelease
from fairway.release.wire import format_time
from fairway.rollout.port import JournalEntry, JournalHead, Lease
from fairway.rollout.requests import Answer, Request
from fairway.units import AgentName, Digest, EnvironmentName, RouteId, short

SIGN_EVERY = 100
"""Rows of the chain between two signed heads; the last row is signed at :meth:`SqlLedger.close`."""

_DATABASE_TIME = "SELECT (julianday('now') - 2440587.5) * 86400.0"


class SqlLedger:
    """Implements :class:`fairway.rollout.port.RolloutLedger` and :class:`fairway.release.port.ReleaseStore`.

    Made by :func:`fairway.ledger.opening.open_ledger`. Any thread and any number of processes may use one file; every
    write is one transaction that is on disk when the method returns. May raise the errors of
    :class:`fairway.ledger.database.SqliteDatabase` from every method.
    """

    def __init__(self, database: SqliteDatabase, *, keys: Path, clock: Clock | None = None) -> None:
        self._database = database
        self._keys = keys
        self._clock = clock
        self._wrote = False

    def __enter__(self) -> SqlLedger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def path(self) -> Path:
        """The database file."""
        return self._database.path

    @property
    def heads_file(self) -> Path:
        """Signed heads beside the ledger, one a line; copy it elsewhere to be able to prove the ledger later."""
        return self.path.with_suffix(".heads")

    def close(self) -> None:
        """Sign the chain's head when this ledger wrote anything, and let go of the file."""
        try:
            if self._wrote:
                self.sign_head()
        finally:
            self._wrote = False
            self._database.close()

    # --- routes: the RolloutLedger port

    def acquire_lease(self, route: RouteId, holder: str, *, seconds: float, at_least: int = 0) -> Lease | None:
        """Take or renew the lease of a route; ``None`` when another holder has it."""
        with self._write() as session:
            return rollouts.acquire_lease(session, route, holder, seconds, at_least)

    def release_lease(self, lease: Lease) -> None:
        """Give a lease back; a no-op when it is no longer ours."""
        with self._write() as session:
            rollouts.release_lease(session, lease)

    def lease_of(self, route: RouteId) -> Lease | None:
        """Who holds the route now."""
        with self._read() as session:
            return rollouts.lease_of(session, route)

    def head(self, route: RouteId) -> JournalHead:
        """The last event's fence and state."""
        with self._read() as session:
            return rollouts.head(session, route)

    def journal(self, entry: JournalEntry, lease: Lease) -> None:
        """Append an event, its state, snapshot and answers.

        Raises:
            ConflictError: ``lease_lost``, ``journal_moved``, or ``request_answered`` when one of the answers is to a
                request that is not waiting; nothing is written.
        """
        with self._write() as session:
            rollouts.journal(session, entry, lease)

    def events(self, route: RouteId, *, after: int = 0, limit: int = 200) -> tuple[JournalEntry, ...]:
        """Events with ``seq > after``, oldest first, without their snapshots."""
        with self._read() as session:
            return rollouts.events(session, route, after, limit)

    def snapshot(self, route: RouteId, seq: int) -> bytes:
        """The snapshot of one event.

        Raises:
            NotFoundError: When there is no such event, it kept none, or it was erased.
        """
        with self._read() as session:
            return rollouts.snapshot(session, route, seq)

    def submit(self, request: Request) -> Answer:
        """Record a request; the same id again returns what became of it.

        Raises:
            ConflictError: When the id was used for another wish (``code="request_id_reused"``).
        """
        with self._write() as session:
            return rollouts.submit(session, request)

    def pending(self, route: RouteId) -> tuple[Request, ...]:
        """Unanswered requests in the order they came."""
        with self._read() as session:
            return rollouts.pending(session, route)

    def answer(self, request_id: str) -> Answer:
        """What became of a request.

        Raises:
            NotFoundError: When there is no such request.
        """
        with self._read() as session:
            return rollouts.answer(session, request_id)

    def add_blocks(self, route: RouteId, blocks: Iterable[Mapping[str, Any]]) -> None:
        """Keep mature telemetry blocks; one already kept (same ``t0`` and ``release``) is left as it is."""
        with self._write() as session:
            rollouts.add_blocks(session, route, blocks)

    def blocks(self, route: RouteId, *, since: float = 0.0, upto: float = math.inf) -> tuple[Mapping[str, Any], ...]:
        """Kept blocks with ``since <= t0 <= upto``, in order."""
        with self._read() as session:
            return rollouts.blocks(session, route, since, upto)

    def routes(self) -> tuple[RouteId, ...]:
        """Every route with an event, a request or a lease."""
        with self._read() as session:
            return rollouts.routes(session)

    # --- releases: the ReleaseStore port

    def add_release(self, release: SignedRelease) -> None:
        """Record a release; the same one again is a no-op.

        Raises:
            ConflictError: When the version exists with another digest (``code="version_taken"``).
            RefusedError: When its manifest holds a secret (``code="secret_in_release"``).
        """
        with self._write() as session:
            releases.add_release(session, release)

    def find_release(self, agent: AgentName, reference: str) -> SignedRelease:
        """By version, tag, digest, digest prefix (≥ 8 hex) or commit (≥ 7 hex).

        Raises:
            NotFoundError: Naming the nearest versions that exist.
        """
        with self._read() as session:
            return releases.find_release(session, agent, reference)

    def list_releases(self, agent: AgentName) -> tuple[SignedRelease, ...]:
        """Newest first."""
        with self._read() as session:
            return releases.list_releases(session, agent)

    def add_evidence(self, evidence: Iterable[Evidence]) -> None:
        """Record findings, all or none of them."""
        with self._write() as session:
            releases.add_evidence(session, evidence)

    def list_evidence(self, release: Digest) -> tuple[Evidence, ...]:
        """All findings about a release, oldest first."""
        with self._read() as session:
            return releases.list_evidence(session, release)

    # --- deployments and runs

    def record_deployment(self, record: DeploymentRecord) -> None:
        """Record a deployment, or what became of it under the same id."""
        with self._write() as session:
            releases.record_deployment(session, record)

    def list_deployments(
        self, agent: AgentName | None = None, environment: EnvironmentName | None = None, *, limit: int = 100
    ) -> tuple[DeploymentRecord, ...]:
        """Deployments, last recorded first."""
        with self._read() as session:
            return releases.list_deployments(session, agent, environment, limit)

    def record_run(self, run_id: str, payload: Mapping[str, Any], *, actor: str = "pipeline") -> None:
        """Record a pipeline run, or what became of it under the same id; ``payload`` is JSON-able."""
        with self._write() as session:
            releases.record_run(session, run_id, payload, actor)

    def list_runs(self, *, limit: int = 100) -> tuple[tuple[str, Mapping[str, Any]], ...]:
        """``(run id, payload)``, last recorded first."""
        with self._read() as session:
            return releases.list_runs(session, limit)

    # --- the audit chain

    def append_audit(self, kind: str, subject: str, actor: str, payload: Any, at: datetime) -> int:
        """Record an action that is nothing of the above; returns its row.

        Args:
            kind: What happened; the names of Fairway's own records (``event``, ``release`` …) are refused.
            subject: What it is about.
            actor: Who did it.
            payload: JSON-able details; secrets are replaced.
            at: When it happened; the chain also says when it was recorded.

        Raises:
            RefusedError: For a reserved kind (``code="reserved_kind"``).
        """
        if kind in RESERVED:
            raise RefusedError(f"{kind!r} is a kind of record of its own", code="reserved_kind")
        with self._write() as session:
            return session.record(kind, subject, actor, {"at": format_time(at), "payload": payload})[0]

    def audit_log(self, after: int | None = 0, limit: int = 200, *, kind: str | None = None) -> tuple[AuditEntry, ...]:
        """Rows of the chain, oldest first, with their bodies.

        Args:
            after: Only rows with a higher number; ``None``: the last ones.
            limit: Rows at most.
            kind: Only rows of this kind.
        """
        order = "seq DESC" if after is None else "seq"
        query = (
            "SELECT * FROM audit WHERE seq > :after AND (:kind IS NULL OR kind = :kind) "  # noqa: S608
            f"ORDER BY {order} LIMIT :limit"
        )
        with self._read() as session:
            rows = sorted(session.rows(query, after=after or 0, kind=kind, limit=limit), key=lambda row: row["seq"])
            return tuple(
                AuditEntry(row=AuditRow(**dict(row)), payload=session.body(row["payload_digest"])) for row in rows
            )

    def last_row(self) -> int:
        """Number of the chain's last row; 0 when there is none."""
        with self._read() as session:
            return last_row(session)

    def verify_audit(self, *, anchors: Iterable[SignedHead] = ()) -> AuditReport:
        """Prove the chain, its bodies and its indexes, or say what is not as it was written.

        Args:
            anchors: Heads that were kept elsewhere; the ledger's own and those of the file beside it are used anyway.
        """
        kept = list(read_heads(self.heads_file, torn=True)) if self.heads_file.exists() else []
        with self._read() as session:
            return verify_ledger(session, [*kept, *anchors], trusted_keys(self._keys))

    def sign_head(self) -> SignedHead | None:
        """Sign the chain's last row now; ``None`` when it is signed already."""
        with self._database.write() as connection:
            head = sign_head(self._session(connection), local_key(self._keys))
        if head is not None:
            append_head(self.heads_file, head)
        return head

    def erase_payload(self, digest: str, *, actor: str, reason: str) -> None:
        """Forget a body for good - personal data -; the chain stays provable and says who erased what, and why.

        Raises:
            NotFoundError: When there is no such body.
            RefusedError: When it is still needed: a release, a waiting request, or the state a route is in
                (``code="payload_in_use"``).
        """
        with self._write() as session:
            if session.row("SELECT 1 FROM payloads WHERE digest = :digest", digest=digest) is None:
                raise NotFoundError(f"there is no body {short(digest)}", code="payload_not_found")
            if session.row(_IN_USE, digest=digest) is not None:
                raise RefusedError(f"body {short(digest)} is still needed", code="payload_in_use")
            session.record("erase", digest, actor, {"digest": digest, "reason": reason})
            session.run("DELETE FROM payloads WHERE digest = :digest", digest=digest)

    def backup(self, target: Path) -> None:
        """Copy the ledger, as of one moment, to a new file; writers go on meanwhile.

        Raises:
            ConflictError: When ``target`` exists (``code="backup_exists"``).
            PermanentError: When it cannot be written.
        """
        self._database.backup(target)

    @contextmanager
    def _write(self) -> Iterator[Session]:
        head = None
        with self._database.write() as connection:
            session = self._session(connection)
            yield session
            head = self._sign_if_due(session)
        self._wrote = True
        if head is not None:
            try:
                append_head(self.heads_file, head)
            except PermanentError:
                pass  # what the caller wrote is on disk, and so is the head; the next one will be beside it too

    def _sign_if_due(self, session: Session) -> SignedHead | None:
        if last_row(session) - last_signed(session) < SIGN_EVERY:
            return None
        try:
            key = local_key(self._keys)
        except FairwayError:
            return None  # nothing blocks an abort, a key nobody can read least of all; closing the ledger says it
        return sign_head(session, key)

    @contextmanager
    def _read(self) -> Iterator[Session]:
        with self._database.read() as connection:
            yield self._session(connection)

    def _session(self, connection: sqlite3.Connection) -> Session:
        """The database's time, not this process's: several controllers on one ledger must agree on it."""
        now = connection.execute(_DATABASE_TIME).fetchone()[0] if self._clock is None else self._clock.now().timestamp()
        return Session(connection=connection, now=now)


RESERVED = frozenset({"event", "request", "release", "evidence", "deployment", "run", "erase", "lease"})
"""Kinds of audit rows that only their own methods write."""

_IN_USE = (
    "SELECT 1 FROM releases WHERE payload = :digest UNION ALL "
    "SELECT 1 FROM requests WHERE payload = :digest AND answer = 'pending' UNION ALL "
    "SELECT 1 FROM events e WHERE payload = :digest AND NOT EXISTS (SELECT 1 FROM events later "
    "WHERE later.agent = e.agent AND later.environment = e.environment AND later.seq > e.seq)"
)
