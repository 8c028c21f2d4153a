from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.evals.assertions.check import check, needs_measuring
from fairway.evals.assertions.registry import KINDS
from fairway.evals.assertions.section import read_assertion
from fairway.evals.trials import Observed
from fairway.evals.values import Assertion, Case, Found, Reply, TokenCount, ToolCall

CASE = Case(id="c", name="c", turns=("one", "two"))


def seen(*replies: Reply, seconds: float | None = None, case: Case = CASE) -> Observed:
    return Observed(case=case, replies=replies, duration_seconds=seconds)


def said(text: str, **more) -> Observed:
    return seen(Reply(text=text, **more))


EVERY = [
    {"equals": "a"},
    {"equals": {"a": 1}},
    {"contains": "a"},
    {"icontains": "A"},
    {"contains-any": ["a", "b"]},
    {"contains-all": ["a", "b"]},
    {"icontains-any": ["A"]},
    {"icontains-all": ["A", "B"]},
    {"starts-with": "a"},
    {"regex": "a+"},
    {"word-count": {"max": 3}},
    {"type": "is-refusal"},
    {"type": "is-json"},
    {"is-json": {"type": "object"}},
    {"type": "contains-json"},
    {"contains-json": {"required": ["a"]}},
    {"levenshtein": "abc"},
    {"rouge-n": "a b"},
    {"rouge-1": "a b"},
    {"rouge-2": "a b"},
    {"rouge-l": "a b"},
    {"bleu": "a b c"},
    {"type": "cost", "threshold": 0.1},
    {"type": "latency", "threshold": 100},
    {"tokens": 10},
    {"finish-reason": "stop"},
    {"tool-calls": ["f"]},
    {"tool-call-f1": ["f"]},
    {"type": "is-valid-openai-tools-call"},
    {"trajectory:tool-used": "f"},
    {"trajectory:tool-sequence": ["f", "g"]},
    {"trajectory:tool-args-match": {"name": "f", "args": {"x": 1}}},
    {"trajectory:step-count": {"max": 1}},
    {"state": {"/a": 1}},
    {"state-equals": {"a": 1}},
    {"state-hash": "0" * 64},
    {"todo": "say it"},
]
ASSERTIONS = [read_assertion(one) for one in EVERY]
NEEDS_A_REPORT = {
    one.type
    for one in ASSERTIONS
    if one.type.startswith(("tool", "traj", "state", "cost", "lat", "tok", "fin", "is-val", "todo"))
}


def test_the_list_of_this_test_has_every_kind_that_needs_no_call():
    checked = {name for name, kind in KINDS.items() if kind.check is not None}
    assert {one.type for one in ASSERTIONS} == checked


TEXT = st.text(max_size=12) | st.sampled_from(
    [
        "a",
        "a b",
        '{"a": 1}',
        "[" * 3000,
        "{" * 3000,
        '{"a":' * 2000,
        "\ud800",
        "NaN",
        "I cannot help",
        "\x00",
        "9" * 5000,
    ]
)
REPLY = st.builds(
    Reply,
    text=TEXT,
    tools=st.none() | st.lists(st.builds(ToolCall, name=st.sampled_from("fg")), max_size=2).map(tuple),
    tokens_in=st.none() | st.integers(0, 20),
    tokens_out=st.none() | st.integers(0, 20),
    state=st.none() | st.sampled_from([{"a": 1}, {"a": float("nan")}, [1], "x", 10**400, {"a": "\ud800"}]),
    cost_micros=st.none() | st.integers(0, 10**6),
    finish_reason=st.none() | st.sampled_from(["stop", "end_turn", "length"]),
)


@given(st.sampled_from(ASSERTIONS), REPLY, st.none() | st.floats(0, 1))
def test_whatever_is_replied_there_is_a_verdict_and_not_turns_it_around(assertion, reply, seconds):
    observed = seen(reply, seconds=seconds)
    result = check(assertion, observed)
    opposite = check(read_assertion({**_written(assertion), "type": f"not-{assertion.type}"}), observed)
    turned = {Found.HELD: Found.VIOLATED, Found.VIOLATED: Found.HELD}
    assert opposite.found is turned.get(result.found, result.found)
    assert (result.score is None) == (result.found not in turned)
    assert bool(result.message) == (result.found is not Found.HELD)
    for one in (result, opposite):
        assert one.score is None or 0 <= one.score <= 1
    if result.found is Found.HELD and result.score == 1:
        assert opposite.score == 0


def _written(assertion: Assertion) -> dict:
    long = next(one for one, read in zip(EVERY, ASSERTIONS, strict=True) if read is assertion)
    if "type" in long:
        return long
    (name, value), *rest = long.items()
    return {"type": name, "value": value, **dict(rest)}


