"""What ``fairway rollout plan`` promises fits what stable's own rate allows."""

from __future__ import annotations

import math
import random
import statistics

import pytest

from fairway.rollout.config import RolloutSection
from fairway.rollout.describe_plan import describe_forecast, plan_report
from fairway.rollout.forecast import GateForecast, Traffic, forecast
from fairway.rollout.plan import compile_plan
from fairway.stats.paired import Paired, with_differences

PLAN = compile_plan(RolloutSection())


def last_step(failing: float) -> dict[str, GateForecast]:
    found = forecast(PLAN, Traffic(per_minute=600, failing=failing, measured=True))[-1]
    return {each.gate.name: each for each in found.gates}


@pytest.mark.parametrize(("failing", "needs"), [(0.0, 723), (0.001, 1_458), (0.003, 7_446), (0.006, None)])
def test_success_takes_as_long_as_the_rate_of_stable_lets_it(failing: float, needs: int | None) -> None:
    assert last_step(failing)["success"].needs == needs


def test_failures_within_points_take_longer_the_more_stable_fails() -> None:
    needs = [last_step(failing)["failures"].needs for failing in (0.0, 0.001, 0.003, 0.006, 0.02)]
    assert None not in needs
    assert needs == sorted(needs, key=lambda one: one or 0)
    assert len(set(needs)) == len(needs)


@pytest.mark.parametrize("failing", [0.001, 0.006, 0.02])
def test_what_is_told_of_failures_is_about_what_pairs_take(failing: float) -> None:
    found = last_step(failing)["failures"]
    half = math.log(2 / found.gate.alpha_pass)
    taken = []
    for seed in range(9):
        draw, paired = random.Random(seed), Paired()
        while paired.log_e_pass < half and paired.count < 40_000:
            pairs = [(draw.random() < failing) - (draw.random() < failing) for _ in range(50)]
            paired = with_differences(paired, pairs, margin=found.gate.margin)
        taken.append(paired.count)
    assert found.needs is not None
    assert 0.6 < found.needs / statistics.median(taken) < 1.6


def test_what_never_passes_says_so_and_what_to_change() -> None:
    traffic = Traffic(per_minute=600, failing=0.006, measured=True)
    told = describe_forecast(PLAN, traffic)
    assert "success ≥ 99.5% (≥ 723 clean conversations): never, 0.60% of stable's conversations fail" in told
    assert "it allows 0.50%: make stable better, or set gates.success.minimum well below 99.40%" in told
    assert "4. 50% of new conversations, at least 10m, at most 2h: never decided, it pauses for a person" in told
    assert told.endswith("in all    pauses for a person, for a candidate as good as stable")
    report = plan_report(PLAN, traffic)
    assert report["seconds"] is None
    assert [bool(gate["never"]) for gate in report["forecast"][-1]["gates"] if gate["gate"] == "success"] == [True]


def test_conversations_of_the_steps_before_count_for_success() -> None:
    traffic = Traffic(per_minute=600, failing=0.003, measured=True)
    found = forecast(PLAN, traffic)
    before = sum(int((step.seconds or 0) * 10 * share) for step, share in zip(found[:3], (0.05, 0.1, 0.3), strict=True))
    success = next(each for each in found[-1].gates if each.gate.name == "success")
    assert success.seconds == pytest.approx((7_446 - before) / 5)
    p95 = next(each for each in found[-1].gates if each.gate.name == "p95")
    assert p95.needs is not None
    assert p95.seconds == pytest.approx(p95.needs / 5), "its margin is in what counts as slow: it begins anew"


def test_a_stable_that_never_fails_is_told_of_as_before() -> None:
    told = describe_forecast(PLAN, Traffic(per_minute=600))
    assert "never" not in told
    assert "in all    about" in told
