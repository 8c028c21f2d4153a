"""One client's connection: requests one after another, each a message the gateway is sure about."""

from __future__ import annotations

import asyncio
import socket
import struct
from time import perf_counter
from typing import TYPE_CHECKING, cast

from fairway.gateway.descriptors import ANSWERED
from fairway.gateway.exchange import Exchange
from fairway.gateway.forwarding import NOBODY, Peer
from fairway.gateway.framing import RefusalError, RequestHead, bare_lf, parse_request
from fairway.gateway.noting import note_refused
from fairway.gateway.problems import problem
from fairway.gateway.quick_request import quick_request
from fairway.gateway.repeats import NO_REQUEST
from fairway.gateway.tls import SHUTDOWN_SECONDS
from fairway.gateway.tunnel import Tunnel

if TYPE_CHECKING:
    from fairway.gateway.quick_exchange import QuickExchange
    from fairway.gateway.worker import Worker

LINGER_SECONDS = 2.0
"""After refusing a message the gateway goes on reading (and dropping) for so long, so that the answer is not lost."""

DRAIN_IDLE_SECONDS = 1.0
"""While draining, a connection on which no request comes for so long is closed."""

_QUEUE_BYTES = 65_536
_RESET = struct.pack("ii", 1, 0)  # of SO_LINGER: close at once, by a reset
_WRITE_BYTES = 65_536  # waiting to be sent before the arm is read no further; as without TLS


