"""The rules of other controllers, as their sources have them, and the figures they give in a healthy hour."""

from __future__ import annotations

import random

import pytest

from fairway.simulate.rivals import RULES, Limits, Minute, argo_aborts_at, flagger_rolls_back_at
from fairway.simulate.traffic import _binomial
from fairway.stats.intervals import clopper_pearson

GOOD, BAD, EMPTY = Minute(requests=100, failed=0), Minute(requests=100, failed=5), Minute(requests=0, failed=0)
LIMITS = Limits(success=0.99)


@pytest.mark.parametrize(("limit", "at"), [(0, 1), (3, 4)])
def test_argo_aborts_when_failed_measurements_exceed_the_limit_not_when_they_reach_it(limit: int, at: int) -> None:
    assert argo_aborts_at([BAD] * 10, LIMITS, failure_limit=limit) == at


def test_argo_counts_failures_over_the_whole_analysis_and_each_metric_alone() -> None:
    minutes = [BAD, GOOD, GOOD, BAD]
    assert argo_aborts_at(minutes, LIMITS, failure_limit=1) == 4
    slow = Minute(requests=100, failed=0, p95_ms=900.0)
    both = Limits(success=0.99, p95_ms=500.0)
    fast_bad = Minute(requests=100, failed=5, p95_ms=100.0)
    assert argo_aborts_at([slow, fast_bad, slow], both, failure_limit=1) == 3
    assert argo_aborts_at([slow, fast_bad], both, failure_limit=1) is None


def test_argo_aborts_after_five_errors_in_a_row_and_forgets_them_at_a_measurement() -> None:
    assert argo_aborts_at([EMPTY] * 4 + [GOOD] + [EMPTY] * 4, LIMITS, failure_limit=0) is None
    assert argo_aborts_at([EMPTY] * 6, LIMITS, failure_limit=0) == 5


def test_flagger_rolls_back_at_the_tick_after_the_last_failed_check() -> None:
    assert flagger_rolls_back_at([BAD] * 10, LIMITS, threshold=5) == 6
    assert flagger_rolls_back_at([BAD] * 5, LIMITS, threshold=5) is None


def test_flagger_never_forgets_a_failed_check_and_counts_what_it_could_not_measure() -> None:
    assert flagger_rolls_back_at([BAD, *[GOOD] * 30, EMPTY, GOOD], LIMITS, threshold=2) == 33
    assert flagger_rolls_back_at([GOOD] * 60, LIMITS, threshold=1) is None


@pytest.mark.parametrize(
    ("requests", "published"),
    [(10, (0.945, 0.34, 0.17, 0.001)), (100, (0.998, 0.80, 0.635, 0.044)), (1000, (0.55, 0.009, 0.001, 0.0))],
)
def test_a_healthy_canary_is_given_up_as_often_as_was_published(requests: int, published: tuple[float, ...]) -> None:
    # 0.5 % errors against a limit of 1 %, sixty checks of one minute.
    rng, hours = random.Random(1), 400
    stopped = [0] * len(RULES)
    for _ in range(hours):
        minutes = [Minute(requests=requests, failed=_binomial(rng, requests, 0.005)) for _ in range(61)]
        for place, rule in enumerate(RULES):
            at = rule.stops_at(minutes[: 60 if rule.threshold is None else 61], LIMITS)
            stopped[place] += at is not None
    for place, share in enumerate(published):
        low, high = clopper_pearson(stopped[place], hours, confidence=0.999)
        assert low - 0.02 <= share <= high + 0.02, (RULES[place].name, stopped[place] / hours, share)
