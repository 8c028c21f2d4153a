from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.evals.assertions.case_check import check_case, count_tokens
from fairway.evals.values import Assertion, Case, ExpectedTool, ExtraTools, Reply, TokenCount, ToolCall


def case(**changes) -> Case:
    return Case(**({"id": "c", "name": "c", "turns": ("hello",)} | changes))


def reply(text: str = "Hello there", **changes) -> Reply:
    return Reply(**({"text": text, "tools": (), "tokens_in": 10, "tokens_out": 5} | changes))


def checks(finding) -> list[str]:
    return [violation.check for violation in finding.violations]


@pytest.mark.parametrize("text", ["REFUND", "a refund.", "ﬁne, Refund", "re\nre refund"])
def test_keywords_ignore_case_and_are_found_anywhere(text):
    assert not check_case(case(expected_keywords=("Refund",)), [reply(text)]).violations


def test_white_space_and_unicode_forms_do_not_matter_for_keywords():
    wanted = case(expected_keywords=("14 days", "caf\u00e9", "STRASSE"))
    assert not check_case(wanted, [reply("within 14\n  days at the cafe\u0301 in the straße")]).violations


def test_a_missing_and_a_forbidden_keyword_are_named():
    finding = check_case(case(expected_keywords=("refund",), forbidden_keywords=("password",)), [reply("My PassWord")])
    assert checks(finding) == ["keyword/missing", "keyword/forbidden"]
    assert [violation.subject for violation in finding.violations] == ["refund", "password"]


def test_expected_keywords_look_at_the_last_reply_and_forbidden_ones_at_every_reply():
    both = case(turns=("a", "b"), expected_keywords=("done",), forbidden_keywords=("secret",))
    assert checks(check_case(both, [reply("done secret"), reply("what?")])) == ["keyword/missing", "keyword/forbidden"]


def test_an_empty_reply_is_a_violation_even_when_nothing_else_is_asked():
    assert checks(check_case(case(forbidden_keywords=("x",)), [reply("  \n")])) == ["response/empty"]


def test_the_calls_a_bare_model_stops_for_are_its_answer_where_the_case_asks_for_calls():
    calling = reply("", tools=(ToolCall(name="find"),), finish_reason="tool_calls")
    find, used = (ExpectedTool(name="find"),), Assertion(type="trajectory:tool-used", value="find")
    assert not check_case(case(expected_tools=find), [calling]).violations
    assert not check_case(case(assertions=(Assertion(type="assert-set", members=(used,)),)), [calling]).violations
    for others in (
        case(forbidden_keywords=("x",)),
        case(assertions=(replace(used, negated=True),)),
    ):
        assert checks(check_case(others, [calling])) == ["response/empty"]
    for answer in (replace(calling, finish_reason="stop"), replace(calling, tools=())):
        assert "response/empty" in checks(check_case(case(expected_tools=find), [answer]))


def test_a_reply_the_agent_itself_calls_failed_is_a_violation():
    assert checks(check_case(case(forbidden_keywords=("x",)), [reply("sorry", status="failed")])) == ["response/failed"]


def test_a_call_nobody_can_read_is_a_violation_where_only_forbidden_tools_are_named():
    only = case(forbidden_tools=("delete_all",))
    assert not check_case(only, [reply(tools=(ToolCall(name="find"),))]).violations
    for broken in (ToolCall(name="?", malformed="not a tool call"), ToolCall(name="find", malformed="not JSON")):
        assert checks(check_case(only, [reply(tools=(broken,))])) == ["tool/malformed"]
    assert checks(check_case(only, [reply(tools=(ToolCall(name="delete_all", malformed="x"),))])) == ["tool/forbidden"]


