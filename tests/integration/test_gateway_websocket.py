"""A WebSocket through one worker: placed as any request, bytes both ways, counted once, however it ends."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import websockets.asyncio.client
import websockets.asyncio.server
import wsproto
import wsproto.events
from websockets.exceptions import ConnectionClosed, InvalidStatus

from fairway.observe.blocks import Increment, bin_value
from fairway.testing.certificates import key_pair, trusting
from fairway.testing.gateway_worker import Client, Harness, connected
from fairway.testing.scripted_arm import ArmRequest, ScriptedArm, always, answer
from fairway.traffic.bucket import bucket
from fairway.traffic.fence import Fence
from fairway.traffic.rerun import Rerun, RerunWhen
from fairway.traffic.table import Arm, KeyExtractor, KeyKind, Limits, Role, RouteTable, Timeouts
from fairway.units import WHOLE, AgentName, Digest, EnvironmentName, Parts, RouteId

OLD, NEW = Digest("sha256:" + "a" * 64), Digest("sha256:" + "b" * 64)
TIMEOUTS = Timeouts(connect=0.5, first_byte=5.0, idle=5.0, total=10.0)
AGREED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)
ASKED = (
    b"GET /chat/ws HTTP/1.1\r\nHost: agent\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nX-Conversation-Id: %b\r\n\r\n"
)


def table(stable: str, candidate: str | None = None, *, split: int = 0, seq: int = 1) -> RouteTable:
    arms = [Arm(role=Role.STABLE, release=OLD, version="1.0.0", endpoints=(stable,))]
    if candidate is not None:
        arms.append(Arm(role=Role.CANDIDATE, release=NEW, version="1.1.0", endpoints=(candidate,)))
    return RouteTable(
        route=RouteId(agent=AgentName("support"), environment=EnvironmentName("production")),
        fence=Fence(term=1, seq=seq),
        arms=tuple(arms),
        split=Parts(split),
        salt="r-1",
        keys=(KeyExtractor(kind=KeyKind.HEADER, name="x-conversation-id"),),
        timeouts=TIMEOUTS,
        block_seconds=2.0,
    )


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[Harness]:
    made = Harness(tmp_path)
    yield made
    await made.close()


def endpoint_of(server: websockets.asyncio.server.Server | asyncio.Server) -> str:
    return f"127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"


Handler = Callable[[websockets.asyncio.server.ServerConnection], Awaitable[None]]


@contextlib.asynccontextmanager
async def websocket_arm(handler: Handler, **options: Any) -> AsyncIterator[str]:
    """An arm that is a real WebSocket server; its endpoint."""
    async with websockets.asyncio.server.serve(handler, "127.0.0.1", 0, **options) as server:
        yield endpoint_of(server)


async def echo(connection: websockets.asyncio.server.ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


def session(harness: Harness, key: str = "c-1", **options: Any) -> websockets.asyncio.client.connect:
    """A session of a real client."""
    url = f"ws://127.0.0.1:{harness.port}/chat/ws"
    headers = {"X-Conversation-Id": key}
    return websockets.asyncio.client.connect(url, additional_headers=headers, proxy=None, **options)


async def stable(harness: Harness) -> Increment:
    return (await harness.counted())[Role.STABLE]


# --- passing through -------------------------------------------------------------------------------------------


async def test_a_real_client_and_a_real_server_talk_through_it(harness: Harness) -> None:
    async with websocket_arm(echo) as endpoint:
        await harness.start(table(endpoint))
        async with session(harness) as client:
            assert client.response is not None
            assert client.response.headers["x-fairway-release"] == "1.0.0"
            assert "x-fairway-pin" in client.response.headers
            for message in ("hello", "ü" * 40_000, b"\0\xff" * 100_000, ""):
                await client.send(message)
                assert await client.recv() == message
            await (await client.ping())
            assert harness.worker.in_flight == 1
        counted = await stable(harness)
        assert (counted.assigned, counted.finished, counted.failed, counted.unknown) == (1, 1, 0, 0)
        assert counted.sums["websockets"] == 1
        assert harness.worker.in_flight == 0


async def test_many_messages_both_ways_at_once_arrive_whole_and_in_order(harness: Harness) -> None:
    async def talk(connection: websockets.asyncio.server.ServerConnection) -> None:
        async def tell() -> None:
            for number in range(300):
                await connection.send(f"{number} " + "x" * (number * 37 % 3000))

        telling = asyncio.create_task(tell())
        heard = [await connection.recv() for _ in range(300)]
        await telling
        await connection.send(str(sum(int(str(message).split(" ")[0]) for message in heard)))

    async with websocket_arm(talk) as endpoint:
        await harness.start(table(endpoint))
        async with session(harness) as client:
            for number in range(300):
                await client.send(f"{number} " + "y" * (number * 53 % 3000))
            came = [str(await client.recv()) for _ in range(301)]
        assert [int(message.split(" ")[0]) for message in came[:-1]] == list(range(300))
        assert came[-1] == str(sum(range(300)))


@pytest.mark.parametrize("whole", [True, False], ids=["in one piece", "byte by byte"])
async def test_what_comes_with_the_handshake_belongs_to_the_session(harness: Harness, whole: bool) -> None:
    early, greeting = b"\x81\x85\0\0\0\0early", b"\x81\x05hello"
    heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def arm(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(0.1)
        for piece in [AGREED + greeting] if whole else [bytes([byte]) for byte in AGREED + greeting]:
            writer.write(piece)
            await writer.drain()
        heard.set_result(await reader.readexactly(len(early)))
        writer.close()

    server = await asyncio.start_server(arm, "127.0.0.1", 0)
    await harness.start(table(endpoint_of(server)))
    async with connected(harness.port) as client:
        for piece in [ASKED % b"c" + early] if whole else [bytes([byte]) for byte in ASKED % b"c" + early]:
            client.writer.write(piece)
        head = await client.reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 ")
        assert head.lower().count(b"\r\nupgrade: websocket\r\n") == 1
        assert head.lower().count(b"\r\nconnection: upgrade\r\n") == 1
        assert await client.reader.readexactly(len(greeting)) == greeting
        async with asyncio.timeout(5):
            assert await heard == early
    server.close()


async def trickled(writer: asyncio.StreamWriter, wire: bytes) -> None:
    for at in range(0, len(wire), 1000):
        writer.write(wire[at : at + 1000])
        await writer.drain()


async def test_frames_cut_anywhere_pass_byte_for_byte(harness: Harness) -> None:  # noqa: C901 - two scripted peers
    """With wsproto on both ends, frames of many sizes in fragments, through sockets that see a few bytes at a time."""

    async def arm(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = wsproto.WSConnection(wsproto.ConnectionType.SERVER)
        while data := await reader.read(4096):
            peer.receive_data(data)
            for event in peer.events():
                wire = peer.send(replied(event))
                await trickled(writer, wire)
        writer.close()

    def replied(event: wsproto.events.Event) -> wsproto.events.Event:
        if isinstance(event, wsproto.events.Request):
            return wsproto.events.AcceptConnection()
        if isinstance(event, wsproto.events.CloseConnection):
            return event.response()
        assert isinstance(event, wsproto.events.BytesMessage)
        return event

    sizes = (0, 1, 125, 126, 127, 65_535, 65_536, 100_000)
    server = await asyncio.start_server(arm, "127.0.0.1", 0)
    await harness.start(table(endpoint_of(server)))
    ours = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)
    came, last = b"", 0
    async with connected(harness.port) as client, asyncio.timeout(10):
        client.writer.write(ours.send(wsproto.events.Request(host="agent", target="/")))
        while not last:
            ours.receive_data(await client.reader.read(777) or None)
            for event in ours.events():
                if isinstance(event, wsproto.events.AcceptConnection):
                    for size in sizes:
                        message = wsproto.events.BytesMessage(b"z" * size, message_finished=size == sizes[-1])
                        client.writer.write(ours.send(message))
                    client.writer.write(ours.send(wsproto.events.CloseConnection(code=1000)))
                elif isinstance(event, wsproto.events.BytesMessage):
                    came += bytes(event.data)
                elif isinstance(event, wsproto.events.CloseConnection):
                    last = event.code
    assert (came, last) == (b"z" * sum(sizes), 1000)
    server.close()
    counted = await stable(harness)
    assert (counted.finished, counted.failed, counted.unknown) == (1, 0, 0)


async def test_a_session_passes_over_tls_and_ends_as_its_arm_ends_it(tmp_path: Path) -> None:
    pair = key_pair("localhost")

    async def talk(connection: websockets.asyncio.server.ServerConnection) -> None:
        for _ in range(3):
            await connection.send(await connection.recv())
        await connection.close(4001, "enough")

    harness = Harness(tmp_path, tls=pair)
    async with websocket_arm(talk) as endpoint:
        await harness.start(table(endpoint))
        url = f"wss://localhost:{harness.port}/chat/ws"
        async with websockets.asyncio.client.connect(url, ssl=trusting(pair), proxy=None) as client:
            for message in ("hello", "x" * 200_000, "last"):
                await client.send(message)
                assert await client.recv() == message
            with pytest.raises(ConnectionClosed) as closed:
                await client.recv()
            assert closed.value.rcvd is not None
            assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4001, "enough")
        counted = await stable(harness)
        assert (counted.finished, counted.failed, counted.unknown) == (1, 0, 1)
    await harness.close()


async def test_a_session_has_one_line_in_the_access_log_with_all_its_time_and_bytes(
    harness: Harness, tmp_path: Path
) -> None:
    async with websocket_arm(echo, compression=None) as endpoint:
        limits = replace(TIMEOUTS, total=0.8, first_byte=0.5, idle=0.5)
        await harness.start(replace(table(endpoint), timeouts=limits), access_log=str(tmp_path / "access.jsonl"))
        async with session(harness, compression=None) as client:
            await client.send("x" * 1000)
            await client.recv()
            await asyncio.sleep(1.2)  # past when it is counted
        await harness.counted()
    (line,) = [json.loads(line) for line in (tmp_path / "access.jsonl").read_text(encoding="utf-8").splitlines()]
    assert (line["status"], line["verdict"], line["path"]) == (101, "ok", "/chat/ws")
    assert line["bytes_in"] > 1000
    assert line["bytes_out"] > 1000
    assert line["duration_us"] > 1_000_000


# --- only what was asked, only what was agreed ------------------------------------------------------------------


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    ],
)
async def test_an_arm_that_switches_to_something_else_is_a_502(harness: Harness, raw: bytes) -> None:
    async with ScriptedArm(always(raw)) as arm:
        await harness.start(table(arm.endpoint))
        async with connected(harness.port) as client:
            client.writer.write(ASKED % b"c")
            assert (await client.reply()).status == 502
        assert (await stable(harness)).exemplars[0]["reason"] == "malformed_answer"


async def test_an_arm_that_switches_unasked_is_a_502(harness: Harness) -> None:
    async with ScriptedArm(always(AGREED)) as arm:
        await harness.start(table(arm.endpoint))
        async with connected(harness.port) as client:
            assert (await client.ask()).status == 502
            assert (await client.ask("Upgrade: websocket")).status == 502  # not asked: Connection does not name it


@pytest.mark.parametrize("status", ["401 Unauthorized", "426 Upgrade Required", "200 OK"])
async def test_an_arm_that_answers_instead_is_passed_on_and_the_connection_goes_on(
    harness: Harness, status: str
) -> None:
    async with ScriptedArm(always(answer(b"no", status=status, outcome=None))) as arm:
        await harness.start(table(arm.endpoint))
        async with connected(harness.port) as client:
            for _ in range(2):
                client.writer.write(ASKED % b"c")
                reply = await client.reply()
                assert (reply.status, reply.body) == (int(status[:3]), b"no")
        (counted,) = (await stable(harness),)
        assert (counted.finished, counted.failed, "websockets" in counted.sums) == (2, 0, False)


async def test_bytes_for_a_session_that_did_not_begin_are_never_a_request(harness: Harness) -> None:
    async with ScriptedArm(always(answer(b"no", status="403 Forbidden"))) as arm:
        await harness.start(table(arm.endpoint))
        async with connected(harness.port) as client:
            client.writer.write(ASKED % b"c" + b"GET /smuggled HTTP/1.1\r\nHost: agent\r\n\r\n")
            reply = await client.reply()
            assert (reply.status, reply.headers["connection"]) == (403, "close")
            assert await client.closed()
        assert [request.target for request in arm.requests] == ["/chat/ws"]


async def test_a_real_client_sees_the_refusal_of_the_arm(harness: Harness) -> None:
    async with websocket_arm(echo, process_request=lambda connection, _: connection.respond(403, "no\n")) as endpoint:
        await harness.start(table(endpoint))
        with pytest.raises(InvalidStatus) as refused:
            async with session(harness):
                pass
        assert refused.value.response.status_code == 403


# --- where it goes ---------------------------------------------------------------------------------------------


async def test_a_session_is_placed_by_its_key_and_stays_when_the_split_goes_and_the_release_is_masked(
    harness: Harness,
) -> None:
    key = next(f"c-{n}" for n in range(1_000) if bucket("r-1", f"c-{n}") < 50_000)
    async with websocket_arm(echo) as old, websocket_arm(echo) as new:
        await harness.start(table(old, new, split=50_000))
        async with session(harness, key) as client:
            assert client.response is not None
            assert client.response.headers["x-fairway-release"] == "1.1.0"
            await harness.install(replace(table(old, new, seq=2), masks=(NEW,)))
            await client.send("still here")
            assert await client.recv() == "still here"  # a session ends where it began
            async with session(harness, key) as later:
                assert later.response is not None
                assert later.response.headers["x-fairway-release"] == "1.0.0"
        counted = await harness.counted()
        assert (counted[Role.CANDIDATE].finished, counted[Role.STABLE].finished) == (1, 1)


async def test_a_session_whose_instance_is_not_there_is_opened_on_stable_once(harness: Harness) -> None:
    key = next(f"c-{n}" for n in range(1_000) if bucket("r-1", f"c-{n}") < 50_000)
    async with websocket_arm(echo) as old:
        await harness.start(table(old, "127.0.0.1:1", split=50_000))
        async with session(harness, key) as client:
            await client.send("hello")
            assert await client.recv() == "hello"
        counted = await harness.counted()
        assert (counted[Role.CANDIDATE].failed, counted.get(Role.STABLE)) == (1, None)


async def test_a_session_that_failed_to_begin_may_begin_on_stable_and_one_that_began_never_does(
    harness: Harness,
) -> None:
    key = next(f"c-{n}" for n in range(1_000) if bucket("r-1", f"c-{n}") < 50_000)
    replies = iter([answer(b"", status="503 Service Unavailable"), AGREED])

    async def script(_: ArmRequest, writer: asyncio.StreamWriter) -> None:
        writer.write(next(replies))
        await writer.drain()
        writer.close()

    async with websocket_arm(echo) as old, ScriptedArm(script) as new:
        rerun = Rerun(when=RerunWhen.ON_FAILURE)
        await harness.start(replace(table(old, new.endpoint, split=50_000), rerun=rerun))
        async with session(harness, key) as client:
            assert client.response is not None
            assert client.response.headers["x-fairway-release"] == "1.0.0"
            await client.send("hello")
            assert await client.recv() == "hello"
        async with connected(harness.port) as raw:
            raw.writer.write(ASKED % key.encode())
            assert b"\r\nx-fairway-release: 1.1.0\r\n" in await raw.reader.read()
        counted = (await harness.counted())[Role.CANDIDATE]
        assert (counted.failed, counted.sums["reruns"]) == (2, 1)


async def test_sessions_count_against_the_limit_of_requests(harness: Harness) -> None:
    async with websocket_arm(echo) as endpoint:
        await harness.start(replace(table(endpoint), limits=Limits(in_flight=1)))
        async with session(harness), connected(harness.port) as client:
            assert (await client.ask()).status == 503
        async with asyncio.timeout(5):
            while harness.worker.in_flight:
                await asyncio.sleep(0.01)
        async with session(harness) as again:
            await again.send("x")
            assert await again.recv() == "x"


# --- how it ends -----------------------------------------------------------------------------------------------


def closing(code: int, reason: str = "") -> Handler:
    async def handler(connection: websockets.asyncio.server.ServerConnection) -> None:
        await connection.send("hello")
        await connection.close(code, reason)

    return handler


@pytest.mark.parametrize(
    ("code", "reason", "ended"),
    [
        (1000, "", "ok"),
        (1001, "bye", "ok"),
        (1011, "", "failed"),
        (1012, "", "failed"),
        (1013, "", "failed"),
        (1008, "policy", "unknown"),
        (4000, "own", "unknown"),
        (1000, "fairway-outcome status=ok, tokens_out=7", "ok"),
        (4000, "fairway-outcome status=ok", "ok"),
        (1000, "fairway-outcome status=failed", "failed"),
        (1011, "fairway-outcome status=ok", "failed"),
        (1000, "fairway-outcome nonsense", "unknown"),
    ],
)
async def test_what_became_of_a_session_is_how_the_arm_closed_it_and_what_the_agent_said(
    harness: Harness, code: int, reason: str, ended: str
) -> None:
    async with websocket_arm(closing(code, reason)) as endpoint:
        await harness.start(table(endpoint))
        async with session(harness) as client:
            assert await client.recv() == "hello"
            with pytest.raises(ConnectionClosed) as closed:
                await client.recv()
            assert closed.value.rcvd is not None
            shown = "" if reason.startswith("fairway-outcome ") else reason
            assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (code, shown)
        counted = await stable(harness)
        figures = (counted.finished, counted.failed, counted.unknown)
        assert figures == {"ok": (1, 0, 0), "failed": (1, 1, 0), "unknown": (1, 0, 1)}[ended]
        assert counted.sums.get("tokens_out", 0) == (7 if "tokens_out" in reason else 0)


async def test_an_arm_that_reports_outcomes_and_says_nothing_of_a_session_is_unknown(harness: Harness) -> None:
    replies = iter([closing(1000, "fairway-outcome status=ok"), closing(1000)])

    async def handler(connection: websockets.asyncio.server.ServerConnection) -> None:
        await next(replies)(connection)

    async with websocket_arm(handler) as endpoint:
        await harness.start(table(endpoint))
        for _ in range(2):
            async with session(harness) as client:
                assert await client.recv() == "hello"
                with pytest.raises(ConnectionClosed):
                    await client.recv()
        counted = await stable(harness)
        assert (counted.finished, counted.failed, counted.unknown) == (2, 0, 1)


async def test_an_outcome_in_the_head_of_the_101_holds_for_the_session_unless_its_end_says_otherwise(
    harness: Harness,
) -> None:
    closes = iter([b"\x88\x02\x03\xe8", b"\x88\x1f\x03\xe8fairway-outcome status=failed", b""])

    async def script(_: ArmRequest, writer: asyncio.StreamWriter) -> None:
        writer.write(AGREED.replace(b"\r\n\r\n", b"\r\nFairway-Outcome: status=ok\r\n\r\n") + next(closes))
        await writer.drain()
        writer.close()

    async with ScriptedArm(script) as arm:
        await harness.start(table(arm.endpoint))
        for _ in range(3):
            async with connected(harness.port) as client:
                client.writer.write(ASKED % b"c")
                assert b"fairway-outcome" not in (await client.reader.read()).lower()
        counted = await stable(harness)
        assert (counted.finished, counted.failed, counted.unknown) == (3, 2, 0)
        assert {one["reason"] for one in counted.exemplars} == {"outcome_failed", "websocket_cut"}


async def test_the_time_of_a_session_is_the_time_to_its_beginning(harness: Harness) -> None:
    async with websocket_arm(echo) as endpoint:
        await harness.start(table(endpoint))
        async with session(harness) as client:
            await asyncio.sleep(0.6)
            await client.send("x")
            await client.recv()
        counted = await stable(harness)
        assert counted.histograms["latency_ms"] == counted.histograms["first_byte_ms"]
        (index,) = counted.histograms["latency_ms"]
        assert bin_value(index) < 500


async def test_an_arm_that_drops_a_session_has_failed_and_the_client_sees_it_end(harness: Harness) -> None:
    async def drop(_: ArmRequest, writer: asyncio.StreamWriter) -> None:
        writer.write(AGREED + b"\x81\x05hello")
        await writer.drain()
        writer.close()

    async with ScriptedArm(drop) as arm:
        await harness.start(table(arm.endpoint))
        async with connected(harness.port) as client:
            client.writer.write(ASKED % b"c")
            await client.reader.readuntil(b"\r\n\r\n")
            assert await client.reader.read() == b"\x81\x05hello"
        counted = await stable(harness)
        assert (counted.failed, counted.exemplars[0]["reason"]) == (1, "websocket_cut")


async def test_a_client_that_is_gone_ends_the_arms_session_and_is_unknown(harness: Harness) -> None:
    ended = asyncio.Event()

    async def handler(connection: websockets.asyncio.server.ServerConnection) -> None:
        try:
            await connection.recv()
        finally:
            ended.set()

    async with websocket_arm(handler) as endpoint:
        await harness.start(table(endpoint))
        async with connected(harness.port) as client:
            client.writer.write(ASKED % b"c")
            await client.reader.readuntil(b"\r\n\r\n")
        async with asyncio.timeout(5):
            await ended.wait()
        counted = await stable(harness)
        assert (counted.finished, counted.failed, counted.unknown) == (1, 0, 1)
        assert counted.sums["client_aborted"] == 1


async def raw_arm(talk: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]) -> asyncio.Server:
    """An arm that agrees to every session and then does as told."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(AGREED)
        with contextlib.suppress(OSError):
            await talk(reader, writer)
        writer.close()

    return await asyncio.start_server(serve, "127.0.0.1", 0)


