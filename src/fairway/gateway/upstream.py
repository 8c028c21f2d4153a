"""Connections to arms: one pool an endpoint, kept open between requests."""

from __future__ import annotations

import asyncio
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, cast

from fairway.gateway.quick_answer import MAX_IDLE, quick_answer
from fairway.gateway.repeats import NO_ANSWER

if TYPE_CHECKING:
    from fairway.gateway.quick_exchange import QuickExchange
    from fairway.gateway.sending import Sending
    from fairway.gateway.shadow_copy import ShadowCopy

IDLE_SECONDS = 1.5
"""A pooled connection idle for longer is not used again: common servers close theirs after 2 to 75 s, and a request
written into a closing connection may not be repeated unless it is idempotent."""

DOWN_SECONDS = 1.0
"""An endpoint that refused a connection is tried last for this long."""


class Upstream(asyncio.Protocol):
    """One connection to an arm; serves one exchange at a time."""

    __slots__ = ("closed", "exchange", "idle_since", "paused", "pool", "repeat", "reused", "transport")

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.exchange: Sending | QuickExchange | ShadowCopy | None = None
        self.transport: asyncio.Transport = cast(asyncio.Transport, None)
        self.idle_since = 0.0
        self.reused = False
        self.closed = False
        self.paused = False
        self.repeat = NO_ANSWER
        """The head it answered last on the short way."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Called by the loop: bytes of an answer."""
        exchange = self.exchange
        if exchange is None:
            self.close()  # nobody asked: the arm and we disagree where messages end
        elif exchange.known is None or exchange.begun or not quick_answer(self, exchange, data):
            exchange.answer_data(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop: the arm closed, or we did."""
        self.closed = True
        self.pool.forget(self)
        exchange = self.exchange
        if exchange is not None:
            self.exchange = None
            exchange.upstream_lost(clean=exc is None)

    def pause_writing(self) -> None:
        """Called by the loop: the arm reads slowly, so do we."""
        if self.exchange is not None:
            self.exchange.client.hold_reading()

    def resume_writing(self) -> None:
        """Called by the loop."""
        if self.exchange is not None:
            self.exchange.client.go_on_reading()

    def release(self, now: float) -> None:
        """Give the connection back for the next request; ``now`` in ``perf_counter()`` seconds."""
        self.exchange = None
        if self.closed:
            return
        if self.paused:
            self.reading(on=True)
        pool = self.pool
        if pool.retired or len(pool.idle) >= MAX_IDLE:
            self.close()
            return
        self.idle_since = now
        pool.idle.append(self)

    def reading(self, *, on: bool) -> None:
        """Read from the arm, or stop reading (the client is slow)."""
        if self.closed or self.transport.is_closing() or self.paused is not on:
            return
        self.paused = not on
        if on:
            self.transport.resume_reading()
        else:
            self.transport.pause_reading()

    def close(self) -> None:
        """Close without telling the exchange."""
        self.exchange = None
        self.closed = True
        if self.transport is not None:
            self.transport.abort()


class Pool:
    """Open connections to one endpoint."""

    __slots__ = ("down_until", "endpoint", "host", "idle", "loop", "port", "retired")

    def __init__(self, endpoint: str, loop: asyncio.AbstractEventLoop) -> None:
        host, _, port = endpoint.rpartition(":")
        self.endpoint = endpoint
        self.host = host.strip("[]")
        self.port = int(port)
        self.loop = loop
        self.idle: list[Upstream] = []
        self.down_until = 0.0
        self.retired = False

    def get(self, now: float) -> Upstream | None:
        """A connection that was used a moment ago, the warmest; ``None`` when there is none.

        Args:
            now: ``perf_counter()`` seconds.
        """
        idle = self.idle
        while idle:
            upstream = idle.pop()
            if upstream.closed:
                continue
            if now - upstream.idle_since > IDLE_SECONDS:
                upstream.close()
                self.sweep(0.0)  # the warmest is too cold, so all are
                return None
            upstream.reused = True
            return upstream
        return None

    async def connect(self) -> Upstream:
        """A new connection.

        Raises:
            OSError: When the endpoint refuses.
        """
        try:
            _, upstream = await self.loop.create_connection(lambda: Upstream(self), self.host, self.port)
        except OSError:
            self.down_until = monotonic() + DOWN_SECONDS
            raise
        self.down_until = 0.0
        return upstream

    def forget(self, upstream: Upstream) -> None:
        """A connection is gone."""
        if upstream in self.idle:
            self.idle.remove(upstream)

    def sweep(self, older_than: float) -> None:
        """Close connections idle for more than so many seconds."""
        limit = perf_counter() - older_than
        old = [upstream for upstream in self.idle if upstream.idle_since <= limit]
        if old:
            self.idle = [upstream for upstream in self.idle if upstream.idle_since > limit]
            for upstream in old:
                upstream.close()

    def retire(self) -> None:
        """The endpoint left the table: close what is idle, and what is in use once it is done."""
        self.retired = True
        self.sweep(0.0)
