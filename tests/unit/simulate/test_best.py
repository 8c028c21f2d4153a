"""The yardstick: it errs as rarely as it says, and is as fast as Wald's bound."""

from __future__ import annotations

import math
import statistics

import pytest

from fairway.simulate.best import BestPossible
from fairway.simulate.traffic import ArmModel, ModelledTraffic
from fairway.stats.intervals import clopper_pearson

ALPHA = 0.04


def blocks_until_sure(candidate: ArmModel, seed: int, *, truth: ArmModel, limit: int = 400) -> int | None:
    """Blocks until the test that expects ``candidate`` is sure, when the candidate is really ``truth``."""
    stable = ArmModel(failure=0.01)
    believed = ModelledTraffic(seed=seed, units_per_block=40, stable=stable, candidate=candidate)
    real = ModelledTraffic(seed=seed, units_per_block=40, stable=stable, candidate=truth)
    best = BestPossible(traffic=believed, alpha=ALPHA)
    for number in range(1, limit + 1):
        if best.keep(real.next_block(split=0.5), failure_margin=0.01, latency_margin=1.1):
            return number
    return None


@pytest.mark.parametrize(
    ("effect", "at_margin"),
    [
        (ArmModel(failure=0.06), ArmModel(failure=0.02)),
        (ArmModel(failure=0.01, latency_ms=600), ArmModel(failure=0.01, latency_ms=440)),
    ],
    ids=["failures", "latency"],
)
def test_a_candidate_at_the_margin_is_stopped_no_more_often_than_alpha(effect: ArmModel, at_margin: ArmModel) -> None:
    stopped = sum(blocks_until_sure(effect, seed, truth=at_margin, limit=60) is not None for seed in range(100))
    assert clopper_pearson(stopped, 100)[0] <= ALPHA


def test_it_takes_about_as_many_conversations_as_the_information_asks_for() -> None:
    effect = ArmModel(failure=0.08)
    took = [blocks_until_sure(effect, seed, truth=effect) for seed in range(60)]
    assert None not in took
    information = 0.08 * math.log(0.08 / 0.02) + 0.92 * math.log(0.92 / 0.98)
    bound = math.log(1 / ALPHA) / information / 20  # twenty of the candidate's conversations begin in a block
    assert bound <= statistics.mean(took) <= 1.5 * bound + 1


def test_where_the_candidate_keeps_its_margins_there_is_nothing_to_find() -> None:
    healthy = ArmModel(failure=0.015, latency_ms=420)
    assert blocks_until_sure(healthy, 1, truth=ArmModel(failure=0.5, latency_ms=4000)) is None
