"""Bodies in chunks: read strictly, written plainly.

One grammar for requests and answers (RFC 9112, 7.1), without the white space that only old senders put around a size:
parsers disagree about that. Extensions are ignored, as every recipient must; trailers are kept for who may want them.
"""

from __future__ import annotations

import re

from fairway.gateway.framing import TOKEN, RefusalError

MAX_LINE = 4096
"""Bytes of a size line or of a trailer."""

MAX_EXTRA = 16_384
"""Bytes of extensions and trailers of one body together: neither counts as payload, so neither may be endless."""

_QUOTED = rb'"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*+"'
_EXTENSION = rb";" + TOKEN + rb"++(?:=(?:" + TOKEN + rb"++|" + _QUOTED + rb"))?"

_size_line = re.compile(rb"([0-9A-Fa-f]{1,8}+)((?:" + _EXTENSION + rb")*+)\r\n").match
_plain_size_line = re.compile(rb"([0-9A-Fa-f]{1,8})\r\n").match
_trailer = re.compile(rb"(" + TOKEN + rb"++):[\t\x20-\x7e\x80-\xff]*+\r\n").fullmatch

FRAMING = frozenset((b"content-length", b"transfer-encoding"))
"""Never in a trailer: a reader that merges trailers into the head would frame the message by them."""


class Dechunker:
    """Reads a chunked body piece by piece.

    Attributes:
        total: Bytes of payload so far.
        done: Whether the body has ended.
        trailers: Its trailer lines, as they came.
    """

    __slots__ = ("_buffer", "_extra", "_left", "_limit", "_state", "done", "total", "trailers")

    _SIZE, _DATA, _DATA_END, _TRAILER = range(4)

    def __init__(self, *, limit: int | None = None) -> None:
        """Begin a body; ``limit``: bytes of payload it may have."""
        self._limit = limit
        self._state = self._SIZE
        self._left = 0
        self._extra = 0
        self._buffer = b""
        self.total = 0
        self.done = False
        self.trailers: list[bytes] = []

    @property
    def between(self) -> bool:
        """Whether it stands between two chunks."""
        return self._state == self._SIZE and not self._buffer and not self.done

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Payload found in ``data``, and the bytes after the body's end (empty until :attr:`done`).

        Raises:
            RefusalError: 400, when a chunk is malformed; 413 as soon as a chunk's size passes the limit.
        """
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        elif self._state == self._SIZE and (whole := self._whole(data)):
            return whole, b""
        payload: list[bytes] = []
        at = 0
        while not self.done and at < len(data):
            if self._state == self._DATA:
                piece = data[at : at + self._left]
                payload.append(piece)
                at += len(piece)
                self._left -= len(piece)
                self.total += len(piece)
                if not self._left:
                    self._state = self._DATA_END
                continue
            end = data.find(b"\n", at)
            if end < 0:
                self._hold(data[at:])
                return b"".join(payload), b""
            self._line(data, at, end + 1)
            at = end + 1
        return b"".join(payload), data[at:] if self.done else b""

    def _whole(self, data: bytes) -> bytes:
        """The payload when ``data`` is one chunk and nothing else, as events mostly are; empty otherwise."""
        match = _plain_size_line(data)
        if match is None:
            return b""
        begin = match.end()
        end = len(data) - 2
        size = end - begin
        if int(match.group(1), 16) != size or not data.endswith(b"\r\n"):
            return b""
        if self._limit is not None and self.total + size > self._limit:
            return b""
        self.total += size
        return data[begin:end]

    def _hold(self, part: bytes) -> None:
        """Keep an incomplete line, unless it can no longer become a good one."""
        if len(part) > MAX_LINE or (self._state == self._DATA_END and part != b"\r"):
            raise RefusalError(400, "chunk", "a chunk is malformed")
        self._buffer = part

    def _line(self, data: bytes, at: int, end: int) -> None:
        """A line that is here with its line feed, which is at ``end - 1``."""
        if self._state == self._DATA_END:
            if data[at:end] != b"\r\n":
                raise RefusalError(400, "chunk", "a chunk is longer than its size")
            self._state = self._SIZE
        elif self._state == self._SIZE:
            match = _size_line(data, at, end)
            if match is None or end - at > MAX_LINE:
                raise RefusalError(400, "chunk", "a chunk size is malformed")
            self._left = int(match.group(1), 16)
            self._spend(match.end(2) - match.start(2))
            if self._limit is not None and self.total + self._left > self._limit:
                raise RefusalError(413, "body_too_large", f"the request body is larger than {self._limit} bytes")
            self._state = self._DATA if self._left else self._TRAILER
        elif end - at == 2 and data[at] == 13:  # CR
            self.done = True
        else:
            self._keep(data[at:end])

    def _keep(self, line: bytes) -> None:
        """A trailer."""
        match = _trailer(line)
        if match is None or len(line) > MAX_LINE or match.group(1).lower() in FRAMING:
            raise RefusalError(400, "trailer", "a trailer is malformed, or frames the message")
        self._spend(len(line))
        self.trailers.append(line)

    def _spend(self, size: int) -> None:
        self._extra += size
        if self._extra > MAX_EXTRA:
            raise RefusalError(400, "chunk", f"chunk extensions and trailers are larger than {MAX_EXTRA} bytes")


def as_chunk(payload: bytes) -> bytes:
    """One chunk; nothing for no payload (an empty chunk would end the body)."""
    return b"%x\r\n%b\r\n" % (len(payload), payload) if payload else b""


LAST_CHUNK = b"0\r\n\r\n"
