"""One transaction on the ledger, as the stores see it: rows, bodies by digest, and the chain's next link."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from fairway.canonical import canonical_json, sha256_digest, value_digest
from fairway.errors import PermanentError
from fairway.ledger.records import AuditRow
from fairway.ledger.redaction import redact_json
from fairway.release.wire import format_time, read_json
from fairway.units import short

GENESIS = "0" * 64
"""``prev_hash`` of the first row."""


@dataclass(frozen=True, slots=True)
class Session:
    """A connection inside a transaction, and the ledger's time at its start (epoch seconds)."""

    connection: sqlite3.Connection
    now: float

    def rows(self, sql: str, **values: Any) -> list[sqlite3.Row]:
        """Every row of a query."""
        return self.connection.execute(sql, values).fetchall()

    def stream(self, sql: str, **values: Any) -> Iterator[sqlite3.Row]:
        """Rows of a query, one at a time; for what may be larger than memory."""
        yield from self.connection.execute(sql, values)

    def row(self, sql: str, **values: Any) -> sqlite3.Row | None:
        """The first row of a query, or ``None``."""
        found: sqlite3.Row | None = self.connection.execute(sql, values).fetchone()
        return found

    def run(self, sql: str, **values: Any) -> int:
        """Run a statement; the number of rows it changed."""
        return self.connection.execute(sql, values).rowcount

    def keep(self, body: bytes) -> str:
        """Keep bytes by digest; the same bytes are kept once."""
        digest = sha256_digest(body)
        self.run(
            "INSERT INTO payloads (digest, body) VALUES (:digest, :body) ON CONFLICT DO NOTHING",
            digest=digest,
            body=body,
        )
        return digest

    def kept(self, digest: str) -> bytes | None:
        """Bytes by digest, verified; ``None`` when they were erased.

        Raises:
            PermanentError: When they do not match (``code="ledger_corrupt"``).
        """
        found = self.row("SELECT body FROM payloads WHERE digest = :digest", digest=digest)
        if found is None:
            return None
        body = raw(found["body"])
        if sha256_digest(body) != digest:
            raise PermanentError(
                f"record {short(digest)} of the ledger was altered",
                code="ledger_altered",
                hint="fairway audit verify says which records; restore a backup",
            )
        return body

    def body(self, digest: str) -> Any:
        """The value of a kept canonical JSON body; ``None`` when it was erased."""
        kept = self.kept(digest)
        return None if kept is None else read_json(kept)

    def record(self, kind: str, subject: str, actor: str, payload: Any, *, exact: bool = False) -> tuple[int, str]:
        """Append the chain's next link in this transaction.

        Args:
            kind: What happened: ``event``, ``request``, ``release`` …
            subject: What it is about.
            actor: Who caused it.
            payload: JSON-able body; secrets are replaced.
            exact: The body is kept as it is, because a signature covers it; the caller has refused secrets in it.

        Returns:
            The row's number and its payload's digest.
        """
        body = canonical_json(payload)
        if not exact:
            body = redact_json(body)
        digest = self.keep(body)
        last = self.row("SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1")
        row = link(
            seq=1 if last is None else last["seq"] + 1,
            at=format_time(datetime.fromtimestamp(self.now, UTC)),
            kind=kind,
            subject=subject,
            actor=actor,
            payload_digest=digest,
            prev_hash=GENESIS if last is None else last["hash"],
        )
        self.run(
            "INSERT INTO audit (seq, at, kind, subject, actor, payload_digest, prev_hash, hash) "
            "VALUES (:seq, :at, :kind, :subject, :actor, :payload_digest, :prev_hash, :hash)",
            seq=row.seq, at=row.at, kind=row.kind, subject=row.subject, actor=row.actor,
            payload_digest=row.payload_digest, prev_hash=row.prev_hash, hash=row.hash,
        )  # fmt: skip
        return row.seq, digest


def raw(value: Any) -> bytes:
    """Bytes of a column, whatever somebody made of it."""
    if isinstance(value, bytes):
        return value
    return value.encode("utf-8", "surrogateescape") if isinstance(value, str) else b""


def link(*, seq: int, at: str, kind: str, subject: str, actor: str, payload_digest: str, prev_hash: str) -> AuditRow:
    """A row with its hash: sha256 over the canonical JSON list of everything else, in this order."""
    digest = value_digest([seq, at, kind, subject, actor, payload_digest, prev_hash])
    return AuditRow(
        seq=seq,
        at=at,
        kind=kind,
        subject=subject,
        actor=actor,
        payload_digest=payload_digest,
        prev_hash=prev_hash,
        hash=digest.removeprefix("sha256:"),
    )
