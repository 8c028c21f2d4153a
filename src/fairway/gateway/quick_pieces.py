"""A usual request whose body comes after its head, on the short way: it goes on piece by piece, as it comes.

Most clients write a head and a body one after the other, and a long prompt takes several reads.
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

from fairway.gateway.framing import RequestHead, parse_request
from fairway.gateway.quick_exchange import QuickExchange
from fairway.gateway.sending import REPLAY_BYTES

if TYPE_CHECKING:
    from fairway.gateway.exchange import Exchange


class PiecedExchange(QuickExchange):
    """A request on the short way that was not all there when it was sent on.

    An answer that begins while some of it is still to come is not a usual one.

    Attributes:
        first: Its head as it came.
        left: Bytes of its body that are still to come.
        touched: When something of it came last.
    """

    __slots__ = ("first", "left", "touched")

    first: bytes
    left: int
    touched: float

    def expect(self, head: bytes, left: int) -> None:
        """All else is known of it: so much is still to come. What is longer than may be kept is not kept at all."""
        self.begun = True
        self.first = head
        self.left = left
        self.touched = self.started
        if len(self.sent) + left > REPLAY_BYTES:
            self._keep(b"")

    @property
    def head(self) -> RequestHead:
        """Its head."""
        head = parse_request(self.first, len(self.first))
        assert head is not None
        return head

    def body_data(self, data: bytes) -> bytes:
        """More of it; the bytes of what comes after it."""
        left = self.left
        if not left:
            return data
        rest = b""
        if len(data) > left:
            data, rest = data[:left], data[left:]
        self.left = left = left - len(data)
        self.begun = left > 0
        self.touched = perf_counter()
        if self.sent:
            self._keep(self.sent + data)
        self.upstream.transport.write(data)
        return rest

    def _keep(self, sent: bytes) -> None:
        going = self._going
        self.going = (*going[:4], sent, *going[5:])

    def whole(self) -> Exchange:
        """The exchange it becomes."""
        exchange = super().whole()
        exchange.resume(self.head, self.left, self.touched)
        return exchange
