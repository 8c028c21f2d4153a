from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairway.evals.running.spend import PriceError, SpendCap, SpendError


async def pay(cap: SpendCap, at_most: int | None, cost: int | None, *, yields: int = 1) -> bool:
    try:
        reservation = await cap.reserve(at_most)
    except SpendError:
        return False
    for _ in range(yields):
        await asyncio.sleep(0)
    cap.settle(reservation, cost)
    return True


CALLS = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50), st.integers(0, 5)), max_size=40)


@given(limit=st.integers(0, 300), calls=CALLS, at_a_time=st.integers(1, 12))
@settings(max_examples=300, deadline=None)
def test_many_calls_at_a_time_never_pass_the_cap_when_each_says_what_it_costs_at_most(limit, calls, at_a_time):
    async def play() -> None:
        cap = SpendCap(limit)
        places = asyncio.Semaphore(at_a_time)

        async def one(at_most: int, part: int, yields: int) -> bool:
            async with places:
                paid = await pay(cap, at_most, min(at_most, part), yields=yields)
                assert cap.reserved_micros + (cap.spent_micros or 0) <= limit
                return paid

        made = await asyncio.gather(*(one(*call) for call in calls))
        assert cap.spent_micros == sum(
            min(most, part) for (most, part, _), paid in zip(calls, made, strict=True) if paid
        )
        assert cap.spent_micros <= limit
        assert cap.reserved_micros == 0

    asyncio.run(play())


@given(limit=st.integers(1, 300), costs=st.lists(st.integers(0, 30), max_size=40))
@settings(max_examples=200, deadline=None)
def test_calls_of_unknown_price_pass_the_cap_by_no_more_than_what_came_as_a_surprise(limit, costs):
    async def play() -> None:
        cap = SpendCap(limit)
        dearest, surprise = 0, 0

        async def one(cost: int) -> None:
            nonlocal dearest, surprise
            try:
                reservation = await cap.reserve(None)
            except SpendError:
                return
            await asyncio.sleep(0)
            surprise += max(0, cost - reservation.micros)
            cap.settle(reservation, cost)

        await asyncio.gather(*(one(cost) for cost in costs))
        assert (cap.spent_micros or 0) <= limit + surprise

    asyncio.run(play())


async def test_while_no_price_is_known_one_call_is_made_alone():
    cap = SpendCap(1_000)
    first = await cap.reserve(None)
    second = asyncio.create_task(cap.reserve(None))
    await asyncio.sleep(0.01)
    assert not second.done()
    cap.settle(first, 100)
    assert (await second).micros == 200


async def test_a_call_that_waits_for_money_goes_on_when_another_turns_out_cheaper():
    cap = SpendCap(100)
    first = await cap.reserve(80)
    second = asyncio.create_task(cap.reserve(60))
    await asyncio.sleep(0.01)
    assert not second.done()
    cap.settle(first, 10)
    cap.settle(await second, 60)
    assert cap.spent_micros == 70


async def test_a_call_that_cannot_fit_any_more_is_refused_at_once():
    cap = SpendCap(100)
    cap.settle(await cap.reserve(80), 80)
    with pytest.raises(SpendError) as caught:
        await asyncio.wait_for(cap.reserve(30), 1)
    assert "0.0001" in caught.value.message


async def test_a_price_nobody_knows_stops_everything_and_is_never_nothing():
    cap = SpendCap(100)
    cap.settle(await cap.reserve(10), None)
    assert cap.spent_micros is None
    with pytest.raises(PriceError):
        await cap.reserve(0)


async def test_without_a_cap_an_unknown_price_makes_the_sum_unknown_and_stops_nothing():
    cap = SpendCap(None)
    cap.settle(await cap.reserve(None), 10)
    assert cap.spent_micros == 10
    cap.settle(await cap.reserve(None), None)
    cap.settle(await cap.reserve(None), 5)
    assert cap.spent_micros is None


async def test_a_call_whose_end_nobody_saw_is_booked_at_what_was_set_aside_and_a_refusal_is_not():
    cap = SpendCap(100)
    cap.release(await cap.reserve(30), paid=True)
    cap.release(await cap.reserve(30), paid=False)
    assert (cap.spent_micros, cap.reserved_micros) == (30, 0)


async def test_a_first_call_that_was_cut_is_booked_once_a_price_is_known():
    cap = SpendCap(100)
    cap.release(await cap.reserve(None), paid=True)
    assert cap.spent_micros is None
    cap.settle(await cap.reserve(None), 10)
    assert cap.spent_micros == 10 + 20


async def test_a_reservation_is_settled_once():
    cap = SpendCap(100)
    reservation = await cap.reserve(30)
    cap.settle(reservation, 1)
    with pytest.raises(ValueError, match="once"):
        cap.settle(reservation, 1)


async def test_what_a_resumed_run_has_paid_already_counts():
    cap = SpendCap(100)
    cap.book(90)
    with pytest.raises(SpendError):
        await cap.reserve(20)


@pytest.mark.parametrize("at_most", [None, 1])
async def test_a_cap_of_nothing_lets_nothing_through_but_what_is_free(at_most):
    with pytest.raises(SpendError):
        await SpendCap(0).reserve(at_most)
    assert await pay(SpendCap(0), 0, 0)
