"""A worker leaves nothing for the garbage collector, whose pauses every stream of it would wait for.

What a request or a connection is made of may not refer to itself once it has ended: it is freed there and then.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from fairway.testing.gateway_worker import Harness, connected
from fairway.testing.scripted_arm import ArmRequest, ScriptedArm, answer
from fairway.traffic.fence import Fence
from fairway.traffic.table import Arm, KeyExtractor, KeyKind, Role, RouteTable, Timeouts
from fairway.units import AgentName, Digest, EnvironmentName, Parts, RouteId

OLD, NEW = Digest("sha256:" + "a" * 64), Digest("sha256:" + "b" * 64)
EVENTS = 5
TIMES = 6
"""Each kind of request is made so often: what stays from one to the next is no garbage, and is freed with the last."""

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
AGREED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)
UPGRADE = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13")

Talk = Callable[[Harness], Awaitable[None]]


async def arm_of_all_kinds(request: ArmRequest, writer: asyncio.StreamWriter) -> None:
    kind = request.target.strip("/")
    if kind == "plain":
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
    elif kind == "kept":
        last = (request.header("x-conversation-id") or "")[-1] in "25"
        writer.write(b"HTTP/1.1 200 OK\r\n%bcontent-length: 2\r\n\r\nok" % (b"connection: close\r\n" if last else b""))
    elif kind in ("stream", "endless"):
        writer.write(HEAD)
        for number in range(EVENTS if kind == "stream" else 500):
            writer.write(b"9\r\ndata: %d\n\n\r\n" % (number % 10))
            await asyncio.sleep(0.005)
        writer.write(b"0\r\n\r\n")
    elif kind == "hangs":
        await asyncio.sleep(20)
    elif kind == "breaks":
        writer.close()
    elif kind == "session":
        writer.write(AGREED)
        await asyncio.sleep(0.05)
        writer.close()
    elif kind == "bad":
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n")
    elif kind == "fails":
        writer.write(answer(status="500 Internal Server Error", outcome="status=failed"))
    else:
        writer.write(answer())


def table(arm: ScriptedArm, *, mirror: int = 0) -> RouteTable:
    arms = [Arm(role=Role.STABLE, release=OLD, version="1.0.0", endpoints=(arm.endpoint,))]
    if mirror:
        arms.append(Arm(role=Role.SHADOW, release=NEW, version="1.1.0", endpoints=(arm.endpoint,)))
    return RouteTable(
        route=RouteId(agent=AgentName("support"), environment=EnvironmentName("production")),
        fence=Fence(term=1, seq=1),
        arms=tuple(arms),
        mirror=Parts(mirror),
        salt="r-1",
        keys=(KeyExtractor(kind=KeyKind.HEADER, name="x-conversation-id"),),
        timeouts=Timeouts(connect=0.5, first_byte=0.2, idle=5.0, total=20.0),
        block_seconds=2.0,
    )


def asks(target: str, *headers: str, method: str = "GET", body: bytes = b"") -> Talk:
    """Ask on one connection, several times or until it is closed; what is answered is other tests' business."""

    async def talk(harness: Harness) -> None:
        async with connected(harness.port) as client:
            for number in range(TIMES):
                named = (*headers, f"X-Conversation-Id: {target}-{number}")
                reply = await client.ask(*named, target=f"/{target}", method=method, body=body)
                if reply.headers.get("connection") == "close":
                    return

    return talk


def leaves(target: str) -> Talk:
    """Ask on connections of their own, and hang up before the answer, or amid it."""

    async def talk(harness: Harness) -> None:
        for number in range(TIMES):
            async with connected(harness.port) as client:
                lines = f"GET /{target} HTTP/1.1\r\nHost: a\r\nX-Conversation-Id: {target}-{number}\r\n\r\n"
                client.writer.write(lines.encode())
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.05):
                        await client.reader.readexactly(100_000)

    return talk


