"""What HTTP/1.1 leaves to a proxy, and what this one does: each row through a worker, with raw bytes on both sides."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from fairway.observe.blocks import Increment
from fairway.testing.gateway_worker import Client, Harness, connected
from fairway.testing.scripted_arm import ArmRequest, ScriptedArm, always, answer
from fairway.traffic.fence import Fence
from fairway.traffic.table import Arm, KeyExtractor, KeyKind, Limits, Role, RouteTable, Timeouts
from fairway.units import AgentName, Digest, EnvironmentName, RouteId

OLD = Digest("sha256:" + "a" * 64)
POST, GET = b"POST / HTTP/1.1\r\nHost: a\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def table(endpoint: str | None) -> RouteTable:
    arms = () if endpoint is None else (Arm(role=Role.STABLE, release=OLD, version="1.0.0", endpoints=(endpoint,)),)
    return RouteTable(
        route=RouteId(agent=AgentName("support"), environment=EnvironmentName("production")),
        fence=Fence(term=1, seq=1),
        arms=arms,
        salt="r-1",
        keys=(KeyExtractor(kind=KeyKind.HEADER, name="x-conversation-id"),),
        timeouts=Timeouts(connect=0.5, first_byte=5.0, idle=5.0, total=30.0),
        block_seconds=2.0,
    )


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[Harness]:
    made = Harness(tmp_path)
    yield made
    await made.close()


async def everything(client: Client) -> bytes:
    """All that comes until the gateway closes the connection."""
    async with asyncio.timeout(10):
        return await client.reader.read()


async def stable(harness: Harness) -> Increment:
    return (await harness.counted())[Role.STABLE]


Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def raw_arm(talk: Talk) -> AsyncIterator[str]:
    """An arm that reads and writes what it is told to; its endpoint."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await talk(reader, writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


# --- Expect: 100-continue (RFC 9110, 10.1.1) --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("head", "body", "continues"),
    [
        (POST + b"Expect: 100-continue\r\nContent-Length: 4\r\n\r\n", b"body", True),
        (POST + b"expect: 100-CONTINUE\r\nTransfer-Encoding: chunked\r\n\r\n", b"4\r\nbody\r\n0\r\n\r\n", True),
        (POST + b"Expect: 100-continue\r\nContent-Length: 4\r\n\r\nbody", b"", False),
        (POST + b"Expect: 100-continue\r\nContent-Length: 4\r\n\r\nbo", b"dy", False),
        (POST + b"Expect: 100-continue\r\n\r\n", b"", False),
        (POST + b"Expect: something-else\r\nContent-Length: 4\r\n\r\n", b"body", False),
        (b"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n", b"body", False),
    ],
    ids=["waits", "in chunks", "does not wait", "has begun", "no body", "another expectation", "HTTP/1.0"],
)
async def test_who_waits_to_be_told_is_told_once_and_the_arm_is_not_asked(
    harness: Harness, head: bytes, body: bytes, continues: bool
) -> None:
    async with ScriptedArm(always(answer(b"done"))) as arm:
        await harness.start(table(arm.endpoint))
        async with connected(harness.port) as client:
            client.writer.write(head)
            if continues:
                assert (await client.reply()).status == 100
            await asyncio.sleep(0.05)
            client.writer.write(body)
            reply = await client.reply()
            assert (reply.status, reply.body) == (200, b"done")
        (request,) = arm.requests
        assert request.header("expect") is None
        assert request.body == (b"body" if body or b"body" in head else b"")


async def test_what_is_refused_anyway_is_not_sent_first(harness: Harness) -> None:
    async with ScriptedArm(always(answer())) as arm:
        await harness.start(replace(table(arm.endpoint), limits=Limits(body_bytes=10)))
        async with connected(harness.port) as client:
            client.writer.write(POST + b"Expect: 100-continue\r\nContent-Length: 11\r\n\r\n")
            assert (await everything(client)).startswith(b"HTTP/1.1 413 ")
        await harness.install(table(None))
        async with connected(harness.port) as client:
            client.writer.write(POST + b"Expect: 100-continue\r\nContent-Length: 4\r\n\r\n")
            assert (await everything(client)).startswith(b"HTTP/1.1 503 ")


