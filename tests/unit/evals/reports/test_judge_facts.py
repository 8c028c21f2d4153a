from __future__ import annotations

from dataclasses import replace

from fairway.evals.reports.content import ReportContent
from fairway.evals.reports.markdown import render_markdown
from fairway.evals.trials import JudgeHealth
from fairway.evals.values import AssertionResult, Found
from fairway.testing.modelled_evaluation import modelled_evaluation


def report(judge: JudgeHealth | None) -> str:
    run = modelled_evaluation(20).candidate
    cases = {case.id: number for number, (_, case) in enumerate(run.cases)}
    results = tuple(
        replace(
            result,
            assertions=(
                AssertionResult(
                    type="llm-rubric",
                    found=Found.HELD if cases[result.case_id] < 14 else Found.VIOLATED,
                    score=1.0 if cases[result.case_id] < 14 else 0.0,
                ),
            ),
        )
        for result in run.results
    )
    return render_markdown(ReportContent(title="t", candidate=replace(run, judge=judge, results=results)))


def test_a_report_tells_the_pass_rate_behind_the_judged_one_where_it_is_known_how_the_judge_errs():
    told = report(JudgeHealth(items=40, sensitivity=0.9, specificity=0.8, good=20, bad=20))
    # (0.7 + 0.8 - 1) / (0.9 + 0.8 - 1)
    assert "judged truly" in told
    assert "71.4" in told
    assert "the judge counted 70" in told


def test_without_a_calibration_nothing_is_corrected():
    for judge in (None, JudgeHealth(items=0, sensitivity=None, specificity=None)):
        assert "judged truly" not in report(judge)
