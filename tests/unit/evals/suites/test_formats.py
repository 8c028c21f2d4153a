from __future__ import annotations

import json
import sys
import time
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairway.errors import ProjectFileError
from fairway.evals.suites.document import read_document
from fairway.evals.suites.files import SuiteFiles
from fairway.evals.suites.load import load_suites, parse_suite
from fairway.evals.values import Case, Suite, TokenCount
from fairway.yaml_file import parse_yaml


def suite(text: str, file: str = "evals/suites/s.yaml", **files: str) -> Suite:
    content = {path.replace("__", "/"): text.encode() for path, text in files.items()}
    return parse_suite(text.encode(), file=file, files=SuiteFiles(read=content.__getitem__, known=content))


def one(text: str, file: str = "evals/suites/s.yaml") -> Case:
    (case,) = suite(text, file).cases
    return case


def refused(text: str, file: str = "evals/suites/s.yaml") -> ProjectFileError:
    with pytest.raises(ProjectFileError) as caught:
        suite(text, file)
    return caught.value


# -- keys -----------------------------------------------------------------------------------------------------------


def test_assertions_are_read_with_their_lines():
    case = one("- id: a\n  input: x\n  assert:\n    - contains: refund\n    - type: not-regex\n      value: sorry\n")
    assert [(each.name, each.value, each.line) for each in case.assertions] == [
        ("contains", "refund", 4),
        ("not-regex", "sorry", 5),
    ]


def test_a_mistake_in_an_assertion_names_file_line_and_key():
    error = refused("- id: a\n  input: x\n  assert:\n    - type: containz\n      value: refund\n")
    assert (error.file, error.line, error.key) == ("evals/suites/s.yaml", 4, "[0].assert[0].type")
    assert "did you mean 'contains'?" in str(error)


def test_every_mistake_of_a_case_is_told_at_once():
    error = refused("- id: a\n  input: 3\n  max_tokens: many\n  tag: [x]\n  assert: [{contains: y}]\n")
    for place in ("2:10: [0].input", "3:15: [0].max_tokens", "4:3: [0].tag"):
        assert place in str(error)


@pytest.mark.parametrize(
    ("rule", "needed"), [("", 4), (", at_least: 2", 2), (", at_least: any", 1), (", at_least: majority", 3)]
)
def test_a_pass_rule_says_how_many_repeats_must_pass(rule, needed):
    case = one(f"- {{id: a, input: x, max_tokens: 5, repeat: 4{rule}}}")
    assert (case.repeat, case.at_least) == (4, needed)


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ("max_tokens: 5, at_least: most", "expected a whole number or one of all, any, majority"),
        ("max_tokens: 5, repeat: 101", "at most 100"),
        ("max_tokens: 5, repeat: 3, max_repeat: 2", "less than repeat"),
        ("max_tokens: 5, threshold: 0.5", "needs an assert list"),
        ("assert: [{contains: x}], threshold: 0", "above 0"),
        ("assert: [{contains: x}], threshold: 1.1", "above 0 and at most 1"),
        ("assert: [{contains: x, weight: 0}]", "checks nothing"),
        ("assert: []", "checks nothing"),
        ("assert: {contains: x}", "expected a list of assertions"),
        ("assert: [{contains: x}], conversation: [y]", "needs one of"),
        ("assert: [{contains: x}], expected_tools: [{name: f, arguments: {a: {$regx: x}}}]", "$reg"),
        ("assert: [{contains: x}], variables: [a]", "expected a mapping"),
        ("assert: [{contains: x}], input_file: y", "needs one of"),
    ],
)
def test_a_key_that_cannot_mean_anything_is_refused(keys, says):
    assert says in str(refused(f"- {{id: a, input: x, {keys}}}"))


# -- defaults -------------------------------------------------------------------------------------------------------

