from __future__ import annotations

import math
from collections import Counter
from statistics import NormalDist

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fairway.stats.paired_score import clusters_needed, lower_bound, score_above


def tango(better: int, worse: int, n: int, null: float) -> float:
    """Equations (24)-(26) of Tango 1998, written down a second time."""
    a, b, c = 2 * n, -better - worse + (2 * n - better + worse) * null, -worse * null * (1 - null)
    q = (math.sqrt(b * b - 4 * a * c) - b) / (2 * a)
    return (better - worse - n * null) / math.sqrt(n * (2 * q + null * (1 - null)))


def table(better: int, worse: int, n: int) -> Counter[float]:
    return Counter({1.0: better, -1.0: worse, 0.0: n - better - worse})


def test_the_worked_example_of_tango_1998_section_6_1():
    lenses = table(0, 1, 44)
    assert score_above(lenses, -0.1, -1.0) == pytest.approx(1.709, abs=5e-4)
    assert lower_bound(lenses, 1.645, -1.0) == pytest.approx(-0.096, abs=5e-4)


@pytest.mark.parametrize(
    ("worse", "better", "n", "confidence", "low", "high", "digits"),
    [
        pytest.param(25, 28, 618, 0.90, -0.0148, 0.0247, 1e-4, id="scoreci.mp(25, 28, 618)"),
        pytest.param(60, 20, 1000, 0.95, -0.0584, -0.0231, 1e-4, id="scoreci.mp(60, 20, 1000)"),
        pytest.param(41, 48, 549, 0.90, -0.0157, 0.0414, 2e-4, id="scoreci.mp(41, 48, 549)"),
    ],
)
def test_the_interval_is_that_of_propcis(worse, better, n, confidence, low, high, digits):
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    assert lower_bound(table(better, worse, n), z, -1.0) == pytest.approx(low, abs=digits)
    assert -lower_bound(table(worse, better, n), z, -1.0) == pytest.approx(high, abs=digits)


@given(st.integers(1, 300), st.integers(0, 100), st.integers(0, 100), st.floats(0.01, 0.3))
def test_with_one_trial_a_case_it_is_tangos_statistic(n, better, worse, margin):
    assume(better + worse <= n)
    expected = tango(better, worse, n, -margin)
    assert score_above(table(better, worse, n), -margin, -1.0) == pytest.approx(max(0.0, expected), abs=1e-6)


graded = st.lists(st.integers(-4, 4).map(lambda part: part / 4), min_size=5, max_size=80)


@given(graded, st.floats(1.0, 3.0))
def test_the_bound_is_where_the_test_stops_rejecting(values, z):
    counts = Counter(values)
    bound = lower_bound(counts, z, -1.0)
    assert -1.0 <= bound <= sum(values) / len(values) + 1e-9
    if bound > -1.0:
        assert score_above(counts, bound - 2e-4, -1.0) >= z - 1e-6 or bound - 2e-4 <= -1.0
        assert score_above(counts, bound + 2e-4, -1.0) <= z + 1e-6


@given(graded, st.floats(0.01, 0.3))
def test_repeating_every_value_only_adds_evidence(values, margin):
    counts = Counter(values)
    twice = Counter({value: 2 * often for value, often in counts.items()})
    assert score_above(twice, -margin, -1.0) >= score_above(counts, -margin, -1.0) - 1e-9


def test_a_suite_in_which_nothing_differs_is_no_certainty():
    assert score_above(Counter({0.0: 20}), -0.05, -1.0) == pytest.approx(math.sqrt(20 * 0.05 / 0.95))
    assert -0.2 < lower_bound(Counter({0.0: 20}), 1.645, -1.0) < -0.1


@pytest.mark.parametrize(("margin", "alpha", "cases"), [(0.05, 0.05, 59), (0.02, 0.05, 149), (0.05, 0.04, 63)])
def test_the_floor_is_the_smallest_suite_that_could_not_be_clean_by_chance(margin, alpha, cases):
    assert clusters_needed(margin, alpha) == cases
    assert (1 - margin) ** cases <= alpha < (1 - margin) ** (cases - 1)
