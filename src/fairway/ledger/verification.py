"""Proof that the ledger is as it was written: the chain, its signed heads, the bodies, the tables that index them."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from fairway.canonical import sha256_digest
from fairway.errors import UserError
from fairway.ledger.heads import head_from_wire, is_genuine
from fairway.ledger.records import AuditProblem, AuditReport, AuditRow, SignedHead
from fairway.ledger.session import GENESIS, Session, link, raw
from fairway.release.trust import TrustedKeys
from fairway.release.wire import read_json
from fairway.rollout.requests import AnswerKind

_LIMIT = 1000
"""Problems reported; after this many there is nothing left to trust."""

Expected = Callable[[str, Mapping[str, Any]], dict[str, Any]]
"""From a record's subject and body, what its row in the indexing table must say."""


def _event(subject: str, body: Mapping[str, Any]) -> dict[str, Any]:
    term, seq = body["fence"]
    return {**body["route"], "seq": seq, "term": term, "snapshot": body["snapshot"]}


def _request(subject: str, body: Mapping[str, Any]) -> dict[str, Any]:
    return {"id": body["id"], **body["route"]}


def _release(subject: str, body: Mapping[str, Any]) -> dict[str, Any]:
    manifest = body["manifest"]
    return {
        "agent": manifest["agent"],
        "version": manifest["release_version"],
        "digest": manifest["release_digest"],
        "tag": manifest["tag"],
        "commit_sha": manifest["commit_sha"],
    }


def _evidence(subject: str, body: Mapping[str, Any]) -> dict[str, Any]:
    return {"release": body["release"], "kind": body["kind"]}


def _deployment(subject: str, body: Mapping[str, Any]) -> dict[str, Any]:
    return {"id": body["id"], "agent": body["agent_id"], "environment": body["environment"]}


def _run(subject: str, body: Mapping[str, Any]) -> dict[str, Any]:
    return {"id": subject}


