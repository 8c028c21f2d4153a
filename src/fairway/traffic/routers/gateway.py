"""Fairway's own gateway as a traffic router: the controller's side of the table protocol.

Gateways pull: ``GET /v1/table?after=<fence>&wait=<s>&gateway=<id>&boot=<id>&confirmed=<fence>
&tripped=<release>&pinned=<release>&masked=<release>,<release>&left_out=<release>,<release>`` answers 200 and the table
when its fence is higher than ``after``, else 204 after ``wait`` seconds. What a gateway confirms (the lowest fence over
its workers) and what holds there whatever the table says (the release it tripped away from, those a person pinned or
masked, those it serves without one of their endpoints) travel with its next question.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from fairway.errors import ConflictError
from fairway.traffic.fence import ZERO_FENCE, Fence
from fairway.traffic.local_http import LocalAnswer, LocalRequest, LocalServer
from fairway.traffic.port import RouterCapabilities, RouterObserved
from fairway.traffic.table import RouteTable
from fairway.units import Digest, RouteId

ALIVE_SECONDS = 5.0
"""A gateway not heard of for longer is not waited for; it polls at least every :data:`MAX_WAIT_SECONDS`."""

MAX_WAIT_SECONDS = 2.0

CAPABILITIES = RouterCapabilities(sticky=True, rules=True, mirror=True, granularity=1, fence=True, read_back=True)


@dataclass(slots=True, kw_only=True)
class _Gateway:
    """What one gateway last said."""

    boot: str
    route: str | None
    confirmed: Fence
    seen: float
    tripped: Digest | None
    pinned: Digest | None
    masked: tuple[Digest, ...] = ()
    left_out: tuple[Digest, ...] = ()
    waiting: int = 0


class GatewayRouter:
    """Publishes tables to every gateway that asks on a unix socket, and knows what each has confirmed."""

    def __init__(self, socket_path: Path, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Take the socket to serve on; nothing is bound before :meth:`start`."""
        self._path = socket_path
        self._monotonic = monotonic
        self._server = LocalServer(self._handle)
        self._tables: dict[RouteId, RouteTable] = {}
        self._changed = asyncio.Event()
        self._gateways: dict[str, _Gateway] = {}

    @property
    def capabilities(self) -> RouterCapabilities:
        """Everything."""
        return CAPABILITIES

    async def start(self) -> None:
        """Bind the socket.

        Raises:
            OSError: When another controller serves on it.
        """
        await self._server.listen_unix(self._path)

    async def close(self) -> None:
        """Stop serving; gateways go on with their last table."""
        await self._server.close()

    async def apply(self, table: RouteTable) -> None:
        """Publish a table; waiting gateways get it at once.

        Raises:
            ConflictError: For a lower fence than the last published one, or other content under the same fence.
        """
        known = self._tables.get(table.route)
        if known is not None:
            if table.fence < known.fence:
                raise ConflictError(
                    f"table {table.fence} is older than the published {known.fence}", code="stale_fence"
                )
            if table.fence == known.fence and table != known:
                raise ConflictError(
                    f"another table was already published under fence {table.fence}", code="stale_fence"
                )
        self._tables[table.route] = table
        self._wake()

    async def observe(self, route: RouteId) -> RouterObserved:
        """The lowest fence over the route's live gateways, or over the last known ones when none is alive."""
        now = self._monotonic()
        known = {name: g for name, g in self._gateways.items() if g.route in (None, str(route))}
        alive = {name: g for name, g in known.items() if g.waiting or now - g.seen < ALIVE_SECONDS}
        counted = alive or known
        return RouterObserved(
            confirmed=min((g.confirmed for g in counted.values()), default=None),
            gateways=len(alive),
            tripped=tuple(sorted({g.tripped for g in alive.values() if g.tripped is not None})),
            pinned=min((g.pinned for g in alive.values() if g.pinned is not None), default=None),
            masked=tuple(sorted({release for g in alive.values() for release in g.masked})),
            left_out=tuple(sorted({release for g in alive.values() for release in g.left_out})),
            confirmed_by=tuple(sorted((name, g.confirmed) for name, g in alive.items())),
        )

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _handle(self, request: LocalRequest) -> LocalAnswer:
        if request.method != "GET":
            return LocalAnswer.problem(405, "method", "only GET")
        if request.path == "/v1/table":
            return await self._table(request)
        if request.path == "/v1/status":
            return LocalAnswer.of(self._status())
        return LocalAnswer.problem(404, "not_found", "/v1/table and /v1/status are served here")

    async def _table(self, request: LocalRequest) -> LocalAnswer:
        query = request.query
        after = Fence.parse(query.get("after", "0.0"))
        wait = min(max(float(query.get("wait", "0")), 0.0), MAX_WAIT_SECONDS)
        gateway = self._hear(query)
        deadline = self._monotonic() + wait
        gateway.waiting += 1
        try:
            while True:
                changed = self._changed
                table = self._for(gateway.route)
                if table is not None and table.fence > after:
                    return LocalAnswer.of(table.to_wire())
                left = deadline - self._monotonic()
                if left <= 0:
                    return LocalAnswer(status=204)
                try:
                    async with asyncio.timeout(left):  # wait_for of 3.11 loses a cancellation at the moment it changes
                        await changed.wait()
                except TimeoutError:
                    pass  # the loop looks once more, then says 204
        finally:
            gateway.waiting -= 1
            gateway.seen = self._monotonic()

    def _hear(self, query: Mapping[str, str]) -> _Gateway:
        name = query.get("gateway", "unnamed")
        said = _Gateway(
            boot=query.get("boot", ""),
            route=query.get("route") or None,
            confirmed=Fence.parse(query.get("confirmed", str(ZERO_FENCE))),
            seen=self._monotonic(),
            tripped=_release(query, "tripped"),
            pinned=_release(query, "pinned"),
            masked=_releases(query, "masked"),
            left_out=_releases(query, "left_out"),
        )
        self._gateways[name] = said
        return said

    def _for(self, route: str | None) -> RouteTable | None:
        """The table a gateway should have: of the route it serves, or the only one there is."""
        if route is None:
            return next(iter(self._tables.values())) if len(self._tables) == 1 else None
        return next((table for known, table in self._tables.items() if str(known) == route), None)

    def _status(self) -> dict[str, object]:
        now = self._monotonic()
        return {
            "tables": {str(route): str(table.fence) for route, table in self._tables.items()},
            "gateways": {
                name: {
                    "boot": g.boot,
                    "route": g.route,
                    "confirmed": str(g.confirmed),
                    "seen_seconds_ago": round(now - g.seen, 3),
                    "alive": bool(g.waiting) or now - g.seen < ALIVE_SECONDS,
                    "tripped": g.tripped,
                    "pinned": g.pinned,
                    "masked": list(g.masked),
                    "left_out": list(g.left_out),
                }
                for name, g in self._gateways.items()
            },
        }


def _release(query: Mapping[str, str], name: str) -> Digest | None:
    value = query.get(name, "")
    return Digest(value) if ":" in value else None  # an older gateway says 1, 0 or stable


def _releases(query: Mapping[str, str], name: str) -> tuple[Digest, ...]:
    return tuple(Digest(value) for value in query.get(name, "").split(",") if ":" in value)
