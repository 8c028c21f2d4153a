"""When an endpoint is left out, for how long, and that chance alone leaves none out."""

from __future__ import annotations

import random
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.gateway.endpoints.budget import REFILL_SECONDS, RetryBudget
from fairway.gateway.endpoints.ejection import (
    CHANCE,
    Record,
    Standing,
    Why,
    chance_of,
    ejected_for,
    finding,
    is_outlier,
    room_for_one,
)
from fairway.traffic.endpoints import Ejection

POLICY = Ejection()


def record(*, ended: int = 0, bad: int = 0, broken: int = 0) -> Record:
    return Record(ended=ended, bad=bad, broken=broken)


def test_broken_requests_in_a_row_eject_whatever_the_others_do() -> None:
    others = [record(ended=10, bad=10)]
    assert finding(record(ended=3, bad=3, broken=3), others, POLICY, 1.0) is Why.BROKEN
    assert finding(record(ended=2, bad=2, broken=2), others, POLICY, 1.0) is None


def test_a_whole_answer_ends_the_row() -> None:
    found = record()
    for _ in range(2):
        found.note(0.0, bad=True, broken=True)
    found.note(0.0, bad=False)
    found.note(0.0, bad=True, broken=True)
    assert found.broken == 1


@pytest.mark.parametrize(
    ("bad", "ended", "others_bad", "others_ended", "expected"),
    [
        (8, 8, 0, 8, True),
        (4, 4, 0, 400, False),
        (8, 8, 8, 8, False),
        (60, 100, 50, 100, False),
        (20, 100, 1, 100, True),
        (1, 100, 0, 100, False),
        (8, 8, 0, 0, False),
        (0, 8, 0, 8, False),
        (30_000, 100_000, 10_000, 100_000, True),
    ],
    ids=[
        "one of two that always fails", "too few to say", "a release that fails everywhere", "hardly worse",
        "clearly worse", "one failure", "nobody to compare with", "nothing bad", "counts of a busy window",
    ],
)  # fmt: skip
def test_bad_answers_are_held_against_the_other_endpoints(
    bad: int, ended: int, others_bad: int, others_ended: int, expected: bool
) -> None:
    assert is_outlier(bad, ended, others_bad, others_ended) is expected


@given(st.integers(0, 30), st.integers(0, 30), st.data())
def test_the_probability_is_fishers(ended: int, others: int, data: st.DataObject) -> None:
    bad = data.draw(st.integers(0, ended))
    others_bad = data.draw(st.integers(0, others))
    drawn = bad + others_bad
    exact = sum(
        comb(ended, count) * comb(others, drawn - count)
        for count in range(bad, ended + 1)
        if 0 <= drawn - count <= others
    ) / comb(ended + others, drawn)
    assert chance_of(bad, ended, others_bad, others) == pytest.approx(exact, abs=1e-9)


@pytest.mark.parametrize("rate", [0.02, 0.2, 0.6])
def test_endpoints_that_fail_alike_are_hardly_ever_outliers(rate: float) -> None:
    """Looked at once with a full window: the chance of a false finding is at most the level of the test."""
    drawn = random.Random(7)
    false = 0
    for _ in range(2_000):
        bad, others = (sum(drawn.random() < rate for _ in range(count)) for count in (50, 50))
        false += is_outlier(bad, 50, others, 50)
    assert false <= 2_000 * CHANCE * 4


def test_each_ejection_lasts_twice_as_long_up_to_the_longest_and_is_forgotten_after_that() -> None:
    policy = Ejection(base=5.0, longest=60.0)
    assert [ejected_for(times, policy) for times in (1, 2, 3, 4, 5, 99)] == [5.0, 10.0, 20.0, 40.0, 60.0, 60.0]
    found, lasted = record(), []
    now = 1_000.0
    for _ in range(3):
        found.eject(policy, now)
        lasted.append(found.until - now)
        now = found.until
        found.come_back(now)
    found.eject(policy, now + 61.0)
    assert lasted == [5.0, 10.0, 20.0]
    assert found.until == now + 61.0 + 5.0
    assert found.standing is Standing.OUT


@given(st.integers(1, 60), st.integers(0, 100_000))
def test_the_last_endpoint_is_never_ejected_nor_more_than_the_share(endpoints: int, share: int) -> None:
    policy, out = Ejection(share=share), 0
    while room_for_one(endpoints, out, policy):
        out += 1
    assert out < endpoints
    assert out <= max(1, endpoints * share // 100_000)
    if share and endpoints > 1:
        assert out >= 1
    if not share:
        assert out == 0


def test_a_retry_budget_is_bounded_and_fills_again() -> None:
    budget = RetryBudget(10)
    assert [budget.take(0.0) for _ in range(12)] == [True] * 10 + [False] * 2
    assert [budget.take(REFILL_SECONDS / 10) for _ in range(2)] == [True, False]
    assert sum(budget.take(1_000.0) for _ in range(50)) == 10
    assert budget.spent == 21


@given(st.lists(st.floats(0, 100), min_size=1, max_size=200), st.integers(1, 50))
def test_no_more_is_retried_than_the_budget_and_what_filled_it_since(steps: list[float], whole: int) -> None:
    budget, now = RetryBudget(whole), 0.0
    for step in steps:
        now += step
        budget.take(now)
    assert budget.spent <= whole + now * whole / REFILL_SECONDS + 1e-6
