from __future__ import annotations

import itertools
import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.evals.assertions.check import check
from fairway.evals.assertions.kind import BadValueError
from fairway.evals.assertions.section import read_assertion
from fairway.evals.assertions.tool_match import (
    Order,
    match_tools,
    maximum_matching,
    ordered_matching,
    parse_tool_call,
)
from fairway.evals.trials import Observed
from fairway.evals.values import Case, ExpectedTool, Found, Reply, ToolCall

CASES = 10_000


def largest(rows: int, columns: int, edges: set[tuple[int, int]], *, ordered: bool) -> int:
    """Size of the largest matching, by trying every one."""
    for size in range(min(rows, columns), 0, -1):
        for chosen in itertools.combinations(range(rows), size):
            places = itertools.combinations if ordered else itertools.permutations
            for order in places(range(columns), size):
                if all(pair in edges for pair in zip(chosen, order, strict=True)):
                    return size
    return 0


def random_edges(rng: random.Random) -> tuple[int, int, set[tuple[int, int]]]:
    rows, columns, density = rng.randint(0, 4), rng.randint(0, 4), rng.random()
    return rows, columns, {(r, c) for r in range(rows) for c in range(columns) if rng.random() < density}


def greedy(rows: int, columns: int, edge) -> tuple[tuple[int, int], ...]:
    """What other tools do: each expectation takes the first call that fits."""
    taken: set[int] = set()
    pairs = []
    for row in range(rows):
        for column in range(columns):
            if column not in taken and edge(row, column):
                taken.add(column)
                pairs.append((row, column))
                break
    return tuple(pairs)


def wrong_sizes(match, *, ordered: bool) -> int:
    rng = random.Random(20261120)
    wrong = 0
    for _ in range(CASES):
        rows, columns, edges = random_edges(rng)
        pairs = match(rows, columns, lambda r, c, edges=edges: (r, c) in edges)
        assert set(pairs) <= edges
        assert len({r for r, _ in pairs}) == len({c for _, c in pairs}) == len(pairs)
        if ordered:
            assert list(pairs) == sorted(pairs)
            assert [c for _, c in pairs] == sorted(c for _, c in pairs)
        wrong += len(pairs) != largest(rows, columns, edges, ordered=ordered)
    return wrong


def test_without_an_order_the_matching_is_as_large_as_brute_force_finds_on_10000_cases():
    assert wrong_sizes(maximum_matching, ordered=False) == 0


def test_with_an_order_the_matching_is_as_large_as_brute_force_finds_on_10000_cases():
    assert wrong_sizes(ordered_matching, ordered=True) == 0


def test_the_same_comparison_finds_a_greedy_matcher_wrong():
    assert wrong_sizes(greedy, ordered=False) > 100


def run(value, calls, **more) -> object:
    assertion = read_assertion({"type": "tool-calls", "value": value, **more})
    tools = None if calls is None else tuple(parse_tool_call(one) for one in calls)
    reply = Reply(text="x", tools=tools)
    return check(assertion, Observed(case=Case(id="c", name="c", turns=("q",)), replies=(reply,)))


F, G, H = {"name": "f", "arguments": {"x": 1}}, {"name": "g"}, {"name": "h"}


