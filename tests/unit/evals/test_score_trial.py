from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.evals.assertions.section import read_assertion
from fairway.evals.scoring import combine_runs, score_trial, to_measure
from fairway.evals.trials import Trial, Trouble
from fairway.evals.values import AssertionResult, Case, CaseOutcome, CaseResult, ExpectedTool, Found, Reply, ToolCall

HELLO = Reply(text="Hello ada", tools=(), latency_seconds=0.1, cost_micros=10)


def case(*written, **changes) -> Case:
    assertions = tuple(read_assertion(one) for one in written)
    return Case(**({"id": "c", "name": "c", "turns": ("hi",), "assertions": assertions} | changes))


def scored(asked: Case, *replies: Reply, measured=None, **changes) -> CaseResult:
    trial = Trial(suite="s", case_id="c", replies=replies or (HELLO,), measured=measured or {}, **changes)
    return score_trial("s", asked, trial)


def judged(found: Found = Found.HELD, score: float | None = 1.0, kind: str = "llm-rubric", **more) -> AssertionResult:
    return AssertionResult(type=kind, found=found, score=score, message="" if found is Found.HELD else "why", **more)


A, B, NO = {"contains": "Hello"}, {"contains": "ada"}, {"contains": "Bye"}
RUBRIC = {"llm-rubric": "is polite"}
P, F, U, INV, E = (
    CaseOutcome.PASSED,
    CaseOutcome.FAILED,
    CaseOutcome.UNKNOWN,
    CaseOutcome.INVALID,
    CaseOutcome.ERROR,
)


@pytest.mark.parametrize(
    ("asked", "measured", "outcome", "score"),
    [
        pytest.param(case(A, B), {}, P, 1.0, id="all-hold"),
        pytest.param(case(A, NO), {}, F, 0.5, id="one-violated"),
        pytest.param(case(A, NO, threshold=0.5), {}, P, 0.5, id="the-threshold-is-reached"),
        pytest.param(case(A, NO, threshold=0.51), {}, F, 0.5, id="the-threshold-is-not"),
        pytest.param(case({**A, "weight": 3}, NO, threshold=0.75), {}, P, 0.75, id="weights-count"),
        pytest.param(case(A, NO, threshold=0.0), {}, F, 0.5, id="a-threshold-of-0-is-none"),
        pytest.param(case(A, {**NO, "weight": 0}), {}, P, 1.0, id="weight-0-decides-nothing"),
        pytest.param(case(A, {**RUBRIC, "weight": 0}), {}, P, 1.0, id="nor-does-its-unknown"),
        pytest.param(case(A, RUBRIC), {}, U, None, id="a-judge-that-was-not-asked"),
        pytest.param(case(A, RUBRIC), {1: judged()}, P, 1.0, id="a-judge-that-is-content"),
        pytest.param(case(A, RUBRIC), {1: judged(score=0.7)}, P, 0.85, id="content-enough"),
        pytest.param(case(A, RUBRIC), {1: judged(score=0.69)}, F, 0.845, id="a-score-below-seven-tenths"),
        pytest.param(case(A, {**RUBRIC, "threshold": 0.6}), {1: judged(score=0.65)}, P, 0.825, id="its-own-threshold"),
        pytest.param(
            case(A, {"pairwise": "x"}), {1: judged(score=0.5, kind="pairwise")}, P, 0.75, id="a-kinds-own-threshold"
        ),
        pytest.param(case(A, RUBRIC), {1: judged(Found.INVALID, None)}, INV, None, id="an-invalid-judge"),
        pytest.param(case(A, RUBRIC), {1: judged(Found.ERROR, None)}, E, None, id="a-judge-in-trouble"),
        pytest.param(case(NO, RUBRIC), {1: judged(Found.ERROR, None)}, F, 0.5, id="a-seen-violation-wins"),
        pytest.param(
            case(A, {"python": "x"}, RUBRIC),
            {1: judged(Found.ERROR, None, "python"), 2: judged(Found.INVALID, None)},
            INV,
            None,
            id="invalid-before-error",
        ),
        pytest.param(case(A, RUBRIC), {1: judged(kind="factuality")}, U, None, id="what-was-measured-of-another-type"),
        pytest.param(case(A, RUBRIC, threshold=0.5), {}, U, None, id="unknown-is-no-pass-even-if-it-could-not-matter"),
        pytest.param(case(NO, RUBRIC, threshold=0.6), {}, F, 0.5, id="nor-can-it-save-what-is-lost"),
        pytest.param(case({"type": "cost", "threshold": 1e-5}), {}, P, 1.0, id="cost"),
        pytest.param(case({"type": "latency", "threshold": 100}), {}, P, 1.0, id="latency"),
        pytest.param(case({"type": "state", "value": {"/a": 1}}), {}, U, None, id="no-state"),
        pytest.param(case(A, expected_keywords=("bye",)), {}, F, 0.5, id="a-key-of-the-case"),
        pytest.param(case(A, expected_keywords=("bye",), threshold=0.1), {}, F, 0.5, id="which-no-threshold-saves"),
        pytest.param(case(A, max_tokens=5), {}, U, None, id="a-key-that-is-unknown"),
        pytest.param(case(rubric="x", expected_keywords=("hello",)), {0: judged(score=0.9)}, P, 0.9, id="rubric"),
    ],
)
def test_a_trial_ends_as_the_table_says(asked, measured, outcome, score):
    result = scored(asked, measured=measured)
    assert result.outcome is outcome
    assert result.score == (score if score is None else pytest.approx(score))
    assert (result.undecided is not None) == (outcome in (U, INV, E))
    assert len(result.assertions) == len(asked.checks)
    if outcome is not F:
        assert not result.violations
    if outcome is F and not asked.expected_keywords:
        assert result.violations


