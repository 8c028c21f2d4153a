"""Clients that people use, through the gateway: OpenAI's library, httpx, aiohttp, requests, http.client and curl."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import openai
import pytest
import requests

from fairway.llm.mock.scenario import parse_scenario
from fairway.llm.mock.server import MockModelServer
from fairway.testing.gateway_worker import Harness
from fairway.testing.scripted_arm import ArmRequest, ScriptedArm, answer
from fairway.traffic.bucket import bucket
from fairway.traffic.fence import Fence
from fairway.traffic.table import Arm, KeyExtractor, KeyKind, Role, RouteTable
from fairway.units import AgentName, Digest, EnvironmentName, Parts, RouteId

OLD, NEW = Digest("sha256:" + "a" * 64), Digest("sha256:" + "b" * 64)
CURL = shutil.which("curl")
NEEDS_CURL = pytest.mark.skipif(
    CURL is None and not os.environ.get("FAIRWAY_REQUIRE_ALL"), reason="curl: not installed"
)

SCENARIO = """\
version: 1
name: shop
models: [m-1]
rules:
  - name: look
    when: {user: 'order (?P<order>\\d+)'}
    tool_calls:
      - {name: lookup, arguments: {order_id: "${order}"}}
  - name: hello
    when: {user: hello}
    reply: "GREETING: a text that is long enough to come in several pieces, grüße."
