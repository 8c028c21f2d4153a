"""A request on the short way until its answer comes; anything unusual makes an :class:`Exchange` of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from fairway.gateway.exchange import Exchange

if TYPE_CHECKING:
    from fairway.gateway.client import ClientConnection
    from fairway.gateway.sending import Going
    from fairway.gateway.serving import Known, Serving
    from fairway.gateway.telemetry import Cell
    from fairway.gateway.upstream import Upstream


class QuickExchange:
    """A request that was sent as it came; stands for the exchange it becomes when anything but a usual answer happens.

    Each connection to an arm has one, used for one request after another. What a request is goes in and out as one
    tuple: a dozen attributes, set and read one by one, cost a tenth of all that the short way does.

    Attributes:
        upstream: The connection to the arm.
        begun: Whether an answer that begins now is not a usual one.
        going: The request; ``None`` between requests.
    """

    __slots__ = ("begun", "going", "upstream")

    may_hold = True

    def __init__(self, upstream: Upstream) -> None:
        self.upstream = upstream
        self.begun = False
        self.going: Going | None = None

    # --- of the request, for those who do not count every step; not to be asked between requests ---------------------

    @property
    def _going(self) -> Going:
        return cast("Going", self.going)

    @property
    def client(self) -> ClientConnection:
        """Who sent it."""
        return self._going[0]

    @property
    def known(self) -> Known:
        """Where its unit goes."""
        return self._going[1]

    @property
    def cell(self) -> Cell:
        """Where it is counted."""
        return self._going[2]

    @property
    def started(self) -> float:
        """When, in ``perf_counter()`` seconds."""
        return self._going[3]

    @property
    def sent(self) -> bytes:
        """As it came."""
        return self._going[4]

    @property
    def cookie(self) -> bytes:
        """Lines for the answer."""
        return self._going[5]

    @property
    def unit(self) -> bytes | None:
        """Key of its unit when it takes part in unit tests."""
        return self._going[6]

    @property
    def number(self) -> int:
        """In this worker."""
        return int(self._going[7], 16)

    @property
    def serving(self) -> Serving:
        """The table it was placed by."""
        return self._going[8]

    # --- what an exchange does -----------------------------------------------------------------------------------

    def whole(self) -> Exchange:
        """The exchange it becomes, known from now on to both of its connections."""
        exchange = Exchange.taken_over(self)
        client, upstream = self.client, self.upstream
        self.going = None
        if client.exchange is self:
            client.exchange = exchange
        if upstream.exchange is self:
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
        self.upstream.reading(on=on)

    def body_data(self, data: bytes) -> bytes:
        """All of the request was sent: what comes now is another's."""
        return data
