"""A worker leaves nothing for the garbage collector, whose pauses every stream of it would wait for.

What a request or a connection is made of may not refer to itself once it has ended: it is freed there and then. On the
loop that workers have.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
import uvloop

from fairway.gateway.tls import KeyPair
from fairway.testing.certificates import key_pair, trusting
from fairway.testing.gateway_worker import Client, Harness, connected
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
HOST = b"Host: a\r\nX-Conversation-Id: c\r\n"
CHUNKS = b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
TWO_LENGTHS = b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n"
UPGRADE = (
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)

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
        await asyncio.sleep(20 if request.header("x-stays") else 0.02)
        writer.close()
    elif kind == "bad":
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n")
    elif kind == "fails":
        writer.write(answer(status="500 Internal Server Error", outcome="status=failed"))
    else:
        writer.write(answer())


def table(endpoint: str, *, mirror: int = 0) -> RouteTable:
    arms = [Arm(role=Role.STABLE, release=OLD, version="1.0.0", endpoints=(endpoint,))]
    if mirror:
        arms.append(Arm(role=Role.SHADOW, release=NEW, version="1.1.0", endpoints=(endpoint,)))
    return RouteTable(
        route=RouteId(agent=AgentName("support"), environment=EnvironmentName("production")),
        fence=Fence(term=1, seq=1),
        arms=tuple(arms),
        mirror=Parts(mirror),
        salt="r-1",
        keys=(KeyExtractor(kind=KeyKind.HEADER, name="x-conversation-id"),),
        timeouts=Timeouts(connect=0.5, first_byte=1.0, idle=5.0, total=20.0),
        block_seconds=2.0,
    )


def client_of(harness: Harness) -> AbstractAsyncContextManager[Client]:
    if harness.tls is None:
        return connected(harness.port)
    return connected(harness.port, "localhost", tls=trusting(harness.tls))


def asks(target: str, status: int, *headers: str, method: str = "GET", body: bytes = b"", times: int = TIMES) -> Talk:
    """Ask several times, on one connection as long as it stays open."""

    async def talk(harness: Harness) -> None:
        asked = 0
        while asked < times:
            async with client_of(harness) as client:
                closed = False
                while asked < times and not closed:
                    named = (*headers, f"X-Conversation-Id: {target}-{asked}")
                    reply = await client.ask(*named, target=f"/{target}", method=method, body=body)
                    assert reply.status == status
                    closed = reply.headers.get("connection") == "close"
                    asked += 1

    return talk


def says(raw: bytes, begins: bytes) -> Talk:
    """Write these bytes on connections of their own, see how the answer begins, and hang up a moment later."""

    async def talk(harness: Harness) -> None:
        for _ in range(TIMES):
            async with client_of(harness) as client:
                client.writer.write(raw)
                if begins:
                    async with asyncio.timeout(20):
                        assert await client.reader.readexactly(len(begins)) == begins
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.05):
                        rest = await client.reader.read(65_536)
                        assert begins or not rest

    return talk


OK, SESSION = b"HTTP/1.1 200 OK", b"HTTP/1.1 101 "
KINDS: dict[str, Talk] = {
    "short way": asks("plain", 200),
    "connections to the arm that end": asks("kept", 200),
    "general way": asks("told", 200, "X-Fairway-Deadline-Ms: 5000", "Connection: keep-alive, x"),
    "a prompt": asks("plain", 200, method="POST", body=b"p" * 3000),
    "a stream": asks("stream", 200),
    "a release that fails": asks("fails", 500),
    "an arm that breaks": asks("breaks", 502),
    "a malformed answer": asks("bad", 502),
    "an arm that is too slow": asks("hangs", 504, times=2),
    "a client that does not wait": says(b"GET /hangs HTTP/1.1\r\n" + HOST + b"\r\n", b""),
    "a client that leaves a stream": says(b"GET /endless HTTP/1.1\r\n" + HOST + b"\r\n", OK),
    "a WebSocket that its arm ends": says(b"GET /session HTTP/1.1\r\n" + HOST + UPGRADE, SESSION),
    "a WebSocket that its client ends": says(b"GET /session HTTP/1.1\r\nX-Stays: 1\r\n" + HOST + UPGRADE, SESSION),
    "a switch nobody asked for": asks("session", 502),
    "chunks": says(b"POST /plain HTTP/1.1\r\n" + HOST + CHUNKS, OK),
    "half a body": says(b"POST /plain HTTP/1.1\r\n" + HOST + b"Content-Length: 9\r\n\r\nabc", b""),
    "two at once": says(b"".join(b"GET /%b HTTP/1.1\r\n%b\r\n" % (one, HOST) for one in (b"plain", b"stream")), OK),
    "HTTP/1.0": says(b"GET /stream HTTP/1.0\r\n" + HOST + b"\r\n", OK),
    "a refused head": says(b"GET / HTTP/1.1\r\nHost: a\r\n" + TWO_LENGTHS, b"HTTP/1.1 400 "),
    "half a head": says(b"GET /plain HT", b""),
}  # fmt: skip


async def quiet(harness: Harness) -> None:
    """Wait until no connection and no copy is left."""
    async with asyncio.timeout(10):
        while harness.worker.clients or harness.worker.mirror.room.copies:
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)


async def left_by(harness: Harness, talk: Talk) -> Counter[str]:
    """What of the gateway only the garbage collector frees after such traffic, by class."""
    await talk(harness)  # whatever is made once
    await quiet(harness)
    gc.collect()
    before, debug = gc.garbage[:], gc.get_debug()
    gc.disable()
    try:
        await talk(harness)
        await quiet(harness)
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        found = [one for one in gc.garbage if type(one).__module__.startswith("fairway.gateway")]
        return Counter(type(one).__name__ for one in found)
    finally:
        gc.set_debug(debug)
        gc.garbage[:] = before
        gc.enable()


def garbage_of(folder: Path, talk: Talk, *, mirror: int = 0, tls: KeyPair | None = None) -> Counter[str]:
    async def play() -> Counter[str]:
        harness = Harness(folder, tls=tls)
        async with ScriptedArm(arm_of_all_kinds) as arm:
            await harness.start(table(arm.endpoint, mirror=mirror), access_log=str(folder / "access.log"))
            try:
                return await left_by(harness, talk)
            finally:
                await harness.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(play())


@pytest.mark.parametrize("kind", KINDS)
def test_a_request_leaves_nothing_for_the_garbage_collector(tmp_path: Path, kind: str) -> None:
    assert garbage_of(tmp_path, KINDS[kind]) == {}


@pytest.mark.parametrize("kind", ["short way", "a prompt", "a stream", "a client that leaves a stream"])
def test_nor_does_a_copy_for_a_shadow(tmp_path: Path, kind: str) -> None:
    assert garbage_of(tmp_path, KINDS[kind], mirror=100_000) == {}


@pytest.mark.parametrize("kind", ["short way", "a stream", "a client that leaves a stream", "half a head"])
def test_nor_does_a_connection_over_tls(tmp_path: Path, kind: str) -> None:
    assert garbage_of(tmp_path, KINDS[kind], tls=key_pair()) == {}


def test_nor_does_a_table_that_follows_another_or_an_arm_that_is_not_there(tmp_path: Path) -> None:
    async def talk(harness: Harness) -> None:
        endpoint = harness.worker.serving.table.arms[0].endpoints[0]
        await harness.install(table("127.0.0.1:1"))
        await asks("plain", 502)(harness)
        for _ in range(TIMES):
            await harness.install(table(endpoint))
            await asks("plain", 200)(harness)

    assert garbage_of(tmp_path, talk) == {}