DEFAULTS = """\
defaults:
  tags: [chat]
  forbidden_keywords: [sorry]
  repeat: 3
  critical: true
  variables: {shop: Harbour, lang: en}
  assert:
    - not-contains: "{{ shop }} Ltd"
cases:
  - id: a
    input: Hello
    tags: [smoke, chat]
    forbidden_keywords: [maybe]
    variables: {lang: de}
    critical: false
    assert: [{contains: "{{ lang }}"}]
  - {id: b, input: "Hi {{ shop }}"}
"""


def test_defaults_are_merged_into_each_case_lists_add_up_and_the_rest_is_the_cases_own():
    first, second = suite(DEFAULTS).cases
    assert first.tags == ("chat", "smoke")
    assert first.forbidden_keywords == ("sorry", "maybe")
    assert (first.repeat, first.critical, first.variables) == (3, False, {"shop": "Harbour", "lang": "de"})
    assert [(each.name, each.value) for each in first.assertions] == [
        ("not-contains", "Harbour Ltd"),
        ("contains", "de"),
    ]
    assert (second.critical, second.turns, len(second.assertions)) == (True, ("Hi Harbour",), 1)


def test_defaults_may_hold_the_input_as_a_template():
    text = "defaults: {input: 'Translate {{ text }}', max_tokens: 9}\ncases: [{id: a, variables: {text: moon}}]"
    assert one(text).turns == ("Translate moon",)
    assert one(text.replace("variables: {text: moon}", "input: plain")).turns == ("plain",)


@pytest.mark.parametrize(
    ("defaults", "key", "says"),
    [
        ("{tag: [x]}", "defaults.tag", "did you mean 'tags'?"),
        ("{id: x}", "defaults.id", "unknown key"),
        ("{repeat: 0}", "defaults.repeat", "at least 1"),
        ("{assert: [{containz: x}]}", "defaults.assert[0]", "contains"),
        ("[x]", "defaults", "mapping"),
    ],
)
def test_a_mistake_in_defaults_names_its_place(defaults, key, says):
    error = refused(f"defaults: {defaults}\ncases: []")
    assert (error.line, error.key) == (1, key)
    assert says in str(error)


def test_a_mistake_in_defaults_that_shows_only_when_filled_in_names_the_defaults():
    error = refused("defaults:\n  assert: [{regex: '{{ p }}'}]\ncases: [{id: a, input: x, variables: {p: '('}}]")
    assert (error.line, error.key) == (2, "defaults.assert[0].regex")


# -- variables ------------------------------------------------------------------------------------------------------


def test_variables_are_filled_into_every_text_but_never_into_what_a_variable_holds():
    case = one("""\
- id: "{{ n }}"
  input: "{{ n }} of {{ order.id }}: {{ text }}"
  variables: {n: 3, order: {id: A-1}, text: "{{ n }}", list: [a, b], "on": true}
  expected_keywords: ["{{ n }}"]
  rubric: "Speaks of {{ list }} and {{ on }}"
  expected_tools: [{name: "get_{{ n }}", arguments: {n: "{{ n }}", all: "{{ list }}", note: "n={{ n }}"}}]
  assert: [{contains-any: "{{ list }}"}, {equals: "{{ n }}"}]
""")
    assert case.id == "{{ n }}"
    assert case.turns == ("3 of A-1: {{ n }}",)
    assert case.expected_keywords == ("3",)
    assert case.rubric == 'Speaks of ["a", "b"] and true'
    assert [(each.name, each.arguments) for each in case.expected_tools or ()] == [
        ("get_3", {"n": 3, "all": ["a", "b"], "note": "n=3"})
    ]
    assert case.assertions[0].value == ["a", "b"]


def test_filters_and_conditions_are_filled_in_by_the_sandbox():
    text = "- {id: a, max_tokens: 9, variables: {n: ada, l: [1, 2]}, input: '%s'}"
    assert one(text % '{% if l %}{{ n | upper }}{% endif %}{{ l | join("+") }}').turns == ("ADA1+2",)