def test_trouble_is_an_error_and_so_is_a_trial_that_was_not_played_to_its_end():
    asked = case(A)
    assert scored(asked, trouble=Trouble.SPEND, error="the cap is reached").undecided == "the cap is reached"
    assert scored(asked, trouble=Trouble.TIMEOUT).undecided == "timeout"
    two = case(A, turns=("a", "b"))
    assert scored(two, HELLO).outcome is E
    assert score_trial("s", asked, Trial(suite="s", case_id="c")).outcome is E


def test_latency_of_a_cached_trial_is_unknown():
    asked = case({"type": "latency", "threshold": 1000})
    assert scored(asked).outcome is P
    assert scored(asked, cached=True).outcome is U
    assert scored(case({"type": "not-latency", "threshold": 1}), cached=True).outcome is U


def test_a_violation_names_its_type_and_subject_and_a_remark_replaces_it_when_the_case_passes():
    failed = scored(case(A, {"not-contains": "ada"}))
    assert [(one.check, one.subject) for one in failed.violations] == [("assert/not-contains", "ada")]
    assert "must not" in failed.violations[0].message
    passed = scored(case(A, NO, threshold=0.5))
    assert (passed.violations, len(passed.notes)) == ((), 1)
    graded = scored(case(RUBRIC), measured={0: judged(Found.VIOLATED, 0.4, reason="rude")})
    assert [one.check for one in graded.violations] == ["judge/score"]
    assert graded.judge_reason == "rude"


def test_cost_is_that_of_all_replies_and_unknown_when_one_is():
    two = case(A, turns=("a", "b"))
    assert scored(two, HELLO, HELLO).cost_micros == 20
    assert scored(two, HELLO, Reply(text="Hello")).cost_micros is None


def test_expected_calls_of_keys_and_assertions_are_counted_together():
    asked = case({"tool-calls": ["f", "g"]}, expected_tools=(ExpectedTool(name="f"),))
    result = scored(asked, Reply(text="x", tools=(ToolCall(name="f"),)))
    assert (result.tools_expected, result.tools_met) == (3, 2)


