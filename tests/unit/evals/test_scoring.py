from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.evals.evaluation import cases_passed
from fairway.evals.scoring import combine_runs, score_trial
from fairway.evals.trials import Trial, Trouble
from fairway.evals.values import AssertionResult, Case, CaseOutcome, CaseResult, Found, Reply
from fairway.testing.modelled_evaluation import modelled_evaluation

GOOD, BAD = Reply(text="Hello", tools=()), Reply(text="Bye", tools=())


def case(**changes) -> Case:
    return Case(**({"id": "c", "name": "c", "turns": ("hi",), "expected_keywords": ("hello",)} | changes))


def graded(score: float) -> AssertionResult:
    return AssertionResult(type="llm-rubric", found=Found.HELD, score=score, reason="because")


INVALID = AssertionResult(type="llm-rubric", found=Found.INVALID, message="no JSON")


def attempt(*replies: Reply, grade: AssertionResult | None = None, error: str | None = None) -> Trial:
    trouble = None if error is None else Trouble.PROVIDER
    measured = {} if grade is None else {0: grade}
    return Trial(suite="s", case_id="c", replies=replies, measured=measured, trouble=trouble, error=error)


@pytest.mark.parametrize(
    ("asked", "trial", "outcome"),
    [
        pytest.param(case(), attempt(GOOD), CaseOutcome.PASSED, id="checks-hold"),
        pytest.param(case(), attempt(BAD), CaseOutcome.FAILED, id="a-check-fails"),
        pytest.param(case(), attempt(error="unreachable"), CaseOutcome.ERROR, id="the-agent-could-not-be-asked"),
        pytest.param(case(max_tokens=5), attempt(GOOD), CaseOutcome.UNKNOWN, id="tokens-not-reported"),
        pytest.param(case(max_tokens=5), attempt(BAD), CaseOutcome.FAILED, id="a-seen-violation-wins"),
        pytest.param(case(rubric="r"), attempt(GOOD), CaseOutcome.UNKNOWN, id="rubric-without-judge"),
        pytest.param(case(rubric="r", rubric_required=False), attempt(GOOD), CaseOutcome.PASSED, id="seed-behaviour"),
        pytest.param(
            case(rubric="r", rubric_required=False, expected_keywords=()),
            attempt(GOOD),
            CaseOutcome.UNKNOWN,
            id="seed-case-that-checks-nothing",
        ),
        pytest.param(case(expected_keywords=()), attempt(GOOD), CaseOutcome.UNKNOWN, id="checks-nothing"),
        pytest.param(case(rubric="r"), attempt(GOOD, grade=graded(0.7)), CaseOutcome.PASSED, id="at-the-threshold"),
        pytest.param(case(rubric="r"), attempt(GOOD, grade=graded(0.69)), CaseOutcome.FAILED, id="below-the-threshold"),
        pytest.param(
            case(rubric="r"),
            attempt(GOOD, grade=INVALID),
            CaseOutcome.INVALID,
            id="invalid-judge",
        ),
        pytest.param(
            case(rubric="r", max_tokens=5),
            attempt(GOOD, grade=graded(1.0)),
            CaseOutcome.UNKNOWN,
            id="a-good-grade-does-not-replace-an-unknown",
        ),
        pytest.param(case(rubric="r"), attempt(BAD, grade=graded(1.0)), CaseOutcome.FAILED, id="nor-a-violation"),
    ],
)
def test_an_attempt_ends_as_the_table_says(asked, trial, outcome):
    result = score_trial("s", asked, trial)
    assert result.outcome is outcome
    assert result.passed == (outcome is CaseOutcome.PASSED)
    assert (result.undecided is not None) == (outcome not in (CaseOutcome.PASSED, CaseOutcome.FAILED))
    if result.passed:
        assert result.score is not None
        assert result.score >= 0.7


def one(outcome: CaseOutcome) -> CaseResult:
    return CaseResult(suite="s", case_id="c", name="c", outcome=outcome, undecided="why")


@given(st.lists(st.sampled_from(CaseOutcome), min_size=1, max_size=6), st.integers(1, 6))
def test_repeats_are_decided_only_when_no_undecided_run_could_turn_them(outcomes, at_least):
    at_least = min(at_least, len(outcomes))
    combined = combine_runs(case(repeat=len(outcomes), at_least=at_least), [one(outcome) for outcome in outcomes])
    passed, failed = outcomes.count(CaseOutcome.PASSED), outcomes.count(CaseOutcome.FAILED)
    undecided = len(outcomes) - passed - failed
    always = passed >= at_least
    never = passed + undecided < at_least
    assert (combined.outcome is CaseOutcome.PASSED) == always
    assert (combined.outcome is CaseOutcome.FAILED) == never
    assert (combined.runs, combined.runs_passed) == (len(outcomes), passed)


@pytest.mark.parametrize(("passed", "failed", "outcome"), [(1, 4, "failed"), (4, 1, "failed"), (5, 0, "passed")])
def test_adaptive_repeats_never_wash_a_failure_out(passed, failed, outcome):
    runs = [one(CaseOutcome.FAILED)] * failed + [one(CaseOutcome.PASSED)] * passed
    assert combine_runs(case(), runs).outcome == outcome
    half = case(repeat=2, at_least=1)
    assert combine_runs(half, runs).passed == (passed >= 3)


def test_a_run_counts_its_cases_by_the_same_share():
    run = modelled_evaluation(1).candidate
    ((suite, asked),) = run.cases
    once = ((suite, replace(asked, repeat=1, at_least=1)),)
    failed = replace(run.results[0], outcome=CaseOutcome.FAILED)
    passed = replace(failed, outcome=CaseOutcome.PASSED)
    assert cases_passed(replace(run, cases=once, results=(passed,) * 5)) == 1
    assert cases_passed(replace(run, cases=once, results=(passed, *[failed] * 4))) == 0
    assert cases_passed(replace(run, cases=once, results=())) == 0


def test_the_preview_is_one_short_line():
    result = score_trial("s", case(), attempt(Reply(text="Hello\n" + "word " * 500)))
    assert len(result.response_preview) <= 300
    steering = score_trial("s", case(), attempt(Reply(text="Hello \x1b]0;owned\x07 \u202eabc")))
    assert steering.response_preview == "Hello \ufffd]0;owned\ufffd \ufffdabc"
    assert "\n" not in result.response_preview
