from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.llm.mock.behaviour import Completion, Refusal, respond
from fairway.llm.mock.requests import read_chat_request
from fairway.llm.mock.scenario import Scenario, parse_scenario
from fairway.llm.mock.wire import stream_events

SCENARIO = """\
version: 1
seed: 3
latency: {median: 20ms, p95: 40ms}
directives: {look_first: look it up first}
rules:
  - name: found
    when: {user: 'order (?P<order>\\d+)', tool_result: {tool: lookup, contains: shipped}}
    reply: "Order ${order} is ${result.status}, due ${results.lookup.due|soon}."
  - name: look
    when: {user: 'order (?P<order>\\d+)', requires_directive: look_first, has_tool_result: false}
    tool_call: {name: lookup, arguments: {order_id: "${order}", limit: 3}}
  - name: guess
    when: {user: order, missing_directive: look_first}
    reply: It is surely on its way.
  - name: earlier
    when: {user: when, conversation: 'order (?P<order>\\d+)'}
    reply: about ${order}
  - name: gone
    when: {any_tool_result: {contains: gone}}
    reply: gone
  - name: once
    when: {called: lookup, not_called: pay}
    tool_calls: [{name: pay, arguments: {}}, {name: lookup, arguments: {order_id: "1"}}]
  - name: broken-reference
    when: {user_contains: [BROKEN]}
    reply: ${result.status}
  - name: verdict
    when: {system: 'id (?P<nonce>\\w+)'}
    json: {id: "${nonce}", reason: fine, verdict: pass}
"""
LOOK = "Always look it up first."
TOOLS = [{"type": "function", "function": {"name": name}} for name in ("lookup", "pay")]


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    return parse_scenario(SCENARIO, file="x.yaml")


def ask(scenario: Scenario, *users: str, system: str = "", results: Any = (), tools: Any = TOOLS, **more: Any) -> Any:
    messages: list[Any] = [{"role": "system", "content": system}]
    for index, user in enumerate(users):
        messages += [{"role": "assistant", "content": "."}] if index else []
        messages.append({"role": "user", "content": user})
    for name, result in results:
        function = {"name": name, "arguments": "{}"}
        messages.append({"role": "assistant", "tool_calls": [{"id": "c", "type": "function", "function": function}]})
        messages.append({"role": "tool", "tool_call_id": "c", "content": json.dumps(result)})
    attempt = more.pop("attempt", 0)
    faults = more.pop("faults", ())
    body = json.dumps({"model": "m", "messages": messages, "tools": tools, **more}).encode()
    return respond(scenario, read_chat_request(body, attempt=attempt), faults)


def with_fault(text: str) -> Scenario:
    return parse_scenario(SCENARIO + f"faults: [{text}]\n", file="x.yaml")


def test_a_directive_in_the_prompt_is_followed(scenario: Scenario) -> None:
    said = ask(scenario, "Where is order 7?", system=LOOK)
    assert said.rule == "look"
    assert json.loads(said.calls[0].arguments) == {"order_id": "7", "limit": 3}
    assert said.finish_reason == "tool_calls"


def test_a_directive_missing_from_the_prompt_is_not_followed(scenario: Scenario) -> None:
    said = ask(scenario, "Where is order 7?", system="Be kind.")
    assert (said.rule, said.content, said.calls) == ("guess", "It is surely on its way.", ())


def test_what_a_tool_found_is_in_the_reply(scenario: Scenario) -> None:
    found = ("lookup", {"status": "shipped"})
    assert ask(scenario, "order 7", system=LOOK, results=[found]).content == "Order 7 is shipped, due soon."


def test_only_the_newest_tool_result_counts_unless_any_is_asked_for(scenario: Scenario) -> None:
    found, late = ("lookup", {"status": "shipped"}), ("lookup", {"status": "late"})
    assert ask(scenario, "order 7", system=LOOK, results=[late, found]).rule == "found"
    assert ask(scenario, "order 7", system=LOOK, results=[found, late]).rule != "found"


def test_a_capture_may_come_from_earlier_in_the_conversation(scenario: Scenario) -> None:
    assert ask(scenario, "order 7", "sorry, order 8", "And when?").content == "about 8"


def test_tools_called_in_this_turn_decide(scenario: Scenario) -> None:
    assert [call.name for call in ask(scenario, "x", results=[("lookup", {})]).calls] == ["pay", "lookup"]
    refused = ask(scenario, "x", results=[("lookup", {}), ("pay", {})])
    assert isinstance(refused, Refusal)
    assert ask(scenario, "x", results=[("lookup", "gone"), ("pay", {})]).content == "gone"


