from __future__ import annotations

import json

import pytest

from fairway.errors import ProjectFileError
from fairway.evals.judges.calibration_set import CalibrationItem, calibration_digest, load_calibration
from fairway.evals.judges.settings import JudgeSettings

SETTINGS = JudgeSettings(model="m")


def load(text: str, file: str = "items.yaml") -> tuple[CalibrationItem, ...]:
    return load_calibration(text.encode(), file=file, settings=SETTINGS)


WHOLE = """
rubric: Polite.
items:
  - {id: a, input: hi, reply: Hello., label: good}
  - {id: b, input: [hi, and now], reply: [Hello., Go away.], grade: partly_meets}
  - {id: c, input: hi, reply: Hello., grade: mostly_meets}
  - id: d
    input: What does it cost?
    reply: 3 euros.
    context: It costs 3 euros.
    assert: {type: groundedness}
    label: good
  - id: e
    input: What does it cost?
    reply: 4 euros.
    assert: {type: factuality, value: 3 euros., threshold: 0.5}
    grade: superset
"""


def test_a_set_says_what_was_asked_what_was_answered_and_whether_that_is_good():
    items = load(WHOLE)
    assert [(item.id, item.good, item.assertion.type) for item in items] == [
        ("a", True, "llm-rubric"),
        ("b", False, "llm-rubric"),
        ("c", True, "llm-rubric"),
        ("d", True, "groundedness"),
        ("e", True, "factuality"),
    ]
    assert items[1].observed.case.turns == ("hi", "and now")
    assert items[1].observed.text == "Go away."
    assert items[3].observed.replies[-1].context == ("It costs 3 euros.",)
    assert items[0].observed.replies[-1].context is None


def test_what_a_grade_is_worth_depends_on_the_scale_of_the_judge():
    settings = JudgeSettings(model="m", scale={"fine": 1.0, "poor": 0.2})
    text = "[{id: a, input: hi, reply: x, rubric: r, grade: poor}]"
    assert load_calibration(text.encode(), file="i.yaml", settings=settings)[0].good is False
    with pytest.raises(ProjectFileError, match="no grade of the scale"):
        load(text)


def test_json_lines_and_a_bare_list_are_the_same_set():
    rows = [
        {"id": "a", "input": "hi", "reply": "x", "rubric": "r", "label": "good"},
        {"id": "b", "input": "hi", "reply": "y", "rubric": "r", "label": "bad"},
    ]
    lines = load("\n\n".join(json.dumps(row) for row in rows), "items.jsonl")
    listed = load(json.dumps(rows), "items.json")
    assert lines == listed
    assert calibration_digest(lines) == calibration_digest(listed[::-1])


@pytest.mark.parametrize(
    "change", [{"reply": "z"}, {"label": "bad"}, {"rubric": "s"}, {"id": "z"}, {"input": "ho"}, {"context": "c"}]
)
def test_whatever_changes_a_grade_changes_the_digest(change):
    row = {"id": "a", "input": "hi", "reply": "x", "rubric": "r", "label": "good"}
    assert calibration_digest(load(json.dumps([row]), "a.json")) != calibration_digest(
        load(json.dumps([row | change]), "a.json")
    )


ROW = "id: a, input: hi, reply: x"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (f"- {{{ROW}, rubric: r}}", "items.yaml:1:3: [0]: needs one of 'label'"),
        (f"- {{{ROW}, rubric: r, label: fine}}", "items.yaml:1:50: [0].label: expected one of good, bad"),
        (f"- {{{ROW}, rubric: r, label: good, grade: meets}}", "needs one of 'label'"),
        (f"- {{{ROW}, label: good}}", "needs a 'rubric' or an 'assert'"),
        (f"- {{{ROW}, rubric: r, assert: {{type: accuracy, value: x}}, label: good}}", "has one of 'rubric'"),
        (f"- {{{ROW}, rubrik: r, label: good}}", "did you mean 'rubric'?"),
        (f"- {{{ROW}, assert: {{type: contains, value: x}}, label: good}}", "[0].assert.type: is no type a judge"),
        (f"- {{{ROW}, assert: {{type: factuality}}, label: good}}", "[0].assert.value: expected a text"),
        (f"- {{{ROW}, assert: {{type: choice, value: q}}, label: good}}", "choice_scores: is required"),
        (
            f"- {{{ROW}, assert: {{type: accuracy, value: q, threshold: 0}}, label: good}}",
            "threshold: expected a number",
        ),
        (f"- {{{ROW}, assert: {{type: groundedness}}, grade: meets}}", "context-faithfulness has no grades"),
        ("- {id: a, input: [hi, ho], reply: x, rubric: r, label: good}", "needs one reply a turn: 2, not 1"),
        (
            f"- {{{ROW}, rubric: r, label: good}}\n- {{{ROW}, rubric: r, label: bad}}",
            "items.yaml:2:8: [1].id: item 'a'",
        ),
        ("items: {}", "expected a list of items"),
        ("items: []\nrubric: r\nassert: {type: accuracy, value: x}", "has one of 'rubric' and 'assert'"),
        ("items: []\nlabel: good", "unknown key"),
        (f"rubric: 3\nitems: [{{{ROW}, label: good}}]", "items.yaml:1:9: rubric: expected a text"),
        (f"assert: x\nitems: [{{{ROW}, label: good}}]", "items.yaml:1:9: assert: expected an assertion"),
        ("3", "expected a list of items"),
    ],
)
def test_a_mistake_names_file_line_and_key(text, told):
    with pytest.raises(ProjectFileError) as caught:
        load(text)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('{"id": "b", "input": "hi", "reply": "x", "rubric": "r"}', "items.jsonl:2:1: [1]: needs one of 'label'"),
        (
            '{"id": "b", "input": 3, "reply": "x", "rubric": "r", "label": "good"}',
            "items.jsonl:2:22: [1].input: expected",
        ),
        ('{"id": "b"', "items.jsonl:2:"),
    ],
)
def test_a_mistake_in_a_line_of_json_names_the_line(line, told):
    first = '{"id": "a", "input": "hi", "reply": "x", "rubric": "r", "label": "good"}'
    with pytest.raises(ProjectFileError) as caught:
        load(f"{first}\n{line}", "items.jsonl")
    assert told in str(caught.value)
