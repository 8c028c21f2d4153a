"""Spending, projected against budgets: exact sums, thin data refused, unknown never zero."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.costs.calls import Call
from fairway.costs.logs import Unreadable
from fairway.costs.projection import ProjectionPolicy, project_spend
from fairway.costs.spending import Spending, add_up
from fairway.units import Verdict

UNTIL = datetime(2026, 11, 20, 12, tzinfo=UTC)
SINCE = UNTIL - timedelta(days=7)


def call(**changes) -> Call:
    fields = {"at": UNTIL - timedelta(hours=1), "release": "1.0.0", "model": "m", "cost_micros": 1000, "tokens_in": 10}
    return Call(**(fields | changes))


def spend(rows) -> Spending:
    return add_up(rows, since=SINCE, until=UNTIL)


def steady(*, requests_a_day: int, micros: int, days: int = 7) -> Spending:
    return spend(
        call(at=UNTIL - timedelta(days=day, seconds=1 + n), request=f"{day}-{n}", cost_micros=micros)
        for day in range(days)
        for n in range(requests_a_day)
    )


def test_calls_of_one_request_are_one_request_and_rows_without_a_name_are_their_own():
    spending = spend([call(request="r", calls=2), call(request="r"), call(), call()])
    assert spending.total.requests == 3
    assert spending.total.calls == 5
    assert spending.total.cost_micros == 4000
    assert spending.total.micros_per_request == 4000 / 3


def test_the_same_request_id_in_two_tasks_is_two_requests():
    assert spend([call(task="a", request="1"), call(task="b", request="1")]).total.requests == 2


def test_spending_is_told_by_release_tenant_and_feature_the_dearest_first():
    spending = spend(
        [
            call(release="1.0.0", tenant="acme", feature="chat", cost_micros=5),
            call(release="1.1.0", tenant="acme", feature="refund", cost_micros=50),
            call(release="1.1.0", tenant="", feature="refund", cost_micros=7),
        ]
    )
    assert {name: one.cost_micros for name, one in spending.by["release"].items()} == {"1.1.0": 57, "1.0.0": 5}
    assert list(spending.by["tenant"]) == ["acme", ""]
    assert spending.by["feature"]["refund"].requests == 2


def test_a_task_belongs_to_the_release_it_began_on_in_any_order_of_the_rows():
    rows = [
        call(task="t", release="2", at=UNTIL - timedelta(hours=1)),
        call(task="t", release="1", at=UNTIL - timedelta(hours=2)),
    ]
    for order in (rows, rows[::-1]):
        spending = spend(order)
        assert len(spending.releases["1"].units) == 1
        assert spending.releases["2"].units == ()


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xyz"), st.integers(0, 10**9)), max_size=30))
def test_parts_add_up_to_the_whole_and_order_does_not_matter(rows):
    calls = [call(release=release, task=task, cost_micros=cost) for release, task, cost in rows]
    spending = spend(calls)
    for dimension in ("release", "feature", "day"):
        assert sum(one.cost_micros for one in spending.by[dimension].values()) == spending.total.cost_micros
    assert sum(unit.cost_micros or 0 for unit in spending.units) == spending.total.cost_micros
    assert spend(calls[::-1]).total == spending.total


def test_the_projection_is_the_average_times_the_volume():
    projection = project_spend(steady(requests_a_day=100, micros=20_000), ProjectionPolicy())
    assert projection.verdict is Verdict.PASS
    assert projection.per_request == Decimal("0.02")
    assert projection.per_day == Decimal("2.00")
    assert projection.per_month == Decimal("60.00")
    assert projection.coverage.days_seen == 7


@pytest.mark.parametrize(
    ("volume", "verdict", "said"),
    [
        (16_000, Verdict.PASS, ""),
        (17_000, Verdict.FAIL, "10200.00 USD a month"),
        (26_000, Verdict.FAIL, "520.00 USD a day"),
    ],
    ids=["within both", "beyond 10,000 a month", "beyond 500 a day"],
)
def test_500_a_day_and_10_000_a_month_are_the_budgets_nobody_has_to_declare(volume, verdict, said):
    policy = ProjectionPolicy(requests_per_day=volume)
    projection = project_spend(steady(requests_a_day=20, micros=20_000), policy)
    assert projection.verdict is verdict
    assert said in " ".join(projection.reasons)


def test_exactly_the_budget_is_within_it():
    policy = ProjectionPolicy(requests_per_day=100, daily=Decimal("2"), monthly=Decimal("60"))
    assert project_spend(steady(requests_a_day=20, micros=20_000), policy).verdict is Verdict.PASS
    assert project_spend(steady(requests_a_day=20, micros=20_001), policy).verdict is Verdict.FAIL


def test_a_single_call_without_a_price_leaves_everything_unknown():
    rows = [call(request=str(n), at=UNTIL - timedelta(days=n % 7, seconds=1)) for n in range(500)]
    projection = project_spend(spend([*rows, call(cost_micros=None, model="new-model")]), ProjectionPolicy())
    assert projection.verdict is Verdict.NO_DATA
    assert "new-model" in projection.reasons[0]
    assert projection.per_day is None


@pytest.mark.parametrize(
    ("spending", "said"),
    [
        (steady(requests_a_day=14, micros=1), "98 requests"),
        (steady(requests_a_day=100, micros=1, days=2), "2 of 7 days"),
        (spend([]), "0 requests"),
    ],
    ids=["few requests", "few days", "nothing"],
)
def test_thin_data_is_no_data(spending, said):
    projection = project_spend(spending, ProjectionPolicy())
    assert projection.verdict is Verdict.NO_DATA
    assert said in projection.reasons[0]


def test_one_unreadable_row_is_a_log_being_written_and_many_are_no_data():
    bad = Unreadable(file="calls.jsonl", line=7, why="is no JSON")
    rows = [call(request=str(n), at=UNTIL - timedelta(days=n % 7, seconds=1)) for n in range(300)]
    assert project_spend(spend([*rows, bad]), ProjectionPolicy()).verdict is Verdict.PASS
    projection = project_spend(spend([*rows, *[bad] * 4]), ProjectionPolicy())
    assert projection.verdict is Verdict.NO_DATA
    assert "calls.jsonl:7" in projection.reasons[0]


def test_a_file_that_is_cut_is_no_data_though_it_is_only_one_row():
    cut = Unreadable(file="calls.jsonl.gz", line=301, why="is lost", rest=True)
    rows = [call(request=str(n), at=UNTIL - timedelta(days=n % 7, seconds=1)) for n in range(300)]
    projection = project_spend(spend([*rows, cut]), ProjectionPolicy())
    assert projection.verdict is Verdict.NO_DATA
    assert "calls.jsonl.gz cannot be read from line 301 on" in projection.reasons[0]


def test_beyond_budget_by_what_is_known_alone_is_fail_whatever_is_unknown():
    rows = [call(request=str(n), at=UNTIL - timedelta(days=n % 7, seconds=1), cost_micros=10**8) for n in range(700)]
    projection = project_spend(spend([*rows, call(cost_micros=None, model="new-model")]), ProjectionPolicy())
    assert projection.verdict is Verdict.FAIL
    assert "even without what is not known" in projection.reasons[0]
    assert any("new-model" in reason for reason in projection.reasons)


def test_a_declared_volume_is_not_multiplied_with_the_cost_of_a_part_of_a_request():
    named = [call(request=str(n), at=UNTIL - timedelta(days=n % 7, seconds=1)) for n in range(300)]
    policy = ProjectionPolicy(requests_per_day=1000, calls_per_request=4)
    assert project_spend(spend(named), policy).verdict is Verdict.PASS
    projection = project_spend(spend([*named, call(task="c", request="")]), policy)
    assert projection.verdict is Verdict.NO_DATA
    assert "1 calls name no request" in projection.reasons[0]
    assert project_spend(spend([*named, call()]), ProjectionPolicy(calls_per_request=4)).verdict is Verdict.PASS


def test_a_lost_day_of_the_log_does_not_make_a_day_cheaper():
    rows = [
        call(at=UNTIL - timedelta(days=day, seconds=1 + n), request=f"{day}-{n}", cost_micros=10_000)
        for day in (0, 1, 2, 4, 5, 6)
        for n in range(50)
    ]
    assert project_spend(spend(rows), ProjectionPolicy()).per_day == Decimal("0.50")


def test_a_service_that_began_in_the_window_is_not_diluted_by_the_days_before():
    rows = [call(at=UNTIL - timedelta(minutes=6 * n + 1), request=str(n), cost_micros=10_000) for n in range(600)]
    projection = project_spend(spend(rows), ProjectionPolicy())
    assert projection.requests_per_day == pytest.approx(Decimal(240), abs=Decimal(1))


def test_near_the_budget_is_said_and_the_interval_holds_the_truth_in_95_percent():
    generator = random.Random(4)
    held = 0
    for _ in range(200):
        rows = []
        for task in range(60):
            dear = generator.random() < 0.3
            for n in range(generator.randint(1, 5)):
                at = UNTIL - timedelta(days=task % 7, seconds=n + 1)
                rows.append(call(task=str(task), request=str(n), at=at, cost_micros=9000 if dear else 1000))
        projection = project_spend(spend(rows), ProjectionPolicy())
        assert projection.interval is not None
        held += projection.interval[0] <= Decimal("0.0034") <= projection.interval[1]
    assert 182 <= held <= 198
    limit = projection.per_day
    assert limit is not None
    close = project_spend(spend(rows), ProjectionPolicy(daily=limit + Decimal("0.01")))
    assert close.verdict is Verdict.PASS
    assert close.near
