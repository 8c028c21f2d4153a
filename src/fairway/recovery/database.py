"""The agent's own database: saved and put back by a person's verb, never by automation.

Each is done *once*: the intent is recorded before, what came of it after. An intent without an end means that nobody
knows whether it happened; it is never repeated by itself.
"""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from fairway.bootstrap import Workspace
from fairway.errors import NotFoundError, RefusedError, UserError
from fairway.incident.config import DatabaseSection
from fairway.release.wire import parse_time
from fairway.stages.process import run_command

RECORD_KIND = "database"
_BACKUP_WORD = "{backup}"
_NOT_FOUND = 127
"""Exit code of a command that is not there, as a shell says it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseAct:
    """One backup or restore on record.

    Attributes:
        verb: ``backup`` or ``restore``.
        backup: Its name; ``""`` for a backup that has not ended.
        code: Exit code; ``None`` while it runs, or when its time was up.
        ended: Whether its end is on record.
    """

    id: str
    verb: str
    at: datetime
    actor: str
    reason: str
    backup: str
    code: int | None
    ended: bool

    @property
    def good(self) -> bool:
        """Whether it is known to have gone well."""
        return self.ended and self.code == 0

    def to_wire(self) -> dict[str, Any]:
        """A JSON-able value."""
        return {
            "id": self.id,
            "verb": self.verb,
            "at": self.at.isoformat(),
            "actor": self.actor,
            "reason": self.reason,
            "backup": self.backup,
            "exit_code": self.code,
            "ended": self.ended,
            "good": self.good,
        }


def declared(workspace: Workspace) -> DatabaseSection:
    """The project's commands.

    Raises:
        RefusedError: ``no_database_commands`` when it declares none.
    """
    section = workspace.project.rollback.database
    if not isinstance(section, DatabaseSection):
        raise RefusedError(
            "the project does not say how its database is saved and put back",
            code="no_database_commands",
            hint="declare rollback.database with backup: and restore: in fairway.yaml",
        )
    return section


def acts(workspace: Workspace) -> tuple[DatabaseAct, ...]:
    """Backups and restores on record, oldest first."""
    found: dict[str, DatabaseAct] = {}
    for entry in workspace.ledger.audit_log(None, 1000, kind=RECORD_KIND):
        body: Mapping[str, Any] | None = entry.payload
        if body is None:
            continue
        wire = body["payload"]
        found[wire["id"]] = DatabaseAct(
            id=wire["id"],
            verb=wire["verb"],
            at=parse_time(body["at"]) if wire["id"] not in found else found[wire["id"]].at,
            actor=entry.row.actor,
            reason=wire["reason"],
            backup=wire["backup"],
            code=wire["code"],
            ended=wire["ended"],
        )
    return tuple(found.values())


def backup_to_restore(workspace: Workspace, name: str | None) -> str:
    """The name of the backup to put back: the one named, else the last that went well.

    Raises:
        NotFoundError: ``no_backup`` when there is none.
    """
    good = [one for one in acts(workspace) if one.verb == "backup" and one.good and one.backup]
    if name is not None:
        return name
    if not good:
        raise NotFoundError(
            "no backup is on record",
            code="no_backup",
            hint="name one with --backup, or make one: fairway rollback backup",
        )
    return good[-1].backup


async def back_up(workspace: Workspace, *, actor: str, reason: str, again: bool = False) -> DatabaseAct:
    """Run the project's backup command; the last line it prints is the backup's name.

    Args:
        workspace: The open project.
        actor: Who asks.
        reason: Why.
        again: Go on although an earlier act has no end on record: the person has looked.

    Raises:
        RefusedError: ``no_database_commands``; ``database_unknown`` while an earlier act has no end on record.
    """
    section = declared(workspace)
    return await _once(workspace, "backup", section.backup, section, "", actor, reason, again=again)


async def restore(workspace: Workspace, name: str, *, actor: str, reason: str, again: bool = False) -> DatabaseAct:
    """Put a backup back.

    Args:
        workspace: The open project.
        name: Of the backup.
        actor: Who asks.
        reason: Why.
        again: Go on although an earlier act has no end on record: the person has looked.

    Raises:
        RefusedError: As :func:`back_up`.
    """
    section = declared(workspace)
    command = tuple(word.replace(_BACKUP_WORD, name) for word in section.restore)
    return await _once(workspace, "restore", command, section, name, actor, reason, again=again)


def without_unknown(workspace: Workspace, *, again: bool) -> tuple[DatabaseAct, ...]:
    """Acts without an end on record; none, unless a person has looked.

    Raises:
        RefusedError: ``database_unknown`` when there are some and nobody has.
    """
    unknown = tuple(one for one in acts(workspace) if not one.ended)
    if unknown and not again:
        last = unknown[-1]
        raise RefusedError(
            f"nobody knows how the {last.verb} of {last.at:%Y-%m-%d %H:%M} UTC ended",
            code="database_unknown",
            hint="look at the database, then say --again",
        )
    return unknown


async def _once(
    workspace: Workspace,
    verb: str,
    command: tuple[str, ...],
    section: DatabaseSection,
    name: str,
    actor: str,
    reason: str,
    *,
    again: bool,
) -> DatabaseAct:
    for one in without_unknown(workspace, again=again):
        _record(workspace, one.verb, actor, {**_wire(one), "ended": True})  # a person has looked
    number = uuid.uuid4().hex[:12]
    wire = {"id": number, "verb": verb, "reason": reason, "backup": name, "code": None, "ended": False}
    _record(workspace, verb, actor, wire)
    with tempfile.TemporaryDirectory(prefix="fairway-database-") as folder:
        try:
            done = await run_command(
                command,
                cwd=workspace.project.root,
                environment=dict(os.environ),
                output=Path(folder) / "output.log",
                limit=section.timeout,
            )
        except UserError:
            _record(workspace, verb, actor, {**wire, "code": _NOT_FOUND, "ended": True})  # it never began
            raise
        words = done.text().strip().splitlines()
    if verb == "backup" and done.code == 0:
        wire["backup"] = words[-1].strip() if words else ""
    ended = {**wire, "code": done.code, "ended": done.code is not None, "last_words": "\n".join(words[-5:])}
    _record(workspace, verb, actor, ended)
    return next(one for one in acts(workspace) if one.id == number)


def _record(workspace: Workspace, verb: str, actor: str, wire: Mapping[str, Any]) -> None:
    workspace.ledger.append_audit(RECORD_KIND, verb, actor, dict(wire), workspace.clock.now())


def _wire(act: DatabaseAct) -> dict[str, Any]:
    return {"id": act.id, "verb": act.verb, "reason": act.reason, "backup": act.backup, "code": act.code}
