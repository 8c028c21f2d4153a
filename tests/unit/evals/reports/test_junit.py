from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairway.evals.gating.decision import EvalDecision
from fairway.evals.gating.policy import Rule
from fairway.evals.reports.content import ReportContent, pair_cases
from fairway.evals.reports.junit import render_junit
from fairway.evals.values import CaseOutcome
from fairway.testing.modelled_evaluation import evaluation_saying, modelled_evaluation
from fairway.units import Verdict

# The common schema (`junit-10.xsd` of Jenkins' plug-in): children, attributes that must be there, those that may.
SCHEMA = {
    "testsuites": ({"testsuite"}, set(), {"name", "time", "tests", "failures", "errors"}),
    "testsuite": (
        {"testcase", "properties", "system-out", "system-err"},
        {"name", "tests", "failures", "errors"},
        {"time", "skipped", "timestamp", "hostname", "id", "package"},
    ),
    "testcase": ({"skipped", "error", "failure", "system-out", "system-err"}, {"name"}, {"time", "classname"}),
    "failure": (set(), set(), {"type", "message"}),
    "error": (set(), set(), {"type", "message"}),
    "system-out": (set(), set(), set()),
}


def content(modelled, verdict: Verdict | None = None) -> ReportContent:
    decision = None
    if verdict is not None:
        decision = EvalDecision(verdict=verdict, rule=Rule.COMPARE, compared=True, reasons=("because <it> & that",))
    return ReportContent(title="t", candidate=modelled.candidate, baseline=modelled.baseline, decision=decision)


def check_schema(element: ET.Element) -> None:
    children, required, allowed = SCHEMA[element.tag]
    assert required <= set(element.attrib) <= required | allowed, element.tag
    assert {child.tag for child in element} <= children, element.tag
    if element.tag == "testsuite":
        assert re.fullmatch(r"\d+\.\d{3}", element.get("time"))
    for child in element:
        check_schema(child)


def test_it_has_the_elements_and_attributes_of_the_common_schema_and_its_counts_are_those_of_its_cases():
    root = ET.fromstring(render_junit(content(modelled_evaluation(300, repeats=2, worse=0.2), Verdict.FAIL)))
    check_schema(root)
    for suite in root:
        assert int(suite.get("tests")) == len(suite.findall("testcase"))
        assert int(suite.get("failures")) == len(suite.findall("testcase/failure"))
        assert int(suite.get("errors")) == len(suite.findall("testcase/error"))


def test_a_failed_case_is_a_failure_an_undecided_one_an_error_and_a_passed_one_neither():
    made = content(modelled_evaluation(400, worse=0.2))
    expected = {(pair.suite, pair.case.id): pair.result.outcome for pair in pair_cases(made)}
    assert set(expected.values()) > {CaseOutcome.PASSED, CaseOutcome.FAILED}
    for case in ET.fromstring(render_junit(made)).iter("testcase"):
        outcome = expected.get((case.get("classname"), case.get("name")))
        if outcome is None:
            continue
        found = "failure" if case.find("failure") is not None else "error" if case.find("error") is not None else None
        assert found == {CaseOutcome.PASSED: None, CaseOutcome.FAILED: "failure"}.get(outcome, "error")


@pytest.mark.parametrize(
    ("verdict", "element"),
    [
        (Verdict.PASS, None),
        (Verdict.FAIL, "failure"),
        (Verdict.INCONCLUSIVE, "error"),
        (Verdict.NO_DATA, "error"),
        (Verdict.ERROR, "error"),
        (None, "error"),
    ],
)
def test_the_gate_is_a_test_case_and_only_a_pass_passes(verdict, element):
    root = ET.fromstring(render_junit(content(modelled_evaluation(2), verdict)))
    gate = root[0][0]
    assert gate.get("name") == "verdict"
    assert [child.tag for child in gate if child.tag != "system-out"] == ([element] if element else [])
    if verdict is Verdict.FAIL:
        assert gate[0].get("message") == "REGRESSION: because <it> & that"


def test_every_repeat_is_told():
    root = ET.fromstring(render_junit(content(modelled_evaluation(4, repeats=3))))
    for case in list(root.iter("testcase"))[1:]:
        told = "".join(case.itertext())
        assert [f"repeat {number}:" in told for number in (1, 2, 3)] == [True] * 3


@settings(max_examples=60, deadline=None)
@given(st.text())
def test_whatever_others_write_it_is_xml_of_the_same_form(text):
    made = evaluation_saying(text + "]]><!--&\x00\x0b\ud800\ufffe\U0001f600</testcase>")
    root = ET.fromstring(render_junit(content(made, Verdict.FAIL)).encode("utf-8"))
    check_schema(root)
    assert [len(suite) for suite in root] == [1, 3]
    assert [[child.tag for child in case] for case in root[1]] == [["failure"], ["error"], []]
