from __future__ import annotations

from dataclasses import replace

import pytest

from fairway.evals.reports.content import Change, ReportContent, pair_cases
from fairway.evals.reports.headline import first_violated, headline
from fairway.evals.reports.summary import metric_means
from fairway.evals.values import AssertionResult, CaseOutcome, CaseResult, Found
from fairway.testing.modelled_evaluation import Modelled, modelled_evaluation


def content(modelled: Modelled, **changes) -> ReportContent:
    return ReportContent(title="t", candidate=modelled.candidate, baseline=modelled.baseline, **changes)


def outcomes(modelled: Modelled, now: CaseOutcome, before: CaseOutcome) -> ReportContent:
    def ended(run, outcome):
        return replace(run, results=tuple(replace(one, outcome=outcome) for one in run.results))

    return ReportContent(title="t", candidate=ended(modelled.candidate, now), baseline=ended(modelled.baseline, before))


@pytest.mark.parametrize(
    ("now", "before", "change"),
    [
        ("failed", "passed", Change.NEWLY_FAILING),
        ("passed", "failed", Change.NEWLY_PASSING),
        ("error", "passed", Change.NEWLY_UNDECIDED),
        ("invalid", "failed", Change.NEWLY_UNDECIDED),
        ("passed", "unknown", Change.DECIDED_NOW),
        ("failed", "error", Change.DECIDED_NOW),
        ("failed", "failed", Change.SAME),
        ("error", "unknown", Change.SAME),
    ],
)
def test_a_change_is_named_and_an_undecided_case_is_never_a_pass_or_a_failure(now, before, change):
    made = outcomes(modelled_evaluation(1), CaseOutcome(now), CaseOutcome(before))
    assert [pair.change for pair in pair_cases(made)] == [change]


def test_cases_of_one_side_alone_are_new_or_gone_and_nothing_is_lost():
    whole = modelled_evaluation(10)
    fewer = modelled_evaluation(6)
    shrunk = pair_cases(ReportContent(title="t", candidate=fewer.candidate, baseline=whole.baseline))
    assert [pair.change for pair in shrunk].count(Change.GONE) == 4
    assert len(shrunk) == 10
    grown = pair_cases(ReportContent(title="t", candidate=whole.candidate, baseline=fewer.baseline))
    assert [pair.change for pair in grown].count(Change.NEW) == 4
    alone = pair_cases(ReportContent(title="t", candidate=whole.candidate))
    assert {pair.change for pair in alone} == {Change.ALONE}


def test_what_only_is_recorded_is_never_shown_as_the_reason():
    recorded = AssertionResult(type="llm-rubric", found=Found.VIOLATED, score=0.0, weight=0, message="dull")
    decides = replace(recorded, type="contains", weight=1.0, message="no refund")
    result = CaseResult(suite="s", case_id="c", name="c", outcome=CaseOutcome.FAILED, assertions=(recorded, decides))
    assert first_violated(result) is decides
    assert headline(result) == "no refund"


def test_named_metrics_are_weighted_means_of_what_was_decided():
    def one(found: Found, score: float | None, weight: float, metric: str | None = "m") -> AssertionResult:
        return AssertionResult(type="contains", found=found, score=score, weight=weight, metric=metric)

    told = (
        one(Found.HELD, 1.0, 3.0),
        one(Found.VIOLATED, 0.0, 1.0),
        one(Found.INVALID, None, 1.0),
        one(Found.HELD, 0.5, 0.0, "n"),
        one(Found.HELD, 1.0, 1.0, None),
    )
    run = modelled_evaluation(1).candidate
    run = replace(run, results=tuple(replace(result, assertions=told) for result in run.results))
    trials = len(run.results)
    assert metric_means(run) == {"m": (0.75, 2 * trials, trials), "n": (0.5, trials, 0)}


def test_a_case_that_was_not_played_is_unknown_and_says_so():
    modelled = modelled_evaluation(3)
    cut = replace(modelled.candidate, trials=modelled.candidate.trials[:2], results=modelled.candidate.results[:2])
    last = pair_cases(ReportContent(title="t", candidate=cut))[-1]
    assert last.result.outcome is CaseOutcome.UNKNOWN
    assert last.result.undecided == "it was not played"


def test_a_mean_of_tokens_or_cost_with_an_unknown_part_is_unknown():
    modelled = modelled_evaluation(1, repeats=2)
    known = pair_cases(content(modelled))[0].candidate
    assert known.tokens == sum(result.token_count for _, result in known.rows) / 2
    first, second = modelled.candidate.results
    partly = replace(modelled.candidate, results=(first, replace(second, token_count=None, cost_micros=None)))
    found = pair_cases(ReportContent(title="t", candidate=partly))[0].candidate
    assert found.tokens is None
    assert found.cost_micros is None


def test_the_trial_to_look_at_first_is_the_one_that_made_the_outcome():
    modelled = modelled_evaluation(1, repeats=3)
    passed, failed = CaseOutcome.PASSED, CaseOutcome.FAILED
    results = tuple(
        replace(result, outcome=outcome)
        for result, outcome in zip(modelled.candidate.results, (passed, failed, passed), strict=True)
    )
    played = pair_cases(ReportContent(title="t", candidate=replace(modelled.candidate, results=results)))[0].candidate
    assert played.result.outcome is failed
    assert played.shown is modelled.candidate.trials[1]
