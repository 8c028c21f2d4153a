"""Checks of the tools an agent called."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from fairway.evals.assertions.case_check import tools_called
from fairway.evals.assertions.finding import Finding, at_least, broken, held, unknown, violated
from fairway.evals.assertions.json_kinds import UncheckableError, schema, schema_problem
from fairway.evals.assertions.kind import BadValueError
from fairway.evals.assertions.readers import mapping, split_commas
from fairway.evals.assertions.tool_match import Order, ToolMatching, match_tools, meets
from fairway.evals.assertions.tool_report import describe_call, rates, unmatched_calls, unmatched_expectations
from fairway.evals.assertions.tool_values import expectations, tool_name
from fairway.evals.trials import Observed
from fairway.evals.values import Assertion, ExtraTools, ToolCall
from fairway.mistakes import shown

_SCHEMAS = ("parameters", "input_schema", "inputSchema")
"""Where OpenAI, Anthropic and MCP declare a tool's arguments."""
SILENT = "the agent does not say which tools it called"


def check_tool_calls(assertion: Assertion, observed: Observed) -> Finding:
    """The calls are the expected ones, each expectation met by its own call; see ``docs/evals/assertions.md``.

    Without a threshold every expectation must be met and nothing beyond ``extra`` called; with one, F1 (recall where
    other calls are allowed) must reach it. A forbidden or malformed call is a violation either way.
    """
    calls = tools_called(observed.replies)
    if calls is None:
        return unknown(SILENT)
    value = assertion.value
    order = Order(value.get("order", Order.NONE))
    matching = match_tools(expectations(value.get("expected", [])), calls, order)
    allowed = value.get("extra", ExtraTools.FORBID if "expected" in value else ExtraTools.ALLOW)
    forbidden = expectations(value.get("forbidden", []))
    banned = [call for call in calls if any(call.name == one.name and _bans(one, call) for one in forbidden)]
    return _judge_calls(assertion, matching, allowed, banned)


def _bans(one: Any, call: ToolCall) -> bool:
    """Whether a forbidden call was made; one whose arguments cannot be read might have been it."""
    return call.malformed is not None or meets(one, call)


def _judge_calls(assertion: Assertion, matching: ToolMatching, allowed: Any, banned: Sequence[ToolCall]) -> Finding:
    precision, recall, f1 = rates(matching)
    missing, extra = unmatched_expectations(matching), unmatched_calls(matching)
    detail = {
        "precision": precision,
        "recall": recall,
        "f1": f1,
        "expected": len(matching.wanted),
        "met": len(matching.pairs),
        "pairs": [list(pair) for pair in matching.pairs],
        "missing": missing,
        "extra": extra,
        "forbidden": [describe_call(call) for call in banned],
    }
    score = recall if allowed == ExtraTools.ALLOW else f1
    malformed = [one for one in extra if matching.calls[one["index"]].malformed is not None]
    problems = [f"forbidden call {describe_call(call)}" for call in banned]
    problems += [f"malformed call of tool {one['tool']}: {one['reason']}" for one in malformed]
    first = banned[0].name if banned else malformed[0]["tool"] if malformed else ""
    if assertion.threshold is None:
        problems += [f"expected call {one['expected']} is missing: {one['reason']}" for one in missing]
        problems += _too_many(extra, allowed, malformed)
        first = first or (missing or extra or [{"tool": ""}])[0]["tool"]
    elif not problems:
        return at_least(score, assertion.threshold, "F1 of the tool calls", detail=detail)
    if problems:
        found = violated("; ".join(problems), score=score if score < 1 else 0.0, subject=first, detail=detail)
        return replace(found, unreadable=bool(malformed))
    return held(score, detail=detail)


def _too_many(extra: list[dict[str, Any]], allowed: Any, malformed: list[dict[str, Any]]) -> list[str]:
    if allowed == ExtraTools.ALLOW:
        return []
    others = [one for one in extra if one not in malformed]
    most = 0 if allowed == ExtraTools.FORBID else int(allowed)
    if len(others) <= most:
        return []
    told = [f"extra call {one['call']}: {one['reason']}" for one in others]
    return [*told, f"{len(others)} extra calls, at most {most} are allowed"] if most else told


# -- F1 over names ----------------------------------------------------------------------------------------------------


def names(value: Any) -> list[str]:
    """Reader of tool names: a list, or text with commas."""
    items = split_commas(value) if isinstance(value, str) else value
    if not isinstance(items, list | tuple) or not items:
        raise BadValueError(f"expected a list of tool names; got {shown(value)}")
    return [tool_name(item) for item in items]


def check_tool_call_f1(assertion: Assertion, observed: Observed) -> Finding:
    """F1 of the names called, each as often as it was, reaches the threshold (1)."""
    calls = tools_called(observed.replies)
    if calls is None:
        return unknown(SILENT)
    wanted, called = Counter(assertion.value), Counter(call.name for call in calls)
    met = sum((wanted & called).values())
    score = 2 * met / (wanted.total() + called.total())
    detail = {
        "precision": met / called.total() if called else 0.0,
        "recall": met / wanted.total(),
        "f1": score,
        "missing": sorted((wanted - called).elements()),
        "extra": sorted((called - wanted).elements()),
    }
    return at_least(score, assertion.threshold or 1.0, "F1 of the tools called", detail=detail)


# -- calls by their declared schemas ----------------------------------------------------------------------------------


def declared_tools(value: Any) -> list[dict[str, Any]]:
    """Reader of tool declarations, OpenAI's, Anthropic's, MCP's or plain: ``[{name, parameters}]``."""
    if not isinstance(value, list | tuple) or not value:
        raise BadValueError(f"expected a list of tool declarations; got {shown(value)}")
    found = []
    for index, item in enumerate(value):
        inner = mapping(item)
        function = inner.get("function")
        inner = function if isinstance(function, Mapping) else inner
        try:
            name = tool_name(inner.get("name"))
            parameters = next((inner[key] for key in _SCHEMAS if inner.get(key) is not None), None)
            found.append({"name": name, "parameters": None if parameters is None else schema(parameters)})
        except BadValueError as error:
            raise BadValueError(str(error), index, *error.at, hint=error.hint) from error
    return found


def check_valid_calls(assertion: Assertion, observed: Observed) -> Finding:
    """At least one tool was called, and every call can be read; with declarations, each is one of them and fits it."""
    calls = tools_called(observed.replies)
    if calls is None:
        return unknown(SILENT)
    if not calls:
        return violated("no tool was called")
    declared = None if assertion.value is None else {one["name"]: one["parameters"] for one in assertion.value}
    for call in calls:
        try:
            problem = _call_problem(call, declared)
        except UncheckableError as error:
            return broken(str(error))
        if problem is not None:
            return violated(f"the call of {call.name} is not valid: {problem}", subject=call.name)
    return held()


def _call_problem(call: ToolCall, declared: Mapping[str, Any] | None) -> str | None:
    if call.malformed is not None:
        return call.malformed
    if declared is None:
        return None
    if call.name not in declared:
        return "no such tool is declared"
    wanted = declared[call.name]
    return None if wanted is None else schema_problem(wanted, dict(call.arguments))
