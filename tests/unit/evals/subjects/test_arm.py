from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from fairway.clock import SystemClock
from fairway.errors import BusyError, FairwayError, PermanentError, TransientError
from fairway.evals.config import EvalsSection
from fairway.evals.subjects.arm import ArmSubject, HttpAgent, UrlSubject
from fairway.evals.subjects.mapping import (
    ChatMapping,
    chat_mapping,
    get_pointer,
    micros,
    parse_outcome,
    passages,
    request_body,
    set_pointer,
)
from fairway.evals.trials import Question, SubjectInfo
from fairway.evals.values import Reply
from fairway.testing.scripted_arm import CUT, HANG, ArmRequest, answer, serving

INFO = SubjectInfo(kind="arm", name="agent")


def ok(body: object, *, outcome: str | None = None) -> bytes:
    return answer(json.dumps(body).encode(), outcome=outcome)


def status(text: str, *headers: str) -> bytes:
    return answer(b"", status=text, headers=headers, outcome=None)


def question(message: str = "Hi", thread: str = "t", **changes) -> Question:
    return Question(suite="s", case_id="c", turns=(message,), thread=thread, **changes)


async def ask(*answers: bytes, mapping: ChatMapping | None = None, **changes) -> tuple[Reply, list[ArmRequest]]:
    async with serving(*answers) as server:
        url = f"http://{server.endpoint}/"
        async with ArmSubject(url, mapping or ChatMapping(), INFO, timeout_seconds=0.5) as subject:
            return await subject.ask(question(**changes)), server.requests


@pytest.mark.parametrize(
    ("code", "body", "told"),
    [
        ("422 Unprocessable", b'{"detail": "message:\n field required"}', '422: {"detail": "message: field required"}'),
        ("500 Oops", b"\x1b[31mboom", "500: \ufffd[31mboom"),
        ("400 Bad", b"x" * 5000, "400: " + "x" * 199 + "…"),
        ("401 No", b"key sk-proj-" + b"a1B2" * 12, "401"),
        ("404 No", b" ", "404"),
    ],
)
async def test_a_refusal_is_told_with_what_the_agent_said_of_it_but_no_secret(code, body, told):
    with pytest.raises(FairwayError) as caught:
        await ask(answer(body, status=code, outcome=None))
    assert caught.value.message == f"the agent answered {told}"


async def test_a_turn_is_posted_as_the_template_reads_it_and_its_answer_read():
    body = {"response": "Hello", "thread_id": "t", "tools": [{"name": "f", "arguments": '{"x": 1}'}, {"nom": 1}]}
    raw = ok(body, outcome="status=ok, tokens_in=120, tokens_out=30, tools=1, cost=0.0012")
    reply, asked = await ask(raw, thread="t-1")
    assert asked[0].target == "/chat"
    assert asked[0].header("x-conversation-id") == "t-1"
    assert asked[0].body == b'{"message":"Hi","thread_id":"t-1"}'
    assert (reply.text, reply.tokens_in, reply.tokens_out, reply.status) == ("Hello", 120, 30, "ok")
    assert reply.cost_micros == 1200
    assert reply.latency_seconds is not None
    assert [(call.name, bool(call.malformed)) for call in reply.tools or ()] == [("f", False), ("?", True)]


