from __future__ import annotations

import math
import random

import pytest

from fairway.evals.gating.matching import pair_sides
from fairway.evals.gating.ratios import compare_figures, student
from fairway.evals.trials import CaseTrials, Side
from fairway.evals.values import CaseOutcome
from fairway.units import Digest, Verdict


def side(*figures: tuple[int | None, ...], family: int = 1, outcomes: tuple[CaseOutcome, ...] | None = None) -> Side:
    cases = tuple(
        CaseTrials(
            suite="s",
            case_id=f"c{index}",
            cluster=str(index // family),
            outcomes=outcomes or (CaseOutcome.PASSED,) * len(row),
            tokens=row,
        )
        for index, row in enumerate(figures)
    )
    return Side(name="x", instrument=Digest("sha256:" + "1" * 64), cases=cases)


def ratio(mine: Side, theirs: Side, limit: float | None = None, alpha: float = 0.05):
    pairing = pair_sides(mine, theirs, max_repeat=8)
    return compare_figures(pairing, "tokens", lambda case: case.tokens, limit=limit, alpha=alpha)


@pytest.mark.parametrize(
    ("probability", "degrees", "quantile"),
    [(0.975, 1, 12.706), (0.975, 4, 2.776), (0.975, 10, 2.228), (0.95, 30, 1.697), (0.975, 1000, 1.962)],
)
def test_students_quantiles_are_those_of_the_tables(probability, degrees, quantile):
    assert student(probability, degrees) == pytest.approx(quantile, abs=1e-3)


def test_the_ratio_is_the_geometric_mean_over_cases():
    found = ratio(side((200,), (50,)), side((100,), (100,)))
    assert found.ratio is not None
    assert found.ratio.estimate == pytest.approx(1.0)
    assert found.means == (125.0, 100.0)


def test_the_interval_is_the_textbook_one_for_independent_cases():
    logs = [0.1, 0.3, -0.1, 0.2]
    found = ratio(side(*((round(1e6 * math.exp(one)),) for one in logs)), side(*[(1_000_000,)] * 4))
    mean = sum(logs) / 4
    error = math.sqrt(sum((one - mean) ** 2 for one in logs) / 3 / 4)
    assert found.ratio is not None
    assert math.log(found.ratio.high) == pytest.approx(mean + 3.18245 * error, abs=1e-4)
    assert math.log(found.ratio.low) == pytest.approx(mean - 3.18245 * error, abs=1e-4)


def test_swapping_the_sides_inverts_the_ratio():
    dice = random.Random(1)
    mine, theirs = (side(*((dice.randint(50, 150),) for _ in range(20))) for _ in range(2))
    one, other = ratio(mine, theirs).ratio, ratio(theirs, mine).ratio
    assert one is not None
    assert other is not None
    assert (one.estimate * other.estimate, one.low * other.high) == pytest.approx((1.0, 1.0))


def test_a_family_counts_once_so_its_interval_is_wider():
    dice = random.Random(2)
    factors = [math.exp(dice.gauss(0, 0.3)) for _ in range(10) for _ in range(5)]
    factors = [factors[5 * (index // 5)] for index in range(50)]
    mine, theirs = [(round(1000 * one),) for one in factors], [(1000,)] * 50
    alone, bound = ratio(side(*mine), side(*theirs)).ratio, ratio(side(*mine, family=5), side(*theirs, family=5)).ratio
    assert alone is not None
    assert bound is not None
    assert bound.high - bound.low > 2 * (alone.high - alone.low)


def test_one_case_says_nothing_of_the_spread():
    found = ratio(side((100,)), side((100,)), limit=2.0)
    assert found.ratio is not None
    assert (found.ratio.low, found.ratio.high) == (0.0, math.inf)
    assert found.verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize(
    ("mine", "theirs"), [((None,), (100,)), ((100, None), (100, 100)), ((0,), (100,)), ((5,), (0,))]
)
def test_a_figure_that_is_not_known_is_named_and_holds_the_limit(mine, theirs):
    found = ratio(side((100,), mine), side((100,), theirs), limit=2.0)
    assert found.unknown == ("s/c1",)
    assert found.verdict is Verdict.ERROR
    assert ratio(side((100,), mine), side((100,), theirs)).verdict is Verdict.PASS


def test_what_costs_nothing_on_both_sides_is_no_change():
    found = ratio(side((0,), (0,)), side((0,), (0,)), limit=1.0)
    assert found.verdict is Verdict.PASS


def test_trials_that_broke_are_not_asked_what_they_cost():
    outcomes = (CaseOutcome.PASSED, CaseOutcome.ERROR)
    found = ratio(side((100, None), outcomes=outcomes), side((100, 7), outcomes=outcomes))
    assert found.unknown == ()
    assert found.means == (100.0, 100.0)


def test_the_interval_holds_the_true_ratio_as_often_as_it_says():
    dice = random.Random(6)
    held = 0
    for _ in range(400):
        mine = side(*((round(1000 * 1.2 * math.exp(dice.gauss(0, 0.4))),) for _ in range(15)))
        found = ratio(mine, side(*[(1000,)] * 15)).ratio
        assert found is not None
        held += found.low <= 1.2 <= found.high
    assert 365 <= held <= 394  # 380 expected, 4.4 either way is one standard deviation