@pytest.mark.parametrize(
    "template",
    ["{{ m }}", "{{ n.x }}", "{{ n", "{% if n %}", "{{ n | nosuch }}", "{{ m | upper }}", "{{ ''.__class__ }}"],
)
def test_a_template_that_cannot_be_filled_in_names_its_place(template):
    error = refused(f'- id: a\n  input: "x{template}"\n  max_tokens: 9\n  variables: {{n: ada}}\n')
    assert (error.line, error.key) == (2, "[0].input")


def test_braces_are_text_in_a_case_without_variables():
    assert one("- {id: a, input: 'Say {{ name }}', max_tokens: 9}").turns == ("Say {{ name }}",)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(["a", "b"]), st.text(max_size=20), min_size=1))
def test_whatever_a_variable_holds_arrives_as_it_is(variables):
    item = {"id": "x", "input": "<{{ a }}>", "max_tokens": 9, "variables": {"a": "", **variables}}
    text = json.dumps([item])
    assert one(text, "s.json").turns == (f"<{variables.get('a', '')}>",)


# -- tables of cases ------------------------------------------------------------------------------------------------

TABLE = """\
- id: status
  name: Status
  input: "Where is {{ order }}?"
  expected_keywords: ["{{ word }}"]
  for:
    - {order: A-1, word: shipped}
    - {order: B 2, word: lost, id: lost}
    - {order: [x], word: late}
"""


def test_a_table_makes_one_case_a_row_in_one_family_with_ids_of_their_own_content():
    cases = suite(TABLE).cases
    assert [case.id for case in cases] == [
        "status@order=A-1,word=shipped",
        "status@lost",
        "status@ba1fcb4c4b",
    ]
    assert {case.family for case in cases} == {"status"}
    assert [case.turns[0] for case in cases[:2]] == ["Where is A-1?", "Where is B 2?"]
    assert cases[1].expected_keywords == ("lost",)
    assert {case.line for case in cases} == {1}


def test_a_row_that_is_added_renames_no_other():
    fewer = suite(TABLE.replace("    - {order: A-1, word: shipped}\n", "")).cases
    assert [case.id for case in fewer] == [case.id for case in suite(TABLE).cases[1:]]


def test_a_mapping_of_lists_is_every_combination():
    text = "- {id: a, input: '{{ x }}{{ y }}', max_tokens: 9, for: {x: [p, q], y: [1, 2]}}"
    assert [case.turns[0] for case in suite(text).cases] == ["p1", "p2", "q1", "q2"]


@settings(deadline=None)
@given(
    st.lists(
        st.dictionaries(
            st.sampled_from("ab"), st.none() | st.booleans() | st.integers(0, 3) | st.text(max_size=3), min_size=1
        ),
        min_size=2,
        max_size=6,
    )
)
def test_rows_that_differ_have_ids_that_differ(rows):  # {"a": 1, "b": 2} and {"b": 2, "a": 1} do not
    distinct = {json.dumps(row, sort_keys=True) for row in rows}
    text = json.dumps([{"id": "x", "input": "y", "max_tokens": 9, "for": rows}])
    if len(distinct) == len(rows):
        assert len({case.id for case in suite(text, "s.json").cases}) == len(rows)
    else:
        assert "there twice" in str(refused(text, "s.json"))


def test_a_number_and_the_text_of_it_are_different_rows():
    text = "- {id: a, input: x, max_tokens: 9, for: [{v: 1}, {v: '1'}, {v: true}, {v: 'true'}, {v: 'b=c,d'}, {v: ''}]}"
    assert len({case.id for case in suite(text).cases}) == 6


@pytest.mark.parametrize(
    "table", ["[]", "{}", "3", "[x]", "[{}]", "{a: []}", "{a: x}", "[{id: x, a: 1}, {id: x, a: 2}]"]
)
def test_a_table_that_makes_no_cases_is_refused_with_its_place(table):
    error = refused(f"- id: a\n  input: x\n  max_tokens: 9\n  for: {table}\n")
    assert error.line == 4
    assert (error.key or "").startswith("[0].for")


