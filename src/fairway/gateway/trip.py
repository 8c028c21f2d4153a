"""The gateway's own trip: back to stable when the candidate's bad units pass the table's exposure limit.

It needs no controller. Bad units are counted against what stable's rate would have given, so that an outage that hits
both arms does not trip.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from fairway.observe.blocks import Batch
from fairway.traffic.table import Role, Trip
from fairway.units import UnitHash


class _Units:
    """Units, by the block they were seen in."""

    __slots__ = ("_all", "blocks")

    def __init__(self) -> None:
        self.blocks: dict[float, set[UnitHash]] = {}
        self._all: set[UnitHash] = set()

    def see(self, t0: float, units: Collection[UnitHash]) -> None:
        block = self.blocks.get(t0)
        if block is None:
            block = self.blocks[t0] = set()
        block.update(units)
        self._all.update(units)

    def forget(self, before: float) -> None:
        old = [t0 for t0 in self.blocks if t0 < before]
        for t0 in old:
            del self.blocks[t0]
        if old:
            self._all = set().union(*self.blocks.values())  # once a block, not with each batch: there may be millions

    def __len__(self) -> int:
        return len(self._all)


@dataclass(slots=True)
class _Seen:
    """Units of one role."""

    active: _Units = field(default_factory=_Units)
    failed: _Units = field(default_factory=_Units)

    def forget(self, before: float) -> None:
        self.active.forget(before)
        self.failed.forget(before)

    def counts(self) -> tuple[int, int]:
        return len(self.active), len(self.failed)


@dataclass(frozen=True, slots=True, kw_only=True)
class TripFinding:
    """What the window shows.

    Attributes:
        units, bad: The candidate's units and those of them with a failed request.
        stable_units, stable_bad: The same of stable.
        excess: Bad units of the candidate beyond stable's rate.
        tripped: Whether that passes the limit.
    """

    units: int
    bad: int
    stable_units: int
    stable_bad: int
    excess: float
    tripped: bool


class TripWindow:
    """Bad units over the last seconds, for one candidate."""

    def __init__(self, *, since: float = 0.0) -> None:
        """Count what began at or after ``since``, epoch seconds."""
        self._since = since
        self._roles = {Role.STABLE: _Seen(), Role.CANDIDATE: _Seen()}

    def add(self, batch: Batch, candidate: str) -> None:
        """Count a batch's marks; only those of ``candidate`` count as the candidate's."""
        for increment in batch.increments:
            seen = self._roles.get(increment.role)
            if (
                increment.t0 < self._since
                or seen is None
                or (increment.role is Role.CANDIDATE and increment.release != candidate)
            ):
                continue
            for kind, kept in (("active", seen.active), ("failed", seen.failed)):
                units = increment.marks.get(kind)
                if units:
                    kept.see(increment.t0, units)

    def find(self, trip: Trip, now: float) -> TripFinding:
        """Judge the window that ends ``now`` (epoch seconds)."""
        for seen in self._roles.values():
            seen.forget(now - trip.window_seconds)
        units, bad = self._roles[Role.CANDIDATE].counts()
        stable_units, stable_bad = self._roles[Role.STABLE].counts()
        expected = units * stable_bad / stable_units if stable_units else 0.0
        excess = bad - expected
        return TripFinding(
            units=units,
            bad=bad,
            stable_units=stable_units,
            stable_bad=stable_bad,
            excess=excess,
            tripped=units >= trip.min_units and excess > trip.max_excess_bad_units,
        )

    def to_wire(self) -> dict[str, Any]:
        """What the gateway process that takes over goes on with."""
        roles = {
            role.value: {
                kind: [[t0, sorted(units)] for t0, units in kept.blocks.items()]
                for kind, kept in (("active", seen.active), ("failed", seen.failed))
            }
            for role, seen in self._roles.items()
        }
        return {"since": self._since, "roles": roles}

    @classmethod
    def from_wire(cls, wire: dict[str, Any]) -> TripWindow:
        """The window another process had."""
        window = cls(since=float(wire["since"]))
        for role, seen in window._roles.items():
            for kind, kept in (("active", seen.active), ("failed", seen.failed)):
                for t0, units in wire["roles"][role.value][kind]:
                    kept.see(float(t0), tuple(map(UnitHash, units)))
        return window
