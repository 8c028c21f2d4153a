"""Verbs that pin a route: hold (no-advance or freeze) and release. Pure."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from fairway.rollout.deciding import DecisionKind, Snapshot
from fairway.rollout.desired import active_holds
from fairway.rollout.obeying import Obeyed, apply, refuse
from fairway.rollout.people import same_person
from fairway.rollout.requests import HoldKind, Request
from fairway.rollout.values import Hold, RouteState

LONGEST_FREEZE = timedelta(hours=4)


def hold(request: Request, state: RouteState, snapshot: Snapshot) -> Obeyed:
    """A person's pin, in the place of their own before; what others hold stays."""
    try:
        kind = HoldKind(str(request.args.get("kind", "")))
        until = None if request.args.get("until") is None else datetime.fromisoformat(str(request.args["until"]))
    except ValueError:
        return refuse(state, request, "bad_hold", "kind is no-advance or freeze; until is an ISO time with its zone")
    if not request.reason:
        return refuse(state, request, "reason_needed", "a hold needs a reason")
    if until is not None and until.tzinfo is None:
        return refuse(state, request, "bad_hold", "until needs a time zone")
    if until is not None and until <= snapshot.now:
        return refuse(state, request, "bad_hold", f"until ({until:%Y-%m-%d %H:%M} {until.tzname()}) is over already")
    if kind is HoldKind.FREEZE and (until is None or until - snapshot.now > LONGEST_FREEZE):
        return refuse(state, request, "freeze_too_long", "a freeze expires, in at most 4 hours")
    pinned = Hold(kind=kind, actor=request.actor, reason=request.reason, until=until)
    kept = (other for other in active_holds(state, snapshot.now) if not same_person(other.actor, request.actor))
    moved = with_holds(state, (*kept, pinned))
    reason = f"{request.actor} holds ({kind.value}): {request.reason}"
    return apply(moved, request, snapshot, DecisionKind.OBEY, "held", reason)


def with_holds(state: RouteState, holds: tuple[Hold, ...]) -> RouteState:
    """The state with exactly these holds, one a person."""
    return replace(state, hold=holds[0] if holds else None, holds_beside=holds[1:])


def to_release(request: Request, state: RouteState, snapshot: Snapshot) -> tuple[Hold, ...]:
    """What a release is about: the hold of who is named, else one's own, else those of everybody else."""
    held = active_holds(state, snapshot.now)
    named = request.args.get("of")
    whose = request.actor if named is None else str(named)
    found = tuple(hold for hold in held if same_person(hold.actor, whose))
    return found or (held if named is None else ())


def release_hold(request: Request, state: RouteState, snapshot: Snapshot) -> Obeyed:
    """Let go of one's own hold, or with the role of another person's; what else is held stays."""
    found = to_release(request, state, snapshot)
    if not found:
        of = request.args.get("of")
        return refuse(state, request, "no_hold", "nothing is held" if of is None else f"{of} holds nothing")
    if len(found) > 1:
        names = " and ".join(hold.actor for hold in found)
        return refuse(state, request, "whose_hold", f"{names} hold the route; say whose hold ends")
    let_go = found[0]
    of_other = "" if same_person(let_go.actor, request.actor) else f" of {let_go.actor}"
    why = f": {request.reason}" if request.reason else ""
    reason = f"{request.actor} released the hold{of_other}{why}"
    left = tuple(hold for hold in active_holds(state, snapshot.now) if hold != let_go)
    return apply(with_holds(state, left), request, snapshot, DecisionKind.OBEY, "hold_released", reason)
