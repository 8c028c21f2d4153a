"""Connections to arms: one pool an endpoint, kept open between requests."""

from __future__ import annotations

import asyncio
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, cast

from fairway.gateway.endpoints.ejection import Record
from fairway.gateway.quick_answer import MAX_IDLE, quick_answer
from fairway.gateway.repeats import NO_ANSWER

if TYPE_CHECKING:
    from fairway.gateway.endpoints.arm import ArmEndpoints
    from fairway.gateway.quick_exchange import QuickExchange
    from fairway.gateway.sending import Sending
    from fairway.gateway.shadow_copy import ShadowCopy
    from fairway.gateway.tunnel import Tunnel

IDLE_SECONDS = 1.5
"""A pooled connection idle for longer is not used again: common servers close theirs after 2 to 75 s, and a request
written into a closing connection may not be repeated unless it is idempotent."""

DOWN_SECONDS = 1.0
"""An endpoint that refused a connection is tried last for this long."""


class Upstream(asyncio.Protocol):
    """One connection to an arm; serves one exchange at a time."""

    __slots__ = (
        "closed", "counted", "exchange", "held", "idle_since", "noted", "paused", "pool", "quick", "repeat", "reused",
        "transport", "tunnel",
    )  # fmt: skip

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.exchange: Sending | QuickExchange | ShadowCopy | None = None
        self.transport: asyncio.Transport = cast(asyncio.Transport, None)
        self.idle_since = 0.0
        self.reused = False
        self.closed = False
        self.counted = False
        """Whether it is one of its pool's open ones."""
        self.noted = False
        """Whether the answer it just gave has been held to its endpoint's account already."""
        self.paused = False
        self.held = b""
        """The head of an answer on the short way whose body is still to come."""
        self.quick: QuickExchange | None = None
        """For its requests on the short way, one after another."""
        self.repeat = NO_ANSWER
        """The head it answered last on the short way."""
        self.tunnel: Tunnel | None = None
        """The WebSocket session it carries, which it does to its end."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Called by the loop: bytes of an answer."""
        exchange = self.exchange
        if exchange is None:
            self.close()  # nobody asked: the arm and we disagree where messages end
        elif exchange.begun or exchange.going is None or not quick_answer(self, exchange, data):
            exchange.answer_data(data)

    def eof_received(self) -> bool:
        """Called by the loop: the arm will send no more; whether the connection stays open."""
        if self.exchange is None:
            self.close()  # at once: the next request of this turn of the loop is not to be lost on it
        return self.tunnel is not None and self.tunnel.arm_ended()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop: the arm closed, or we did."""
        self.closed = True
        self.quick = None
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
        self.idle_since = now
        if pool.unusual:
            pool.take_back(self)
        elif len(pool.idle) >= MAX_IDLE:
            self.close()
        else:
            pool.idle.append(self)

    def finish(self, now: float, *, bad: bool, reusable: bool) -> None:
        """The whole answer came, the general way: note how the endpoint fares, and give the connection back.

        Args:
            now: ``perf_counter()`` seconds.
            bad: The answer is one that an endpoint in good health would not give.
            reusable: Another request may follow on the connection.
        """
        pool = self.pool
        if bad or pool.unusual:
            pool.arm.answered(pool, bad=bad)
            self.noted = pool.unusual
        if reusable:
            self.release(now)
        else:
            self.close()

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
        """Close without telling the exchange; its place is free at once."""
        self.exchange = None
        self.closed = True
        self.pool.forget(self)
        if self.transport is not None:
            self.transport.abort()


class Pool:
    """Open connections to one endpoint of one release.

    Attributes:
        arm: The endpoints it is one of.
        idle: Connections nobody uses at the moment, the warmest last.
        open: Connections that are open or being opened, idle ones included.
        down_until: In ``monotonic()`` seconds; an endpoint that just refused is tried last.
        retired: The table has the endpoint no more.
        placed: Its connections take places of the arm's.
        barred: It is to get no request now.
        unusual: Whether a connection that is given back has to go through :meth:`take_back`: the pool is retired or
            barred, how it fares is watched, or requests wait. The short way looks at nothing else.
        repeat: The head of an answer that one of its connections read last, most likely the next one's too.
        verified: Its answers say that they are the release's.
        record: How it has fared.
    """

    __slots__ = (
        "arm", "barred", "down_until", "endpoint", "host", "idle", "loop", "open", "placed", "port", "record",
        "repeat", "retired", "unusual", "verified",
    )  # fmt: skip

    def __init__(self, endpoint: str, arm: ArmEndpoints, loop: asyncio.AbstractEventLoop) -> None:
        host, _, port = endpoint.rpartition(":")
        self.arm = arm
        self.endpoint = endpoint
        self.host = host.strip("[]")
        self.port = int(port)
        self.loop = loop
        self.idle: list[Upstream] = []
        self.open = 0
        self.down_until = 0.0
        self.retired = False
        self.placed = True
        self.barred = False
        self.unusual = False
        self.verified = False
        self.repeat = NO_ANSWER
        self.record = Record()

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

    def take_back(self, upstream: Upstream) -> None:
        """A connection is given back where not every one is simply kept: see ``unusual``."""
        noted, upstream.noted = upstream.noted, False
        if not noted:
            self.arm.answered(self, bad=False)
        self.offer(upstream)

    def offer(self, upstream: Upstream) -> None:
        """A connection is free: for who waits for one, or to be kept, unless no request is to go there any more."""
        arm = self.arm
        if (self.barred or self.retired) and not arm.retired:
            upstream.close()
        elif arm.line and arm.crowded(self):
            upstream.close()  # whoever waits longest gets its place, and opens where there is more room
        elif arm.line.hand(upstream):
            upstream.reused = True
            arm.line_moved()
        elif self.retired or len(self.idle) >= MAX_IDLE:
            upstream.close()
        else:
            self.idle.append(upstream)

    async def connect(self, *, held: bool = False) -> Upstream:
        """A new connection.

        Args:
            held: The caller holds a place of the arm's for it, and goes on holding it when this fails.

        Raises:
            OSError: When the endpoint refuses.
        """
        self.open += 1
        if not held:
            self.arm.places += 1
        try:
            _, upstream = await self.loop.create_connection(lambda: Upstream(self), self.host, self.port)
            if upstream.closed:
                raise ConnectionResetError("closed as soon as it was open")
        except BaseException as error:
            self.open -= 1
            if not self.placed:
                self.arm.places += held  # it was given up with the pool
            elif not held:
                self.arm.leave()
            if isinstance(error, OSError):
                self.down_until = monotonic() + DOWN_SECONDS
            raise
        upstream.counted = True
        self.down_until = 0.0
        return upstream

    def forget(self, upstream: Upstream) -> None:
        """A connection is gone."""
        if upstream in self.idle:
            self.idle.remove(upstream)
        if upstream.counted:
            upstream.counted = False
            self.open -= 1
            if self.placed:
                self.arm.leave()

    def sweep(self, older_than: float) -> None:
        """Close connections idle for more than so many seconds."""
        limit = perf_counter() - older_than
        old = [upstream for upstream in self.idle if upstream.idle_since <= limit]
        if old:
            self.idle = [upstream for upstream in self.idle if upstream.idle_since > limit]
            for upstream in old:
                upstream.close()

    def retire(self) -> None:
        """The endpoint left the table: close what is idle, and what is in use once it is done.

        What runs on it does not keep the arm's other endpoints from taking requests.
        """
        self.retired = self.unusual = True
        if not self.arm.retired:
            self.placed = False
            self.arm.places -= self.open
        self.sweep(0.0)
