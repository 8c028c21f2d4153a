"""The beginning of a request's body, held until it is known whether the key of its unit stands there.

Only for tables with a JSON pointer among their keys, and only for requests whose key is nowhere before it. What is held
is passed on unchanged: the general way reads it as if it had just come.
"""

from __future__ import annotations

from fairway.gateway.chunks import Dechunker
from fairway.gateway.facts import HeadFacts
from fairway.gateway.framing import CHUNKED, RefusalError, RequestHead
from fairway.traffic.json_pointer import MAX_BYTES, look
from fairway.traffic.keys import needs_body
from fairway.traffic.table import RouteTable

_MAX_RAW = 2 * MAX_BYTES
"""Bytes held, framing included: a body in chunks of a byte each has its first 64 KiB further away, and is keyless."""


class BodyKey:
    """One request that waits for its key."""

    __slots__ = ("_beginning", "_dechunk", "_left", "_look_at", "_pointers", "_raw")

    def __init__(self, pointers: tuple[str, ...], length: int) -> None:
        """Wait for what the first of ``pointers`` finds in a body of so many bytes, or :data:`CHUNKED`."""
        self._pointers = pointers
        self._dechunk = Dechunker() if length == CHUNKED else None
        self._left = length
        self._look_at = 0
        self._raw = bytearray()
        self._beginning = bytearray()

    @property
    def raw(self) -> bytes:
        """All that came of the body, as it came, and whatever follows it."""
        return bytes(self._raw)

    @property
    def came(self) -> int:
        """How much that is."""
        return len(self._raw)

    @property
    def beginning(self) -> bytes:
        """The payload in that, its first 64 KiB."""
        return bytes(self._beginning[:MAX_BYTES])

    def feed(self, data: bytes) -> bool:
        """More of the body came; whether that is enough to place the request.

        It is looked at again only once there is twice as much, so that a client that sends byte by byte costs no more
        than twice one that sends it whole.
        """
        self._raw += data
        whole = self._take(data)
        size = len(self._beginning)
        if whole or size >= MAX_BYTES or len(self._raw) >= _MAX_RAW:
            return True
        if size < self._look_at:
            return False
        self._look_at = 2 * size
        return self._settled()

    def _take(self, data: bytes) -> bool:
        """Add what is payload to the beginning; whether that was all, or it cannot be read (which others will say)."""
        if self._dechunk is None:
            data = data[: self._left]
            self._left -= len(data)
            self._beginning += data
            return not self._left
        try:
            payload, _ = self._dechunk.feed(data)
        except RefusalError:
            return True
        self._beginning += payload
        return self._dechunk.done

    def _settled(self) -> bool:
        """Whether more of the body could not change which pointer finds a key."""
        beginning = self.beginning
        for pointer in self._pointers:
            found, settled = look(beginning, pointer)
            if found is not None or not settled:
                return settled
        return True


def waits_for_key(head: RequestHead, table: RouteTable) -> BodyKey | None:
    """What waits for the key of a request; ``None`` when its key, or that it has none, is known from its head."""
    if not head.length or head.length > table.limits.body_bytes or not _is_json(head):
        return None
    pointers = needs_body(table.keys, HeadFacts(head))
    return BodyKey(pointers, head.length) if pointers else None


def _is_json(head: RequestHead) -> bool:
    """Whether the body says that it is JSON, and is not compressed (RFC 6838 section 4.2.8: the suffix ``+json``)."""
    coding = (head.value(b"content-encoding") or b"identity").lower()
    kind = (head.value(b"content-type") or b"").partition(b";")[0].strip().lower()
    return coding == b"identity" and (kind == b"application/json" or kind.endswith(b"+json"))