@pytest.mark.parametrize(
    ("value", "calls", "found"),
    [
        pytest.param(["f", "g"], [G, F], Found.HELD, id="any-order"),
        pytest.param(["f"], [F, F], Found.VIOLATED, id="once-too-often"),
        pytest.param([{"name": "f", "count": 2}], [F, F], Found.HELD, id="twice-as-asked"),
        pytest.param([], [], Found.HELD, id="no-call-wanted-and-none-made"),
        pytest.param([], [F], Found.VIOLATED, id="no-call-wanted-and-one-made"),
        pytest.param(["f"], None, Found.UNKNOWN, id="the-agent-does-not-say"),
        pytest.param({"expected": ["f"], "extra": "allow"}, [F, G], Found.HELD, id="extra-allowed"),
        pytest.param({"expected": ["f"], "extra": 1}, [F, G], Found.HELD, id="one-extra-allowed"),
        pytest.param({"expected": ["f"], "extra": 1}, [F, G, H], Found.VIOLATED, id="two-extras-are-too-many"),
        pytest.param({"expected": ["f", "g"], "order": "subsequence"}, [F, G], Found.HELD, id="in-order"),
        pytest.param({"expected": ["f", "g"], "order": "subsequence"}, [G, F], Found.VIOLATED, id="out-of-order"),
        pytest.param(
            {"expected": ["f", "g"], "order": "subsequence", "extra": "allow"}, [F, H, G], Found.HELD, id="between"
        ),
        pytest.param({"expected": ["f", "g"], "order": "exact"}, [F, G], Found.HELD, id="exactly"),
        pytest.param({"expected": ["f", "g"], "order": "exact"}, [F, H, G], Found.VIOLATED, id="not-exactly"),
        pytest.param({"forbidden": ["h"]}, [F, G], Found.HELD, id="forbidden-not-called"),
        pytest.param({"forbidden": ["h"]}, [F, H], Found.VIOLATED, id="forbidden-called"),
        pytest.param(
            {"forbidden": [{"name": "f", "arguments": {"x": {"$gte": 5}}}]}, [F], Found.HELD, id="harmless-arguments"
        ),
        pytest.param(
            {"forbidden": [{"name": "f", "arguments": {"x": {"$gte": 1}}}]}, [F], Found.VIOLATED, id="bad-arguments"
        ),
        pytest.param(
            {"forbidden": [{"name": "f", "arguments": {"x": 5}}]},
            [{"name": "f", "arguments": "{"}],
            Found.VIOLATED,
            id="a-forbidden-call-whose-arguments-nobody-can-read",
        ),
        pytest.param({"expected": [], "extra": 5}, [{"name": "f", "arguments": "[1]"}], Found.VIOLATED, id="malformed"),
        pytest.param(
            [{"name": "f", "arguments": {"x": 1.05}, "tolerance": 0.1}], [F], Found.HELD, id="absolute-tolerance"
        ),
        pytest.param(
            [{"name": "f", "arguments": {"x": 1.05}, "relative": 0.01}], [F], Found.VIOLATED, id="relative-tolerance"
        ),
        pytest.param(
            [{"name": "f", "arguments": {"x": 1}}], [{"name": "f", "arguments": {"x": "1"}}], Found.VIOLATED, id="text"
        ),
        pytest.param(
            [{"name": "f", "arguments": {"x": 1}, "coerce": True}],
            [{"name": "f", "arguments": {"x": "1"}}],
            Found.HELD,
            id="text-as-asked",
        ),
        pytest.param(
            [{"name": "f", "arguments": {"x": 1}}], [{"name": "f", "arguments": {"x": True}}], Found.VIOLATED, id="true"
        ),
        pytest.param(
            [{"name": "f", "arguments": {"x": 1}, "match": "exact"}],
            [{"name": "f", "arguments": {"x": 1, "y": 2}}],
            Found.VIOLATED,
            id="exact-arguments",
        ),
        pytest.param(
            [{"name": "f", "arguments": {"x": 1, "y": {"$absent": True}}}], [F], Found.HELD, id="absent-as-asked"
        ),
    ],
)
def test_tool_calls_end_as_the_table_says(value, calls, found):
    assert run(value, calls).found is found


def test_every_unmatched_pair_is_explained_with_the_nearest_candidate_and_the_first_argument_that_differs():
    result = run(
        [
            {"name": "refund", "arguments": {"order": "A-1", "amount": 20}},
            {"name": "refund", "arguments": {"order": "B-2", "amount": 5}},
            "notify",
        ],
        [
            {"name": "refund", "arguments": {"order": "B-2", "amount": 7}},
            {"name": "refund", "arguments": {"order": "A-1"}},
            {"name": "notify_all"},
        ],
    )
    missing, extra = result.detail["missing"], result.detail["extra"]
    assert [(one["nearest"], one["path"], one["reason"]) for one in missing] == [
        ('refund(order="A-1")', "/amount", "called without amount"),
        ('refund(order="B-2", amount=7)', "/amount", "called with amount=7 instead of 5"),
        (None, None, "it was not called; notify_all was"),
    ]
    assert [(one["tool"], one["path"], one["reason"]) for one in extra] == [
        ("refund", "/amount", "called with amount=7 instead of 5"),
        ("refund", "/amount", "called without amount"),
        ("notify_all", None, "no expectation asks for this tool"),
    ]
    assert all(one["reason"] in result.message for one in (*missing, *extra))
    assert (result.detail["precision"], result.detail["recall"], result.score) == (0.0, 0.0, 0.0)


