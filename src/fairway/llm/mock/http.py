"""The least HTTP/1.1 a model server needs, on an asyncio Protocol: keep-alive, pipelining, streams."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import httptools

MAX_BODY_BYTES = 8 * 1024 * 1024
MAX_HEAD_BYTES = 64 * 1024
_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 413: "Content Too Large",
            429: "Too Many Requests", 500: "Internal Server Error"}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRequest:
    """One whole request; header names in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    keep_alive: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpAnswer:
    """What to send, and when.

    Attributes:
        body: The whole body of a plain answer.
        events: Pieces of a streamed answer, sent chunked; ``None`` for a plain one.
        delay: Seconds before the first byte.
        pace: Seconds between pieces of a stream.
        cut_after: Close the connection after that many pieces (of a stream) or half-way (of a plain body).
    """

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()
    events: Iterator[bytes] | None = None
    delay: float = 0.0
    pace: float = 0.0
    cut_after: int | None = None


@dataclass(slots=True)
class _Partial:
    """A request that is still arriving."""

    url: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    body: list[bytes] = field(default_factory=list)
    head_size: int = 0
    body_size: int = 0


class ModelProtocol(asyncio.Protocol):
    """One connection: requests are answered in turn, each after its delay.

    Args:
        handle: Makes the answer to a request; must not block.
        open_connections: Where the connection enters itself while it lives, so that a drain can wait for it.
    """

    def __init__(self, handle: Callable[[HttpRequest], HttpAnswer], open_connections: set[ModelProtocol]) -> None:
        self._handle = handle
        self._connections = open_connections
        self._parser: Any = httptools.HttpRequestParser(self)
        self._partial = _Partial()
        self._waiting: deque[HttpRequest] = deque()
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.busy = False
        self.closing = False

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the transport."""
        self._transport = cast("asyncio.Transport", transport)
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget what was not sent yet."""
        self._transport = None
        self._connections.discard(self)
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        """Feed the parser; a malformed request is answered 400 and the connection closed."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._refuse(400, "upgrades are not supported")
        except httptools.HttpParserError as error:
            if self._transport is not None and not self._transport.is_closing():
                self._refuse(400, f"not HTTP/1.1: {error}")

    # httptools callbacks

    def on_message_begin(self) -> None:
        """Start a new request."""
        self._partial = _Partial()

    def on_url(self, url: bytes) -> None:
        """Collect the target."""
        self._partial.url += url
        self._count_head(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect one header."""
        self._partial.headers[name.decode("latin-1").lower()] = value.decode("latin-1")
        self._count_head(len(name) + len(value))

    def on_headers_complete(self) -> None:
        """Let a careful client send its body."""
        if self._partial.headers.get("expect", "").lower() == "100-continue" and self._transport is not None:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """Collect the body up to its limit."""
        self._partial.body_size += len(body)
        if self._partial.body_size > MAX_BODY_BYTES:
            self._refuse(413, f"the body is larger than {MAX_BODY_BYTES} bytes")
            return
        self._partial.body.append(body)

    def on_message_complete(self) -> None:
        """A request is whole: answer it, or queue it behind the one being answered."""
        partial = self._partial
        if self.closing:
            return
        self._waiting.append(
            HttpRequest(
                method=self._parser.get_method().decode("ascii"),
                path=partial.url.decode("latin-1").split("?", 1)[0],
                headers=partial.headers,
                body=b"".join(partial.body),
                keep_alive=self._parser.should_keep_alive(),
            )
        )
        if not self.busy:
            self._next()

    def _count_head(self, size: int) -> None:
        self._partial.head_size += size
        if self._partial.head_size > MAX_HEAD_BYTES:
            self._refuse(400, "the request head is too large")

    # answering

    def _next(self) -> None:
        if not self._waiting or self._transport is None:
            return
        self.busy = True
        request = self._waiting.popleft()
        answer = self._handle(request)
        if answer.delay > 0:
            self._timer = asyncio.get_running_loop().call_later(answer.delay, self._begin, request, answer)
        else:
            self._begin(request, answer)

    def _begin(self, request: HttpRequest, answer: HttpAnswer) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        keep = request.keep_alive and answer.cut_after is None and not self.closing
        if answer.events is not None:
            self._transport.write(_head(answer, keep, "Transfer-Encoding: chunked"))
            self._stream(answer, keep, 0)
            return
        head = _head(answer, keep, f"Content-Length: {len(answer.body)}")
        if answer.cut_after is not None:
            self._transport.write(head + answer.body[: len(answer.body) // 2])
            self._transport.close()
            return
        self._transport.write(head + answer.body)
        self._finish(keep)

    def _stream(self, answer: HttpAnswer, keep: bool, sent: int) -> None:
        assert answer.events is not None
        if self._transport is None or self._transport.is_closing():
            return
        batch: list[bytes] = []
        for event in answer.events:
            if sent == answer.cut_after:
                self._transport.write(b"".join(batch))
                self._transport.close()
                return
            batch.append(b"%x\r\n%b\r\n" % (len(event), event))
            sent += 1
            if answer.pace > 0:
                self._transport.write(batch[0])
                loop = asyncio.get_running_loop()
                self._timer = loop.call_later(answer.pace, self._stream, answer, keep, sent)
                return
        batch.append(b"0\r\n\r\n")
        self._transport.write(b"".join(batch))
        self._finish(keep)

    def _finish(self, keep: bool) -> None:
        self.busy = False
        if not keep or self.closing:
            self._close()
        elif self._waiting:
            self._next()

    def _refuse(self, status: int, message: str) -> None:
        self.closing = True
        error = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
        body = json.dumps({"error": error}).encode()
        if self._transport is not None and not self._transport.is_closing():
            answer = HttpAnswer(status=status, body=body)
            self._transport.write(_head(answer, False, f"Content-Length: {len(body)}") + body)
            self._transport.close()

    def _close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def drain(self) -> None:
        """Close as soon as nothing is being answered."""
        self.closing = True
        if not self.busy:
            self._close()

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()


def _head(answer: HttpAnswer, keep: bool, length: str) -> bytes:
    lines = [
        f"HTTP/1.1 {answer.status} {_REASONS.get(answer.status, 'Status')}",
        f"Content-Type: {answer.content_type}",
        length,
        *(f"{name}: {value}" for name, value in answer.headers),
    ]
    if not keep:
        lines.append("Connection: close")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
