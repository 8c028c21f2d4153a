from __future__ import annotations

import itertools
import math
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.stats import suite_bets
from fairway.stats.suite_bets import Round, log_wealth, mean_bound


def a_round(*differences: float, size: int = 1, lowest: float = -1.0) -> Round:
    return Round(clusters=Counter((value, size) for value in differences), lowest=lowest)


wins = st.lists(st.integers(-4, 4).map(lambda part: part / 4), min_size=1, max_size=20)


@given(st.lists(wins, min_size=1, max_size=3), st.floats(0.01, 0.5))
def test_the_wealth_is_the_mean_over_bets_of_the_product_over_cases_and_rounds(played, margin):
    bets = suite_bets._BETS
    each = [math.prod(1 + bet / (1 - margin) * (d + margin) for one in played for d in one) for bet in bets]
    expected = sum(each) / len(each)
    assert math.exp(log_wealth([a_round(*one) for one in played], margin)) == pytest.approx(expected, rel=1e-9)


rates = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=4)


@given(rates, st.booleans())
def test_the_expected_wealth_is_at_most_one_when_the_suites_mean_fell_by_the_margin(pairs, one_family):
    """By brute force over every outcome of both arms, whatever the single cases' differences are."""
    fall = sum(b - c for c, b in pairs) / len(pairs)
    if not 0.001 < fall < 0.999:
        return
    expected = 0.0
    for outcome in itertools.product((0, 1), repeat=2 * len(pairs)):
        chance, differences = 1.0, []
        for (c, b), (mine, theirs) in zip(pairs, _twos(outcome), strict=True):
            chance *= (c if mine else 1 - c) * (b if theirs else 1 - b)
            differences.append(float(mine - theirs))
        played = a_round(sum(differences), size=len(pairs)) if one_family else a_round(*differences)
        expected += chance * math.exp(log_wealth([played], fall))
    assert expected <= 1 + 1e-9


def _twos(values):
    return list(zip(values[::2], values[1::2], strict=True))


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), st.sampled_from([1.0, 0.5, 0.25])), min_size=1, max_size=3))
def test_so_it_is_when_cases_are_played_by_chance(cases):
    fall = sum(b - c for c, b, _ in cases) / len(cases)
    if not 0.001 < fall < 0.999:
        return
    expected = 0.0
    for outcome in itertools.product((0, 1), repeat=3 * len(cases)):
        chance, differences = 1.0, []
        for index, (c, b, included) in enumerate(cases):
            mine, theirs, played = outcome[3 * index : 3 * index + 3]
            chance *= (c if mine else 1 - c) * (b if theirs else 1 - b) * (included if played else 1 - included)
            differences.append((mine - theirs) / included if played else 0.0)
        lowest = -1 / min(included for *_, included in cases)
        expected += chance * math.exp(log_wealth([a_round(*differences, lowest=lowest)], fall))
    assert expected <= 1 + 1e-9


@given(wins, st.data(), st.floats(0.01, 0.3))
def test_a_smaller_difference_never_adds_wealth(values, data, margin):
    index = data.draw(st.integers(0, len(values) - 1))
    lower = [max(-1.0, value - 0.25) if place == index else value for place, value in enumerate(values)]
    assert log_wealth([a_round(*lower)], margin) <= log_wealth([a_round(*values)], margin) + 1e-12


@given(wins)
def test_the_bound_is_the_fall_that_is_just_not_excluded(values):
    played = [a_round(*values * 5)]
    needed = math.log(20)
    bound = mean_bound(played, needed)
    if bound > -1.0:
        assert log_wealth(played, -bound + 2e-4) >= needed
        assert log_wealth(played, -bound - 2e-4) <= needed + 1e-6


def test_without_rounds_nothing_was_won():
    assert log_wealth([], 0.05) == 0.0
    assert mean_bound([], math.log(20)) == -1.0


def test_ten_attempts_at_the_margin_seldom_ever_reach_one_in_twenty():
    dice = random.Random(11)
    reached = 0
    for _ in range(300):
        played: list[Round] = []
        for _ in range(10):
            played.append(a_round(*(dice.choices((-1, 0, 1), (0.15, 0.75, 0.10), k=60))))
            if log_wealth(played, 0.05) >= math.log(20):
                reached += 1
                break
    assert reached <= 24  # at most 15 are expected; P(more than 24) = 0.9 % if it were exactly 5 %
