from __future__ import annotations

import re
from pathlib import Path

import pytest

from fairway.errors import ProjectFileError
from fairway.evals.assertions.kind import BadValueError, How, Threshold
from fairway.evals.assertions.registry import KINDS, UNSUPPORTED
from fairway.evals.assertions.section import parse_assertions, read_assertion
from fairway.evals.assertions.shorthand import read_shorthand
from fairway.mistakes import all_of
from fairway.yaml_file import parse_yaml

ROOT = Path(__file__).parents[4]


def parse(text: str):
    document = parse_yaml(text.encode(), file="suite.yaml")
    return parse_assertions(document, ("assert",), document.value["assert"])


def test_the_long_the_short_and_the_one_line_form_are_the_same_assertion():
    long, short, line = (
        parse("assert:\n  - {type: not-contains, value: refund}\n")[0],
        parse("assert:\n  - not-contains: refund\n")[0],
        parse("assert:\n  - 'not-contains: refund'\n")[0],
    )
    assert long == short == line
    assert (long.type, long.negated, long.value, long.name, long.line) == (
        "contains",
        True,
        "refund",
        "not-contains",
        2,
    )


def test_every_key_is_kept():
    found = parse("assert:\n  - {rouge-n: a b, n: 2, threshold: 0.4, weight: 3, metric: words, turn: every}\n")[0]
    assert (found.threshold, found.weight, found.metric) == (0.4, 3.0, "words")
    assert found.options == {"n": 2, "turn": "every"}
    assert found.value == ["a b"]


def test_a_set_holds_its_members_with_their_lines():
    found = parse(
        "assert:\n  - assert-set:\n      - contains: a\n      - {contains: b, weight: 2}\n    threshold: 0.5\n"
    )[0]
    assert (found.type, found.threshold, [one.line for one in found.members]) == ("assert-set", 0.5, [3, 4])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- {type: contain, value: x}", "suite.yaml:2:12: assert[0].type: 'contain' is no type of assertion"),
        ("- {type: not-containz, value: x}", "did you mean 'contains'?"),
        ("- containz", "did you mean 'contains'?"),
        ("- {type: javascript, value: 'true'}", "it runs JavaScript; write it as a python assertion"),
        ("- 'fn: output.length'", "javascript is not supported"),
        ("- {type: promptfoo:redteam:pii, value: x}", "red team"),
        ("- {type: contains}", "contains needs a 'value'"),
        ("- {type: contains, value: ''}", "suite.yaml:2:29: assert[0].value: must not be empty"),
        ("- {type: contains, value: true}", "expected text or a number; got true"),
        ("- {type: contains-all, value: []}", "at least one text"),
        ("- {type: contains-any, value: '\"a'}", "no closing quote"),
        (
            "- contains-all:\n      - a\n      - true",
            "suite.yaml:4:9: assert[0].contains-all[1]: expected text or a number",
        ),
        ("- {type: is-refusal, value: x}", "is-refusal takes no value"),
        ("- {type: contains, value: x, threshold: 0.5}", "contains takes no threshold"),
        ("- {type: rouge-n, value: x, threshold: 0}", "a threshold of 0 is reached by everything"),
        ("- {type: similar, value: x, threshold: 1.2}", "must be between 0 and 1"),
        ("- {type: rouge-n, value: x, threshold: 1.0e-9}", "a threshold of 0 is reached by everything"),
        ("- {type: word-count, value: {min: 0}}", "it would always hold"),
        ("- {'trajectory:tool-used': {name: f, min: 0}}", "it would always hold"),
        ("- {'trajectory:tool-used': {name: f, pattern: g}}", "either 'name' or 'pattern'"),
        ("- {'trajectory:step-count': {min: 0}}", "it would always hold"),
        (
            "- {'trajectory:tool-sequence': [{name: f, args: {x: 1}}]}",
            "assert[0].trajectory:tool-sequence[0].args: unknown key",
        ),
        ("- {'trajectory:tool-sequence': [{type: command, pattern: f}]}", "expected one of tool"),
        ("- {'trajectory:tool-args-match': {args: {}}}", "either 'name' or 'pattern'"),
        ("- {type: cost}", "cost needs a 'threshold'"),
        ("- {type: latency, threshold: -1}", "must be at least 0"),
        ("- {type: regex, value: '('}", "is not a regular expression"),
        ("- {type: contains, value: x, wieght: 2}", "assert[0].wieght: unknown key"),
        ("- {type: contains, value: x, wieght: 2}", "did you mean 'weight'?"),
        ("- {type: contains, value: x, weight: -1}", "assert[0].weight: must be between"),
        ("- {type: contains, value: x, metric: ''}", "the name of a metric"),
        ("- {type: contains, value: x, transform: output.trim()}", "transform: is not supported"),
        ("- {type: contains, value: x, turn: 0}", "assert[0].turn: must be between 1 and 100"),
        ("- {type: llm-rubric, value: x, turn: 1}", "looks at the whole conversation"),
        ("- {type: llm-rubric}", "expected a text"),
        ("- {type: choice, value: Which?}", "choice_scores"),
        ("- {type: is-json, value: {type: objekt}}", "is not a JSON schema"),
        ("- {type: is-json, value: {properties: {a: {format: nonsense}}}}", "assert[0].value.properties.a.format"),
        ("- {type: is-json, value: {$ref: 'https://example.com/x'}}", "nothing is fetched"),
        (
            "- {type: is-json, value: {properties: {a: {$ref: '#/$defs/b'}}}}",
            "there is nothing at #/$defs/b",
        ),
        ("- {type: is-json, value: {$schema: 'http://example.com/x'}}", "is not known"),
        ("- {type: is-json, value: {pattern: '('}}", "assert[0].value.pattern: is not a JSON schema"),
        ("- {type: tool-calls, value: [{name: f, argumens: {}}]}", "assert[0].value[0].argumens: unknown key"),
        ("- {type: state, value: {orders: 1}}", "expected a JSON pointer"),
        ("- {type: state, value: {/a: {$gte: null}}}", "assert[0].value./a.$gte"),
        ("- {type: state-hash, value: abc}", "expected a SHA-256"),
        ("- {type: python, value: 'return 1 +'}", "is not Python"),
        ("- {type: python, value: ../x.py}", "inside the project"),
        ("- {type: webhook, value: ftp://x}", "is not an http or https address"),
        ("- {type: webhook, value: 'https://ada:secret@example.com/'}", "holds credentials"),
        ("- {type: assert-set}", "needs 'assert'"),
        ("- {type: assert-set, assert: [{contains: x, weight: 0}]}", "would decide nothing"),
        ("- {type: assert-set, assert: [{containz: x}]}", "assert[0].assert[0]: needs a 'type'"),
        ("- {weight: 1}", "needs a 'type'"),
        ("- 3", "expected an assertion"),
        ("- {type: 3}", "expected the type of an assertion"),
    ],
)
def test_bad_input_names_file_line_key_and_what_to_write(text, said):
    with pytest.raises(ProjectFileError) as caught:
        parse(f"assert:\n  {text}\n")
    told = str(caught.value)
    assert said in told
    assert re.match(r"suite\.yaml:\d+:\d+: assert\[0\]", told)