@pytest.mark.parametrize("kind", sorted(NEEDS_A_REPORT))
@pytest.mark.parametrize("negated", [False, True])
def test_what_is_not_reported_is_unknown_also_when_negated(kind, negated):
    written = _written(next(one for one in ASSERTIONS if one.type == kind))
    assertion = read_assertion({**written, "type": f"not-{kind}" if negated else kind})
    assert check(assertion, said("a")).found is Found.UNKNOWN


@pytest.mark.parametrize(
    ("written", "observed", "found"),
    [
        ({"equals": "a"}, said("a"), Found.HELD),
        ({"equals": "a"}, said("a\n"), Found.VIOLATED),
        ({"equals": {"a": [1]}}, said(' {"a": [1.0]} '), Found.HELD),
        ({"equals": {"a": 1}}, said('{"a": true}'), Found.VIOLATED),
        ({"equals": {"$regex": "x"}}, said("x"), Found.VIOLATED),
        ({"equals": True}, said("true"), Found.HELD),
        ({"type": "equals", "value": None}, said("null"), Found.HELD),
        ({"tokens": 15}, said("a", tokens_in=10, tokens_out=5), Found.HELD),
        ({"tokens": 14}, said("a", tokens_in=10, tokens_out=5), Found.VIOLATED),
        ({"tokens": {"max": 5, "count": "output"}}, said("a", tokens_out=5), Found.HELD),
        ({"tokens": {"min": 20}}, said("a", tokens_in=10, tokens_out=5), Found.VIOLATED),
        ({"finish-reason": "stop"}, said("a", finish_reason="end_turn"), Found.HELD),
        ({"finish-reason": "tool_calls"}, said("a", finish_reason="tool_use"), Found.HELD),
        ({"finish-reason": "stop"}, said("a", finish_reason="max_tokens"), Found.VIOLATED),
        ({"type": "cost", "threshold": 0.01}, said("a", cost_micros=10_000), Found.HELD),
        ({"type": "cost", "threshold": 0.01}, said("a", cost_micros=10_001), Found.VIOLATED),
        (
            {"type": "cost", "threshold": 1},
            seen(Reply(text="a", cost_micros=1), Reply(text="b")),
            Found.UNKNOWN,
        ),
        ({"type": "latency", "threshold": 200}, seen(Reply(text="a"), seconds=0.2), Found.HELD),
        ({"type": "latency", "threshold": 200}, seen(Reply(text="a"), seconds=0.201), Found.VIOLATED),
        ({"type": "is-json"}, said("NaN"), Found.VIOLATED),
        ({"type": "is-json"}, said('{"a": 1} x'), Found.VIOLATED),
        ({"contains-json": {"required": ["b"]}}, said('see {"a": 1} and {"b": 2}'), Found.HELD),
        ({"is-json": {"format": "date-time"}}, said('"yesterday"'), Found.VIOLATED),
        ({"regex": "^b$"}, said("a\nb"), Found.VIOLATED),
        ({"regex": "(?m)^b$"}, said("a\nb"), Found.HELD),
    ],
)
def test_checks_end_as_the_table_says(written, observed, found):
    assert check(read_assertion(written), observed).found is found


@pytest.mark.parametrize("negated", ["", "not-"])
@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [("regex", "refund.*order$", "refund " * 150_000), ("rouge-l", "refund " * 3_000, "x " * 200_000)],
)
def test_a_reply_too_long_to_be_searched_is_an_error_and_stops_nothing(kind, value, text, negated):
    begun = time.monotonic()
    assert check(read_assertion({f"{negated}{kind}": value}), said(text)).found is Found.ERROR
    assert time.monotonic() - begun < 20  # it would be minutes


def test_a_number_no_float_can_hold_is_no_verdict_of_a_schema_and_breaks_nothing():
    for number in (f"1{400 * '0'}", "1e400"):
        assert check(read_assertion({"is-json": {"multipleOf": 0.1}}), said(number)).found is Found.ERROR
    assert check(read_assertion({"contains": 10**400}), said(f"1{400 * '0'}")).found is Found.HELD


@pytest.mark.parametrize("schema", [{"$ref": "#"}, {"$dynamicRef": "#nowhere"}, {"$ref": "#nowhere"}])
def test_a_schema_that_cannot_be_applied_is_an_error_and_no_verdict(schema):
    for kind in ("is-json", "not-is-json", "contains-json"):
        assert check(read_assertion({kind: schema}), said("[1]")).found is Found.ERROR
    declared = [{"name": "f", "parameters": schema}]
    called = said("x", tools=(ToolCall(name="f"),))
    assert check(read_assertion({"is-valid-openai-tools-call": declared}), called).found is Found.ERROR


