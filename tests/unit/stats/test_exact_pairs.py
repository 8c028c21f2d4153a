from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.stats.exact_pairs import fisher_lower, holm, pass_power_k


@given(st.integers(0, 5), st.integers(0, 5), st.integers(0, 4), st.integers(0, 4))
def test_fishers_test_counts_the_deals_with_as_few_passes_or_fewer(a, n, b, m):
    a, b = min(a, n), min(b, m)
    trials = [1] * (a + b) + [0] * (n + m - a - b)
    deals = list(itertools.combinations(range(n + m), n))
    expected = sum(sum(trials[index] for index in deal) <= a for deal in deals) / len(deals)
    assert fisher_lower(a, n, b, m) == pytest.approx(expected, abs=1e-12)


def test_the_lady_tasting_tea():
    assert fisher_lower(1, 4, 3, 4) == pytest.approx(17 / 70)
    assert fisher_lower(0, 4, 4, 4) == pytest.approx(1 / 70)


def step_down(p_values: list[float], alpha: float) -> set[int]:
    """Holm's procedure as he wrote it: the smallest against alpha/m, the next against alpha/(m - 1), and so on."""
    rejected = set()
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        if p_values[index] > alpha / (len(p_values) - rank):
            break
        rejected.add(index)
    return rejected


@given(st.lists(st.floats(0, 1), max_size=12), st.floats(0.001, 0.5))
def test_what_holms_correction_leaves_below_alpha_is_what_his_procedure_rejects(p_values, alpha):
    adjusted = holm(p_values)
    below = {index for index, value in enumerate(adjusted) if value <= alpha}
    close = {index for index, value in enumerate(adjusted) if abs(value - alpha) < 1e-9}
    assert below - close == step_down(p_values, alpha) - close


@given(st.integers(0, 6), st.integers(0, 6), st.integers(1, 6))
def test_pass_to_the_k_is_the_share_of_draws_in_which_all_pass(passed, trials, k):
    passed = min(passed, trials)
    draws = list(itertools.combinations([1] * passed + [0] * (trials - passed), k))
    expected = sum(all(draw) for draw in draws) / len(draws) if draws else None
    assert pass_power_k(passed, trials, k) == (pytest.approx(expected) if draws else None)
