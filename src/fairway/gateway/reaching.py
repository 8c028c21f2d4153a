"""How a request gets a connection to its arm: in turn, to an endpoint that accepts one, or to stable instead."""

from __future__ import annotations

import asyncio
from time import monotonic, perf_counter, time
from typing import TYPE_CHECKING

from fairway.gateway.descriptors import is_own
from fairway.gateway.endpoints.line import STALL_SECONDS, Turn
from fairway.gateway.placing import begun_elsewhere
from fairway.gateway.tracing import retold
from fairway.gateway.upstream import Pool, Upstream
from fairway.traffic.table import Role

if TYPE_CHECKING:
    from fairway.gateway.client import ClientConnection
    from fairway.gateway.endpoints.arm import ArmEndpoints
    from fairway.gateway.serving import ArmServing, Placement, Serving


class Reaching:
    """A request that has been placed, and no idle connection was there for it."""

    done = False
    _connecting: asyncio.Task[None] | None = None
    _early = b""
    """What is sent once there is a connection."""
    _replay: bytes | None = b""
    """What has been sent, to be sent again where that is safe; ``None``: too much to keep."""
    _moved = ""
    """Why another arm serves than the assigned one, which has failed by that; empty when it serves itself."""
    _waiting = False
    """Whether the client is not read from meanwhile."""
    _broken_by: Pool | None = None
    """The endpoint that is tried last, as it broke the request."""
    _served: ArmServing | None = None
    cookie = b""
    """Lines its answer gains: where its conversation began, an issued cookie."""
    unit: bytes | None = None
    """Key of its unit when it takes part in unit tests."""
    _placement: Placement
    _serving: Serving
    client: ClientConnection
    touched: float

    async def _open(self) -> None:
        """Open a connection to an endpoint of the arm, or of stable when the arm has none that answers."""
        try:
            await self._opened()
        except OSError:
            self._connecting = None
            self.gateway_short()

    async def _opened(self) -> None:
        serving = self._serving
        served = self._served
        assert served is not None
        upstream = await self._reach(served)
        if upstream is None and served.arm.role is not Role.STABLE and not self._placement.decision.named:
            arm = serving.table.arm(Role.STABLE)
            if arm is not None and arm.endpoints and arm.release not in serving.table.masks:
                stable = serving.arms[arm.release]
                self._moved = "unreachable"  # the user is served; the arm that was not there has failed all the same
                self._early = retold(self._early, served.trace_lines, stable.trace_lines)
                self._served = stable
                upstream = await self._reach(stable)
                if isinstance(upstream, Upstream) and self.cookie:
                    key = self._placement.key
                    unit = self.unit if key is None else key.encode("utf-8", "surrogateescape")
                    self.cookie = begun_elsewhere(self.cookie, unit, stable, serving, self.client.worker, time())
        self._connecting = None
        if self.done:
            if isinstance(upstream, Upstream):
                upstream.pool.offer(upstream)
            return
        if not isinstance(upstream, Upstream):
            self._has_no_room(upstream)
            return
        self.client.worker.arms_known = True
        early, self._early = self._early, b""
        self._replay = b""
        self.touched = perf_counter()
        self._attach(upstream, early)
        if self._waiting:
            self._waiting = False
            self.client.go_on_reading()

    async def _reach(self, served: ArmServing) -> Upstream | Turn | None:
        """A connection to the arm; why there is none; ``None`` when no endpoint accepts one.

        More requests than the arm may have at once wait here, first come, first served.
        """
        endpoints = served.endpoints
        while True:
            turn = await endpoints.place()
            if turn is not Turn.MAY_OPEN:
                if isinstance(turn, Upstream) and turn.closed:
                    continue  # between being handed over and taken
                return turn
            try:
                upstream = await self._first_that_answers(endpoints)
            except BaseException:
                endpoints.leave()
                raise
            if upstream is None:
                endpoints.leave()
            return upstream

    async def _first_that_answers(self, endpoints: ArmEndpoints) -> Upstream | None:
        for number, pool in enumerate(endpoints.order(self._broken_by)):
            if number and not endpoints.retries.take(monotonic()):
                break
            try:
                upstream = await self._connected(pool)
            except (OSError, TimeoutError) as error:
                if is_own(error):
                    raise
                endpoints.refused(pool)
            else:
                endpoints.reached(pool)
                return upstream
        return None

    def gateway_short(self) -> None:
        """The gateway itself has nothing left to open a connection with."""
        raise NotImplementedError

    def _has_no_room(self, turn: Turn | None) -> None:
        """The arm cannot take the request; as with all that keeps an arm from answering, the arm has failed."""
        served = self._served
        if turn is None or served is None:
            self.fail(502, "unreachable", "the release cannot be reached")
            return
        extra = b"retry-after: %d\r\n" % served.endpoints.line.retry_after()
        if turn is Turn.FULL:
            self.fail(503, "queue_full", "too many requests wait for the release", extra=extra)
        else:
            self.fail(503, "queue_timeout", "the release had no room for the request in time", extra=extra)

    async def _connected(self, pool: Pool) -> Upstream:
        """A new connection, within the table's limit of time.

        A process that stood still wakes to a limit that has passed and to a connection nobody has looked at yet. The
        arm had no time to answer in, so it is asked once more.

        Raises:
            OSError: Refused, or not reachable.
            TimeoutError: Not in time.
        """
        limit = self._serving.table.timeouts.connect
        begun = perf_counter()
        try:
            async with asyncio.timeout(limit):
                return await pool.connect(held=True)
        except TimeoutError:
            if perf_counter() - begun < limit + STALL_SECONDS:
                raise
        async with asyncio.timeout(limit):
            return await pool.connect(held=True)

    # --- what it is part of ------------------------------------------------------------------------------------

    def _attach(self, upstream: Upstream, data: bytes) -> None:
        """Send on this connection."""
        raise NotImplementedError

    def fail(self, status: int, code: str, message: str, *, extra: bytes = b"") -> None:
        """The arm has failed."""
        raise NotImplementedError
