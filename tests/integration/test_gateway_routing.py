"""Who serves a request, with a real worker in front of scripted arms: keys in bodies, passes, gray tags, masks."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from fairway.testing.gateway_worker import Client, Harness, Reply, connected
from fairway.testing.scripted_arm import ScriptedArm, always, answer
from fairway.traffic.bucket import bucket, unit_hash
from fairway.traffic.fence import Fence
from fairway.traffic.rerun import Rerun, RerunWhen
from fairway.traffic.table import Arm, KeyExtractor, KeyKind, Limits, Role, RouteTable, Rule, RuleKind, Timeouts
from fairway.units import AgentName, Digest, EnvironmentName, Parts, RouteId

OLD, NEW = Digest("sha256:" + "a" * 64), Digest("sha256:" + "b" * 64)
HEADER = KeyExtractor(kind=KeyKind.HEADER, name="x-conversation-id")
CONVERSATION = KeyExtractor(kind=KeyKind.JSON_POINTER, name="/conversation/id")
USER = KeyExtractor(kind=KeyKind.JSON_POINTER, name="/user")


def table(stable: str, candidate: str, *keys: KeyExtractor) -> RouteTable:
    return RouteTable(
        route=RouteId(agent=AgentName("support"), environment=EnvironmentName("production")),
        fence=Fence(term=1, seq=1),
        arms=(
            Arm(role=Role.STABLE, release=OLD, version="1.0.0", endpoints=(stable,)),
            Arm(role=Role.CANDIDATE, release=NEW, version="1.1.0", endpoints=(candidate,)),
        ),
        split=Parts(50_000),
        salt="r-1",
        keys=keys or (HEADER, CONVERSATION, USER),
        timeouts=Timeouts(connect=0.5, first_byte=5.0, idle=5.0, total=10.0),
        block_seconds=2.0,
    )


def version_of(key: str) -> str:
    return "1.1.0" if bucket("r-1", key) < 50_000 else "1.0.0"


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[Harness]:
    made = Harness(tmp_path)
    yield made
    await made.close()


@pytest.fixture
async def arms() -> AsyncIterator[tuple[ScriptedArm, ScriptedArm]]:
    async with ScriptedArm(always(answer())) as old, ScriptedArm(always(answer())) as new:
        yield old, new


def said(value: object) -> bytes:
    return json.dumps(value).encode()


async def post(client: Client, body: bytes, *headers: str, kind: str = "application/json") -> Reply:
    return await client.ask(f"Content-Type: {kind}", *headers, method="POST", body=body)


async def test_a_key_in_the_body_decides_stays_and_counts_like_one_in_a_header(
    harness: Harness, arms: tuple[ScriptedArm, ScriptedArm]
) -> None:
    old, new = arms
    await harness.start(table(old.endpoint, new.endpoint))
    async with connected(harness.port) as client:
        for n in range(12):
            key = f"c-{n}"
            body = said({"model": "m", "messages": [{"content": "x" * 40}], "conversation": {"id": key}})
            assert (await post(client, body)).version == version_of(key)
            assert (await client.ask(f"x-conversation-id: {key}")).version == version_of(key), "one key, one place"
        larger = replace(harness.worker.serving.table, split=Parts(100_000), fence=Fence(term=1, seq=2))
        await harness.install(larger)
        for n in range(12):
            body = said({"conversation": {"id": f"c-{n}"}})
            assert (await post(client, body)).version == version_of(f"c-{n}"), "and it stays where it began"
    assert {request.body for request in (*old.requests, *new.requests)} >= {body}
    counted = await harness.counted()
    units = {unit_hash(f"c-{n}") for n in range(12)}
    assert set(counted[Role.STABLE].marks["active"]) | set(counted[Role.CANDIDATE].marks["active"]) == units


KEY = next(f"u-{n}" for n in range(99) if version_of(f"u-{n}") == "1.1.0")
"""Of the candidate, while keyless requests go to stable by their coin."""


@pytest.mark.parametrize(
    ("body", "headers", "kind", "found"),
    [
        (said({"user": KEY}), (), "application/json", True),
        (said({"user": KEY}), (), "application/vnd.api+json; charset=utf-8", True),
        (said({"conversation": {"id": KEY}, "user": "another"}), (), "application/json", True),
        (said({"user": KEY, "text": "x" * 200_000}), (), "application/json", True),
        (said({"text": "x" * 200_000, "user": KEY}), (), "application/json", False),
        (said({"user": KEY}), (), "text/plain", False),
        (gzip.compress(said({"user": KEY})), ("Content-Encoding: gzip",), "application/json", False),
        (b"not JSON at all", (), "application/json", False),
        (b"[" * 70_000, (), "application/json", False),
        (said({"user": "\ud800"}), (), "application/json", False),
        (said({"user": "x" * 600}), (), "application/json", False),
    ],
    ids=["user", "suffix", "first", "large", "too far", "text", "gzip", "no JSON", "nested", "no text", "too long"],
)
async def test_a_body_without_a_readable_key_is_keyless_and_passes_whole(
    harness: Harness,
    arms: tuple[ScriptedArm, ScriptedArm],
    body: bytes,
    headers: tuple[str, ...],
    kind: str,
    found: bool,
) -> None:
    old, new = arms
    await harness.start(table(old.endpoint, new.endpoint))
    async with connected(harness.port) as client:
        reply = await post(client, body, *headers, kind=kind)
    assert reply.status == 200
    assert [request.body for request in (*old.requests, *new.requests)] == [body]
    counted = await harness.counted()
    by = {name: count for increment in counted.values() for name, count in increment.by.items()}
    assert by == ({"hash": 1} if found else {"keyless": 1})
    if found:
        assert counted[Role.CANDIDATE].marks["active"] == (unit_hash(KEY),)


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_that_comes_in_pieces_is_held_until_its_key_and_passes_whole(
    harness: Harness, arms: tuple[ScriptedArm, ScriptedArm], size: int, chunked: bool
) -> None:
    old, new = arms
    await harness.start(table(old.endpoint, new.endpoint))
    body = said({"text": "y" * 50, "user": KEY, "more": "z" * 80})
    framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(body)}"
    head = f"POST /chat HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n{framing}\r\n\r\n"
    sent = b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n" if chunked else body
    async with connected(harness.port) as client:
        client.writer.write(head.encode())
        for at in range(0, len(sent), size):
            client.writer.write(sent[at : at + size])
            if at + size < 50:  # not the whole of it, nor its key
                await asyncio.sleep(0.002)
                assert not new.requests, "nothing goes out before it is known where to"
            await client.writer.drain()
        assert (await client.reply()).version == "1.1.0"
        assert (await post(client, body)).version == "1.1.0", "and the connection goes on"
    assert [request.body for request in new.requests] == [body, body]


async def test_a_client_that_expects_to_be_told_to_go_on_is_told_before_its_key_is_known(
    harness: Harness, arms: tuple[ScriptedArm, ScriptedArm]
) -> None:
    old, new = arms
    await harness.start(table(old.endpoint, new.endpoint))
    body = said({"user": KEY})
    head = f"POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    async with connected(harness.port) as client:
        client.writer.write(f"{head}Expect: 100-continue\r\n\r\n".encode())
        assert (await client.reply()).status == 100
        client.writer.write(body)
        assert (await client.reply()).version == "1.1.0"


async def test_a_client_that_keeps_its_body_back_is_told_408_and_one_that_leaves_is_forgotten(
    harness: Harness, arms: tuple[ScriptedArm, ScriptedArm]
) -> None:
    old, new = arms
    quick = Timeouts(connect=0.5, first_byte=0.2, idle=0.3, total=5.0)
    await harness.start(replace(table(old.endpoint, new.endpoint), timeouts=quick))
    head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{"
    async with connected(harness.port) as client:
        client.writer.write(head)
        assert (await client.reply()).status == 408
        assert await client.closed()
    async with connected(harness.port) as client:
        client.writer.write(head)
        await asyncio.sleep(0.05)
    await asyncio.sleep(0.05)
    assert harness.worker.in_flight == 0
    assert not await harness.counted()


async def test_a_body_over_the_limit_is_refused_as_ever(
    harness: Harness, arms: tuple[ScriptedArm, ScriptedArm]
) -> None:
    old, new = arms
    await harness.start(replace(table(old.endpoint, new.endpoint), limits=Limits(body_bytes=100)))
    async with connected(harness.port) as client:
        assert (await post(client, said({"user": "x" * 200}))).status == 413
    async with connected(harness.port) as client:
        client.writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n")
        client.writer.write(b"Transfer-Encoding: chunked\r\n\r\n" + b"20\r\n" + b'{"a":"' + b"x" * 26 + b"\r\n")
        client.writer.write(b"80\r\n" + b"x" * 128 + b"\r\n0\r\n\r\n")
        assert (await client.reply()).status == 413
    assert not old.requests
    assert not new.requests


# --- the trace ---------------------------------------------------------------------------------------------------


def members(version: str, tag: str) -> str:
    return f"agent_id=support,agent_version={version},gray_tag={tag}"


async def test_every_request_tells_its_arm_who_it_is_beside_what_the_client_says(
    harness: Harness, arms: tuple[ScriptedArm, ScriptedArm]
) -> None:
    old, new = arms
    await harness.start(replace(table(old.endpoint, new.endpoint, HEADER), trace=True))
    keys = {version_of(f"c-{n}"): f"c-{n}" for n in range(20)}
    async with connected(harness.port) as client:
        for _ in range(3):  # the third could take the short way
            for key in keys.values():
                assert (await client.ask(f"x-conversation-id: {key}")).status == 200
        await client.ask(f"x-conversation-id: {keys['1.0.0']}", "Baggage: userId=7", "Cookie: a=b")
        await client.ask(f"x-conversation-id: {keys['1.1.0']}", method="POST", body=b"x" * 100)
    assert {request.header("baggage") for request in new.requests} == {members("1.1.0", "candidate")}
    said = [request.header("baggage") for request in old.requests]
    assert set(said[:-1]) == {members("1.0.0", "stable")}
    assert said[-1] == f"userId=7,{members('1.0.0', 'stable')}"


async def test_what_stable_answers_for_another_arm_is_told_as_stables(harness: Harness) -> None:
    key = next(f"c-{n}" for n in range(99) if version_of(f"c-{n}") == "1.1.0")
    broken = b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"
    rerun = Rerun(when=RerunWhen.ON_FAILURE)
    async with ScriptedArm(always(answer())) as old, ScriptedArm(always(broken)) as new:
        served = replace(table(old.endpoint, new.endpoint, HEADER), trace=True, rerun=rerun)
        await harness.start(served)
        async with connected(harness.port) as client:
            assert (await client.ask(f"x-conversation-id: {key}")).status == 200
            gone = replace(served.arms[1], endpoints=("127.0.0.1:9",))
            await harness.install(replace(served, arms=(served.arms[0], gone), fence=Fence(term=1, seq=2)))
            assert (await client.ask(f"x-conversation-id: {key}")).version == "1.0.0", "nobody answers there"
        assert [request.header("baggage") for request in new.requests] == [members("1.1.0", "candidate")]
        assert [request.header("baggage") for request in old.requests] == [members("1.0.0", "stable")] * 2


async def test_a_gray_tag_an_agent_passes_on_leads_to_the_same_lane_of_the_next_agent(
    harness: Harness, arms: tuple[ScriptedArm, ScriptedArm]
) -> None:
    old, new = arms
    lane = Rule(id="lane", kind=RuleKind.GRAY_TAG, name="", values=("candidate",), to=Role.CANDIDATE)
    await harness.start(replace(table(old.endpoint, new.endpoint, HEADER), split=Parts(0), rules=(lane,)))
    async with connected(harness.port) as client:
        for said, version in (
            (f"Baggage: x=1,{members('3.0.0', 'candidate')}", "1.1.0"),
            (f"Baggage: {members('3.0.0', 'stable')}", "1.0.0"),
            ("X-Gray-Tag: candidate", "1.1.0"),
            ("Cookie: x-gray-tag=candidate", "1.1.0"),
            ("X-Other: candidate", "1.0.0"),
        ):
            for _ in range(2):
                assert (await client.ask("x-conversation-id: c-1", said)).version == version
    assert (await harness.counted())[Role.CANDIDATE].by == {"rule:lane": 6}


async def test_a_copy_for_a_shadow_says_that_it_is_the_shadows(
    harness: Harness, arms: tuple[ScriptedArm, ScriptedArm]
) -> None:
    old, new = arms
    served = table(old.endpoint, new.endpoint, HEADER)
    shadow = replace(served.arms[1], role=Role.SHADOW)
    mirrored = replace(served, arms=(served.arms[0], shadow), split=Parts(0), mirror=Parts(100_000), trace=True)
    await harness.start(mirrored)
    async with connected(harness.port) as client:
        await client.ask("x-conversation-id: c", "baggage: userId=7", "x-note: gray_tag=stable")
        async with asyncio.timeout(10):
            while not new.requests:
                await asyncio.sleep(0.01)
    assert [request.header("baggage") for request in old.requests] == [f"userId=7,{members('1.0.0', 'stable')}"]
    assert [request.header("baggage") for request in new.requests] == [f"userId=7,{members('1.1.0', 'shadow')}"]
    assert new.requests[0].header("x-note") == "gray_tag=stable"
