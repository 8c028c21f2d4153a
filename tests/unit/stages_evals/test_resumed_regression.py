from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from fairway.canonical import value_digest
from fairway.clock import SystemClock
from fairway.evals.history.folders import EvalHistory, RunHeader, new_run_id
from fairway.evals.playing_out import Measured
from fairway.stages.prompt_regression import PIPELINE, _header

NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
SUITES, OTHERS, SIDES = value_digest("suites"), value_digest("others"), value_digest("1.4.0 beside 1.3.0")


@pytest.mark.parametrize(
    ("run_id", "instrument", "sides", "ended", "goes_on"),
    [
        ("r1", SUITES, SIDES, False, True),
        ("r2", SUITES, SIDES, False, False),
        ("r1", OTHERS, SIDES, False, False),
        ("r1", SUITES, value_digest("1.4.0 beside 1.2.0"), False, False),
        ("r1", SUITES, SIDES, True, False),
    ],
)
def test_a_stopped_stage_goes_on_only_with_the_same_suites_the_same_agent_and_the_same_baseline(
    tmp_path, run_id, instrument, sides, ended, goes_on
):
    history = EvalHistory(tmp_path)
    stopped = RunHeader(
        run_id=new_run_id(NOW),
        created_at=NOW,
        asked={PIPELINE: "r1"},
        instrument=SUITES,
        sides=SIDES,
        ended=ended,
    )
    history.begin(stopped)
    context = SimpleNamespace(
        delivery=SimpleNamespace(run_id=run_id, shown_version="1.4.0"),
        clock=SystemClock(),
        project=SimpleNamespace(name="shop"),
    )
    served = SimpleNamespace(effective=value_digest("effective"))
    measured = Measured(suites=(), plan=(), instrument=instrument)
    header = _header(context, SimpleNamespace(environment="dev"), served, measured, history, sides)
    assert (header.run_id == stopped.run_id) is goes_on
    assert header.sides == (SIDES if goes_on else sides)
