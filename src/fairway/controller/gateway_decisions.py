"""Puts on record what gateways decided by themselves, and people at them, also while no controller was there."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

from fairway.errors import FairwayError, TransientError
from fairway.units import RouteId

log = logging.getLogger("fairway.controller")

RECORD_KIND = "gateway"
"""Kind of the audit record of a trip, a pin or a mask."""

ASK_SECONDS = 2.0

_LAST = 1_000
_KNOWN = ("did", "release", "to", "evidence", "fence")


class AuditLog(Protocol):
    """The part of the ledger they are kept in."""

    def append_audit(self, kind: str, subject: str, actor: str, payload: Any, at: datetime) -> int:
        """Record it; returns its row."""
        ...

    def audit_log(self, after: int | None = 0, limit: int = 200, *, kind: str | None = None) -> Any:
        """The last rows of one kind, oldest first."""
        ...


Ask = Callable[[], Awaitable[list[dict[str, Any]]]]
"""What a gateway has decided, oldest first.

Raises:
    TransientError: It cannot be asked now.
"""


@dataclass(slots=True, kw_only=True)
class GatewayDecisions:
    """Asks one gateway, and records each decision once, however often it is told.

    Attributes:
        route: Served by the gateway.
        ledger: Where they go.
        ask: The gateway.
    """

    route: RouteId
    ledger: AuditLog
    ask: Ask
    _recorded: set[str] | None = field(init=False, default=None)

    async def record(self) -> int:
        """Record what is new; how much that was.

        Raises:
            TransientError: Gateway or ledger cannot be reached; nothing is lost by that.
        """
        events = await self.ask()
        if not events:
            return 0
        if self._recorded is None:
            self._recorded = self._known()
        fresh = [event for event in events if event.get("id") not in self._recorded]
        for event in fresh:
            try:
                self._append(event)
            except (KeyError, TypeError, ValueError) as error:  # one of another version must not hold up the others
                log.error("%s: what its gateway decided cannot be read: %r", self.route, error)
            self._recorded.add(str(event.get("id")))
        return len(fresh)

    def _append(self, event: Mapping[str, Any]) -> None:
        at = datetime.fromtimestamp(float(event["at"]), UTC)
        payload = {"id": str(event["id"]), **{name: event.get(name) for name in _KNOWN}}
        self.ledger.append_audit(RECORD_KIND, str(self.route), str(event["actor"]), payload, at)
        log.warning("%s: on record: %s %s", self.route, event["did"], event.get("release"))

    def _known(self) -> set[str]:
        """What is on record already, also by a controller before this one."""
        entries = self.ledger.audit_log(None, _LAST, kind=RECORD_KIND)
        return {str(entry.payload["payload"]["id"]) for entry in entries if entry.payload is not None}

    async def record_safely(self) -> None:
        """The same; what cannot be done now is done the next time."""
        try:
            await self.record()
        except TransientError:
            self._recorded = None  # what was written, if anything, is not known
        except FairwayError as error:
            self._recorded = None
            log.warning("%s: what its gateway decided is not on record yet: %s", self.route, error.message)