def test_a_tool_that_is_not_offered_is_not_called(scenario: Scenario) -> None:
    assert isinstance(ask(scenario, "x", results=[("lookup", {})], tools=TOOLS[:1]), Refusal)


def test_a_judge_is_answered_in_json_with_its_nonce_first(scenario: Scenario) -> None:
    assert ask(scenario, "grade", system="id abc").content == '{"id": "abc", "reason": "fine", "verdict": "pass"}'


def test_no_rule_and_no_value_are_errors_that_name_the_rule(scenario: Scenario) -> None:
    nothing = ask(scenario, "What is love?")
    assert (nothing.status, nothing.code) == (400, "scenario_no_rule")
    missing = ask(scenario, "broken, please")
    assert (missing.status, missing.code, "broken-reference" in missing.message) == (400, "scenario_value", True)


def test_a_reply_stops_at_the_token_limit(scenario: Scenario) -> None:
    said = ask(scenario, "order", system="", max_tokens=3)
    assert (said.content, said.finish_reason, said.completion_tokens) == ("It is surely", "length", 3)


@given(user=st.text(max_size=30), system=st.sampled_from(["", LOOK, "id x"]), attempt=st.integers(0, 3))
def test_the_same_request_gets_the_same_answer(user: str, system: str, attempt: int) -> None:
    first, second = (
        ask(parse_scenario(SCENARIO, file="x"), f"order {user}", system=system, attempt=attempt) for _ in range(2)
    )
    assert first == second


def test_latency_has_the_median_and_the_95th_percentile_it_says(scenario: Scenario) -> None:
    delays = sorted(ask(scenario, f"order {number}").delay for number in range(2000))
    assert 0.018 < delays[1000] < 0.022
    assert 0.036 < delays[1900] < 0.044
    assert delays[-1] < 0.09


def test_a_fault_strikes_its_share_of_requests_and_a_retry_is_drawn_anew() -> None:
    faulty = with_fault("{kind: server_error, probability: 0.3}")
    faults = [(faulty.faults[0], 0.0)]
    struck = [isinstance(ask(faulty, f"order {number}", faults=faults), Refusal) for number in range(1000)]
    assert 250 < sum(struck) < 350
    assert struck == [isinstance(ask(faulty, f"order {number}", faults=faults), Refusal) for number in range(1000)]
    again = [isinstance(ask(faulty, f"order {n}", faults=faults, attempt=1), Refusal) for n in range(1000)]
    assert 50 < sum(a and b for a, b in zip(struck, again, strict=True)) < 130


@pytest.mark.parametrize(("elapsed", "status"), [(0.0, 200), (9.9, 200), (10.0, 429), (69.9, 429), (70.0, 200)])
def test_a_window_opens_and_closes(elapsed: float, status: int) -> None:
    faulty = with_fault("{kind: rate_limit, from: 10s, until: 70s, retry_after: 2s}")
    said = ask(faulty, "order", faults=[(faulty.faults[0], elapsed)])
    assert (said.status if isinstance(said, Refusal) else 200) == status
    assert not isinstance(said, Refusal) or said.retry_after == 2.0


def test_a_fault_may_ask_a_condition() -> None:
    faulty = with_fault("{kind: server_error, when: {user: order 7}}")
    assert isinstance(ask(faulty, "order 7", faults=[(faulty.faults[0], 0)]), Refusal)
    assert isinstance(ask(faulty, "order 8", faults=[(faulty.faults[0], 0)]), Completion)


def test_a_malformed_call_is_not_json_and_a_latency_fault_only_waits() -> None:
    faulty = with_fault("{kind: malformed_tool_call}, {kind: latency, delay: {median: 3s}}")
    said = ask(faulty, "order 7", system=LOOK, faults=[(fault, 0.0) for fault in faulty.faults])
    assert said.delay > 3
    with pytest.raises(ValueError, match=r"."):
        json.loads(said.calls[0].arguments)


def test_a_stream_says_the_same_as_the_plain_answer(scenario: Scenario) -> None:
    for user in ("order 7", "order"):
        said = ask(scenario, user, system=LOOK if "7" in user else "")
        events = [event.removeprefix(b"data: ").strip() for event in stream_events(said, include_usage=True)]
        assert events[-1] == b"[DONE]"
        chunks = [json.loads(event) for event in events[:-1]]
        deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
        assert "".join(delta.get("content") or "" for delta in deltas) == (said.content or "")
        parts = [part["function"]["arguments"] for delta in deltas for part in delta.get("tool_calls", [])]
        assert "".join(parts) == "".join(call.arguments for call in said.calls)
        assert chunks[-1]["usage"]["completion_tokens"] == said.completion_tokens
        assert all(chunk["usage"] is None for chunk in chunks[:-1])
