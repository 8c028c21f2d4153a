"""Who has which role, as ``fairway.yaml`` says it now: read again when the file changes, put on record, never dropped.

Whoever can write the file can also end the controller, and the next one reads it; so reading it again gives nobody
more than they had. Two things are not taken over from a changed file: one that cannot be read, and one in which nobody
is listed any more, since that would give every role to everybody. Both leave the roles that are in force.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from fairway.canonical import value_digest
from fairway.clock import Clock
from fairway.errors import FairwayError
from fairway.project.load import PROJECT_FILE
from fairway.rollout.people import People
from fairway.rollout.people_config import PeopleSection
from fairway.units import Digest, RouteId
from fairway.validate import validate
from fairway.yaml_file import read_yaml

log = logging.getLogger("fairway.controller")

RECORD_KIND = "people"
"""Kind of the audit record of whose roles are in force."""

_Stamp = tuple[int, int, int]


class AuditLog(Protocol):
    """The part of the ledger that keeps which roles were in force from when on."""

    def append_audit(self, kind: str, subject: str, actor: str, payload: Any, at: datetime) -> int:
        """Record it; returns its row."""
        ...

    def audit_log(self, after: int | None = 0, limit: int = 200, *, kind: str | None = None) -> Any:
        """The last rows of one kind, oldest first."""
        ...


def people_digest(people: People) -> Digest:
    """Which roles, as one word: the same for the same names in the same roles, in whatever order."""
    return value_digest({role.value: sorted(names) for role, names in people.roles.items() if names})


@dataclass(slots=True, kw_only=True)
class PeopleFile:
    """The roles in force on a route; asked at each tick, which costs one ``stat`` while the file stays as it is.

    Attributes:
        root: Folder of ``fairway.yaml``.
        in_force: Until the file says otherwise.
    """

    root: Path
    route: RouteId
    ledger: AuditLog
    clock: Clock
    in_force: People
    _read: _Stamp | None = None
    _seen: _Stamp | None = None
    _recorded: Digest | None = None
    _unrecorded: str = ""

    def __call__(self) -> People:
        """Who has which role now; while the ledger cannot record a change, those that are on record already."""
        try:
            self._look()
            self._unrecorded = ""
        except FairwayError as error:
            if error.message != self._unrecorded:
                log.warning("%s: the roles cannot be put on record, those in force stay: %s", self.route, error.message)
            self._unrecorded = error.message
        return self.in_force

    def _look(self) -> None:
        if self._recorded is None:
            self._record(self.in_force)
        stamp = self._stamp()
        settled, self._seen = stamp == self._seen, stamp
        if settled and stamp is not None and stamp != self._read:  # twice the same: nobody is writing it just now
            self._take(stamp)

    def _take(self, stamp: _Stamp) -> None:
        try:
            people = validate(
                PeopleSection, read_yaml(self.root / PROJECT_FILE, root=self.root), ("people",)
            ).to_people()
        except FairwayError as error:
            self._read = stamp
            log.error("%s: the roles in force stay, the changed file cannot be read: %s", self.route, error)
            return
        if self.in_force.listed and not people.listed:
            self._read = stamp
            log.error(
                "%s: the roles in force stay: %s lists nobody any more; restart to obey it", self.route, PROJECT_FILE
            )
            return
        if people_digest(people) != people_digest(self.in_force):
            self._record(people)
            log.warning("%s: other roles are in force, as %s says now", self.route, PROJECT_FILE)
        self._read, self.in_force = stamp, people

    def _record(self, people: People) -> None:
        """Put on record whose roles are in force, unless the last record says the same."""
        digest = people_digest(people)
        last = self.ledger.audit_log(None, 50, kind=RECORD_KIND)
        said = next((one.payload for one in reversed(last) if one.row.subject == str(self.route)), None)
        before = None if said is None else said["payload"].get("digest")
        if digest != before and (people.listed or before is not None):
            roles = {role.value: list(names) for role, names in people.roles.items() if names}
            wire = {"digest": digest, "before": before, "roles": roles}
            self.ledger.append_audit(RECORD_KIND, str(self.route), "controller", wire, self.clock.now())
        self._recorded = digest

    def _stamp(self) -> _Stamp | None:
        try:
            found = (self.root / PROJECT_FILE).stat()
        except OSError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns


def unlike(in_force: str, people: People) -> str:
    """What to say when a controller obeys other roles than the file has; empty when they are the same.

    Args:
        in_force: Digest of the roles the controller told of last; empty: none was told.
        people: As the file has them.
    """
    if not in_force or in_force == people_digest(people):
        return ""
    return (
        "the controller still obeys other roles than fairway.yaml says; it takes a changed file over within seconds,"
        " else its log says why, and a restart takes these"
    )


PeopleOf = Callable[[], People]