async def begun(harness: Harness, client: Client) -> None:
    client.writer.write(ASKED % b"c")
    await client.reader.readuntil(b"\r\n\r\n")


async def test_a_client_that_has_said_all_still_hears_the_arm(harness: Harness) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.read() == b"last words"  # to its end, which the gateway passes on
        for _ in range(5):
            await asyncio.sleep(0.05)
            writer.write(b"\x81\x02ok")
        writer.write(b"\x88\x02\x03\xe8")
        await writer.drain()

    server = await raw_arm(talk)
    await harness.start(table(endpoint_of(server)))
    async with connected(harness.port) as client, asyncio.timeout(5):
        await begun(harness, client)
        client.writer.write(b"last words")
        client.writer.write_eof()
        assert await client.reader.read() == b"\x81\x02ok" * 5 + b"\x88\x02\x03\xe8"
    server.close()
    counted = await stable(harness)
    assert (counted.finished, counted.failed, counted.unknown) == (1, 0, 0)


async def test_an_arm_that_has_said_all_still_hears_the_client(harness: Harness) -> None:
    heard = asyncio.get_running_loop().create_future()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\x88\x00")
        writer.write_eof()
        heard.set_result(await reader.read())

    server = await raw_arm(talk)
    await harness.start(table(endpoint_of(server)))
    async with connected(harness.port) as client, asyncio.timeout(5):
        await begun(harness, client)
        assert await client.reader.read() == b"\x88\x00"
        client.writer.write(b"good ")
        await asyncio.sleep(0.1)
        client.writer.write(b"bye")
        client.writer.write_eof()
        assert await heard == b"good bye"
    server.close()
    assert (await stable(harness)).failed == 0


