"""T1: what it is by its formula, and that it is an e-value, by exact enumeration."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairway.stats.logrank import (
    ERRORS,
    QUANTILES,
    Direction,
    Grid,
    log_e_value,
    nothing_yet,
    with_events,
)

GRIDS = {"errors": ERRORS, "quantiles": QUANTILES}


def q(ratio: float, weight: float) -> float:
    return ratio * weight / (ratio * weight + 1 - weight)


def by_the_formula(grid: Grid, sign: int, margin: float, events: list[tuple[int, float]]) -> float:
    """``Σ_k π_k Π_j …`` word for word; events are ``(x_j, w_j)``."""
    total = 0.0
    for step, log_weight in zip(grid.steps, grid.log_weights, strict=True):
        product = math.exp(log_weight)
        for on_candidate, weight in events:
            at, null = q(margin * math.exp(sign * step), weight), q(margin, weight)
            product *= at / null if on_candidate else (1 - at) / (1 - null)
        total += product
    return total


def test_the_grids_are_those_of_the_design() -> None:
    assert (len(ERRORS.steps), ERRORS.steps[0], round(ERRORS.steps[-1], 9)) == (40, 0.1, 4.0)
    assert (len(QUANTILES.steps), QUANTILES.steps[0], round(QUANTILES.steps[-1], 9)) == (60, 0.05, 3.0)
    for grid, tau in ((ERRORS, 1.0), (QUANTILES, 0.7)):
        weights = [math.exp(value) for value in grid.log_weights]
        assert math.fsum(weights) == pytest.approx(1)
        assert weights[9] / weights[4] == pytest.approx(
            math.exp(-(grid.steps[9] ** 2 - grid.steps[4] ** 2) / (2 * tau**2))
        )


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
@pytest.mark.parametrize("direction", Direction)
@settings(max_examples=50, deadline=None)
@given(
    margin=st.floats(0.2, 20),
    events=st.lists(st.tuples(st.integers(0, 1), st.floats(0.01, 0.99)), max_size=25),
)
def test_block_by_block_is_the_same_as_the_formula_event_by_event(
    grid: Grid, direction: Direction, margin: float, events: list[tuple[int, float]]
) -> None:
    ratios = nothing_yet(grid)
    for on_candidate, weight in events:
        ratios = with_events(
            ratios, grid, direction, candidate=on_candidate, stable=1 - on_candidate, weight=weight, margin=margin
        )
    expected = by_the_formula(grid, direction.value, margin, events)
    assert log_e_value(ratios, grid) == pytest.approx(math.log(expected), abs=1e-9)


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
@pytest.mark.parametrize("direction", Direction)
@pytest.mark.parametrize("margin", [0.5, 1.0, 3.0])
def test_its_expectation_at_the_margin_is_one_and_on_the_null_side_at_most_one(
    grid: Grid, direction: Direction, margin: float
) -> None:
    weights = (0.05, 0.3, 0.5, 0.1, 0.9, 0.5, 0.05)
    for null_ratio in (margin, margin * 1.3**-direction.value, margin * 4**-direction.value):
        mean = 0.0
        for outcomes in itertools.product((0, 1), repeat=len(weights)):
            chance = math.prod(
                q(null_ratio, w) if x else 1 - q(null_ratio, w) for x, w in zip(outcomes, weights, strict=True)
            )
            ratios = nothing_yet(grid)
            for x, w in zip(outcomes, weights, strict=True):
                ratios = with_events(ratios, grid, direction, candidate=x, stable=1 - x, weight=w, margin=margin)
            mean += chance * math.exp(log_e_value(ratios, grid))
        assert mean <= 1 + 1e-12
        if null_ratio == margin:
            assert mean == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("direction", Direction)
@pytest.mark.parametrize(("candidate", "stable", "events"), [(2, 8, 4), (5, 5, 6), (1, 9, 3), (6, 2, 5)])
def test_events_of_one_block_drawn_without_replacement_keep_the_expectation_at_most_one(
    direction: Direction, candidate: int, stable: int, events: int
) -> None:
    weight = candidate / (candidate + stable)
    mean = 0.0
    for x in range(max(0, events - stable), min(candidate, events) + 1):
        chance = math.comb(candidate, x) * math.comb(stable, events - x) / math.comb(candidate + stable, events)
        ratios = with_events(
            nothing_yet(ERRORS), ERRORS, direction, candidate=x, stable=events - x, weight=weight, margin=1.0
        )
        mean += chance * math.exp(log_e_value(ratios, ERRORS))
    assert mean <= 1 + 1e-12


@pytest.mark.parametrize("direction", Direction)
def test_a_margin_that_depends_on_the_past_keeps_the_expectation_at_one(direction: Direction) -> None:
    weights = (0.2, 0.4, 0.1, 0.5, 0.3, 0.6)

    def margin(past: tuple[int, ...]) -> float:
        return 1.0 + sum(past) / (1 + len(past))

    mean = 0.0
    for outcomes in itertools.product((0, 1), repeat=len(weights)):
        chance, ratios = 1.0, nothing_yet(ERRORS)
        for j, (x, w) in enumerate(zip(outcomes, weights, strict=True)):
            m = margin(outcomes[:j])
            chance *= q(m, w) if x else 1 - q(m, w)
            ratios = with_events(ratios, ERRORS, direction, candidate=x, stable=1 - x, weight=w, margin=m)
        mean += chance * math.exp(log_e_value(ratios, ERRORS))
    assert mean == pytest.approx(1, abs=1e-12)


def test_swapping_the_arms_at_margin_one_swaps_the_two_e_values() -> None:
    worse = better = nothing_yet(ERRORS)
    for candidate, stable, weight in ((3, 1, 0.3), (0, 2, 0.5), (5, 5, 0.1)):
        worse = with_events(
            worse, ERRORS, Direction.WORSE, candidate=candidate, stable=stable, weight=weight, margin=1.0
        )
        better = with_events(
            better, ERRORS, Direction.BETTER, candidate=stable, stable=candidate, weight=1 - weight, margin=1.0
        )
    assert log_e_value(worse, ERRORS) == pytest.approx(log_e_value(better, ERRORS))


@pytest.mark.parametrize(("candidate", "stable", "weight"), [(0, 0, 0.5), (3, 0, 1.0), (0, 3, 0.0)])
def test_without_events_or_without_a_second_arm_nothing_is_learnt(candidate: int, stable: int, weight: float) -> None:
    before = with_events(nothing_yet(ERRORS), ERRORS, Direction.WORSE, candidate=1, stable=1, weight=0.4, margin=1.0)
    after = with_events(before, ERRORS, Direction.WORSE, candidate=candidate, stable=stable, weight=weight, margin=1.0)
    assert after == before


def test_a_hundred_thousand_events_overflow_nothing() -> None:
    ratios = with_events(
        nothing_yet(ERRORS), ERRORS, Direction.WORSE, candidate=100_000, stable=10, weight=0.05, margin=1.0
    )
    assert 200_000 < log_e_value(ratios, ERRORS) < math.inf
