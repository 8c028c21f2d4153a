"""promptfoo's ``trajectory:`` assertions, over the tool calls an agent reports instead of a trace."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

from fairway.evals.assertions.case_check import tools_called
from fairway.evals.assertions.finding import Finding, held, unknown, violated
from fairway.evals.assertions.kind import BadValueError
from fairway.evals.assertions.predicates import Leniency, mismatch
from fairway.evals.assertions.readers import known_keys, mapping, one_of, whole
from fairway.evals.assertions.text_kinds import within
from fairway.evals.assertions.tool_kinds import SILENT
from fairway.evals.assertions.tool_match import UNNAMED, in_words, ordered_matching
from fairway.evals.assertions.tool_values import arguments, tool_name
from fairway.evals.trials import Observed
from fairway.evals.values import Assertion, ToolCall
from fairway.mistakes import shown

_NAMES = {"name": tool_name, "pattern": tool_name}


def _step(value: Any) -> str:
    """A name or glob pattern, from ``"name"``, ``{name}`` or ``{pattern}``."""
    if not isinstance(value, Mapping):
        return tool_name(value)
    return _named(known_keys(value, {"type": one_of("tool"), **_NAMES}))


def _named(found: Mapping[str, Any]) -> str:
    if ("name" in found) == ("pattern" in found):
        raise BadValueError("needs either 'name' or 'pattern'")
    return str(found.get("name", found.get("pattern")))


def _limits(found: Mapping[str, Any]) -> None:
    """Refuse limits that nothing or everything meets."""
    if "max" not in found and not found.get("min"):
        raise BadValueError("has a 'min' of 0 and no 'max', so it would always hold", "min")
    if found.get("min", 0) > found.get("max", 2**53):
        raise BadValueError(f"min ({found['min']}) is more than max ({found['max']})", "min")


def tool_used(value: Any) -> dict[str, Any]:
    """Reader: a name, a list of names, or ``{name | pattern, min, max}``."""
    if isinstance(value, Mapping):
        found = known_keys(value, {**_NAMES, "min": whole(), "max": whole()})
        limits: dict[str, Any] = {key: found[key] for key in ("min", "max") if key in found} or {"min": 1}
        if "min" not in limits and limits["max"] > 0:
            limits["min"] = 1
        _limits(limits)
        return {"tools": [_named(found)], "limits": limits}
    return {"tools": _steps(value if isinstance(value, list | tuple) else [value]), "limits": {"min": 1}}


def _steps(value: Any) -> list[str]:
    if not isinstance(value, list | tuple) or not value:
        raise BadValueError(f"expected at least one tool; got {shown(value)}")
    found = []
    for index, item in enumerate(value):
        try:
            found.append(_step(item))
        except BadValueError as error:
            raise BadValueError(str(error), index, *error.at, hint=error.hint) from error
    return found


def _calls(observed: Observed) -> tuple[ToolCall, ...] | Finding:
    """The calls; where they are not reported, or one does not say of which tool it is, what that means."""
    calls = tools_called(observed.replies)
    if calls is None:
        return unknown(SILENT)
    nameless = next((call for call in calls if call.malformed is not None and call.name == UNNAMED), None)
    if nameless is None:
        return calls
    return replace(violated(f"a call cannot be read: {nameless.malformed}"), unreadable=True)


def check_tool_used(assertion: Assertion, observed: Observed) -> Finding:
    """Each named tool was called, or one as often as ``min`` and ``max`` say."""
    calls = _calls(observed)
    if isinstance(calls, Finding):
        return calls
    for pattern in assertion.value["tools"]:
        count = sum(fnmatchcase(call.name, pattern) for call in calls)
        found = within(count, assertion.value["limits"], f"calls of {pattern}")
        if found.score != 1.0:
            return violated(found.message, subject=pattern)
    return held()


def tool_sequence(value: Any) -> dict[str, Any]:
    """Reader: a list of steps, or ``{steps, mode: in_order | exact}``."""
    if not isinstance(value, Mapping):
        return {"steps": _steps(value), "mode": "in_order"}
    found = known_keys(value, {"steps": _steps, "mode": one_of("in_order", "exact")})
    if "steps" not in found:
        raise BadValueError("needs 'steps'")
    return {"mode": "in_order", **found}


def check_tool_sequence(assertion: Assertion, observed: Observed) -> Finding:
    """The tools were called in this order; ``exact``: and no others."""
    calls = _calls(observed)
    if isinstance(calls, Finding):
        return calls
    steps, exact = assertion.value["steps"], assertion.value["mode"] == "exact"
    pairs = ordered_matching(len(steps), len(calls), lambda row, column: fnmatchcase(calls[column].name, steps[row]))
    if len(pairs) == len(steps) and (not exact or len(calls) == len(steps)):
        return held()
    met = {row for row, _ in pairs}
    missing = next((step for row, step in enumerate(steps) if row not in met), "")
    told = ", ".join(call.name for call in calls) or "none"
    what = f"{missing} was not called in that order" if missing else "other tools were called besides"
    return violated(f"{what}; called: {told}", subject=missing)


def tool_args(value: Any) -> dict[str, Any]:
    """Reader of ``{name | pattern, args, mode: partial | exact}``."""
    found = known_keys(
        mapping(value),
        {
            **_NAMES,
            "args": arguments,
            "arguments": arguments,
            "mode": one_of("partial", "exact"),
        },
    )
    wanted = found.get("args", found.get("arguments"))
    if wanted is None or ("args" in found and "arguments" in found):
        raise BadValueError("needs 'args'" if wanted is None else "has both 'args' and 'arguments'")
    return {"tool": _named(found), "args": wanted, "mode": found.get("mode", "partial")}


def check_tool_args(assertion: Assertion, observed: Observed) -> Finding:
    """Some call of the tool has these arguments."""
    calls = _calls(observed)
    if isinstance(calls, Finding):
        return calls
    value = assertion.value
    how = Leniency(subset=value["mode"] == "partial")
    named = [call for call in calls if fnmatchcase(call.name, value["tool"])]
    first = ""
    for call in named:
        problem = _args_problem(value["args"], call, how)
        if problem is None:
            return held()
        first = first or problem
    found = violated(f"{value['tool']}: {first or 'it was not called'}", subject=value["tool"])
    return replace(found, unreadable=any(call.malformed is not None for call in named))


def _args_problem(wanted: Any, call: ToolCall, how: Leniency) -> str | None:
    if call.malformed is not None:
        return call.malformed
    differing = mismatch(wanted, call.arguments, how)
    return None if differing is None else f"called {in_words(differing)}"


def step_count(value: Any) -> dict[str, Any]:
    """Reader of ``{type: tool, name | pattern, min, max}``."""
    found = known_keys(
        mapping(value),
        {"type": one_of("tool"), **_NAMES, "min": whole(), "max": whole()},
    )
    if "min" not in found and "max" not in found:
        raise BadValueError("needs 'min', 'max' or both")
    if "name" in found and "pattern" in found:
        raise BadValueError("needs either 'name' or 'pattern'")
    _limits(found)
    return found


def check_step_count(assertion: Assertion, observed: Observed) -> Finding:
    """So many tool calls were made, of all tools or those of a name or pattern."""
    calls = _calls(observed)
    if isinstance(calls, Finding):
        return calls
    value = assertion.value
    pattern = value.get("name", value.get("pattern", "*"))
    count = sum(fnmatchcase(call.name, pattern) for call in calls)
    return within(count, value, "tool calls" if pattern == "*" else f"calls of {pattern}")
