"""People's verbs, as requests a controller consumes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from fairway.units import RouteId


class Verb(StrEnum):
    """What a person can ask of a route."""

    START = "start"
    PROMOTE = "promote"
    PAUSE = "pause"
    RESUME = "resume"
    ABORT = "abort"
    ROLLBACK = "rollback"
    HOLD = "hold"
    RELEASE_HOLD = "release_hold"
    APPROVE = "approve"
    LIFT_BLOCK = "lift_block"
    SKIP = "skip"
    RETRY = "retry"
    REVOKE = "revoke"
    WITHDRAW = "withdraw"
    NOTE = "note"


class HoldKind(StrEnum):
    """A person's pin: ``no-advance`` leaves rollback automatic, ``freeze`` stops automation altogether (≤ 4 h)."""

    NO_ADVANCE = "no-advance"
    FREEZE = "freeze"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One verb, answered exactly once, in the transaction of the event it causes.

    Attributes:
        id: Chosen by the caller; the same id again is the same request.
        args: ``start``: ``{"release": digest, "supersede": bool, "override": bool}``; ``rollback``: ``{"to": digest |
            None}``; ``promote``: ``{"full": bool}``; ``hold``: ``{"kind": …, "until": ISO time}``; ``release_hold``:
            ``{"of": actor | None}``; ``approve``, ``lift_block``, ``retry``: ``{"release": digest}``; ``approve`` also
            ``{"before": "first" | share}``; ``revoke``: ``{"release": digest, "of": actor | None}``; ``withdraw``:
            ``{"request": id}``; ``note``: ``{"event": seq}``, the text is the reason. Any: ``{"break_glass": bool}``.
        actor: Who, as known to git or the operating system.
        auth: How the actor was established: ``local`` or an issuer.
        reason: Why; required for overrides.
        if_version: Refuse unless the route's journal is at this seq; ``None``: any.
    """

    id: str
    route: RouteId
    verb: Verb
    actor: str
    at: datetime
    auth: str = "local"
    args: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""
    if_version: int | None = None
    version: Literal[1] = 1


class AnswerKind(StrEnum):
    """What became of a request."""

    PENDING = "pending"
    APPLIED = "applied"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """``applied@seq`` or ``refused(code)``.

    Attributes:
        seq: The event that applied it, when applied.
        code: Why it was refused, stable; ``""`` otherwise.
        message: For people.
    """

    request_id: str
    kind: AnswerKind
    seq: int | None = None
    code: str = ""
    message: str = ""
