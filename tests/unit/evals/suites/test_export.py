from __future__ import annotations

import csv
import json
from dataclasses import replace
from io import StringIO

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from fairway.evals.suites.export import SuiteFormat, export_suite
from fairway.evals.suites.fingerprint import suite_digest
from fairway.evals.suites.load import parse_suite
from fairway.evals.values import Assertion, Case, Suite

ROUND = [SuiteFormat.YAML, SuiteFormat.JSON, SuiteFormat.JSONL, SuiteFormat.CSV]

OWN = """\
suite: refunds
count_tokens: output
defaults: {variables: {shop: "Harbour {{ lane }}"}, forbidden_keywords: [sorry]}
cases:
  - id: first
    name: "Asks {% raw %}{{ before }}{% endraw %}"
    input: "Refund at {{ shop }}: {# kept #}no"
    expected_tools: [lookup, {name: refund, arguments: {amount: 2.5, of: {$regex: "^A"}}, match: exact, count: 2}]
    assert:
      - {contains-any: "a, b", weight: 2, metric: tone}
      - {assert-set: [{type: equals, value: null}, {not-regex: "x{2}"}], threshold: 0.5}
      - {tool-calls: {forbidden: [drop], extra: allow}}
      - {rouge-n: "a b", n: 2, threshold: 0.4}
      - {equals: 5, turn: 1}
      - {choice: Polite?, choice_scores: {"yes": 1, "no": 0}}
    threshold: 0.8
    critical: true
    repeat: 3
    at_least: 2
    max_repeat: 9
    tags: ["on", "1", "2024-01-01", "a;b", "Yes", "null", "y", "~", "1_000", "0o7", "a: b", "- x", "#c", "1e3", ".inf"]
    rule: "Never: promise"
    system_prompt_version: "1.0"
  - id: second
    conversation: [Hello, "two\\nlines  ", " {{ shop }}"]
    extra_tools: allow
    max_tokens: 500
    rubric: |
      Polite.
        Very.
  - {id: row, input: "{{ a }}", rubric: fine, for: {a: [x, "{{ shop }}", "{% if %}", "{"]}}
  - {id: any, input: x, max_tokens: 5, repeat: 3, at_least: any}
  - {id: none, input: "file: 0o7, yes", expected_tools: []}
"""
SEED = '[{"id": 1, "name": "N", "user_input": "hi", "expected_behavior": "greets", "expected_tools": ["f"]}]'


def bare(suite: Suite) -> Suite:
    return replace(
        suite,
        name="",
        file="",
        cases=tuple(replace(case, line=None, assertions=unlined(case.assertions)) for case in suite.cases),
    )


def unlined(assertions: tuple[Assertion, ...]) -> tuple[Assertion, ...]:
    return tuple(replace(one, line=None, members=unlined(one.members)) for one in assertions)


@pytest.mark.parametrize("form", ROUND)
@pytest.mark.parametrize(("text", "file"), [(OWN, "s.yaml"), (SEED, "s.json")], ids=["own", "seed"])
def test_a_suite_that_is_exported_and_read_again_is_the_same(form, text, file):
    suite = parse_suite(text.encode(), file=file)
    exported = export_suite(suite, form)
    again = parse_suite(exported.text.encode(), file=f"{suite.name}.{form}")
    assert exported.lost == ()
    assert bare(again) == bare(suite)
    assert again.name == suite.name
    assert suite_digest(again) == suite_digest(suite)


words = st.text(min_size=1, max_size=12).filter(lambda text: text.strip() and not text.startswith("file://"))
plain = st.text(alphabet=st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=12).filter(str.strip)


@settings(deadline=None)
@given(
    st.lists(plain, min_size=1, max_size=3),
    st.dictionaries(st.sampled_from(["a", "b"]), st.none() | st.booleans() | st.integers(-9, 9) | plain, max_size=2),
    plain,
    st.sampled_from(ROUND),
)
def test_any_text_survives_every_format(turns, variables, rubric, form):
    case = Case(id="x", name="x", turns=tuple(turns), variables=variables, rubric=rubric, tags=(rubric,))
    suite = Suite(name="s", file=f"s.{form}", cases=(case,))
    assert bare(parse_suite(export_suite(suite, form).text.encode(), file=f"s.{form}")) == bare(suite)


def test_the_lines_of_a_csv_stay_one_table_although_cases_have_different_keys():
    text = export_suite(parse_suite(OWN.encode(), file="s.yaml"), SuiteFormat.CSV).text
    header, *rows = csv.reader(StringIO(text))
    assert {len(row) for row in rows} == {len(header)}


def test_a_promptfoo_config_has_the_checks_it_can_say_and_a_case_that_lost_one_fails_there():
    suite = parse_suite(OWN.encode(), file="s.yaml")
    exported = export_suite(suite, SuiteFormat.PROMPTFOO)
    config = yaml.safe_load(exported.text)
    assert config["prompts"] == ["{{input}}"]
    assert [test["metadata"]["id"] for test in config["tests"]] == [
        case.id for case in suite.cases if case.id != "second"
    ]
    first = config["tests"][0]
    assert {"type": "not-icontains", "value": "sorry"} in first["assert"]
    assert first["assert"][-1]["type"] == "javascript"
    assert first["assert"][-1]["value"].startswith("false")
    assert any("expected_tools" in lost for lost in exported.lost)
    assert any("'second'" in lost for lost in exported.lost)


def test_a_threshold_lets_no_case_pass_there_that_lost_a_check_or_misses_a_keyword():
    suite = parse_suite(
        b"- {id: a, input: x, threshold: 0.5, forbidden_tools: [pay], assert: [{contains: y}, {contains: z}]}\n"
        b"- {id: b, input: x, threshold: 0.5, expected_keywords: [k], assert: [{contains: y}, {contains: z}]}\n"
        b"- {id: c, input: x, threshold: 0.5, expected_keywords: [k],"
        b" assert: [{assert-set: [{contains: y}]}, {contains: z}]}\n"
        b"- {id: d, input: x, threshold: 0.5, assert: [{contains: y}, {contains: z}]}\n",
        file="s.yaml",
    )
    lost, keyed, nested, plain = yaml.safe_load(export_suite(suite, SuiteFormat.PROMPTFOO).text)["tests"]
    assert [test.get("threshold") for test in (lost, keyed, nested, plain)] == [None, None, None, 0.5]
    assert [one["type"] for one in lost["assert"]] == ["assert-set", "javascript"]
    assert [(one["type"], one.get("threshold")) for one in keyed["assert"]] == [
        ("icontains", None),
        ("assert-set", 0.5),
    ]
    assert nested["assert"][-1]["value"].startswith("false")


def test_a_case_that_promptfoo_can_say_in_full_loses_nothing():
    suite = parse_suite(b"- {id: a, input: x, assert: [{contains: y, weight: 2}, {llm-rubric: z}]}", file="s.yaml")
    exported = export_suite(suite, SuiteFormat.PROMPTFOO)
    (test,) = yaml.safe_load(exported.text)["tests"]
    assert exported.lost == ()
    assert test["vars"] == {"input": "x"}
    assert test["assert"] == [{"type": "contains", "value": "y", "weight": 2.0}, {"type": "llm-rubric", "value": "z"}]
    assert json.loads(json.dumps(test)) == test
