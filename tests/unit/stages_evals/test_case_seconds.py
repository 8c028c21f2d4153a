from __future__ import annotations

import pytest

from fairway.evals.config import EvalsSection, JudgeSection
from fairway.evals.values import Assertion, Case, Suite
from fairway.stages.eval_subjects import case_seconds

RUBRIC = Assertion(type="llm-rubric", value="kind")


def suite(*cases: dict) -> tuple[Suite, ...]:
    made = [Case(id=f"c{n}", name="", **{"turns": ("Hi",), **one}) for n, one in enumerate(cases)]
    return (Suite(name="s", file="s.yaml", cases=tuple(made)),)


@pytest.mark.parametrize(
    ("judge", "cases", "seconds"),
    [
        (None, [{}], 10),
        (None, [{}, {"turns": ("a", "b", "c")}], 30),
        (JudgeSection(model="m", timeout=5.0), [{"assertions": (RUBRIC, RUBRIC)}], 30),
        (JudgeSection(model="m", timeout=5.0, enabled=False), [{"assertions": (RUBRIC,)}], 10),
    ],
)
def test_each_turn_and_each_judgement_of_a_case_has_its_time(judge, cases, seconds):
    assert case_seconds(EvalsSection(timeout=10.0, judge=judge), suite(*cases)) == seconds
