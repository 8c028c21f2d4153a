"""Shares above a limit: a fair game at the limit, found soon above it, also when it begins late."""

from __future__ import annotations

import itertools
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.stats.intervals import clopper_pearson
from fairway.stats.share_process import ShareProcess


def after(shares: list[float], *, limit: float, horizon: int = 360) -> ShareProcess:
    process = ShareProcess(limit=limit, horizon=horizon)
    for share in shares:
        process = process.with_block(share)
    return process


@pytest.mark.parametrize("limit", [0.02, 0.05, 0.4])
@pytest.mark.parametrize("horizon", [2, 5, 360])
def test_at_the_limit_it_is_a_fair_game(limit: float, horizon: int) -> None:
    """Every sequence of six blocks that are wholly bad with probability ``limit``, by brute force."""

    def part(bad: tuple[int, ...]) -> float:
        chance = limit ** sum(bad) * (1 - limit) ** (6 - sum(bad))
        return chance * after([float(block) for block in bad], limit=limit, horizon=horizon).value

    expected = math.fsum(part(bad) for bad in itertools.product((0, 1), repeat=6))
    assert expected == pytest.approx(1.0, abs=1e-9)


@given(st.lists(st.floats(0, 1), max_size=40), st.floats(0.001, 0.9))
def test_it_never_turns_negative_and_what_was_shown_stays_shown(shares: list[float], limit: float) -> None:
    process, shown = ShareProcess(limit=limit), False
    for share in shares:
        process = process.with_block(share)
        shown = shown or process.value >= 100
        assert process.value >= 0
        assert process.shows(0.01) == shown


@given(st.lists(st.floats(0, 0.02), max_size=200))
def test_shares_within_the_limit_never_show_anything(shares: list[float]) -> None:
    assert not after(shares, limit=0.02).shows(0.5)


def test_a_rate_at_the_limit_is_blamed_at_most_as_often_as_promised() -> None:
    rng = random.Random(7)
    alpha, runs, blamed = 0.05, 400, 0
    for _ in range(runs):
        process = ShareProcess(limit=0.05, horizon=60)
        for _ in range(120):
            units = rng.choice((1, 3, 10))
            process = process.with_block(sum(rng.random() < 0.05 for _ in range(units)) / units)
        blamed += process.shows(alpha)
    low, _ = clopper_pearson(blamed, runs, confidence=0.999)
    assert low <= alpha, f"{blamed} of {runs}"


@pytest.mark.parametrize(("healthy", "most"), [(0, 9), (30, 13), (170, 14)])
def test_a_fault_that_begins_late_is_found_nearly_as_soon(healthy: int, most: int) -> None:
    process = after([0.005] * healthy, limit=0.02)
    needed = 0
    while not process.shows(0.00025):
        process = process.with_block(0.1)
        needed += 1
    assert needed <= most


@pytest.mark.parametrize("share", [-0.1, 1.1, math.nan])
def test_what_is_no_share_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        ShareProcess(limit=0.02).with_block(share)