def test_extra_calls_are_violations_when_forbidden_and_remarks_when_allowed():
    calls = (ToolCall(name="find"), ToolCall(name="delete_all"))
    expected = (ExpectedTool(name="find"),)
    strict = check_case(case(expected_tools=expected), [reply(tools=calls)])
    assert checks(strict) == ["tool/extra"]
    assert "delete_all" in strict.violations[0].message
    allowed = check_case(case(expected_tools=expected, extra_tools=ExtraTools.ALLOW), [reply(tools=calls)])
    assert checks(allowed) == []
    assert allowed.notes == ("extra call of tool delete_all",)


def test_expected_calls_are_counted_when_they_can_be_checked():
    wanted = case(expected_tools=(ExpectedTool(name="f", count=2), ExpectedTool(name="g")))
    finding = check_case(wanted, [reply(tools=(ToolCall(name="f"), ToolCall(name="x")))])
    assert (finding.tools_expected, finding.tools_met) == (3, 1)
    silent = check_case(wanted, [reply(tools=None)])
    assert (silent.tools_expected, silent.tools_met) == (0, 0)


def test_a_malformed_call_is_a_violation_with_its_reason():
    broken = ToolCall(name="find", malformed="arguments are not JSON (x)")
    finding = check_case(
        case(expected_tools=(ExpectedTool(name="find"),), extra_tools=ExtraTools.ALLOW), [reply(tools=(broken,))]
    )
    assert checks(finding) == ["tool/missing", "tool/malformed"]
    assert all("not JSON" in violation.message for violation in finding.violations)


def test_a_forbidden_tool_is_found_without_expected_tools():
    finding = check_case(case(forbidden_tools=("drop",)), [reply(tools=(ToolCall(name="drop"),))])
    assert checks(finding) == ["tool/forbidden"]


@pytest.mark.parametrize(
    ("declared", "answer"),
    [
        ({"expected_tools": (ExpectedTool(name="f"),)}, {"tools": None}),
        ({"expected_tools": ()}, {"tools": None}),
        ({"forbidden_tools": ("f",)}, {"tools": None}),
        ({"max_tokens": 100}, {"tokens_in": None}),
        ({"max_tokens": 100}, {"tokens_out": None}),
        ({"max_tokens": 100, "count_tokens": TokenCount.OUTPUT}, {"tokens_out": None}),
    ],
)
def test_what_the_agent_does_not_report_is_unknown_and_neither_met_nor_violated(declared, answer):
    finding = check_case(case(**declared), [reply(**answer)])
    assert finding.unknown
    assert not finding.violations
    assert finding.score < 1


def test_unreported_tokens_do_not_matter_to_a_case_without_a_limit():
    assert not check_case(case(expected_keywords=("hello",)), [reply(tokens_in=None, tools=None)]).unknown


def test_the_limit_is_inclusive_and_counts_every_turn():
    two = [reply(), reply()]
    assert not check_case(case(max_tokens=30), two).violations
    assert checks(check_case(case(max_tokens=29), two)) == ["tokens/over"]
    assert not check_case(case(max_tokens=10, count_tokens=TokenCount.OUTPUT), two).violations


def test_tokens_of_one_silent_turn_make_the_sum_unknown():
    assert count_tokens([reply(), reply(tokens_out=None)], TokenCount.TOTAL) is None
    assert count_tokens([], TokenCount.TOTAL) is None


@given(
    st.lists(st.text(min_size=1, max_size=4), max_size=4),
    st.text(max_size=30),
    st.lists(st.sampled_from("fgh"), max_size=4),
    st.lists(st.sampled_from("fgh"), max_size=4),
    st.sampled_from(ExtraTools),
)
def test_the_score_is_a_share_and_is_1_exactly_when_nothing_is_wrong(words, text, wanted, called, extra):
    finding = check_case(
        case(
            expected_keywords=tuple(words),
            expected_tools=tuple(ExpectedTool(name=name) for name in wanted),
            extra_tools=extra,
        ),
        [reply(text, tools=tuple(ToolCall(name=name) for name in called))],
    )
    assert 0 <= finding.score <= 1
    assert (finding.score == 1) == (not finding.violations)
