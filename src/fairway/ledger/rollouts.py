"""Journals, leases, requests and telemetry blocks of routes, inside one transaction each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from fairway.canonical import canonical_json
from fairway.errors import ConflictError, NotFoundError
from fairway.ledger.redaction import redact, redact_json
from fairway.ledger.session import Session
from fairway.ledger.wire import entry_from_wire, entry_to_wire, request_from_wire, request_to_wire
from fairway.release.wire import plain, read_json
from fairway.rollout.port import JournalEntry, JournalHead, Lease
from fairway.rollout.requests import Answer, AnswerKind, Request
from fairway.traffic.fence import ZERO_FENCE, Fence
from fairway.units import AgentName, EnvironmentName, RouteId

_ROUTE = "agent = :agent AND environment = :environment"


def acquire_lease(session: Session, route: RouteId, holder: str, seconds: float, at_least: int = 0) -> Lease | None:
    """Take or renew; ``None`` when somebody else has it. A new term is a record, a renewal is not."""
    row = session.row(f"SELECT holder, term, expires_at FROM leases WHERE {_ROUTE}", **_keys(route))  # noqa: S608
    held = row is not None and row["expires_at"] > session.now
    if held and row is not None and row["holder"] != holder:
        return None
    # A holder whose lease ran out gets a new term: in between it may have missed somebody else's.
    term = row["term"] if held and row is not None else (0 if row is None else row["term"]) + 1
    raised = at_least > term
    term = max(term, at_least)
    expires = session.now + seconds
    session.run(
        "INSERT INTO leases (agent, environment, holder, term, expires_at) "
        "VALUES (:agent, :environment, :holder, :term, :expires) ON CONFLICT (agent, environment) DO UPDATE SET "
        "holder = excluded.holder, term = excluded.term, expires_at = excluded.expires_at",
        holder=holder, term=term, expires=expires, **_keys(route),
    )  # fmt: skip
    if not held or raised:
        session.record("lease", f"{route}", holder, {"route": f"{route}", "holder": holder, "term": term})
    return Lease(route=route, holder=holder, term=term, expires_at=datetime.fromtimestamp(expires, UTC))


def release_lease(session: Session, lease: Lease) -> None:
    """Give it back; the term stays, so that the next holder's is higher."""
    session.run(
        f"UPDATE leases SET expires_at = 0 WHERE {_ROUTE} AND holder = :holder AND term = :term",  # noqa: S608
        holder=lease.holder, term=lease.term, **_keys(lease.route),
    )  # fmt: skip


def lease_of(session: Session, route: RouteId) -> Lease | None:
    """Who holds the route now."""
    row = session.row(f"SELECT holder, term, expires_at FROM leases WHERE {_ROUTE}", **_keys(route))  # noqa: S608
    if row is None or row["expires_at"] <= session.now:
        return None
    expires = datetime.fromtimestamp(row["expires_at"], UTC)
    return Lease(route=route, holder=row["holder"], term=row["term"], expires_at=expires)


def head(session: Session, route: RouteId) -> JournalHead:
    """The last event's fence and state."""
    row = session.row(
        f"SELECT seq, term, payload FROM events WHERE {_ROUTE} ORDER BY seq DESC LIMIT 1",  # noqa: S608
        **_keys(route),
    )
    if row is None:
        return JournalHead(fence=ZERO_FENCE, state=None)
    return JournalHead(fence=Fence(term=row["term"], seq=row["seq"]), state=session.body(row["payload"])["state"])


def journal(session: Session, entry: JournalEntry, lease: Lease) -> None:
    """Append an event with everything that belongs to it."""
    _check_lease(session, entry, lease)
    last = session.row(f"SELECT max(seq) AS seq FROM events WHERE {_ROUTE}", **_keys(entry.route))  # noqa: S608
    found = (last["seq"] if last is not None else None) or 0
    if entry.fence.seq != found + 1:
        raise ConflictError(
            f"the journal of {entry.route} is at {found}, not at {entry.fence.seq - 1}",
            code="journal_moved",
            hint="read the head again and decide again",
        )
    snapshot = session.keep(redact_json(entry.snapshot)) if entry.snapshot else None
    audit_seq, payload = session.record(
        "event", f"{entry.route}#{entry.fence.seq}", entry.actor, entry_to_wire(entry, snapshot)
    )
    session.run(
        "INSERT INTO events (agent, environment, seq, term, snapshot, audit_seq, payload) "
        "VALUES (:agent, :environment, :seq, :term, :snapshot, :audit_seq, :payload)",
        seq=entry.fence.seq, term=entry.fence.term, snapshot=snapshot, audit_seq=audit_seq, payload=payload,
        **_keys(entry.route),
    )  # fmt: skip
    for answer in session.body(payload)["answers"]:
        _answer(session, entry.route, answer)


def events(session: Session, route: RouteId, after: int, limit: int) -> tuple[JournalEntry, ...]:
    """Events with ``seq > after``, oldest first; one whose body was erased is left out."""
    rows = session.rows(
        f"SELECT payload FROM events WHERE {_ROUTE} AND seq > :after ORDER BY seq LIMIT :limit",  # noqa: S608
        after=after, limit=limit, **_keys(route),
    )  # fmt: skip
    bodies = (session.body(row["payload"]) for row in rows)
    return tuple(entry_from_wire(body) for body in bodies if body is not None)


