from __future__ import annotations

import json
from contextlib import suppress

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fairway.canonical import canonical_json
from fairway.errors import ProjectFileError
from fairway.evals.config import EvalsSection
from fairway.evals.suites.fingerprint import case_json
from fairway.evals.suites.load import DEFAULT_SUITES, load_suites, parse_suite, select_suites
from fairway.evals.values import ArgumentMatch, ExtraTools, TokenCount
from fairway.mistakes import all_of

SEED = [
    {
        "id": "TC001",
        "name": "order status",
        "system_prompt_version": "v1.2",
        "user_input": "Where is my order A-1?",
        "expected_behavior": "Looks the order up and says where it is.",
        "expected_tools": ["lookup_order"],
        "expected_response_keywords": ["shipped"],
        "forbidden_keywords": ["I am not sure"],
        "max_tokens_limit": 800,
    }
]

OWN = """\
suite: refunds
count_tokens: output
cases:
  - id: refund-1
    name: asks before it refunds
    input: Refund A-1
    expected_tools:
      - lookup_order
      - name: refund
        arguments: {order: A-1, amount: 20.0}
        match: exact
        tolerance: 0.01
        count: 2
    expected_keywords: [confirm]
    critical: true
    repeat: 3
    at_least: 2
    tags: [money]
    rule: Always ask before a refund.
  - id: refund-2
    conversation:
      - Hello
      - {role: user, content: Refund it}
    extra_tools: allow
    max_tokens: 500
    rubric: The reply is polite.
"""


def own(text: str):
    return parse_suite(text.encode(), file="evals/suites/x.yaml")


def test_the_seed_format_loads_as_it_is():
    suite = parse_suite(json.dumps(SEED).encode(), file="tests/prompt_test_cases.json")
    (case,) = suite.cases
    assert suite.name == "prompt_test_cases"
    assert case.turns == ("Where is my order A-1?",)
    assert case.expected_keywords == ("shipped",)
    assert case.forbidden_keywords == ("I am not sure",)
    assert case.max_tokens == 800
    assert case.prompt_version == "v1.2"
    assert case.rubric == "Looks the order up and says where it is."
    assert not case.rubric_required
    assert case.expected_tools is not None
    assert case.extra_tools is ExtraTools.ALLOW


@pytest.mark.parametrize("wrap", [lambda c: c, lambda c: {"cases": c}, lambda c: {"test_cases": c}])
@pytest.mark.parametrize("dump", [lambda v: json.dumps(v, indent="\t"), lambda v: yaml.safe_dump(v)])
def test_the_seed_format_loads_bare_or_wrapped_in_json_and_yaml(wrap, dump):
    text = dump(wrap(SEED))
    file = "t.json" if text.lstrip().startswith(("[\n", "{\n")) else "t.yaml"
    assert parse_suite(text.encode(), file=file).cases[0].id == "TC001"


def test_a_threshold_that_no_float_holds_is_refused():
    case = {"id": "a", "input": "hi", "threshold": 10**400, "assert": [{"contains": "x"}]}
    with pytest.raises(ProjectFileError, match="finite"):
        parse_suite(json.dumps({"cases": [case]}).encode(), file="t.json")


def test_empty_lists_and_nulls_of_the_seed_format_mean_no_check():
    sparse = [{"id": 7, "user_input": "hi", "expected_tools": None, "expected_response_keywords": None}]
    (case,) = parse_suite(json.dumps(sparse).encode(), file="t.json").cases
    assert (case.id, case.expected_tools, case.has_checks) == ("7", None, False)


def test_the_own_format_loads_with_everything_it_can_say():
    suite = own(OWN)
    first, second = suite.cases
    assert suite.name == "refunds"
    assert [tool.name for tool in first.expected_tools or ()] == ["lookup_order", "refund"]
    refund = (first.expected_tools or ())[1]
    assert (refund.match, refund.tolerance, refund.count) == (ArgumentMatch.EXACT, 0.01, 2)
    assert (first.critical, first.repeat, first.at_least, first.extra_tools) == (True, 3, 2, ExtraTools.FORBID)
    assert first.count_tokens is TokenCount.OUTPUT
    assert second.turns == ("Hello", "Refund it")
    assert second.rubric_required


def test_json_escapes_beyond_the_first_plane_are_kept():
    case = [{"id": "1", "user_input": "\U0001f600", "expected_response_keywords": ["\U0001f600"]}]
    assert parse_suite(json.dumps(case).encode(), file="t.json").cases[0].turns == ("\U0001f600",)


