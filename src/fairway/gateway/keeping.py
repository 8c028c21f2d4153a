"""Keeps the table and the gateway's own decisions on disk, as soon as the disk takes them.

What is in force does not wait for it: a full disk must not keep a rollback, a trip or a pin from the workers.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

from fairway.gateway.state import GatewayState, LocalDecisions
from fairway.traffic.table import RouteTable

log = logging.getLogger("fairway.gateway")

RETRY_SECONDS = 0.5
"""How long until what the disk did not take is tried again."""


class Keeper:
    """What shall be on disk, and what is.

    Attributes:
        table: On disk; ``None``: none.
        error: Why the last attempt failed; ``None`` when everything is on disk.
    """

    def __init__(self, state: GatewayState, *, table: RouteTable | None, decisions: LocalDecisions) -> None:
        """Take what is on disk already."""
        self._state = state
        self.table = self._wanted_table = table
        self._decisions = self._wanted = decisions
        self.error: str | None = None

    def keep_table(self, table: RouteTable) -> bool:
        """Shall be on disk; whether everything is."""
        self._wanted_table = table
        return self.attempt()

    def keep_decisions(self, decisions: LocalDecisions) -> bool:
        """Shall be on disk; whether everything is."""
        self._wanted = decisions
        return self.attempt()

    @property
    def missing(self) -> tuple[str, ...]:
        """What is not on disk yet: ``table``, ``decisions``."""
        table = () if self._wanted_table is self.table else ("table",)
        return table if self._wanted == self._decisions else (*table, "decisions")

    def attempt(self) -> bool:
        """Write what is not on disk yet; whether everything is. Never raises."""
        found = [error for write in (self._write_table, self._write_decisions) if (error := _error_of(write))]
        error = found[0] if found else None
        if error and not self.error:
            log.error("not kept on disk, and tried again: %s", error)
        elif self.error and not error:
            log.warning("everything is on disk again")
        self.error = error
        return not self.missing

    def _write_table(self) -> None:
        table = self._wanted_table
        if table is not None and table is not self.table:
            self._state.keep_table(table)
            self.table = table

    def _write_decisions(self) -> None:
        wanted, known = self._wanted, self._decisions
        if "table" in self.missing and wanted.tripped is None:
            # The table it tripped under is still the one on disk: a restart must not serve that without the trip.
            wanted = replace(wanted, tripped=known.tripped, tripped_to=known.tripped_to)
        if wanted != known:
            self._state.keep_decisions(wanted)
            self._decisions = wanted


def _error_of(write: Callable[[], None]) -> str | None:
    try:
        write()
    except OSError as error:
        return str(error) or type(error).__name__
    return None
