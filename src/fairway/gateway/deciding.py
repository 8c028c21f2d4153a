"""What a gateway decides by itself, and people decide at it: pin, mask, trip; in force at once, then kept and noted."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Mapping
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from fairway.gateway.chronicle import UNNAMED, Chronicle, changes
from fairway.gateway.overruling import masked_in, overruled, pinned_in, tripped_in, unmasked_in
from fairway.gateway.trip import TripWindow
from fairway.observe.blocks import Batch
from fairway.traffic.fence import ZERO_FENCE
from fairway.traffic.table import Role, RouteTable
from fairway.units import AgentName, Digest, EnvironmentName, RouteId

if TYPE_CHECKING:
    from fairway.gateway.keeping import Keeper
    from fairway.gateway.renewing import Renewal
    from fairway.gateway.state import LocalDecisions

log = logging.getLogger("fairway.gateway")

NO_TABLE = RouteTable(
    route=RouteId(agent=AgentName("none"), environment=EnvironmentName("none")), fence=ZERO_FENCE, arms=()
)
"""Served before there is any table: every request is told that no release is serving."""


class Deciding:
    """The deciding part of a gateway."""

    table: RouteTable | None
    decisions: LocalDecisions
    chronicle: Chronicle
    keeper: Keeper
    renewal: Renewal
    _trip: TripWindow

    def _push(self) -> None:
        """Tell the workers what is in force."""
        raise NotImplementedError

    def applied(self, within: float) -> Awaitable[bool]:
        """Wait until every worker has what was pushed last; whether they have."""
        raise NotImplementedError

    async def pin_stable(self, pinned: bool, *, actor: str = UNNAMED) -> bool:
        """Send everything to what is stable now, or no longer; whether every worker does so now."""
        if pinned:
            self._decide(pinned_in(self.table, self.decisions), actor=actor)
        else:
            if self.decisions.pinned:
                self._trip = TripWindow(since=time.time())  # what the pin moved did no harm
            self._decide(replace(self.decisions, pinned=False, pinned_to=None), actor=actor)
        return await self.applied(2.0)

    async def clear_trip(self, *, actor: str = UNNAMED) -> bool:
        """A person says that the release that tripped may serve again; whether every worker knows now."""
        if self.decisions.tripped is not None:
            self._trip = TripWindow(since=time.time())
        self._decide(replace(self.decisions, tripped=None, tripped_to=None), actor=actor)
        return await self.applied(2.0)

    async def mask(self, release: Digest, *, on: bool, actor: str = UNNAMED) -> bool:
        """A person keeps a release from traffic, or no longer; whether every worker does so now.

        Raises:
            ConflictError: When it is what serves as stable, or too many are masked.
        """
        if on:
            self._decide(masked_in(self.table or NO_TABLE, self.decisions, release), actor=actor)
        else:
            if release in self.decisions.masked:
                self._trip = TripWindow(since=time.time())  # what the mask moved did no harm
            self._decide(unmasked_in(self.decisions, release), actor=actor)
        return await self.applied(2.0)

    def withheld(self) -> frozenset[Digest]:
        """Releases this gateway keeps from traffic by itself."""
        return overruled(self.table or NO_TABLE, self.decisions)[1]

    def _decide(
        self, decisions: LocalDecisions, *, actor: str | None, evidence: Mapping[str, Any] | None = None
    ) -> None:
        """Put a decision in force, then keep it on disk as soon as that takes it; ``actor``: ``None`` for itself."""
        before, self.decisions = self.decisions, decisions
        self._push()
        self.keeper.keep_decisions(decisions)
        self._note(before, actor=actor, evidence=evidence)

    def _note(
        self,
        before: LocalDecisions,
        *,
        actor: str | None,
        evidence: Mapping[str, Any] | None = None,
        table: bool = False,
    ) -> None:
        fence = str(ZERO_FENCE if self.table is None else self.table.fence)
        found = changes(before, self.decisions, by_table=table)
        self.chronicle.note(found, actor=actor, evidence=evidence, fence=fence)

    def _watch(self, batch: Batch) -> None:
        """Trip to stable when the candidate has done more harm than the table allows."""
        table, decisions = self.table, self.decisions
        candidate = None if table is None else table.arm(Role.CANDIDATE)
        if table is None or table.trip is None or candidate is None or candidate.release in table.masks:
            return
        if decisions.tripped is not None or decisions.pinned or self.renewal.yielding:
            return
        if candidate.release in decisions.masked:
            return  # a person has kept it from traffic: what it does not serve is no harm it did
        self._trip.add(batch, candidate.release)
        finding = self._trip.find(table.trip, time.time())
        if finding.tripped:
            log.error("tripped to stable: %d of the candidate's %d units were bad", finding.bad, finding.units)
            evidence = {**asdict(finding), "window_seconds": table.trip.window_seconds}
            self._decide(tripped_in(table, decisions, candidate), actor=None, evidence=evidence)