@pytest.mark.parametrize(
    ("text", "line", "column", "key", "says"),
    [
        ("cases:\n  - id: a\n    input: x\n    max_token: 5\n", 4, 5, "cases[0].max_token", "unknown key"),
        ("cases:\n  - id: a\n    expected_keywords: [b]\n", 2, 5, "cases[0]", "'input' and 'conversation'"),
        ("- input: x\n  expected_keywords: [b]\n", 1, 3, "[0].id", "is required and missing"),
        ("- id: a\n  input: x\n  expected_keywords: [no]\n", 3, 23, None, "different things"),
        ("- id: a\n  input: x\n  expected_keywords: [true]\n", 3, 23, "[0].expected_keywords[0]", "expected text"),
        ("- id: a\n  input: x\n  expected_keywords: [14]\n", 3, 23, "[0].expected_keywords[0]", "the number 14"),
        ("- id: a\n  input: x\n  expected_keywords: ['  ']\n", 3, 23, "[0].expected_keywords[0]", "empty keyword"),
        ("- id: a\n  input: x\n  max_tokens: 0\n", 3, 15, "[0].max_tokens", "must be at least 1"),
        ("- id: a\n  input: x\n  max_tokens: true\n", 3, 15, "[0].max_tokens", "whole number"),
        ("- id: a\n  input: x\n", 1, 3, "[0]", "checks nothing"),
        ("- {id: a, input: x, max_tokens: 5}\n- {id: a, input: y, max_tokens: 5}\n", 2, 8, "[1].id", "twice"),
        ("- id: a\n  id: b\n", 2, 3, None, "there twice"),
        ("- id: a\n  input: x\n  expected_tools: [{nam: f}]\n", 3, 21, "[0].expected_tools[0].nam", "unknown key"),
        ("- id: a\n  input: x\n  max_tokens: 5\n  at_least: 2\n", 4, 13, "[0].at_least", "more than repeat"),
        (
            "- id: a\n  input: x\n  expected_tools: [{name: f, arguments: 3}]\n",
            3,
            41,
            "[0].expected_tools[0].arguments",
            "mapping",
        ),
        ("case: []\n", 1, 1, "case", "unknown key"),
        ("cases: 3\n", 1, 8, "cases", "list of cases"),
        ("- just text\n", 1, 3, "[0]", "expected a case"),
        ("count_tokens: all\ncases: []\n", 1, 15, "count_tokens", "total, output"),
        ("- id: a\n  conversation: [{role: assistant, content: x}]\n", 2, 25, "[0].conversation[0].role", "only user"),
        ("a: [\n", 2, 1, None, "is not YAML"),
    ],
)
def test_an_error_names_file_line_column_and_key(text, line, column, key, says):
    with pytest.raises(ProjectFileError) as caught:
        own(text)
    error = caught.value
    assert (error.file, error.line, error.column, error.key) == ("evals/suites/x.yaml", line, column, key)
    assert says in str(error)


@pytest.mark.parametrize(
    ("text", "near"),
    [
        ("- {id: a, input: x, expected_keyword: [b]}", "expected_keywords"),
        ("- {id: a, user_input: x, expected_response_keyword: [b]}", "expected_response_keywords"),
        ("- {id: a, input: x, expected_tools: [{name: f, argument: {}}]}", "arguments"),
    ],
)
def test_a_misspelt_key_names_the_nearest_one(text, near):
    with pytest.raises(ProjectFileError) as caught:
        own(text)
    assert f"did you mean '{near}'?" in str(caught.value)


def test_json_errors_have_places_too():
    with pytest.raises(ProjectFileError) as caught:
        parse_suite(b'[\n\t{"id": "a",\n\t"user_inputs": "x"}]', file="t.json")
    assert (caught.value.line, caught.value.key) == (3, "[0].user_inputs")
    with pytest.raises(ProjectFileError) as caught:
        parse_suite(b'[{"id": "a",}]', file="t.json")
    assert (caught.value.line, caught.value.column) == (1, 13)


@pytest.mark.parametrize("content", [b"\xff\xfe", b'[{"id": "\\ud800", "user_input": "x"}]', b"[NaN]", b"[" * 99_999])
def test_what_is_not_text_or_json_is_a_project_file_error(content):
    with pytest.raises(ProjectFileError):
        parse_suite(content, file="t.json")


