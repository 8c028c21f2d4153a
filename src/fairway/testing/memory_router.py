"""Gateways in memory: they pull what is published, confirm it after a while, and keep it when the controller dies."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from fairway.clock import Clock
from fairway.errors import ConflictError
from fairway.traffic.fence import ZERO_FENCE, Fence
from fairway.traffic.port import RouterCapabilities, RouterObserved
from fairway.traffic.table import RouteTable
from fairway.units import RouteId


@dataclass(slots=True, kw_only=True)
class MemoryGateway:
    """One gateway: the table it serves, and when the next one will be in force."""

    name: str
    delay: float = 0.05
    alive: bool = True
    table: RouteTable | None = None
    history: list[RouteTable] = field(default_factory=list)
    _coming: list[tuple[float, RouteTable]] = field(default_factory=list)

    def offer(self, table: RouteTable, now: float) -> None:
        """Hear of a table."""
        self._coming.append((now + self.delay, table))

    def settle(self, now: float) -> None:
        """Take what is due; a lower fence than the one served is refused."""
        if not self.alive:
            return
        for due, table in list(self._coming):
            if due <= now:
                self._coming.remove((due, table))
                if self.table is None or table.fence > self.table.fence:
                    self.table = table
                    self.history.append(table)

    @property
    def confirmed(self) -> Fence:
        """Fence of the table it serves."""
        return ZERO_FENCE if self.table is None else self.table.fence


class MemoryRouter:
    """Implements :class:`fairway.traffic.port.TrafficRouter`.

    The gateways outlive the router: a controller that is killed takes its router with it and the next one starts with
    a new ``MemoryRouter`` over the same gateways.
    """

    capabilities = RouterCapabilities(sticky=True, rules=True, mirror=False, granularity=1, fence=True, read_back=True)

    def __init__(self, clock: Clock, gateways: list[MemoryGateway], *, mirror: bool = False) -> None:
        self.capabilities = replace(type(self).capabilities, mirror=mirror)
        self._clock = clock
        self._gateways = gateways
        self._published: dict[RouteId, RouteTable] = {}

    async def apply(self, table: RouteTable) -> None:
        """Publish a table.

        Raises:
            ConflictError: For a lower fence than the last published one.
        """
        last = self._published.get(table.route)
        if last is not None and table.fence < last.fence:
            raise ConflictError(f"fence {table.fence} is behind {last.fence}", code="stale_fence")
        self._published[table.route] = table
        for gateway in self._gateways:
            gateway.offer(table, self._clock.monotonic())

    async def observe(self, route: RouteId) -> RouterObserved:
        """What the living gateways have confirmed."""
        now = self._clock.monotonic()
        for gateway in self._gateways:
            gateway.settle(now)
        living = [gateway for gateway in self._gateways if gateway.alive]
        if not living:
            return RouterObserved(confirmed=None, gateways=0)
        return RouterObserved(confirmed=min(gateway.confirmed for gateway in living), gateways=len(living))
