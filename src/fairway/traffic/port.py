"""What a rollout needs from whatever moves traffic."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from fairway.traffic.fence import Fence
from fairway.traffic.table import RouteTable
from fairway.units import Digest, RouteId


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterCapabilities:
    """What a router can do; a plan that needs a missing one is refused with the reason."""

    sticky: bool
    rules: bool
    mirror: bool
    granularity: int
    """Smallest share it can set, in parts of 100,000."""
    fence: bool
    read_back: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterObserved:
    """What the data plane says it serves.

    Attributes:
        confirmed: The lowest fence over the live gateways (and over each one's workers); ``None`` when no gateway
            has ever answered.
        gateways: How many are alive.
        tripped: Releases that live gateways took traffic away from by themselves, sorted.
        masked: Releases a person keeps from traffic on a live gateway, sorted.
        left_out: Releases that a live gateway serves without one of their endpoints, because of how that fared, sorted.
        pinned: Release a person pinned traffic to on a live gateway; ``None`` when nobody did.
        confirmed_by: What each live gateway has confirmed, by name; for people, no decision looks at it.
    """

    confirmed: Fence | None
    gateways: int
    tripped: tuple[Digest, ...] = ()
    pinned: Digest | None = None
    masked: tuple[Digest, ...] = ()
    left_out: tuple[Digest, ...] = ()
    confirmed_by: tuple[tuple[str, Fence], ...] = field(default=(), compare=False)


class TrafficRouter(Protocol):
    """Moves traffic by table; applying is never "done" until observed."""

    @property
    def capabilities(self) -> RouterCapabilities:
        """What this router can do."""
        ...

    async def apply(self, table: RouteTable) -> None:
        """Publish a table; a lower fence than the last published one is refused with :class:`ConflictError`."""
        ...

    async def observe(self, route: RouteId) -> RouterObserved:
        """What gateways have acknowledged for the route."""
        ...
