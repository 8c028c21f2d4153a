"""A request on the short way until its answer comes; anything unusual makes an :class:`Exchange` of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fairway.gateway.exchange import Exchange

if TYPE_CHECKING:
    from fairway.gateway.client import ClientConnection
    from fairway.gateway.serving import Known, Serving
    from fairway.gateway.telemetry import Cell
    from fairway.gateway.upstream import Upstream


class QuickExchange:
    """A request that was sent as it came; stands for the exchange it becomes when anything but a usual answer happens.

    Each connection to an arm has one, used for one request after another.

    Attributes:
        sent: The request as it came; empty between requests.
        unit: Key of its unit when it takes part in unit tests.
        cookie: Lines for the answer.
        number: Of the request, in this worker.
        tail: The number as it ends a line.
    """

    __slots__ = (
        "cell", "client", "cookie", "known", "number", "sent", "serving", "started", "tail", "unit", "upstream",
    )  # fmt: skip

    cell: Cell
    client: ClientConnection
    cookie: bytes
    known: Known
    number: int
    sent: bytes
    serving: Serving
    started: float
    tail: bytes
    unit: bytes | None
    upstream: Upstream | None
    begun = False
    may_hold = True

    def whole(self) -> Exchange:
        """The exchange it becomes, known from now on to both of its connections."""
        exchange = Exchange.taken_over(self)
        client, upstream = self.client, self.upstream
        self.upstream, self.sent = None, b""
        if client.exchange is self:
            client.exchange = exchange
        if upstream is not None and upstream.exchange is self:
            upstream.exchange = exchange
        return exchange

    def answer_data(self, data: bytes) -> None:
        """An unusual answer began."""
        self.whole().answer_data(data)

    def upstream_lost(self, *, clean: bool) -> None:
        """The arm closed the connection."""
        self.whole().upstream_lost(clean=clean)

    def client_gone(self) -> None:
        """The client hung up."""
        self.whole().client_gone()

    def overdue(self, now: float) -> None:
        """Called by the sweep; ``now`` in ``perf_counter()`` seconds."""
        exchange = self.whole()
        exchange.pass_held()
        if not exchange.done:
            exchange.overdue(now)

    def upstream_reading(self, *, on: bool) -> None:
        """Read the answer, or stop reading it; called while a usual answer is written, too."""
        if self.upstream is not None:
            self.upstream.reading(on=on)

    def body_data(self, data: bytes) -> bytes:
        """All of the request was sent: what comes now is another's."""
        return data