def test_aliases_that_unfold_into_gigabytes_are_refused_quickly():
    lines = ["a0: &a0 [x,x,x,x,x,x,x,x,x,x]"]
    lines += [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    with pytest.raises(ProjectFileError):
        own("\n".join(lines))


def test_an_empty_file_is_a_suite_without_cases():
    assert own("").cases == ()
    assert own("cases: []").cases == ()


def test_a_suite_without_a_case_is_refused_beside_others_too():
    content = {"a.yaml": b"cases: []", "b.yaml": b"- {id: a, input: x, max_tokens: 5}"}
    with pytest.raises(ProjectFileError, match=r"a\.yaml: there is no case in it"):
        load_suites(content, content.__getitem__, ["*.yaml"])


def test_the_mistakes_of_every_case_are_told_at_once_and_one_of_the_defaults_once():
    cases = "- {id: a, inptu: x}\n- {id: b, input: x, max_token: 5}\n- {id: b, input: x, max_tokens: 5}\n"
    with pytest.raises(ProjectFileError) as caught:
        own(cases + "- {id: b, input: y, max_tokens: 5}\n")
    assert [(one.line, one.key) for one in all_of(caught.value)] == [
        (1, "[0].inptu"),
        (2, "[1].max_token"),
        (4, "[3].id"),
    ]
    with pytest.raises(ProjectFileError) as caught:
        own("defaults: {input: '{{ a }}', variables: {a: ''}}\ncases: [{id: a, rubric: x}, {id: b, rubric: x}]")
    assert len(all_of(caught.value)) == len({str(one) for one in all_of(caught.value)})


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=10,
)
keys = (
    st.sampled_from(["id", "name", "input", "user_input", "conversation", "expected_tools", "expected_keywords"])
    | st.sampled_from(["max_tokens", "repeat", "forbidden_tools"])
    | st.sampled_from(["expected_response_keywords", "rubric", "tags", "critical", "extra_tools", "at_least", "x"])
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.dictionaries(keys, json_values, max_size=6), max_size=3) | json_values)
@example([{"id": "a", "input": "x", "expected_tools": [{"name": "f", "arguments": {"n": 2**60}}]}])
def test_any_document_is_a_suite_or_a_project_file_error(value):
    for text, file in ((json.dumps(value), "t.json"), (yaml.safe_dump(value, allow_unicode=True), "t.yaml")):
        try:
            suite = parse_suite(text.encode("utf-8", "surrogatepass"), file=file)
        except ProjectFileError:
            continue
        for case in suite.cases:
            canonical_json(case_json(case))


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_mutated_suite_is_a_suite_or_a_project_file_error(data):
    text = data.draw(st.sampled_from([OWN, json.dumps(SEED, indent=1)]))
    raw = bytearray(text.encode())
    for _ in range(data.draw(st.integers(1, 4))):
        index = data.draw(st.integers(0, len(raw) - 1))
        replacement = data.draw(
            st.binary(max_size=3) | st.sampled_from([b"\n", b": ", b"- ", b"{", b"*a", b"!!x ", b"&"])
        )
        raw[index : index + data.draw(st.integers(0, 5))] = replacement
    file = "t.yaml" if text is OWN else "t.json"
    with suppress(ProjectFileError):
        parse_suite(bytes(raw), file=file)


FILES = {
    "tests/prompt_test_cases.json": json.dumps(SEED).encode(),
    "evals/suites/b.yaml": OWN.encode(),
    "evals/suites/a.yaml": b"- {id: a, input: x, max_tokens: 5}",
    "evals/suites/deep/c.yaml": b"- {id: a, input: x, max_tokens: 5}",
    "evals/mock-llm.yaml": b"rules: []",
    "README.md": b"",
}


def test_suites_are_found_by_the_default_patterns_in_the_order_of_their_paths():
    suites = load_suites(reversed(FILES), FILES.__getitem__)
    assert [suite.name for suite in suites] == ["a", "refunds", "prompt_test_cases"]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("evals/suites/*.yaml", ["evals/suites/a.yaml", "evals/suites/b.yaml"]),
        ("evals/suites/**/*.yaml", ["evals/suites/a.yaml", "evals/suites/b.yaml", "evals/suites/deep/c.yaml"]),
        ("evals/suites/**", ["evals/suites/a.yaml", "evals/suites/b.yaml", "evals/suites/deep/c.yaml"]),
        ("./evals/suites/?.yaml", ["evals/suites/a.yaml", "evals/suites/b.yaml"]),
        ("evals/suitesXa.yaml*", []),
    ],
)
def test_patterns_select_as_shells_do(pattern, found):
    assert list(select_suites(FILES, [pattern])) == found


def test_a_suite_that_was_named_and_is_not_there_is_an_error_but_a_default_may_be_missing():
    assert load_suites([], FILES.__getitem__) == ()
    with pytest.raises(ProjectFileError, match=r"no suite evals/mine\.yaml"):
        load_suites(FILES, FILES.__getitem__, ["evals/mine.yaml"])


def test_two_suites_of_one_name_are_refused():
    files = {"evals/suites/a.yaml": OWN.encode(), "evals/suites/b.yaml": OWN.encode()}
    with pytest.raises(ProjectFileError, match="is also in"):
        load_suites(files, files.__getitem__)


def test_a_project_that_names_no_suites_looks_where_the_defaults_say():
    assert EvalsSection().suites == DEFAULT_SUITES


@pytest.mark.parametrize("levels", [100, 500, 900, 100_000])
def test_json_nested_deeper_than_a_suite_needs_is_refused(levels):
    text = '[{"id": "a", "input": "hi", "variables": {"v": ' + "[" * levels + "]" * levels + "}}]"
    with pytest.raises(ProjectFileError, match="nested"):
        parse_suite(text.encode(), file="t.json")
