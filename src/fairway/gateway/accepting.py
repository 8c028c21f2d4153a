"""Connections a worker accepts itself, because a PROXY header, a TLS handshake, or both come before any request.

A plain listener is the event loop's, which accepts at less cost; this one is only taken where something comes first.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Mapping
from time import perf_counter
from typing import TYPE_CHECKING, Any

from fairway.gateway.client import ClientConnection
from fairway.gateway.descriptors import most_clients, raise_limit
from fairway.gateway.forwarding import Peer
from fairway.gateway.listening import BACKLOG
from fairway.gateway.proxied import ProxyConnection
from fairway.gateway.proxy_protocol import MOST_BYTES, HeaderError, belonging, read_header
from fairway.gateway.tls import SHUTDOWN_SECONDS, KeyPair, TlsError, server_context

if TYPE_CHECKING:
    from fairway.gateway.worker import Worker

log = logging.getLogger("fairway.gateway.worker")

PAUSE_SECONDS = 0.1
"""Without a file descriptor to accept with, it is tried again after this."""

_AT_ONCE = 64  # accepted before others get their turn
_LEAST_SECONDS = 0.001


class Entrance:
    """How clients come in to a worker.

    Attributes:
        most_clients: That are served at once; whoever comes beyond is told to come back.
    """

    def __init__(self, worker: Worker) -> None:
        """Nothing is accepted yet."""
        self.most_clients = 0
        self._worker = worker
        self._files = raise_limit()
        self._context: ssl.SSLContext | None = None
        self._fingerprint = ""
        self._door: asyncio.AbstractServer | Acceptor | None = None

    def take(self, message: Mapping[str, Any]) -> None:
        """What the parent says of it: the certificate in force, and with the table how many may come in."""
        limits = self._worker.serving.table.limits
        self.most_clients = most_clients(self._files, wanted=limits.connections, in_flight=limits.in_flight)
        wire = message.get("tls")
        if wire is None:
            return
        pair = KeyPair.from_wire(wire)
        if pair.fingerprint == self._fingerprint:
            return
        try:
            self._context, self._fingerprint = server_context(pair), pair.fingerprint
        except TlsError as error:  # the parent has made a connection with it
            if self._context is None:
                raise
            log.error("the certificate in force stays: %s", error.message)

    @property
    def connection(self) -> type[ClientConnection]:
        """What a client's connection is served by."""
        return ProxyConnection if self._worker.listening.trusted_proxies else ClientConnection

    @property
    def context(self) -> ssl.SSLContext | None:
        """What TLS connections begin with from now on; those that run keep theirs."""
        return self._context

    @property
    def pending(self) -> int:
        """Connections that have not got to their first request yet, and do not count as clients."""
        return self._door.pending if isinstance(self._door, Acceptor) else 0

    async def open(self, listener: socket.socket) -> None:
        """Begin to accept."""
        listener.setblocking(False)
        worker, listening = self._worker, self._worker.listening
        if listening.secure or listening.proxy_protocol:
            self._door = Acceptor(worker, self, listener)
            self._door.open()
        else:
            loop = asyncio.get_running_loop()
            made = self.connection
            self._door = await loop.create_server(lambda: made(worker), sock=listener, backlog=BACKLOG)

    def close(self) -> None:
        """Accept no more; what was accepted goes on."""
        if self._door is not None:
            self._door.close()

    def abandon(self) -> None:
        """Drop what has not got to its first request."""
        if isinstance(self._door, Acceptor):
            self._door.abandon()


