from __future__ import annotations

import itertools
import math
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.stats import swaps
from fairway.stats.swaps import arms_p, lower_tail, swap_p

quarters = st.lists(st.integers(-4, 4).map(lambda part: part / 4), max_size=9)


def enumerated(differences: list[float]) -> float:
    """Every way to swap the arms, counted."""
    total = math.fsum(differences)
    ways = list(itertools.product((-1, 1), repeat=len(differences)))
    swapped = (math.fsum(sign * value for sign, value in zip(way, differences, strict=True)) for way in ways)
    return sum(other <= total + 1e-12 for other in swapped) / len(ways)


@given(quarters)
def test_the_p_value_is_that_of_full_enumeration(differences):
    assert swap_p(differences) == pytest.approx(enumerated(differences), abs=1e-12)


@given(st.lists(st.floats(-1, 1), max_size=9))
def test_differences_off_every_lattice_are_rounded_so_that_the_p_value_only_grows(differences):
    exact = enumerated(differences)
    assert exact - 1e-9 <= swap_p(differences)


def test_a_tie_the_lattice_cannot_tell_counts_against_the_alarm():
    """The swapped total is smaller by less than the lattice sees; rounded the other way the p-value would be 1/2."""
    differences = [0.3, 0.1234567001, -0.4234567]
    assert enumerated(differences) == 5 / 8
    assert swap_p(differences) >= 5 / 8


def test_on_real_numbers_the_rounding_costs_next_to_nothing():
    dice = random.Random(3)
    for _ in range(20):
        differences = [dice.gauss(-0.1, 1) for _ in range(11)]
        assert swap_p(differences) <= enumerated(differences) + 0.002


@given(quarters.filter(bool), st.data())
def test_a_smaller_difference_never_raises_the_p_value(differences, data):
    index = data.draw(st.integers(0, len(differences) - 1))
    lower = [value - (0.25 if place == index else 0) for place, value in enumerate(differences)]
    assert swap_p(lower) <= swap_p(differences) + 1e-12


@given(quarters)
def test_the_order_of_clusters_changes_nothing_and_swapping_the_arms_mirrors_it(differences):
    assert swap_p(differences[::-1]) == swap_p(differences)
    mirrored = swap_p([-value for value in differences])
    assert swap_p(differences) + mirrored >= 1 - 1e-12  # both hold the ties


def test_where_nothing_differs_nothing_is_shown():
    assert swap_p([]) == 1.0
    assert swap_p([0.0] * 200) == 1.0


def test_with_one_trial_a_case_it_is_mcnemars_exact_test():
    differences = [-1.0] * 12 + [1.0] * 3 + [0.0] * 40
    tail = sum(math.comb(15, better) for better in range(4)) / 2**15
    assert swap_p(differences) == pytest.approx(tail, rel=1e-12)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), min_size=1, max_size=3))
def test_arms_of_different_length_are_dealt_in_every_way(cases):
    counts = [(passed, 3, other, 2) for passed, other in cases]
    observed = sum(passed / 3 - other / 2 for passed, other in cases)
    totals = Counter({0.0: 1.0})
    for passed, other in cases:
        trials = [1] * (passed + other) + [0] * (5 - passed - other)
        deals = [frozenset(deal) for deal in itertools.combinations(range(5), 3)]
        spread = Counter[float]()
        for deal in deals:
            mine = sum(trials[index] for index in deal)
            spread[mine / 3 - (passed + other - mine) / 2] += 1 / len(deals)
        after = Counter[float]()
        for (total, chance), (value, share) in itertools.product(totals.items(), spread.items()):
            after[round(total + value, 9)] += chance * share
        totals = after
    expected = sum(chance for total, chance in totals.items() if total <= observed + 1e-6)
    assert arms_p(counts) == pytest.approx(expected, abs=1e-9)


@given(
    st.lists(st.lists(st.tuples(st.integers(-5, 5), st.integers(1, 4)), min_size=1, max_size=4), max_size=4), st.data()
)
def test_the_tail_of_a_sum_is_that_of_brute_force(terms, data):
    terms = [tuple(term) for term in terms]
    observed = data.draw(st.integers(-21, 21))
    ways = whole = 0
    for chosen in itertools.product(*terms):
        weight = math.prod(one for _, one in chosen)
        whole += weight
        ways += weight * (sum(value for value, _ in chosen) <= observed)
    assert lower_tail(terms, observed) == pytest.approx(ways / whole, abs=1e-12)


@pytest.mark.parametrize("share_worse", [0.0, 0.05, 0.12, 0.25])
@pytest.mark.parametrize("steps", [1, 4])
def test_the_saddlepoint_agrees_with_the_exact_sum(monkeypatch, share_worse, steps):
    dice = random.Random(f"{share_worse} {steps}")
    differences = [
        -1.0 if dice.random() < share_worse else dice.choice([-1, 1]) * dice.randint(1, steps) / steps
        for _ in range(250)
    ]
    exact = swap_p(differences)
    monkeypatch.setattr(swaps, "MOST_EXACT", 10)
    assert swap_p(differences) == pytest.approx(exact, rel=1e-3)