@pytest.mark.parametrize("who", ["client", "arm"])
async def test_who_reads_slowly_holds_the_other_back_and_gets_everything(harness: Harness, who: str) -> None:
    piece, pieces = b"\x82\x7f" + (65_536).to_bytes(8, "big") + b"x" * 65_536, 300
    written = 0
    go = asyncio.Event()
    whole: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def flood(writer: asyncio.StreamWriter) -> None:
        nonlocal written
        for _ in range(pieces):
            writer.write(piece)
            await writer.drain()
            written += len(piece)

    async def drink(reader: asyncio.StreamReader) -> int:
        await go.wait()
        total = 0
        while total < len(piece) * pieces:
            total += len(await reader.read(1 << 20))
        return total

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if who == "client":
            await flood(writer)
            await reader.read()
        else:
            whole.set_result(await drink(reader))

    server = await raw_arm(talk)
    await harness.start(table(endpoint_of(server)))
    async with connected(harness.port) as client, asyncio.timeout(15):
        await begun(harness, client)
        flooding = asyncio.create_task(flood(client.writer)) if who == "arm" else None
        seen = -1
        while written != seen:  # until whoever sends is held
            seen = written
            await asyncio.sleep(0.3)
        assert written < len(piece) * pieces * 0.7
        go.set()
        assert await (drink(client.reader) if who == "client" else whole) == len(piece) * pieces
        if flooding is not None:
            await flooding
    server.close()


