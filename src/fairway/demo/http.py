"""A lean HTTP/1.1 client for load: keep-alive connections, httptools, no task of its own."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Any, cast

import httptools

IDLE_SECONDS = 3.0
"""An idle connection older than this is not used again: common servers close theirs after 5 s."""


class TransportError(Exception):
    """The answer did not arrive whole; the message says why, in a few words that can be counted."""


class Answer:
    """A whole answer; header names in lower case."""

    __slots__ = ("body", "headers", "status")

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = bytearray()


class Connection(asyncio.Protocol):
    """One connection with at most one request on it."""

    def __init__(self) -> None:
        self.idle_since = 0.0
        self.usable = True
        self._transport: asyncio.Transport | None = None
        self._parser: Any = None
        self._answer = Answer()
        self._done: asyncio.Future[Answer] | None = None

    async def request(self, data: bytes) -> Answer:
        """Send a request and wait for its whole answer.

        Raises:
            TransportError: The connection ended first, or what came is not HTTP.
        """
        if self._transport is None or self._transport.is_closing():
            raise TransportError("connection closed")
        self._answer = Answer()
        self._parser = httptools.HttpResponseParser(self)
        self._done = asyncio.get_running_loop().create_future()
        self._transport.write(data)
        try:
            return await self._done
        finally:
            self._done = None

    def close(self) -> None:
        """Close it; a request on it fails."""
        self.usable = False
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the request that was waiting."""
        self.usable = False
        started = self._answer.status != 0
        self._fail("connection cut in the middle of an answer" if started else "connection closed without an answer")

    def data_received(self, data: bytes) -> None:
        """Feed the parser."""
        if self._parser is None:
            self.close()
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._fail("not HTTP/1.1")
            self.close()

    def on_status(self, status: bytes) -> None:
        """The status line has arrived."""
        self._answer.status = self._parser.get_status_code()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep one header."""
        self._answer.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """Also for servers that send no reason phrase."""
        self._answer.status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        """Keep a piece of the body."""
        self._answer.body += body

    def on_message_complete(self) -> None:
        """The answer is whole."""
        if not self._parser.should_keep_alive():
            self.usable = False
        if self._done is not None and not self._done.done():
            self._done.set_result(self._answer)

    def _fail(self, reason: str) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_exception(TransportError(reason))


class Client:
    """Keeps connections to one address."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._idle: deque[Connection] = deque()
        self._busy: set[Connection] = set()

    async def post(self, path: str, body: bytes, headers: tuple[tuple[str, str], ...], *, timeout: float) -> Answer:  # noqa: ASYNC109
        """Post JSON.

        Args:
            path: Target.
            body: JSON.
            headers: Besides the usual ones.
            timeout: Seconds for connecting and the whole answer.

        Raises:
            TransportError: No whole answer, for whatever reason; never retried, so that every failure is seen.
        """
        lines = [
            f"POST {path} HTTP/1.1",
            f"Host: {self._host}:{self._port}",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            *(f"{name}: {value}" for name, value in headers),
        ]
        head = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"
        try:
            async with asyncio.timeout(timeout):
                connection = await self._take()
                self._busy.add(connection)
                try:
                    answer = await connection.request(head + body)
                except BaseException:
                    connection.close()
                    raise
                finally:
                    self._busy.discard(connection)
        except TimeoutError as error:
            raise TransportError("timeout") from error
        except OSError as error:
            raise TransportError(f"cannot connect: {error.strerror or type(error).__name__}") from error
        if connection.usable:
            connection.idle_since = time.monotonic()
            self._idle.append(connection)
        else:
            connection.close()
        return answer

    async def _take(self) -> Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection.usable and time.monotonic() - connection.idle_since < IDLE_SECONDS:
                return connection
            connection.close()
        loop = asyncio.get_running_loop()
        _, made = await loop.create_connection(Connection, self._host, self._port)
        return made

    def close(self) -> None:
        """Close every connection; requests on them fail."""
        for connection in (*self._idle, *self._busy):
            connection.close()
        self._idle.clear()
