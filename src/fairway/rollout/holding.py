"""Verbs that pin a route: hold (no-advance or freeze) and release. Pure."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from fairway.rollout.desired import active_hold
from fairway.rollout.obeying import Obeyed, apply, refuse
from fairway.rollout.people import same_person
from fairway.rollout.requests import HoldKind, Request
from fairway.rollout.values import DecisionKind, Hold, RouteState, Snapshot

LONGEST_FREEZE = timedelta(hours=4)


def hold(request: Request, state: RouteState, snapshot: Snapshot) -> Obeyed:
    """A person's pin, in the place of the one before."""
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
    other = active_hold(state, snapshot.now)
    if other is not None and other.kind is HoldKind.FREEZE and not same_person(other.actor, request.actor):
        return refuse(state, request, "held", f"{other.actor} froze the route: {other.reason}; release that first")
    pinned = Hold(kind=kind, actor=request.actor, reason=request.reason, until=until)
    reason = f"{request.actor} holds ({kind.value}): {request.reason}"
    return apply(replace(state, hold=pinned), request, snapshot, DecisionKind.OBEY, "held", reason)


def release_hold(request: Request, state: RouteState, snapshot: Snapshot) -> Obeyed:
    """Let go of it: the person who holds, or who has the role to."""
    if state.hold is None:
        return refuse(state, request, "no_hold", "nothing is held")
    of_other = "" if same_person(state.hold.actor, request.actor) else f" of {state.hold.actor}"
    why = f": {request.reason}" if request.reason else ""
    reason = f"{request.actor} released the hold{of_other}{why}"
    return apply(replace(state, hold=None), request, snapshot, DecisionKind.OBEY, "hold_released", reason)
