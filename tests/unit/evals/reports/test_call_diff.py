from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.evals.reports.call_diff import CallChange, diff_calls, json_text
from fairway.evals.values import ToolCall


def call(name: str, malformed: str | None = None, **arguments) -> ToolCall:
    return ToolCall(name=name, arguments=arguments, malformed=malformed)


CALLS = st.lists(
    st.builds(
        lambda name, value: call(name, order=value),
        st.sampled_from(["lookup", "refund", "mail"]),
        st.sampled_from([1, 1.0, True, "1", None, {"a": [1]}, {"a": [2]}]),
    ),
    max_size=6,
)


def test_an_added_call_moves_no_other():
    before = [call("lookup", order="A-1"), call("refund", amount=5)]
    after = [call("mail", to="ada"), call("lookup", order="A-1"), call("refund", amount=5)]
    assert [(pair.name, pair.change) for pair in diff_calls(before, after)] == [
        ("mail", CallChange.EXTRA),
        ("lookup", CallChange.SAME),
        ("refund", CallChange.SAME),
    ]


def test_the_argument_that_differs_is_named_with_its_place():
    before = call("refund", amount=5, to={"iban": "X", "a/b": 1})
    after = call("refund", amount=5.0, to={"iban": "Y", "new": [1]})
    (pair,) = diff_calls([before], [after])
    assert pair.change is CallChange.CHANGED
    assert [str(one) for one in pair.arguments] == [
        "/to/a~1b: 1 → absent",
        '/to/iban: "X" → "Y"',
        "/to/new: absent → [1]",
    ]


@pytest.mark.parametrize(("one", "other"), [(1, True), (1, "1"), (0, None), (0, False), ("", None)])
def test_values_of_other_types_differ(one, other):
    (pair,) = diff_calls([call("f", x=one)], [call("f", x=other)])
    assert pair.change is CallChange.CHANGED


def test_a_number_with_a_point_is_the_same_number():
    (pair,) = diff_calls([call("f", x=[1, {"y": 2.0}])], [call("f", x=[1.0, {"y": 2}])])
    assert pair.change is CallChange.SAME


def test_arguments_that_cannot_be_read_differ_from_readable_ones():
    (pair,) = diff_calls([call("f")], [call("f", malformed="not JSON: {")])
    assert [str(one) for one in pair.arguments] == ["/: readable → not JSON: {"]


def test_arguments_nested_without_end_are_told_and_not_an_error():
    deep: dict = {}
    for _ in range(5000):
        deep = {"a": deep}
    assert "too deeply" in json_text(deep)
    assert diff_calls([call("f", x=deep)], [call("f", x=1)])[0].change is CallChange.CHANGED


@given(CALLS, CALLS)
def test_every_call_is_told_exactly_once(before, after):
    pairs = diff_calls(before, after)
    assert [pair.after for pair in pairs if pair.after] == after
    left = sorted(id(pair.before) for pair in pairs if pair.before)
    assert left == sorted(map(id, before))


@given(CALLS)
def test_equal_lists_are_the_same_in_any_order(calls):
    assert all(pair.change is CallChange.SAME for pair in diff_calls(calls, calls[::-1]))


@given(CALLS, CALLS)
def test_what_is_missing_one_way_is_extra_the_other_way(before, after):
    def names(pairs, change):
        return sorted(pair.name for pair in pairs if pair.change is change)

    there, back = diff_calls(before, after), diff_calls(after, before)
    assert names(there, CallChange.MISSING) == names(back, CallChange.EXTRA)


def test_the_text_of_a_value_is_json():
    assert json.loads(json_text({"b": (1, 2.0), "a": "ü"})) == {"a": "ü", "b": [1, 2]}
