"""How long a limit has held, by answers alone; and that nothing unknown ever counts for or against a candidate."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.sources.judging import judge_source, limit_words, take_in
from fairway.sources.values import (
    NO_DATA,
    Answered,
    Question,
    SourceAnswer,
    SourceGate,
    SourceKind,
    SourceReading,
)
from fairway.units import Verdict

GATE = SourceGate(
    name="cpu",
    question=Question(kind=SourceKind.PROMETHEUS, url="http://127.0.0.1:9090", query="cpu"),
    at_most=0.8,
    holds_for=30.0,
    every=10.0,
    timeout=5.0,
    errors=3,
)
COMPARES = replace(GATE, at_most=None, most_of_stable=1.1)
UNKNOWN = [outcome for outcome in Answered if outcome is not Answered.VALUE]


def value(number):
    return SourceAnswer(outcome=Answered.VALUE, value=number)


def no(outcome=Answered.EMPTY):
    return SourceAnswer(outcome=outcome, detail=f"it is {outcome.value}")


def read(gate, answers, *, every=10.0, stable=None, begins=1000.0):
    reading = SourceReading(gate=gate.name)
    for number, answer in enumerate(answers):
        reading = take_in(gate, reading, at=begins + number * every, answer=answer, stable=stable)
    return reading


def verdict(gate, answers, *, later=1.0, **how):
    reading = read(gate, answers, **how)
    return judge_source(gate, reading, now=(reading.at or 0.0) + later).verdict


def test_before_any_answer_there_is_no_data():
    assert judge_source(GATE, None, now=5.0).verdict is Verdict.NO_DATA
    assert judge_source(GATE, SourceReading(gate="cpu"), now=5.0).verdict is Verdict.NO_DATA


def test_a_limit_has_to_be_kept_for_as_long_as_was_asked():
    assert verdict(GATE, [value(0.5)] * 3) is Verdict.INCONCLUSIVE
    assert verdict(GATE, [value(0.5)] * 4) is Verdict.PASS
    assert verdict(replace(GATE, holds_for=0.0), [value(0.5)]) is Verdict.PASS


def test_a_limit_has_to_be_broken_for_as_long_to_fail():
    assert verdict(GATE, [value(0.9)] * 3) is Verdict.INCONCLUSIVE
    assert verdict(GATE, [value(0.9)] * 4) is Verdict.FAIL
    assert verdict(GATE, [value(0.9)] * 3 + [value(0.5)]) is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("outcome", UNKNOWN)
def test_one_unknown_answer_begins_the_count_anew(outcome):
    kept = [value(0.5)] * 4
    assert verdict(GATE, [*kept, no(outcome)]) in (Verdict.NO_DATA, Verdict.ERROR)
    assert verdict(GATE, [*kept, no(outcome), value(0.5)]) is Verdict.INCONCLUSIVE
    assert verdict(GATE, [*kept, no(outcome), *kept]) is Verdict.PASS
    assert verdict(GATE, [value(0.9)] * 4 + [no(outcome)] + [value(0.9)]) is Verdict.INCONCLUSIVE


def test_a_gap_in_the_answers_begins_the_count_anew():
    assert verdict(GATE, [value(0.5)] * 2, every=GATE.stale_after) is Verdict.PASS
    assert verdict(GATE, [value(0.5)] * 2, every=GATE.stale_after + 1) is Verdict.INCONCLUSIVE


def test_an_answer_that_is_too_old_says_nothing_about_now():
    assert verdict(GATE, [value(0.5)] * 4, later=GATE.stale_after) is Verdict.PASS
    assert verdict(GATE, [value(0.5)] * 4, later=GATE.stale_after + 1) is Verdict.NO_DATA
    assert verdict(GATE, [value(0.9)] * 4, later=GATE.stale_after + 1) is Verdict.NO_DATA
    assert verdict(GATE, [value(0.5)] * 4, later=-60.0) is Verdict.NO_DATA, "the clock was set back"


def test_an_answer_to_an_earlier_question_changes_nothing():
    reading = read(GATE, [value(0.5)] * 4)
    assert take_in(GATE, reading, at=1001.0, answer=value(0.9)) == reading


def test_errors_in_a_row_ask_for_a_person_and_no_data_is_no_error():
    reading = read(GATE, [value(0.5), *[no(Answered.TIMED_OUT)] * 3])
    found = judge_source(GATE, reading, now=reading.at)
    assert (found.verdict, found.errors, found.stops) == (Verdict.ERROR, 3, True)
    for outcome in NO_DATA:
        reading = read(GATE, [no(Answered.TIMED_OUT), no(Answered.TIMED_OUT), *[no(outcome)] * 9])
        found = judge_source(GATE, reading, now=reading.at)
        assert (found.verdict, found.errors, found.stops) == (Verdict.NO_DATA, 0, False)


def test_compared_gates_need_both_arms():
    assert verdict(COMPARES, [value(1.05)] * 4, stable=value(1.0)) is Verdict.PASS
    assert verdict(COMPARES, [value(1.2)] * 4, stable=value(1.0)) is Verdict.FAIL
    assert verdict(COMPARES, [value(1.05)] * 4, stable=None) is Verdict.NO_DATA
    assert verdict(COMPARES, [value(1.05)] * 4, stable=no()) is Verdict.NO_DATA
    assert verdict(COMPARES, [value(1.05)] * 4, stable=no(Answered.TIMED_OUT)) is Verdict.ERROR
    assert verdict(COMPARES, [no()] * 4, stable=value(1.0)) is Verdict.NO_DATA
    assert verdict(COMPARES, [value(-2.0)] * 4, stable=value(-1.0)) is Verdict.NO_DATA


def test_at_least_looks_the_other_way():
    gate = replace(GATE, at_most=None, at_least=0.5)
    assert verdict(gate, [value(0.6)] * 4) is Verdict.PASS
    assert verdict(gate, [value(0.4)] * 4) is Verdict.FAIL
    compares = replace(COMPARES, most_of_stable=None, least_of_stable=0.9)
    assert verdict(compares, [value(0.95)] * 4, stable=value(1.0)) is Verdict.PASS
    assert verdict(compares, [value(0.8)] * 4, stable=value(1.0)) is Verdict.FAIL


def test_without_a_limit_the_answer_is_yes_or_no():
    gate = replace(GATE, at_most=None)
    assert verdict(gate, [value(1.0)] * 4) is Verdict.PASS
    assert verdict(gate, [value(0.0)] * 4) is Verdict.FAIL
    assert limit_words(gate) == "true"


def test_what_is_found_says_that_nothing_is_guaranteed():
    found = judge_source(GATE, read(GATE, [value(0.5)] * 4), now=1031.0)
    assert found.guarantee == "none"
    assert found.reason == "0.5, asked for at most 0.8: kept for 30s"
    undecided = judge_source(GATE, read(GATE, [value(0.9)] * 2), now=1011.0)
    assert undecided.reason == "0.9, asked for at most 0.8: broken for 10s of 30s"


answers = st.one_of(
    st.floats(-10, 10).map(value),
    st.sampled_from([0.0, 0.5, 0.8, 0.9, 1.0]).map(value),
    st.sampled_from(UNKNOWN).map(no),
)
gates = st.sampled_from(
    [GATE, COMPARES, replace(GATE, at_most=None), replace(GATE, holds_for=0.0), replace(GATE, at_least=0.2)]
)


@given(gates, st.lists(st.tuples(answers, answers, st.floats(0.01, 60)), max_size=12), st.floats(-100, 200))
def test_a_pass_or_a_fail_rests_on_figures_alone_without_a_gap(gate, course, later):
    at, reading = 1000.0, SourceReading(gate=gate.name)
    taken = []
    for answer, stable, gap in course:
        at += gap
        reading = take_in(gate, reading, at=at, answer=answer, stable=stable)
        taken.append((at, answer, stable))
    found = judge_source(gate, reading, now=at + later)
    if found.verdict not in (Verdict.PASS, Verdict.FAIL):
        return
    assert later <= gate.stale_after
    recent = [one for one in taken if one[0] >= at - gate.holds_for]
    assert recent
    for _, answer, stable in recent:
        assert answer.outcome is Answered.VALUE
        assert not gate.compares or stable.outcome is Answered.VALUE
    if gate.at_most is not None and not gate.compares:
        assert all((answer.value <= gate.at_most) for _, answer, _ in recent) or found.verdict is Verdict.FAIL