def writes(raw: bytes) -> Talk:
    """Write bytes on connections of their own, and read all that comes for a while."""

    async def talk(harness: Harness) -> None:
        for _ in range(TIMES):
            async with connected(harness.port) as client:
                client.writer.write(raw)
                with contextlib.suppress(TimeoutError, OSError):
                    async with asyncio.timeout(0.1):
                        await client.reader.read()

    return talk


HOST = b"Host: a\r\nX-Conversation-Id: c\r\n"
KINDS: dict[str, Talk] = {
    "short way": asks("plain"),
    "connections to the arm that end": asks("kept"),
    "general way": asks("told", "X-Fairway-Deadline: 5", "Connection: keep-alive, x"),
    "a prompt": asks("plain", method="POST", body=b"p" * 3000),
    "a stream": asks("stream"),
    "a release that fails": asks("fails"),
    "an arm that breaks": asks("breaks"),
    "a malformed answer": asks("bad"),
    "a first byte that does not come": leaves("hangs"),
    "an arm that is too slow": asks("hangs"),
    "a client that leaves a stream": leaves("endless"),
    "a WebSocket": leaves("session"),
    "chunks": writes(b"POST /plain HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"),
    "pieces of a body": writes(b"POST /plain HTTP/1.1\r\n" + HOST + b"Content-Length: 9\r\n\r\nabc"),
    "three at once": writes(b"".join(b"GET /%b HTTP/1.1\r\n%b\r\n" % (one, HOST) for one in (b"plain", b"stream"))),
    "HTTP/1.0": writes(b"GET /stream HTTP/1.0\r\n" + HOST + b"\r\n"),
    "a refused head": writes(b"GET /plain HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"),
    "half a head": writes(b"GET /plain HT"),
    "a session's beginning": writes(
        b"GET /session HTTP/1.1\r\n" + HOST + "\r\n".join(UPGRADE).encode()
        + b"\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    ),
}  # fmt: skip


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[Harness]:
    made = Harness(tmp_path)
    yield made
    await made.close()


async def garbage_of(harness: Harness, talk: Talk) -> Counter[str]:
    """What of the gateway only the garbage collector frees after such traffic, by class."""
    await talk(harness)  # whatever is made once
    async with asyncio.timeout(10):
        while harness.worker.clients or harness.worker.mirror.room.copies:
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)
    gc.collect()
    debug, garbage = gc.get_debug(), gc.garbage[:]
    gc.disable()
    try:
        await talk(harness)
        async with asyncio.timeout(10):
            while harness.worker.clients or harness.worker.mirror.room.copies:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        gc.garbage.clear()
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        return Counter(type(one).__name__ for one in gc.garbage if type(one).__module__.startswith("fairway.gateway"))
    finally:
        gc.set_debug(debug)
        gc.garbage[:] = garbage
        gc.enable()


@pytest.mark.parametrize("kind", KINDS)
async def test_a_request_leaves_nothing_for_the_garbage_collector(harness: Harness, tmp_path: Path, kind: str) -> None:
    async with ScriptedArm(arm_of_all_kinds) as arm:
        await harness.start(table(arm), access_log=str(tmp_path / "access.log"))
        assert await garbage_of(harness, KINDS[kind]) == {}


@pytest.mark.parametrize("kind", ["short way", "a prompt", "a stream", "a client that leaves a stream"])
async def test_nor_does_a_copy_for_a_shadow(harness: Harness, kind: str) -> None:
    async with ScriptedArm(arm_of_all_kinds) as arm:
        await harness.start(table(arm, mirror=100_000))
        assert await garbage_of(harness, KINDS[kind]) == {}


async def test_nor_does_a_table_that_follows_another(harness: Harness) -> None:
    async with ScriptedArm(arm_of_all_kinds) as arm:
        await harness.start(table(arm))

        async def talk(harness: Harness) -> None:
            await asks("plain")(harness)
            for _ in range(TIMES):
                await harness.install(table(arm))

        assert await garbage_of(harness, talk) == {}
