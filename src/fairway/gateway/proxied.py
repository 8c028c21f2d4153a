"""Requests that a trusted proxy passes on: they say whose they are, each another, and yet take the short way.

The short way knows only heads without such words. So these are taken out of the head, which then is one like many, and
travel with what every request gains on its way to the arm.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from fairway.gateway.client import ClientConnection
from fairway.gateway.forwarding import FORWARDED_FOR, NOBODY, Peer, speaks_for
from fairway.gateway.quick_request import quick_request
from fairway.gateway.repeats import NO_REQUEST
from fairway.traffic.matching import looked_at

if TYPE_CHECKING:
    from fairway.gateway.serving import Serving
    from fairway.gateway.worker import Worker

_VALUE = rb"[\t\x20-\x7e\x80-\xff]*+"
_line = re.compile(
    rb"\r\n(x-forwarded-[a-z0-9-]++|x-real-[a-z0-9-]++|forwarded):(" + _VALUE + rb")(?=\r\n)", re.IGNORECASE
)
"""A whole line of what a proxy says; one with anything else in it stays where it is, and so off the short way."""


class ProxyConnection(ClientConnection):
    """A connection of a gateway that trusts somebody; of anybody else's it does as the usual one."""

    __slots__ = ("_may", "_serving")

    def __init__(self, worker: Worker, peer: Peer = NOBODY) -> None:
        """Begin a connection."""
        super().__init__(worker, peer)
        self._serving: Serving | None = None
        self._may = False
        """Whether nothing in that table looks at what is taken out."""

    def data_received(self, data: bytes) -> None:
        """Bytes from the proxy."""
        if self.peer.trusted and self.exchange is None and not self.buffer and not self.closing and self._passes(data):
            return
        super().data_received(data)

    def _next(self, data: bytes, since: float = 0.0) -> None:
        """Begin the request at the start of ``data``, the general way; see :meth:`ClientConnection._next`."""
        self._say(self.peer.lines)  # what the one before it said was of its own client
        super()._next(data, since)

    def _passes(self, data: bytes) -> bool:
        """Whether a request took the short way; with nothing done when not."""
        end = data.find(b"\r\n\r\n") + 2
        said = _line.findall(data, 0, end) if end > 1 and self._blind() else ()
        self._say(self.peer.lines)
        if not said:
            return False
        kept, chain = [], []
        for name, value in said:
            if name.lower() == FORWARDED_FOR:
                chain.append(value.strip(b" \t"))
            else:
                kept.append(b"%b:%b\r\n" % (name, value))
        chain.append(self.address.encode())
        kept.append(b"%b: %b\r\n" % (FORWARDED_FOR, b", ".join(filter(None, chain))))
        self._say(b"".join(kept))
        self.repeat = NO_REQUEST  # what another request said goes with its head, and the same head comes without
        passed = quick_request(self, _line.sub(b"", data[:end]) + data[end:])
        self.repeat = NO_REQUEST
        if not passed:
            self._say(self.peer.lines)
        return passed

    def _say(self, lines: bytes) -> None:
        """What the request that begins tells the arm of who asks."""
        if lines is not self.forwarded_line:
            self.forwarded_line = lines
            self.lines = b"%bx-fairway-request: %b" % (lines, self.worker.prefix)

    def _blind(self) -> bool:
        """Whether the table in force decides nothing by what is taken out."""
        serving = self.worker.serving
        if serving is not self._serving:
            self._serving = serving
            names = (*looked_at(serving.table.rules), serving.key_header)
            self._may = not any(speaks_for(name.encode("latin-1", "replace")) for name in names)
        return self._may
