from __future__ import annotations

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.clock import SystemClock
from fairway.errors import BusyError, PermanentError, UserError
from fairway.evals.subjects.command import CommandSubject
from fairway.evals.subjects.function import CallableSubject
from fairway.evals.subjects.model import Asking, ModelSubject, request_cost_at_most
from fairway.evals.subjects.open import NamedPrompt, open_subject
from fairway.evals.trials import Question
from fairway.evals.values import Reply, ToolCall
from fairway.llm.formats import ANTHROPIC, FORMATS, OPENAI
from fairway.llm.values import ChatMessage, CompletionRequest, Endpoint
from fairway.testing.scripted_arm import ArmRequest, ScriptedArm, answer

KEYS = {"OPENAI_API_KEY": "key-o", "ANTHROPIC_API_KEY": "key-a"}
OPENAI_ANSWER = {
    "model": "m-1",
    "choices": [
        {
            "message": {"content": None, "tool_calls": [{"function": {"name": "f", "arguments": '{"x": 1}'}}]},
            "finish_reason": "tool_calls",
        }
    ],
    "usage": {"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 4}},
}
ANTHROPIC_ANSWER = {
    "model": "m-1",
    "content": [
        {"type": "thinking", "thinking": "hm"},
        {"type": "text", "text": "I "},
        {"type": "text", "text": "look."},
        {"type": "tool_use", "id": "1", "name": "f", "input": {"x": 1}},
    ],
    "stop_reason": "tool_use",
    "usage": {"input_tokens": 6, "output_tokens": 5, "cache_read_input_tokens": 4, "cache_creation_input_tokens": 2},
}


class Prices:
    """One millionth of a dollar for each token that was sent, ten for each that was answered; cached ones are free."""

    def cost_micros(self, model: str, tokens_in: int, tokens_out: int, cached: int = 0, written: int = 0) -> int | None:
        return tokens_in - cached + 10 * tokens_out if model in ("m", "m-1") else None


def asked(*turns: str, replies: tuple[Reply, ...] = (), **variables) -> Question:
    return Question(suite="s", case_id="c", turns=turns or ("Hi",), replies=replies, thread="t", variables=variables)


async def put(kind: str, body: object, question: Question | None = None, asking: Asking | None = None):
    async def script(_: ArmRequest, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(json.dumps(body).encode(), outcome=None))

    async with ScriptedArm(script) as server:
        endpoint = Endpoint(base_url=f"http://{server.endpoint}/v1", model="m", api_key="key")
        subject = ModelSubject(FORMATS[kind], endpoint, asking or Asking(), clock=SystemClock(), prices=Prices())
        async with subject:
            reply = await subject.ask(question or asked())
        return reply, json.loads(server.requests[0].body), server.requests[0]


async def test_openai_is_asked_and_read_as_it_speaks():
    tools = ({"name": "f", "description": "d", "parameters": {"type": "object"}},)
    reply, sent, request = await put("openai", OPENAI_ANSWER, asking=Asking(tools=tools, max_tokens=7))
    assert request.target == "/v1/chat/completions"
    assert request.header("authorization") == "Bearer key"
    assert sent["messages"] == [{"role": "user", "content": "Hi"}]
    assert sent["tools"][0]["function"] == {"name": "f", "description": "d", "parameters": {"type": "object"}}
    assert sent["max_tokens"] == 7
    assert (reply.text, reply.finish_reason, reply.model) == ("", "tool_calls", "m-1")
    assert reply.tools == (ToolCall(name="f", arguments={"x": 1}),)
    assert (reply.tokens_in, reply.tokens_out, reply.cost_micros) == (10, 5, 56)


async def test_anthropic_is_asked_and_read_as_it_speaks():
    tools = ({"name": "f", "parameters": {"type": "object"}},)
    asking = Asking(tools=tools, system=lambda question: "Be kind.")
    reply, sent, request = await put("anthropic", ANTHROPIC_ANSWER, asking=asking)
    assert request.target == "/v1/messages"
    assert (request.header("x-api-key"), request.header("anthropic-version")) == ("key", "2023-06-01")
    assert request.header("authorization") is None
    assert (sent["system"], sent["messages"]) == ("Be kind.", [{"role": "user", "content": "Hi"}])
    assert sent["tools"] == [{"name": "f", "description": "", "input_schema": {"type": "object"}}]
    assert (reply.text, reply.finish_reason) == ("I look.", "tool_calls")
    assert reply.tools == (ToolCall(name="f", arguments={"x": 1}),)
    assert (reply.tokens_in, reply.tokens_out, reply.cost_micros) == (12, 5, 8 + 50)


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
async def test_the_whole_conversation_goes_along_and_calls_are_told_in_words(kind):
    replies = (Reply(text="Which?"), Reply(text="", tools=(ToolCall(name="f", arguments={"x": 1}),)))
    body = OPENAI_ANSWER if kind == "openai" else ANTHROPIC_ANSWER
    _, sent, _ = await put(kind, body, asked("one", "two", "three", replies=replies))
    assert [(message["role"], message["content"]) for message in sent["messages"]] == [
        ("user", "one"),
        ("assistant", "Which?"),
        ("user", "two"),
        ("assistant", '(called f({"x": 1}))'),
        ("user", "three"),
    ]


@pytest.mark.parametrize(
    ("stop", "finish"), [("end_turn", "stop"), ("max_tokens", "length"), ("refusal", "content_filter"), ("new", "new")]
)
def test_why_an_answer_ended_is_said_in_the_same_words_for_all(stop, finish):
    found = ANTHROPIC.read({"content": [{"type": "text", "text": "x"}], "stop_reason": stop})
    assert found.finish_reason == finish
    assert (found.tokens_in, found.tokens_out) == (None, None)


@pytest.mark.parametrize(
    "body",
    [None, [], {}, {"content": "x"}, {"content": [1]}, {"content": [{"type": "text"}]}, {"content": []}, {"error": {}}],
)
def test_what_is_no_message_is_refused(body):
    with pytest.raises(PermanentError):
        ANTHROPIC.read(body)


def test_a_refusal_is_an_answer_of_its_own_kind():
    choice = {"message": {"content": None, "refusal": "I cannot"}, "finish_reason": "stop"}
    found = OPENAI.read({"choices": [choice]})
    assert (found.text, found.finish_reason) == ("I cannot", "content_filter")


@pytest.mark.parametrize("status", ["429 X", "503 X", "529 X"])
async def test_an_endpoint_that_is_busy_is_asked_once_because_the_run_tries_again_by_itself(status):
    async def script(_: ArmRequest, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(b"", status=status, outcome=None))

    async with ScriptedArm(script) as server:
        async with open_subject(f"openai:m@http://{server.endpoint}/v1") as subject:
            with pytest.raises(BusyError):
                await subject.ask(asked())
        assert len(server.requests) == 1


@given(st.text(max_size=60), st.integers(1, 50))
def test_what_a_call_costs_at_most_is_never_less_than_what_it_can_cost(text, most):
    """Every tokenizer that falls back to bytes has at most a token a byte."""
    request = CompletionRequest(messages=(ChatMessage(role="user", content=text),), max_tokens=most)
    found = request_cost_at_most(request, "m", Prices())
    assert found is not None
    assert found >= len(text.encode("utf-8", "replace")) + 10 * most
    assert request_cost_at_most(request, "other", Prices()) is None
    assert request_cost_at_most(request, "m", None) is None


def identity(text: str, **changes) -> object:
    return open_subject(text, environment=KEYS, **changes).info.identity


def test_the_same_words_are_the_same_subject_and_no_key_is_in_what_it_is_known_by():
    same = identity("openai:m@http://127.0.0.1:9/v1")
    assert same == identity("openai:m@http://127.0.0.1:9/v1")
    others = [
        identity("openai:n@http://127.0.0.1:9/v1"),
        identity("openai:m@http://127.0.0.1:8/v1"),
        identity("anthropic:m@http://127.0.0.1:9/v1"),
        identity("openai:m@http://127.0.0.1:9/v1", max_tokens=9),
    ]
    assert same not in others
    assert "key-" not in json.dumps([same, *others])


async def test_a_key_is_sent_to_this_machine_or_by_tls_and_never_in_the_clear():
    for url, sent in (("http://127.0.0.1:9/v1", True), ("https://x.test/v1", True), ("http://x.test/v1", False)):
        subject = open_subject(f"openai:m@{url}", environment=KEYS)
        assert isinstance(subject, ModelSubject)
        assert (subject._endpoint.api_key is not None) is sent
        assert "key-o" not in repr(subject._endpoint)


def prompt(name: str, version: str | None) -> NamedPrompt:
    if name != "refunds":
        raise UserError("there is no such prompt")
    return NamedPrompt(
        name=name,
        version=version or "2",
        sha256="sha256:1",
        render=lambda values: f"Be {values.get('tone', 'kind')}. {values.get('message', '')}".strip(),
        variables=frozenset({"tone", "message"}),
        message_variable="message" if version == "3" else None,
        endpoint=Endpoint(base_url="http://127.0.0.1:9/v1", model="m"),
    )


@pytest.mark.parametrize(
    ("version", "messages"),
    [
        ("", [("system", "Be brief."), ("user", "Hi")]),
        ("@3", [("user", "Be brief. Hi")]),
    ],
)
def test_a_prompt_of_the_project_is_rendered_with_the_variables_of_the_case(version, messages):
    subject = open_subject(f"prompt:refunds{version}", prompts=prompt)
    assert isinstance(subject, ModelSubject)
    request = subject._request(asked(tone="brief", unknown="left out"))
    assert [(message.role, message.content) for message in request.messages] == messages
    assert subject.info.kind == "prompt"
    assert subject.info.name == f"refunds@{version.removeprefix('@') or '2'} with m"
    assert (subject.info.identity or {})["prompt"]


def test_a_target_is_opened_by_its_first_word(tmp_path):
    assert open_subject("http://127.0.0.1:9/chat").info.kind == "url"
    assert isinstance(open_subject("cmd: ./agent --x 'a b'"), CommandSubject)
    assert open_subject("cmd: ./agent --x 'a b'").info.name == "./agent --x a b"
    assert isinstance(open_subject("python:json:dumps", root=tmp_path), CallableSubject)
    assert open_subject("anthropic:m", environment=KEYS).info.kind == "anthropic"


@pytest.mark.parametrize(
    "text",
    [
        "", "x", "ftp://x", "http://", "cmd:", "cmd:'", "python:", "python:x", "openai:", "openai:m", "openai:@http://x",
        "openai:m@http://", "prompt:x", "prompt:", "mailto:ada@example.com",
    ],
)  # fmt: skip
def test_what_names_nobody_is_refused_with_what_may_be_written(text):
    with pytest.raises(UserError):
        open_subject(text, environment={})


def test_a_prompt_that_is_not_there_is_said():
    with pytest.raises(UserError):
        open_subject("prompt:x", prompts=prompt)
