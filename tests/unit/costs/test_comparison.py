"""Calls a task, candidate against baseline: a new tool loop is seen, an unlucky sample is not called one."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest

from fairway.costs.calls import Call
from fairway.costs.comparison import Compared, compare_releases, releases_to_compare
from fairway.costs.spending import Spending, add_up
from fairway.stats.ratio import mean_ratio, t_quantile
from fairway.units import Verdict

UNTIL = datetime(2026, 11, 20, tzinfo=UTC)
SINCE = UNTIL - timedelta(days=7)


def tasks(release: str, calls, *, cost: int | None = 100, began: int = 0) -> list[Call]:
    return [
        Call(
            at=SINCE + timedelta(hours=began, seconds=n), release=release, task=f"{release}-{n}", request="r",
            calls=count, cost_micros=None if cost is None else cost * count,
        )
        for n, count in enumerate(calls)
    ]  # fmt: skip


def spend(*groups) -> Spending:
    return add_up([call for group in groups for call in group], since=SINCE, until=UNTIL)


def calls(spending: Spending, *, margin: float = 1.1, minimum: int = 30) -> Compared:
    return compare_releases(spending, "2", "1", chosen=True, margin=margin, minimum_tasks=minimum).calls


def loops(seed: int, count: int, stop: float) -> list[int]:
    generator = random.Random(seed)
    found = []
    for _ in range(count):
        calls = 1
        while generator.random() > stop:
            calls += 1
        found.append(calls)
    return found


def test_a_new_tool_loop_is_flagged_with_its_ratio_and_interval():
    found = calls(spend(tasks("1", loops(1, 200, 0.6)), tasks("2", [n + 1 for n in loops(2, 200, 0.6)])))
    assert found.verdict is Verdict.FAIL
    assert found.ratio == pytest.approx(1.6, abs=0.2)
    assert found.lower > 1


def test_the_same_agent_again_passes_and_a_rise_below_the_margin_is_nobodys_concern():
    assert calls(spend(tasks("1", [3, 4, 5] * 400), tasks("2", [3, 4, 5] * 400))).verdict is Verdict.PASS
    assert calls(spend(tasks("1", [20] * 200), tasks("2", [21] * 200))).verdict is Verdict.PASS


def test_a_higher_mean_by_luck_is_inconclusive_and_no_flag():
    found = calls(spend(tasks("1", loops(1, 40, 0.4)), tasks("2", [*loops(3, 40, 0.4)])))
    assert found.verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize(
    ("spending", "said"),
    [
        (spend(tasks("1", [1] * 29), tasks("2", [9] * 100)), "100 and 29 tasks"),
        (spend(tasks("1", [1] * 100)), "0 and 100 tasks"),
    ],
)
def test_few_tasks_are_no_data_however_large_the_ratio(spending, said):
    found = calls(spending)
    assert found.verdict is Verdict.NO_DATA
    assert said in found.reason
    assert found.ratio is None


def test_rows_that_belong_to_no_task_say_nothing_of_calls_a_task():
    loose = [Call(at=SINCE, release="2", cost_micros=1) for _ in range(100)]
    assert calls(spend(tasks("1", [2] * 100), loose)).verdict is Verdict.NO_DATA


def test_a_cost_that_is_unknown_is_not_compared_and_calls_are():
    pair = compare_releases(
        spend(tasks("1", [2] * 50), tasks("2", [2] * 50, cost=None)),
        "2",
        "1",
        chosen=True,
        margin=1.1,
        minimum_tasks=30,
    )
    assert pair.cost.verdict is Verdict.NO_DATA
    assert pair.calls.verdict is Verdict.PASS


def test_the_newest_release_of_the_log_is_compared_with_the_one_before_it():
    spending = spend(tasks("b", [1], began=1), tasks("a", [1], began=2), tasks("c", [1], began=0))
    assert releases_to_compare(spending, None, None) == ("a", "b")
    assert releases_to_compare(spending, "b", None) == ("b", "c")
    assert releases_to_compare(spending, "b", "a") == ("b", "a")
    assert releases_to_compare(spending, "not-there", None) == ("not-there", "a")
    assert releases_to_compare(spend(tasks("a", [1])), None, None) is None
    assert releases_to_compare(spend(tasks("", [1]), tasks("a", [1])), None, None) is None


@pytest.mark.parametrize(
    ("probability", "freedom", "value"), [(0.95, 10, 1.812461), (0.975, 29, 2.045230), (0.99, 1e4, 2.326721)]
)
def test_t_quantiles_are_those_of_the_tables(probability, freedom, value):
    assert t_quantile(probability, freedom) == pytest.approx(value, abs=2e-6)


@pytest.mark.parametrize(("ours", "theirs"), [(30, 30), (30, 200), (200, 30)])
def test_no_change_is_called_a_rise_in_at_most_four_percent_of_skewed_samples(ours, theirs):
    generator = random.Random(f"{ours}-{theirs}")
    runs, wrong = 400, 0
    for _ in range(runs):
        first = [generator.lognormvariate(0, 1) for _ in range(ours)]
        second = [generator.lognormvariate(0, 1) for _ in range(theirs)]
        found = mean_ratio(first, second)
        assert found is not None
        wrong += found.lower > 1
    assert wrong <= 0.04 * runs + 2.33 * (0.04 * 0.96 * runs) ** 0.5


def test_equal_values_are_not_believed_to_have_no_variance():
    found = mean_ratio([1.0] * 5, [1.0] * 5)
    assert found is not None
    assert found.lower < 0.9 < 1.1 < found.upper
    assert mean_ratio([1.0], [1.0, 2.0]) is None
    assert mean_ratio([0.0, 0.0], [1.0, 2.0]) is None
