"""Verbs about requests and records: take a request back before it is answered, and explain broken glass. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from fairway.rollout.deciding import DecisionKind, Snapshot
from fairway.rollout.obeying import Obeyed, apply, refuse
from fairway.rollout.people import same_person
from fairway.rollout.requests import Request, Verb
from fairway.rollout.roles import Right, why_not
from fairway.rollout.values import RouteState

_ONLY_BY_ITSELF = frozenset({Verb.ABORT, Verb.ROLLBACK})
"""What makes traffic safe is taken back by nobody but who asked for it."""


def withdrawn(snapshot: Snapshot) -> Mapping[str, str]:
    """Which of the pending requests are taken back, and by whom: ``{request id: actor}``."""
    pending = {request.id: request for request in snapshot.requests}
    found: dict[str, str] = {}
    for request in snapshot.requests:
        target = pending.get(str(request.args.get("request", "")))
        if request.verb is Verb.WITHDRAW and target is not None and not _not_theirs(request, target, snapshot):
            found.setdefault(target.id, request.actor)
    return found


def pending_withdrawals(pending: tuple[Request, ...]) -> Mapping[str, str]:
    """Who has asked to take which of the pending requests back; whether they may is for the controller to say."""
    asked = (request for request in pending if request.verb is Verb.WITHDRAW)
    return {str(request.args.get("request")): request.actor for request in asked}


def _not_theirs(request: Request, target: Request, snapshot: Snapshot) -> str:
    """Why one may not take back what another asked for; empty when one may."""
    if target.verb is Verb.WITHDRAW:
        return "a withdrawal is not taken back; ask again for what was withdrawn"
    if request.if_version is not None and request.if_version != snapshot.head.seq:
        return f"the route is at {snapshot.head.seq}, the request was made at {request.if_version}"
    if same_person(request.actor, target.actor):
        return ""
    if target.verb in _ONLY_BY_ITSELF:
        return f"{target.actor} asked for it, and only they take back what makes traffic safe"
    return why_not(request.actor, Right.WITHDRAW, people=snapshot.people, kind=snapshot.environment_kind)


def take_back(request: Request, state: RouteState, by: str) -> Obeyed:
    """The answer to a request that was withdrawn before it was looked at."""
    return refuse(state, request, "withdrawn", f"{by} withdrew it before it was looked at")


def withdraw(request: Request, state: RouteState, snapshot: Snapshot) -> Obeyed:
    """Take a request back that nobody has answered yet; it is answered ``withdrawn`` by the same event."""
    target = next((one for one in snapshot.requests if one.id == request.args.get("request")), None)
    if target is None:
        return refuse(state, request, "not_pending", "no request of that id waits for an answer here")
    denied = _not_theirs(request, target, snapshot)
    if denied:
        return refuse(state, request, "not_yours", denied)
    what = target.verb.value.replace("_", " ")
    reason = f"{request.actor} withdrew the {what} that {target.actor} asked for"
    return apply(state, request, snapshot, DecisionKind.OBEY, "request_withdrawn", reason)


def note(request: Request, state: RouteState, snapshot: Snapshot) -> Obeyed:
    """Explain afterwards why glass was broken; the oldest that owes a note, unless the event is named."""
    seq = request.args.get("event")
    owed = [one for one in state.glass if not one.note and seq in (None, one.seq)]
    if not owed:
        where = "" if seq is None else f" by event {seq}"
        return refuse(state, request, "no_note_owed", f"no note is owed{where} on this route")
    if not request.reason:
        return refuse(state, request, "reason_needed", "a note needs a text")
    explained = replace(owed[0], note=request.reason, noted_by=request.actor)
    glass = tuple(explained if one == owed[0] else one for one in state.glass)
    reason = f"{request.actor} on the broken glass of event {owed[0].seq}: {request.reason}"
    return apply(replace(state, glass=glass), request, snapshot, DecisionKind.OBEY, "noted", reason)
