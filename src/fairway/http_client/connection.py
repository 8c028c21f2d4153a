"""One connection: a request out, its answer in."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import httptools

from fairway.http_client.errors import HttpAnswerError, HttpCutError, HttpTroubleError

_MOST_HEAD_BYTES = 64 * 1024
_NO_BODY = (204, 304)
_CONNECT_DONE = 200


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """An answer, read whole.

    Attributes:
        headers: Names in lower case; a header sent twice is joined by ``", "``.
        body: Decoded, when it was sent compressed.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes


class Connection(asyncio.Protocol):
    """Speaks HTTP/1.1 on one transport, one request at a time.

    Framing is llhttp's, which refuses what two readers could understand differently. What comes unasked - before a
    request, or after an answer - makes the connection unusable; the answer it followed stands.
    """

    __slots__ = (
        "_answer",
        "_body",
        "_encoding",
        "_framed",
        "_head_bytes",
        "_headers",
        "_in_head",
        "_limit",
        "_parser",
        "_size",
        "_status",
        "_transport",
        "_tunnel",
        "idle_since",
        "keep_seconds",
        "received",
        "usable",
    )

    def __init__(self) -> None:
        self.usable = False
        self.idle_since = 0.0
        self.keep_seconds: float | None = None
        self.received = False
        self._transport: asyncio.Transport | None = None
        self._parser: Any = None
        self._answer: asyncio.Future[HttpResponse] | None = None
        self._tunnel = False
        self._limit = 0
        self._reset()

    def _reset(self) -> None:
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._size = 0
        self._head_bytes = self._status = 0
        self._in_head = True
        self._framed = False
        self._encoding = ""

    # what the client does

    def send(self, data: bytes, *, max_body_bytes: int) -> asyncio.Future[HttpResponse]:
        """Write a request; the future is its answer.

        The future fails with HttpCutError when the connection ends first, and with HttpAnswerError when what comes is
        not HTTP or too large.
        """
        self._reset()
        self.received = False
        self._limit = max_body_bytes
        self._answer = asyncio.get_running_loop().create_future()
        if self._transport is None or not self.usable:
            self._answer.set_exception(HttpCutError("the connection is closed"))
        else:
            self._transport.write(data)
        return self._answer

    def open_tunnel(self, data: bytes) -> asyncio.Future[HttpResponse]:
        """Ask a proxy for a tunnel; its answer ends with its head."""
        self._tunnel = True
        return self.send(data, max_body_bytes=_MOST_HEAD_BYTES)

    @property
    def transport(self) -> asyncio.Transport | None:
        """To put TLS into a tunnel."""
        return self._transport

    def tunnelled(self, transport: asyncio.Transport) -> None:
        """Go on with TLS inside the tunnel."""
        self._tunnel = False
        self._begin(transport)

    def close(self) -> None:
        """Let go of it; an answer that is waited for fails."""
        self.usable = False
        if self._transport is not None:
            self._transport.abort()

    # what the transport says

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ready for a request."""
        self._begin(cast(asyncio.Transport, transport))

    def _begin(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._parser = httptools.HttpResponseParser(self)
        self.usable = True

    def data_received(self, data: bytes) -> None:
        """Feed the parser."""
        if self._answer is None or self._answer.done():
            self.close()
            return
        self.received = True
        if self._in_head:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._fail(HttpAnswerError("the server changed the protocol"))
        except httptools.HttpParserCallbackError as error:
            cause = error.__context__
            self._fail(cause if isinstance(cause, HttpAnswerError) else HttpAnswerError("the answer cannot be read"))
        except httptools.HttpParserError as error:
            self._fail(HttpAnswerError(f"the answer is not HTTP/1.1 ({error})"))
        if self._in_head and self._head_bytes > _MOST_HEAD_BYTES:
            self._fail(HttpAnswerError(f"the answer's head is over {_MOST_HEAD_BYTES} bytes"))

    def eof_received(self) -> bool:
        """The server has said all it will."""
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """Nothing more comes: the end of an answer that has no other end, else a cut."""
        self.usable = False
        self._transport = self._parser = None
        if self._answer is None or self._answer.done():
            return
        if error is None and not self._in_head and not self._framed:
            self._complete()
        else:
            self._fail(HttpCutError("the connection ended before the answer did"))

    # what the parser says

    def on_message_begin(self) -> None:
        """An answer begins; one that nobody asked for makes the connection unusable."""
        if self._answer is None or self._answer.done():
            self.usable = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header, or a trailer (which is not taken)."""
        if not self._in_head:
            return
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        self._headers[key] = f"{self._headers[key]}, {text}" if key in self._headers else text

    def on_headers_complete(self) -> None:
        """Decide how the body ends."""
        status = self._parser.get_status_code()
        if self._tunnel and status == _CONNECT_DONE:
            self._in_head = False
            self._done(HttpResponse(status, self._headers, b""))
            return
        if status < 200:
            return  # an interim answer: the real one follows
        self._in_head = False
        self._status = status
        headers = self._headers
        coding = headers.get("transfer-encoding", "").lower()
        self._framed = status in _NO_BODY or coding.endswith("chunked") or (not coding and "content-length" in headers)
        self._encoding = headers.get("content-encoding", "").strip().lower()
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length) > self._limit:
            raise HttpAnswerError(f"the answer is over {self._limit} bytes")

    def on_body(self, data: bytes) -> None:
        """A piece of the body."""
        self._size += len(data)
        if self._size > self._limit:
            raise HttpAnswerError(f"the answer is over {self._limit} bytes")
        self._body.append(data)

    def on_message_complete(self) -> None:
        """The answer is there, unless it was an interim one."""
        if self._in_head:
            self._headers = {}
            return
        if not self._parser.should_keep_alive():
            self.usable = False
        self._complete()

    def _complete(self) -> None:
        try:
            body = self._decoded(b"".join(self._body))
        except HttpAnswerError as error:
            self._fail(error)
            return
        self._done(HttpResponse(self._status, self._headers, body))

    def _done(self, response: HttpResponse) -> None:
        self._body = []
        self.keep_seconds = _kept(self._headers.get("keep-alive"))
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(response)

    def _decoded(self, body: bytes) -> bytes:
        if self._encoding in ("", "identity"):
            return body
        if self._encoding not in ("gzip", "x-gzip", "deflate"):
            raise HttpAnswerError(f"the answer is encoded as {self._encoding[:40]!r}, which was not asked for")
        found = bytearray()
        while True:  # RFC 1952: members follow each other, and all of them are the answer
            unzip = zlib.decompressobj(zlib.MAX_WBITS | 32)
            try:
                found += unzip.decompress(body, self._limit + 1 - len(found))
            except zlib.error as error:
                raise HttpAnswerError("the compressed answer cannot be read") from error
            if len(found) > self._limit:
                raise HttpAnswerError(f"the answer is over {self._limit} bytes")
            if not unzip.eof:
                raise HttpAnswerError("the compressed answer ends too early")
            body = unzip.unused_data
            if not body:
                return bytes(found)

    def _fail(self, error: HttpTroubleError | HttpAnswerError) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
        self.close()


def _kept(header: str | None) -> float | None:
    """Seconds a server says it keeps an idle connection."""
    for part in (header or "").split(","):
        name, _, value = part.strip().partition("=")
        if name.lower() == "timeout" and value.isdecimal() and len(value) < 8:
            return float(value)
    return None
