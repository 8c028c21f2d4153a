from __future__ import annotations

import json
import random
from datetime import UTC, datetime

import pytest

from fairway.clock import SystemClock
from fairway.errors import BusyError, FairwayError, PermanentError, TransientError
from fairway.llm.client import ChatMessage, CompletionRequest, Endpoint, OpenAIModelClient, parse_retry_after
from fairway.testing.scripted_arm import CUT, HANG, ArmRequest, answer, serving

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


def status(text: str, *headers: str, body: bytes = b"") -> bytes:
    return answer(body, status=text, headers=headers, outcome=None)


def completion(**changes) -> bytes:
    body = {
        "model": "m-1",
        "choices": [{"message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 2},
    }
    return answer(json.dumps(body | changes).encode(), outcome=None)


async def ask(*answers: bytes, clock: StoppedClock | None = None, asked: list[ArmRequest] | None = None, **changes):
    async with serving(*answers) as server:
        endpoint = Endpoint(
            **({"base_url": f"http://{server.endpoint}/v1/", "model": "m", "api_key": SECRET} | changes)
        )
        client = OpenAIModelClient(endpoint, clock=clock or StoppedClock(), rng=random.Random(1))
        try:
            async with client:
                return await client.complete(ASK)
        finally:
            if asked is not None:
                asked += server.requests


async def test_a_question_is_sent_as_openai_servers_read_it_and_its_answer_read():
    asked: list[ArmRequest] = []
    answered = await ask(completion(), asked=asked)
    sent = json.loads(asked[0].body)
    assert asked[0].target == "/v1/chat/completions"
    assert asked[0].header("authorization") == f"Bearer {SECRET}"
    assert (sent["model"], sent["temperature"], sent["messages"]) == ("m", 0.0, [{"role": "user", "content": "hi"}])
    assert sent["response_format"]["json_schema"]["strict"] is True
    found = (answered.text, answered.finish_reason, answered.tokens_in, answered.tokens_out)
    assert found == ("hello", "stop", 7, 2)


async def test_parameters_of_an_alias_change_and_take_out_fields():
    asked: list[ArmRequest] = []
    await ask(completion(), asked=asked, parameters={"max_tokens": None, "max_completion_tokens": 9, "seed": 1})
    sent = json.loads(asked[0].body)
    assert "max_tokens" not in sent
    assert (sent["max_completion_tokens"], sent["seed"]) == (9, 1)


@pytest.mark.parametrize("content", [None, "hello"])
async def test_a_refusal_is_no_finished_answer_also_beside_a_text(content):
    said = {"role": "assistant", "content": content, "refusal": "No."}
    answered = await ask(completion(choices=[{"message": said, "finish_reason": "stop"}]))
    assert (answered.text, answered.finish_reason) == (content or "No.", "content_filter")


@pytest.mark.parametrize("usage", [None, {}, {"prompt_tokens": -1}, {"prompt_tokens": True}, "x", []])
async def test_usage_that_is_not_reported_is_unknown_and_not_0(usage):
    answered = await ask(completion(usage=usage))
    assert (answered.tokens_in, answered.tokens_out) == (None, None)


async def test_429_waits_as_long_as_the_provider_says_and_a_little_more():
    clock = StoppedClock()
    answered = await ask(status("429 X", "retry-after: 4"), completion(), clock=clock)
    assert answered.attempts == 2
    assert 4.0 <= clock.slept[0] <= 5.0


async def test_a_retry_after_beyond_the_limit_is_not_waited_for():
    clock = StoppedClock()
    with pytest.raises(BusyError) as caught:
        await ask(status("429 X", "retry-after: 3600"), clock=clock)
    assert caught.value.retry_after == 3600
    assert clock.slept == []


@pytest.mark.parametrize("trouble", [status("500 X"), status("503 X"), status("529 X"), HANG, CUT])
async def test_trouble_is_tried_again_with_growing_jittered_waits_and_then_given_up(trouble):
    clock = StoppedClock()
    answered = await ask(trouble, trouble, completion(), clock=clock, timeout_seconds=0.2)
    assert answered.attempts == 3
    assert len(clock.slept) == 2
    assert 0 <= clock.slept[0] <= 1.0
    assert 0 <= clock.slept[1] <= 2.0
    with pytest.raises(TransientError):
        await ask(trouble, trouble, trouble, timeout_seconds=0.2)


@pytest.mark.parametrize("code", [400, 401, 403, 404, 301])
async def test_a_refusal_is_permanent_and_asked_once(code):
    asked: list[ArmRequest] = []
    with pytest.raises(PermanentError) as caught:
        await ask(status(f"{code} X", body=f"bad key {SECRET}".encode()), asked=asked)
    assert len(asked) == 1
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "body",
    ["", "[]", "null", "{}", '{"choices": []}', '{"choices": [{"message": {"content": null}}]}', "[" * 99_999, "1"],
)
async def test_an_answer_that_is_no_completion_is_permanent(body):
    with pytest.raises(PermanentError):
        await ask(status("200 OK", body=body.encode()))


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
