from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.evals.assertions.kind import BadValueError
from fairway.evals.assertions.predicate_values import check_predicates
from fairway.evals.assertions.predicates import ABSENT, Leniency, mismatch

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.sampled_from([0.5, 1.0])
    | st.sampled_from(["", "a", "1", "true"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)


def holds(expected, actual, **how) -> bool:
    check_predicates(expected)
    return mismatch(expected, actual, Leniency(**how)) is None


@pytest.mark.parametrize(
    ("predicate", "good", "bad"),
    [
        ({"$equals": {"a": 1}}, [{"a": 1.0}], [{"a": 1, "b": 2}, {"a": True}, {}, None]),
        ({"$equals": {"$regex": "x"}}, [{"$regex": "x"}], ["x"]),
        ({"$subset": {"a": 1}}, [{"a": 1}, {"a": 1, "b": 2}], [{"a": 2}, {}, ABSENT]),
        ({"$any_of": [1, "b", {"$gte": 10}]}, [1, 1.0, "b", 11], [2, "c", True, None, ABSENT]),
        ({"$any_of": [5, {"$absent": True}]}, [5, ABSENT], [6, None]),
        ({"$all_of": [{"$gte": 1}, {"$lte": 3}]}, [1, 2, 3], [0, 4, "2", ABSENT]),
        ({"$not": 5}, [4, "5", None], [5, 5.0, ABSENT]),
        ({"$not": {"$regex": "^A"}}, ["B", 3], ["A-1", ABSENT]),
        ({"$absent": True}, [ABSENT], [None, 0, ""]),
        ({"$absent": False}, [None, 0], [ABSENT]),
        ({"$regex": "^A-\\d+$"}, ["A-17"], ["B-1", 17, None, ABSENT]),
        ({"$regex": "(?<letter>[A-Z])\\k<letter>"}, ["AA"], ["AB"]),
        ({"$type": "integer"}, [1, 1.0, 10**400], [1.5, "1", True, float("inf")]),
        ({"$type": ["string", "null"]}, ["", None], [0, [], ABSENT]),
        ({"$type": "number"}, [1, 0.5], [True, "1"]),
        ({"$contains": "ef"}, ["refund", {"ef": 1}, ["x", "ef"]], ["re", ["refund"], 3]),
        ({"$contains": {"$gte": 3}}, [[1, 3]], [[1, 2], "3"]),
        ({"$length": 2}, ["ab", [1, 2], {"a": 1, "b": 2}], ["a", [], 2]),
        ({"$length": {"$gte": 1}}, ["a"], ["", None]),
        ({"$every": {"$type": "string"}}, [[], ["a"]], [["a", 1], "a"]),
        ({"$range": [1, 2]}, [1, 1.5, 2], [0.9, 2.1, "1", True]),
        ({"$gt": 1, "$lt": 3}, [2], [1, 3, "2"]),
        ({"$gte": "2026-01-01"}, ["2026-11-20"], ["2025-12-31", 2027]),
        ({"$equals": 20, "$tolerance": 0.01}, [20.01, 19.99], [20.02, "20"]),
        ({"$equals": 200, "$relative": 0.01}, [202, 198], [202.1, 197]),
        ({"$equals": 1, "$coerce": True}, ["1", "1.0", " 1 ", 1], ["one", True, "true", None, "0x1", "1_0"]),
        ({"$equals": True, "$coerce": True}, ["true", "True", True], [1, "1", "yes"]),
        ({"$equals": "1", "$coerce": True}, [1, 1.0, "1"], [True, "1.0", 2]),
    ],
)
def test_each_operator_takes_what_it_should_and_nothing_else(predicate, good, bad):
    for value in good:
        assert holds(predicate, value), value
    for value in bad:
        assert not holds(predicate, value), value


def test_a_text_is_a_number_only_when_asked():
    assert not holds({"n": 1}, {"n": "1"})
    assert holds({"n": 1}, {"n": "1"}, coerce=True)
    assert not holds({"n": 1}, {"n": True}, coerce=True)
    assert not holds({"n": True}, {"n": 1}, coerce=True)


@given(JSON)
def test_every_value_equals_itself_under_any_leniency(value):
    assert holds(value, value)
    assert holds(value, value, subset=True, coerce=True, tolerance=1.0)


@given(JSON, JSON)
def test_leniency_only_ever_adds_matches(expected, actual):
    if holds(expected, actual):
        assert holds(expected, actual, subset=True)
        assert holds(expected, actual, coerce=True)
        assert holds(expected, actual, tolerance=0.5, relative=0.5)


@given(JSON, JSON)
def test_not_is_the_opposite_of_every_value_that_is_there(expected, actual):
    assert holds({"$not": expected}, actual) != holds(expected, actual)
    assert holds({"$any_of": [expected]}, actual) == holds(expected, actual) == holds({"$all_of": [expected]}, actual)


@pytest.mark.parametrize(
    ("expected", "actual", "pointer", "said"),
    [
        ({"a": {"b": [1, 2]}}, {"a": {"b": [1, 3]}}, "/a/b/1", "a.b[1] is 3 instead of 2"),
        ({"a": 1}, {}, "/a", "a is missing"),
        ({"a": {}}, {"a": {"x": 1}}, "/a", "a: more keys: x"),
        ({"a~/b": 1}, {"a~/b": 2}, "/a~0~1b", "a~/b is 2 instead of 1"),
        ([1], [1, 2], "", "the value: has 2 elements instead of 1"),
        ({"a": {"$regex": "x"}}, {"a": "y"}, "/a", 'a is "y" instead of {"$regex": "x"}'),
        ({"a": {"$absent": True}}, {"a": 1}, "/a", "a: is 1 and must be absent"),
        ({"a": {"$gte": 1, "$lte": 5}}, {"a": 7}, "/a", 'a is 7 instead of {"$lte": 5}'),
    ],
)
def test_a_mismatch_names_the_first_place_that_differs(expected, actual, pointer, said):
    found = mismatch(expected, actual)
    assert (found.pointer, str(found)) == (pointer, said)


@pytest.mark.parametrize(
    ("wrong", "at"),
    [
        ({"a": {"$regx": "x"}}, ("a",)),
        ({"a": {"$regex": "("}}, ("a", "$regex")),
        ({"a": {"$regex": 1}}, ("a", "$regex")),
        ({"a": {"$gte": 1, "b": 2}}, ("a", "b")),
        ({"a": [{"$range": [2, 1]}]}, ("a", 0, "$range")),
        ({"a": {"$range": [1]}}, ("a", "$range")),
        ({"a": {"$type": "text"}}, ("a", "$type")),
        ({"a": {"$any_of": []}}, ("a", "$any_of")),
        ({"a": {"$any_of": [{"$gt": None}]}}, ("a", "$any_of", 0, "$gt")),
        ({"a": {"$tolerance": 1}}, ("a",)),
        ({"a": {"$equals": 1, "$tolerance": -1}}, ("a", "$tolerance")),
        ({"a": {"$absent": "yes"}}, ("a", "$absent")),
        ({"a": {"$length": -1}}, ("a", "$length")),
    ],
)
def test_a_wrong_predicate_is_refused_with_its_place(wrong, at):
    with pytest.raises(BadValueError) as caught:
        check_predicates(wrong)
    assert caught.value.at == at


def test_what_is_nested_without_end_matches_nothing_and_breaks_nothing():
    deep: dict = {}
    for _ in range(5000):
        deep = {"a": deep}
    assert "too deeply" in str(mismatch(deep, deep))
    with pytest.raises(BadValueError, match="too deeply"):
        check_predicates(deep)