async def test_any_other_shape_is_reached_by_pointers():
    mapping = ChatMapping(
        path="/v1/ask",
        message="/input/0text",
        thread="/meta/session",
        thread_header=None,
        variables="/meta/variables",
        extra={"stream": False},
        text="/choices/0/message/content",
        tools="/choices/0/message/tool_calls",
        tokens_in="/usage/prompt_tokens",
        tokens_out="/usage/completion_tokens",
        cost="/usage/cost",
        state="/state",
        context="/documents",
        finish_reason="/choices/0/finish_reason",
        model="/model",
    )
    called = [{"function": {"name": "f", "arguments": "{}"}}]
    body = {
        "choices": [{"message": {"content": "Hello", "tool_calls": called}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 4, "cost": 0.5},
        "state": {"refunds": []},
        "documents": ["one", {"page_content": "two"}],
        "model": "m-1",
    }
    reply, asked = await ask(ok(body), mapping=mapping, variables={"tier": "gold"})
    sent = b'{"stream":false,"input":{"0text":"Hi"},"meta":{"session":"t","variables":{"tier":"gold"}}}'
    assert asked[0].body == sent
    assert (reply.text, reply.tokens_in, reply.tokens_out, reply.cost_micros) == ("Hello", 3, 4, 500_000)
    assert (reply.state, reply.context) == ({"refunds": []}, ("one", "two"))
    assert (reply.finish_reason, reply.model) == ("stop", "m-1")
    assert reply.tools is not None
    assert reply.tools[0].name == "f"


def test_a_project_declares_the_mapping_in_its_evals_section():
    section = EvalsSection.model_validate(
        {"request": {"message": "/input", "thread": None}, "response": {"text": "/out/0", "tools": None, "state": "/s"}}
    )
    assert chat_mapping(section, path="/ask") == ChatMapping(
        path="/ask", message="/input", thread=None, text="/out/0", tools=None, state="/s"
    )
    assert chat_mapping(EvalsSection(), path="/chat") == ChatMapping()


@pytest.mark.parametrize(
    "wrong", [{"request": {"message": ""}}, {"request": {"message": "input"}}, {"response": {"text": "/a~2"}}]
)
def test_a_pointer_that_is_none_is_refused(wrong):
    with pytest.raises(ValidationError):
        EvalsSection.model_validate(wrong)


async def test_what_the_answer_does_not_say_is_unknown():
    reply, _ = await ask(ok({"response": "Hello"}))
    assert (reply.tools, reply.tokens_in, reply.tokens_out, reply.status) == (None, None, None, None)
    assert (reply.cost_micros, reply.state, reply.context, reply.model) == (None, None, None, None)


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        (status("500 X"), TransientError),
        (status("429 X", "retry-after: 7"), BusyError),
        (status("503 X"), BusyError),
        (status("404 X"), PermanentError),
        (status("302 X", "location: /x"), PermanentError),
        (answer(b"<html>", outcome=None), PermanentError),
        (answer(b"[" * 100_000, outcome=None), PermanentError),
        (ok({"reply": "x"}), PermanentError),
        (ok({"response": 3}), PermanentError),
        (HANG, TransientError),
        (CUT, TransientError),
        (b"SSH-2.0-x\r\n", PermanentError),
    ],
)
async def test_an_answer_that_is_none_is_an_error_of_its_own_and_asked_for_once(raw, error):
    async with serving(raw) as server:
        subject = ArmSubject(f"http://{server.endpoint}", ChatMapping(), INFO, timeout_seconds=0.2)
        async with subject:
            with pytest.raises(error) as caught:
                await subject.ask(question())
        assert len(server.requests) == 1
    if b"retry-after" in raw:
        assert caught.value.retry_after == 7.0


async def test_nobody_there_is_trouble_and_no_failure():
    async with ArmSubject("http://127.0.0.1:9", ChatMapping(), INFO) as subject:
        with pytest.raises(TransientError):
            await subject.ask(question())


class NoWait(SystemClock):
    def __init__(self) -> None:
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


async def chat(clock: NoWait, *answers: bytes) -> tuple[str, int]:
    async with (
        serving(*answers) as server,
        HttpAgent(f"http://{server.endpoint}", ChatMapping(), clock=clock) as agent,
    ):
        try:
            return (await agent.ask("Hi", thread="t")).text, len(server.requests)
        except TransientError as error:
            return error.code, len(server.requests)


async def test_a_chat_outside_a_run_waits_429_out_as_told_and_not_for_ever():
    hello = ok({"response": "Hello"})
    clock = NoWait()
    # told once for the call itself, once for the endpoint as a whole
    clock.monotonic = lambda: sum(clock.slept)  # type: ignore[method-assign]
    assert await chat(clock, status("429 X", "retry-after: 2"), hello) == ("Hello", 2)
    assert 2.0 <= sum(clock.slept) <= 3.0
    assert await chat(NoWait(), *[status("429 X")] * 3) == ("agent_unavailable", 3)
    assert await chat(NoWait(), status("429 X", "retry-after: 3600")) == ("agent_unavailable", 1)
    assert await chat(NoWait(), status("500 X")) == ("agent_unavailable", 1)


async def test_half_a_surrogate_pair_in_an_answer_does_no_harm():
    reply, _ = await ask(answer(b'{"response": "a\\ud800"}', outcome=None))
    reply.text.encode()


async def test_a_state_that_is_not_in_the_answer_is_fetched_after_the_turn():
    mapping = ChatMapping(state_path="/state/{thread}")
    reply, asked = await ask(ok({"response": "x"}), ok({"refunds": 1}), mapping=mapping)
    assert (asked[1].method, asked[1].target, reply.state) == ("GET", "/state/t", {"refunds": 1})
    reply, _ = await ask(ok({"response": "x"}), status("500 X"), mapping=mapping)
    assert reply.state is None


