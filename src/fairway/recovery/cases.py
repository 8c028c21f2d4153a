"""Rollbacks as a route's journal has them, and what of them goes on record. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fairway.incident.situations import respond, situation_of
from fairway.incident.suspects import Located
from fairway.rollout.port import JournalEntry
from fairway.rollout.values import ArmRef, Phase
from fairway.rollout.wire import state_from_wire
from fairway.verdict.values import speaks_against

_NO_INCIDENT = frozenset({"superseded"})
"""Ways of going back that are nobody's failure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One rollback as the journal has it.

    Attributes:
        began: The event that began it.
        bad: The release that is left.
        back_to: The one that is gone back to; ``None``: there is none.
        code, reason: Why, as the journal says it.
        ended: The event by which every gateway had confirmed it; ``None`` while it is under way.
    """

    incident: str
    began: JournalEntry
    bad: ArmRef
    back_to: ArmRef | None
    code: str
    reason: str
    ended: JournalEntry | None = None


def case_of(event: JournalEntry) -> Case | None:
    """The rollback that is under way after an event; ``None`` when none is."""
    rollout = state_from_wire(event.state).rollout
    if rollout is None:
        return None
    if rollout.going_back and rollout.phase is Phase.PREPARING and rollout.stable is not None:
        return Case(
            incident=rollout.id,
            began=event,
            bad=rollout.stable,
            back_to=rollout.candidate,
            code=event.code,
            reason=event.reason,
        )
    if rollout.phase is not Phase.ROLLING_BACK or rollout.cause in _NO_INCIDENT:
        return None
    return Case(
        incident=rollout.id,
        began=event,
        bad=rollout.candidate,
        back_to=rollout.stable,
        code=rollout.cause,
        reason=rollout.cause_text,
    )


def ends(case: Case, event: JournalEntry) -> bool:
    """Whether by this event every gateway had confirmed the rollback."""
    rollout = state_from_wire(event.state).rollout
    if rollout is None or rollout.id != case.incident or event.fence.seq <= case.began.fence.seq:
        return False
    return rollout.phase in ((Phase.SOAKING, Phase.DONE) if rollout.going_back else (Phase.ROLLED_BACK,))


def serving_failed(case: Case) -> bool:
    """Whether failures can have been described: the release took traffic."""
    rollout = state_from_wire(case.began.state).rollout
    return rollout is not None and (rollout.going_back or rollout.counted_from is not None)


def detected_wire(case: Case) -> dict[str, Any]:
    """What goes on record of its beginning: the situation, and what the table says to do in it."""
    situation = situation_of(case.code, case.reason, gates=_failed_kinds(case.began))
    response = respond(situation)
    return {
        "seq": case.began.fence.seq,
        "at": case.began.at.isoformat(),
        "code": case.code,
        "reason": case.reason,
        "by": case.began.actor,
        "situation": situation.value,
        "response": [act.value for act in response.acts],
        "automatic": response.automatic,
        "from": case.bad.version,
        "release": case.bad.release,
        "to": None if case.back_to is None else case.back_to.version,
    }


def _failed_kinds(event: JournalEntry) -> frozenset[str]:
    """Kinds of the gates that spoke against the release when an event was decided."""
    found = event.decision.get("evidence") or ()
    return frozenset(
        one["kind"]
        for one in found
        if speaks_against(
            one["verdict"],
            stable_fails_too=bool(one.get("stable_fails_too")),
            worse_than_stable=one.get("worse_than_stable"),
        )
    )


def rolled_back_wire(case: Case) -> dict[str, Any]:
    """What goes on record of its end."""
    assert case.ended is not None
    return {
        "seq": case.ended.fence.seq,
        "at": case.ended.at.isoformat(),
        "seconds": round((case.ended.at - case.began.at).total_seconds(), 3),
        "to": None if case.back_to is None else case.back_to.version,
    }


def located_wire(found: Located) -> dict[str, Any]:
    """What goes on record of who is suspected."""
    return {
        "named": found.named,
        "suspects": [one.component.value for one in found.suspects],
        "why": found.why,
        "changed": [part.value for part in found.changed],
        "figures": dict(found.figures),
        "groups": [
            {
                "code": group.code,
                "status": group.status,
                "described": group.described,
                "rate": group.rate,
                "stable_rate": group.stable_rate,
                "own": group.own,
                "examples": list(group.examples),
            }
            for group in found.groups
        ],
    }
