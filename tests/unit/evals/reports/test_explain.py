from __future__ import annotations

from fairway.evals.instrument import instrument_digest
from fairway.evals.judges.settings import JudgeSettings
from fairway.evals.reports.explain import explain_case, prompt_changes
from fairway.evals.suites.load import parse_suite
from fairway.evals.values import CaseOutcome, CaseResult, Violation

BEFORE = "You help customers.\nBe brief.\nAlways ask for confirmation before a refund.\n"
AFTER = "You help customers.\nBe very brief.\nUse emojis.\n"


def failed(**changes) -> CaseResult:
    violation = Violation(check="keyword/missing", subject="confirm", message="expected keyword 'confirm' is not there")
    fields = {
        "suite": "s",
        "case_id": "refund-1",
        "name": "asks first",
        "outcome": CaseOutcome.FAILED,
        "critical": True,
    }
    return CaseResult(**(fields | {"violations": (violation,)} | changes))


def test_the_line_that_speaks_of_the_violation_comes_first():
    explanation = explain_case(failed(), prompt_changes({"support": BEFORE}, {"support": AFTER}))
    lines = explanation.lines()
    assert lines[0] == "critical case refund-1 (asks first)"
    assert explanation.cause() == "the prompt support lost: Always ask for confirmation before a refund."
    assert explain_case(failed(), ()).cause() is None
    assert lines[1] == "  expected keyword 'confirm' is not there"
    assert lines[3] == "    support: - Always ask for confirmation before a refund."
    assert "    support: + Use emojis." in lines


def test_a_rule_that_is_gone_is_named():
    rule = "Always ask for confirmation before a refund."
    previous, current = {"support": BEFORE}, {"support": AFTER}
    lost = explain_case(failed(rule=rule), prompt_changes(previous, current), previous=previous, current=current)
    assert f"  the rule it protects is gone: {rule}" in lost.lines()
    assert lost.cause() == f"the prompts lost the rule it protects: {rule}"
    kept = explain_case(failed(rule=rule), (), previous=previous, current=previous)
    assert not kept.rule_lost


def test_equal_prompts_have_no_changes_and_new_or_dropped_ones_do():
    assert prompt_changes({"a": BEFORE}, {"a": BEFORE.replace("\n", "  \n")}) == ()
    assert [str(change) for change in prompt_changes({"a": "x"}, {"b": "y"})] == ["a: - x", "b: + y"]


def digest(text: str, **changes) -> str:
    options = {"judge": None, "mock_scenario": b"m"} | changes
    return instrument_digest([parse_suite(text.encode(), file="s.yaml")], **options)


CASE = "- {id: a, input: x, max_tokens: 5}\n"


def test_the_instrument_is_the_same_for_the_same_measurement_and_another_for_any_other():
    judge = JudgeSettings(model="m")
    assert digest(CASE) == digest("# remark\n" + CASE) == digest("- {max_tokens: 5, id: a, input: x, name: y}")
    different = [
        digest(CASE),
        digest("- {id: a, input: x, max_tokens: 6}"),
        digest(CASE + "- {id: b, input: x, max_tokens: 5}"),
        digest(CASE, mock_scenario=b"n"),
        digest(CASE, mock_scenario=None),
        digest(CASE, judge=judge),
        digest(CASE, judge=JudgeSettings(model="n")),
        digest(CASE, judge=JudgeSettings(model="m", threshold=0.8)),
    ]
    assert len(set(different)) == len(different)
