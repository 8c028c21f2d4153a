from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairway.evals.trials import CaseTrials, EvalRun, JudgeHealth, Question, Side, SubjectInfo, Trial
from fairway.evals.values import Assertion, AssertionResult, Case, CaseResult, ExpectedTool, Found, Reply, ToolCall
from fairway.evals.wire import WireError, decode, encode

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-9, 9)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
OBJECT = st.dictionaries(st.text(max_size=3), JSON, max_size=3)
CALLS = st.builds(ToolCall, name=st.text(max_size=4), arguments=OBJECT)
REPLIES = st.builds(Reply, text=st.text(max_size=9), tools=st.none() | st.tuples(CALLS), state=JSON)
RESULTS = st.builds(AssertionResult, type=st.just("llm-rubric"), score=st.none() | st.floats(0, 1), detail=OBJECT)
TRIALS = st.builds(
    Trial, suite=st.text(max_size=3), case_id=st.text(max_size=3), replies=st.tuples(REPLIES),
    measured=st.dictionaries(st.integers(0, 3), RESULTS, max_size=2),
)  # fmt: skip


@given(TRIALS)
@settings(max_examples=150)
def test_a_trial_is_what_it_was_after_a_file(trial):
    assert decode(Trial, json.loads(json.dumps(encode(trial)))) == trial


ASSERTION = Assertion(type="assert-set", members=(Assertion(type="equals", value=[1, {"a": None}], negated=True),))
CASE = Case(id="c", name="n", turns=("x",), expected_tools=(), assertions=(ASSERTION,), variables={"a": [1]})


@pytest.mark.parametrize(
    "value",
    [
        CASE,
        dataclasses.replace(CASE, expected_tools=(ExpectedTool(name="f", arguments={"x": 1}),)),
        EvalRun(
            run_id="r",
            created_at=datetime(2026, 11, 20, tzinfo=UTC),
            subject=SubjectInfo(kind="url", name="n", identity={"a": 1}),
            instrument="sha256:0",  # type: ignore[arg-type]
            cases=(("s", CASE),),
            trials=(Trial(suite="s", case_id="c"),),
            results=(CaseResult(suite="s", case_id="c", name="", outcome="failed"),),  # type: ignore[arg-type]
            judge=JudgeHealth(items=3, sensitivity=0.5, specificity=None),
            shard=(1, 2),
        ),
    ],
)
def test_a_run_with_everything_in_it_is_what_it_was_after_a_file(value):
    assert decode(type(value), json.loads(json.dumps(encode(value)))) == value


def test_what_has_its_default_takes_no_room():
    assert encode(Trial(suite="s", case_id="c", replies=(Reply(text="x"),))) == {
        "suite": "s", "case_id": "c", "replies": [{"text": "x"}],
    }  # fmt: skip


@pytest.mark.parametrize("kind", [Case, Trial, Reply, EvalRun, CaseResult, Question, Side, CaseTrials, SubjectInfo])
def test_every_field_of_every_value_has_a_form_in_json(kind):
    """A field somebody adds is written and read without anybody thinking of it, or this fails."""
    with pytest.raises(WireError, match=r"lacks|is not"):
        decode(kind, {})


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Reply, []),
        (Reply, {"text": 1}),
        (Reply, {"text": "x", "colour": "red"}),
        (Reply, {"text": "x", "tokens_in": True}),
        (Reply, {"text": "x", "tokens_in": 1.5}),
        (Reply, {"text": "x", "tools": {}}),
        (AssertionResult, {"type": "x", "found": "perhaps"}),
        (Trial, {"suite": "s"}),
        (Trial, {"suite": "s", "case_id": "c", "measured": {"x": {"type": "x", "found": "held"}}}),
        (EvalRun, {"run_id": "x", "created_at": "2026-11-20T00:00:00"}),
        (EvalRun, {"run_id": "x", "shard": [1]}),
    ],
)
def test_a_value_of_another_shape_is_refused_with_a_word_and_no_traceback(kind, value):
    with pytest.raises(WireError):
        decode(kind, value)


def test_a_value_nested_without_end_is_refused():
    value: dict[str, object] = {"type": "assert-set"}
    for _ in range(20_000):
        value = {"type": "assert-set", "members": [value]}
    with pytest.raises(WireError, match="deeply"):
        decode(Assertion, value)


def test_a_whole_number_may_stand_for_a_float_and_a_word_for_its_member():
    assert decode(AssertionResult, {"type": "x", "found": "held", "score": 1}).score == 1.0
    assert decode(AssertionResult, {"type": "x", "found": "held"}).found is Found.HELD