@pytest.mark.parametrize(
    ("asked", "reply", "positions"),
    [
        (case(A, RUBRIC, {"python": "True"}), HELLO, (1, 2)),
        (case(NO, RUBRIC, {"python": "True"}), HELLO, ()),
        (case(NO, RUBRIC, threshold=0.5), HELLO, (1,)),
        (case(NO, RUBRIC, threshold=0.6), HELLO, ()),
        (case({**NO, "weight": 0}, RUBRIC), HELLO, (1,)),
        (case(A, {"assert-set": [B, RUBRIC]}), HELLO, (1,)),
        (case(A, {"assert-set": [NO, RUBRIC]}), HELLO, ()),
        (case(A, {"type": "cost", "threshold": 1}, RUBRIC), Reply(text="Hello"), (2,)),
        (case(rubric="x", expected_keywords=("bye",)), HELLO, ()),
        (case(A, rubric="x", forbidden_tools=("f",)), HELLO, (1,)),
        (case(A, B), HELLO, ()),
        (case(A, RUBRIC), Reply(text=" "), ()),
    ],
)
def test_nobody_is_paid_once_something_cheaper_has_decided(asked, reply, positions):
    assert to_measure(asked, (reply,)) == positions


ONE = st.sampled_from([A, B, NO, RUBRIC, {"type": "cost", "threshold": 1e-6}, {"tokens": 5}])
WEIGHTED = st.builds(lambda one, weight: {**one, "weight": weight}, ONE, st.sampled_from([0, 1, 2]))
MEASURED = st.sampled_from(
    [None, judged(), judged(score=0.5), judged(Found.VIOLATED, 0.0), judged(Found.INVALID, None)]
)


@given(st.lists(WEIGHTED, min_size=1, max_size=4), st.none() | st.sampled_from([0.3, 0.5, 1.0]), MEASURED)
def test_a_pass_has_nothing_undecided_and_nothing_violated_below_the_threshold(written, threshold, result):
    asked = case(*written, threshold=threshold)
    measured = {} if result is None else {at: result for at, one in enumerate(written) if "llm-rubric" in one}
    found = scored(asked, measured=measured)
    counted = [one for one, check in zip(found.assertions, asked.checks, strict=True) if check.weight > 0]
    if found.passed:
        assert counted
        assert all(one.score is not None for one in counted)
        assert threshold is not None or all(one.found is Found.HELD for one in counted)
        assert threshold is None or found.score >= threshold - 1e-9
    if threshold is None and any(one.found is Found.VIOLATED for one in counted):
        assert found.outcome is F
    assert not (found.passed and all(check.weight == 0 for check in asked.checks))


@given(st.lists(WEIGHTED, min_size=1, max_size=4), st.none() | st.sampled_from([0.3, 0.5, 1.0]), MEASURED)
def test_what_was_not_worth_measuring_could_not_have_turned_the_outcome(written, threshold, result):
    asked = case(*written, threshold=threshold)
    judges = [at for at, one in enumerate(written) if "llm-rubric" in one]
    if to_measure(asked, (HELLO,)) or not judges:
        return
    measured = {} if result is None else dict.fromkeys(judges, result)
    assert scored(asked, measured=measured).outcome is scored(asked).outcome is F


def test_calls_that_are_only_recorded_do_not_count_among_those_expected():
    calls = {"type": "tool-calls", "value": ["f"]}
    assert scored(case(calls)).tools_expected == 1
    only_recorded = scored(case(A, {**calls, "weight": 0}))
    assert (only_recorded.outcome, only_recorded.tools_expected) == (P, 0)


def test_runs_that_are_planned_and_missing_could_have_gone_either_way():
    asked = case(A, repeat=3, at_least=2)
    good, bad = scored(asked), scored(asked, Reply(text="Bye"))
    assert combine_runs(asked, [good, good]).outcome is P
    assert combine_runs(asked, [good]).outcome is U
    assert combine_runs(asked, [bad]).outcome is U
    assert combine_runs(asked, [bad, bad]).outcome is F
    combined = combine_runs(asked, [good, bad, good])
    assert (combined.outcome, combined.runs, combined.runs_passed, combined.cost_micros) == (P, 3, 2, None)
    assert combined.score == pytest.approx(2 / 3)
