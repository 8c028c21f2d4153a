"""The table in a file that its author changes: read again when it does, and taken only when it can be served."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from fairway.errors import FairwayError
from fairway.gateway.pulling import check_table
from fairway.traffic.fence import ZERO_FENCE, Fence
from fairway.traffic.table import RouteTable

log = logging.getLogger("fairway.gateway")

LOOK_SECONDS = 1.0
"""How often the file is looked at."""


def read_wire(path: Path) -> RouteTable:
    """The table in a file of the wire form.

    Raises:
        OSError: When it cannot be read.
        ValueError: When it is no table.
    """
    return RouteTable.from_wire(json.loads(path.read_bytes()))


class TableFile:
    """A file with a table.

    Attributes:
        error: Why what is in the file is not in force; ``None`` when it is.
    """

    def __init__(self, path: Path, read: Callable[[Path], RouteTable]) -> None:
        """Take the file, which is not read yet, and who can read it."""
        self._path = path
        self._read = read
        self._stamp = self._seen = self._stamped()
        self.error: str | None = None

    def begin(self, kept: RouteTable | None) -> RouteTable:
        """The table to begin with: the file's, or the one ``kept`` when that is of the same route and newer.

        Raises:
            FairwayError, OSError, ValueError: When there is no table in the file that can be served.
        """
        table = numbered(self._checked(), kept)
        if kept is None or kept.route != table.route or table.fence >= kept.fence:
            return table
        self.error = _too_old(table, kept)
        log.warning("%s: %s", self._path, self.error)
        return kept

    def look(self, known: RouteTable | None, *, now: bool = False) -> RouteTable | None:
        """A table to put in force from now on, if there is one.

        An editor may write a file in several steps, so a change is read when it has stood for one look.

        Args:
            known: In force.
            now: Read the file though nothing seems to have changed, or only just.
        """
        stamp = self._stamped()
        settled, self._seen = stamp == self._seen, stamp
        if not now and (stamp == self._stamp or not settled):
            return None
        self._stamp = stamp
        try:
            table = numbered(self._checked(), known)
            if known is not None and known.route == table.route and table != known and table.fence <= known.fence:
                raise ValueError(_too_old(table, known))
        except (FairwayError, OSError, ValueError) as error:
            self.error = str(error)
            log.error("the table in force stays: %s", _named(self._path, self.error))
            return None
        self.error = None
        if table == known:
            return None
        log.info("the table in %s is in force, as %s", self._path, table.fence)
        return table

    async def look_forever(self, known: Callable[[], RouteTable | None], take: Callable[[RouteTable], None]) -> None:
        """Look now and then, and give ``take`` each table to put in force."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            table = self.look(known())
            if table is not None:
                take(table)

    def _checked(self) -> RouteTable:
        table = self._read(self._path)
        check_table(table)
        return table

    def _stamped(self) -> tuple[int, ...]:
        try:
            found = self._path.stat()
        except OSError:
            return ()
        return found.st_mtime_ns, found.st_size, found.st_ino


def numbered(table: RouteTable, known: RouteTable | None) -> RouteTable:
    """A table without a fence as the next one after ``known``; one that says the same is that one."""
    if table.fence != ZERO_FENCE:
        return table
    if known is None or known.route != table.route:
        return replace(table, fence=Fence(term=0, seq=1))
    same = replace(table, fence=known.fence)
    return same if same == known else replace(table, fence=Fence(term=known.fence.term, seq=known.fence.seq + 1))


def _too_old(table: RouteTable, known: RouteTable) -> str:
    return f"its fence {table.fence} is not above {known.fence}, which is in force: raise it"


def _named(path: Path, text: str) -> str:
    return text if path.name in text else f"{path}: {text}"