# -- files ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["input: file://../data/long.txt", "input_file: ../data/long.txt"])
def test_an_input_may_stand_in_a_file_of_the_project(key):
    text = f"- {{id: a, {key}, max_tokens: 9, variables: {{n: Ada}}}}"
    found = suite(text, evals__data__long_txt="", **{"evals/data/long.txt": "Dear {{ n }},\r\nhello\n"})
    assert found.cases[0].turns == ("Dear Ada,\nhello",)


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("../../../etc/passwd", "leads out of the project"),
        ("/etc/passwd", "leads out of the project"),
        ("missing.txt", "there is no file evals/suites/missing.txt"),
        ("empty.txt", "is empty"),
        ("bytes.txt", "not UTF-8"),
    ],
)
def test_a_file_that_cannot_be_an_input_is_refused_with_its_place(path, says):
    content = {"evals/suites/empty.txt": b" \n", "evals/suites/bytes.txt": b"\xff"}
    text = f"- id: a\n  input: file://{path}\n  max_tokens: 9\n"
    with pytest.raises(ProjectFileError, match=says) as caught:
        parse_suite(
            text.encode(), file="evals/suites/s.yaml", files=SuiteFiles(read=content.__getitem__, known=content)
        )
    assert (caught.value.line, caught.value.key) == (2, "[0].input")


# -- JSONL ----------------------------------------------------------------------------------------------------------


def test_a_case_a_line_is_a_suite_with_the_lines_of_its_cases():
    lines = ['{"id": "a", "input": "x", "max_tokens": 9}', "", '{"id": "b", "user_input": "y"}']
    found = suite("\ufeff" + "\r\n".join(lines), "evals/suites/many.jsonl")
    assert (found.name, [(case.id, case.line) for case in found.cases]) == ("many", [("a", 1), ("b", 3)])


@pytest.mark.parametrize(
    ("line", "place", "says"),
    [
        ('{"id": "a" "input": "x"}', (2, 12), "is not JSON"),
        ('{"id": "a"} {"id": "b"}', (2, 12), "more than one value"),
        ('{"id": "a", "id": "b"}', (2, None), "'id' is there twice"),
        ('{"id": "a", "input": NaN}', (2, None), "NaN"),
        ("[" * 3000, (2, None), "nested"),
        ("[" * 100 + "]" * 100, (2, None), "nested deeper than 64"),
        ("[" * 900 + "]" * 900, (2, None), "nested"),
        ('"just text"', (2, 1), "expected a case"),
        ('{"id": "a", "input": "x", "max_token": 9}', (2, 1), "did you mean 'max_tokens'?"),
        ('{"id": "ok", "input": "x", "max_tokens": 9}', (2, 1), "there twice"),
        ('{"id": "a", "input": "\\ud800", "max_tokens": 9}', (2, 1), "surrogate"),
    ],
)
def test_a_line_that_is_no_case_is_refused_with_its_place(line, place, says):
    error = refused('{"id": "ok", "input": "x", "max_tokens": 9}\n' + line, "s.jsonl")
    assert (error.line, error.column) == place
    assert says in str(error)


def test_a_line_that_is_not_utf8_names_its_line():
    with pytest.raises(ProjectFileError, match="not UTF-8") as caught:
        parse_suite(b"\n\xff", file="s.jsonl")
    assert (caught.value.line, caught.value.column) == (2, 1)


# -- CSV ------------------------------------------------------------------------------------------------------------

OWN_TABLE = """\
id,name,input,expected_keywords,forbidden_tools,max_tokens,critical,repeat,at_least,tags,variables.city,assert
a,"First, one",Where is it?,order; shipped,drop,90,yes,3,majority,x;y,Oslo,"[{""contains"": ""{{ city }}""}]"

b,,"two
lines","[""a;b""]",,,,,,,,
"""