async def test_an_arm_may_answer_before_the_body_is_complete_and_the_connection_ends_there(harness: Harness) -> None:
    async def early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer(b"no thanks", status="401 Unauthorized"))
        await reader.read()

    async with raw_arm(early) as endpoint:
        await harness.start(table(endpoint))
        async with connected(harness.port) as client:
            client.writer.write(POST + b"Content-Length: 1000000\r\n\r\nsome of it")
            reply = await client.reply()
            assert (reply.status, reply.body, reply.headers["connection"]) == (401, b"no thanks", "close")
            for _ in range(20):  # goes on sending, and is not reset before it has read
                client.writer.write(b"x" * 10_000)
            assert await client.closed()
        assert (await stable(harness)).finished == 1


async def test_both_bodies_may_run_at_once(harness: Harness) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(CHUNKED)
        while (line := await reader.readline()) != b"0\r\n":
            writer.write(line + await reader.readexactly(int(line, 16) + 2))
        writer.write(b"0\r\n\r\n")
        await reader.read()

    async with raw_arm(echo) as endpoint:
        await harness.start(table(endpoint))
        async with connected(harness.port) as client, asyncio.timeout(5):
            client.writer.write(POST + b"Transfer-Encoding: chunked\r\n\r\n")
            await client.reader.readuntil(b"\r\n\r\n")
            for word in (b"5\r\nhello\r\n", b"3\r\nyou\r\n"):
                client.writer.write(word)
                assert await client.reader.readexactly(len(word)) == word
            client.writer.write(b"0\r\n\r\n")
            assert await client.reader.readexactly(5) == b"0\r\n\r\n"


# --- interim answers (RFC 9110, 15.2) ---------------------------------------------------------------------------

HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\nX-Fairway-Release: forged\r\n\r\n"


async def test_early_hints_pass_and_a_100_that_nobody_asked_the_arm_for_does_not(harness: Harness) -> None:
    raw = b"HTTP/1.1 100 Continue\r\n\r\n" + HINTS + b"HTTP/1.1 102 Processing\r\n\r\n" + answer(b"done")
    async with ScriptedArm(always(raw)) as arm:
        await harness.start(table(arm.endpoint))
        async with connected(harness.port) as client:
            for _ in range(2):
                client.writer.write(GET + b"X-Conversation-Id: c\r\n\r\n")
                hints, processing, done = [await client.reply() for _ in range(3)]
                assert (hints.status, processing.status, done.status, done.body) == (103, 102, 200, b"done")
                assert hints.headers == {"link": "</style.css>; rel=preload"}
        counted = await stable(harness)
        assert (counted.finished, counted.failed, counted.unknown) == (2, 0, 0)


async def test_a_client_of_http_1_0_gets_no_interim_answer(harness: Harness) -> None:
    async with ScriptedArm(always(HINTS + answer(b"done"))) as arm:
        await harness.start(table(arm.endpoint))
        async with connected(harness.port) as client:
            client.writer.write(b"GET / HTTP/1.0\r\n\r\n")
            assert (await everything(client)).count(b"HTTP/1.1 ") == 1


# --- answers without a body, and bodies in every framing ----------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "raw", "lines"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n", {"content-length": "500"}),
        ("HEAD", CHUNKED, {"transfer-encoding": None, "content-length": None}),
        ("GET", b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", {"content-length": None}),
        ("GET", b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", {"transfer-encoding": None}),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n", {"content-length": "7"}),
        ("GET", b"HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n", {"content-length": "0"}),
    ],
)
async def test_an_answer_without_a_body_ends_with_its_head(
    harness: Harness, method: str, raw: bytes, lines: dict[str, str | None]
) -> None:
    async with ScriptedArm(always(raw)) as arm:
        await harness.start(table(arm.endpoint))
        async with connected(harness.port) as client:
            for _ in range(2):
                reply = await client.ask(method=method)
                assert {name: reply.headers.get(name) for name in lines} == lines
            client.writer.write(method.encode() + b" / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            last = await everything(client)
            assert b"\r\nconnection: close\r\n" in last
            assert last.find(b"\r\n\r\n") == len(last) - 4
        assert arm.connections == 1


@pytest.mark.parametrize("version", [b"HTTP/1.0", b"HTTP/1.1"])
@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789",
        CHUNKED + b"4;a=b\r\n0123\r\n6\r\n456789\r\n0\r\nX-Sum: 1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n0123456789",
        b"HTTP/1.0 200 OK\r\n\r\n0123456789",
        b"HTTP/1.0 200 OK\r\nContent-Length: 10\r\n\r\n0123456789",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 10\r\n\r\n0123456789",
    ],
    ids=["length", "chunks", "until close", "1.0 until close", "1.0 with a length", "close"],
)
async def test_a_body_arrives_whole_in_every_framing_and_every_version(
    harness: Harness, version: bytes, raw: bytes
) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(raw)

    async with raw_arm(talk) as endpoint:
        await harness.start(table(endpoint))
        async with connected(harness.port) as client:
            client.writer.write(b"GET / %b\r\nHost: a\r\nConnection: close\r\n\r\n" % version)
            got = await everything(client)
        head, _, body = got.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        chunked = b"transfer-encoding: chunked" in head.lower()
        assert chunked is (b"chunked" in raw and version == b"HTTP/1.1")
        assert body.replace(b"\r\n", b"") == (b"4012364567890" if chunked else b"0123456789") or b"0123456789" in body
        counted = await stable(harness)
        assert (counted.finished, counted.failed) == (1, 0)


