"""Laws 7 and 8 for the default policy: every gate and trigger on, a look every ten seconds, an hour, every traffic.

A few rollouts for each shape are simulated here, from seeds of their own, and counted together with those of
``docs/simulations.md``: what the page says and what the code does now must hold the bounds together. With
``FAIRWAY_SIMULATIONS=n`` it is n of each.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from fairway.simulate.rollout import Ending
from fairway.simulate.scenario import Effect, Shape
from fairway.simulate.study import Rate, Study
from fairway.simulate.suite import FAILING_STABLE, policy_of, scenario_of
from fairway.units import Parts, format_share

PAGE = Path(__file__).parents[3] / "docs" / "simulations.md"
ROLLOUTS = int(os.environ.get("FAIRWAY_SIMULATIONS", "2"))
SEED = 90_001
FALSE_ROLLBACK = 0.02
"""The upper limit asked for, half of the policy's own promise."""
FALSE_PROMOTION, SLACK = 0.05, 0.03
"""What the policy promises at its margins; above it, for the upper limit of as few rollouts as the page has there."""


def table(title: str) -> list[list[str]]:
    """The rows of a table of the page, without its head."""
    section = PAGE.read_text(encoding="utf-8").split(f"## {title}\n", 1)[1].split("\n## ", 1)[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:2] == "| "]
    return rows[1:]


def counted(cell: str) -> tuple[int, int]:
    """``3 of 90 (…)``."""
    found = re.match(r"(\d+) of (\d+)", cell)
    assert found is not None, cell
    return int(found[1]), int(found[2])


def ended(ending: Ending, effect: Effect, shape: Shape, per_minute: float) -> tuple[int, int]:
    """How often rollouts simulated now ended so."""
    study = Study(scenario=scenario_of(policy_of(), shape=shape, effect=effect, per_minute=per_minute), wanted=ROLLOUTS)
    list(study.run(SEED))
    return study.ended(ending).hits, len(study.outcomes)


def together(*counts: tuple[int, int]) -> Rate:
    return Rate(hits=sum(hits for hits, _ in counts), of=sum(of for _, of in counts))


@pytest.mark.slow
@pytest.mark.parametrize("shape", Shape)
def test_a_healthy_candidate_is_rolled_back_in_less_than_two_of_a_hundred_hours(shape: Shape, record_property) -> None:
    told = [counted(row[3]) for row in table("A healthy candidate") if row[0] == shape.value]
    assert len(told) >= 3, "the page has a row for each level of traffic"
    rate = together(*told, ended(Ending.ROLLED_BACK, Effect.SAME, shape, 100.0))
    record_property("false rollbacks", f"{rate.hits} of {rate.of}, 95% interval {rate.interval}")
    print(f"\nfalse rollbacks, {shape.value}: {rate.hits} of {rate.of}, 95% interval up to {rate.interval[1]:.4f}")
    assert rate.hits / rate.of <= FALSE_ROLLBACK / 2
    assert rate.interval[1] <= FALSE_ROLLBACK


@pytest.mark.slow
@pytest.mark.parametrize("effect", [Effect.MARGIN_ERRORS, Effect.MARGIN_P95])
def test_a_candidate_at_its_margin_is_promoted_in_less_than_five_of_a_hundred_hours(
    effect: Effect, record_property
) -> None:
    told = [counted(row[2]) for row in table("At its margins and beyond") if row[0] == effect.value]
    rate = together(*told, ended(Ending.PROMOTED, effect, Shape.IID, 600.0))
    record_property("false promotions", f"{rate.hits} of {rate.of}, 95% interval {rate.interval}")
    print(f"\nfalse promotions, {effect.value}: {rate.hits} of {rate.of}, 95% interval up to {rate.interval[1]:.4f}")
    assert rate.hits / rate.of <= FALSE_PROMOTION
    assert rate.interval[1] <= FALSE_PROMOTION + SLACK


@pytest.mark.slow
@pytest.mark.parametrize(
    ("effect", "split", "at_most"),
    [
        (Effect.ERRORS_3, 5_000, 600.0),
        (Effect.ERRORS_3, 10_000, 360.0),
        (Effect.ERRORS_3, 50_000, 180.0),
        (Effect.ERRORS_10, 5_000, 90.0),
    ],
    ids=["1-3 at 5%", "1-3 at 10%", "1-3 at 50%", "1-10 at 5%"],
)
def test_more_failures_are_found_in_the_time_asked_for(
    effect: Effect, split: int, at_most: float, record_property
) -> None:
    scenario = scenario_of(
        policy_of(**FAILING_STABLE), effect=effect, per_minute=2000.0, held=Parts(split), seconds=1800.0
    )
    study = Study(scenario=scenario, wanted=5)
    list(study.run(SEED))
    delays = study.delays
    record_property("median delay", delays.median)
    print(f"\nmedian delay of {effect.value} at {format_share(split)}: {delays.median} s", end="")
    assert delays.stopped.hits == 5
    # Of five, the second: the median of the page's many is what is promised, five alone are coarse.
    assert sorted(outcome.delay for outcome in study.outcomes)[1] <= at_most
    said = next(
        row for row in table("How long a bad candidate lives")
        if row[:4] == [effect.value, "iid", "success 98%", format_share(split)]
    )  # fmt: skip
    assert told_seconds(said[5]) <= at_most


def told_seconds(cell: str) -> float:
    """``50 s (…)`` or ``5.5 min (…)``."""
    found = re.match(r"([\d.]+) (s|min)", cell)
    assert found is not None, cell
    return float(found[1]) * (60.0 if found[2] == "min" else 1.0)
