from __future__ import annotations

import pytest

from fairway.canonical import value_digest
from fairway.evals.judges.digest import judge_digest
from fairway.evals.judges.kinds import JUDGE_KINDS, judge_problem
from fairway.evals.judges.settings import HealthRules, JudgeSettings, PanelRule, scale_problem
from fairway.evals.judges.threshold import threshold_of
from fairway.evals.values import Assertion

SETTINGS = JudgeSettings(model="m", threshold=0.6)


@pytest.mark.parametrize(
    ("assertion", "key", "told"),
    [
        (Assertion(type="llm-rubric"), "value", "expected a text"),
        (Assertion(type="llm-rubric", value=" "), "value", "expected a text"),
        (Assertion(type="llm-rubric", value=["x"]), "value", "expected a text"),
        (Assertion(type="g-eval", value=[]), "value", "list of texts"),
        (Assertion(type="g-eval", value="x", options={"steps": [1]}), "steps", "list of texts"),
        (Assertion(type="answer-relevance", value="x"), "value", "no value"),
        (Assertion(type="context-faithfulness", value=3), "value", "list of texts"),
        (Assertion(type="context-faithfulness", options={"no_claims": "ok"}), "no_claims", "unknown, pass or fail"),
        (Assertion(type="context-recall"), "value", "expected a text"),
        (Assertion(type="pairwise"), "value", "expected a text"),
        (Assertion(type="choice", value="Which?"), "choice_scores", "is required"),
        (Assertion(type="choice", value="Which?", options={"choice_scores": {"a": 1}}), "choice_scores", "two or more"),
        (
            Assertion(type="choice", value="Which?", options={"choice_scores": {"a": 1, "b": 0.5}}, threshold=0.5),
            "threshold",
            "reached by every choice",
        ),
        (Assertion(type="llm-rubric", value="x", options={"choice_score": {}}), "choice_score", "'choice_scores'"),
        (Assertion(type="llm-rubric", value="x", options={"turn": 1}), "turn", "whole conversation"),
    ],
)
def test_a_mistake_of_a_suite_is_told_with_its_key(assertion, key, told):
    found = judge_problem(assertion)
    assert found is not None
    assert found[0] == key
    assert told in found[1]


@pytest.mark.parametrize(
    "scale",
    [
        None,
        {},
        {"a": 1},
        {"a": 1, "b": 1.1},
        {"a": 1, "b": -0.1},
        {"a": 1, "b": float("nan")},
        {"a": 1, "b": True},
        {"a": 1, "b": "0"},
        {"a": 1, "": 0},
        {"a": 1, " b": 0},
        {"a": 1, "b\n": 0},
        {"a": 1, "x" * 65: 0},
        {"a": 0.5, "b": 0.5},
    ],
)
def test_a_scale_that_tells_nothing_apart_or_leaves_0_to_1_is_refused(scale):
    assert scale_problem(scale) is not None
    with pytest.raises(ValueError, match=r"scale|grade"):
        JudgeSettings(model="m", scale=scale)


def test_a_model_is_in_a_panel_once():
    with pytest.raises(ValueError, match="each model once"):
        JudgeSettings(model="m", panel=("n", "m"))


@pytest.mark.parametrize(
    ("assertion", "threshold"),
    [
        (Assertion(type="llm-rubric", value="x"), 0.6),
        (Assertion(type="llm-rubric", value="x", threshold=0.9), 0.9),
        (Assertion(type="groundedness"), 1.0),
        (Assertion(type="groundedness", threshold=0.8), 0.8),
        (Assertion(type="pairwise", value="x"), 0.5),
    ],
)
def test_the_threshold_is_the_suites_then_the_kinds_then_the_settings(assertion, threshold):
    assert threshold_of(assertion, SETTINGS) == threshold


def test_every_kind_declares_words_with_scores_and_never_asks_for_a_number():
    for name, kind in JUDGE_KINDS.items():
        assert kind.scale is None or scale_problem(kind.scale) is None, name
        assert "score" not in kind.task, name
        assert len(kind.task) < 600, name


@pytest.mark.parametrize(
    "change",
    [
        {"model": "n"},
        {"panel": ("n",)},
        {"rule": PanelRule.UNANIMOUS},
        {"guidance": "Be strict."},
        {"scale": {"good": 1.0, "bad": 0.0}},
        {"threshold": 0.8},
        {"max_tokens": 600},
        {"repeats": 3},
        {"health": HealthRules()},
        {"health": HealthRules(sensitivity=0.9)},
        {"calibration_set": value_digest("set")},
        {"parameters": {"m": {"seed": 1}}},
    ],
)
def test_whatever_could_change_a_grade_or_what_is_asked_of_the_judge_changes_the_instrument(change):
    first = {"model": "m", "health": None}
    assert judge_digest(JudgeSettings(**first)) == judge_digest(JudgeSettings(**first))
    assert judge_digest(JudgeSettings(**first)) != judge_digest(JudgeSettings(**(first | change)))


def test_a_reworded_task_changes_the_instrument(monkeypatch):
    before = judge_digest(SETTINGS)
    kind = JUDGE_KINDS["llm-rubric"]
    reworded = {name: one for name, one in JUDGE_KINDS.items() if one is not kind}
    monkeypatch.setattr("fairway.evals.judges.digest.JUDGE_KINDS", reworded)
    assert judge_digest(SETTINGS) != before