def test_precision_recall_and_f1_are_those_of_the_matching_and_the_threshold_is_on_f1():
    result = run(["f", "g", {"name": "h", "count": 2}], [F, G, H, {"name": "k"}, {"name": "k"}])
    assert (result.detail["precision"], result.detail["recall"]) == (0.6, 0.75)
    assert result.score == pytest.approx(2 * 0.6 * 0.75 / 1.35)
    value = {"expected": ["f", "g", {"name": "h", "count": 2}]}
    assert run(value, [F, G, H, {"name": "k"}, {"name": "k"}], threshold=0.66).found is Found.HELD
    assert run(value, [F, G, H, {"name": "k"}, {"name": "k"}], threshold=0.67).found is Found.VIOLATED
    assert run(value, [F, G, H, {"name": "k", "arguments": "{"}], threshold=0.1).found is Found.VIOLATED


def test_a_forbidden_tool_whose_arguments_nobody_can_read_counts_as_forbidden():
    broken = {"name": "f", "arguments": "{"}
    result = run({"forbidden": [{"name": "f", "arguments": {"x": 5}}]}, [broken])
    assert len(result.detail["forbidden"]) == 1
    assert "forbidden call f" in result.message
    assert run({"forbidden": [{"name": "g", "arguments": {"x": 5}}], "extra": 1}, [broken]).detail["forbidden"] == []


@pytest.mark.parametrize("name", ["tool-calls", "trajectory:tool-args-match"])
def test_a_call_nobody_can_read_is_a_violation_of_not_too(name):
    value = {"name": "f", "args": {"x": 5}} if name != "tool-calls" else [{"name": "f", "arguments": {"x": 5}}]
    for broken in ({"name": "f", "arguments": "{x: 5}"}, {"name": "f", "arguments": [5]}):
        assert kind(name, value, [broken]) is Found.VIOLATED
        assert kind(f"not-{name}", value, [broken]) is Found.VIOLATED
    assert kind(f"not-{name}", value, [{"name": "f", "arguments": {"x": 4}}]) is Found.HELD


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("not-trajectory:tool-used", "delete_all"),
        ("trajectory:tool-used", {"name": "delete_all", "max": 0}),
        ("trajectory:step-count", {"name": "delete_all", "max": 0}),
        ("not-trajectory:tool-sequence", ["delete_all"]),
        ("tool-calls", {"forbidden": ["delete_all"]}),
    ],
)
def test_a_call_that_does_not_say_of_which_tool_it_is_might_have_been_the_wrong_one(name, value):
    assert kind(name, value, [{"name": "f"}]) is Found.HELD
    for nameless in ({"name": None}, None, {"function": {}}):
        assert kind(name, value, [{"name": "f"}, nameless]) is Found.VIOLATED


def test_a_call_out_of_order_is_said_to_be_one():
    result = run({"expected": ["f", "g"], "order": "subsequence"}, [G, F])
    assert "not in the expected order" in result.message
    assert "out of the expected order" in result.message


@pytest.mark.parametrize(
    "raw",
    [
        {"type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}},
        {"type": "function_call", "name": "f", "arguments": '{"x": 1}'},
        {"type": "tool_use", "id": "t1", "name": "f", "input": {"x": 1}},
        {"functionCall": {"name": "f", "args": {"x": 1}}},
        {"name": "f", "args": {"x": 1}},
        {"name": "f", "arguments": {"x": 1}},
    ],
)
def test_calls_of_every_vendor_are_the_same_call(raw):
    assert parse_tool_call(raw) == ToolCall(name="f", arguments={"x": 1})


@given(
    st.lists(st.sampled_from("fgh"), max_size=4),
    st.lists(
        st.sampled_from([F, G, H, {"name": "f", "arguments": "{"}, 3, None, "g", {"function": {"name": "h"}}]),
        max_size=5,
    ),
    st.sampled_from(Order),
)
def test_a_verdict_on_calls_never_breaks_and_its_counts_add_up(names, calls, order):
    result = run({"expected": names, "order": order.value}, calls)
    detail = result.detail
    assert detail["met"] + len(detail["missing"]) == len(names)
    assert detail["met"] + len(detail["extra"]) == len(calls)
    perfect = detail["met"] == len(names) == len(calls)
    assert (result.found is Found.HELD) == perfect
    assert (result.score == 1.0) == perfect
    json.dumps(detail)


@given(st.lists(st.sampled_from("fg"), max_size=4), st.lists(st.sampled_from("fg"), max_size=4))
def test_an_order_never_matches_more_than_none(wanted, called):
    expected = [ExpectedTool(name=name) for name in wanted]
    calls = [ToolCall(name=name) for name in called]
    assert len(match_tools(expected, calls, Order.SUBSEQUENCE).pairs) <= len(match_tools(expected, calls).pairs)


@pytest.mark.parametrize(
    ("value", "at"),
    [
        ([{"arguments": {}}], (0,)),
        ([{"name": "f", "argument": {}}], (0, "argument")),
        ([{"name": "f", "arguments": {"x": {"$regex": "("}}}], (0, "arguments", "x", "$regex")),
        ([{"name": "f", "count": 0}], (0, "count")),
        ({"expected": ["f"], "order": "sorted"}, ("order",)),
        ({"expected": ["f"], "order": "exact", "extra": "allow"}, ("extra",)),
        ({"expected": ["f"], "extra": -1}, ("extra",)),
        ({"expected": [], "extra": "allow"}, ()),
        ({}, ()),
        ({"order": "none"}, ()),
        (["f"] * 101, ()),
        ("f", ()),
    ],
)
def test_a_wrong_value_is_refused_with_its_key(value, at):
    with pytest.raises(BadValueError) as caught:
        read_assertion({"type": "tool-calls", "value": value})
    assert caught.value.at == ("value", *at)


def kind(name: str, value, calls) -> Found:
    assertion = read_assertion({"type": name, **({} if value is None else {"value": value})})
    reply = Reply(text="x", tools=tuple(parse_tool_call(one) for one in calls))
    return check(assertion, Observed(case=Case(id="c", name="c", turns=("q",)), replies=(reply,))).found


TOOLS = [
    {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "required": ["x"]}}},
    {"name": "g", "input_schema": {"type": "object", "additionalProperties": False}},
    {"name": "h"},
    {"name": "m", "inputSchema": {"type": "object", "required": ["x"]}},
]


