from __future__ import annotations

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from fairway.clock import SystemClock
from fairway.errors import FairwayError, PermanentError, TransientError
from fairway.evals.config import EvalsSection
from fairway.evals.subjects.arm import ChatMapping, HttpAgent, chat_mapping, get_pointer, parse_outcome, set_pointer


class NoWait(SystemClock):
    def __init__(self) -> None:
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


def agent(*responses: httpx.Response | Exception, mapping: ChatMapping | None = None, clock: NoWait | None = None):
    answers = list(responses)
    asked: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    transport = httpx.MockTransport(handle)
    made = HttpAgent("http://agent/", mapping or ChatMapping(), clock=clock or NoWait(), transport=transport)
    return made, asked


async def test_a_turn_is_posted_as_the_template_reads_it_and_its_answer_read():
    answer = httpx.Response(
        200,
        json={"response": "Hello", "thread_id": "t", "tools": [{"name": "f", "arguments": '{"x": 1}'}, {"nom": 1}]},
        headers={"Fairway-Outcome": "status=ok, tokens_in=120, tokens_out=30, tools=1"},
    )
    made, asked = agent(answer)
    reply = await made.ask("Hi", thread="t-1")
    assert asked[0].url == "http://agent/chat"
    assert asked[0].headers["x-conversation-id"] == "t-1"
    assert asked[0].read() == b'{"message":"Hi","thread_id":"t-1"}'
    assert (reply.text, reply.tokens_in, reply.tokens_out, reply.status) == ("Hello", 120, 30, "ok")
    assert [(call.name, bool(call.malformed)) for call in reply.tools or ()] == [("f", False), ("?", True)]


async def test_any_other_shape_is_reached_by_pointers():
    mapping = ChatMapping(
        path="/v1/ask",
        message="/input/0text",
        thread="/meta/session",
        thread_header=None,
        extra={"stream": False},
        text="/choices/0/message/content",
        tools="/choices/0/message/tool_calls",
        tokens_in="/usage/prompt_tokens",
        tokens_out="/usage/completion_tokens",
    )
    body = {
        "choices": [{"message": {"content": "Hello", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 4},
    }
    made, asked = agent(httpx.Response(200, json=body), mapping=mapping)
    reply = await made.ask("Hi", thread="t")
    assert asked[0].read() == b'{"stream":false,"input":{"0text":"Hi"},"meta":{"session":"t"}}'
    assert (reply.text, reply.tokens_in, reply.tokens_out) == ("Hello", 3, 4)
    assert reply.tools is not None
    assert reply.tools[0].name == "f"


def test_a_project_declares_the_mapping_in_its_evals_section():
    section = EvalsSection.model_validate(
        {"request": {"message": "/input", "thread": None}, "response": {"text": "/out/0", "tools": None}}
    )
    assert chat_mapping(section, path="/ask") == ChatMapping(
        path="/ask", message="/input", thread=None, text="/out/0", tools=None
    )
    assert chat_mapping(EvalsSection(), path="/chat") == ChatMapping()


@pytest.mark.parametrize(
    "wrong", [{"request": {"message": ""}}, {"request": {"message": "input"}}, {"response": {"text": "/a~2"}}]
)
def test_a_pointer_that_is_none_is_refused(wrong):
    with pytest.raises(ValidationError):
        EvalsSection.model_validate(wrong)


async def test_what_the_answer_does_not_say_is_unknown():
    made, _ = agent(httpx.Response(200, json={"response": "Hello"}))
    reply = await made.ask("Hi", thread="t")
    assert (reply.tools, reply.tokens_in, reply.tokens_out, reply.status) == (None, None, None, None)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (httpx.Response(500), TransientError),
        (httpx.Response(404), PermanentError),
        (httpx.Response(302, headers={"location": "/x"}), PermanentError),
        (httpx.Response(200, text="<html>"), PermanentError),
        (httpx.Response(200, text="[" * 100_000), PermanentError),
        (httpx.Response(200, json={"reply": "x"}), PermanentError),
        (httpx.Response(200, json={"response": 3}), PermanentError),
        (httpx.ConnectError("refused"), TransientError),
        (httpx.ReadTimeout("slow"), TransientError),
        (httpx.RemoteProtocolError("cut"), TransientError),
    ],
)
async def test_an_answer_that_is_none_is_an_error_of_its_own(answer, error):
    made, asked = agent(answer)
    with pytest.raises(error):
        await made.ask("Hi", thread="t")
    assert len(asked) == 1


async def test_429_is_waited_out_as_told_and_not_for_ever():
    clock = NoWait()
    made, _ = agent(
        httpx.Response(429, headers={"retry-after": "2"}), httpx.Response(200, json={"response": "Hello"}), clock=clock
    )
    assert (await made.ask("Hi", thread="t")).text == "Hello"
    assert clock.slept == [2.0]
    made, asked = agent(*[httpx.Response(429)] * 3)
    with pytest.raises(TransientError):
        await made.ask("Hi", thread="t")
    assert len(asked) == 3
    made, asked = agent(httpx.Response(429, headers={"retry-after": "3600"}))
    with pytest.raises(TransientError):
        await made.ask("Hi", thread="t")
    assert len(asked) == 1


async def test_half_a_surrogate_pair_in_an_answer_does_no_harm():
    made, _ = agent(httpx.Response(200, content=b'{"response": "a\\ud800"}'))
    (await made.ask("Hi", thread="t")).text.encode()


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


@pytest.mark.parametrize("value", ["-1", "1.5", "0x1", "٣", "9" * 30, "many"])
async def test_a_token_count_that_is_no_count_is_unknown(value):
    header = {"Fairway-Outcome": f"tokens_in={value}, tokens_out=1".encode()}
    made, _ = agent(httpx.Response(200, json={"response": "x"}, headers=header))
    reply = await made.ask("Hi", thread="t")
    assert (reply.tokens_in, reply.tokens_out) == (None, 1)


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
    made, _ = agent(httpx.Response(200, json=body))
    with pytest.raises(PermanentError) as caught:
        await made.ask("Hi", thread="t")
    assert caught.value.message == f"the agent's answer has no text at /response ({shape})"
    assert "evals.response.text" in (caught.value.hint or "")
