"""A suite as a file that somebody else can read: Fairway's YAML, JSON, JSONL, CSV, or a promptfoo configuration."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from io import StringIO
from typing import Any

from fairway.evals.suites.template import is_template
from fairway.evals.suites.yaml_text import to_yaml
from fairway.evals.values import ArgumentMatch, Assertion, Case, ExpectedTool, ExtraTools, Suite, TokenCount

_OURS_ALONE = ("tool-calls", "state", "state-equals", "state-hash", "tokens", "todo", "conversation-rubric", "accuracy")
"""Kinds that promptfoo does not know."""


class SuiteFormat(StrEnum):
    """What a suite can be written as."""

    YAML = "yaml"
    JSON = "json"
    JSONL = "jsonl"
    CSV = "csv"
    PROMPTFOO = "promptfoo"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """A suite as text.

    Attributes:
        lost: What the format cannot say, one sentence each; nothing is left out silently.
    """

    text: str
    lost: tuple[str, ...] = ()


def export_suite(suite: Suite, form: SuiteFormat) -> Exported:
    """Write a suite.

    Read back, YAML, JSON, JSONL and CSV give the same cases (defaults and tables of the original are written out; CSV
    and JSONL have no name of their own for the suite: it is the file's).
    """
    if form is SuiteFormat.PROMPTFOO:
        return _promptfoo(suite)
    items = [case_item(case) for case in suite.cases]
    if form is SuiteFormat.CSV:
        return Exported(text=_csv(items))
    if form is SuiteFormat.JSONL:
        return Exported(text="".join(json.dumps(item, ensure_ascii=False) + "\n" for item in items))
    whole = {"suite": suite.name, "cases": items}
    if form is SuiteFormat.JSON:
        return Exported(text=json.dumps(whole, ensure_ascii=False, indent=2) + "\n")
    return Exported(text=to_yaml(whole))


def case_item(case: Case) -> dict[str, Any]:
    """A case as a suite's file has it; what has its default is left out."""
    if case.rubric is not None and not case.rubric_required:
        return _seed_item(case)
    escape = _escaped if case.variables else _as_it_is
    item: dict[str, Any] = {"id": case.id}
    if case.name != case.id:
        item["name"] = escape(case.name)
    if len(case.turns) == 1 and not case.turns[0].startswith("file://"):
        item["input"] = escape(case.turns[0])
    else:
        item["conversation"] = [escape(turn) for turn in case.turns]
    _put(item, "variables", dict(case.variables))
    if case.expected_tools is not None:
        item["expected_tools"] = escape([_tool(tool) for tool in case.expected_tools])
    _put(item, "extra_tools", case.extra_tools.value, ExtraTools.FORBID.value)
    for key in ("forbidden_tools", "expected_keywords", "forbidden_keywords"):
        _put(item, key, escape(list(getattr(case, key))))
    _put(item, "max_tokens", case.max_tokens)
    _put(item, "count_tokens", case.count_tokens.value, TokenCount.TOTAL.value)
    _put(item, "assert", [escape(assertion_item(one)) for one in case.assertions])
    _put(item, "threshold", case.threshold)
    for key in ("rubric", "rule"):
        _put(item, key, escape(getattr(case, key)))
    _put(item, "system_prompt_version", case.prompt_version)
    _put(item, "tags", list(case.tags))
    _put(item, "critical", case.critical, False)
    _put(item, "repeat", case.repeat, 1)
    _put(item, "at_least", case.at_least, case.repeat)
    _put(item, "max_repeat", case.max_repeat)
    _put(item, "family", case.family)
    return item


def assertion_item(assertion: Assertion) -> dict[str, Any]:
    """An assertion as a suite's file has it."""
    item: dict[str, Any] = {"type": assertion.name}
    if assertion.value is not None or assertion.type == "equals":
        item["value"] = _plain(assertion.value)
    _put(item, "assert", [assertion_item(one) for one in assertion.members])
    _put(item, "threshold", assertion.threshold)
    _put(item, "weight", assertion.weight, 1.0)
    _put(item, "metric", assertion.metric)
    return item | {key: _plain(value) for key, value in assertion.options.items()}


def _put(item: dict[str, Any], key: str, value: Any, default: Any = None) -> None:
    if value != default and value not in ([], {}):
        item[key] = value


def _seed_item(case: Case) -> dict[str, Any]:
    item: dict[str, Any] = {"id": case.id, "name": case.name, "user_input": case.turns[0]}
    _put(item, "system_prompt_version", case.prompt_version)
    _put(item, "expected_behavior", case.rubric)
    if case.expected_tools is not None:
        item["expected_tools"] = [_tool(tool) for tool in case.expected_tools]
    _put(item, "expected_response_keywords", list(case.expected_keywords))
    _put(item, "forbidden_keywords", list(case.forbidden_keywords))
    _put(item, "max_tokens_limit", case.max_tokens)
    _put(item, "count_tokens", case.count_tokens.value, TokenCount.TOTAL.value)
    _put(item, "tags", list(case.tags))
    _put(item, "critical", case.critical, False)
    return item


def _tool(tool: ExpectedTool) -> Any:
    item: dict[str, Any] = {"name": tool.name}
    if tool.arguments is not None:
        item["arguments"] = _plain(tool.arguments)
    _put(item, "match", tool.match.value, ArgumentMatch.SUBSET.value)
    _put(item, "tolerance", tool.tolerance, 0.0)
    _put(item, "relative", tool.relative, 0.0)
    _put(item, "coerce", tool.coerce, False)
    _put(item, "count", tool.count, 1)
    return tool.name if len(item) == 1 else item


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value


def _as_it_is(value: Any) -> Any:
    return value


def _escaped(value: Any) -> Any:
    """Braces that came out of a variable, so that they are not filled in once more."""
    if isinstance(value, str):
        if not is_template(value):
            return value
        parts = value.replace("{", "\0").replace("\0\0", "{{ '{{' }}").replace("\0%", "{{ '{%' }}")
        return parts.replace("\0#", "{{ '{#' }}").replace("\0", "{")
    if isinstance(value, dict):
        return {_escaped(key): _escaped(one) for key, one in value.items()}
    return [_escaped(one) for one in value] if isinstance(value, list) else value


def _csv(items: Sequence[Mapping[str, Any]]) -> str:
    columns = list(dict.fromkeys(key for item in items for key in item))
    out = StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    for item in items:
        writer.writerow([_cell(item.get(column)) for column in columns])
    return out.getvalue()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


# -- promptfoo --------------------------------------------------------------------------------------------------------


def _promptfoo(suite: Suite) -> Exported:
    tests: list[dict[str, Any]] = []
    lost: list[str] = []
    for case in suite.cases:
        if len(case.turns) != 1:
            lost.append(f"case {case.id!r}: a conversation, which promptfoo's prompts cannot play")
            continue
        asserted, gone, summed = _their_assertions(case)
        lost.extend(f"case {case.id!r}: {what}" for what in gone)
        if gone:
            # a case that lost a check must not pass there either
            asserted.append({"type": "javascript", "value": "false // incomplete: " + "; ".join(gone)[:200]})
        test: dict[str, Any] = {"description": case.name, "vars": {"input": case.turns[0]}, "assert": asserted}
        if summed:
            test["threshold"] = case.threshold
        metadata = {"id": case.id, **({"tags": list(case.tags)} if case.tags else {})}
        tests.append({**test, "metadata": metadata})
    config = {"description": suite.name, "prompts": ["{{input}}"], "providers": ["echo"], "tests": tests}
    return Exported(text=to_yaml(config), lost=tuple(lost))


def _their_assertions(case: Case) -> tuple[list[dict[str, Any]], list[str], bool]:
    """The assertions, what is gone, and whether the test's own threshold decides over them all.

    There, a test's threshold decides alone. Where something besides the assertions must hold, they become a set with
    that threshold.
    """
    keys: list[dict[str, Any]] = [{"type": "icontains", "value": word} for word in case.expected_keywords]
    keys += [{"type": "not-icontains", "value": word} for word in case.forbidden_keywords]
    found: list[dict[str, Any]] = []
    gone: list[str] = []
    for one in case.checks:
        if _unknown_there(one):
            gone.append(f"{one.name}, which promptfoo does not know")
        else:
            found.append(assertion_item(one))
    for key in ("expected_tools", "forbidden_tools", "max_tokens"):
        if getattr(case, key) not in (None, ()):
            gone.append(f"{key}, which promptfoo does not know")
    if case.expected_tools == () and case.extra_tools is ExtraTools.FORBID:
        gone.append("that no tool may be called")
    if case.repeat > 1:
        gone.append(f"repeat: {case.at_least} of {case.repeat} runs")
    is_set = case.threshold is not None and bool(keys or gone)
    if is_set and any(one["type"] == "assert-set" for one in found):
        gone.append("a threshold beside other checks over a set, which promptfoo cannot nest")
    elif is_set and found:
        found = [{"type": "assert-set", "threshold": case.threshold, "assert": found}]
    return [*keys, *found], gone, case.threshold is not None and not is_set


def _unknown_there(assertion: Assertion) -> bool:
    return assertion.type in _OURS_ALONE or any(_unknown_there(one) for one in assertion.members)
