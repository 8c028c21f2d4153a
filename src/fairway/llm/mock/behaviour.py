"""What the model does with a request: a pure function of scenario, request and faults in force."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Any

from fairway.llm.mock.references import MissingValue, render_value
from fairway.llm.mock.requests import CHARACTERS_PER_TOKEN, ChatRequest, ToolResult, tokens_in
from fairway.llm.mock.scenario import CompiledFault, CompiledRule, Condition, ResultCondition, Scenario
from fairway.llm.mock.sections import FaultKind, Latency

_Z95 = 1.6448536269514722  # 95 % quantile of the standard normal
_Z_CAP = 3.5  # keeps one unlucky draw from looking like a hang
_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One tool call as it goes over the wire."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """What the model says.

    Attributes:
        delay: Seconds before the first byte.
        per_token: Seconds between tokens of a stream; a plain answer waits for all of them.
        cut_after: Cut the connection after this many chunks; ``None``: finish.
    """

    rule: str
    id: str
    model: str
    content: str | None
    calls: tuple[Call, ...]
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    delay: float
    per_token: float
    cut_after: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """An answer in OpenAI's error form."""

    status: int
    message: str
    kind: str
    code: str | None = None
    retry_after: float | None = None
    delay: float = 0.0
    rule: str = ""


@dataclass(frozen=True, slots=True)
class _Matched:
    rule: CompiledRule
    scope: dict[str, Any] = field(default_factory=dict)


def respond(
    scenario: Scenario, request: ChatRequest, faults: Iterable[tuple[CompiledFault, float]] = ()
) -> Completion | Refusal:
    """The answer to a request.

    Args:
        scenario: What the model does.
        request: What it is asked.
        faults: Faults to consider and the seconds since each was switched on.

    Returns:
        The same value for the same arguments, always: every draw comes from a hash of seed and request.
    """
    followed = scenario.followed(request.system)
    struck = tuple(fault for fault, elapsed in faults if _strikes(fault, elapsed, scenario.seed, request, followed))
    delay = _draw_latency(scenario.latency, "latency", scenario.seed, request)
    for index, fault in enumerate(struck):
        if fault.kind is FaultKind.LATENCY:
            delay += _draw_latency(fault.delay, f"delay-{index}", scenario.seed, request)
    refused = next((fault for fault in struck if fault.kind in _REFUSALS), None)
    if refused is not None:
        return _refusal(refused.kind, refused.name, refused.retry_after, delay)
    matched = _first_match(scenario.rules, request, followed)
    if matched is None:
        return Refusal(
            status=400,
            message=f"No rule of scenario '{scenario.name}' matches; the last user message begins: "
            f"{request.user[:80]!r}. Add a last rule without 'when' to answer everything else.",
            kind="invalid_request_error",
            code="scenario_no_rule",
        )
    return _complete(matched, scenario, request, struck, delay)


_REFUSALS = frozenset({FaultKind.RATE_LIMIT, FaultKind.SERVER_ERROR})


def _refusal(kind: FaultKind, name: str, retry_after: float, delay: float) -> Refusal:
    if kind is FaultKind.RATE_LIMIT:
        message = "Rate limit reached for requests. Please try again later."
        return Refusal(
            status=429,
            message=message,
            kind="requests",
            code="rate_limit_exceeded",
            retry_after=retry_after,
            rule=name,
        )
    message = "The server had an error while processing your request. Sorry about that!"
    return Refusal(status=500, message=message, kind="server_error", delay=delay, rule=name)


def _complete(
    matched: _Matched, scenario: Scenario, request: ChatRequest, struck: tuple[CompiledFault, ...], delay: float
) -> Completion | Refusal:
    rule = matched.rule
    kinds = {fault.kind for fault in struck}
    if rule.fault is not None:
        if rule.fault in _REFUSALS:
            return _refusal(rule.fault, rule.name, 1.0, delay)
        kinds.add(rule.fault)
    try:
        content, calls = _said(matched, request)
    except MissingValue as error:
        message = f"Scenario rule '{rule.name}': {error}"
        return Refusal(status=400, message=message, kind="invalid_request_error", code="scenario_value", rule=rule.name)
    if FaultKind.MALFORMED_TOOL_CALL in kinds and calls:
        calls = tuple(Call(id=call.id, name=call.name, arguments=_malformed(call.arguments)) for call in calls)
    content, finish_reason = _limited(content, calls, request.max_tokens)
    cut = next((fault.after_chunks for fault in struck if fault.kind is FaultKind.TRUNCATED_STREAM), None)
    if cut is None and FaultKind.TRUNCATED_STREAM in kinds:
        cut = 1
    return Completion(
        rule=rule.name,
        id=f"chatcmpl-{request.digest.hex()[:24]}",
        model=request.model,
        content=content,
        calls=calls,
        finish_reason=finish_reason,
        prompt_tokens=request.prompt_tokens,
        completion_tokens=tokens_in(content or "") + sum(tokens_in(call.name + call.arguments) for call in calls),
        delay=delay,
        per_token=scenario.latency.per_token,
        cut_after=cut,
    )