class Acceptor:
    """Accepts, and hands a connection on once it is known who speaks, and in clear."""

    def __init__(self, worker: Worker, entrance: Entrance, listener: socket.socket) -> None:
        self._worker = worker
        self._entrance = entrance
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self._welcoming: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def pending(self) -> int:
        """Connections that have not got to their first request yet."""
        return len(self._welcoming)

    def open(self) -> None:
        """Begin to accept."""
        if not self._closed:
            self._loop.add_reader(self._listener.fileno(), self._accept)

    def close(self) -> None:
        """Take no more; what was accepted may go on."""
        if not self._closed:
            self._closed = True
            self._loop.remove_reader(self._listener.fileno())
            self._listener.close()

    def abandon(self) -> None:
        """Drop what has not got to its first request."""
        for task in tuple(self._welcoming):
            task.cancel()

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                accepted, address = self._listener.accept()
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionAbortedError:
                continue
            except OSError as error:  # no descriptor, no memory: the connection waits in the kernel
                self._pause(error)
                return
            accepted.setblocking(False)
            if len(self._worker.clients) + self.pending >= self._entrance.most_clients:
                self._worker.count_refused("connections")
                accepted.close()
                continue
            task = self._loop.create_task(self._welcome(accepted, address[0] if isinstance(address, tuple) else ""))
            self._welcoming.add(task)
            task.add_done_callback(self._welcoming.discard)

    def _pause(self, error: OSError) -> None:
        """Look away for a moment: the socket stays readable, and asking again at once would ask for ever."""
        self._worker.count_refused("accept")
        log.warning("a connection could not be accepted: %s", error)
        self._loop.remove_reader(self._listener.fileno())
        self._loop.call_later(PAUSE_SECONDS, self.open)

    async def _welcome(self, accepted: socket.socket, address: str) -> None:
        """Bring one connection to its first request, or close it."""
        limit = self._worker.serving.table.timeouts.head
        until = perf_counter() + limit
        try:
            async with asyncio.timeout(limit):
                peer = await self._peer(accepted, address)
            await self._begin(accepted, peer, max(_LEAST_SECONDS, until - perf_counter()))
        except BaseException as error:
            accepted.close()
            code = _refusal(error)
            if code is not None:
                self._worker.count_refused(code)
            elif not isinstance(error, OSError):
                raise

    async def _peer(self, accepted: socket.socket, address: str) -> Peer:
        """Who speaks.

        Raises:
            HeaderError: When a PROXY header is due, and malformed or from somebody who may not send one.
        """
        listening = self._worker.listening
        if not listening.proxy_protocol:
            return listening.peer(address)
        if not listening.sends_header(address):
            raise _StrangerError(f"{address} may not send a PROXY header")
        have, whole = b"", False
        while not whole:
            seen = await self._ahead(accepted)
            if not seen:
                raise HeaderError("the connection ended within its PROXY header")
            belongs, whole = belonging(have, seen)
            have += accepted.recv(belongs)
        relayed = read_header(have)
        return listening.peer(address if relayed.source is None else relayed.source[0])

    async def _ahead(self, accepted: socket.socket) -> bytes:
        """What has come, left where it is."""
        while True:
            try:
                return accepted.recv(MOST_BYTES, socket.MSG_PEEK)
            except (BlockingIOError, InterruptedError):
                await self._readable(accepted)

    async def _readable(self, accepted: socket.socket) -> None:
        come: asyncio.Future[None] = self._loop.create_future()

        def here() -> None:
            if not come.done():
                come.set_result(None)

        self._loop.add_reader(accepted.fileno(), here)
        try:
            await come
        finally:
            self._loop.remove_reader(accepted.fileno())

    async def _begin(self, accepted: socket.socket, peer: Peer, seconds: float) -> None:
        """Hand the connection on, after its handshake when it speaks TLS.

        Raises:
            OSError: When the handshake fails, or takes longer than so many seconds.
        """
        worker = self._worker
        context = self._entrance.context

        def client() -> ClientConnection:
            return self._entrance.connection(worker, peer)

        if not worker.listening.secure:
            await self._loop.connect_accepted_socket(client, accepted)
            return
        assert context is not None
        await self._loop.connect_accepted_socket(
            client, accepted, ssl=context, ssl_handshake_timeout=seconds, ssl_shutdown_timeout=SHUTDOWN_SECONDS
        )


class _StrangerError(HeaderError):
    """A connection from outside the networks that send PROXY headers."""


def _refusal(error: BaseException) -> str | None:
    """By what name a connection counts that ended before its first request; ``None``: its client just left."""
    match error:
        case _StrangerError():
            return "proxy_stranger"
        case HeaderError():
            return "proxy_header"
        case ssl.SSLError():
            return "tls_handshake"
        case TimeoutError():
            return "timeout_head"
        case ConnectionAbortedError():  # how the event loop says that a handshake took too long
            return "timeout_head"
        case _:
            return None
