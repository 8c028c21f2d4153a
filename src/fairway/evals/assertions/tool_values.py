"""What a suite writes about tool calls, read into expectations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fairway.canonical import canonical_json
from fairway.evals.assertions.kind import BadValueError
from fairway.evals.assertions.predicate_values import check_predicates
from fairway.evals.assertions.readers import flag, known_keys, mapping, number, one_of, whole
from fairway.evals.assertions.tool_match import Order
from fairway.evals.values import ArgumentMatch, ExpectedTool, ExtraTools
from fairway.mistakes import shown

_MOST_CALLS = 100


def tool_name(value: Any) -> str:
    """Reader of a tool's name."""
    if not isinstance(value, str) or not value.strip():
        raise BadValueError(f"expected the name of a tool; got {shown(value)}")
    return value.strip()


def arguments(value: Any) -> Any:
    """Reader of declared arguments: a mapping of values and predicates."""
    found = mapping(value)
    try:
        canonical_json(found)
    except (ValueError, RecursionError) as error:
        raise BadValueError(f"not something JSON can hold exactly: {error}") from error
    return check_predicates(found)


_TOOL_KEYS = {
    "name": tool_name,
    "arguments": arguments,
    "match": one_of(*ArgumentMatch),
    "tolerance": number,
    "relative": number,
    "coerce": flag,
    "count": whole(1, _MOST_CALLS),
}


def tool(value: Any) -> dict[str, Any]:
    """Reader of one expected call; a bare name is ``{name: …}``."""
    if isinstance(value, str):
        return {"name": tool_name(value)}
    found = known_keys(mapping(value), _TOOL_KEYS)
    if "name" not in found:
        raise BadValueError("needs the 'name' of a tool")
    return found


def tools(value: Any) -> list[dict[str, Any]]:
    """Reader of a list of expected calls."""
    if not isinstance(value, list | tuple):
        raise BadValueError(f"expected a list of tool calls; got {shown(value)}")
    found = []
    for index, one in enumerate(value):
        try:
            found.append(tool(one))
        except BadValueError as error:
            raise BadValueError(str(error), index, *error.at, hint=error.hint) from error
    if sum(one.get("count", 1) for one in found) > _MOST_CALLS:
        raise BadValueError(f"asks for more than {_MOST_CALLS} calls")
    return found


def extra(value: Any) -> Any:
    """Reader of ``extra``: ``forbid``, ``allow``, or how many calls nobody expected there may be."""
    if isinstance(value, str):
        return one_of(*ExtraTools)(value)
    return whole(0, _MOST_CALLS)(value)


def tool_calls_value(value: Any) -> dict[str, Any]:
    """Reader of a ``tool-calls`` assertion; a bare list is what is expected.

    Raises:
        BadValueError: With the key: also when nothing could fail.
    """
    if not isinstance(value, Mapping):
        return {"expected": tools(value)}
    found = known_keys(value, {"expected": tools, "order": one_of(*Order), "extra": extra, "forbidden": tools})
    allowed = found.get("extra", ExtraTools.FORBID)
    if found.get("order") == Order.EXACT and allowed != ExtraTools.FORBID:
        raise BadValueError("order 'exact' allows no other calls", "extra", hint="use order: subsequence")
    if "expected" not in found and "forbidden" not in found:
        raise BadValueError("needs 'expected', 'forbidden' or both", hint="'expected: []' says that no tool is called")
    if not found.get("expected") and not found.get("forbidden") and allowed == ExtraTools.ALLOW:
        raise BadValueError("expects nothing and forbids nothing, so it would always hold")
    return found


def expectations(items: list[dict[str, Any]]) -> tuple[ExpectedTool, ...]:
    """What `tools` read, as expectations."""
    return tuple(expectation(one) for one in items)


def expectation(one: Mapping[str, Any]) -> ExpectedTool:
    """What `tool` read, as an expectation."""
    return ExpectedTool(
        name=one["name"],
        arguments=one.get("arguments"),
        match=ArgumentMatch(one.get("match", ArgumentMatch.SUBSET)),
        tolerance=one.get("tolerance", 0.0),
        relative=one.get("relative", 0.0),
        coerce=one.get("coerce", False),
        count=one.get("count", 1),
    )
