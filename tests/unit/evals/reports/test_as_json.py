from __future__ import annotations

import json
from dataclasses import replace

import jsonschema
from hypothesis import given, settings
from hypothesis import strategies as st

from fairway.evals.gating.decide import decide
from fairway.evals.gating.policy import EvalPolicy
from fairway.evals.reports.as_json import render_json
from fairway.evals.reports.content import ReportContent
from fairway.evals.trials import JudgeHealth, side_of
from fairway.project.schemas import json_schema
from fairway.testing.modelled_evaluation import evaluation_saying, modelled_evaluation

VALIDATOR = jsonschema.Draft202012Validator(json_schema("eval-report"))


def valid(text: str) -> dict:
    found = json.loads(text)
    VALIDATOR.validate(found)
    return found


def test_it_is_of_the_published_schema_with_and_without_a_baseline_decision_and_judge():
    made = modelled_evaluation(30, repeats=2, worse=0.2)
    judge = JudgeHealth(items=40, sensitivity=0.95, specificity=0.9, kappa=0.8, flip_rate=0.1)
    candidate = replace(made.candidate, judge=judge, shard=(1, 2), complete=False)
    decision = decide(side_of([candidate]), side_of([made.baseline]), EvalPolicy())
    whole = valid(render_json(ReportContent(title="t", candidate=candidate, baseline=made.baseline, decision=decision)))
    assert whole["verdict"] == decision.label
    assert whole["exit_code"] == decision.exit_code
    assert whole["candidate"]["judge"]["kappa"] == 0.8
    assert [case["case_id"] for case in whole["cases"]] == [case.id for _, case in made.candidate.cases]
    alone = valid(render_json(ReportContent(title="t", candidate=made.candidate)))
    assert alone["verdict"] == "NO VERDICT"
    assert alone["exit_code"] is None
    assert alone["cases"][0]["baseline"] is None


def test_each_case_is_a_line_so_that_two_reports_can_be_compared_by_line():
    made = modelled_evaluation(25)
    lines = render_json(ReportContent(title="t", candidate=made.candidate)).splitlines()
    assert sum('"case_id"' in line for line in lines) == 25


def test_a_figure_that_is_not_known_is_null_and_what_is_infinite_too():
    made = modelled_evaluation(1)
    result = replace(made.candidate.results[0], token_count=None, score=float("nan"))
    found = valid(render_json(ReportContent(title="t", candidate=replace(made.candidate, results=(result,)))))
    assert found["cases"][0]["candidate"]["tokens"] is None
    assert found["cases"][0]["candidate"]["score"] is None


@settings(max_examples=30, deadline=None)
@given(st.text())
def test_whatever_others_write_it_is_of_the_schema_and_can_be_written_to_a_file(text):
    made = evaluation_saying(text + "\ud800\u2028\x00")
    shown = render_json(ReportContent(title=text, candidate=made.candidate, baseline=made.baseline))
    shown.encode("utf-8")
    valid(shown)