@pytest.mark.parametrize(
    ("wanted", "good", "bad"),
    [
        ("date-time", ["2026-11-20T10:00:00Z", "2026-11-20t10:00:60.5+01:00"], ["2026-11-20", "2026-13-20T10:00:00Z"]),
        ("time", ["10:00:00Z"], ["10:00", "25:00:00Z"]),
        ("uri", ["https://example.com/a?b=%20", "mailto:ada@example.com"], ["example.com", "/a", "http://a b"]),
        ("hostname", ["a-1.example"], ["-a.example", "a..b", "a" * 64]),
        ("email", ["ada@example.com"], ["ada"]),
        ("date", ["2026-11-20"], ["20.11.2026"]),
    ],
)
def test_a_format_is_checked_and_not_only_noted(wanted, good, bad):
    assertion = read_assertion({"is-json": {"format": wanted}})
    for text, found in [*((one, Found.HELD) for one in good), *((one, Found.VIOLATED) for one in bad)]:
        assert check(assertion, said(f'"{text}"')).found is found, text


def test_a_case_says_which_tokens_count_unless_the_assertion_does():
    case = Case(id="c", name="c", turns=("q",), count_tokens=TokenCount.OUTPUT)
    observed = seen(Reply(text="a", tokens_in=100, tokens_out=5), case=case)
    assert check(read_assertion({"tokens": 5}), observed).found is Found.HELD
    assert check(read_assertion({"tokens": {"max": 5, "count": "total"}}), observed).found is Found.VIOLATED


def test_turn_says_which_reply_is_looked_at():
    observed = seen(Reply(text="Hello"), Reply(text="Goodbye"))
    for turn, found in ((1, Found.HELD), (2, Found.VIOLATED), ("last", Found.VIOLATED), ("every", Found.VIOLATED)):
        assert check(read_assertion({"contains": "Hello", "turn": turn}), observed).found is found
    every = check(read_assertion({"not-contains": "Hello", "turn": "every"}), observed)
    assert (every.found, every.message[:7]) == (Found.VIOLATED, "turn 1:")
    assert check(read_assertion({"contains": "o", "turn": "every"}), observed).found is Found.HELD
    for negated in ("contains", "not-contains"):
        assert check(read_assertion({negated: "Hello", "turn": 3}), observed).found is Found.ERROR
    silent = seen(Reply(text="a", tools=()), Reply(text="b"))
    assert check(read_assertion({"tool-calls": [], "turn": "every"}), silent).found is Found.UNKNOWN


def test_what_takes_a_judge_a_script_or_a_call_is_unknown_here():
    for written in ({"llm-rubric": "x"}, {"python": "True"}, {"webhook": "http://x/"}, {"similar": "x"}):
        assertion = read_assertion(written)
        assert needs_measuring(assertion)
        assert check(assertion, said("x")).found is Found.UNKNOWN


def test_a_type_nobody_knows_is_an_error_and_no_pass():
    assert check(Assertion(type="nope"), said("x")).found is Found.ERROR
    assert check(Assertion(type="nope", negated=True), said("x")).found is Found.ERROR


@pytest.mark.parametrize(
    ("members", "threshold", "found"),
    [
        ([{"contains": "a"}, {"contains": "b"}], None, Found.HELD),
        ([{"contains": "a"}, {"contains": "z"}], None, Found.VIOLATED),
        ([{"contains": "a"}, {"contains": "z"}], 0.5, Found.HELD),
        ([{"contains": "a"}, {"contains": "z", "weight": 3}], 0.5, Found.VIOLATED),
        ([{"contains": "a"}, {"contains": "z", "weight": 0}], None, Found.HELD),
        ([{"contains": "a"}, {"llm-rubric": "x"}], None, Found.UNKNOWN),
        ([{"contains": "z"}, {"llm-rubric": "x"}], None, Found.VIOLATED),
        ([{"contains": "z"}, {"llm-rubric": "x"}], 0.5, Found.UNKNOWN),
        ([{"contains": "a"}, {"llm-rubric": "x"}], 0.5, Found.UNKNOWN),
        ([{"contains": "z"}, {"llm-rubric": "x"}], 0.6, Found.VIOLATED),
    ],
)
def test_a_set_ends_as_the_table_says(members, threshold, found):
    written = {"type": "assert-set", "assert": members, **({} if threshold is None else {"threshold": threshold})}
    result = check(read_assertion(written), said("a b"))
    assert result.found is found
    assert len(result.detail["members"]) == len(members)
    turned = {Found.HELD: Found.VIOLATED, Found.VIOLATED: Found.HELD}
    opposite = check(read_assertion({**written, "type": "not-assert-set"}), said("a b"))
    assert opposite.found is turned.get(found, found)


@pytest.mark.parametrize("text", ["{" * 200_000, "[" * 200_000, '{"a":' * 50_000, "x{" * 100_000])
def test_a_reply_of_nothing_but_brackets_costs_no_minutes(text):
    started = time.perf_counter()
    check(read_assertion({"type": "contains-json"}), said(text))
    assert time.perf_counter() - started < 20