class ClientConnection(asyncio.Protocol):
    """Reads requests, hands each to an :class:`Exchange`, and keeps order and back-pressure."""

    __slots__ = (
        "_in_next", "_unread", "address", "buffer", "close_after", "closing", "exchange", "forwarded_line", "held_by",
        "lines", "peer", "repeat", "since", "slow_reader", "transport", "unlike", "unsent", "watched", "worker",
    )  # fmt: skip

    def __init__(self, worker: Worker, peer: Peer = NOBODY) -> None:
        """Begin a connection; ``peer``: who it is when the socket alone does not say."""
        self.worker = worker
        self.peer = peer
        self.transport: asyncio.Transport = cast(asyncio.Transport, None)
        self.exchange: Exchange | QuickExchange | None = None
        self.close_after = False
        self.closing = False
        self.slow_reader = False
        self.address = ""
        """Of the client, as far as it is known."""
        self.forwarded_line = b""
        self.lines = b"x-fairway-request: %b" % worker.prefix
        """What a request on the short way gains, up to its number."""
        self.repeat = NO_REQUEST
        """The head it sent last on the short way, as far as it may be the next one's too."""
        self.unlike = 0
        """Requests on the short way whose heads were not like that one."""
        self.since = 0.0
        """When the connection began to wait for what it waits for (idle, head, linger)."""
        self.buffer = b""
        """Bytes of requests to come."""
        self.held_by = 0
        """How many have asked not to read on."""
        self.unsent = 0
        """Bytes the client had still to read when that was looked at last, while nothing else goes on."""
        self.watched: set[ClientConnection] = set()
        """Those that are looked at with it."""
        self._in_next = False
        self._unread = False
        """Whether nothing is read because the client does not read its answers."""

    # --- called by the loop ------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client connected."""
        self.transport = cast(asyncio.Transport, transport)
        self.since = perf_counter()
        peer = self.peer
        if peer is NOBODY:
            name = transport.get_extra_info("peername")
            peer = self.peer = self.worker.listening.peer(str(name[0]) if isinstance(name, tuple) else "")
        self.address = peer.address
        self.forwarded_line = peer.lines
        self.lines = peer.lines + self.lines
        worker = self.worker
        worker.clients.add(self)
        self.watched = worker.watch.add(self)
        if peer.secure:
            self.transport.set_write_buffer_limits(high=_WRITE_BYTES)
        beyond = len(worker.clients) - worker.entrance.most_clients
        if beyond > ANSWERED:
            worker.count_refused("connections")
            self.abort()  # an answer would keep a file descriptor for as long as its client likes
        elif beyond > 0:
            worker.count_refused("connections")
            self.refuse(RefusalError(503, "connections", "too many connections"), extra=b"retry-after: 1\r\n")

    def data_received(self, data: bytes) -> None:
        """Bytes from the client."""
        if self.closing:
            return
        exchange = self.exchange
        if exchange is None and not self.buffer and quick_request(self, data):
            return
        if exchange is not None:
            rest = exchange.body_data(data)
            if rest:
                self.buffer += rest
                if len(self.buffer) > _QUEUE_BYTES:
                    self.hold_reading()
            return
        since = 0.0
        if self.buffer:
            tail = self.buffer[-4:] + data
            self.buffer += data
            within = len(self.buffer) <= self.worker.serving.table.limits.head_bytes
            if within and b"\r\n\r\n" not in tail and bare_lf(tail, 1) is None:
                return  # not complete: do not look at all of it again for every line of a slow client
            data, since = self.buffer, self.since
            self.buffer = b""
        self._next(data, since)

    def eof_received(self) -> bool:
        """The client will send no more; whether the connection stays open for what it still reads.

        Only a WebSocket's does: one that asked for an answer will hardly read it, so that one is cancelled.
        """
        exchange = self.exchange
        return isinstance(exchange, Tunnel) and exchange.client_ended()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self.worker.clients.discard(self)
        self.watched.discard(self)
        self.closing = True
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            self.worker.in_flight -= 1
            exchange.client_gone()

    def pause_writing(self) -> None:
        """The client reads slowly: stop reading its answer, and what it asks after that."""
        self.slow_reader = True
        exchange = self.exchange
        if exchange is not None:
            exchange.upstream_reading(on=False)
        if not isinstance(exchange, Exchange):  # one may still be sending its request, and asks when it is done
            self._hold_unread()

    def resume_writing(self) -> None:
        """The client has read."""
        self.slow_reader = False
        exchange = self.exchange
        if exchange is not None:
            exchange.upstream_reading(on=True)
            if self._unread:
                self._unread = False
                self.go_on_reading()
        elif not self.closing:
            self.since = perf_counter()
            self.go_on()

    def _hold_unread(self) -> None:
        """Answer no more requests of a client that does not read its answers: they would pile up here."""
        if not self._unread and not self.closing:
            self._unread = True
            self.hold_reading()

    def _read_on(self) -> None:
        if self.held_by:
            self.held_by = 0
            self._unread = False
            self.transport.resume_reading()

    # --- requests ----------------------------------------------------------------------------------------------

    def _next(self, data: bytes, since: float = 0.0) -> None:
        """Begin the request at the start of ``data``, and the next one if that is answered at once.

        Args:
            data: From where the last message ended.
            since: When its head began to arrive; 0: just now.
        """
        self._in_next = True
        worker = self.worker
        while data and self.exchange is None and not self.closing and not self.slow_reader:
            serving = worker.serving
            try:
                head = parse_request(data, serving.table.limits.head_bytes)
            except RefusalError as refused:
                worker.count_refused(refused.code)
                self.refuse(refused)
                break
            if head is None:
                break
            rest = data[len(head.raw) :]
            since = 0.0
            self.close_after = head.close or worker.draining
            if worker.in_flight >= serving.table.limits.in_flight:
                data = self._overloaded(head, rest)
                continue
            exchange = Exchange(self, head, serving)
            self.exchange = exchange
            worker.in_flight += 1
            data = exchange.begin(rest)
        self._in_next = False
        if not self.closing:
            if data and not self.buffer and self.exchange is None:
                self.since = since or perf_counter()  # a head has begun to arrive
            self.buffer = data
            if self.slow_reader and self.exchange is None:
                self._hold_unread()

    def _overloaded(self, head: RequestHead, rest: bytes) -> bytes:
        """Refuse a request because too many are running; the bytes after it."""
        self.worker.count_refused("in_flight")
        refused = RefusalError(503, "in_flight", "too many requests are in flight")
        note_refused(self, refused, head.raw)
        length, extra = head.length, b"retry-after: 1\r\n"
        if self.close_after or length < 0 or length > len(rest):
            self.refuse(refused, extra=extra, noted=True)
            return b""
        head_only = head.method == b"HEAD"
        self.write(problem(refused.status, refused.code, refused.message, extra, head_only=head_only))
        return rest[length:]

    def exchange_done(self) -> None:
        """The running exchange has written all of its answer."""
        exchange, self.exchange = self.exchange, None
        if not isinstance(exchange, Exchange):
            return  # a quick one ends by itself
        self.worker.in_flight -= 1
        self.since = exchange.touched
        if self.close_after:
            if exchange.request_complete:
                self.closing = True
                self.transport.close()
            else:
                self._linger()
            return
        self.go_on()

    def go_on(self) -> None:
        """Read on, and begin the next request that is here already; not before the last answer is read."""
        if self.slow_reader:
            self._hold_unread()
            return
        self._read_on()
        if self.buffer and not self._in_next:
            data, self.buffer = self.buffer, b""
            self._next(data)

    def exchange_refused(self, refused: RefusalError, *, answered: bool) -> None:
        """The running exchange found that the request's body is wrong."""
        self.worker.count_refused(refused.code)
        if self.exchange is not None:
            self.exchange = None
            self.worker.in_flight -= 1
        if answered:
            self.abort()
        else:
            self.refuse(refused, noted=True)

    def refuse(self, refused: RefusalError, *, extra: bytes = b"", noted: bool = False) -> None:
        """Answer with an error and close: where this message ends is not known for sure.

        ``noted``: the access log has it already.
        """
        if not noted:
            note_refused(self, refused, self.exchange.head.raw if isinstance(self.exchange, Exchange) else b"")
        if isinstance(self.exchange, Exchange):
            self.exchange.discard()
            self.exchange = None
            self.worker.in_flight -= 1
        self.write(problem(refused.status, refused.code, refused.message, extra + b"connection: close\r\n"))
        self._linger()

    def _linger(self) -> None:
        self.closing = True
        self.since = perf_counter()
        self.buffer = b""
        self._read_on()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        else:
            self.transport.close()  # TLS, whose goodbye waits for the client's and drops what it sends until then

    # --- what an exchange asks for -----------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Send to the client."""
        self.transport.write(data)

    def hold_reading(self) -> None:
        """Stop reading from the client."""
        self.held_by += 1
        if self.held_by == 1:
            self.transport.pause_reading()

    def go_on_reading(self) -> None:
        """Read from the client again, unless that is held back for its not reading, which ends by its reading alone."""
        if self.held_by > self._unread:
            self.held_by -= 1
            if not self.held_by and not self.transport.is_closing():
                self.transport.resume_reading()

    def cut(self, *, hard: bool) -> None:
        """End an answer that cannot be completed so that the client notices: no last chunk, or a reset."""
        if self.exchange is not None:
            self.exchange = None
            self.worker.in_flight -= 1
        self.closing = True
        if hard:
            sock = self.transport.get_extra_info("socket")
            if sock is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)  # else it ends as a whole answer does
            self.transport.abort()
        else:
            self.transport.close()

    def abort(self) -> None:
        """Drop the connection."""
        self.cut(hard=True)

    # --- called by the worker ----------------------------------------------------------------------------------

    def overdue(self, now: float) -> None:
        """Close what waits too long; ``now`` in ``perf_counter()`` seconds."""
        exchange = self.exchange
        if exchange is not None:
            exchange.overdue(now)
            return
        waited = now - self.since
        timeouts = self.worker.serving.table.timeouts
        if self.closing or (self.slow_reader and not self.worker.draining):
            self._unread_overdue(now, timeouts.idle)
        elif self.buffer:
            if waited > timeouts.head:
                self.worker.count_refused("timeout_head")
                self.refuse(RefusalError(408, "timeout_head", "the request head did not arrive in time"))
        elif waited > timeouts.keep_alive or (self.worker.draining and waited > DRAIN_IDLE_SECONDS):
            self.closing = True
            self.since = now
            self.transport.close()

    def _unread_overdue(self, now: float, idle: float) -> None:
        """A client may take its time to read what is left of its answer, as long as it reads."""
        unsent = self.transport.get_write_buffer_size()
        if unsent and unsent != self.unsent:
            self.unsent = unsent
            self.since = now
        elif unsent:
            if now - self.since > idle:
                self.abort()  # by a reset: the beginning of an answer is not to look like all of it
        elif self.closing and now - self.since > (SHUTDOWN_SECONDS if self.peer.secure else LINGER_SECONDS):
            self.transport.abort()

    def switch(self, exchange: Exchange, data: bytes) -> None:
        """The connection goes on as a WebSocket, of which the arm sent ``data`` with its agreement."""
        early, self.buffer = self.buffer, b""
        self._read_on()
        Tunnel.opened(exchange).start(early, data)

    def abort_at_drain_limit(self) -> None:
        """The drain is over: what still runs is cut off, and counted as the gateway's doing."""
        exchange = self.exchange
        if isinstance(exchange, Tunnel):
            exchange.go_away()
            return
        if exchange is not None:
            exchange.client_gone()
        self.abort()
