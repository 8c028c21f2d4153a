from __future__ import annotations

import asyncio

from fairway.clock import SystemClock
from fairway.evals.running.limiting import AdaptiveLimit, Slot


class TestClock(SystemClock):
    __test__ = False

    def __init__(self) -> None:
        self.at = 100.0

    def monotonic(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        self.at += seconds
        await asyncio.sleep(0)


def limit_of(maximum: int) -> AdaptiveLimit:
    return AdaptiveLimit(maximum, clock=TestClock())


async def taken(limit: AdaptiveLimit, number: int) -> list[Slot]:
    return [await limit.acquire() for _ in range(number)]


async def test_a_healthy_endpoint_gets_everything_at_once():
    limit = limit_of(50)
    await asyncio.wait_for(taken(limit, 50), 1)
    assert limit.active == 50


async def test_no_more_than_the_maximum_are_ever_in_flight():
    limit = limit_of(3)
    most = 0

    async def call() -> None:
        nonlocal most
        slot = await limit.acquire()
        most = max(most, limit.active)
        await asyncio.sleep(0)
        limit.answered(slot)

    await asyncio.gather(*(call() for _ in range(40)))
    assert (most, limit.active) == (3, 0)


async def test_a_wave_of_refusals_halves_the_limit_once_and_the_next_wave_again():
    limit = limit_of(40)
    for expected in (20, 10, 5, 2, 1, 1):
        for slot in await taken(limit, limit.limit):
            limit.refused(slot, None)
        assert limit.limit == expected


async def test_answers_let_it_grow_by_about_one_a_round_and_never_past_the_maximum():
    limit = limit_of(8)
    for slot in await taken(limit, 8):
        limit.refused(slot, None)
    sizes = []
    for _ in range(8):
        for slot in await taken(limit, limit.limit):
            limit.answered(slot)
        sizes.append(limit.limit)
    assert sizes == sorted(sizes)
    assert sizes[0] <= 5
    assert sizes[-1] == 8


async def test_retry_after_holds_everybody_back():
    clock = TestClock()
    limit = AdaptiveLimit(4, clock=clock)
    limit.refused(await limit.acquire(), 7.0)
    await limit.acquire()
    assert clock.at == 107.0


async def test_places_are_given_in_the_order_they_were_asked_for():
    limit = limit_of(1)
    first = await limit.acquire()
    order: list[int] = []

    async def call(number: int) -> None:
        slot = await limit.acquire()
        order.append(number)
        limit.answered(slot)

    tasks = [asyncio.create_task(call(number)) for number in range(5)]
    await asyncio.sleep(0)
    limit.answered(first)
    await asyncio.gather(*tasks)
    assert order == [0, 1, 2, 3, 4]


async def test_a_cancelled_wait_takes_no_place_and_loses_none():
    limit = limit_of(1)
    for moment in ("while waiting", "just handed over"):
        slot = await limit.acquire()
        waiting = asyncio.create_task(limit.acquire())
        await asyncio.sleep(0)
        if moment == "just handed over":
            limit.answered(slot)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        if moment == "while waiting":
            limit.answered(slot)
        assert limit.active == 0
        limit.answered(await asyncio.wait_for(limit.acquire(), 1))


async def test_an_endpoint_that_only_refuses_is_given_up_and_an_answer_brings_it_back():
    limit = limit_of(2)
    for _ in range(50):
        limit.refused(await limit.acquire(), None)
    assert limit.hopeless
    limit.answered(await limit.acquire())
    assert not limit.hopeless
