"""Journal entries, requests and answers as JSON and back, version 1: the bodies the audit chain vouches for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fairway.release.values import SignedRelease
from fairway.release.wire import format_time, manifest_from_wire, manifest_to_wire, parse_time, plain
from fairway.rollout.port import JournalEntry
from fairway.rollout.requests import Answer, AnswerKind, Request, Verb
from fairway.traffic.fence import Fence
from fairway.units import AgentName, EnvironmentName, RouteId


def route_to_wire(route: RouteId) -> dict[str, str]:
    """``{"agent": …, "environment": …}``."""
    return {"agent": route.agent, "environment": route.environment}


def route_from_wire(wire: Mapping[str, Any]) -> RouteId:
    """Read a route."""
    return RouteId(agent=AgentName(wire["agent"]), environment=EnvironmentName(wire["environment"]))


def answer_to_wire(answer: Answer) -> dict[str, Any]:
    """A JSON-able value of what became of a request."""
    return {
        "request_id": answer.request_id,
        "kind": answer.kind.value,
        "seq": answer.seq,
        "code": answer.code,
        "message": answer.message,
    }


def answer_from_wire(wire: Mapping[str, Any]) -> Answer:
    """Read what became of a request."""
    return Answer(
        request_id=wire["request_id"],
        kind=AnswerKind(wire["kind"]),
        seq=wire["seq"],
        code=wire["code"],
        message=wire["message"],
    )


def entry_to_wire(entry: JournalEntry, snapshot: str | None) -> dict[str, Any]:
    """A JSON-able value of an event; its snapshot by digest, ``None`` when it kept none."""
    return {
        "version": entry.version,
        "route": route_to_wire(entry.route),
        "fence": [entry.fence.term, entry.fence.seq],
        "at": format_time(entry.at),
        "kind": entry.kind,
        "code": entry.code,
        "reason": entry.reason,
        "actor": entry.actor,
        "state": plain(entry.state),
        "decision": plain(entry.decision),
        "snapshot": snapshot,
        "answers": [answer_to_wire(answer) for answer in entry.answers],
    }


def entry_from_wire(wire: Mapping[str, Any]) -> JournalEntry:
    """Read an event, without its snapshot."""
    term, seq = wire["fence"]
    return JournalEntry(
        route=route_from_wire(wire["route"]),
        fence=Fence(term=term, seq=seq),
        at=parse_time(wire["at"]),
        kind=wire["kind"],
        code=wire["code"],
        reason=wire["reason"],
        actor=wire["actor"],
        state=wire["state"],
        decision=wire["decision"],
        answers=tuple(answer_from_wire(answer) for answer in wire["answers"]),
    )


def request_to_wire(request: Request) -> dict[str, Any]:
    """A JSON-able value of a request."""
    return {
        "version": request.version,
        "id": request.id,
        "route": route_to_wire(request.route),
        "verb": request.verb.value,
        "actor": request.actor,
        "at": format_time(request.at),
        "auth": request.auth,
        "args": plain(request.args),
        "reason": request.reason,
        "if_version": request.if_version,
    }


def request_from_wire(wire: Mapping[str, Any]) -> Request:
    """Read a request."""
    return Request(
        id=wire["id"],
        route=route_from_wire(wire["route"]),
        verb=Verb(wire["verb"]),
        actor=wire["actor"],
        at=parse_time(wire["at"]),
        auth=wire["auth"],
        args=wire["args"],
        reason=wire["reason"],
        if_version=wire["if_version"],
    )


def release_to_wire(release: SignedRelease) -> dict[str, Any]:
    """A JSON-able value of a signed release."""
    return {"manifest": manifest_to_wire(release.manifest), "envelope": release.envelope}


def release_from_wire(wire: Mapping[str, Any]) -> SignedRelease:
    """Read a signed release; nothing is verified here."""
    return SignedRelease(manifest=manifest_from_wire(wire["manifest"]), envelope=wire["envelope"])