def test_a_table_with_fairways_columns_is_a_suite():
    first, second = suite(OWN_TABLE, "evals/suites/t.csv").cases
    assert (first.name, first.expected_keywords, first.forbidden_tools) == (
        "First, one",
        ("order", "shipped"),
        ("drop",),
    )
    assert (first.max_tokens, first.critical, first.repeat, first.at_least, first.tags) == (90, True, 3, 2, ("x", "y"))
    assert (first.variables, first.assertions[0].value) == ({"city": "Oslo"}, "Oslo")
    assert (second.turns, second.expected_keywords, second.line) == (("two\nlines",), ("a;b",), 4)


def test_a_table_in_the_seed_format_is_read_as_it_is():
    case = one(
        "id,user_input,expected_behavior,expected_response_keywords,max_tokens_limit\n1,hi,greets,hello,90\n", "t.csv"
    )
    assert (case.id, case.rubric, case.rubric_required, case.expected_keywords) == ("1", "greets", False, ("hello",))


PROMPTFOO_TABLE = """\
input,lang,__expected,__expected2,__description,__metric,__threshold,__metadata:topic,__prefix,__critical,__config:__expected2:threshold
Hello,de,contains: Hallo,similar: Hallo Welt,greets,style,0.5,small talk,"Say: ",true,0.9
Bye,fr,au revoir,,,,,,,,
"""


def test_a_table_with_expected_columns_reads_as_promptfoo_does():
    first, second = suite(PROMPTFOO_TABLE, "t.csv").cases
    assert (first.turns, first.variables, first.name) == (("Say: Hello",), {"input": "Hello", "lang": "de"}, "greets")
    assert [(each.name, each.value, each.threshold, each.metric) for each in first.assertions] == [
        ("contains", "Hallo", None, "style"),
        ("similar", ["Hallo Welt"], 0.9, "style"),
    ]
    assert (first.threshold, first.tags, first.critical) == (0.5, ("topic=small talk",), True)
    assert [(each.name, each.value) for each in second.assertions] == [("equals", "au revoir")]
    assert second.id.startswith("row-")


def test_a_row_without_an_id_keeps_the_one_it_has_wherever_it_stands():
    lines = ["input,max_tokens", "x,9", "y,9", "x,9"]
    first = [case.id for case in suite("\n".join(lines), "t.csv").cases]
    assert len(set(first)) == 3
    assert first[2] == f"{first[0]}-2"
    assert [case.id for case in suite("\n".join([lines[0], *lines[2:]]), "t.csv").cases] == [first[1], first[0]]


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_the_separator_is_found_in_the_first_line(mark):
    text = mark.join(["id", "input", "max_tokens"]) + "\n" + mark.join(["a", "x, y", "9"]).replace("x, y", '"x, y"')
    assert one(text, "t.csv").turns == ("x, y",)


