"""One call to the world with everything around it: a place, money set aside, and another try where that is right."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, TypeVar

from fairway.clock import Clock
from fairway.errors import BusyError, TransientError
from fairway.evals.running.limiting import AdaptiveLimit, Slot
from fairway.evals.running.spend import SpendCap

_T = TypeVar("_T")
_BACKOFF_SECONDS = 0.1
_LONGEST_BACKOFF_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRules:
    """When a call is tried again.

    Attributes:
        retries: Further tries after trouble, for calls that leave nothing behind.
        busy_retries: Further tries after a refusal (429, 503).
        max_wait_seconds: A ``Retry-After`` beyond this is not waited for.
        call_timeout_seconds: Of one try; ``None``: no limit here.
    """

    retries: int = 2
    busy_retries: int = 8
    max_wait_seconds: float = 30.0
    call_timeout_seconds: float | None = None


class Patience:
    """A limit of time that stands still while a trial waits for reasons that are not its own.

    Several calls of one trial may wait at a time (votes of a panel): it goes on when none of them does.
    """

    __slots__ = ("_left", "_resting", "_scope", "_waiting")

    def __init__(self, scope: asyncio.Timeout | None = None, resting: set[asyncio.Task[Any]] | None = None) -> None:
        """Take the limit; ``None``: there is none.

        Args:
            scope: The limit.
            resting: Where the task is found while it waits: nothing is lost when it is cancelled then.
        """
        self._scope = scope
        self._resting = resting
        self._left: float | None = None
        self._waiting = 0

    def __enter__(self) -> None:
        """Stop the clock."""
        self._waiting += 1
        if self._resting is not None and (task := asyncio.current_task()) is not None:
            self._resting.add(task)
        when = None if self._scope is None else self._scope.when()
        if self._scope is not None and when is not None and not self._scope.expired():
            self._left = max(0.0, when - asyncio.get_running_loop().time())
            self._scope.reschedule(None)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Let it go on."""
        self._waiting -= 1
        if self._resting is not None and (task := asyncio.current_task()) is not None:
            self._resting.discard(task)
        if self._scope is not None and self._left is not None and not self._waiting:
            self._scope.reschedule(asyncio.get_running_loop().time() + self._left)
            self._left = None


OF_THE_TRIAL: ContextVar[Patience | None] = ContextVar("patience", default=None)
"""Of the trial a call is made for, where who makes it (a judge) knows nothing of trials."""


@dataclass(slots=True, kw_only=True)
class Caller:
    """Makes calls to one endpoint.

    Attributes:
        limit: Places at the endpoint.
        total: Places over all endpoints; ``None``: the limit is enough.
        spend: ``None``: nobody counts money.
        rng: For jitter.
    """

    limit: AdaptiveLimit
    rules: CallRules
    clock: Clock
    total: asyncio.Semaphore | None = None
    spend: SpendCap | None = None
    rng: random.Random = field(default_factory=random.Random)

    async def call(
        self,
        send: Callable[[], Awaitable[_T]],
        *,
        cost_of: Callable[[_T], int | None],
        at_most: int | None = None,
        repeatable: bool = False,
        patience: Patience | None = None,
    ) -> _T:
        """Call until there is an answer, or trying again is wrong.

        Args:
            send: Makes the call.
            cost_of: What an answer cost, in millionths of a US dollar; ``None``: not known.
            at_most: What the call costs at most; ``None``: nobody knows.
            repeatable: A call whose end nobody saw may be made again: it leaves nothing behind.
            patience: Stands still while this waits; ``None``: that of :data:`OF_THE_TRIAL`.

        Raises:
            TransientError: After the last try.
            PermanentError: Refused for good.
            SpendError: The cap leaves no room.
            PriceError: There is a cap, and a price is not known.
        """
        troubles = refusals = 0
        still = patience or OF_THE_TRIAL.get() or Patience()
        while True:
            try:
                return await self._once(send, cost_of, at_most, still)
            except BusyError as error:
                refusals += 1
                wait = self._wait(refusals, error.retry_after)
                if wait is None or refusals > self.rules.busy_retries or self.limit.hopeless:
                    raise
            except TransientError as error:
                troubles += 1
                wait = self._wait(troubles, error.retry_after)
                if wait is None or not repeatable or troubles > self.rules.retries:
                    raise
            with still:
                await self.clock.sleep(wait)

    def _wait(self, tries: int, retry_after: float | None) -> float | None:
        """Seconds before the next try; ``None``: it asks for longer than we wait.

        Full jitter (Brooker 2015, "Exponential Backoff And Jitter"): anything between nothing and the bound, which
        spreads those who were refused together better than a part of the bound does. Those who were told the same
        second are spread after it, never before.
        """
        if retry_after is not None:
            if retry_after > self.rules.max_wait_seconds:
                return None
            return retry_after + self.rng.uniform(0.0, min(1.0, 0.1 + retry_after * 0.1))
        return self.rng.uniform(0.0, min(_LONGEST_BACKOFF_SECONDS, _BACKOFF_SECONDS * 2.0**tries))

    async def _once(
        self,
        send: Callable[[], Awaitable[_T]],
        cost_of: Callable[[_T], int | None],
        at_most: int | None,
        still: Patience,
    ) -> _T:
        with still:
            slot = await self.limit.acquire()
            try:
                if self.total is not None:
                    await self.total.acquire()
            except asyncio.CancelledError:
                self.limit.failed(slot)
                raise
        try:
            return await self._paid(send, cost_of, at_most, slot, still)
        finally:
            if self.total is not None:
                self.total.release()

    async def _paid(
        self,
        send: Callable[[], Awaitable[_T]],
        cost_of: Callable[[_T], int | None],
        at_most: int | None,
        slot: Slot,
        still: Patience,
    ) -> _T:
        """Set money aside, send, book what it cost."""
        if self.spend is None:
            return await self._sent(send, slot)
        try:
            with still:
                reservation = await self.spend.reserve(at_most)
        except BaseException:
            self.limit.failed(slot)
            raise
        try:
            answer = await self._sent(send, slot)
        except BusyError:
            self.spend.release(reservation, paid=False)
            raise
        except BaseException:
            # nobody saw how it ended: it may have been paid
            self.spend.release(reservation, paid=True)
            raise
        self.spend.settle(reservation, cost_of(answer))
        return answer

    async def _sent(self, send: Callable[[], Awaitable[_T]], slot: Slot) -> _T:
        try:
            limit = self.rules.call_timeout_seconds
            if limit is None:
                answer = await send()
            else:
                async with asyncio.timeout(limit) as scope:
                    answer = await send()
        except BusyError as error:
            self.limit.refused(slot, error.retry_after)
            raise
        except TimeoutError as error:
            self.limit.failed(slot)
            if limit is not None and scope.expired():
                raise TransientError(f"no answer within {limit:g} s", code="eval_call_timeout") from error
            raise
        except BaseException:
            self.limit.failed(slot)
            raise
        self.limit.answered(slot)
        return answer
