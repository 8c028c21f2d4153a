"""Laws 7 and 8 through the real engine: how often whole rollouts go wrong, with intervals.

With ``FAIRWAY_REQUIRE_ALL`` many, also at 3,000 conversations a minute; else a few, from the same seeds.
"""

from __future__ import annotations

import os

import pytest

from fairway.rollout.config import RolloutSection
from fairway.rollout.plan import compile_plan
from fairway.rollout.values import Phase
from fairway.stats.intervals import clopper_pearson
from fairway.testing.modelled_rollout import ModelledRollout
from fairway.testing.modelled_traffic import ArmModel, ModelledTraffic, outage

POLICY = RolloutSection.model_validate(
    {
        "steps": ["5%", "10%", "30%", "50%", "100%"],
        "dwell": "30s",
        "cap": "6h",
        "soak": "0s",
        "gates": {
            "success": "95%",
            "failures": {"margins": ["10pt", "7.5pt", "5pt", "5pt"]},
            "p95": {"margins": ["+100%", "+50%", "+50%", "+50%"], "must_pass": False},
        },
    }
)
AGAINST = (Phase.ROLLED_BACK, Phase.ROLLING_BACK)
ALL = bool(os.environ.get("FAIRWAY_REQUIRE_ALL"))
ROLLOUTS = 16 if ALL else 4


async def outcomes(count: int, blocks: int, **model) -> dict[str, int]:
    """How so many rollouts ended: against the candidate, for it, or undecided."""
    tally = {"against": 0, "promoted": 0, "undecided": 0}
    for seed in range(count):
        rollout = ModelledRollout(traffic=ModelledTraffic(seed=seed, **model), plan=compile_plan(POLICY))
        phase = await rollout.run(blocks=blocks)
        ended = "against" if phase in AGAINST else "promoted" if phase in (Phase.SOAKING, Phase.DONE) else "undecided"
        tally[ended] += 1
    return tally


def told(record_property, name: str, bad: int, of: int) -> tuple[float, float]:
    interval = clopper_pearson(bad, of)
    record_property(name, f"{bad} of {of}, 95% interval {interval[0]:.4f}-{interval[1]:.4f}")
    print(f"{name}: {bad} of {of}, 95% interval {interval[0]:.4f}-{interval[1]:.4f}")
    return interval


LEVELS = ((60, 150), (600, 120), *(((3_000, 60),) if ALL else ()))
"""Conversations a minute, and blocks of ten seconds watched at most."""
SLACK = 0.04
"""What so few rollouts leave open above alpha; the gates' own rates are measured in ``tests/unit/verdict``."""


@pytest.mark.slow
async def test_law_7_a_healthy_candidate_is_rarely_rolled_back_however_often_one_looks(record_property):
    arm = ArmModel(failure=0.01)
    against = rollouts = 0
    for per_minute, blocks in LEVELS:
        tally = await outcomes(
            ROLLOUTS,
            blocks,
            units_per_block=per_minute / 6,
            stable=arm,
            candidate=arm,
            heavy_users=5,
            load_noise=0.2,
            turns=2,
        )
        told(record_property, f"false rollbacks at {per_minute} a minute", tally["against"], ROLLOUTS)
        if per_minute >= 600:
            assert tally["promoted"] >= ROLLOUTS * 0.8, tally
        against, rollouts = against + tally["against"], rollouts + ROLLOUTS
    calm = ArmModel(failure=0.005)
    tally = await outcomes(
        ROLLOUTS, 60, units_per_block=100, stable=calm, candidate=calm, failures=outage(20, 40, 50.0)
    )
    told(record_property, "rollbacks in an outage of both arms", tally["against"], ROLLOUTS)
    against, rollouts = against + tally["against"], rollouts + ROLLOUTS
    _, upper = told(record_property, "false rollbacks in all", against, rollouts)
    assert (upper <= POLICY.alpha_fail + SLACK) if ALL else not against


@pytest.mark.slow
async def test_law_8_a_candidate_beyond_the_last_margin_is_not_finished(record_property):
    tally = await outcomes(
        ROLLOUTS, 120, units_per_block=100, stable=ArmModel(failure=0.01), candidate=ArmModel(failure=0.01, excess=0.1)
    )
    told(record_property, "false promotions at twice the last margin", tally["promoted"], ROLLOUTS)
    assert tally["promoted"] == 0, tally
    assert tally["against"] >= ROLLOUTS * 0.9, tally