async def test_the_state_of_an_address_is_beside_its_chat_and_not_below_it():
    async with serving(ok({"response": "x"}), ok({"refunds": 1})) as server:
        mapping = ChatMapping(state_path="/state/{thread}")
        async with UrlSubject(f"http://{server.endpoint}/v1/chat?c=1", mapping) as subject:
            assert (await subject.ask(question())).state == {"refunds": 1}
        assert [request.target for request in server.requests] == ["/v1/chat?c=1", "/state/t"]


async def test_an_address_is_asked_as_it_is_written_and_known_only_by_a_version_somebody_names():
    async with serving(ok({"response": "Hello"})) as server:
        url = f"http://{server.endpoint}/a/b?c=1"
        async with UrlSubject(url, ChatMapping(), headers={"authorization": "Bearer k"}) as subject:
            await subject.ask(question())
        assert (server.requests[0].target, server.requests[0].header("authorization")) == ("/a/b?c=1", "Bearer k")
    assert subject.info.identity is None
    identity = UrlSubject(url, ChatMapping(), version="1").info.identity
    assert identity is not None
    assert identity != UrlSubject(url, ChatMapping(text="/x"), version="1").info.identity
    assert "Bearer" not in json.dumps(identity)


@pytest.mark.parametrize(
    ("header", "fields"),
    [
        (None, {}),
        ("status=ok, tokens_in=, tokens_out=5", {"status": "ok", "tokens_out": "5"}),
        ("tokens_in=1, tokens_in=2, model=m", {"model": "m"}),
        ("garbage", {}),
    ],
)
def test_an_outcome_header_is_read_leniently_and_doubt_is_unknown(header, fields):
    assert parse_outcome(header) == fields


@pytest.mark.parametrize("value", ["-1", "1.5", "0x1", "\u0663", "9" * 30, "many"])
async def test_a_token_count_that_is_no_count_is_unknown(value):
    raw = ok({"response": "x"}, outcome=f"tokens_in={value}, tokens_out=1")
    reply, _ = await ask(raw)
    assert (reply.tokens_in, reply.tokens_out) == (None, 1)


@pytest.mark.parametrize(
    ("usd", "found"),
    [(0, 0), (0.1, 100_000), ("0.0000001", 1), (True, None), (-1, None), ("nan", None), ("1e999", None), ({}, None)],
)
def test_money_is_whole_millionths_rounded_up_and_what_is_no_money_is_unknown(usd, found):
    assert micros(usd) == found


@pytest.mark.parametrize("found", [None, "text", [1], [{"x": "y"}], ["a", None]])
def test_passages_that_cannot_be_read_are_unknown(found):
    assert passages(found) is None


@given(
    st.text(max_size=20),
    st.recursive(st.none() | st.text(max_size=3), lambda s: st.lists(s) | st.dictionaries(st.text(max_size=2), s)),
)
def test_a_pointer_finds_something_or_nothing(pointer, document):
    get_pointer(document, pointer)


def test_a_request_pointer_through_a_value_is_refused():
    with pytest.raises(FairwayError):
        set_pointer({"a": 1}, "/a/b", "x")
    with pytest.raises(FairwayError):
        set_pointer({}, "", "x")


def test_one_conversation_never_writes_into_the_request_of_another():
    mapping = ChatMapping(message="/input/text", thread="/input/thread", extra={"input": {"kind": "chat"}})
    first = request_body(question("one", "t1"), mapping)
    second = request_body(question("two", "t2"), mapping)
    assert first == {"input": {"kind": "chat", "text": "one", "thread": "t1"}}
    assert second == {"input": {"kind": "chat", "text": "two", "thread": "t2"}}
    assert mapping.extra == {"input": {"kind": "chat"}}


@pytest.mark.parametrize(
    ("body", "shape"),
    [
        ({"reply": "x", "tools": []}, "its keys are: reply, tools"),
        ({f"k{number}": 1 for number in range(9)}, "its keys are: k0, k1, k2, k3, k4, k5, k6, k7, …"),
        ({}, "it is an empty object"),
        (["Hello"], "it is a list"),
        (3, "it is no object"),
    ],
)
async def test_an_answer_without_text_is_told_by_its_keys(body, shape):
    with pytest.raises(PermanentError) as caught:
        await ask(ok(body))
    assert caught.value.message == f"the agent's answer has no text at /response ({shape})"
    assert "evals.response.text" in (caught.value.hint or "")
