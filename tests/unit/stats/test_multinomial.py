"""The sample ratio test: exact on small cases, and against what is published."""

from __future__ import annotations

import math
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.stats.intervals import log_e_rate
from fairway.stats.multinomial import CONCENTRATION, log_e_split

SHARES = st.integers(1, 99).map(lambda percent: (percent / 100, 1 - percent / 100))


@pytest.mark.parametrize("share", [0.05, 0.3, 0.5])
@pytest.mark.parametrize("units", [1, 5, 12])
def test_under_the_told_split_its_mean_is_exactly_one(share: float, units: int) -> None:
    told, mean = (share, 1 - share), []
    for x in range(units + 1):
        chance = math.comb(units, x) * share**x * (1 - share) ** (units - x)
        mean.append(chance * math.exp(log_e_split((x, units - x), told)))
    assert math.fsum(mean) == pytest.approx(1.0, abs=1e-12)


def test_the_same_for_three_arms() -> None:
    shares, units, mean = (0.2, 0.3, 0.5), 5, []
    for arms in product(range(3), repeat=units):
        counts = tuple(arms.count(arm) for arm in range(3))
        chance = math.prod(shares[arm] for arm in arms)
        mean.append(chance * math.exp(log_e_split(counts, shares)))
    assert math.fsum(mean) == pytest.approx(1.0, abs=1e-12)


def test_however_often_one_looks_it_crosses_in_at_most_alpha_of_all_courses() -> None:
    # Every course of 18 units at 30 %, followed exactly: the share that ever reaches 1/alpha.
    share, alpha, crossed = 0.3, 0.2, 0.0
    alive = {0: 1.0}
    for units in range(1, 19):
        after: dict[int, float] = {}
        for ours, chance in alive.items():
            after[ours] = after.get(ours, 0.0) + chance * (1 - share)
            after[ours + 1] = after.get(ours + 1, 0.0) + chance * share
        alive = {}
        for ours, chance in after.items():
            if log_e_split((ours, units - ours), (share, 1 - share), concentration=2.0) >= -math.log(alpha):
                crossed += chance
            else:
                alive[ours] = chance
    assert 0.0 < crossed <= alpha


@given(SHARES, st.integers(0, 5_000), st.integers(0, 5_000))
def test_of_two_arms_it_does_not_matter_which_is_named_first(shares, ours: int, theirs: int) -> None:
    mine, other = log_e_split((ours, theirs), shares), log_e_split((theirs, ours), shares[::-1])
    assert mine == pytest.approx(other, abs=1e-7)


@given(st.integers(1, 99), st.integers(0, 400), st.integers(0, 400))
def test_for_two_arms_it_is_the_beta_binomial_mixture_of_confseq(percent: int, ours: int, theirs: int) -> None:
    # confseq tunes by units n: concentration = n / (2 ln 20 + ln(1 + 2 ln 20)) - 1, published values in test_intervals.
    normaliser = 2 * math.log(20) + math.log(1 + 2 * math.log(20))
    same = log_e_rate(ours, ours + theirs, percent / 100, tuned_units=(CONCENTRATION + 1) * normaliser)
    assert log_e_split((ours, theirs), (percent / 100, 1 - percent / 100)) == pytest.approx(same, abs=1e-8)


def test_a_split_that_loses_a_tenth_is_found_and_one_that_is_right_is_not() -> None:
    assert log_e_split((4_500, 5_500), (0.5, 0.5)) > math.log(200)
    assert log_e_split((5_030, 4_970), (0.5, 0.5)) < 0
    assert log_e_split((0, 0), (0.05, 0.95)) == 0
