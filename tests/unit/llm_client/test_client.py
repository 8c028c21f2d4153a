from __future__ import annotations

import json
import random
from datetime import UTC, datetime

import httpx
import pytest

from fairway.clock import SystemClock
from fairway.errors import FairwayError, PermanentError, TransientError
from fairway.llm.client import ChatMessage, CompletionRequest, Endpoint, OpenAIModelClient, parse_retry_after

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
SECRET = "key-123456789"
ASK = CompletionRequest(messages=(ChatMessage(role="user", content="hi"),), response_schema={"type": "object"})


class StoppedClock(SystemClock):
    def __init__(self) -> None:
        self.slept: list[float] = []

    def now(self) -> datetime:
        return NOW

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


def completion(**changes) -> httpx.Response:
    body = {
        "model": "m-1",
        "choices": [{"message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 2},
    }
    return httpx.Response(200, json=body | changes)


class Server:
    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers, self.asked = list(answers), []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


async def ask(server: Server, clock: StoppedClock | None = None, **changes):
    endpoint = Endpoint(**({"base_url": "http://llm/v1/", "model": "m", "api_key": SECRET} | changes))
    client = OpenAIModelClient(
        endpoint, clock=clock or StoppedClock(), rng=random.Random(1), transport=httpx.MockTransport(server)
    )
    async with client:
        return await client.complete(ASK)


async def test_a_question_is_sent_as_openai_servers_read_it_and_its_answer_read():
    server = Server(completion())
    answer = await ask(server)
    sent = json.loads(server.asked[0].content)
    assert server.asked[0].url == "http://llm/v1/chat/completions"
    assert server.asked[0].headers["authorization"] == f"Bearer {SECRET}"
    assert (sent["model"], sent["temperature"], sent["messages"]) == ("m", 0.0, [{"role": "user", "content": "hi"}])
    assert sent["response_format"]["json_schema"]["strict"] is True
    assert (answer.text, answer.finish_reason, answer.tokens_in, answer.tokens_out) == ("hello", "stop", 7, 2)


@pytest.mark.parametrize("usage", [None, {}, {"prompt_tokens": -1}, {"prompt_tokens": True}, "x", []])
async def test_usage_that_is_not_reported_is_unknown_and_not_0(usage):
    answer = await ask(Server(completion(usage=usage)))
    assert (answer.tokens_in, answer.tokens_out) == (None, None)


async def test_429_waits_as_long_as_the_provider_says_and_a_little_more():
    clock = StoppedClock()
    answer = await ask(Server(httpx.Response(429, headers={"retry-after": "4"}), completion()), clock)
    assert answer.attempts == 2
    assert 4.0 <= clock.slept[0] <= 5.0


async def test_a_retry_after_beyond_the_limit_is_not_waited_for():
    clock = StoppedClock()
    with pytest.raises(TransientError) as caught:
        await ask(Server(httpx.Response(429, headers={"retry-after": "3600"})), clock)
    assert caught.value.retry_after == 3600
    assert clock.slept == []


@pytest.mark.parametrize(
    "trouble",
    [httpx.Response(500), httpx.Response(503), httpx.ConnectError("x"), httpx.ReadTimeout("x"), httpx.ReadError("x")],
)
async def test_trouble_is_tried_again_with_growing_jittered_waits_and_then_given_up(trouble):
    clock = StoppedClock()
    server = Server(trouble, trouble, completion())
    assert (await ask(server, clock)).attempts == 3
    assert len(clock.slept) == 2
    assert 0 <= clock.slept[0] <= 1.0
    assert 0 <= clock.slept[1] <= 2.0
    with pytest.raises(TransientError):
        await ask(Server(trouble, trouble, trouble))


@pytest.mark.parametrize("status", [400, 401, 403, 404, 301])
async def test_a_refusal_is_permanent_and_asked_once(status):
    server = Server(httpx.Response(status, text=f"bad key {SECRET}"))
    with pytest.raises(PermanentError) as caught:
        await ask(server)
    assert len(server.asked) == 1
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "body",
    ["", "[]", "null", "{}", '{"choices": []}', '{"choices": [{"message": {"content": null}}]}', "[" * 99_999, "1"],
)
async def test_an_answer_that_is_no_completion_is_permanent(body):
    with pytest.raises(PermanentError):
        await ask(Server(httpx.Response(200, text=body)))


@pytest.mark.parametrize("url", ["not a url", "ftp://x", "http://[", ""])
async def test_an_address_that_is_none_is_an_error_and_no_traceback(url):
    client = OpenAIModelClient(Endpoint(base_url=url, model="m", attempts=1), clock=StoppedClock())
    async with client:
        with pytest.raises(FairwayError):
            await client.complete(ASK)


def test_the_key_is_not_in_what_an_endpoint_looks_like():
    assert SECRET not in repr(Endpoint(base_url="x", model="m", api_key=SECRET))


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("1.5", 1.5),
        ("Fri, 20 Nov 2026 12:00:30 GMT", 30.0),
        ("Fri, 20 Nov 2026 11:00:00 GMT", 0.0),
        ("soon", None),
        ("-3", None),
        ("nan", None),
        ("inf", None),
        ("9" * 400, None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(value, seconds):
    assert parse_retry_after(value, now=NOW.timestamp()) == seconds
