"""T2: the e-value property by enumeration, and how pairs are made."""

from __future__ import annotations

import itertools
import math

import pytest

from fairway.stats.paired import Paired, differences, with_differences


@pytest.mark.parametrize("margin", [0.005, 0.05, 0.3])
@pytest.mark.parametrize("stable_rate", [0.0, 0.2, 0.6])
def test_the_expectation_at_the_margin_is_one_and_beyond_it_at_most_one(margin: float, stable_rate: float) -> None:
    pairs = 6
    for shift in (0.0, 0.04, -0.04):
        candidate_rate = min(1.0, max(0.0, stable_rate + margin + shift))
        law = {
            -1.0: (1 - candidate_rate) * stable_rate,
            1.0: candidate_rate * (1 - stable_rate),
        }
        law[0.0] = 1 - sum(law.values())
        mean_fail = mean_pass = 0.0
        for drawn in itertools.product(law, repeat=pairs):
            chance = math.prod(law[value] for value in drawn)
            end = with_differences(Paired(), drawn, margin=margin)
            mean_fail += chance * math.exp(end.log_e_fail)
            mean_pass += chance * math.exp(end.log_e_pass)
        excess = candidate_rate - stable_rate
        if excess <= margin + 1e-12:
            assert mean_fail <= 1 + 1e-12
        if excess >= margin - 1e-12:
            assert mean_pass <= 1 + 1e-12
        if excess == pytest.approx(margin):
            assert (mean_fail, mean_pass) == (pytest.approx(1), pytest.approx(1))


def test_pair_by_pair_is_the_same_as_all_at_once() -> None:
    drawn = [0.0, 1.0, -0.5, 0.0, 0.25, 1.0, 0.0]
    one_by_one = Paired()
    for value in drawn:
        one_by_one = with_differences(one_by_one, [value], margin=0.05)
    assert one_by_one == with_differences(Paired(), drawn, margin=0.05)


def test_each_candidate_has_its_own_group_of_stable_units() -> None:
    assert differences([True, False], [True, False, False, False, True]) == [0.5, 0.0]
    assert differences([True, False, True], [False, True]) == [1.0, -1.0]
    assert differences([], [True]) == []
    assert differences([True], []) == []


def test_clean_pairs_favour_pass_and_failing_candidates_favour_fail() -> None:
    assert with_differences(Paired(), [0.0] * 100, margin=0.05).log_e_pass > math.log(20)
    assert with_differences(Paired(), [1.0, 0.0, 0.0] * 20, margin=0.05).log_e_fail > math.log(75)
