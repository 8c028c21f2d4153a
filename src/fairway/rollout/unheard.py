"""Requests that were refused when whoever asked was gone: recorded without a controller, answered later. Reads only."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from fairway.errors import NotFoundError
from fairway.rollout.port import JournalEntry, RolloutLedger
from fairway.rollout.requests import Answer, AnswerKind
from fairway.units import RouteId

LISTED = timedelta(hours=12)
"""For so long a refusal is listed: a night, or a shift."""
HEARD = timedelta(seconds=5)
"""Whoever asked waits at least so long for the answer of a controller that is there, and is told it."""
_EVENTS = 50


def unheard_refusals(ledger: RolloutLedger, route: RouteId, *, head: int, now: datetime) -> list[dict[str, Any]]:
    """Refusals of the last hours that nobody was told, oldest first.

    Args:
        ledger: Of the project.
        route: Whose.
        head: Seq of the route's last event; only the events right before it are looked through.
        now: Time.
    """
    events = ledger.events(route, after=max(0, head - _EVENTS), limit=_EVENTS)
    return [one for event in events if now - event.at <= LISTED for one in _of(ledger, event)]


def _of(ledger: RolloutLedger, event: JournalEntry) -> Iterator[dict[str, Any]]:
    refused = [answer for answer in event.answers if answer.kind is AnswerKind.REFUSED and answer.code != "withdrawn"]
    asked = _asked(ledger, event) if refused else {}
    for answer in refused:
        request = asked.get(answer.request_id)
        if request is not None and event.at - datetime.fromisoformat(str(request["at"])) > HEARD:
            yield _refusal(answer, request, event)


def _refusal(answer: Answer, request: Mapping[str, Any], event: JournalEntry) -> dict[str, Any]:
    return {
        "id": answer.request_id,
        "verb": str(request["verb"]),
        "by": str(request["actor"]),
        "asked_at": str(request["at"]),
        "at": event.at.isoformat(),
        "code": answer.code,
        "message": answer.message,
    }


def _asked(ledger: RolloutLedger, event: JournalEntry) -> dict[str, Mapping[str, Any]]:
    """The requests a decision looked at, by id; none where its snapshot is not kept any more."""
    try:
        seen = json.loads(ledger.snapshot(event.route, event.fence.seq))
    except (NotFoundError, ValueError):
        return {}
    return {str(request["id"]): request for request in seen.get("requests", ())}
