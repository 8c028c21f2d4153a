from __future__ import annotations

import itertools
import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.evals.assertions.tool_match import (
    match_tools,
    maximum_matching,
    parse_tool_call,
    values_match,
    why_missing,
)
from fairway.evals.values import ArgumentMatch, ExpectedTool, ToolCall


def brute_force_size(rows: int, columns: int, edges: set[tuple[int, int]]) -> int:
    best = 0
    for size in range(min(rows, columns), 0, -1):
        for chosen in itertools.combinations(range(rows), size):
            for order in itertools.permutations(range(columns), size):
                if all(pair in edges for pair in zip(chosen, order, strict=True)):
                    return size
    return best


def test_the_matching_is_as_large_as_brute_force_finds_on_3000_small_cases():
    rng = random.Random(20261120)
    for _ in range(3000):
        rows, columns = rng.randint(0, 4), rng.randint(0, 4)
        density = rng.random()
        edges = {(r, c) for r in range(rows) for c in range(columns) if rng.random() < density}
        pairs = maximum_matching(rows, columns, lambda r, c, edges=edges: (r, c) in edges)
        assert len(pairs) == brute_force_size(rows, columns, edges)
        assert set(pairs) <= edges
        assert len({r for r, _ in pairs}) == len({c for _, c in pairs}) == len(pairs)


def test_expectations_over_real_calls_are_matched_as_well_as_brute_force_can():
    rng = random.Random(7)
    for _ in range(600):
        expected = [
            ExpectedTool(name=rng.choice("fg"), arguments=rng.choice([None, {"x": 1}, {"x": 2}, {"x": 1, "y": 2}]))
            for _ in range(rng.randint(0, 4))
        ]
        calls = [
            ToolCall(name=rng.choice("fg"), arguments=rng.choice([{}, {"x": 1}, {"x": 2}, {"x": 1, "y": 2}]))
            for _ in range(rng.randint(0, 4))
        ]

        def meets(want: ExpectedTool, have: ToolCall) -> bool:
            return want.name == have.name and (
                want.arguments is None or all(have.arguments.get(k) == v for k, v in want.arguments.items())
            )

        edges = {(r, c) for r, e in enumerate(expected) for c, call in enumerate(calls) if meets(e, call)}
        matching = match_tools(expected, calls)
        size = brute_force_size(len(expected), len(calls), edges)
        assert len(matching.pairs) == size
        assert len(matching.missing) == len(expected) - size
        assert len(matching.extra) == len(calls) - size


def test_a_loose_expectation_never_takes_the_only_call_a_strict_one_could_have():
    loose, strict = ExpectedTool(name="f"), ExpectedTool(name="f", arguments={"x": 1})
    calls = [ToolCall(name="f", arguments={"x": 1}), ToolCall(name="f", arguments={"x": 2})]
    for order in itertools.permutations(calls):
        for wanted in ([loose, strict], [strict, loose]):
            assert match_tools(wanted, order).missing == ()


def test_counts_matter():
    twice = [ExpectedTool(name="f", count=2)]
    assert len(match_tools(twice, [ToolCall(name="f")]).missing) == 1
    assert match_tools(twice, [ToolCall(name="f")] * 2).missing == ()
    assert len(match_tools(twice, [ToolCall(name="f")] * 3).extra) == 1


@pytest.mark.parametrize(
    ("expected", "actual"),
    [(1, True), (True, 1), (0, False), (1, "1"), ("1", 1), (None, False), (None, 0), ("", None), ([], {}), (1, [1])],
)
def test_values_of_different_json_types_are_never_equal(expected, actual):
    assert not values_match(expected, actual, subset=False)
    assert not values_match({"x": [expected]}, {"x": [actual]}, subset=True)
    assert not values_match(expected, actual, subset=True, tolerance=5)


def test_numbers_compare_as_json_numbers_within_the_tolerance():
    assert values_match(1, 1.0, subset=False)
    assert values_match(0.2, 0.3, subset=False, tolerance=0.1)
    assert not values_match(0.2, 0.31, subset=False, tolerance=0.1)
    assert not values_match(0.2, 0.2000001, subset=False)
    assert not values_match(float("nan"), float("nan"), subset=False, tolerance=1.0)
    assert not values_match(10**400, 1.5, subset=False, tolerance=1.0)


def test_subset_allows_more_keys_at_any_depth_and_exact_does_not():
    want, have = {"a": {"b": 1}}, {"a": {"b": 1, "c": 2}, "d": 3}
    assert values_match(want, have, subset=True)
    assert not values_match(want, have, subset=False)
    assert not values_match([1], [1, 2], subset=True)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=8))
def test_whatever_a_call_looks_like_it_is_read_or_called_malformed(raw):
    for shape in (raw, {"name": raw}, {"name": "f", "arguments": raw}, {"function": {"name": "f", "arguments": raw}}):
        call = parse_tool_call(shape)
        assert call.name
        assert call.malformed is None or isinstance(call.malformed, str)


@pytest.mark.parametrize("arguments", ["{", "[1]", "1", '"x"', "{'a': 1}", "[" * 100_000, "9" * 5000, ["x"], 3, True])
def test_malformed_arguments_carry_a_reason_and_meet_nothing(arguments):
    call = parse_tool_call({"name": "f", "arguments": arguments})
    assert call.malformed
    assert match_tools([ExpectedTool(name="f")], [call]).missing


@pytest.mark.parametrize("shape", [lambda a: a, json.dumps])
def test_what_an_agent_names_and_passes_can_be_written_to_a_file_and_shown_on_a_terminal(shape):
    call = parse_tool_call({"name": "f\x1b[2J\ud800\u202e", "arguments": shape({"a\ud800": ["\ud800"]})})
    shown = f"{call.name} {call.arguments} {why_missing(ExpectedTool(name=call.name, arguments={'x': 1}), [call])}"
    shown.encode()
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert parse_tool_call({"name": "f", "arguments": "\ud800"}).malformed.encode()


def test_arguments_as_json_text_and_openai_calls_are_read():
    assert parse_tool_call({"name": "f", "arguments": '{"x": 1}'}).arguments == {"x": 1}
    assert parse_tool_call({"type": "function", "function": {"name": "f", "arguments": "{}"}}).name == "f"
    assert parse_tool_call({"name": "f", "arguments": ""}).malformed is None


def test_the_reason_names_the_argument_that_differs():
    want = ExpectedTool(name="refund", arguments={"order": "A-1", "amount": 20})
    assert "order" in why_missing(want, [ToolCall(name="refund", arguments={"amount": 20})])
    wrong = why_missing(want, [ToolCall(name="refund", arguments={"order": "A-1", "amount": "20"})])
    assert wrong == 'called with amount="20" instead of 20'
    assert why_missing(want, []) == "it was not called"
    exact = ExpectedTool(name="f", arguments={}, match=ArgumentMatch.EXACT)
    assert "more arguments: x" in why_missing(exact, [ToolCall(name="f", arguments={"x": 1})])
