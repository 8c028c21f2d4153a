"""HTTP/1.1 between Fairway's own processes: a tiny server and client over asyncio, for unix sockets and loopback.

The gateway's admin socket, the controller's table socket and their clients share it, so that neither the data plane
nor the adapters need a web framework. It speaks only what both ends need: one request, one answer with a
``Content-Length``, keep-alive. It is no server for the outside.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import stat
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from fairway.errors import TransientError

MAX_HEAD = 16_384
MAX_BODY = 1 << 20  # bytes, of a request
MAX_ANSWER = 64 << 20  # bytes

_REASONS = {200: "OK", 204: "No Content", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed"}


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalRequest:
    """One request: method, path, the last value of each query parameter, the body, and the Accept header.

    Attributes:
        origin: The web page that sends it, as a browser says with everything but plain reading; empty: none does.
    """

    method: str
    path: str
    query: Mapping[str, str]
    body: bytes = b""
    accept: str = ""
    origin: str = ""

    def json(self) -> Any:
        """The body as JSON.

        Raises:
            ValueError: When it is not JSON.
        """
        return json.loads(self.body)


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalAnswer:
    """One answer."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"

    def json(self) -> Any:
        """The body as JSON.

        Raises:
            ValueError: When it is not JSON.
        """
        return json.loads(self.body)

    @classmethod
    def of(cls, value: Any, *, status: int = 200) -> LocalAnswer:
        """``value`` as JSON."""
        return cls(status=status, body=json.dumps(value, separators=(",", ":")).encode())

    @classmethod
    def problem(cls, status: int, code: str, message: str) -> LocalAnswer:
        """An error, in the form every Fairway API uses."""
        return cls.of({"error": {"code": code, "message": message}}, status=status)


Handler = Callable[[LocalRequest], Awaitable[LocalAnswer]]


@dataclass(slots=True)
class LocalServer:
    """Serves one handler on any number of sockets."""

    handler: Handler
    _servers: list[asyncio.Server] = field(default_factory=list)
    _paths: list[Path] = field(default_factory=list)
    _connections: set[asyncio.Task[None]] = field(default_factory=set)

    async def listen_unix(self, path: Path) -> None:
        """Listen on a unix socket (mode 600), taking over a path nobody listens on any more.

        Raises:
            OSError: When another process listens there (``EADDRINUSE``) or the path cannot be bound.
        """
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        await _remove_stale(path)
        before = os.umask(0o177)
        try:
            self._servers.append(await asyncio.start_unix_server(self._serve, path=str(path), limit=MAX_HEAD))
        finally:
            os.umask(before)
        self._paths.append(path)

    async def listen_tcp(self, host: str, port: int) -> int:
        """Listen on TCP; the port really bound (for port 0)."""
        server = await asyncio.start_server(self._serve, host=host, port=port, limit=MAX_HEAD)
        self._servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    async def listen_on(self, listener: socket.socket) -> None:
        """Listen on a bound socket, which stays the caller's: closing this does not close it."""
        self._servers.append(await asyncio.start_server(self._serve, sock=listener.dup(), limit=MAX_HEAD))

    async def close(self) -> None:
        """Stop listening, cancel what runs, remove the socket files."""
        for server in self._servers:
            server.close()
        for task in tuple(self._connections):
            task.cancel()
        if self._connections:
            await asyncio.gather(*self._connections, return_exceptions=True)
        for path in self._paths:
            path.unlink(missing_ok=True)
        self._servers.clear()
        self._paths.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            while (request := await _read_request(reader)) is not None:
                writer.write(_encode_answer(await self._answer(request)))
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.CancelledError):
            pass  # the other side left, or we are closing
        except ValueError as error:
            writer.write(_encode_answer(LocalAnswer.problem(400, "bad_request", str(error))))
        finally:
            self._connections.discard(task)
            with contextlib.suppress(OSError, RuntimeError):
                writer.close()

    async def _answer(self, request: LocalRequest) -> LocalAnswer:
        if request.origin:  # a page somebody looks at may reach loopback, but decides nothing there
            return LocalAnswer.problem(403, "browser", "web pages may not ask this; use the command line")
        try:
            return await self.handler(request)
        except ValueError as error:
            return LocalAnswer.problem(400, "bad_request", str(error))


