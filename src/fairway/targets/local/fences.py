"""The newest fence heard of for each route, on disk: it outlives the supervisor, as the arms do."""

from __future__ import annotations

import json
import logging
from pathlib import Path

from fairway.targets.local.records import write_json
from fairway.targets.port import newest_fence
from fairway.traffic.fence import Fence
from fairway.units import RouteId

log = logging.getLogger("fairway.targets")


class FenceFile:
    """Fences by route, in one small file; one process at a time writes it, who supervises the state folder.

    A file that cannot be read or written is told and begun anew: it guards against a controller that wakes late, and
    must not keep the one that leads from taking a bad release out of service.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, Fence] | None = None

    def follow(self, route: RouteId, fence: Fence) -> Fence:
        """Remember ``fence`` when it is newer; the newest."""
        known = self._read().get(str(route))
        if known is not None and fence <= known:
            return known
        self._remember(route, fence)
        return fence

    def take(self, route: RouteId, fence: Fence | None) -> None:
        """Let a verb under ``fence`` pass; one without passes always.

        Raises:
            ConflictError: ``stale_fence`` when a newer fence was heard of.
        """
        if fence is None:
            return
        known = self._read().get(str(route))
        if newest_fence(route, known, fence) != known:
            self._remember(route, fence)

    def _remember(self, route: RouteId, fence: Fence) -> None:
        known = self._read()
        before, known[str(route)] = known.get(str(route)), fence
        if before is not None and before.term == fence.term:
            return  # within a term there is one writer, whose verbs come in order
        try:
            write_json(self._path, {name: str(newest) for name, newest in sorted(known.items())})
        except OSError as error:
            log.warning("the fence of %s cannot be kept: %s", route, error)

    def _read(self) -> dict[str, Fence]:
        if self._known is None:
            try:
                wire = json.loads(self._path.read_text("utf-8"))
                self._known = {str(route): Fence.parse(fence) for route, fence in wire.items()}
            except FileNotFoundError:
                self._known = {}
            except (OSError, ValueError, AttributeError, TypeError) as error:
                log.warning("the fences of the arms cannot be read, they begin anew: %s", error)
                self._known = {}
        return self._known