def _said(matched: _Matched, request: ChatRequest) -> tuple[str | None, tuple[Call, ...]]:
    rule = matched.rule
    scope = _scope(matched.scope, request)
    if rule.reply is not None:
        return rule.reply.render(scope), ()
    if rule.answer is not None:
        return json.dumps(render_value(rule.answer, scope), ensure_ascii=False), ()
    if rule.calls:
        stem = request.digest.hex()[:16]
        return None, tuple(
            Call(
                id=f"call_{stem}{index}",
                name=call.name,
                arguments=json.dumps(render_value(call.arguments, scope), ensure_ascii=False),
            )
            for index, call in enumerate(rule.calls)
        )
    return "This answer breaks off before it", ()  # a rule that is only a truncated stream or a delay


def _scope(captures: Mapping[str, Any], request: ChatRequest) -> dict[str, Any]:
    scope = {name: value for name, value in captures.items() if value is not None}
    results = {result.tool: result.parsed() for result in request.results}
    scope["user"] = request.user
    scope["results"] = results
    scope["result"] = request.results[-1].parsed() if request.results else None
    return scope


def _malformed(arguments: str) -> str:
    """The arguments with their end missing: never JSON, as a model that broke off writes them."""
    return arguments[: max(1, len(arguments) - 2)].rstrip('"}]') + '", '


def _limited(content: str | None, calls: tuple[Call, ...], limit: int | None) -> tuple[str | None, str]:
    if calls:
        return content, "tool_calls"
    if content is not None and limit is not None and tokens_in(content) > limit:
        return content[: limit * CHARACTERS_PER_TOKEN], "length"
    return content, "stop"


def _first_match(rules: tuple[CompiledRule, ...], request: ChatRequest, followed: frozenset[str]) -> _Matched | None:
    for rule in rules:
        if not all(call.name in request.offered for call in rule.calls):
            continue  # a model cannot call a tool it was not offered
        scope = match(rule.when, request, followed)
        if scope is not None:
            return _Matched(rule, scope)
    return None


def match(when: Condition, request: ChatRequest, followed: frozenset[str]) -> dict[str, Any] | None:
    """The captures when every part of a condition holds, else ``None``."""
    if not (when.requires <= followed and not (when.missing & followed)):
        return None
    if not _tools_hold(when, request):
        return None
    if when.user_contains:
        folded = request.user.casefold()
        if not any(text in folded for text in when.user_contains):
            return None
    texts = _match_texts(when, request)
    results = _match_results(when, request)
    return None if texts is None or results is None else texts | results


def _match_texts(when: Condition, request: ChatRequest) -> dict[str, Any] | None:
    candidates: tuple[tuple[re.Pattern[str] | None, tuple[str, ...]], ...] = (
        (when.model, (request.model,)),
        (when.user, (request.user,)),
        (when.conversation, request.users[::-1]),
        (when.system, (request.system,)),
    )
    captures: dict[str, Any] = {}
    for pattern, texts in candidates:
        if pattern is None:
            continue
        found = next((hit for text in texts if (hit := pattern.search(text))), None)
        if found is None:
            return None
        captures.update(found.groupdict())
    return captures


def _match_results(when: Condition, request: ChatRequest) -> dict[str, Any] | None:
    captures: dict[str, Any] = {}
    for condition, results in ((when.newest_result, request.results[-1:]), (when.any_result, request.results[::-1])):
        if condition is None:
            continue
        found = next((hit for one in results if (hit := _match_result(condition, one)) is not None), None)
        if found is None:
            return None
        captures.update(found)
    return captures


def _match_result(condition: ResultCondition, result: ToolResult) -> dict[str, Any] | None:
    if condition.tool is not None and result.tool != condition.tool:
        return None
    if condition.contains is not None and condition.contains not in result.content.casefold():
        return None
    if condition.matches is None:
        return {}
    found = condition.matches.search(result.content)
    return found.groupdict() if found else None


def _tools_hold(when: Condition, request: ChatRequest) -> bool:
    if when.has_tool_result is not None and when.has_tool_result != bool(request.results):
        return False
    if not (when.called <= set(request.called) and not (when.not_called & set(request.called))):
        return False
    return when.offers <= request.offered


def _strikes(fault: CompiledFault, elapsed: float, seed: int, request: ChatRequest, followed: frozenset[str]) -> bool:
    if elapsed < fault.since or (fault.until is not None and elapsed >= fault.until):
        return False
    if match(fault.when, request, followed) is None:
        return False
    return fault.probability >= 1 or _uniform(f"fault-{fault.name}", seed, request) < fault.probability


def _uniform(purpose: str, seed: int, request: ChatRequest) -> float:
    """A draw from [0, 1) that depends on nothing but its arguments."""
    mark = hashlib.blake2b(f"{seed}\0{purpose}".encode(), key=request.digest, digest_size=8)
    return int.from_bytes(mark.digest(), "big") / 2**64


def _draw_latency(latency: Latency, purpose: str, seed: int, request: ChatRequest) -> float:
    """Seconds, log-normal around the median with the given 95th percentile."""
    if latency.median <= 0 or latency.p95 is None or latency.p95 <= latency.median:
        return latency.median
    sigma = math.log(latency.p95 / latency.median) / _Z95
    uniform = min(max(_uniform(purpose, seed, request), 1e-9), 1 - 1e-9)
    return latency.median * math.exp(sigma * max(-_Z_CAP, min(_Z_CAP, _NORMAL.inv_cdf(uniform))))
