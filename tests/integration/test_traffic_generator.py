"""The demo's traffic against a small server that misbehaves on purpose."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from fairway.demo.conversations import Kind
from fairway.demo.traffic import TrafficGenerator, affected_users

Reply = Callable[["Shop", str, dict[str, str], dict[str, Any]], "bytes | None"]


class Shop:
    """Answers by a function; keeps what it was asked."""

    def __init__(self, reply: Reply) -> None:
        self.reply = reply
        self.requests: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.connections = 0
        self.delay = 0.0
        self._writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Shop:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self._writers:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.append(writer)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                headers = {
                    name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)
                }
                body = json.loads(await reader.readexactly(int(headers["content-length"])))
                path = head[0].split()[1]
                self.requests.append((path, headers, body))
                await asyncio.sleep(self.delay)
                answer = self.reply(self, path, headers, body)
                if answer is None:
                    break
                writer.write(answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


def ok(release: str = "r1", body: bytes = b'{"response": "hi"}', status: int = 200) -> bytes:
    return f"HTTP/1.1 {status} X\r\nx-fairway-release: {release}\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    async with Shop(lambda *_: ok()) as running:
        yield running


async def drive(shop: Shop, seconds: float = 0.6, **options: Any) -> TrafficGenerator:
    settings: dict[str, Any] = {"conversations_per_second": 60, "turns": (1, 1)} | options
    generator = TrafficGenerator(shop.url, **settings)
    generator.start()
    await asyncio.sleep(seconds)
    await generator.stop()
    return generator


async def test_conversations_begin_at_the_rate_asked_over_few_connections(shop: Shop) -> None:
    stats = (await drive(shop, 1.0)).stats()
    assert 40 <= stats.conversations <= 75
    assert (stats.requests, stats.failed, dict(stats.by_status)) == (len(shop.requests), 0, {200: stats.requests})
    assert shop.connections < 15


async def test_the_rate_does_not_wait_for_slow_answers(shop: Shop) -> None:
    shop.delay = 0.5
    stats = (await drive(shop, 1.0)).stats()
    assert 40 <= stats.conversations <= 75


async def test_what_would_be_too_many_is_skipped_and_counted(shop: Shop) -> None:
    shop.delay = 0.5
    stats = (await drive(shop, 0.6, max_in_flight=3)).stats()
    assert stats.conversations <= 6
    assert stats.skipped > 10


async def test_a_request_says_conversation_tenant_and_message(shop: Shop) -> None:
    await drive(shop, turns=(2, 2), think_seconds=(0.01, 0.02), streamed_share=0.5, tenants=["acme"])
    paths = {path for path, _, _ in shop.requests}
    assert paths == {"/chat", "/chat/stream"}
    for _, headers, body in shop.requests:
        assert headers["x-conversation-id"] == body["thread_id"]
        assert headers["x-tenant"] == "acme"
        assert body["message"]


async def test_the_same_seed_says_the_same(shop: Shop) -> None:
    said = []
    for _ in range(2):
        shop.requests.clear()
        await drive(shop, 0.3, seed=4)
        said.append([body["message"] for _, _, body in shop.requests][:8])
    assert said[0] == said[1]


async def test_every_failed_request_is_counted_with_its_reason() -> None:
    answers = [
        ok(status=503),
        None,
        ok()[:-3],
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\ndata",
    ]

    def reply(shop: Shop, *_: Any) -> bytes | None:
        answer = answers[len(shop.requests) % len(answers)]
        if answer is None or answer.startswith((b"HTTP/1.1 503", b"nonsense")):
            return answer
        shop._writers[-1].write(answer)
        return None

    async with Shop(reply) as shop:
        stats = (await drive(shop, 0.8, conversations_per_second=20)).stats()
    assert stats.failed == stats.requests == sum(stats.errors.values()) > 8
    assert set(stats.errors) == {
        "status 503",
        "connection closed without an answer",
        "connection cut in the middle of an answer",
        "not HTTP/1.1",
    }


async def test_nobody_there_is_a_failure_and_no_exception() -> None:
    async with Shop(lambda *_: ok()) as shop:
        pass
    stats = (await drive(shop, 0.2)).stats()
    assert stats.failed == stats.requests > 0
    assert all(reason.startswith("cannot connect") for reason in stats.errors)


async def test_an_answer_that_never_comes_is_a_timeout(shop: Shop) -> None:
    shop.delay = 5
    stats = (await drive(shop, 0.3, timeout_seconds=0.1)).stats()
    assert dict(stats.errors) == {"timeout": stats.requests}


async def test_a_conversation_that_changes_release_is_misrouted_unless_that_was_rolled_back() -> None:
    def reply(shop: Shop, path: str, headers: dict[str, str], body: dict[str, Any]) -> bytes:
        seen = sum(other["x-conversation-id"] == headers["x-conversation-id"] for _, other, _ in shop.requests)
        return ok("bad", b"I am sorry, I could not finish this.") if seen == 1 else ok("good")

    async with Shop(reply) as shop:
        generator = await drive(shop, turns=(2, 2), think_seconds=(0.01, 0.02))
    stats = generator.stats()
    assert len(stats.misrouted) == len(stats.moved) == stats.conversations > 10
    assert {(move.before, move.after) for move in stats.moved} == {("bad", "good")}
    assert stats.by_release["bad"].apologised == stats.by_release["bad"].requests == stats.apologised
    assert stats.by_release["good"].apologised == 0
    assert len(affected_users(generator.records, release="bad")) == stats.by_release["bad"].conversations
    generator.note_rollback("bad")
    assert generator.stats().misrouted == ()
    assert json.loads(json.dumps(generator.stats().wire()))["by_release"]["bad"]["p95_seconds"] > 0


async def test_another_generator_can_go_on_where_one_stopped(shop: Shop) -> None:
    first = await drive(shop, 0.2)
    before = {body["thread_id"] for _, _, body in shop.requests}
    shop.requests.clear()
    await drive(shop, 0.2, first_number=first.number)
    assert before
    assert before.isdisjoint(body["thread_id"] for _, _, body in shop.requests)


@pytest.mark.parametrize("options", [{"url": "ftp://x"}, {"url": "http://"}, {"conversations_per_second": 0}])
def test_nonsense_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected http"):
        TrafficGenerator(**{"url": "http://127.0.0.1:1", **options})


async def test_only_some_kinds_can_be_asked_for(shop: Shop) -> None:
    generator = await drive(shop, 0.2, weights={Kind.EXCHANGE: 1.0})
    assert {record.kind for record in generator.records} == {Kind.EXCHANGE}
