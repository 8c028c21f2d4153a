"""The procedure of a rollback (SPEC J3), as the ledger keeps it: its steps, whether it may be closed, and recovery.

Pure. Traffic is moved by the controller, at once and whatever stands here: the procedure records what happened around
it and is never in its way.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from fairway.errors import RefusedError
from fairway.observe.fold import Block
from fairway.traffic.table import Role
from fairway.units import Digest, Verdict
from fairway.verdict.sla import SlaPolicy

RECORD_KIND = "rollback"
"""Kind of the audit records that hold a procedure."""

RECOVERY_REQUESTS = 20
"""Requests the release that was gone back to must have answered before recovery is more than a hope."""


class Step(StrEnum):
    """The steps, in their order."""

    DETECT = "detect"
    LOCATE = "locate"
    CHOOSE = "choose"
    ROLL_BACK = "roll_back"
    NOTIFY = "notify"
    VERIFY = "verify"
    MARK = "mark"
    CLOSE = "close"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One step, done.

    Attributes:
        incident: Which rollback: the id of its rollout.
        details: What was found or done; JSON-able.
    """

    incident: str
    step: Step
    at: datetime
    actor: str
    details: Mapping[str, Any] = field(default_factory=dict)


def entry_to_wire(entry: Entry) -> dict[str, Any]:
    """Body of the audit record; time and actor are the record's own."""
    return {"version": 1, "incident": entry.incident, "step": entry.step.value, "details": dict(entry.details)}


def entry_from_wire(wire: Mapping[str, Any], *, at: datetime, actor: str) -> Entry | None:
    """Read a record's body; ``None`` when it was erased or another version wrote it: nothing is guessed."""
    try:
        if wire["version"] != 1:
            return None
        return Entry(
            incident=str(wire["incident"]), step=Step(wire["step"]), at=at, actor=actor, details=dict(wire["details"])
        )
    except (KeyError, TypeError, ValueError):
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Procedure:
    """One rollback and the steps done so far; of a step done twice (notified again) the last counts."""

    incident: str
    entries: tuple[Entry, ...]

    def done(self, step: Step) -> Entry | None:
        """The step as it was done last, or ``None``."""
        return next((entry for entry in reversed(self.entries) if entry.step is step), None)

    @property
    def next(self) -> Step | None:
        """The first step that is not done, or ``None`` when it is closed."""
        return next((step for step in Step if self.done(step) is None), None)

    @property
    def closed(self) -> bool:
        """Whether a person closed it."""
        return self.done(Step.CLOSE) is not None

    @property
    def marked(self) -> bool:
        """Whether the release is marked rollbacked: traffic is back, and its recovery was looked at."""
        return self.done(Step.MARK) is not None


def procedures(entries: Iterable[Entry]) -> tuple[Procedure, ...]:
    """Every rollback on record, the one that began last first."""
    found: dict[str, list[Entry]] = {}
    for entry in entries:
        found.setdefault(entry.incident, []).append(entry)
    made = [Procedure(incident=incident, entries=tuple(steps)) for incident, steps in found.items()]
    return tuple(sorted(made, key=lambda one: one.entries[0].at, reverse=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """Whether the release that was gone back to serves well since.

    Attributes:
        verdict: NO_DATA until enough requests with a known outcome were seen: recovery is never assumed.
    """

    verdict: Verdict
    requests: int
    success_rate: float | None
    reason: str


def recovery(blocks: Iterable[Block], *, back_to: Digest | None, since: float, policy: SlaPolicy) -> Recovery:
    """Judge the requests of the release that was gone back to.

    Args:
        blocks: Mature blocks; those with gaps are left out.
        back_to: Which release; ``None``: nothing serves.
        since: Epoch seconds at which every gateway had confirmed it; earlier blocks do not count.
        policy: Its success limit is what counts as well.
    """
    if back_to is None:
        return Recovery(
            verdict=Verdict.NO_DATA, requests=0, success_rate=None, reason="there is no release to go back to"
        )
    arms = [
        block.arms[back_to]
        for block in blocks
        if not block.gap and block.t0 >= since and back_to in block.arms
        if block.arms[back_to].role is not Role.SHADOW
    ]
    known = sum(arm.assigned - arm.unknown for arm in arms)
    requests = sum(arm.assigned for arm in arms)
    if known < RECOVERY_REQUESTS:
        why = f"{known} of {RECOVERY_REQUESTS} requests of known outcome since"
        return Recovery(verdict=Verdict.NO_DATA, requests=requests, success_rate=None, reason=why)
    rate = 1.0 - sum(arm.failed for arm in arms) / known
    well = rate >= policy.success_rate
    return Recovery(
        verdict=Verdict.PASS if well else Verdict.FAIL,
        requests=requests,
        success_rate=rate,
        reason=f"{rate:.2%} of {known} requests since ended well, {policy.success_rate:.2%} are asked for",
    )


def close(procedure: Procedure, *, actor: str, at: datetime, reason: str, note: str, unverified: bool = False) -> Entry:
    """The entry that closes a rollback.

    Args:
        procedure: Which.
        actor: Who closes it.
        at: When.
        reason: Why it was rolled back, where that was not said then; the reason on record otherwise.
        note: The root cause.
        unverified: Close it although recovery is not known to be well.

    Raises:
        RefusedError: ``rollback_closed``; ``rollback_open`` while traffic is not back; ``note_needed`` or
            ``reason_needed``; ``recovery_unknown`` when nobody knows that it helped and ``unverified`` is not said.
    """
    if procedure.closed:
        raise RefusedError(f"rollback {procedure.incident} is closed already", code="rollback_closed")
    if procedure.done(Step.ROLL_BACK) is None:
        raise RefusedError(
            f"rollback {procedure.incident} is still under way",
            code="rollback_open",
            hint="fairway rollout status shows what it waits for",
        )
    if not note.strip():
        raise RefusedError("closing needs the root cause", code="note_needed", hint="say it with --note")
    detected = procedure.done(Step.DETECT)
    told = reason.strip() or ("" if detected is None else str(detected.details.get("reason", "")).strip())
    if not told:
        raise RefusedError("closing needs the reason", code="reason_needed", hint="say it with --reason")
    verified = procedure.done(Step.VERIFY)
    verdict = Verdict.NO_DATA if verified is None else Verdict(verified.details["verdict"])
    if verdict is not Verdict.PASS and not unverified:
        raise RefusedError(
            f"that the rollback helped is not known: recovery is {verdict.value}",
            code="recovery_unknown",
            hint="wait for traffic (fairway rollback show), or close it with --unverified",
        )
    details = {"reason": told, "root_cause": note.strip(), "recovery": verdict.value}
    return Entry(incident=procedure.incident, step=Step.CLOSE, at=at, actor=actor, details=details)
