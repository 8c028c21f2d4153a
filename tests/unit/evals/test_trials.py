from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from fairway.evals.trials import EvalRun, JudgeHealth, SubjectInfo, side_of

GOOD = JudgeHealth(items=50, sensitivity=0.98, specificity=0.97)
DRIFTED = replace(GOOD, specificity=0.5, problem="specificity fell from 0.97 to 0.50")


def run(judge: JudgeHealth | None, number: int = 1, instrument: str = "sha256:" + "1" * 64) -> EvalRun:
    return EvalRun(
        run_id=f"r{number}",
        created_at=datetime(2026, 11, number, tzinfo=UTC),
        subject=SubjectInfo(kind="arm", name="1.0.0"),
        instrument=instrument,
        cases=(),
        trials=(),
        results=(),
        judge=judge,
    )


@pytest.mark.parametrize("healths", [(GOOD, DRIFTED), (DRIFTED, None)])
def test_a_judge_that_drifted_last_holds_whatever_came_before_and_no_attempt_without_one_clears_it(healths):
    side = side_of([run(health, number) for number, health in enumerate(healths, start=1)])
    assert side.judge is DRIFTED


def test_the_latest_of_healthy_judges_speaks_for_a_side():
    later = replace(GOOD, items=60)
    assert side_of([run(GOOD, 1), run(later, 2)]).judge is later


def test_runs_of_two_instruments_are_no_side():
    with pytest.raises(ValueError, match="one instrument"):
        side_of([run(None, 1), run(None, 2, "sha256:" + "2" * 64)])
