from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.evals.judges.answer import Graded, Invalid
from fairway.evals.scoring import combine_runs
from fairway.evals.single_attempt import Attempt, score_attempt
from fairway.evals.values import Case, CaseOutcome, CaseResult, Reply

GOOD, BAD = Reply(text="Hello", tools=()), Reply(text="Bye", tools=())


def case(**changes) -> Case:
    return Case(**({"id": "c", "name": "c", "turns": ("hi",), "expected_keywords": ("hello",)} | changes))


def graded(score: float) -> Graded:
    return Graded(score=score, grade="g", reason="because")


@pytest.mark.parametrize(
    ("asked", "attempt", "outcome"),
    [
        pytest.param(case(), Attempt(replies=(GOOD,)), CaseOutcome.PASSED, id="checks-hold"),
        pytest.param(case(), Attempt(replies=(BAD,)), CaseOutcome.FAILED, id="a-check-fails"),
        pytest.param(case(), Attempt(error="unreachable"), CaseOutcome.ERROR, id="the-agent-could-not-be-asked"),
        pytest.param(case(max_tokens=5), Attempt(replies=(GOOD,)), CaseOutcome.UNKNOWN, id="tokens-not-reported"),
        pytest.param(case(max_tokens=5), Attempt(replies=(BAD,)), CaseOutcome.FAILED, id="a-seen-violation-wins"),
        pytest.param(case(rubric="r"), Attempt(replies=(GOOD,)), CaseOutcome.UNKNOWN, id="rubric-without-judge"),
        pytest.param(
            case(rubric="r", rubric_required=False), Attempt(replies=(GOOD,)), CaseOutcome.PASSED, id="seed-behaviour"
        ),
        pytest.param(
            case(rubric="r", rubric_required=False, expected_keywords=()),
            Attempt(replies=(GOOD,)),
            CaseOutcome.UNKNOWN,
            id="seed-case-that-checks-nothing",
        ),
        pytest.param(case(expected_keywords=()), Attempt(replies=(GOOD,)), CaseOutcome.UNKNOWN, id="checks-nothing"),
        pytest.param(
            case(rubric="r"), Attempt(replies=(GOOD,), grade=graded(0.7)), CaseOutcome.PASSED, id="at-the-threshold"
        ),
        pytest.param(
            case(rubric="r"), Attempt(replies=(GOOD,), grade=graded(0.69)), CaseOutcome.FAILED, id="below-the-threshold"
        ),
        pytest.param(
            case(rubric="r"),
            Attempt(replies=(GOOD,), grade=Invalid(problem="no JSON")),
            CaseOutcome.INVALID,
            id="invalid-judge",
        ),
        pytest.param(
            case(rubric="r", max_tokens=5),
            Attempt(replies=(GOOD,), grade=graded(1.0)),
            CaseOutcome.UNKNOWN,
            id="a-good-grade-does-not-replace-an-unknown",
        ),
        pytest.param(
            case(rubric="r"), Attempt(replies=(BAD,), grade=graded(1.0)), CaseOutcome.FAILED, id="nor-a-violation"
        ),
    ],
)
def test_an_attempt_ends_as_the_table_says(asked, attempt, outcome):
    result = score_attempt("s", asked, attempt)
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


def test_the_preview_is_one_short_line():
    result = score_attempt("s", case(), Attempt(replies=(Reply(text="Hello\n" + "word " * 500),)))
    assert len(result.response_preview) <= 300
    steering = score_attempt("s", case(), Attempt(replies=(Reply(text="Hello \x1b]0;owned\x07 \u202eabc"),)))
    assert steering.response_preview == "Hello \ufffd]0;owned\ufffd \ufffdabc"
    assert "\n" not in result.response_preview