"""
TOOLS: Any = [{"type": "function", "function": {"name": "lookup", "parameters": {}}}]
GREETING = ": a text that is long enough to come in several pieces, grüße."


def table(stable: str, candidate: str | None = None, *, split: int = 0, **more: object) -> RouteTable:
    arms = [Arm(role=Role.STABLE, release=OLD, version="1.0.0", endpoints=(stable,))]
    if candidate is not None:
        arms.append(Arm(role=Role.CANDIDATE, release=NEW, version="1.1.0", endpoints=(candidate,)))
    made = RouteTable(
        route=RouteId(agent=AgentName("support"), environment=EnvironmentName("production")),
        fence=Fence(term=1, seq=1),
        arms=tuple(arms),
        split=Parts(split),
        salt="r-1",
        keys=(KeyExtractor(kind=KeyKind.HEADER, name="x-conversation-id"),),
        block_seconds=60.0,
    )
    return replace(made, **more)  # type: ignore[arg-type]


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[Harness]:
    made = Harness(tmp_path)
    yield made
    await made.close()


def endpoint(server: MockModelServer) -> str:
    return f"127.0.0.1:{server.port}"


def model(greeting: str) -> MockModelServer:
    return MockModelServer(parse_scenario(SCENARIO.replace("GREETING", greeting), file="x.yaml"))


@pytest.fixture
async def ai(harness: Harness) -> AsyncIterator[openai.AsyncOpenAI]:
    """OpenAI's own client; half of the conversations are the candidate's, which greets in another way."""
    async with model("Old") as stable, model("New") as candidate:
        await harness.start(table(endpoint(stable), endpoint(candidate), split=50_000))
        url = f"http://127.0.0.1:{harness.port}/v1"
        async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0, timeout=10) as made:
            yield made


def user(text: str) -> Any:
    return [{"role": "user", "content": text}]


def in_conversation(key: str) -> dict[str, str]:
    return {"x-conversation-id": key}


def release_of(key: str) -> str:
    return "New" if bucket("r-1", key) < 50_000 else "Old"


# --- OpenAI's library --------------------------------------------------------------------------------------------


async def test_openai_plain_every_conversation_stays_with_its_release(ai: openai.AsyncOpenAI) -> None:
    async def converse(key: str) -> None:
        for _ in range(3):
            raw = await ai.chat.completions.with_raw_response.create(
                model="m-1", messages=user("hello"), extra_headers=in_conversation(key)
            )
            completion = raw.parse()
            assert completion.choices[0].message.content == release_of(key) + GREETING
            assert completion.usage is not None
            assert completion.usage.total_tokens > 0
            assert raw.headers["x-fairway-release"] == {"Old": "1.0.0", "New": "1.1.0"}[release_of(key)]

    keys = [f"c-{number}" for number in range(20)]
    await asyncio.gather(*map(converse, keys))
    assert {release_of(key) for key in keys} == {"Old", "New"}


async def test_openai_streaming_with_the_usage_chunk_which_the_gateway_counts(
    ai: openai.AsyncOpenAI, harness: Harness
) -> None:
    said: dict[str, int] = {"Old": 0, "New": 0}

    async def converse(key: str) -> None:
        stream = await ai.chat.completions.create(
            model="m-1",
            messages=user("hello"),
            stream=True,
            stream_options={"include_usage": True},
            extra_headers=in_conversation(key),
        )
        text, pieces, usage = "", 0, None
        async for chunk in stream:
            if chunk.choices:
                text += chunk.choices[0].delta.content or ""
                pieces += 1
            usage = chunk.usage or usage
        assert text == release_of(key) + GREETING
        assert pieces > 3
        assert usage is not None
        said[release_of(key)] += usage.total_tokens

    await asyncio.gather(*(converse(f"c-{number}") for number in range(12)))
    counted = await harness.counted()
    for role, release in ((Role.STABLE, "Old"), (Role.CANDIDATE, "New")):
        sums = counted[role].sums
        assert sums["tokens_in"] + sums["tokens_out"] == said[release] > 0
        assert counted[role].failed == counted[role].unknown == 0


async def test_openai_tool_calls_come_through_a_stream_whole(ai: openai.AsyncOpenAI) -> None:
    stream = await ai.chat.completions.create(
        model="m-1", messages=user("order 17"), tools=TOOLS, stream=True, extra_headers=in_conversation("c-1")
    )
    arguments, reasons = "", []
    async for chunk in stream:
        for choice in chunk.choices:
            reasons.append(choice.finish_reason)
            for call in choice.delta.tool_calls or ():
                arguments += (call.function.arguments or "") if call.function else ""
    assert json.loads(arguments) == {"order_id": "17"}
    assert reasons[-1] == "tool_calls"


async def test_openai_aborts_in_mid_stream_and_the_arm_is_told(harness: Harness) -> None:
    told = asyncio.Event()

    async def slowly(request: ArmRequest, writer: asyncio.StreamWriter) -> None:
        try:
            await generate(request, writer)
        finally:
            told.set()

    async def generate(_: ArmRequest, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        for number in range(10_000):
            chunk: dict[str, Any] = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m-1"}
            chunk["choices"] = [{"index": 0, "delta": {"content": f"t{number} "}, "finish_reason": None}]
            event = b"data: %b\n\n" % json.dumps(chunk).encode()
            writer.write(b"%x\r\n%b\r\n" % (len(event), event))
            await writer.drain()
            await asyncio.sleep(0.005)

    async with ScriptedArm(slowly) as arm:
        await harness.start(table(arm.endpoint))
        url = f"http://127.0.0.1:{harness.port}/v1"
        async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0, timeout=10) as client:
            stream = await client.chat.completions.create(
                model="m-1", messages=user("hello"), stream=True, extra_headers=in_conversation("c-1")
            )
            texts = []
            async for chunk in stream:
                texts.append(chunk.choices[0].delta.content)
                if len(texts) == 5:
                    break
            await stream.close()
            assert texts == [f"t{number} " for number in range(5)]
            async with asyncio.timeout(5):
                await told.wait()
        counted = await harness.counted()
        assert (counted[Role.STABLE].unknown, counted[Role.STABLE].failed) == (1, 0)
        assert counted[Role.STABLE].sums["client_aborted"] == 1


async def test_openai_understands_the_gateways_own_refusals_and_tries_again_when_told(harness: Harness) -> None:
    async with model("Old") as stable:
        nobody = table(endpoint(stable))
        await harness.start(replace(nobody, arms=(replace(nobody.arms[0], endpoints=()),)))
        url = f"http://127.0.0.1:{harness.port}/v1"
        async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0, timeout=10) as client:
            with pytest.raises(openai.InternalServerError) as refused:
                await client.chat.completions.create(model="m-1", messages=user("hello"))
            assert (refused.value.status_code, refused.value.code) == (503, "no_release")
            assert refused.value.response.headers["retry-after"] == "1"
            patient = client.with_options(max_retries=3)
            asking = asyncio.create_task(patient.chat.completions.create(model="m-1", messages=user("hello")))
            await asyncio.sleep(0.05)
            await harness.install(replace(nobody, fence=Fence(term=1, seq=2)))
            assert (await asking).choices[0].message.content == "Old" + GREETING


# --- others -------------------------------------------------------------------------------------------------------


async def echo(request: ArmRequest, writer: asyncio.StreamWriter) -> None:
    """Say what came, in chunks when asked to."""
    told = {
        "method": request.method,
        "target": request.target,
        "size": len(request.body),
        "end": request.body[-3:].decode(),
    }
    body = json.dumps(told).encode()
    if request.method == "HEAD":
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 12345\r\n\r\n")
    elif request.target == "/chunks":
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        for at in range(0, len(body), 9):
            writer.write(b"%x\r\n%b\r\n" % (len(body[at : at + 9]), body[at : at + 9]))
        writer.write(b"0\r\n\r\n")
    elif request.target == "/events":
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
        for number in range(5):
            writer.write(b"id: %d\ndata: event %d\n\n" % (number, number))
            await writer.drain()
        writer.write(b": fairway-outcome status=ok\n")
        await writer.drain()
        writer.close()
    elif request.target == "/nothing":
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
    else:
        writer.write(answer(body))


BIG = b"x" * 300_000 + b"end"
EVENTS = "".join(f"id: {number}\ndata: event {number}\n\n" for number in range(5))


@pytest.fixture
async def url(harness: Harness) -> AsyncIterator[str]:
    """A gateway in front of two arms that echo; half of the conversations, or of the clients, each."""
    async with ScriptedArm(echo) as stable, ScriptedArm(echo) as candidate:
        header = KeyExtractor(kind=KeyKind.HEADER, name="x-conversation-id")
        issued = KeyExtractor(kind=KeyKind.ISSUE_COOKIE, name="fw_unit")
        await harness.start(table(stable.endpoint, candidate.endpoint, split=50_000, keys=(header, issued)))
        yield f"http://127.0.0.1:{harness.port}"


async def test_httpx_plain_chunked_events_and_head_on_kept_connections(url: str) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(BIG), 50_000):
            yield BIG[at : at + 50_000]

    async with httpx.AsyncClient(base_url=url, headers=in_conversation("c-1")) as client:
        for _ in range(5):
            assert (await client.post("/a", content=BIG)).json()["end"] == "end"
            chunked = await client.post("/chunks", content=pieces())
            assert chunked.json()["size"] == len(BIG)
            head = await client.head("/a")
            assert (head.headers["content-length"], head.content) == ("12345", b"")
            assert (await client.get("/nothing")).status_code == 204
            async with client.stream("GET", "/events") as events:
                assert "".join([text async for text in events.aiter_text()]) == EVENTS


async def test_aiohttp_waits_for_100_continue_and_reads_streams(url: str) -> None:
    async with aiohttp.ClientSession(url, headers=in_conversation("c-1")) as client:
        for _ in range(3):
            async with client.post("/a", data=BIG, expect100=True) as reply:
                assert (await reply.json(content_type=None))["size"] == len(BIG)
            async with client.get("/events") as events:
                assert await events.text() == EVENTS
            async with client.head("/a") as head:
                assert head.headers["content-length"] == "12345"


async def test_requests_keeps_its_cookies_and_stays_with_its_release(url: str) -> None:
    def pieces() -> Iterator[bytes]:
        yield BIG[:100_000]
        yield BIG[100_000:]

    def session() -> set[str]:
        with requests.Session() as kept:
            releases = set()
            for _ in range(6):
                reply = kept.post(f"{url}/a", data=pieces(), timeout=10)
                assert reply.json()["size"] == len(BIG)
                releases.add(reply.headers["x-fairway-release"])
            return releases

    sessions = [await asyncio.to_thread(session) for _ in range(16)]
    assert all(len(releases) == 1 for releases in sessions), "whoever brings the cookie back stays"
    assert set.union(*sessions) == {"1.0.0", "1.1.0"}, "of 16 new clients not all are on one side but once in 32,768"


async def test_http_client_of_the_standard_library_on_one_connection(url: str) -> None:
    def ask() -> list[int]:
        host = url.removeprefix("http://")
        connection = http.client.HTTPConnection(host, timeout=10)
        statuses = []
        connection.connect()
        kept = connection.sock
        for method, target, body in (
            ("POST", "/chunks", BIG),
            ("HEAD", "/a", None),
            ("GET", "/nothing", None),
            ("PUT", "/a", b"y"),
        ):
            connection.request(method, target, body=body, headers=in_conversation("c-1"))
            reply = connection.getresponse()
            reply.read()
            statuses.append(reply.status)
            assert connection.sock is kept, "the connection is kept"
        connection.close()
        return statuses

    assert await asyncio.to_thread(ask) == [200, 200, 204, 200]


async def curl(*arguments: str) -> bytes:
    process = await asyncio.create_subprocess_exec(
        str(CURL), "--silent", "--show-error", "--max-time", "15", *arguments, stdout=asyncio.subprocess.PIPE
    )
    said, _ = await process.communicate()
    assert process.returncode == 0
    return said


@NEEDS_CURL
async def test_curl_uploads_what_it_announces_and_is_told_to_go_on(url: str, tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(BIG * 5)
    told = await curl(
        "--data-binary", f"@{tmp_path / 'big'}", "-H", "Expect: 100-continue", "--expect100-timeout", "10",
        "-H", "X-Conversation-Id: c-1", "-w", "\n%{http_code} %{time_total}", f"{url}/a",
    )  # fmt: skip
    body, _, said = told.rpartition(b"\n")
    assert json.loads(body)["size"] == len(BIG) * 5
    status, seconds = said.split()
    assert status == b"200"
    assert float(seconds) < 8, "it did not wait out its own limit"


@NEEDS_CURL
async def test_curl_asks_many_times_on_one_connection_and_reads_events_as_they_come(url: str) -> None:
    five = ["-o", "/dev/null", f"{url}/a"] * 5
    told = await curl("-w", "%{num_connects} ", "-H", "X-Conversation-Id: c", *five)
    assert told.split() == [b"1", b"0", b"0", b"0", b"0"]
    assert (await curl("--no-buffer", f"{url}/events")).decode() == EVENTS
    head = await curl("--head", f"{url}/a")
    assert b"content-length: 12345\r\n" in head.lower()


@NEEDS_CURL
async def test_curl_cookie_jar_stays_with_its_release(url: str, tmp_path: Path) -> None:
    async def one(number: int) -> set[bytes]:
        jar = str(tmp_path / f"jar-{number}")
        answers = [await curl("-b", jar, "-c", jar, "-o", "/dev/null", "-D", "-", f"{url}/a") for _ in range(3)]
        return {line for text in answers for line in text.split(b"\r\n") if line.startswith(b"x-fairway-release")}

    found = [await one(number) for number in range(4)]
    assert all(len(releases) == 1 for releases in found)