@pytest.mark.parametrize(
    "item",
    [
        {"type": "rouge-n", "value": "x", "threshold": 10**400},
        {"type": "contains", "value": "x", "weight": 10**400},
        {"type": "state", "value": {"/a": {"$range": [0, 10**400]}}},
        {"type": "word-count", "value": 10**400},
    ],
)
def test_an_integer_of_json_that_no_float_holds_is_refused(item):
    with pytest.raises(BadValueError):
        read_assertion(item)


def test_every_mistake_of_a_list_is_told():
    with pytest.raises(ProjectFileError) as caught:
        parse("assert:\n  - containz: x\n  - is-json\n  - {contains: ''}\n  - {assert-set: [nope, equals]}\n")
    assert [error.line for error in all_of(caught.value)] == [2, 4, 5, 5]


@pytest.mark.parametrize("secret", ["ada:hunter2"])
def test_a_credential_in_an_address_is_not_repeated(secret):
    with pytest.raises(BadValueError) as caught:
        read_assertion({"webhook": f"https://{secret}@example.com/x"})
    assert "hunter2" not in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize(
    ("line", "item"),
    [
        ("is-json", {"type": "is-json"}),
        ("contains-any: a, b", {"type": "contains-any", "value": "a, b"}),
        ("not-similar(0.8):Hello: you", {"type": "not-similar", "threshold": 0.8, "value": "Hello: you"}),
        ("cost(0.01)", {"type": "cost", "threshold": 0.01}),
        ("grade: is polite", {"type": "llm-rubric", "value": "is polite"}),
        ("fn: output.length", {"type": "javascript", "value": "output.length"}),
        ("file://checks/a.py:f", {"type": "python", "value": "file://checks/a.py:f"}),
        ("trajectory:tool-used: f", {"type": "trajectory:tool-used", "value": "f"}),
        ("moderation", {"type": "moderation"}),
        ("The answer: 42", None),
        ("https://example.com", None),
        ("equality", None),
        ("", None),
    ],
)
def test_one_line_is_a_type_or_text_to_be_equal_to(line, item):
    assert read_shorthand(line) == item


def test_every_kind_says_how_it_is_decided():
    for name, kind in KINDS.items():
        assert (kind.check is not None) == (kind.how is How.CHECKED), name
        assert kind.summary, name
        assert name not in UNSUPPORTED
        if kind.threshold is Threshold.REQUIRED:
            assert "threshold" in kind.summary


def test_every_example_of_the_page_is_read_and_every_type_is_on_it():
    page = (ROOT / "docs/evals/assertions.md").read_text()
    blocks = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert len(blocks) == 4
    for block in blocks:
        text = block.partition("assert:\n")[2] if "cases:" in block else block
        indented = "".join(f"  {line}\n" for line in text.splitlines())
        assert parse(f"assert:\n{indented}")
    told = [name for name, kind in KINDS.items() if kind.how is not How.JUDGED and name != "similar:cosine"]
    assert [name for name in told if f"`{name}`" not in page and f"{name}:" not in page and name != "assert-set"] == []