@pytest.mark.parametrize(
    ("name", "value", "calls", "found"),
    [
        ("is-valid-openai-tools-call", None, [F], Found.HELD),
        ("is-valid-openai-tools-call", None, [], Found.VIOLATED),
        ("is-valid-openai-tools-call", None, [{"name": "f", "arguments": "{"}], Found.VIOLATED),
        ("is-valid-openai-tools-call", TOOLS, [F, G, H], Found.HELD),
        ("is-valid-openai-tools-call", TOOLS, [{"name": "f"}], Found.VIOLATED),
        ("is-valid-openai-tools-call", TOOLS, [{"name": "k"}], Found.VIOLATED),
        ("is-valid-openai-tools-call", TOOLS, [{"name": "m"}], Found.VIOLATED),
        ("not-is-valid-openai-tools-call", None, [{"name": "f", "arguments": "{"}], Found.HELD),
        ("is-valid-openai-tools-call", TOOLS, [{"name": "g", "arguments": {"y": 1}}], Found.VIOLATED),
        ("trajectory:tool-used", "f", [G, F], Found.HELD),
        ("trajectory:tool-used", ["f", "h"], [G, F], Found.VIOLATED),
        ("trajectory:tool-used", {"pattern": "*", "min": 2, "max": 2}, [G, F], Found.HELD),
        ("trajectory:tool-used", {"name": "f", "max": 1}, [F, F], Found.VIOLATED),
        ("trajectory:tool-used", {"name": "f", "max": 0}, [G], Found.HELD),
        ("trajectory:tool-used", {"name": "f", "max": 2}, [G], Found.VIOLATED),
        ("trajectory:tool-sequence", ["f", "g"], [F, H, G], Found.HELD),
        ("trajectory:tool-sequence", {"steps": ["f", "g"], "mode": "exact"}, [F, H, G], Found.VIOLATED),
        ("trajectory:tool-sequence", ["g", "f"], [F, G], Found.VIOLATED),
        ("trajectory:tool-args-match", {"name": "f", "args": {"x": 1}}, [G, F], Found.HELD),
        ("trajectory:tool-args-match", {"name": "f", "args": {"x": 2}}, [F], Found.VIOLATED),
        ("trajectory:tool-args-match", {"name": "f", "args": {}, "mode": "exact"}, [F], Found.VIOLATED),
        ("trajectory:tool-args-match", {"name": "f", "args": {}}, [{"name": "f", "arguments": "{"}], Found.VIOLATED),
        ("trajectory:step-count", {"max": 2}, [F, G], Found.HELD),
        ("trajectory:step-count", {"type": "tool", "name": "f", "min": 2}, [F, G], Found.VIOLATED),
    ],
)
def test_promptfoos_checks_of_calls_end_as_the_table_says(name, value, calls, found):
    assert kind(name, value, calls) is found
