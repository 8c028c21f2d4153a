"""Putting the agent's database back takes more than one person: asked for, approved, done once, all on record.

What is written here is an event each in the audit chain; what a request has come to is worked out from them. A request
ends by its expiry, or by having been carried out: it is never carried out twice. One whose command could not even be
started was not carried out.
"""

from __future__ import annotations

import fcntl
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from fairway.bootstrap import SERVING_ENVIRONMENT, Workspace
from fairway.controller.policy import plan_of, released_plan
from fairway.errors import ConflictError, FairwayError, NotFoundError, RefusedError, UserError
from fairway.observe.fold import Block
from fairway.recovery.database import DatabaseAct, acts, backup_to_restore, declared, restore, without_unknown
from fairway.recovery.options import route_state
from fairway.release.wire import parse_time
from fairway.rollout.approvals import asks
from fairway.rollout.people import Quorum, Role, same_person
from fairway.rollout.roles import Right, why_not
from fairway.units import format_duration

REQUEST_KIND = "database_request"
PREFIX = "restore-"
"""How the name of a request begins, so that ``fairway rollout approve`` knows it from a release."""
LASTS = timedelta(hours=24)
"""What is lost grows while nobody decides: after this it is asked for anew."""
_KNOWN = 1000
_LONGEST_BLOCK = 3600.0
"""Seconds; further back than this nothing is looked for that reaches over the instant of a backup."""
_NOTHING_RAN = frozenset({"command_not_found", "database_unknown", "no_database_commands"})
"""Refusals that come before the command does; any other error may have come after."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """What putting a backup back loses, as far as it can be known: what was written since.

    Attributes:
        since: When the backup was made; ``None``: it is not on record here.
        requests: Requests answered since, by the gateways' telemetry; each may have written. ``None``: what is on
            record has a hole, so that nobody knows.
        at_least: Those that are on record, hole or not.
    """

    since: datetime | None
    requests: int | None
    at_least: int = 0

    def words(self, now: datetime) -> str:
        """For people."""
        if self.since is None:
            return "everything written since that backup was made, and nobody knows when that was"
        age = format_duration(max(0.0, (now - self.since).total_seconds()))
        return (
            f"everything written since {self.since:%Y-%m-%d %H:%M} UTC, {age} ago: {self._count()} were answered since"
        )

    def _count(self) -> str:
        if self.requests is not None:
            return f"{self.requests:,} requests"
        return f"at least {self.at_least:,} requests" if self.at_least else "an unknown number of requests"


@dataclass(frozen=True, slots=True, kw_only=True)
class Yes:
    """One approval."""

    actor: str
    at: datetime
    roles: tuple[Role, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreRequest:
    """Somebody wants a backup put back.

    Attributes:
        id: Its name, ``restore-…``.
        quorum: How many others have to say yes, of which roles, and for how long that counts; 0 where nobody is listed
            and the policy of what serves asks for no approval: then who asks is all there is.
        given: Who did, oldest first.
        done: It was begun, so that it is spent; unless it is on record that nothing ran.
    """

    id: str
    at: datetime
    actor: str
    reason: str
    backup: str
    quorum: Quorum
    needed: int
    given: tuple[Yes, ...] = ()
    done: bool = False

    @property
    def expires(self) -> datetime:
        """When it is void."""
        return self.at + LASTS

    def counting(self, now: datetime) -> tuple[str, ...]:
        """Who has said yes, and still counts: different people, each with a role, none of them who asked."""
        names: list[str] = []
        for yes in self.given:
            until = None if self.quorum.expires is None else yes.at + timedelta(seconds=self.quorum.expires)
            fits = not self.quorum.roles or bool(set(self.quorum.roles).intersection(yes.roles))
            fresh = until is None or now < until
            known = any(same_person(yes.actor, name) for name in (*names, self.actor))
            if fits and fresh and not known:
                names.append(yes.actor)
        return tuple(names)

    def open(self, now: datetime) -> bool:
        """Whether it may still be approved and carried out."""
        return not self.done and now < self.expires

    def to_wire(self, now: datetime, lost: Lost) -> dict[str, Any]:
        """A JSON-able value."""
        given = self.counting(now)
        return {
            "request": self.id,
            "by": self.actor,
            "at": self.at.isoformat(),
            "reason": self.reason,
            "backup": self.backup,
            "needed": self.needed,
            "given": list(given),
            "missing": max(0, self.needed - len(given)),
            "roles": [role.value for role in self.quorum.roles],
            "expires": self.expires.isoformat(),
            "lost": {
                "since": None if lost.since is None else lost.since.isoformat(),
                "requests": lost.requests,
                "at_least": lost.at_least,
                "text": lost.words(now),
            },
        }


def requests_of(workspace: Workspace) -> tuple[RestoreRequest, ...]:
    """Requests on record, oldest first."""
    found: dict[str, RestoreRequest] = {}
    for entry in workspace.ledger.audit_log(None, _KNOWN, kind=REQUEST_KIND):
        body: Mapping[str, Any] | None = entry.payload
        if body is None:
            continue
        wire, at = body["payload"], parse_time(body["at"])
        if wire["what"] == "asked":
            found[wire["id"]] = _asked(wire, at, entry.row.actor)
        elif wire["id"] in found:
            known = found[wire["id"]]
            if wire["what"] == "approved":
                yes = Yes(actor=entry.row.actor, at=at, roles=tuple(Role(role) for role in wire["roles"]))
                found[wire["id"]] = replace(known, given=(*known.given, yes))
            else:
                found[wire["id"]] = replace(known, done=wire["what"] != "not_begun")
    return tuple(found.values())


def _asked(wire: Mapping[str, Any], at: datetime, actor: str) -> RestoreRequest:
    quorum = Quorum(
        count=max(1, wire["needed"]), roles=tuple(Role(role) for role in wire["roles"]), expires=wire["counts_for"]
    )
    return RestoreRequest(
        id=wire["id"], at=at, actor=actor, reason=wire["reason"], backup=wire["backup"], quorum=quorum,
        needed=wire["needed"],
    )  # fmt: skip


def open_request(workspace: Workspace) -> RestoreRequest | None:
    """The newest request that may still be carried out."""
    now = workspace.clock.now()
    return next((one for one in reversed(requests_of(workspace)) if one.open(now)), None)


def ask_restore(workspace: Workspace, name: str | None, *, actor: str, reason: str) -> RestoreRequest:
    """Record that somebody wants a backup put back; nothing is done by it.

    Args:
        workspace: The open project.
        name: Of the backup; ``None``: the last that went well.
        actor: Who asks.
        reason: Why.

    Raises:
        RefusedError: ``no_database_commands``, or ``restore_asked`` while another request is open.
        NotFoundError: ``no_backup``.
    """
    declared(workspace)
    backup = backup_to_restore(workspace, name)
    with _alone(workspace):
        known = open_request(workspace)
        if known is not None:
            raise RefusedError(
                f"{known.actor} asked for {known.backup} already: {known.id}",
                code="restore_asked",
                hint=f"carry it out with --yes once it is approved; it is void at {known.expires:%Y-%m-%d %H:%M} UTC",
            )
        quorum, needed = quorum_of(workspace)
        number = f"{PREFIX}{uuid.uuid4().hex[:8]}"
        lost = lost_since(workspace, backup).words(workspace.clock.now())
        wire = {
            "what": "asked", "id": number, "backup": backup, "reason": reason, "needed": needed,
            "roles": [role.value for role in quorum.roles], "counts_for": quorum.expires, "lost": lost,
        }  # fmt: skip
        _record(workspace, number, actor, wire)
    return next(one for one in requests_of(workspace) if one.id == number)


def quorum_of(workspace: Workspace) -> tuple[Quorum, int]:
    """Whose yes it takes, and how many: as the policy of what serves asks before an exposure, else one other person."""
    state = route_state(workspace)
    try:
        if state is None or state.stable is None:
            plan = plan_of(workspace.project, SERVING_ENVIRONMENT)
        else:
            manifest = workspace.ledger.find_release(workspace.project.name, state.stable.release).manifest
            plan = released_plan(manifest, workspace.store, SERVING_ENVIRONMENT)
    except (FairwayError, OSError):
        return Quorum(), 1  # what it asks is not known: never nobody
    if asks(plan):
        return plan.quorum, plan.quorum.count
    return Quorum(), int(workspace.project.people.to_people().listed)


def approve_restore(workspace: Workspace, number: str, *, actor: str) -> RestoreRequest:
    """One yes to exactly this request.

    Raises:
        NotFoundError: ``no_restore_request``.
        RefusedError: ``author_approves`` to who asked, ``not_an_approver`` to who lacks the role, ``restore_over``.
    """
    with _alone(workspace):
        request = _find(workspace, number)
        if not request.open(workspace.clock.now()):
            raise RefusedError(f"{request.id} is over", code="restore_over", hint="ask for it anew")
        if same_person(actor, request.actor):
            raise RefusedError(
                f"{actor} asked for it; somebody else approves", code="author_approves", hint="ask another person"
            )
        people = workspace.project.people.to_people()
        roles = people.roles_of(actor)
        kind = workspace.project.environment(SERVING_ENVIRONMENT).kind
        wrong = why_not(actor, Right.APPROVE, people=people, kind=kind)
        if request.quorum.roles:
            named = ", ".join(role.value for role in request.quorum.roles)
            fits = set(request.quorum.roles).intersection(roles)
            wrong = "" if fits else f"the policy asks for the approval of {named}, which {actor} is not"
        if wrong:
            raise RefusedError(wrong, code="not_an_approver", hint="fairway people shows who has which role")
        lost = lost_since(workspace, request.backup).words(workspace.clock.now())
        wire = {"what": "approved", "id": request.id, "roles": [role.value for role in roles], "lost": lost}
        _record(workspace, request.id, actor, wire)
    return _find(workspace, request.id)


async def carry_out(workspace: Workspace, request: RestoreRequest, *, actor: str, again: bool = False) -> DatabaseAct:
    """Put the backup of an approved request back, once.

    That it was begun is on record before anything happens: killed at any instant, it is not begun again by itself. A
    command that could not be started has spent nothing: that is on record too, and the request is open again.

    Args:
        workspace: The open project.
        request: Which one.
        actor: Who carries it out.
        again: An earlier act has no known end, and the person has looked.

    Raises:
        RefusedError: ``database_unapproved`` without its quorum, ``restore_over`` when it is spent or void, and as
            :func:`fairway.recovery.database.restore`.
    """
    with _alone(workspace):
        request, now = _find(workspace, request.id), workspace.clock.now()
        if not request.open(now):
            raise RefusedError(f"{request.id} is over", code="restore_over", hint="ask for it anew")
        missing = request.needed - len(request.counting(now))
        if missing > 0:
            raise RefusedError(
                f"{request.id} waits for {missing} of {request.needed} approvals",
                code="database_unapproved",
                hint=f"somebody else says: fairway rollout approve {request.id}",
            )
        declared(workspace)
        without_unknown(workspace, again=again)
        _record(workspace, request.id, actor, {"what": "begun", "id": request.id})
    reason = f"{request.id}: {request.reason}"
    try:
        return await restore(workspace, request.backup, actor=actor, reason=reason, again=again)
    except UserError as error:
        if error.code in _NOTHING_RAN:
            _record(workspace, request.id, actor, {"what": "not_begun", "id": request.id, "why": error.code})
        raise


def lost_since(workspace: Workspace, backup: str) -> Lost:
    """What a backup does not have."""
    made = [act for act in acts(workspace) if act.verb == "backup" and act.good and act.backup == backup]
    if not made:
        return Lost(since=None, requests=None)
    since, now = made[-1].at, workspace.clock.now()
    wires = workspace.ledger.blocks(workspace.route, since=since.timestamp() - _LONGEST_BLOCK)
    return lost_by([Block.from_wire(wire) for wire in wires], since=since, now=now)


def lost_by(blocks: Sequence[Block], *, since: datetime, now: datetime) -> Lost:
    """What was answered since a backup, by the recorded blocks: a number only where they leave nothing out.

    What is not on record is not zero: blocks are only recorded once nothing more is known about them, and not at all
    while no controller runs. A block in which the backup was made counts for neither side.

    Args:
        blocks: In order of time; earlier ones do no harm.
        since: When the backup was made.
        now: The present.
    """
    known, whole, counted = since.timestamp(), True, 0
    for block in blocks:
        ends = block.t0 + block.seconds
        if ends <= since.timestamp():
            continue
        answered = sum(arm.finished for arm in block.arms.values())
        split = block.t0 < since.timestamp()
        counted += 0 if split else answered
        whole = whole and block.t0 <= known and not block.gap and not (split and answered)
        known = max(known, ends)
    whole = whole and known >= now.timestamp()
    return Lost(since=since, requests=counted if whole else None, at_least=counted)


def _find(workspace: Workspace, number: str) -> RestoreRequest:
    found = next((one for one in requests_of(workspace) if one.id == number), None)
    if found is None:
        raise NotFoundError(
            f"nobody asked for {number}",
            code="no_restore_request",
            hint="fairway rollback --database shows what is asked",
        )
    return found


@contextmanager
def _alone(workspace: Workspace) -> Iterator[None]:
    """Nobody else decides about the database meanwhile: two who carry out one request would restore twice."""
    path = workspace.state.root / "database.lock"
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConflictError(
                "somebody else is deciding about the database", code="database_busy", hint="ask again in a moment"
            ) from None
        yield


def _record(workspace: Workspace, number: str, actor: str, wire: Mapping[str, Any]) -> None:
    workspace.ledger.append_audit(REQUEST_KIND, number, actor, dict(wire), workspace.clock.now())