@pytest.mark.parametrize(
    ("text", "line", "key", "says"),
    [
        ("id,input,max_token\na,x,9", 1, "column 3", "did you mean 'max_tokens'?"),
        ("id,input,id\na,x,b", 1, "column 3", "there twice"),
        ("id,input,__expected,_metric\na,x,y,z", 1, "column 4", "did you mean '__metric'?"),
        ("id,input,__expected,__metrics\na,x,y,z", 1, "column 4", "did you mean '__metric'?"),
        ("id,input,__expected,expected_keywords\na,x,y,z", 1, "column 4", "would check nothing here"),
        ("id,input,max_tokens\na,x,9,10", 2, None, "has 4 cells"),
        ("id,input,max_tokens\n\na,x,nine", 3, "max_tokens", "expected a whole number"),
        ("id,input,max_tokens,critical\na,x,9,perhaps", 2, "critical", "true or false"),
        ("id,input,assert\na,x,[{]", 2, "assert", "is not JSON"),
        ("input,__expected\nx,containz: a", 2, "__expected", "did you mean 'contains'?"),
        ("input,__expected\nx,javascript: output.length", 2, "__expected", "JavaScript is not run"),
        ("input,__expected\nx,file://check.js", 2, "__expected", "is not Python"),
        ("input,__expected\nx,latency: fast", 2, None, "threshold"),
        ("q,__expected\nx,y", 2, None, "a column input; or a YAML suite"),
        ("q,__expected,__prefix\nx,y,z", 2, "__prefix", "needs an input"),
        ("id,input,max_tokens\na,x,9\na,y,9", 3, "id", "twice"),
        ('id,input,max_tokens\na,"x"y,9', 2, None, "is not CSV"),
        ('id,input,max_tokens\na,"x,9', 2, None, "is not CSV"),
    ],
)
def test_a_table_that_cannot_be_read_names_row_and_column(text, line, key, says):
    error = refused(text, "t.csv")
    assert (error.file, error.line) == ("t.csv", line)
    assert key is None or error.key == key
    assert says in str(error)


@settings(deadline=None)
@given(st.text(alphabet='ab,"\n\r;_\x00 {', max_size=60), st.sampled_from(["t.csv", "t.tsv", "t.jsonl"]))
def test_any_table_is_a_suite_or_a_project_file_error(text, file):
    for head in ("", "id,input,max_tokens\n", "input,__expected\n"):
        with suppress(ProjectFileError):
            parse_suite((head + text).encode(), file=file)


def test_a_suite_may_take_its_cases_from_a_table_which_then_is_no_suite_of_its_own():
    content = {
        "evals/suites/a.csv": b"order,__expected\nA-1,contains: shipped\n",
        "evals/suites/s.yaml": b"count_tokens: output\ndefaults: {input: 'Where is {{ order }}?'}\ncases: a.csv\n",
    }
    (found,) = load_suites(content, content.__getitem__)
    assert (found.name, found.cases[0].turns) == ("s", ("Where is A-1?",))
    assert found.cases[0].count_tokens is TokenCount.OUTPUT
    with pytest.raises(ProjectFileError, match=r"s\.yaml:3:8: cases: there is no file evals/suites/b\.csv"):
        load_suites(content, lambda path: content[path].replace(b"a.csv", b"b.csv"))


# -- how much it costs ----------------------------------------------------------------------------------------------


def test_a_suite_of_7000_lines_loads_in_a_few_seconds_and_in_little_memory():
    line = (
        '{"id": "c%d", "input": "Where is order %d?", "expected_keywords": ["order"], "assert": [{"contains": "x"}]}\n'
    )
    content = "".join(line % (number, number) for number in range(7_000)).encode()
    began = time.process_time()
    found = parse_suite(content, file="s.jsonl")
    # 0.03 ms a case on the machine it was written on; the bound is for the slowest that runs this
    assert time.process_time() - began < 20
    sizes = [
        sys.getsizeof(case) + sum(map(sys.getsizeof, (case.id, case.turns, case.turns[0]))) for case in found.cases
    ]
    assert sum(sizes) / len(sizes) < 1000


json_trees = st.recursive(
    st.none() | st.booleans() | st.integers(-99, 99) | st.text(alphabet='a"\\{[,]}:\n é', max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(alphabet='ab"\\é', max_size=3), inner, max_size=3)
    ),
    max_leaves=12,
)


@settings(deadline=None)
@given(json_trees, st.sampled_from([None, 1, "\t"]))
def test_the_places_of_lists_and_objects_in_json_are_those_the_exact_reader_gives(tree, indent):
    text = json.dumps(tree, indent=indent, ensure_ascii=False)
    document = read_document(text.encode(), file="x.json")
    exact = parse_yaml(text.replace("\t", " ").encode(), file="x.json")
    for path, place in exact.values.items():
        assert document.position(path) == place
        assert document.position(path, of_key=True) == exact.position(path, of_key=True)
