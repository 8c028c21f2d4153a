"""Intervals: published constants, and coverage by enumeration."""

from __future__ import annotations

import itertools
import math

import pytest

from fairway.stats.intervals import beta_quantile, clopper_pearson, incomplete_beta, log_e_rate, rate_bounds


@pytest.mark.parametrize(
    ("bad", "units", "tuned", "lower", "upper"),
    [
        (700, 1000, 100, 0.651629, 0.745949),
        (15, 50, 50, 0.129556, 0.511896),
        (5, 50, 50, 0.013021, 0.269264),
        (1, 50, 50, 0.0, 0.13489),
        (1, 2, 50, 0.0, 1.0),
        (100, 200, 1, 0.328923, 0.671076),
    ],
)
def test_the_confidence_sequence_has_the_published_bounds(
    bad: int, units: int, tuned: float, lower: float, upper: float
) -> None:
    # confseq 0.0.11, test/uniform_boundaries_unittest.cpp, BernoulliConfidenceIntervalTest, tolerance 1e-5
    assert rate_bounds(bad, units, 0.05, tuned_units=tuned) == (
        pytest.approx(lower, abs=1e-5),
        pytest.approx(upper, abs=1e-5),
    )


@pytest.mark.parametrize("rate", [0.02, 0.3, 0.5])
def test_its_e_value_has_expectation_one(rate: float) -> None:
    units = 15
    mean = sum(
        math.comb(units, bad) * rate**bad * (1 - rate) ** (units - bad) * math.exp(log_e_rate(bad, units, rate))
        for bad in range(units + 1)
    )
    assert mean == pytest.approx(1)


def test_it_holds_the_rate_at_all_looks_together() -> None:
    alpha, horizon = 0.2, 14
    for rate in (0.1, 0.45):
        left_out = 0.0
        for outcomes in itertools.product((0, 1), repeat=horizon):
            bad = list(itertools.accumulate(outcomes))
            looks = (rate_bounds(x, n, alpha, tuned_units=20) for n, x in enumerate(bad, 1))
            if any(not lower <= rate <= upper for lower, upper in looks):
                left_out += rate ** bad[-1] * (1 - rate) ** (horizon - bad[-1])
        assert 0 < left_out <= alpha


def test_it_is_wide_without_data_and_narrow_with_much() -> None:
    assert rate_bounds(0, 0, 0.05) == (0.0, 1.0)
    assert rate_bounds(0, 400, 0.005)[0] == 0.0
    assert rate_bounds(0, 400, 0.005)[1] < 0.02
    lower, upper = rate_bounds(500, 100_000, 0.005)
    assert 0.004 < lower < 0.005 < upper < 0.0061
    assert rate_bounds(5, 5, 0.05)[1] == 1.0


@pytest.mark.parametrize(
    ("bad", "units", "lower", "upper"),
    # exact, from the binomial tails themselves
    [(0, 100, 0.0, 0.036216693), (3, 100, 0.006229971, 0.085176053), (10, 10, 0.691502892, 1.0)],
)
def test_clopper_pearson_has_the_known_values(bad: int, units: int, lower: float, upper: float) -> None:
    assert clopper_pearson(bad, units) == (pytest.approx(lower, abs=1e-8), pytest.approx(upper, abs=1e-8))


@pytest.mark.parametrize(("a", "b"), [(1, 1), (2, 5), (40, 961), (0.5, 0.5), (300, 2)])
@pytest.mark.parametrize("x", [0.0, 0.01, 0.3, 0.5, 0.97, 1.0])
def test_the_incomplete_beta_is_the_binomial_tail(a: float, b: float, x: float) -> None:
    value = incomplete_beta(x, a, b)
    assert value == pytest.approx(1 - incomplete_beta(1 - x, b, a), abs=1e-12)
    if a == int(a) and b == int(b):
        n = int(a + b - 1)
        tail = math.fsum(math.comb(n, k) * x**k * (1 - x) ** (n - k) for k in range(int(a), n + 1))
        assert value == pytest.approx(tail, abs=1e-11)
    if 0 < value < 1:
        assert incomplete_beta(beta_quantile(value, a, b), a, b) == pytest.approx(value, abs=1e-6)
