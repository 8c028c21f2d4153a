from __future__ import annotations

import pytest

from fairway.bundle.lint import LintFinding, Severity
from fairway.evals.suites.lint import Surroundings, fewest_cases, lint_suites
from fairway.evals.suites.lint_files import lint_files
from fairway.evals.suites.load import parse_suite

QUIET = ("suite/too-few",)
JUDGED = Surroundings(judge=True)
SEED = '[{"id": "a", "user_input": "hello", "expected_behavior": "greets"}]'


def lint(text: str, around: Surroundings = JUDGED, *, file: str = "evals/s.yaml") -> list[LintFinding]:
    found = lint_suites([parse_suite(text.encode(), file=file)], around)
    return [one for one in found if one.rule not in QUIET]


def case(keys: str) -> str:
    return "- {id: a, input: Where is it?, " + keys + "}"


@pytest.mark.parametrize(
    ("text", "rule", "severity", "says"),
    [
        (case("assert: [{regex: '.*'}]"), "always-holds", "error", "holds for every reply"),
        (case("assert: [{not-regex: 'x?'}]"), "never-holds", "error", "holds for no reply"),
        (case("expected_keywords: [order], assert: [{contains: x, weight: 0}]"), "weightless", "warning", "weight 0"),
        (case("expected_keywords: [refunded], forbidden_keywords: [refund]"), "contradiction", "error", "part of it"),
        (case("assert: [{contains: refunded}, {not-contains: refund}]"), "contradiction", "error", "part of it"),
        (case("assert: [{contains-all: [a refund]}], forbidden_keywords: [REFUND]"), "contradiction", "error", "part"),
        (case("assert: [{equals: a}, {equals: b}]"), "contradiction", "error", "different texts"),
        (case("expected_tools: [f], forbidden_tools: [f]"), "contradiction", "error", "the tool 'f'"),
        (case("expected_tools: [], assert: [{tool-calls: [f]}]"), "contradiction", "error", "allows no tool call"),
        (case("expected_keywords: [where is]"), "keyword-in-input", "warning", "repeats the question"),
        (case("assert: [{icontains: IT?}]"), "keyword-in-input", "warning", "repeats the question"),
        (case("max_tokens: 1"), "unreachable", "error", "its own input"),
        (case("expected_keywords: [x], critical: true, repeat: 5, at_least: 2"), "weak-rule", "warning", "2 of 5"),
        (case("rubric: polite, critical: true"), "critical-by-judge", "warning", "nothing but a judge"),
        (case("rubric: polite"), "only-judged", "warning", "by a judge alone"),
        (case("assert: [{factuality: Paris}]"), "only-judged", "warning", "by a judge alone"),
        (case("expected_keywords: ['{{ shop }}']"), "literal-template", "warning", "sent as it stands"),
        (case("assert: [{todo: 'javascript output.length'}]"), "todo", "error", "javascript output.length"),
        (case("expected_keywords: [x], family: f"), "family-of-one", "warning", "alone in its family"),
    ],
)
def test_a_case_that_says_less_than_it_seems_is_told_with_its_line(text, rule, severity, says):
    found = {one.rule: one for one in lint("# a comment\n" + text)}
    one = found[f"suite/{rule}"]
    assert (one.severity, one.file, one.line) == (Severity(severity), "evals/s.yaml", 2)
    assert says in one.message


@pytest.mark.parametrize(
    "keys",
    [
        "expected_keywords: [order]",
        "assert: [{regex: '^A-[0-9]+$'}]",
        "assert: [{not-contains: sorry}], expected_keywords: [shipped]",
        "assert: [{contains: refund}, {not-contains: refunded}]",
        "assert: [{assert-set: [{contains: a}, {not-contains: a}], threshold: 0.5}]",
        "assert: [{contains: a}, {not-contains: a}], threshold: 0.5",
        "expected_tools: [f], forbidden_tools: [g]",
        "rubric: polite, expected_keywords: [order]",
        "critical: true, repeat: 3, forbidden_tools: [refund]",
        "max_tokens: 400",
        "expected_tools: [], assert: [{not-tool-calls: [f]}, {tool-calls: {forbidden: [g]}}]",
        "expected_keywords: [where is, shipped]",
        "expected_keywords: [where is], expected_tools: [f]",
        "expected_keywords: [where is], assert: [{regex: A-1}]",
    ],
)
def test_a_sound_case_has_no_finding(keys):
    assert lint(case(keys)) == []


def test_tools_that_are_not_declared_are_told_with_the_nearest_name():
    around = Surroundings(judge=True, tools=("lookup_order", "refund"))
    text = case("expected_tools: [lookup_ordr], forbidden_tools: [refnd], assert: [{tool-calls: {forbidden: [drop]}}]")
    found = lint(text, around)
    assert [one.rule for one in found] == ["suite/unknown-tool"] * 3
    assert "did you mean 'lookup_order'?" in [one.hint for one in found]
    assert lint(text, JUDGED) == []
    assert lint(case("assert: [{not-tool-calls: [refund]}]"), around) == []


def test_without_a_judge_a_rubric_is_an_error_and_so_is_documentation_that_alone_would_pass():
    nobody = Surroundings()
    assert [one.rule for one in lint(case("rubric: polite, expected_keywords: [x]"), nobody)] == ["suite/no-judge"]
    assert [one.rule for one in lint(case("rubric: polite"), nobody)] == ["suite/no-judge"]
    assert [one.rule for one in lint(case("assert: [{factuality: x}, is-json]"), nobody)] == ["suite/no-judge"]
    assert [one.rule for one in lint(SEED, nobody, file="t.json")] == ["suite/no-checks"]


