"""How often the gate errs, counted through the real one.

By default a seeded part, and a count fails a promise only when it is implausible under it. With
``FAIRWAY_EVAL_SIMULATIONS=n`` every scenario is played n times, and from 1,000 on the Clopper-Pearson bound is held
against the promise too. The table of ``docs/evals/gate.md`` comes from the same scenarios
(``python -m benchmarks.eval_gate --write``).
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from fairway.stats.intervals import incomplete_beta
from fairway.testing.gate_scenarios import SCENARIOS, Promise, Row, Scenario, simulate
from fairway.units import Verdict

ASKED = int(os.environ.get("FAIRWAY_EVAL_SIMULATIONS", "0"))
IMPLAUSIBLE = 1e-3
PAGE = Path(__file__).parents[4] / "docs" / "evals" / "gate.md"

PART = {
    Scenario(rates="τ-bench", cases=50, repeats=4): 100,
    Scenario(rates="τ-bench", cases=200, repeats=4): 20,
    Scenario(rates="τ-bench", cases=200, repeats=4, fall=0.05): 25,
    Scenario(rates="Beta(8, ½)", cases=200, repeats=1, fall=0.05, how="broken"): 25,
    Scenario(rates="all pass", cases=63, fall=0.05): 40,
    Scenario(rates="τ-bench", cases=50, adaptive=True): 14,
    Scenario(rates="all pass", cases=100, family=10, outage=0.2): 40,
    Scenario(rates="τ-bench", cases=100, attempts=10, fall=0.05, slow=True): 4,
}


def _at_least(count: int, runs: int, rate: float) -> float:
    """P(X >= count) for a binomial X."""
    return incomplete_beta(rate, count, runs - count + 1) if count else 1.0


def _kept(promise: Promise, row: Row) -> bool:
    count, runs = row.ever[promise.verdict], row.runs
    _, high = row.interval(promise.verdict)
    if promise.at_most is not None:
        plausible = _at_least(count, runs, promise.at_most) > IMPLAUSIBLE
        return plausible and (runs < 1000 or high <= promise.at_most * 1.3)
    assert promise.at_least is not None
    plausible = _at_least(runs - count, runs, 1 - promise.at_least) > IMPLAUSIBLE
    return plausible and (runs < 1000 or high >= promise.at_least)


def _name(scenario: Scenario) -> str:
    return f"{scenario.rates}, {scenario.cases} cases, {scenario.repeated}, {scenario.change}"


@pytest.mark.parametrize("scenario", SCENARIOS if ASKED else PART, ids=_name)
def test_the_gate_errs_no_more_often_than_promised(scenario):
    runs = (max(1, ASKED // scenario.effort) if ASKED else 0) or PART[scenario]
    row = simulate(scenario, runs)
    for promise in scenario.promises:
        assert _kept(promise, row), f"{promise}: {row.ever[promise.verdict]} of {row.runs}"


def test_every_row_of_the_page_is_a_scenario_and_keeps_its_promise():
    region = PAGE.read_text().partition("<!-- simulated: begin -->")[2].partition("<!-- simulated: end -->")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in region.strip().splitlines()[2:]]
    assert len(rows) == len(SCENARIOS)
    for scenario, cells in zip(SCENARIOS, rows, strict=True):
        assert cells[:4] == [scenario.rates, str(scenario.cases), scenario.repeated, scenario.change]
        runs = int(cells[-1])
        for promise in scenario.promises:
            share = float(cells[4 if promise.verdict is Verdict.FAIL else 5].split("**")[1])
            ever = Counter({promise.verdict: round(share * runs / 100)})
            row = Row(scenario=scenario, runs=runs, ever=ever, others=Counter(), trials=0.0)
            assert _kept(promise, row), cells


def test_the_seeded_part_is_a_part_of_the_table():
    assert set(PART) <= set(SCENARIOS)
    assert {promise.verdict for scenario in PART for promise in scenario.promises} == {Verdict.PASS, Verdict.FAIL}


@pytest.mark.parametrize(("wrong", "runs"), [(14, 60), (6, 20), (9, 30)])
def test_a_gate_that_errs_in_a_quarter_of_the_runs_would_be_noticed(wrong, runs):
    assert _at_least(wrong, runs, 0.05) < IMPLAUSIBLE
