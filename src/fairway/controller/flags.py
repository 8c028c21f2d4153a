"""Feature flags as the ledger has them: read on from where they were read last, so that each tick costs one look."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from fairway.flags.file import write_flags
from fairway.flags.values import RECORD_KIND, FlagSpec, Setting, Standing, in_force, setting_from_wire, standing
from fairway.release.wire import parse_time
from fairway.traffic.flags import TableFlag
from fairway.units import EnvironmentName

log = logging.getLogger("fairway.controller")

_PAGE = 500


class AuditLog(Protocol):
    """The part of the ledger flags are kept in."""

    def audit_log(self, after: int | None = 0, limit: int = 200, *, kind: str | None = None) -> Any:
        """Rows of one kind with a number above ``after``, oldest first."""
        ...

    def last_row(self) -> int:
        """Number of the last row."""
        ...


@dataclass(slots=True)
class LedgerFlags:
    """What people set, read incrementally."""

    ledger: AuditLog
    _settings: dict[tuple[str, EnvironmentName, str], Setting] = field(default_factory=dict)
    _read_to: int = 0

    def read(self) -> Standing:
        """What stands now, by flag, environment and tenant."""
        last = self.ledger.last_row()
        if last < self._read_to:  # the ledger was restored from a backup: what it has forgotten never was
            self._settings, self._read_to = {}, 0
        while self._read_to < last:
            page = self.ledger.audit_log(self._read_to, _PAGE, kind=RECORD_KIND)
            self._settings = standing((*self._settings.values(), *settings_of(page)))
            self._read_to = page[-1].row.seq if len(page) == _PAGE else last
        return self._settings


def settings_of(entries: Any) -> list[Setting]:
    """The settings in audit entries, oldest first; what cannot be read is left out: the flag stays as it was."""
    found = []
    for entry in entries:
        body: Mapping[str, Any] | None = entry.payload
        if body is None:
            continue
        at = _time(body.get("at"))
        setting = None if at is None else setting_from_wire(body.get("payload"), actor=entry.row.actor, at=at)
        if setting is not None:
            found.append(setting)
    return found


def _time(text: object) -> datetime | None:
    try:
        return parse_time(str(text))
    except ValueError:
        return None


def flags_reader(
    ledger: AuditLog, specs: tuple[FlagSpec, ...], environment: EnvironmentName, *, tenant_header: str
) -> Callable[[], tuple[TableFlag, ...]]:
    """What a controller asks at each tick: the flags in force in an environment."""
    known = LedgerFlags(ledger)
    return lambda: in_force(specs, known.read(), environment, tenant_header=tenant_header)


def published(reader: Callable[[], tuple[TableFlag, ...]], path: Path) -> Callable[[], tuple[TableFlag, ...]]:
    """The same, and what is in force also in a file for agents that ask outside a request; a full disk costs the file.

    Args:
        reader: Asked at each tick.
        path: The file.
    """
    written: tuple[TableFlag, ...] | None = None

    def read() -> tuple[TableFlag, ...]:
        nonlocal written
        flags = reader()
        if flags != written or not path.exists():
            try:
                write_flags(path, flags)
                written = flags
            except OSError as error:
                log.warning("the flags in force cannot be written to %s: %s", path, error.strerror)
        return flags

    return read