_TABLES: Mapping[str, tuple[str, Expected]] = {
    "event": ("events", _event),
    "request": ("requests", _request),
    "release": ("releases", _release),
    "evidence": ("evidence", _evidence),
    "deployment": ("deployments", _deployment),
    "run": ("runs", _run),
}
_REPLACED = frozenset({"deployment", "run"})
"""Kinds whose table shows the last record of a subject only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Body:
    """What the body of a row says that its indexing table must show; nothing when it was erased."""

    columns: Mapping[str, Any] = field(default_factory=dict)
    answers: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    erased: bool = False


@dataclass(slots=True)
class _Findings:
    problems: list[AuditProblem] = field(default_factory=list)

    def add(self, seq: int, kind: str, message: str) -> None:
        if len(self.problems) < _LIMIT:
            self.problems.append(AuditProblem(seq=seq, kind=kind, message=message))


def verify_ledger(session: Session, heads: Iterable[SignedHead], trusted: TrustedKeys) -> AuditReport:
    """Look at every row, body and index, in one view of one moment.

    Args:
        session: A read transaction.
        heads: From the file beside the ledger and wherever else they were kept; the ledger's own are read anyway.
        trusted: Keys whose heads count.
    """
    # Damaged text must be found, not stumble over.
    session.connection.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
    try:
        return _verify(session, heads, trusted)
    finally:
        session.connection.text_factory = str


def _verify(session: Session, heads: Iterable[SignedHead], trusted: TrustedKeys) -> AuditReport:
    found = _Findings()
    rows = list(_rows(session, found))
    _check_chain(rows, found)
    heads = sorted({*heads, *_own_heads(session, found)}, key=lambda head: head.seq)
    proved = _check_heads(rows, heads, trusted, found)
    bodies, erased = _check_bodies(session, found)
    _check_tables(session, rows, bodies, found)
    _check_answers(session, rows, bodies, found)
    last = rows[-1].seq if rows else 0
    first_bad = min((problem.seq for problem in found.problems), default=last + 1)
    return AuditReport(
        rows=len(rows),
        proved_to=min(proved, max(0, first_bad - 1)),
        unsigned=max(0, last - proved),
        erased=erased,
        heads=len(heads),
        problems=tuple(sorted(found.problems, key=lambda problem: (problem.seq, problem.kind))),
    )


def _rows(session: Session, found: _Findings) -> Iterator[AuditRow]:
    names = ("at", "kind", "subject", "actor", "payload_digest", "prev_hash", "hash")
    for row in session.rows("SELECT * FROM audit ORDER BY seq"):
        values = {name: row[name] for name in names}
        if type(row["seq"]) is int and all(type(value) is str for value in values.values()):
            yield AuditRow(seq=row["seq"], **values)
        else:
            found.add(int(row["seq"] or 0), "altered", f"row {row['seq']} holds values of another type")


def _own_heads(session: Session, found: _Findings) -> Iterator[SignedHead]:
    for row in session.rows("SELECT seq, hash, at, key_id, signature FROM heads"):
        try:
            yield head_from_wire(dict(row))
        except UserError:
            found.add(row["seq"], "bad_head", f"the head of row {row['seq']} is malformed")


def _check_chain(rows: list[AuditRow], found: _Findings) -> None:
    """Every row follows from the one before and hashes to what it says."""
    seq, previous = 0, GENESIS
    for row in rows:
        if row.seq != seq + 1:
            found.add(seq + 1, "removed", f"rows {seq + 1} to {row.seq - 1} are missing")
        elif row.prev_hash != previous:
            found.add(row.seq, "altered", f"row {row.seq} does not follow from row {seq}: moved, inserted or altered")
        if _hash(row) != row.hash:
            found.add(row.seq, "altered", f"row {row.seq} was altered: its hash does not match")
        seq, previous = row.seq, row.hash


def _hash(row: AuditRow) -> str:
    try:
        return link(
            seq=row.seq, at=row.at, kind=row.kind, subject=row.subject, actor=row.actor,
            payload_digest=row.payload_digest, prev_hash=row.prev_hash,
        ).hash  # fmt: skip
    except ValueError:
        return ""  # what canonical JSON cannot hold was never written by a ledger


def _check_heads(rows: list[AuditRow], heads: list[SignedHead], trusted: TrustedKeys, found: _Findings) -> int:
    """The last row a genuine head proves; a genuine head the chain does not lead to is a problem."""
    by_seq = {row.seq: row for row in rows}
    last = rows[-1].seq if rows else 0
    proved = 0
    for head in heads:
        if not is_genuine(head, trusted):
            found.add(head.seq, "bad_head", f"the head of row {head.seq} is not signed by a key this project trusts")
        elif head.seq > last:
            found.add(last + 1, "truncated", f"the chain ends at row {last}, but row {head.seq} was signed")
        elif head.seq in by_seq and by_seq[head.seq].hash != head.hash:
            found.add(head.seq, "altered", f"row {head.seq} is not the one that was signed: the chain was rewritten")
        else:
            proved = max(proved, head.seq)
    return proved


def _check_bodies(session: Session, found: _Findings) -> tuple[dict[int, _Body], int]:
    """What each row's body says; it has the digest its row names, or was erased with a record of it.

    One body at a time is in memory.
    """
    erased = {row["subject"] for row in session.rows("SELECT subject FROM audit WHERE kind = 'erase'")}
    bodies: dict[int, _Body] = {}
    forgotten = set()
    for row in session.stream(
        "SELECT seq, kind, subject, payload_digest, body FROM audit "
        "LEFT JOIN payloads ON payloads.digest = audit.payload_digest ORDER BY seq"
    ):
        seq, digest = row["seq"], row["payload_digest"]
        if row["body"] is None:
            if digest in erased:
                forgotten.add(digest)
                bodies[seq] = _Body(erased=True)
            else:
                found.add(seq, "payload_missing", f"the body of row {seq} is gone, and nobody recorded why")
        elif sha256_digest(raw(row["body"])) != digest:
            found.add(seq, "payload_altered", f"the body of row {seq} was altered")
        else:
            try:
                bodies[seq] = _read_body(row["kind"], row["subject"], read_json(raw(row["body"])))
            except (ValueError, KeyError, TypeError, AttributeError):
                found.add(seq, "unreadable", f"row {seq} is called {row['kind']}, but its body is none")
    for row in session.stream(
        "SELECT audit_seq, snapshot, body FROM events LEFT JOIN payloads ON payloads.digest = events.snapshot "
        "WHERE snapshot IS NOT NULL"
    ):
        if row["body"] is None and row["snapshot"] in erased:
            forgotten.add(row["snapshot"])
        elif row["body"] is None or sha256_digest(raw(row["body"])) != row["snapshot"]:
            seq = row["audit_seq"] if type(row["audit_seq"]) is int else 0
            found.add(seq, "payload_altered", f"the snapshot of row {seq} is missing or was altered")
    return bodies, len(forgotten)


def _read_body(kind: str, subject: str, body: Any) -> _Body:
    if kind not in _TABLES:
        return _Body()
    answers = body["answers"] if kind == "event" else ()
    return _Body(
        columns=_TABLES[kind][1](subject, body),
        answers={a["request_id"]: (a["kind"], a["seq"], a["code"], a["message"]) for a in answers},
    )


def _check_tables(session: Session, rows: list[AuditRow], bodies: Mapping[int, _Body], found: _Findings) -> None:
    """Each indexing table says what the chain says: no row more, none less, none other."""
    for kind, (table, _) in _TABLES.items():
        records = {row.seq: row for row in rows if row.kind == kind}
        if kind in _REPLACED:
            records = {row.seq: row for row in {row.subject: row for row in records.values()}.values()}
        shown = {}
        for row in session.rows(f"SELECT * FROM {table}"):  # noqa: S608
            if type(row["audit_seq"]) is int:
                shown[row["audit_seq"]] = row
            else:
                found.add(0, "record_altered", f"{table} holds a row that belongs to no record")
        for seq in sorted(set(records) - set(shown)):
            found.add(seq, "record_missing", f"row {seq} records a {kind} that {table} does not show")
        for seq in sorted(set(shown) - set(records)):
            found.add(seq, "record_inserted", f"{table} shows a {kind} that the chain does not record")
        for seq in sorted(set(shown) & set(records) & set(bodies)):
            wanted = {**bodies[seq].columns, "payload": records[seq].payload_digest}
            if wrong := _differences(shown[seq], wanted):
                found.add(seq, "record_altered", f"{table} was altered at row {seq}: {', '.join(wrong)}")


def _differences(shown: sqlite3.Row, wanted: Mapping[str, Any]) -> list[str]:
    return sorted(name for name, value in wanted.items() if shown[name] != value)


def _check_answers(session: Session, rows: list[AuditRow], bodies: Mapping[int, _Body], found: _Findings) -> None:
    """A request is answered as the event that consumed it says, and by nothing else."""
    answers = {name: answer for body in bodies.values() for name, answer in body.answers.items()}
    unread = any(row.kind == "event" and (row.seq not in bodies or bodies[row.seq].erased) for row in rows)
    for row in session.rows("SELECT * FROM requests"):
        shown = (row["answer"], row["answer_seq"], row["answer_code"], row["answer_message"])
        expected = answers.get(row["id"], (AnswerKind.PENDING.value, None, "", ""))
        if shown != expected and not (unread and row["id"] not in answers):
            seq = row["audit_seq"] if type(row["audit_seq"]) is int else 0
            found.add(seq, "record_altered", f"the answer to request {row['id']} was altered")
