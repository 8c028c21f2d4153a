from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.llm.mock.requests import BadRequest, read_chat_request

USER = {"role": "user", "content": "hi"}
CALLED = {"role": "assistant", "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f"}}]}
ANSWERED = {"role": "tool", "tool_call_id": "c1", "content": '{"a": 1}'}


def read(*messages: Any, **more: Any) -> Any:
    return read_chat_request(json.dumps({"model": "m", "messages": list(messages), **more}).encode())


def test_a_conversation_is_taken_apart() -> None:
    system = {"role": "system", "content": [{"type": "text", "text": "Be kind."}]}
    request = read(system, USER, CALLED, ANSWERED, stream=True, stream_options={"include_usage": True})
    assert (request.system, request.users, request.called) == ("Be kind.", ("hi",), ("f",))
    assert request.results[0].parsed() == {"a": 1}
    assert request.stream
    assert request.include_usage


def test_tool_results_count_only_since_the_last_user_message() -> None:
    request = read(USER, CALLED, ANSWERED, {"role": "assistant", "content": "done"}, {"role": "user", "content": "so?"})
    assert (request.results, request.called, request.user) == ((), (), "so?")


def test_no_tool_is_offered_when_the_choice_is_none() -> None:
    tools = [{"type": "function", "function": {"name": "f"}}]
    assert read(USER, tools=tools).offered == {"f"}
    assert read(USER, tools=tools, tool_choice="none").offered == frozenset()


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [{"role": "wizard", "content": "hi"}],
        [{"role": ["user"], "content": "hi"}],
        [{"role": "user", "content": 3}],
        ["hi"],
        [USER, ANSWERED],
        [USER, CALLED],
        [USER, CALLED, USER],
        [USER, CALLED, USER, ANSWERED],
        [USER, {"role": "assistant", "tool_calls": [{"id": "c1"}]}],
        [USER, {"role": "assistant", "tool_calls": "none"}],
    ],
    ids=[
        "empty",
        "role",
        "role-list",
        "content",
        "text",
        "answer-without-call",
        "open-call",
        "call-left",
        "late-answer",
        "no-name",
        "no-list",
    ],
)
def test_what_openai_refuses_is_refused(messages: list[Any]) -> None:
    with pytest.raises(BadRequest):
        read(*messages)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"{}", b'{"model": ""}', b'{"model": "m"}', b"\xff", b"[" * 100_000]
)
def test_a_body_that_is_no_request_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest):
        read_chat_request(body)


NAMES = ["role", "content", "tool_calls", "id", "function", "name", "messages", "model", "tools", "tool_call_id"]
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=12,
)


@given(
    st.dictionaries(st.sampled_from(["tools", "n", "stream_options", "max_tokens", "tool_choice"]), json_values),
    json_values,
)
def test_any_json_is_read_or_refused(more: dict[str, Any], messages: Any) -> None:
    body = json.dumps({"model": "m", "messages": messages, **more}).encode()
    try:
        read_chat_request(body)
    except BadRequest:
        pass


def test_the_digest_depends_on_what_is_asked_and_not_on_how_it_is_written() -> None:
    first = read_chat_request(b'{"model":"m","messages":[{"role":"user","content":"hi"}]}')
    spaced = read_chat_request(b'{ "messages": [ {"content": "hi", "role": "user"} ], "stream": true, "model": "m" }')
    other = read_chat_request(b'{"model":"m","messages":[{"role":"user","content":"hi!"}]}')
    again = read_chat_request(b'{"model":"m","messages":[{"role":"user","content":"hi"}]}', attempt=1)
    assert first.digest == spaced.digest
    assert len({first.digest, other.digest, again.digest}) == 3