def snapshot(session: Session, route: RouteId, seq: int) -> bytes:
    """The snapshot of one event."""
    row = session.row(f"SELECT snapshot FROM events WHERE {_ROUTE} AND seq = :seq", seq=seq, **_keys(route))  # noqa: S608
    body = None if row is None or row["snapshot"] is None else session.kept(row["snapshot"])
    if body is None:
        raise NotFoundError(f"event {seq} of {route} has no snapshot", code="snapshot_not_found")
    return body


def submit(session: Session, request: Request) -> Answer:
    """Record a request once."""
    known = session.row("SELECT payload FROM requests WHERE id = :id", id=request.id)
    if known is not None:
        _check_same(request, session.body(known["payload"]))
        return answer(session, request.id)
    audit_seq, payload = session.record("request", request.id, request.actor, request_to_wire(request))
    session.run(
        "INSERT INTO requests (id, agent, environment, answer, answer_seq, answer_code, answer_message, audit_seq, "
        "payload) VALUES (:id, :agent, :environment, :pending, NULL, '', '', :audit_seq, :payload)",
        id=request.id, pending=AnswerKind.PENDING.value, audit_seq=audit_seq, payload=payload, **_keys(request.route),
    )  # fmt: skip
    return Answer(request_id=request.id, kind=AnswerKind.PENDING)


def pending(session: Session, route: RouteId) -> tuple[Request, ...]:
    """Unanswered requests in the order they came."""
    rows = session.rows(
        f"SELECT payload FROM requests WHERE {_ROUTE} AND answer = :pending ORDER BY audit_seq",  # noqa: S608
        pending=AnswerKind.PENDING.value, **_keys(route),
    )  # fmt: skip
    return tuple(request_from_wire(session.body(row["payload"])) for row in rows)


def answer(session: Session, request_id: str) -> Answer:
    """What became of a request."""
    row = session.row(
        "SELECT answer, answer_seq, answer_code, answer_message FROM requests WHERE id = :id", id=request_id
    )
    if row is None:
        raise NotFoundError(f"there is no request {request_id!r}", code="request_not_found")
    return Answer(
        request_id=request_id,
        kind=AnswerKind(row["answer"]),
        seq=row["answer_seq"],
        code=row["answer_code"],
        message=row["answer_message"],
    )


def add_blocks(session: Session, route: RouteId, blocks: Iterable[Mapping[str, Any]]) -> None:
    """Keep mature blocks, one a time and release; measurements, so not part of the chain."""
    for block in blocks:
        session.run(
            "INSERT INTO blocks (agent, environment, t0, release, body) "
            "VALUES (:agent, :environment, :t0, :release, :body) ON CONFLICT DO NOTHING",
            t0=float(block["t0"]), release=str(block.get("release", "")),
            body=redact_json(canonical_json(plain(block))), **_keys(route),
        )  # fmt: skip


def blocks(session: Session, route: RouteId, since: float, upto: float) -> tuple[Mapping[str, Any], ...]:
    """Kept blocks in order of time."""
    rows = session.rows(
        f"SELECT body FROM blocks WHERE {_ROUTE} AND t0 >= :since AND t0 <= :upto ORDER BY t0, release",  # noqa: S608
        since=since, upto=upto, **_keys(route),
    )  # fmt: skip
    return tuple(read_json(bytes(row["body"])) for row in rows)


def routes(session: Session) -> tuple[RouteId, ...]:
    """Every route there is anything about."""
    rows = session.rows(
        "SELECT agent, environment FROM events UNION SELECT agent, environment FROM requests "
        "UNION SELECT agent, environment FROM leases ORDER BY 1, 2"
    )
    return tuple(RouteId(agent=AgentName(row[0]), environment=EnvironmentName(row[1])) for row in rows)


def _check_lease(session: Session, entry: JournalEntry, lease: Lease) -> None:
    held = lease_of(session, entry.route)
    mine = held is not None and (held.holder, held.term) == (lease.holder, lease.term) and lease.route == entry.route
    if not mine or entry.fence.term != lease.term:
        raise ConflictError(
            f"{lease.holder} does not hold the lease of {entry.route} any more",
            code="lease_lost",
            hint="another controller took over, or this one was paused for too long",
        )


def _answer(session: Session, route: RouteId, body: Mapping[str, Any]) -> None:
    """Answer one pending request of this route; anything else undoes the whole event."""
    changed = session.run(
        "UPDATE requests SET answer = :kind, answer_seq = :seq, answer_code = :code, answer_message = :message "
        "WHERE id = :id AND agent = :agent AND environment = :environment AND answer = :pending",
        id=body["request_id"], kind=body["kind"], seq=body["seq"], code=body["code"], message=body["message"],
        pending=AnswerKind.PENDING.value, **_keys(route),
    )  # fmt: skip
    if changed != 1 or body["kind"] == AnswerKind.PENDING.value:
        raise ConflictError(
            f"request {body['request_id']!r} of {route} is not waiting for an answer", code="request_answered"
        )


def _check_same(request: Request, known: Mapping[str, Any] | None) -> None:
    """The same id must be the same wish; when and by which words may differ between two attempts."""
    wire = redact(request_to_wire(request))
    if known is not None and any(known[key] != wire[key] for key in ("route", "verb", "args", "actor")):
        raise ConflictError(
            f"request id {request.id!r} was used before for something else",
            code="request_id_reused",
            hint="choose a new id for a new request",
        )


def _keys(route: RouteId) -> dict[str, str]:
    return {"agent": route.agent, "environment": route.environment}
