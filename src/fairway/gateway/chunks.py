"""Bodies in chunks: read strictly, written plainly."""

from __future__ import annotations

import re

from fairway.gateway.framing import TOKEN, RefusalError


class Dechunker:
    """Reads a chunked body piece by piece.

    Strict (requests): no chunk extensions, no trailers. Otherwise (answers) both are read and dropped.
    """

    __slots__ = ("_buffer", "_left", "_limit", "_state", "_strict", "done", "total")

    _SIZE, _DATA, _DATA_END, _TRAILER = range(4)
    _MAX_LINE = 4096

    def __init__(self, *, strict: bool, limit: int | None = None) -> None:
        """Begin a body; ``limit``: bytes of payload it may have."""
        self._strict = strict
        self._limit = limit
        self._state = self._SIZE
        self._left = 0
        self._buffer = b""
        self.total = 0
        self.done = False

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Payload found in ``data``, and the bytes after the body's end (empty until :attr:`done`).

        Raises:
            RefusalError: 400, when a chunk is malformed; 413 as soon as a chunk's size passes the limit.
        """
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
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
            self._line(data[at : end + 1])
            at = end + 1
        return b"".join(payload), data[at:] if self.done else b""

    def _hold(self, part: bytes) -> None:
        """Keep an incomplete line, unless it can no longer become a good one."""
        if len(part) > self._MAX_LINE or (self._state == self._DATA_END and part != b"\r"):
            raise RefusalError(400, "chunk", "a chunk is malformed")
        self._buffer = part

    def _line(self, line: bytes) -> None:
        if not line.endswith(b"\r\n") or len(line) > self._MAX_LINE:
            raise RefusalError(400, "chunk", "a line of the chunked body does not end in CRLF")
        if self._state == self._SIZE:
            match = (_strict_size if self._strict else _lenient_size)(line)
            if match is None:
                raise RefusalError(400, "chunk", "a chunk size is malformed")
            self._left = int(match.group(1), 16)
            if self._limit is not None and self.total + self._left > self._limit:
                raise RefusalError(413, "body_too_large", f"the request body is larger than {self._limit} bytes")
            self._state = self._DATA if self._left else self._TRAILER
        elif self._state == self._DATA_END:
            if line != b"\r\n":
                raise RefusalError(400, "chunk", "a chunk is longer than its size")
            self._state = self._SIZE
        elif line == b"\r\n":
            self.done = True
        elif self._strict or not _trailer(line):
            raise RefusalError(400, "trailer", "trailers are not accepted")


_strict_size = re.compile(rb"([0-9A-Fa-f]{1,8})\r\n").fullmatch
_lenient_size = re.compile(rb"([0-9A-Fa-f]{1,8})(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?[ \t]*\r\n").fullmatch
_trailer = re.compile(TOKEN + rb"+:[\t\x20-\x7e\x80-\xff]*\r\n").fullmatch


def as_chunk(payload: bytes) -> bytes:
    """One chunk; nothing for no payload (an empty chunk would end the body)."""
    return b"%x\r\n%b\r\n" % (len(payload), payload) if payload else b""


LAST_CHUNK = b"0\r\n\r\n"
