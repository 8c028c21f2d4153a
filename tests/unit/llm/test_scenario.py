from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairway.errors import FairwayError, NotFoundError, ProjectFileError
from fairway.llm.mock.references import MissingValue, parse_text, parse_value, render_value
from fairway.llm.mock.scenario import load_scenario, parse_faults, parse_scenario

GOOD = """\
version: 1
name: shop
directives: {polite: be\\s+polite}
rules:
  - name: order
    when: {user: 'order (?P<order>\\d+)', requires_directive: polite}
    reply: "Order ${order} it is."
  - reply: hello
"""


def broken(text: str) -> ProjectFileError:
    with pytest.raises(ProjectFileError) as caught:
        parse_scenario(text, file="evals/mock-llm.yaml")
    return caught.value


def test_a_scenario_is_compiled_and_its_rules_are_named() -> None:
    scenario = parse_scenario(GOOD, file="x.yaml")
    assert [rule.name for rule in scenario.rules] == ["order", "rules[1]"]
    assert scenario.followed("Please BE\nPOLITE.") == {"polite"}
    assert scenario.followed("Be brief.") == frozenset()


@pytest.mark.parametrize(
    ("change", "line", "key", "said"),
    [
        (("name: order", "nmae: order"), 5, "rules[0].nmae", "did you mean 'name'"),
        (("user:", "usr:"), 6, "rules[0].when.usr", "did you mean 'user'"),
        (("requires_directive: polite", "requires_directive: polit"), 6, "requires_directive", "did you mean 'polite'"),
        (("${order}", "${ordr}"), 7, "rules[0].reply", "refers to nothing"),
        (("${order}", "${order"), 7, "rules[0].reply", "starts a reference"),
        (("(?P<order>", "(?P<order"), 6, "rules[0].when.user", "not a regular expression"),
        (("(?P<order>", "[[](?P<order>"), 6, "rules[0].when.user", "nested set"),
        (("(?P<order>", "a{99999999999999999999}(?P<order>"), 6, "rules[0].when.user", "not a regular expression"),
        (("reply: hello", "fault: rate_limt"), 8, "rules[1].fault", "did you mean 'rate_limit'"),
        (
            ("  - reply: hello", "  - name: both\n    reply: a\n    fault: server_error"),
            8,
            "rules[1]",
            "exactly one of",
        ),
        (("version: 1", "version: 2"), 1, "version", "1"),
        (("name: shop", "name: shop\nlatency: {median: 3x}"), 3, "latency.median", "not a duration"),
        (("name: shop", "name: shop\nlatency: {p95: 3s}"), 3, "latency", "above 0"),
        (("name: shop", "name: shop\nfaults: [{kind: latency, from: 3s, until: 2s}]"), 3, "faults[0]", "after 'from'"),
        (("name: shop", "name: shop\nfaults: [{kind: latency, probability: 2}]"), 3, "faults[0].probability", "1"),
    ],
    ids=lambda value: value[1][:30] if isinstance(value, tuple) else None,
)
def test_a_mistake_names_file_line_key_and_what_is_right(
    change: tuple[str, str], line: int, key: str, said: str
) -> None:
    error = broken(GOOD.replace(*change, 1))
    assert (error.file, error.line) == ("evals/mock-llm.yaml", line)
    assert key in str(error.key)
    assert said in f"{error.message} {error.hint}"


def test_a_file_that_is_not_there_is_a_message(tmp_path) -> None:
    with pytest.raises(NotFoundError, match="no scenario file"):
        load_scenario(tmp_path / "none.yaml")


def test_without_rules_there_is_no_scenario() -> None:
    assert "rules" in str(broken("version: 1\nrules: []\n"))
    assert "rules" in str(broken(""))


def test_faults_from_outside_are_checked_like_the_file() -> None:
    scenario = parse_scenario(GOOD, file="x")
    assert parse_faults(b'{"faults": [{"kind": "rate_limit", "until": "60s"}]}', scenario)[0].until == 60.0
    for body in (b"{", b"[]", b'{"faults": [{"kind": "rate_limt"}]}', b'{"faults": [{"kind": "latency", "x": 1}]}'):
        with pytest.raises(ProjectFileError):
            parse_faults(body, scenario)


@settings(max_examples=300, deadline=None)
@given(
    start=st.integers(0, len(GOOD)),
    length=st.integers(0, 12),
    put=st.text(alphabet="{}[]:-'\"$()?P<>\\ \n\tabx01~&*!|%@`", max_size=8),
)
def test_a_mutated_scenario_is_read_or_refused_and_never_breaks(start: int, length: int, put: str) -> None:
    try:
        parse_scenario(GOOD[:start] + put + GOOD[start + length :], file="x.yaml")
    except FairwayError:
        pass


SCOPE = {"order": "1002", "result": {"total": "45.5", "items": [{"id": "a"}], "ok": True}, "results": {}, "user": "hi"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no references, 5 $ and {braces}", "no references, 5 $ and {braces}"),
        ("order ${order}", "order 1002"),
        ("${order}", "1002"),
        ("${order:number}", 1002),
        ("${result.total:number}", 45.5),
        ("${result.items.0.id}", "a"),
        ("${result.items}", [{"id": "a"}]),
        ("is ${result.ok}, ${result.items:json}", 'is true, [{"id": "a"}]'),
        ("${result.absent|none}", "none"),
        ("${results.tool.field|}", ""),
    ],
)
def test_references_are_filled_in(text: str, value: object) -> None:
    assert render_value(parse_value(text, captures=["order"]), SCOPE) == value


@pytest.mark.parametrize("text", ["${result.absent}", "${result.items.7}", "${result.items:number}"])
def test_a_value_that_is_not_there_is_said_and_not_made_up(text: str) -> None:
    with pytest.raises(MissingValue):
        parse_text(text, captures=[]).render(SCOPE)


def test_references_inside_objects_and_lists_are_filled_in() -> None:
    value = parse_value({"a": ["${order}", 3], "b": {"c": "x${order}"}, "d": None}, captures=["order"])
    assert render_value(value, SCOPE) == {"a": ["1002", 3], "b": {"c": "x1002"}, "d": None}
