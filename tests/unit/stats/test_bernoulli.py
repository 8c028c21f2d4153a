"""Absolute e-values: figures that were published, and the e-value property by enumeration."""

from __future__ import annotations

import itertools
import math

import pytest

from fairway.stats.bernoulli import log_e_above, log_e_below
from fairway.stats.power import clean_units, clean_units_mixture, median_units_to_pass, units_to_pass


def test_the_published_numbers_of_units_for_a_success_of_99_5_percent() -> None:
    assert clean_units(0.005, 0.05) == 598
    assert clean_units_mixture(0.005, 0.05) == 723
    assert median_units_to_pass(0.005, 0.001, 0.05) == pytest.approx(1_274, rel=0.005)
    assert median_units_to_pass(0.005, 0.003, 0.05) == pytest.approx(7_519, rel=0.005)


def test_sixty_clean_units_pass_a_margin_of_five_points_with_the_wide_prior() -> None:
    assert clean_units(0.05, 0.05) == 59
    assert clean_units_mixture(0.05, 0.05, clean_weight=12 / 13) == 60


def test_the_quick_estimate_is_near_the_exact_median() -> None:
    for rate in (0.001, 0.002, 0.003):
        exact = median_units_to_pass(0.005, rate, 0.05)
        assert units_to_pass(0.005, rate, 0.05) == pytest.approx(exact, rel=0.2)
    assert units_to_pass(0.005, 0.005, 0.05) is None
    assert median_units_to_pass(0.005, 0.005, 0.05, at_most=500) is None


@pytest.mark.parametrize("limit", [0.005, 0.05, 0.4])
@pytest.mark.parametrize("clean_weight", [0.0, 0.5, 12 / 13, 1.0])
def test_the_expectation_on_the_null_side_is_at_most_one(limit: float, clean_weight: float) -> None:
    units = 12
    for rate in (limit, min(0.99, limit * 1.5), min(0.99, limit * 2.4)):
        below = sum(
            math.comb(units, bad) * rate**bad * (1 - rate) ** (units - bad)
            * math.exp(log_e_below(bad, units, limit, clean_weight=clean_weight))
            for bad in range(units + 1)
        )  # fmt: skip
        assert below <= 1 + 1e-12
        assert rate != limit or below == pytest.approx(1)
    for rate in (limit, limit * 0.6, 0.0):
        above = sum(
            math.comb(units, bad) * rate**bad * (1 - rate) ** (units - bad) * math.exp(log_e_above(bad, units, limit))
            for bad in range(units + 1)
        )
        assert above <= 1 + 1e-12
        assert rate != limit or above == pytest.approx(1)


def test_the_chance_of_ever_passing_at_the_limit_is_at_most_alpha() -> None:
    limit, alpha, horizon = 0.3, 0.2, 12
    crossed_below = crossed_above = 0.0
    for outcomes in itertools.product((0, 1), repeat=horizon):
        bad = list(itertools.accumulate(outcomes))
        chance = limit ** bad[-1] * (1 - limit) ** (horizon - bad[-1])
        looks = list(enumerate(bad, 1))
        if any(log_e_below(x, n, limit) >= -math.log(alpha) for n, x in looks):
            crossed_below += chance
        if any(log_e_above(x, n, limit) >= -math.log(alpha) for n, x in looks):
            crossed_above += chance
    assert 0 < crossed_below <= alpha
    assert 0 < crossed_above <= alpha


@pytest.mark.parametrize("limit", [0.0, 1.0])
def test_a_limit_that_cannot_be_tested_is_no_crash_and_no_quick_pass(limit: float) -> None:
    assert math.isfinite(log_e_above(3, 10, limit))
    assert math.isfinite(log_e_below(3, 10, limit))
    assert clean_units_mixture(0.0, 0.05) == 10**9


def test_more_failures_are_more_evidence_of_a_breach_and_less_of_health() -> None:
    below = [log_e_below(bad, 200, 0.05, clean_weight=0.5) for bad in range(40)]
    above = [log_e_above(bad, 200, 0.05) for bad in range(40)]
    assert below == sorted(below, reverse=True)
    assert above == sorted(above)
    assert log_e_below(0, 0, 0.05) == pytest.approx(0)
    assert log_e_above(0, 0, 0.05) == pytest.approx(0)
