"""A hard stop on money: what a call may cost is set aside before it is made, so many at a time cannot overspend."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Protocol

from fairway.errors import FairwayError

_SURPRISE = 2
"""Where nobody says what a call costs at most, it is taken to cost up to so many times the dearest one seen."""


class Pricing(Protocol):
    """What tokens of a model cost."""

    def cost_micros(self, model: str, tokens_in: int, tokens_out: int, cached: int = 0, written: int = 0) -> int | None:
        """Millionths of a US dollar; ``None``: the price is not known."""
        ...


class SpendError(FairwayError):
    """The cap leaves no room for another call."""


class PriceError(FairwayError):
    """There is a cap, and nobody can say what a call cost."""


@dataclass(slots=True)
class Reservation:
    """Money set aside for one call, until it is settled.

    Attributes:
        micros: Millionths of a US dollar.
        blind: Nobody knows yet what any call costs: everything that was left is set aside, and no other call starts.
    """

    micros: int
    blind: bool = False
    open: bool = True


class SpendCap:
    """What a run may spend, judges included.

    ``spent`` never passes ``limit_micros`` as long as no call costs more than was set aside for it. That holds strictly
    for calls that come with their highest price (a bare model with ``max_tokens``). For the others (a service that
    reports its cost afterwards) the first call is made alone, and from then on each is taken to cost up to twice the
    dearest one seen; a call dearer than that is booked in full, and stops what follows.

    A call that was tried again is booked again. One whose end nobody saw (a time-out, a cut connection) may have been
    paid, so it is booked at what was set aside.
    """

    def __init__(self, limit_micros: int | None) -> None:
        """Prepare a cap.

        Args:
            limit_micros: Millionths of a US dollar; ``None``: no cap, and only the sum is kept.
        """
        self.limit_micros = limit_micros
        self._spent = 0
        self._reserved = 0
        self._open = 0
        self._dearest: int | None = None
        self._unknown = False
        self._unpriced = 0
        self._settled = asyncio.Event()

    @property
    def spent_micros(self) -> int | None:
        """Paid so far, in millionths of a US dollar; ``None``: the cost of a call is not known."""
        return None if self._unknown or self._unpriced else self._spent

    @property
    def reserved_micros(self) -> int:
        """Set aside for calls that are being made."""
        return self._reserved

    def book(self, micros: int | None) -> None:
        """Count what was paid before this process began (a run that is resumed)."""
        self._count(micros)

    async def reserve(self, at_most: int | None) -> Reservation:
        """Set money aside for one call; waits while calls in flight might yet leave room.

        Args:
            at_most: What the call costs at most; ``None``: nobody knows.

        Raises:
            SpendError: It does not fit, and nothing in flight could change that.
            PriceError: An earlier call's cost is not known, so nothing can be said about the cap any more.
        """
        if self.limit_micros is None:
            return Reservation(micros=0, blind=at_most is None and self._dearest is None)
        while True:
            if self._unknown:
                raise PriceError(
                    "a call's price is not known, so the cap cannot be kept",
                    code="eval_price",
                    hint="declare the model's price, have the agent report its cost, or run without a cap",
                )
            found = self._room(at_most, self.limit_micros - self._spent - self._reserved)
            if found is not None:
                self._reserved += found.micros
                self._open += 1
                return found
            if self._open == 0:
                spent = f"{self._spent / 1_000_000:.4f} spent"
                raise SpendError(
                    f"the cap of {self.limit_micros / 1_000_000:.4f} USD leaves no room for another call ({spent})",
                    code="eval_spend",
                    hint="raise the cap (--spend, evals.spend), and run it again",
                )
            self._settled.clear()
            await self._settled.wait()

    def _room(self, at_most: int | None, left: int) -> Reservation | None:
        if at_most is None and self._dearest is None:
            return Reservation(micros=left, blind=True) if self._open == 0 and left > 0 else None
        wanted = at_most if at_most is not None else max(1, _SURPRISE * (self._dearest or 0))
        return Reservation(micros=wanted) if wanted <= left else None

    def settle(self, reservation: Reservation, cost_micros: int | None) -> None:
        """Book what a call cost.

        Args:
            reservation: Of the call.
            cost_micros: ``None``: nobody knows; from then on a cap refuses every call.

        Raises:
            ValueError: It is settled already.
        """
        self._close(reservation)
        self._count(cost_micros)

    def release(self, reservation: Reservation, *, paid: bool) -> None:
        """End a call without an answer.

        Args:
            reservation: Of the call.
            paid: It may have been paid: booked at what was set aside; while no price is known, at what a call is taken
                to cost once one is. ``False``: it was refused, or never made.

        Raises:
            ValueError: It is settled already.
        """
        self._close(reservation)
        if not paid:
            return
        if self.limit_micros is None or reservation.blind:
            self._unpriced += 1
            self._price_the_unpriced()
        else:
            self._count(reservation.micros)

    def _close(self, reservation: Reservation) -> None:
        if not reservation.open:
            raise ValueError("a reservation is settled once")
        reservation.open = False
        if self.limit_micros is not None:
            self._reserved -= reservation.micros
            self._open -= 1
            self._settled.set()

    def _count(self, cost_micros: int | None) -> None:
        if cost_micros is None:
            self._unknown = True
            return
        self._spent += cost_micros
        self._dearest = max(self._dearest or 0, cost_micros)
        self._price_the_unpriced()

    def _price_the_unpriced(self) -> None:
        if self._dearest is not None:
            self._spent += self._unpriced * _SURPRISE * self._dearest
            self._unpriced = 0
