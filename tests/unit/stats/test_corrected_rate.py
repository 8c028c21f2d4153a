from __future__ import annotations

import os
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.stats.corrected_rate import corrected_rate
from fairway.stats.intervals import clopper_pearson

DRAWS = int(os.environ.get("FAIRWAY_EVAL_COVERAGE_DRAWS", "400"))


def drawn(rng: random.Random, count: int, rate: float) -> int:
    return sum(rng.random() < rate for _ in range(count))


@pytest.mark.parametrize("rate", [0.5, 0.8, 0.95, 1.0])
@pytest.mark.parametrize(("sensitivity", "specificity"), [(0.95, 0.9), (0.85, 0.8)])
@pytest.mark.parametrize(("cases", "labelled"), [(50, 20), (200, 20), (200, 100)])
def test_the_interval_holds_the_true_rate_in_95_of_100_runs_with_new_cases_and_new_labelled_items(
    rate, sensitivity, specificity, cases, labelled
):
    rng = random.Random(f"{rate} {sensitivity} {cases} {labelled}")
    judged = rate * sensitivity + (1 - rate) * (1 - specificity)
    held = found = 0
    for _ in range(DRAWS):
        corrected = corrected_rate(
            drawn(rng, cases, judged),
            cases,
            good_passed=drawn(rng, labelled, sensitivity),
            good=labelled,
            bad_failed=drawn(rng, labelled, specificity),
            bad=labelled,
        )
        if corrected is not None:
            found += 1
            held += corrected.lower <= rate <= corrected.upper
    assert found > 0.99 * DRAWS
    # not significantly below its nominal 95 %
    assert clopper_pearson(held, found, confidence=0.998)[1] >= 0.95


def test_an_interval_that_takes_the_judge_as_known_would_be_too_narrow():
    few = corrected_rate(160, 200, good_passed=18, good=20, bad_failed=16, bad=20)
    many = corrected_rate(160, 200, good_passed=9_000, good=10_000, bad_failed=8_000, bad=10_000)
    assert few is not None
    assert many is not None
    assert few.rate == pytest.approx(many.rate)
    assert few.upper - few.lower > 1.5 * (many.upper - many.lower)


def test_the_estimate_is_that_of_rogan_and_gladen():
    found = corrected_rate(70, 100, good_passed=45, good=50, bad_failed=40, bad=50)
    assert found is not None
    assert found.judged == 0.7
    assert found.rate == pytest.approx((0.7 + 0.8 - 1) / (0.9 + 0.8 - 1))


def test_a_perfect_judge_changes_nothing():
    found = corrected_rate(70, 100, good_passed=50, good=50, bad_failed=50, bad=50)
    assert found is not None
    assert found.rate == pytest.approx(0.7)
    assert found.lower < 0.7 < found.upper


@pytest.mark.parametrize(
    ("cases", "good_passed", "good", "bad_failed", "bad"),
    [(0, 9, 10, 9, 10), (10, 0, 0, 9, 10), (10, 9, 10, 0, 0), (10, 5, 10, 5, 10), (10, 2, 10, 3, 10)],
)
def test_nothing_is_said_without_cases_or_labels_or_of_a_judge_no_better_than_chance(
    cases, good_passed, good, bad_failed, bad
):
    found = corrected_rate(cases / 2, cases, good_passed=good_passed, good=good, bad_failed=bad_failed, bad=bad)
    assert found is None


def test_more_passed_than_there_are_is_refused():
    with pytest.raises(ValueError, match="from 0 to all"):
        corrected_rate(11, 10, good_passed=5, good=5, bad_failed=5, bad=5)


@given(
    share=st.floats(0, 1),
    cases=st.integers(1, 500),
    counts=st.tuples(st.integers(1, 60), st.integers(1, 60), st.floats(0, 1), st.floats(0, 1)),
)
def test_rate_and_interval_are_shares_and_the_interval_holds_the_estimate(share, cases, counts):
    good, bad, passed, failed = counts
    found = corrected_rate(
        share * cases, cases, good_passed=round(passed * good), good=good, bad_failed=round(failed * bad), bad=bad
    )
    if found is not None:
        assert 0 <= found.lower <= found.rate <= found.upper <= 1