def test_similar_without_an_embedding_endpoint_is_an_error():
    text = case("assert: [{assert-set: [{similar: y}]}]")
    assert [one.rule for one in lint(text, Surroundings(judge=True, embeddings=False))] == ["suite/no-embeddings"]
    assert lint(text) == []


def test_a_prompt_version_that_nobody_serves_is_told():
    text = case("expected_keywords: [x], system_prompt_version: v1.2.0")
    assert lint(text, Surroundings(judge=True, prompt_versions={"1.2.0"})) == []
    (one,) = lint(text, Surroundings(judge=True, prompt_versions={"1.3.0"}))
    assert one.rule == "suite/prompt-version"


def test_the_same_case_under_another_id_is_a_duplicate():
    text = "- {id: a, input: x, max_tokens: 50}\n- {id: b, name: other, input: x, max_tokens: 50}\n"
    (one,) = lint(text)
    assert (one.rule, one.line) == ("suite/duplicate", 2)
    assert lint(text.replace("id: b, name: other, input: x", "id: b, input: y")) == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("expected_keywords: [refund]", "forbidden_keywords: [refund]"),
        ("expected_tools: [f]", "forbidden_tools: [f]"),
        ("expected_tools: []", "expected_tools: [f]"),
    ],
)
def test_two_cases_that_ask_the_same_and_cannot_both_pass_contradict_each_other(one, other):
    text = f"- {{id: a, input: x, {one}}}\n- {{id: b, input: x, {other}}}\n"
    assert [found.rule for found in lint(text)] == ["suite/contradiction"]
    assert lint(text.replace("id: b, input: x", "id: b, input: y")) == []


def test_too_few_cases_for_the_margin_are_told_with_the_number_that_is_needed():
    assert (fewest_cases(0.05, 0.05), fewest_cases(0.05, 0.04), fewest_cases(0.02, 0.04)) == (59, 63, 160)
    lines = [f"- {{id: c{n}, input: question {n}, max_tokens: 90}}\n" for n in range(63)]
    suite = parse_suite("".join(lines).encode(), file="s.yaml")
    assert lint_suites([suite], JUDGED) == ()
    few = parse_suite("".join(lines[:62]).encode(), file="s.yaml")
    (one,) = lint_suites([few], JUDGED)
    assert one.rule == "suite/too-few"
    assert "62 independent cases" in one.message
    assert "63 are the fewest" in one.message


def test_cases_of_one_family_count_once():
    text = "- {id: a, input: '{{ n }}', max_tokens: 90, for: {n: [" + ",".join(f"x{n}" for n in range(80)) + "]}}"
    (one,) = lint_suites([parse_suite(text.encode(), file="s.yaml")], JUDGED)
    assert one.message.startswith("1 independent cases")


# -- files ----------------------------------------------------------------------------------------------------------


def files(content: dict[str, str], around: Surroundings = JUDGED) -> list[tuple[str, str | None, int | None]]:
    found = lint_files(content, lambda path: content[path].encode(), ["evals/*"], around)
    return [(one.rule, one.file, one.line) for one in found if one.rule not in QUIET]


def test_a_suite_that_cannot_be_read_is_a_finding_for_each_mistake_and_the_others_are_still_looked_at():
    broken = "- {id: a, input: x, max_token: 5}\n- {id: b, inputs: y}\n"
    content = {"evals/a.yaml": broken, "evals/b.yaml": "- {id: a, input: x, rubric: y}"}
    assert files(content) == [
        ("suite/invalid", "evals/a.yaml", 1),
        ("suite/invalid", "evals/a.yaml", 2),
        ("suite/only-judged", "evals/b.yaml", 1),
    ]


@pytest.mark.parametrize(
    ("name", "text"), [("a.yaml", "cases: []"), ("a.yaml", ""), ("a.csv", "id,input"), ("a.jsonl", "")]
)
def test_a_suite_without_a_case_is_an_error_and_not_found_clean(name: str, text: str):
    content = {f"evals/{name}": text, "evals/b.yaml": "- {id: a, input: x, expected_keywords: [y]}"}
    assert files(content) == [("suite/invalid", f"evals/{name}", None)]


def test_a_secret_in_a_suite_is_an_error_that_does_not_repeat_it():
    secret = "sk-" + "a1B2" * 10
    content = {"evals/a.yaml": f"# one\n- {{id: a, input: use {secret}, max_tokens: 90}}\n"}
    assert files(content) == [("suite/secret", "evals/a.yaml", 2)]
    (one, _) = lint_files(content, lambda path: content[path].encode(), ["evals/*"], JUDGED)
    assert secret not in repr(one)


UNUSED = """\
defaults:
  variables: {shop: Harbour, city: Oslo}
cases:
  - id: a
    input: Hello {{ shop }} {{ order.id | upper }}
    variables: {order: {id: a}, lang: de}
    max_tokens: 90
  - id: b
    input: Hello {{ name }}
    for: [{name: Ada, age: 3}]
    max_tokens: 90
"""


def test_variables_that_nothing_reads_are_told_where_they_stand_unless_a_prompt_reads_them():
    found = {line for rule, _, line in files({"evals/a.yaml": UNUSED}) if rule == "suite/unused-variable"}
    assert found == {2, 6, 10}
    read = Surroundings(judge=True, prompt_variables=("lang", "city", "age"))
    assert not [one for one in files({"evals/a.yaml": UNUSED}, read) if one[0] == "suite/unused-variable"]


def test_two_suites_of_one_name_are_an_error():
    text = "suite: s\ncases: [{id: a, input: x, max_tokens: 90}]"
    assert ("suite/invalid", "evals/b.yaml", None) in files({"evals/a.yaml": text, "evals/b.yaml": text})