async def test_an_answer_cut_short_is_never_taken_for_a_whole_one(harness: Harness) -> None:
    """A length, chunks, or a reset: whichever way the arm's answer would end, the client sees that it did not."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        target = (await reader.readuntil(b"\r\n\r\n")).split(b" ")[1]
        if target == b"/length":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01234")
        elif target == b"/chunks":
            writer.write(CHUNKED + b"a\r\n01234")
        else:
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n01234")
            await writer.drain()
            await asyncio.sleep(0.05)
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()

    async with raw_arm(talk) as endpoint:
        await harness.start(table(endpoint))
        for target in ("/length", "/chunks"):
            async with connected(harness.port) as client:
                with pytest.raises((asyncio.IncompleteReadError, ValueError)):
                    await client.ask(target=target)
        async with connected(harness.port) as client:
            client.writer.write(b"GET /reset HTTP/1.1\r\nHost: a\r\n\r\n")
            with pytest.raises(ConnectionResetError):  # and no end that would look like that of the answer
                await everything(client)
        counted = await stable(harness)
        assert [one["reason"] for one in counted.exemplars] == ["answer_cut"] * 3


async def test_pipelined_requests_of_every_kind_are_answered_in_order_and_one_at_a_time(harness: Harness) -> None:
    running = 0

    async def script(request: ArmRequest, writer: asyncio.StreamWriter) -> None:
        nonlocal running
        running += 1
        assert running == 1
        await asyncio.sleep(0.01)
        running -= 1
        if request.method == "HEAD":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n")
        elif request.target == "/204":
            writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        elif request.target == "/chunks":
            writer.write(CHUNKED + b"3\r\n%b\r\n0\r\n\r\n" % request.body[:3])
        else:
            writer.write(answer(request.target.encode() + request.body))

    requests = (
        b"POST /a HTTP/1.1\r\nHost: a\r\nX-Conversation-Id: c\r\nContent-Length: 3\r\n\r\none",
        b"HEAD /head HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /204 HTTP/1.1\r\nHost: a\r\nX-Conversation-Id: c\r\n\r\n",
        b"POST /chunks HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"2\r\ntw\r\n1;x\r\no\r\n0\r\nX: y\r\n\r\n",
        b"GET /b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        b"GET /never HTTP/1.1\r\nHost: a\r\n\r\n",
    )
    async with ScriptedArm(script) as arm:
        await harness.start(table(arm.endpoint))
        async with connected(harness.port) as client:
            client.writer.write(b"".join(requests))
            assert (await client.reply()).body == b"/aone"
            assert (await client.reply(head=True)).headers["content-length"] == "99"
            assert (await client.reply()).status == 204
            assert (await client.reply()).body == b"two"
            assert (await client.reply()).body == b"/b"
            assert await client.closed()
        assert [request.target for request in arm.requests] == ["/a", "/head", "/204", "/chunks", "/b"]


# --- trailers (RFC 9110, 6.5) -------------------------------------------------------------------------------------


@pytest.mark.parametrize("asks", [True, False])
async def test_an_outcome_in_the_trailers_counts_and_other_trailers_go_to_who_asks(
    harness: Harness, asks: bool
) -> None:
    raw = CHUNKED.replace(b"\r\n\r\n", b"\r\nTrailer: Fairway-Outcome, X-Sum\r\n\r\n")
    raw += b"2\r\nok\r\n0\r\nX-Sum: 1\r\nSet-Cookie: a=b\r\nFairway-Outcome: status=%b, tokens_out=5\r\n\r\n"
    replies = iter([raw % b"ok", raw % b"failed", CHUNKED + b"2\r\nok\r\n0\r\n\r\n"])

    async def script(_: ArmRequest, writer: asyncio.StreamWriter) -> None:
        writer.write(next(replies))

    async with ScriptedArm(script) as arm:
        await harness.start(table(arm.endpoint))
        async with connected(harness.port) as client:
            for _ in range(2):
                client.writer.write(GET + (b"TE: trailers\r\nConnection: TE\r\n\r\n" if asks else b"\r\n"))
                head = await client.reader.readuntil(b"\r\n\r\n")
                assert (b"\r\ntrailer: X-Sum\r\n" in head) is asks
                rest = b"2\r\nok\r\n0\r\n" + (b"x-sum: 1\r\n" if asks else b"") + b"\r\n"
                assert await client.reader.readexactly(len(rest)) == rest
            assert (await client.ask()).body == b"ok"
        assert arm.requests[0].header("te") == ("trailers" if asks else None)
        counted = await stable(harness)
        assert (counted.finished, counted.failed, counted.unknown) == (3, 1, 1)  # and the third said nothing
        assert counted.sums["tokens_out"] == 10


async def test_trailers_and_extensions_of_a_request_end_here(harness: Harness) -> None:
    heard: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        heard.append(await reader.readuntil(b"0\r\n\r\n"))
        writer.write(answer())
        await reader.read()

    async with raw_arm(talk) as endpoint:
        await harness.start(table(endpoint))
        async with connected(harness.port) as client:
            client.writer.write(POST + b"Transfer-Encoding: chunked\r\n\r\n")
            client.writer.write(b'2;a="b c"\r\nhi\r\n0;z\r\nX-Fairway-Pin: p\r\nX-Sum: 1\r\n\r\n')
            assert (await client.reply()).status == 200
        assert heard == [b"2\r\nhi\r\n0\r\n\r\n"]


# --- streams ------------------------------------------------------------------------------------------------------


async def test_who_stops_reading_a_stream_holds_the_arm_back_with_bounded_memory_and_then_gets_all_of_it(
    harness: Harness,
) -> None:
    event = b"data: " + b"x" * 65_528 + b"\n\n"
    events, written = 50 * 1024 * 1024 // len(event), 0

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        chunk = b"%x\r\n%b\r\n" % (len(event), event)
        for _ in range(events // 16):
            writer.write(chunk * 16)
            await writer.drain()
            written += 16 * len(event)
        writer.write(b"0\r\n\r\n")
        await reader.read()

    async with raw_arm(flood) as endpoint:
        await harness.start(table(endpoint))
        async with connected(harness.port) as client, asyncio.timeout(20):
            client.writer.write(GET + b"\r\n")
            seen = -1
            while written != seen:  # until the arm is held
                seen = written
                await asyncio.sleep(0.3)
            assert written < 20 * 1024 * 1024  # what sockets and a few buffers hold: not the stream
            (one,) = harness.worker.clients
            assert one.transport.get_write_buffer_size() < 1024 * 1024  # and of that the gateway next to nothing
            await client.reader.readuntil(b"\r\n\r\n")
            total = 0
            while size := int(await client.reader.readline(), 16):
                total += len(await client.reader.readexactly(size))
                await client.reader.readexactly(2)
        assert total == events // 16 * 16 * len(event)


async def test_a_reader_that_hangs_up_cancels_the_arm_at_once(harness: Harness) -> None:
    gone = asyncio.get_running_loop().create_future()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
        with contextlib.suppress(OSError):
            await reader.read()
        gone.set_result(time.perf_counter())

    async with raw_arm(talk) as endpoint:
        await harness.start(table(endpoint))
        async with connected(harness.port) as client:
            client.writer.write(GET + b"\r\n")
            await client.reader.readuntil(b"\n\n")
        hung_up = time.perf_counter()
        async with asyncio.timeout(5):
            assert await gone - hung_up < 0.5
        counted = await stable(harness)
        assert (counted.unknown, counted.sums["client_aborted"]) == (1, 1)


async def test_a_reader_that_hangs_up_while_it_holds_the_arm_back_cancels_it_too(harness: Harness) -> None:
    gone = asyncio.get_running_loop().create_future()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        with contextlib.suppress(OSError):
            while True:
                writer.write(b"data: " + b"x" * 65_536 + b"\n\n")
                await writer.drain()
        gone.set_result(True)

    async with raw_arm(talk) as endpoint:
        await harness.start(table(endpoint))
        async with connected(harness.port) as client:
            client.writer.write(GET + b"\r\n")
            await asyncio.sleep(0.5)
            assert not gone.done()
            client.writer.transport.abort()
            async with asyncio.timeout(5):
                assert await gone
