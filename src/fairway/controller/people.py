"""Who has which role, as ``fairway.yaml`` says it now: read again when the file changes, put on record, never dropped.

Whoever can write the file can also end the controller, and the next one reads it; so reading it again gives nobody
more than they had. Three things are not taken over from a changed file: one that cannot be read; one in which nobody is
listed any more, since that would give every role to everybody; and one that came with another commit, since whoever
checks out an older release to look at it does not mean to change who may do what in production. All leave the roles
that are in force.
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
from fairway.controller.checked_out import CheckedOut
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
        commits: Which commit the file is of.
    """

    root: Path
    route: RouteId
    ledger: AuditLog
    clock: Clock
    in_force: People
    commits: CheckedOut
    _read: _Stamp | None = None
    _obeyed: _Stamp | None = None
    _commit: str | None = None
    _moves: object = None
    _seen: _Stamp | None = None
    _recorded: Digest | None = None
    _unrecorded: str = ""

    def __post_init__(self) -> None:
        """The commit the roles in force are of is the one that is checked out now."""
        try:
            self._commit, self._moves = self.commits.head(), self.commits.moves()
        except FairwayError as error:
            log.warning("%s: which commit %s is of is not known: %s", self.route, PROJECT_FILE, error.message)

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
        if stamp is None or stamp == self._read:
            self._follow(stamp)
        elif self._being_checked_out():
            self._seen = None
        elif settled:  # twice the same: nobody is writing it just now
            self._take(stamp)

    def _being_checked_out(self) -> bool:
        try:
            return self.commits.busy()
        except FairwayError:
            return False  # what git does not say is asked again before other roles are obeyed

    def _follow(self, stamp: _Stamp | None) -> None:
        """Keep up with commits made while the file stays as it is obeyed: its roles are theirs too."""
        if stamp is None or stamp != self._obeyed or not self._commit:
            return
        try:
            moves = self.commits.moves()
            if moves != self._moves:
                head, self._moves = self.commits.head(), moves
                if head and self.commits.descends(head, self._commit):
                    self._commit = head
        except FairwayError as error:
            log.debug("%s: git does not say what is checked out: %s", self.route, error.message)

    def _of_another_commit(self) -> str:
        """Why a changed file is not obeyed: what is checked out does not come after what is; empty when it does."""
        try:
            head = self.commits.head()
            if self._commit == "" or (head and self._commit and self.commits.descends(head, self._commit)):
                self._commit, self._moves = head, self.commits.moves()
                return ""
        except FairwayError as error:
            return f"which commit is checked out is not known ({error.message}); restart the controller to obey it"
        if not self._commit:
            return "which commit they are of is not known; restart the controller to obey the file"
        return (
            f"it changed with commit {head[:12] or '(none)'}, which does not come after {self._commit[:12]};"
            " check that out again, or restart the controller to obey the file"
        )

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
            if other := self._of_another_commit():
                self._read = stamp
                log.error("%s: the roles in force stay, not those %s has now: %s", self.route, PROJECT_FILE, other)
                return
            self._record(people)
            log.warning("%s: other roles are in force, as %s says now", self.route, PROJECT_FILE)
        self._read = self._obeyed = stamp
        self.in_force = people

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
        " but not one that came with another commit: check out again what it ran on, or restart it to take these;"
        " its log says why"
    )


PeopleOf = Callable[[], People]