async def _remove_stale(path: Path) -> None:
    """Delete a socket file whose owner is gone; a living owner is left alone (binding then says so)."""
    if not _is_socket(path):
        return
    try:
        _, writer = await asyncio.open_unix_connection(str(path))
    except OSError:
        _unlink(path)
        return
    writer.close()
    raise OSError(98, "Address already in use", str(path))


def _is_socket(path: Path) -> bool:
    try:
        return stat.S_ISSOCK(path.stat().st_mode)
    except FileNotFoundError:
        return False


def _unlink(path: Path) -> None:
    path.unlink(missing_ok=True)


async def _read_head(reader: asyncio.StreamReader) -> tuple[str, dict[str, str]] | None:
    try:
        raw = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise
        return None
    first, *lines = raw.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
    return first, headers


def _body_length(headers: Mapping[str, str], limit: int) -> int:
    text = headers.get("content-length", "0")
    if not text.isdecimal() or int(text) > limit or "transfer-encoding" in headers:
        raise ValueError("a Content-Length within the limit is needed")
    return int(text)


async def _read_request(reader: asyncio.StreamReader) -> LocalRequest | None:
    head = await _read_head(reader)
    if head is None:
        return None
    first, headers = head
    parts = first.split(" ")
    if len(parts) != 3 or not parts[1].startswith("/"):
        raise ValueError("not an HTTP/1.1 request")
    length = _body_length(headers, MAX_BODY)
    url = urlsplit(parts[1])
    return LocalRequest(
        method=parts[0],
        path=url.path,
        query={name: values[-1] for name, values in parse_qs(url.query, keep_blank_values=True).items()},
        body=await reader.readexactly(length) if length else b"",
        accept=headers.get("accept", ""),
        origin=headers.get("origin", ""),
    )


def _encode_answer(answer: LocalAnswer) -> bytes:
    reason = _REASONS.get(answer.status, "Status")
    head = f"HTTP/1.1 {answer.status} {reason}\r\n"
    if answer.status != 204:
        head += f"content-type: {answer.content_type}\r\ncontent-length: {len(answer.body)}\r\n"
    return head.encode() + b"\r\n" + (b"" if answer.status == 204 else answer.body)


@dataclass(slots=True)
class LocalClient:
    """Asks one server, keeping the connection; not for concurrent use.

    Attributes:
        path: Unix socket of the server.
    """

    path: Path
    _reader: asyncio.StreamReader | None = None
    _writer: asyncio.StreamWriter | None = None

    async def ask(self, method: str, target: str, *, body: bytes = b"", within: float = 5.0) -> LocalAnswer:
        """One request and its answer.

        Args:
            method: HTTP method.
            target: Path and query, already encoded.
            body: JSON.
            within: Seconds for all of it.

        Raises:
            TransientError: When the server cannot be reached, does not answer in time, or answers nonsense.
        """
        try:
            async with asyncio.timeout(within):
                return await self._ask(method, target, body)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError, ValueError) as error:
            self.close()
            why = "no answer in time" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
            raise TransientError(
                f"cannot reach {self.path.name}: {why}", code="unreachable", retry_after=1.0
            ) from error
        except BaseException:
            self.close()  # cancelled between question and answer: the connection is of no more use
            raise

    async def _ask(self, method: str, target: str, body: bytes) -> LocalAnswer:
        if self._writer is None or self._writer.is_closing() or self._reader is None or self._reader.at_eof():
            self._reader, self._writer = await asyncio.open_unix_connection(str(self.path), limit=MAX_HEAD)
        length = f"content-length: {len(body)}\r\n" if body or method == "POST" else ""
        self._writer.write(f"{method} {target} HTTP/1.1\r\nhost: fairway\r\n{length}\r\n".encode() + body)
        await self._writer.drain()
        head = await _read_head(self._reader)
        if head is None:
            raise ConnectionResetError("closed without an answer")
        first, headers = head
        parts = first.split(" ", 2)
        if len(parts) < 2 or not parts[1].isdecimal():
            raise ValueError("not an HTTP/1.1 answer")
        length_in = _body_length(headers, MAX_ANSWER)
        payload = await self._reader.readexactly(length_in) if length_in else b""
        return LocalAnswer(status=int(parts[1]), body=payload, content_type=headers.get("content-type", ""))

    def close(self) -> None:
        """Drop the connection; the next question opens a new one."""
        if self._writer is not None:
            with contextlib.suppress(OSError, RuntimeError):
                self._writer.close()
        self._reader = self._writer = None
