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
    bodies, erased = _check_bodies(session, rows, found)
    _check_tables(session, rows, bodies, erased, found)
    _check_answers(session, rows, bodies, found)
    last = rows[-1].seq if rows else 0
    first_bad = min((problem.seq for problem in found.problems), default=last + 1)
    return AuditReport(
        rows=len(rows),
        proved_to=min(proved, max(0, first_bad - 1)),
        unsigned=max(0, last - proved),
        erased=len(erased),
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


def _check_bodies(session: Session, rows: list[AuditRow], found: _Findings) -> tuple[dict[int, Any], frozenset[str]]:
    """Bodies by row; each has the digest its row names, or was erased with a record of it."""
    kept = {row["digest"]: raw(row["body"]) for row in session.rows("SELECT digest, body FROM payloads")}
    erased = {row.subject for row in rows if row.kind == "erase"} - set(kept)
    bodies: dict[int, Any] = {}
    for row in rows:
        body = kept.get(row.payload_digest)
        if body is None:
            if row.payload_digest not in erased:
                found.add(row.seq, "payload_missing", f"the body of row {row.seq} is gone, and nobody recorded why")
        elif sha256_digest(body) != row.payload_digest:
            found.add(row.seq, "payload_altered", f"the body of row {row.seq} was altered")
        else:
            bodies[row.seq] = read_json(body)
    for row in rows:
        snapshot = bodies[row.seq].get("snapshot") if row.kind == "event" and row.seq in bodies else None
        if snapshot is not None and snapshot not in erased and sha256_digest(kept.get(snapshot, b"")) != snapshot:
            found.add(row.seq, "payload_altered", f"the snapshot of row {row.seq} is missing or was altered")
    return bodies, frozenset(erased)


def _check_tables(
    session: Session, rows: list[AuditRow], bodies: Mapping[int, Any], erased: frozenset[str], found: _Findings
) -> None:
    """Each indexing table says what the chain says: no row more, none less, none other."""
    for kind, (table, expected) in _TABLES.items():
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
        for seq in sorted(set(shown) & set(records)):
            record = records[seq]
            wanted: dict[str, Any] = {"payload": record.payload_digest}
            if seq in bodies:
                wanted |= expected(record.subject, bodies[seq])
            elif record.payload_digest not in erased:
                continue  # reported with the bodies
            if wrong := _differences(shown[seq], wanted):
                found.add(seq, "record_altered", f"{table} was altered at row {seq}: {', '.join(wrong)}")


def _differences(shown: sqlite3.Row, wanted: Mapping[str, Any]) -> list[str]:
    return sorted(name for name, value in wanted.items() if shown[name] != value)


def _check_answers(session: Session, rows: list[AuditRow], bodies: Mapping[int, Any], found: _Findings) -> None:
    """A request is answered as the event that consumed it says, and by nothing else."""
    answers = {
        answer["request_id"]: (answer["kind"], answer["seq"], answer["code"], answer["message"])
        for row in rows
        if row.kind == "event" and row.seq in bodies
        for answer in bodies[row.seq]["answers"]
    }
    unread = any(row.kind == "event" and row.seq not in bodies for row in rows)
    for row in session.rows("SELECT * FROM requests"):
        shown = (row["answer"], row["answer_seq"], row["answer_code"], row["answer_message"])
        expected = answers.get(row["id"], (AnswerKind.PENDING.value, None, "", ""))
        if shown != expected and not (unread and row["id"] not in answers):
            seq = row["audit_seq"] if type(row["audit_seq"]) is int else 0
            found.add(seq, "record_altered", f"the answer to request {row['id']} was altered")