async def test_a_session_on_which_nothing_passes_is_closed_after_its_own_limit_and_is_unknown(harness: Harness) -> None:
    async with websocket_arm(echo) as endpoint:
        limits = replace(TIMEOUTS, idle=0.2, first_byte=1.0, websocket=1.5)
        await harness.start(replace(table(endpoint), timeouts=limits))
        async with session(harness) as client, asyncio.timeout(10):
            for _ in range(2):
                await asyncio.sleep(0.5)  # longer than `idle`, which is not a session's
                await client.send("x")
                assert await client.recv() == "x"
            with pytest.raises(ConnectionClosed) as closed:
                await client.recv()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1001
        counted = await stable(harness)
        assert (counted.finished, counted.failed, counted.unknown) == (1, 0, 1)
        assert not counted.sums.get("client_aborted")


async def test_a_session_outlives_the_total_time_of_requests_and_is_counted_by_then(harness: Harness) -> None:
    async with websocket_arm(echo) as endpoint:
        limits = replace(TIMEOUTS, total=0.8, first_byte=0.5, idle=0.5)
        await harness.start(replace(table(endpoint), timeouts=limits))
        async with session(harness) as client:
            await asyncio.sleep(1.3)
            reported = await harness.reported()
            assert sum(one.finished for batch in reported for one in batch.increments) == 1
            await client.send("x")
            assert await client.recv() == "x"
        counted = await stable(harness)
        assert (counted.assigned, counted.finished, counted.failed, counted.unknown) == (1, 1, 0, 0)


