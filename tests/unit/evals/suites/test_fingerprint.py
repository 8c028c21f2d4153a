from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairway.evals.suites.fingerprint import RESULT_FREE, case_json, case_line, suite_digest
from fairway.evals.values import ArgumentMatch, Assertion, Case, ExpectedTool, ExtraTools, Suite, TokenCount

ASSERTION = Assertion(type="assert-set", members=(Assertion(type="contains", value="x"),), line=7)
TOOL = ExpectedTool(name="refund", arguments={"order": "A-1"})
CASE = Case(
    id="a",
    name="A",
    turns=("hello",),
    expected_tools=(TOOL,),
    expected_keywords=("order",),
    assertions=(ASSERTION,),
    variables={"lang": "de"},
    line=3,
)
BARE = Case(id="a", name="a", turns=("hello",))

OTHER: dict[type, dict[str, list[Any]]] = {
    Case: {
        "id": ["b"],
        "name": ["B"],
        "turns": [("hello", "there"), ("Hello",)],
        "expected_tools": [None, (), (TOOL, TOOL)],
        "extra_tools": [ExtraTools.ALLOW],
        "forbidden_tools": [("drop",)],
        "expected_keywords": [(), ("orders",)],
        "forbidden_keywords": [("order",)],
        "max_tokens": [1, 2],
        "count_tokens": [TokenCount.OUTPUT],
        "tags": [("t",)],
        "critical": [True],
        "repeat": [2],
        "at_least": [2],
        "rubric": ["polite"],
        "rubric_required": [False],
        "rule": ["r"],
        "prompt_version": ["1"],
        "line": [None, 4],
        "assertions": [(), (ASSERTION, ASSERTION)],
        "threshold": [0.0, 0.5],
        "variables": [{}, {"lang": "en"}, {"lang": None}],
        "family": ["f"],
        "max_repeat": [9],
    },
    Assertion: {
        "type": ["contains"],
        "negated": [True],
        "value": ["x", 0, False, [], {}],
        "threshold": [0.0, 0.5],
        "weight": [0.0, 2.0],
        "metric": ["m"],
        "options": [{"order": "exact"}],
        "members": [(), (Assertion(type="contains", value="y"),), (Assertion(type="contains", value="x", weight=2.0),)],
        "line": [None, 8],
    },
    ExpectedTool: {
        "name": ["order"],
        "arguments": [None, {}, {"order": "A-2"}, {"order": None}],
        "match": [ArgumentMatch.EXACT],
        "tolerance": [0.5],
        "count": [2],
        "relative": [0.1],
        "coerce": [True],
    },
}
INTO = {
    Case: lambda case: case,
    Assertion: lambda one: replace(CASE, assertions=(one,)),
    ExpectedTool: lambda one: replace(CASE, expected_tools=(one,)),
}
WHOLE: dict[type, Any] = {Case: CASE, Assertion: ASSERTION, ExpectedTool: TOOL}


def digest(*cases: Case) -> str:
    return suite_digest(Suite(name="s", file="s.yaml", cases=cases))


@pytest.mark.parametrize("kind", list(OTHER), ids=lambda kind: kind.__name__)
def test_every_field_is_either_in_the_digest_or_said_to_change_no_result(kind):
    # a field that is added and forgotten here fails this test
    assert set(OTHER[kind]) == {field.name for field in fields(kind)}
    for name, values in OTHER[kind].items():
        for value in values:
            changed = INTO[kind](replace(WHOLE[kind], **{name: value}))
            assert (digest(changed) == digest(CASE)) == (name in RESULT_FREE[kind]), (name, value)


def test_only_what_a_person_reads_is_said_to_change_no_result():
    # whoever adds a field here says that two runs compare although it differs
    said = {kind.__name__: sorted(free) for kind, free in RESULT_FREE.items()}
    assert said == {
        "Case": ["line", "name", "prompt_version", "rule", "tags"], "Assertion": ["line"], "ExpectedTool": [],
    }  # fmt: skip


def test_a_key_that_is_not_written_is_not_in_the_digest_so_that_a_new_one_voids_no_comparison():
    assert case_json(BARE) == {"id": "a", "turns": ["hello"]}


def test_values_that_differ_only_by_type_are_told_apart():
    found = {case_line(replace(BARE, variables={"x": value})) for value in (1, True, "1", None, [1], {"1": 1})}
    assert len(found) == 6


def test_neither_the_order_of_cases_nor_of_keys_changes_the_digest():
    one, two = replace(CASE, variables={"a": 1, "b": 2}), replace(BARE, id="z")
    assert digest(one, two) == digest(two, replace(one, variables={"b": 2, "a": 1}))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from([0.5, "x", "", "1"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=6,
)
assertions = st.builds(
    Assertion,
    type=st.sampled_from(["equals", "contains"]),
    negated=st.booleans(),
    value=json_values,
    threshold=st.none() | st.sampled_from([0.0, 0.5]),
)
cases = st.builds(
    Case,
    id=st.just("a"),
    name=st.just("a"),
    turns=st.lists(st.sampled_from(["x", "y"]), min_size=1, max_size=2).map(tuple),
    expected_keywords=st.lists(st.sampled_from(["x", "y"]), max_size=2).map(tuple),
    assertions=st.lists(assertions, max_size=2).map(tuple),
    variables=st.dictionaries(st.sampled_from("ab"), json_values, max_size=2),
)


@settings(deadline=None)
@given(cases, cases)
def test_two_cases_have_one_digest_only_when_they_are_the_same(one, other):
    same = repr(one) == repr(other)  # `==` would call 1 and True the same
    reordered = one == other and not same  # only the order of keys
    assert (case_line(one) == case_line(other)) == same or reordered
