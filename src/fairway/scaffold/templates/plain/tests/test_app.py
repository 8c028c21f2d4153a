"""The service over HTTP, with the real model client and a provider on loopback."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest
from fastapi.testclient import TestClient

from support.app import app


@pytest.fixture(scope="module")
def client(provider_url: str) -> Iterator[TestClient]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FAIRWAY_MOCK_LLM_URL", provider_url)
        patch.delenv("FAIRWAY_BUNDLE", raising=False)
        with TestClient(app) as client:
            yield client


def test_a_message_is_answered_with_the_tools_it_took(client: TestClient) -> None:
    answer = client.post("/chat", json={"message": "Where is my order 1001?", "thread_id": "t1"})
    assert answer.json() == {
        "response": "It was delivered.",
        "thread_id": "t1",
        "tools": [{"name": "lookup_order", "arguments": {"order_id": "1001"}, "ok": True}],
    }
    assert answer.headers["fairway-outcome"].startswith("status=ok, tokens_in=200, tokens_out=14, tools=1")


def test_every_answer_says_which_release_gave_it_unless_nobody_released_it(client: TestClient) -> None:
    assert "fairway-release" not in client.get("/healthz").headers
    bundle = app.state.bundle
    app.state.bundle = replace(bundle, release="sha256:" + "a" * 64)
    try:
        for path in ("/healthz", "/readiness", "/nowhere"):
            assert client.get(path).headers["fairway-release"] == app.state.bundle.release
    finally:
        app.state.bundle = bundle


def test_the_conversation_may_be_named_by_a_header(client: TestClient) -> None:
    answer = client.post("/chat", json={"message": "Hi"}, headers={"x-conversation-id": "c7"})
    assert answer.json()["thread_id"] == "c7"


def test_a_stream_ends_with_the_whole_answer_and_its_outcome_in_one_event(client: TestClient) -> None:
    body = client.post("/chat/stream", json={"message": "Where is my order 1001?", "thread_id": "t2"}).text
    *pieces, last = body.removesuffix("\n\n").split("\n\n")
    texts = [json.loads(piece.removeprefix("data: "))["payload"]["text"] for piece in pieces]
    comment, data = last.split("\n")
    assert "".join(texts) == "It was delivered."
    assert comment.startswith(": fairway-outcome status=ok, tokens_in=200, tokens_out=14")
    assert json.loads(data.removeprefix("data: "))["payload"]["response"] == "It was delivered."


def test_a_mirrored_request_has_an_agent_of_its_own(client: TestClient) -> None:
    def messages(**headers: str) -> int:
        client.post("/chat", json={"message": "Hi", "thread_id": "t9"}, headers=headers)
        agent = client.app.state.shadow if headers else client.app.state.agent  # type: ignore[attr-defined]
        return len(agent._memory.history("t9"))

    assert [messages(), messages(), messages(**{"x-fairway-shadow": "1"})] == [2, 4, 2]


@pytest.mark.parametrize("path", ["/chat", "/chat/stream", "/feedback"])
def test_an_answer_to_a_mirrored_request_says_so_and_no_other_does(client: TestClient, path: str) -> None:
    def said(**headers: str) -> bool:
        answer = client.post(path, json={"message": "Hi", "rating": 1}, headers=headers)
        return "shadow=1" in answer.headers.get("fairway-outcome", "") + answer.text

    assert [said(), said(**{"x-fairway-shadow": "1"})] == [False, True]


def test_what_a_user_says_is_told_to_fairway(client: TestClient) -> None:
    answer = client.post("/feedback", json={"rating": 0.25}, headers={"x-conversation-id": "c7"})
    assert answer.headers["fairway-outcome"] == "status=ok, feedback=0.250000"
    for rating in (-0.1, 1.5, "nan"):
        assert client.post("/feedback", json={"rating": rating}).status_code == 422


def test_a_message_that_is_empty_or_too_long_is_refused(client: TestClient) -> None:
    for message in ("", "x" * 10_001):
        assert client.post("/chat", json={"message": message}).status_code == 422


def test_readiness_says_what_is_served(client: TestClient) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    ready = client.get("/readiness").json()
    assert (ready["status"], ready["release"], ready["environment"]) == ("ready", "dev", "dev")
    assert ready["model"], "for the registry of instances"