async def test_an_arm_that_drops_sessions_long_after_they_were_counted_is_told_of(harness: Harness) -> None:
    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(1.0)

    server = await raw_arm(talk)
    limits = replace(TIMEOUTS, total=0.8, first_byte=0.5, idle=0.5)
    await harness.start(replace(table(endpoint_of(server)), timeouts=limits))
    async with connected(harness.port) as client, asyncio.timeout(5):
        await begun(harness, client)
        assert await client.reader.read() == b""
    server.close()
    counted = await stable(harness)
    assert (counted.finished, counted.failed, counted.sums["websockets_cut"]) == (1, 0, 1)


async def test_a_drain_gives_sessions_its_time_and_then_closes_them(tmp_path: Path) -> None:
    harness = Harness(tmp_path)
    async with websocket_arm(echo) as endpoint:
        await harness.start(table(endpoint), drain_seconds=0.8)
        async with session(harness) as client:
            draining = asyncio.create_task(harness.counted())
            await asyncio.sleep(0.3)
            await client.send("within the drain")
            assert await client.recv() == "within the drain"
            with pytest.raises(ConnectionClosed) as closed:
                await client.recv()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1001
        counted = (await draining)[Role.STABLE]
        assert (counted.finished, counted.failed, counted.unknown) == (1, 0, 1)
        assert not counted.sums.get("client_aborted")
    await harness.close()


async def test_a_conversation_that_goes_on_as_a_session_is_not_mirrored_any_further(harness: Harness) -> None:
    async with websocket_arm(echo) as endpoint, ScriptedArm(always(answer())) as shadow:
        shadow_arm = Arm(role=Role.SHADOW, release=NEW, version="1.1.0", endpoints=(shadow.endpoint,))
        base = table(endpoint)
        await harness.start(replace(base, arms=(*base.arms, shadow_arm), mirror=WHOLE))
        async with session(harness) as client:
            await client.send("x")
            assert await client.recv() == "x"
        counted = await harness.counted()
        assert shadow.requests == []
        assert counted[Role.SHADOW].sums["shadow_dropped"] == 1
