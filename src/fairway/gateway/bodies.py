"""Bodies read piece by piece: where each ends, and what of the bytes at hand belongs to it."""

from __future__ import annotations

from fairway.gateway.chunks import LAST_CHUNK, Dechunker, as_chunk
from fairway.gateway.framing import CHUNKED


class RequestBody:
    """A client's body on its way to an arm, framed anew by the gateway's own reading."""

    __slots__ = ("_dechunk", "_left", "_length", "sent")

    def __init__(self, length: int, *, limit: int, left: int | None = None) -> None:
        """Begin a body.

        Args:
            length: Bytes, or :data:`CHUNKED`.
            limit: Bytes of payload a chunked one may have.
            left: Bytes still to come, when some have been taken before.
        """
        self._dechunk = Dechunker(limit=limit) if length == CHUNKED else None
        self._length = max(0, length)
        self._left = self._length if left is None else left
        self.sent = not length
        """Whether all of it has been read."""

    @property
    def taken(self) -> int:
        """Bytes of payload so far."""
        return self._length - self._left if self._dechunk is None else self._dechunk.total

    def take(self, data: bytes) -> tuple[bytes, bytes]:
        """The part of ``data`` that is this body, framed for the arm, and the rest.

        Raises:
            RefusalError: When a chunk is malformed, or the body passes its limit.
        """
        dechunk = self._dechunk
        if dechunk is None:
            payload = data[: self._left]
            self._left -= len(payload)
            self.sent = not self._left
            return payload, data[len(payload) :]
        payload, rest = dechunk.feed(data)
        framed = as_chunk(payload)
        if dechunk.done:
            self.sent = True
            framed += LAST_CHUNK
        return framed, rest


class AnswerBody:
    """The payload of an arm's answer."""

    __slots__ = ("_dechunk", "_left", "complete", "overlong")

    def __init__(self, length: int) -> None:
        """Begin a body of so many bytes, or :data:`CHUNKED`, or :data:`UNTIL_CLOSE` (then it never completes here)."""
        self._dechunk = Dechunker() if length == CHUNKED else None
        self._left = length
        self.complete = False
        """Whether all of it has come."""
        self.overlong = 0
        """Bytes that came beyond its end: where there are any, the arm and we disagree where messages end."""

    def feed(self, data: bytes) -> bytes:
        """The payload in ``data``.

        Raises:
            RefusalError: When a chunk is malformed.
        """
        if self._dechunk is not None:
            data, rest = self._dechunk.feed(data)
            self.complete = self._dechunk.done
            self.overlong += len(rest)
        elif self._left >= 0:
            left = self._left
            if len(data) > left:
                self.overlong += len(data) - left
                data = data[:left]
            self._left = left - len(data)
            self.complete = not self._left
        return data

    @property
    def between(self) -> bool:
        """Whether it comes in chunks and stands between two of them."""
        return self._dechunk is not None and self._dechunk.between

    @property
    def trailers(self) -> list[bytes]:
        """Trailer lines that came after the last chunk."""
        return [] if self._dechunk is None else self._dechunk.trailers
