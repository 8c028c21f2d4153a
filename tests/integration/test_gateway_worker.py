"""One worker against scripted arms: what passes through, what is refused, and that every request is counted once."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from fairway.gateway.channel import send
from fairway.gateway.quick_request import quick_request
from fairway.gateway.upstream import Pool, Upstream
from fairway.testing.gateway_worker import Harness, connected
from fairway.testing.scripted_arm import ArmRequest, ScriptedArm, always, answer
from fairway.traffic.bucket import bucket, tag_of, unit_hash
from fairway.traffic.facts import GivenFacts
from fairway.traffic.fence import Fence
from fairway.traffic.flags import TableFlag, is_on
from fairway.traffic.pin import Pin, release_tag, unit_tag
from fairway.traffic.table import Arm, KeyExtractor, KeyKind, Limits, Role, RouteTable, Rule, RuleKind, Timeouts
from fairway.units import WHOLE, AgentName, Digest, EnvironmentName, Parts, RouteId

OLD, NEW = Digest("sha256:" + "a" * 64), Digest("sha256:" + "b" * 64)
TIMEOUTS = Timeouts(connect=0.5, first_byte=5.0, idle=5.0, total=10.0)


def table(stable: str | None, candidate: str | None = None, *, split: int = 0, seq: int = 1) -> RouteTable:
    arms = []
    if stable is not None:
        arms.append(Arm(role=Role.STABLE, release=OLD, version="1.0.0", endpoints=(stable,)))
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


def candidate_key(split: int = 50_000, *, below: bool = True, skip: int = 0) -> str:
    return [f"c-{n}" for n in range(1_000) if (bucket("r-1", f"c-{n}") < split) is below][skip]


# --- passing through -------------------------------------------------------------------------------------------


async def test_a_request_and_its_answer_pass_through(harness: Harness) -> None:
    async with ScriptedArm(always(answer(b"hello", headers=("X-Own: 1",)))) as arm:
        await harness.start(table(arm.endpoint))
        async with connected(harness.port) as client:
            reply = await client.ask("X-Fairway-Forged: 1", target="/chat?a=b", method="POST", body=b"question")
        assert (reply.status, reply.body, reply.version) == (200, b"hello", "1.0.0")
        assert reply.headers["x-own"] == "1"
        assert "fairway-outcome" not in reply.headers
        (request,) = arm.requests
        assert (request.method, request.target, request.body) == ("POST", "/chat?a=b", b"question")
        assert request.header("x-fairway-forged") is None
        assert request.header("x-forwarded-for") == "127.0.0.1"
        assert request.header("x-fairway-request") == reply.headers["x-fairway-request"]


async def test_connections_are_kept_on_both_sides(harness: Harness) -> None:
    async with ScriptedArm(always(answer())) as arm:
        await harness.start(table(arm.endpoint))
        async with connected(harness.port) as client:
            for _ in range(20):
                assert (await client.ask()).status == 200
        assert arm.connections == 1


async def test_pipelined_requests_are_answered_in_order(harness: Harness) -> None:
    async def echo(request: ArmRequest, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.05 if request.target == "/0" else 0)
        writer.write(answer(request.target.encode() + request.body))

    async with ScriptedArm(echo) as arm:
        await harness.start(table(arm.endpoint))
        async with connected(harness.port) as client:
            client.writer.write(
                b"".join(b"POST /%d HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n%d" % (n, n) for n in range(5))
            )
            assert [(await client.reply()).body for _ in range(5)] == [b"/%d%d" % (n, n) for n in range(5)]


async def test_chunked_bodies_pass_both_ways_however_they_are_cut(harness: Harness) -> None:
    async def chunked(request: ArmRequest, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for piece in (b"4\r", b"\nab", b"cd\r\n3;x=y\r\n", b"xyz", b"\r\n0\r\nX-T: 1\r\n\r\n"):
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.01)

    async with ScriptedArm(chunked) as arm:
        await harness.start(table(arm.endpoint))
        async with connected(harness.port) as client:
            client.writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nxy")
            await asyncio.sleep(0.05)
            client.writer.write(b"z\r\n2\r\n12\r\n0\r\n\r\n")
            assert (await client.reply()).body == b"abcdxyz"
            assert (await client.ask()).status == 200
        assert arm.requests[0].body == b"xyz12"


@pytest.mark.parametrize("size", [10, 3_000_000])
async def test_large_bodies_arrive_whole(harness: Harness, size: int) -> None:
    async def mirror(request: ArmRequest, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(request.body))

    async with ScriptedArm(mirror) as arm:
        await harness.start(table(arm.endpoint))
        async with connected(harness.port) as client:
            body = bytes(range(256)) * (size // 256 + 1)
            assert (await client.ask(method="POST", body=body)).body == body


async def test_an_answer_that_ends_with_the_connection_is_passed_whole(harness: Harness) -> None:
    async def until_close(_: ArmRequest, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nFairway-Outcome: status=ok\r\n\r\nall of it")
        await writer.drain()
        writer.close()

    async with ScriptedArm(until_close) as arm:
        await harness.start(table(arm.endpoint))
        async with connected(harness.port) as client:
            reply = await client.ask()
        assert (reply.body, reply.headers["connection"]) == (b"all of it", "close")
        counted = (await harness.counted())[Role.STABLE]
        assert (counted.finished, counted.failed, counted.unknown) == (1, 0, 0)


@pytest.mark.parametrize(
    ("method", "raw"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n"),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n"),
        ("GET", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ],
)
async def test_an_answer_without_a_body_does_not_hold_the_connection(harness: Harness, method: str, raw: bytes) -> None:
    async with ScriptedArm(always(raw)) as arm:
        await harness.start(table(arm.endpoint))
        async with connected(harness.port) as client:
            for _ in range(3):
                assert (await client.ask(method=method)).status in (200, 204, 304)
        assert arm.connections == 1


async def test_a_client_that_waits_for_100_continue_gets_it(harness: Harness) -> None:
    async with ScriptedArm(always(answer())) as arm:
        await harness.start(table(arm.endpoint))
        async with connected(harness.port) as client:
            client.writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
            assert (await client.reply()).status == 100
            client.writer.write(b"body")
            assert (await client.reply()).status == 200
        assert arm.requests[0].body == b"body"


async def test_an_http_1_0_client_gets_no_chunks(harness: Harness) -> None:
    raw = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
    async with ScriptedArm(always(raw)) as arm:
        await harness.start(table(arm.endpoint))
        async with connected(harness.port) as client:
            client.writer.write(b"GET / HTTP/1.0\r\n\r\n")
            reply = await client.reply()
        assert reply.body == b"ok"
        assert "transfer-encoding" not in reply.headers


async def test_a_slow_reader_slows_the_arm_and_gets_everything(harness: Harness) -> None:
    piece, pieces = b"x" * 65_536, 400
    written = 0

    async def flood(_: ArmRequest, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (len(piece) * pieces))
        for _turn in range(pieces):
            writer.write(piece)
            await writer.drain()
            written += len(piece)

    async with ScriptedArm(flood) as arm:
        await harness.start(table(arm.endpoint))
        async with connected(harness.port) as client:
            client.writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            await asyncio.sleep(0.7)
            assert written < len(piece) * pieces * 0.9  # the gateway does not hoard what the client does not read
            assert len((await client.reply()).body) == len(piece) * pieces


# --- streams ---------------------------------------------------------------------------------------------------

EVENTS = [b'data: {"token": "%d"}\n\n' % number for number in range(8)]


async def stream(_: ArmRequest, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
    for event in EVENTS:
        writer.write(b"%x\r\n%b\r\n" % (len(event), event))
        await writer.drain()
        await asyncio.sleep(0.05)
    last = b"data: [DONE]\n: fairway-outcome status=ok, tokens_out=8\n\n"
    writer.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(last), last))


async def test_events_pass_at_once_and_byte_for_byte_without_the_outcome(harness: Harness) -> None:
    async with ScriptedArm(stream) as arm:
        await harness.start(table(arm.endpoint))
        async with connected(harness.port) as client:
            begun = time.perf_counter()
            client.writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            await client.reader.readuntil(b"\r\n\r\n")
            came = []
            received = b""
            while size := int((await client.reader.readline()).strip(), 16):
                received += await client.reader.readexactly(size)
                await client.reader.readexactly(2)
                came.append(time.perf_counter() - begun)
        assert received == b"".join(EVENTS) + b"data: [DONE]\n\n"
        assert len(came) >= len(EVENTS)
        assert came[0] < 0.3  # the first is not held for the last, which comes after 0.4 s
        counted = (await harness.counted())[Role.STABLE]
        assert (counted.finished, counted.failed, counted.unknown, counted.sums) == (1, 0, 0, {"tokens_out": 8})


@pytest.mark.parametrize(("coding", "unknown"), [("gzip", 1), ("identity", 0)])
async def test_a_compressed_stream_passes_unread_and_its_outcome_is_unknown(
    harness: Harness, coding: str, unknown: int
) -> None:
    events = b"data: x\n: fairway-outcome status=ok\n\n"

    async def encoded(request: ArmRequest, writer: asyncio.StreamWriter) -> None:
        how = f"Content-Type: text/event-stream\r\nContent-Encoding: {coding}\r\n" if request.target == "/s" else ""
        told = "" if request.target == "/s" else "Fairway-Outcome: status=ok\r\n"
        writer.write(f"HTTP/1.1 200 OK\r\n{how}{told}Content-Length: {len(events)}\r\n\r\n".encode() + events)

    async with ScriptedArm(encoded) as arm:
        await harness.start(table(arm.endpoint))
        async with connected(harness.port) as client:
            await client.ask()  # it reports outcomes, so a missing one is unknown
            reply = await client.ask(target="/s")
        assert reply.body == (events if coding == "gzip" else b"data: x\n\n")
        counted = (await harness.counted())[Role.STABLE]
        assert (counted.finished, counted.failed, counted.unknown) == (2, 0, unknown)


async def test_a_stream_cut_by_the_arm_shows_as_cut_and_counts_as_failed(harness: Harness) -> None:
    async def cut(_: ArmRequest, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        writer.write(b"9\r\ndata: 1\n\n\r\n")
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.close()

    async with ScriptedArm(cut) as arm:
        await harness.start(table(arm.endpoint))
        async with connected(harness.port) as client:
            with pytest.raises((asyncio.IncompleteReadError, ValueError)):
                await client.ask()
        counted = (await harness.counted())[Role.STABLE]
        assert (counted.finished, counted.failed) == (1, 1)
        assert counted.exemplars[0]["reason"] == "answer_cut"


async def test_a_client_that_hangs_up_cancels_the_arm_and_is_unknown(harness: Harness) -> None:
    async with ScriptedArm(stream) as arm:
        await harness.start(table(arm.endpoint))
        async with connected(harness.port) as client:
            client.writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nX-Conversation-Id: c\r\n\r\n")
            await client.reader.readuntil(b"\n\n")
        async with asyncio.timeout(5):
            while not arm.lost:
                await asyncio.sleep(0.01)
        counted = (await harness.counted())[Role.STABLE]
        assert (counted.finished, counted.failed, counted.unknown) == (1, 0, 1)
        assert counted.sums["client_aborted"] == 1
        assert counted.marks["unknown"] == (unit_hash("c"),)


# --- refusing --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n200\r\n" + b"x" * 512 + b"\r\n400\r\n", 413),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 3_000, 431),
    ],
    ids=["two lengths", "http2", "bad chunk", "too large", "too large in chunks", "head too large"],
)  # fmt: skip
async def test_a_refused_message_gets_its_answer_and_the_connection_is_closed(
    harness: Harness, data: bytes, status: int
) -> None:
    async with ScriptedArm(always(answer())) as arm:
        limits = Limits(head_bytes=2_000, body_bytes=1_000)
        await harness.start(replace(table(arm.endpoint), limits=limits))
        async with connected(harness.port) as client:
            client.writer.write(data + b"x" * 20_000)
            reply = await client.reply()
            assert (reply.status, reply.headers["connection"]) == (status, "close")
            assert reply.headers["content-type"] == "application/json"
            assert await client.closed()
        assert arm.requests == []
        counted = (await harness.counted()).get(Role.STABLE)
        assert counted is None or counted.failed == 0  # a bad client is not the arm's failure


async def test_requests_beyond_the_limit_are_told_to_come_back(harness: Harness) -> None:
    release = asyncio.Event()

    async def wait(_: ArmRequest, writer: asyncio.StreamWriter) -> None:
        await release.wait()
        writer.write(answer())

    async with ScriptedArm(wait) as arm:
        await harness.start(replace(table(arm.endpoint), limits=Limits(in_flight=2)))
        async with connected(harness.port) as one, connected(harness.port) as two, connected(harness.port) as three:
            running = [asyncio.create_task(client.ask()) for client in (one, two)]
            while len(arm.requests) < 2:
                await asyncio.sleep(0.01)
            refused = await three.ask()
            assert (refused.status, refused.headers["retry-after"]) == (503, "1")
            release.set()
            assert [(await task).status for task in running] == [200, 200]
            assert (await three.ask()).status == 200  # the same connection goes on


async def test_connections_beyond_the_limit_are_refused(harness: Harness) -> None:
    async with ScriptedArm(always(answer())) as arm:
        await harness.start(replace(table(arm.endpoint), limits=Limits(connections=1)))
        async with connected(harness.port) as one, connected(harness.port) as two:
            assert (await one.ask()).status == 200
            assert (await two.reply()).status == 503


async def test_with_no_release_serving_the_answer_says_so(harness: Harness) -> None:
    await harness.start(replace(table(None), keys=()))
    async with connected(harness.port) as client:
        reply = await client.ask()
        assert (reply.status, b"no release is serving" in reply.body) == (503, True)
        assert (await client.ask()).status == 503


# --- bad arms --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("timeouts", "reason"),
    [
        (replace(TIMEOUTS, first_byte=0.2), "timeout_first_byte"),
        (replace(TIMEOUTS, total=0.2), "timeout_total"),
    ],
)
async def test_an_arm_that_does_not_answer_in_time_is_a_504(harness: Harness, timeouts: Timeouts, reason: str) -> None:
    async def never(_: ArmRequest, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(30)

    async with ScriptedArm(never) as arm:
        await harness.start(replace(table(arm.endpoint), timeouts=timeouts))
        async with connected(harness.port) as client:
            begun = time.perf_counter()
            assert (await client.ask()).status == 504
            assert time.perf_counter() - begun < 2
        counted = (await harness.counted())[Role.STABLE]
        assert (counted.finished, counted.failed) == (1, 1)
        assert counted.exemplars[0]["reason"] == reason


async def test_a_stream_that_stalls_is_cut_and_failed(harness: Harness) -> None:
    async def stall(_: ArmRequest, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        await asyncio.sleep(30)

    async with ScriptedArm(stall) as arm:
        await harness.start(replace(table(arm.endpoint), timeouts=replace(TIMEOUTS, idle=0.2)))
        async with connected(harness.port) as client:
            with pytest.raises(asyncio.IncompleteReadError):
                await client.ask()
        assert (await harness.counted())[Role.STABLE].exemplars[0]["reason"] == "timeout_idle"


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "arm_closed"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "malformed_answer"),
        (b"nonsense\r\n\r\n", "malformed_answer"),
        (b"HTTP/1.1 101 Switching\r\n\r\n", "malformed_answer"),
    ],
)
async def test_an_arm_that_answers_nonsense_is_a_502(harness: Harness, raw: bytes, reason: str) -> None:
    async def nonsense(_: ArmRequest, writer: asyncio.StreamWriter) -> None:
        writer.write(raw)
        writer.close()

    async with ScriptedArm(nonsense) as arm:
        await harness.start(table(arm.endpoint))
        async with connected(harness.port) as client:
            assert (await client.ask()).status == 502
        counted = (await harness.counted())[Role.STABLE]
        assert (counted.failed, counted.exemplars[0]["reason"]) == (1, reason)


async def test_an_arm_that_is_not_there_is_a_502(harness: Harness) -> None:
    async with ScriptedArm(always(answer())) as gone:
        pass
    await harness.start(table(gone.endpoint))
    async with connected(harness.port) as client:
        assert (await client.ask()).status == 502
    assert (await harness.counted())[Role.STABLE].exemplars[0]["reason"] == "unreachable"


async def test_an_unreachable_candidate_costs_no_user_an_answer_and_counts_as_failed(harness: Harness) -> None:
    async with ScriptedArm(always(answer())) as gone:
        pass
    async with ScriptedArm(always(answer())) as arm:
        await harness.start(table(arm.endpoint, gone.endpoint, split=50_000))
        async with connected(harness.port) as client:
            reply = await client.ask(f"X-Conversation-Id: {candidate_key()}")
        assert (reply.status, reply.version) == (200, "1.0.0")
        counted = (await harness.counted())[Role.CANDIDATE]
        assert (counted.assigned, counted.served, counted.failed) == (1, 0, 1)


async def test_another_instance_is_tried_when_one_refuses(harness: Harness) -> None:
    async with ScriptedArm(always(answer())) as gone:
        pass
    async with ScriptedArm(always(answer())) as arm:
        both = replace(table(arm.endpoint).arms[0], endpoints=(gone.endpoint, arm.endpoint))
        await harness.start(replace(table(arm.endpoint), arms=(both,)))
        for _ in range(4):
            async with connected(harness.port) as client:
                assert (await client.ask()).status == 200
        assert (await harness.counted())[Role.STABLE].failed == 0


@pytest.mark.parametrize("headers", [(), ("X-Conversation-Id: c",)], ids=["keyless", "the short way"])
@pytest.mark.parametrize(("method", "status", "tries"), [("GET", 200, 3), ("POST", 502, 2)])
async def test_only_what_may_be_sent_twice_is_sent_again_on_a_stale_connection(
    harness: Harness, method: str, status: int, tries: int, headers: tuple[str, ...]
) -> None:
    """The arm answers the first request, then closes its kept connection as the second arrives."""
    count = 0

    async def once(_: ArmRequest, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        count += 1
        if count == 2:
            writer.close()
        else:
            writer.write(answer())

    async with ScriptedArm(once) as arm:
        await harness.start(table(arm.endpoint))
        async with connected(harness.port) as client:
            assert (await client.ask(*headers, method=method)).status == 200
            assert (await client.ask(*headers, method=method)).status == status
        assert len(arm.requests) == tries
        assert len({request.header("x-fairway-request") for request in arm.requests}) == 2


async def test_a_connection_the_arm_closed_meanwhile_is_not_used(harness: Harness) -> None:
    async def closing(_: ArmRequest, writer: asyncio.StreamWriter) -> None:
        writer.write(answer())
        await writer.drain()
        writer.close()

    async with ScriptedArm(closing) as arm:
        await harness.start(table(arm.endpoint))
        async with connected(harness.port) as client:
            for _ in range(5):
                assert (await client.ask(method="POST", body=b"x")).status == 200
                await asyncio.sleep(0.03)


# --- outcomes --------------------------------------------------------------------------------------------------


async def test_every_outcome_is_counted_exactly_once(harness: Harness) -> None:
    kinds: dict[str, tuple[bytes, str]] = {
        "ok": (answer(b"a", outcome="status=ok, tokens_in=2, tools=1"), "ok"),
        "failed": (answer(outcome="status=failed, tool_errors=1"), "failed"),
        "refused": (answer(outcome="status=refused"), "failed"),
        "partial": (answer(outcome="status=partial"), "failed"),
        "malformed": (answer(outcome="status=fine"), "unknown"),
        "missing": (answer(outcome=None), "unknown"),
        "error": (answer(status="500 Oops", outcome="status=ok"), "failed"),
        "client error": (answer(status="404 Not Found", outcome=None), "unknown"),
    }

    async def by_target(request: ArmRequest, writer: asyncio.StreamWriter) -> None:
        writer.write(kinds[request.target[1:].replace("-", " ")][0])

    async with ScriptedArm(by_target) as arm:
        await harness.start(table(arm.endpoint))
        sent: Counter[str] = Counter()
        async with connected(harness.port) as client:
            await client.ask(target="/ok")  # from here on the arm is known to report
            sent["ok"] += 1
            for turn in range(40):
                kind = list(kinds)[turn % len(kinds)]
                await client.ask(f"X-Conversation-Id: {kind}", target="/" + kind.replace(" ", "-"))
                sent[kinds[kind][1]] += 1
        counted = (await harness.counted())[Role.STABLE]
        assert counted.assigned == counted.served == counted.finished == sent.total() == 41
        assert (counted.failed, counted.unknown) == (sent["failed"], sent["unknown"])
        assert counted.sums == {"tokens_in": 12, "tools": 6, "tool_errors": 5}
        assert sum(counted.histograms["latency_ms"].values()) == 41
        expected = {verdict: {unit_hash(k) for k, (_, v) in kinds.items() if v == verdict} for verdict in sent}
        assert set(counted.marks["failed"]) == expected["failed"]
        assert set(counted.marks["unknown"]) == expected["unknown"]
        assert len(counted.marks["active"]) == len(kinds)
        assert len(counted.exemplars) == min(20, sent["failed"])


async def test_a_foreign_arm_that_never_reports_is_judged_by_transport(harness: Harness) -> None:
    async def by_target(request: ArmRequest, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(status="500 Oops" if request.target == "/bad" else "200 OK", outcome=None))

    async with ScriptedArm(by_target) as arm:
        await harness.start(table(arm.endpoint))
        async with connected(harness.port) as client:
            for target in ("/", "/bad", "/"):
                await client.ask(target=target)
        counted = (await harness.counted())[Role.STABLE]
        assert (counted.finished, counted.failed, counted.unknown) == (3, 1, 0)


async def test_a_candidate_that_stops_reporting_is_unknown_when_stable_reports(harness: Harness) -> None:
    async with ScriptedArm(always(answer())) as old, ScriptedArm(always(answer(outcome=None))) as new:
        await harness.start(table(old.endpoint, new.endpoint, split=50_000))
        async with connected(harness.port) as client:
            await client.ask(f"X-Conversation-Id: {candidate_key(below=False)}")
            await client.ask(f"X-Conversation-Id: {candidate_key()}")
        counted = await harness.counted()
        assert (counted[Role.CANDIDATE].finished, counted[Role.CANDIDATE].unknown) == (1, 1)
        assert counted[Role.STABLE].unknown == 0


async def test_a_unit_slower_than_the_threshold_is_marked(harness: Harness) -> None:
    async def by_target(request: ArmRequest, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.15 if request.target == "/slow" else 0)
        writer.write(answer())

    async with ScriptedArm(by_target) as arm:
        await harness.start(replace(table(arm.endpoint), theta={"latency_ms": {Role.STABLE: 100.0}}))
        async with connected(harness.port) as client:
            await client.ask("X-Conversation-Id: quick")
            await client.ask("X-Conversation-Id: slow", target="/slow")
        assert (await harness.counted())[Role.STABLE].marks["slow"] == (unit_hash("slow"),)


@pytest.mark.parametrize(
    ("raw", "close", "status", "failed", "unknown"),
    [
        (answer(b"ok"), False, 200, 0, 0),
        (answer(outcome="status=failed"), False, 200, 1, 0),
        (answer(outcome=None), False, 200, 0, 1),
        (answer(outcome="nonsense"), False, 200, 0, 1),
        (answer(status="404 Not Found"), False, 404, 0, 0),
        (answer(status="500 Oops"), False, 500, 1, 0),
        (answer(headers=("Connection: close",)), True, 200, 0, 0),
        (answer(headers=("Connection: keep-alive", "X-Fairway-Release: forged")), False, 200, 0, 0),
        (b"", True, 502, 1, 0),
        (b"nonsense\r\n\r\n", True, 502, 1, 0),
        (answer() + b"more than was said", False, 200, 0, 0),
        (b"", False, 504, 1, 0),
    ],
    ids=["ok", "failed", "none", "malformed", "404", "500", "closing", "forged", "gone", "garbage", "too much", "late"],
)
async def test_a_usual_request_counts_the_same_whatever_comes_back(
    harness: Harness, raw: bytes, close: bool, status: int, failed: int, unknown: int
) -> None:
    """The second request of a kept conversation takes the short way; its answer may be anything."""
    first = True

    async def then(_: ArmRequest, writer: asyncio.StreamWriter) -> None:
        nonlocal first
        writer.write(answer() if first else raw)
        await writer.drain()
        if close and not first:
            writer.close()
        elif not raw and not first:
            await asyncio.sleep(30)
        first = False

    async with ScriptedArm(then) as arm:
        await harness.start(replace(table(arm.endpoint), timeouts=replace(TIMEOUTS, first_byte=0.3)))
        async with connected(harness.port) as client:
            assert (await client.ask("X-Conversation-Id: c", method="POST", body=b"q")).status == 200
            reply = await client.ask("X-Conversation-Id: c", method="POST", body=b"q")
            assert (reply.status, reply.version) == (status, "1.0.0")
            assert "fairway-outcome" not in reply.headers
            assert "x-fairway-pin" not in reply.headers
        counted = (await harness.counted())[Role.STABLE]
        assert (counted.assigned, counted.served, counted.finished) == (2, 2, 2)
        assert (counted.failed, counted.unknown, counted.by) == (failed, unknown, {"hash": 1, "pin": 1})
        assert counted.marks["active"] == (unit_hash("c"),)
        assert sum(counted.histograms["latency_ms"].values()) == 2


# --- splitting -------------------------------------------------------------------------------------------------


async def test_units_go_where_their_bucket_says_and_are_counted_there(harness: Harness) -> None:
    async with ScriptedArm(always(answer())) as old, ScriptedArm(always(answer())) as new:
        await harness.start(table(old.endpoint, new.endpoint, split=30_000))
        async with connected(harness.port) as client:
            for number in range(200):
                reply = await client.ask(f"X-Conversation-Id: c-{number}")
                expected = "1.1.0" if bucket("r-1", f"c-{number}") < 30_000 else "1.0.0"
                assert reply.version == expected
        counted = await harness.counted()
        assert counted[Role.CANDIDATE].assigned == len(new.requests)
        assert counted[Role.STABLE].assigned == len(old.requests)
        assert set(counted[Role.CANDIDATE].marks["active"]) == {
            unit_hash(f"c-{n}") for n in range(200) if bucket("r-1", f"c-{n}") < 30_000
        }


async def test_a_conversation_ends_where_it_began_though_the_client_keeps_nothing(harness: Harness) -> None:
    async with ScriptedArm(always(answer())) as old, ScriptedArm(always(answer())) as new:
        await harness.start(table(old.endpoint, new.endpoint, split=10_000))
        began: dict[str, str | None] = {}
        async with connected(harness.port) as client:
            for number in range(60):
                key = f"c-{number}"
                began[key] = (await client.ask(f"X-Conversation-Id: {key}")).version
            for seq, split in enumerate((50_000, 100_000, 0), start=2):
                await harness.install(table(old.endpoint, new.endpoint, split=split, seq=seq))
                for key, version in began.items():
                    assert (await client.ask(f"X-Conversation-Id: {key}")).version == version
            assert set(began.values()) == {"1.0.0", "1.1.0"}
        counted = await harness.counted()
        assert counted[Role.STABLE].by["pin"] == 3 * list(began.values()).count("1.0.0")


async def test_after_a_promotion_a_conversation_ends_on_the_former_stable_while_it_is_kept(harness: Harness) -> None:
    async with ScriptedArm(always(answer())) as old, ScriptedArm(always(answer())) as new:
        await harness.start(table(old.endpoint))
        async with connected(harness.port) as client:
            assert (await client.ask("X-Conversation-Id: began before")).version == "1.0.0"
            former = Arm(role=Role.BASELINE, release=OLD, version="1.0.0", endpoints=(old.endpoint,))
            stable = Arm(role=Role.STABLE, release=NEW, version="1.1.0", endpoints=(new.endpoint,))
            await harness.install(replace(table(None, seq=2), arms=(stable, former)))
            for _ in range(3):
                assert (await client.ask("X-Conversation-Id: began before")).version == "1.0.0"
                assert (await client.ask("X-Conversation-Id: begins after")).version == "1.1.0"
            await harness.install(replace(table(None, seq=3), arms=(stable,)))
            assert (await client.ask("X-Conversation-Id: began before")).version == "1.1.0"
        counted = await harness.counted()
        assert counted[Role.BASELINE].by == {"pin": 3}


async def test_a_conversation_is_remembered_over_a_restart(tmp_path: Path) -> None:
    key = candidate_key(below=False)
    async with ScriptedArm(always(answer())) as old, ScriptedArm(always(answer())) as new:
        for split in (0, 100_000):
            harness = Harness(tmp_path)
            await harness.start(table(old.endpoint, new.endpoint, split=split))
            async with connected(harness.port) as client:
                assert (await client.ask(f"X-Conversation-Id: {key}")).version == "1.0.0"
            await harness.close()


async def test_the_pin_a_client_brings_back_decides_and_comes_only_once(harness: Harness) -> None:
    async with ScriptedArm(always(answer())) as old, ScriptedArm(always(answer())) as new:
        await harness.start(table(old.endpoint, new.endpoint, split=0))
        async with connected(harness.port) as client:
            first = await client.ask()
            pin = first.headers["x-fairway-pin"]
            assert first.headers["set-cookie"].startswith(f"fairway_pin={pin};")
            await harness.install(table(old.endpoint, new.endpoint, split=100_000, seq=2))
            for header in (f"X-Fairway-Pin: {pin}", f"Cookie: a=b; fairway_pin={pin}"):
                again = await client.ask(header)
                assert again.version == "1.0.0"
                assert "x-fairway-pin" not in again.headers
            forged = await client.ask(f"X-Fairway-Pin: {pin[:-1]}{'A' if pin[-1] != 'A' else 'B'}")
            assert forged.version == "1.1.0"


async def test_the_endpoints_of_an_arm_serve_in_turn_on_the_short_way(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    short: list[bool] = []
    monkeypatch.setattr(
        "fairway.gateway.client.quick_request", lambda *given: short.append(quick_request(*given)) or short[-1]
    )

    async def slow(_: ArmRequest, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.02)
        writer.write(answer())

    async with ScriptedArm(slow) as one, ScriptedArm(slow) as two, ScriptedArm(slow) as gone:
        await gone.close()
        arm = replace(table(one.endpoint).arms[0], endpoints=(one.endpoint, gone.endpoint, two.endpoint))
        await harness.start(replace(table(one.endpoint), arms=(arm,)))

        async def converse(name: str) -> None:
            async with connected(harness.port) as client:
                for _ in range(10):
                    assert (await client.ask(f"X-Conversation-Id: {name}")).version == "1.0.0"

        await asyncio.gather(*(converse(f"c-{n}") for n in range(4)))
        assert sum(short) >= 30
        assert min(len(one.requests), len(two.requests)) >= 10
        counted = (await harness.counted())[Role.STABLE]
        assert (counted.finished, counted.served, counted.failed) == (40, 40, 0)


async def test_a_cookie_takes_the_short_way_once_it_is_known_and_its_pin_decides_as_on_the_general_one(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = candidate_key()
    short: list[bool] = []
    monkeypatch.setattr(
        "fairway.gateway.client.quick_request", lambda *given: short.append(quick_request(*given)) or short[-1]
    )
    async with ScriptedArm(always(answer())) as old, ScriptedArm(always(answer())) as new:
        await harness.start(table(old.endpoint, new.endpoint, split=0))
        began = Pin(
            release=release_tag(NEW), salt=tag_of("r-1"), hashed=True, expires=int(time.time()) + 2, unit=unit_tag(key)
        )
        mine = harness.worker.signer.sign(began)
        others = harness.worker.signer.sign(replace(began, unit=unit_tag("c-other")))
        async with connected(harness.port) as client:
            for cookie, version in (
                (None, "1.0.0"),
                (f"Cookie: a=b; fairway_pin={mine}", "1.1.0"),
                (f"Cookie: a=b; fairway_pin={others}", "1.0.0"),
                (f"Cookie: a={'b' * 300}", "1.0.0"),
            ):
                for _ in range(3):  # on the general way, which learns, and then on the short one
                    headers = [f"X-Conversation-Id: {key}"] + ([] if cookie is None else [cookie])
                    assert (await client.ask(*headers)).version == version
                    arm = old if version == "1.0.0" else new
                    given = arm.requests[-1].header("cookie")
                    assert given == (None if cookie is None else cookie.removeprefix("Cookie: "))
            assert len(harness.worker.serving.with_cookie) == 1, "as it came last"
            assert sum(short) >= 6, "the second and third of each, but for those that open a new block"
            await asyncio.sleep(2.1)
            named = harness.worker.passes.sign("1.1.0", expires=2**31)
            await client.ask(f"X-Fairway-Release: {named}")  # an open connection, so that the short way could be taken
            expired = await client.ask(f"X-Conversation-Id: {key}", f"Cookie: a=b; fairway_pin={mine}")
            assert expired.version == "1.0.0"
        counted = await harness.counted()
        assert counted[Role.CANDIDATE].by == {"pin": 3, "rule:release-header": 1}
        assert counted[Role.CANDIDATE].marks["active"] == (unit_hash(key),)
        assert counted[Role.STABLE].by == {"hash": 1, "pin": 9}


@pytest.mark.parametrize("why", ["no endpoints", "withheld", "masked against its split"])
@pytest.mark.parametrize("outcome", ["status=ok", None], ids=["agents that report", "agents that do not"])
async def test_what_stable_answers_for_a_candidate_has_failed_for_the_candidate(
    harness: Harness, why: str, outcome: str | None
) -> None:
    keys = [f"c-{n}" for n in range(60) if bucket("r-1", f"c-{n}") < 50_000]
    ours = always(answer(outcome=outcome))
    async with ScriptedArm(ours) as old, ScriptedArm(ours) as new:
        first = table(old.endpoint, new.endpoint, split=50_000)
        if why == "no endpoints":
            first = replace(first, arms=(first.arms[0], replace(first.arms[1], endpoints=())))
        elif why == "masked against its split":
            first = replace(first, masks=(NEW,))
        await harness.start(first, withheld=(NEW,) if why == "withheld" else ())
        async with connected(harness.port) as client:
            for number in range(60):
                assert (await client.ask(f"X-Conversation-Id: c-{number}")).version == "1.0.0"
        counted = await harness.counted()
        candidate = counted[Role.CANDIDATE]
        assert new.requests == []
        assert (candidate.assigned, candidate.served) == (len(keys), 0)
        assert (candidate.finished, candidate.failed, candidate.unknown) == (len(keys), len(keys), 0)
        assert set(candidate.marks["active"]) == set(candidate.marks["failed"]) == {unit_hash(key) for key in keys}
        assert candidate.exemplars[0]["reason"] == "not_ready"
        assert "latency_ms" not in candidate.histograms or not candidate.histograms["latency_ms"], "another arm's time"
        assert (counted[Role.STABLE].assigned, counted[Role.STABLE].failed) == (60 - len(keys), 0)


async def test_conversations_a_rolled_back_candidate_leaves_behind_are_stables_and_count_against_nobody(
    harness: Harness,
) -> None:
    keys = [f"c-{n}" for n in range(40) if bucket("r-1", f"c-{n}") < 50_000]
    async with ScriptedArm(always(answer())) as old, ScriptedArm(always(answer())) as new:
        stepping = table(old.endpoint, new.endpoint, split=50_000)
        await harness.start(stepping)
        async with connected(harness.port) as client:
            for key in keys:
                assert (await client.ask(f"X-Conversation-Id: {key}")).version == "1.1.0"
            for seq, back in enumerate((stepping, table(old.endpoint)), start=2):  # masked, then gone
                fence = Fence(term=1, seq=seq)
                await harness.install(replace(back, split=Parts(0), masks=(NEW,), fence=fence))
                for key in keys:
                    assert (await client.ask(f"X-Conversation-Id: {key}")).version == "1.0.0"
        counted = await harness.counted()
        assert (counted[Role.CANDIDATE].assigned, counted[Role.CANDIDATE].failed) == (len(keys), 0)
        assert (counted[Role.STABLE].assigned, counted[Role.STABLE].failed) == (2 * len(keys), 0)


async def test_a_conversation_that_began_while_its_candidate_was_down_does_not_change_over_when_it_is_back(
    harness: Harness,
) -> None:
    key = candidate_key()
    async with ScriptedArm(always(answer())) as old, ScriptedArm(always(answer())) as new:
        up = table(old.endpoint, new.endpoint, split=50_000)
        await harness.start(replace(up, arms=(up.arms[0], replace(up.arms[1], endpoints=()))))
        async with connected(harness.port) as client:
            pin = (await client.ask(f"X-Conversation-Id: {key}")).headers["x-fairway-pin"]
            assert (await client.ask(f"X-Conversation-Id: {key}")).version == "1.0.0"
            await harness.install(replace(up, fence=Fence(term=1, seq=2)))
            assert (await client.ask(f"X-Conversation-Id: {key}")).version == "1.0.0"
            assert (await client.ask(f"X-Conversation-Id: {key}", f"X-Fairway-Pin: {pin}")).version == "1.0.0"
        counted = await harness.counted()
        assert (counted[Role.CANDIDATE].assigned, counted[Role.CANDIDATE].failed) == (1, 1)
        assert "active" not in counted[Role.STABLE].marks, "it is not a unit of stable's"


async def test_a_conversation_outlives_promotion_and_the_next_rollout_of_the_release_it_began_on(
    harness: Harness,
) -> None:
    """v1; v2 is promoted and v1 kept for it; v1 is the candidate of a new rollout; v1 is gone (law 2)."""
    async with ScriptedArm(always(answer())) as old, ScriptedArm(always(answer())) as new:
        await harness.start(table(old.endpoint))
        v1 = Arm(role=Role.BASELINE, release=OLD, version="1.0.0", endpoints=(old.endpoint,))
        v2 = Arm(role=Role.STABLE, release=NEW, version="1.1.0", endpoints=(new.endpoint,))
        again = replace(v1, role=Role.CANDIDATE)
        base = table(None)
        steps = [
            (replace(base, arms=(v2, v1)), "1.0.0"),
            (replace(base, arms=(v2, v1), salt="r-2"), "1.0.0"),
            (replace(base, arms=(v2, again), salt="r-3"), "1.0.0"),
            (replace(base, arms=(v2, again), salt="r-3", split=Parts(1)), "1.0.0"),
            (replace(base, arms=(v2,), salt="r-3"), "1.1.0"),
            (replace(base, arms=(v2, v1), salt="r-4"), "1.1.0"),
        ]
        async with connected(harness.port) as client:
            pin = (await client.ask("X-Conversation-Id: c")).headers["x-fairway-pin"]
            assert (await client.ask("X-Conversation-Id: c")).version == "1.0.0"
            for seq, (step, version) in enumerate(steps, start=2):
                await harness.install(replace(step, fence=Fence(term=1, seq=seq)))
                assert (await client.ask("X-Conversation-Id: c")).version == version
                if version == "1.0.0":
                    assert (await client.ask("X-Conversation-Id: c", f"X-Fairway-Pin: {pin}")).version == version
        counted = await harness.counted()
        assert counted[Role.CANDIDATE].by == {"pin": 4}
        assert "active" not in counted[Role.CANDIDATE].marks, "not assigned by the new rollout: in no unit test of it"


async def test_only_a_change_of_regime_mixes_a_block_not_the_restart_of_an_arm(harness: Harness) -> None:
    async with ScriptedArm(always(answer())) as old, ScriptedArm(always(answer())) as new:
        first = replace(table(old.endpoint, new.endpoint, split=50_000), block_seconds=60.0)
        crashed = replace(first, arms=(first.arms[0], replace(first.arms[1], endpoints=())))
        await harness.start(first)
        async with connected(harness.port) as client:
            for seq, step in enumerate((first, crashed, first), start=1):
                await harness.install(replace(step, fence=Fence(term=1, seq=seq)))
                for number in range(10):
                    await client.ask(f"X-Conversation-Id: {seq}-{number}")
            increments = [i for b in await harness.reported() for i in b.increments]
            assert {i.regime for i in increments} == {first.regime}
            assert len({i.fence for i in increments}) == 3
            await harness.install(replace(first, fence=Fence(term=1, seq=4)), withheld=(NEW,))
            await client.ask("X-Conversation-Id: other")
        await harness.counted()
        assert {i.regime for b in harness.batches for i in b.increments} == {
            first.regime,
            replace(first, masks=(NEW,)).regime,
        }


async def test_a_rule_sends_a_tenant_to_the_candidate(harness: Harness) -> None:
    rule = Rule(id="acme", kind=RuleKind.TENANT, name="x-tenant", values=("acme",), to=Role.CANDIDATE)
    async with ScriptedArm(always(answer())) as old, ScriptedArm(always(answer())) as new:
        await harness.start(replace(table(old.endpoint, new.endpoint), rules=(rule,)))
        async with connected(harness.port) as client:
            for tenant, version in (("acme", "1.1.0"), ("other", "1.0.0"), ("acme", "1.1.0")):
                reply = await client.ask(f"X-Tenant: {tenant}", "X-Conversation-Id: c")
                assert reply.version == version
        assert (await harness.counted())[Role.CANDIDATE].by == {"rule:acme": 2}


async def test_the_release_header_chooses_the_arm_and_does_not_reach_it(harness: Harness) -> None:
    async with ScriptedArm(always(answer())) as old, ScriptedArm(always(answer())) as new:
        await harness.start(table(old.endpoint, new.endpoint))
        signed = harness.worker.passes.sign
        async with connected(harness.port) as client:
            for asked, version in (("candidate", "1.1.0"), ("1.0.0", "1.0.0")):
                value = signed(asked, expires=int(time.time()) + 60)
                reply = await client.ask(f"X-Fairway-Release: {value}", "X-Conversation-Id: c")
                assert reply.version == version
        assert new.requests[0].header("x-fairway-release") is None
        assert (await harness.counted())[Role.CANDIDATE].by == {"rule:release-header": 1}


async def test_a_release_header_without_a_good_pass_is_refused_with_its_reason_and_counted(harness: Harness) -> None:
    async with ScriptedArm(always(answer())) as old, ScriptedArm(always(answer())) as new:
        await harness.start(table(old.endpoint, new.endpoint))
        until = int(time.time()) + 60
        signed = harness.worker.passes.sign
        cases = [
            ("1.1.0", 403, "pass_missing"),
            (signed("1.1.0", expires=until).replace("1.1.0", "candidate"), 403, "pass_invalid"),
            (signed("1.1.0", expires=1), 403, "pass_expired"),
            (signed("9.9.9", expires=until), 404, "release_unknown"),
        ]
        async with connected(harness.port) as client:
            for value, status, code in cases:
                reply = await client.ask(f"X-Fairway-Release: {value}", "X-Conversation-Id: c")
                assert (reply.status, json.loads(reply.body)["error"]["code"]) == (status, code)
            assert (await client.ask("X-Conversation-Id: c")).status == 200, "and the connection goes on"
        assert (new.requests, len(old.requests)) == ([], 1)
        assert harness.worker.refused == {code: 1 for _, _, code in cases}


async def test_a_keyless_client_is_issued_a_key_when_the_table_says_so(harness: Harness) -> None:
    keys = (KeyExtractor(kind=KeyKind.ISSUE_COOKIE, name="unit"),)
    async with ScriptedArm(always(answer())) as arm:
        await harness.start(replace(table(arm.endpoint), keys=keys))
        async with connected(harness.port) as client:
            client.writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            raw = await client.reader.readuntil(b"\r\n\r\n")
            await client.reader.readexactly(2)
            assert b"set-cookie: unit=" in raw
            issued = raw.split(b"set-cookie: unit=")[1].split(b";")[0].decode()
            await client.ask(f"Cookie: unit={issued}")
        counted = (await harness.counted())[Role.STABLE]
        assert counted.marks["active"] == (unit_hash(issued),)
        assert counted.by == {"hash": 1, "pin": 1}


# --- switching and draining ------------------------------------------------------------------------------------


async def test_no_request_fails_or_strays_while_tables_are_switched_under_load(harness: Harness) -> None:
    async def slow(_: ArmRequest, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.002)
        writer.write(answer())

    async with ScriptedArm(slow) as old, ScriptedArm(slow) as new:
        await harness.start(table(old.endpoint, new.endpoint))
        stop = asyncio.Event()
        seen: Counter[tuple[int, str | None]] = Counter()

        async def load(number: int) -> None:
            async with connected(harness.port) as client:
                turn = 0
                while not stop.is_set():
                    turn += 1
                    reply = await client.ask(f"X-Conversation-Id: {number}-{turn}", method="POST", body=b"q")
                    seen[reply.status, reply.version] += 1

        loads = [asyncio.create_task(load(number)) for number in range(8)]
        for seq in range(2, 12):
            await asyncio.sleep(0.1)
            split = 100_000 if seq % 2 == 0 else 0
            await harness.install(table(old.endpoint, new.endpoint, split=split, seq=seq))
        stop.set()
        await asyncio.gather(*loads)
        assert {status for status, _ in seen} == {200}
        assert seen[200, "1.0.0"] > 20
        assert seen[200, "1.1.0"] > 20
        counted = await harness.counted()
        assert sum(counted[role].finished for role in counted) == seen.total()
        assert sum(counted[role].failed + counted[role].unknown for role in counted) == 0


async def test_an_arm_is_not_late_with_its_answer_because_the_gateway_stood_still(harness: Harness) -> None:
    async with ScriptedArm(always(answer())) as arm:
        await harness.start(replace(table(arm.endpoint), timeouts=replace(TIMEOUTS, first_byte=0.2)))
        async with connected(harness.port) as client:
            await client.ask("X-Conversation-Id: warm")
            asked = asyncio.create_task(client.ask("X-Conversation-Id: c", method="POST", body=b"q"))
            while not harness.worker.in_flight:
                await asyncio.sleep(0)
            time.sleep(0.6)
            assert (await asked).status == 200
        assert (await harness.counted())[Role.STABLE].failed == 0


async def test_an_arm_is_not_late_with_its_connection_because_the_gateway_stood_still(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect, stalled = Pool.connect, []

    async def stall(pool: Pool, *, held: bool = False) -> Upstream:
        if not stalled:
            stalled.append(True)
            time.sleep(0.6)
        return await connect(pool, held=held)

    async with ScriptedArm(always(answer())) as old, ScriptedArm(always(answer())) as new:
        both = table(old.endpoint, new.endpoint, split=100_000)
        await harness.start(replace(both, timeouts=replace(TIMEOUTS, connect=0.2)))
        monkeypatch.setattr(Pool, "connect", stall)
        async with connected(harness.port) as client:
            assert (await client.ask("X-Conversation-Id: c", method="POST", body=b"q")).version == "1.1.0"
        assert stalled
        assert (await harness.counted())[Role.CANDIDATE].failed == 0


async def test_a_running_stream_ends_on_the_arm_that_began_it_though_the_table_drops_it(harness: Harness) -> None:
    async with ScriptedArm(stream) as old, ScriptedArm(always(answer())) as new:
        await harness.start(table(old.endpoint))
        async with connected(harness.port) as client:
            running = asyncio.create_task(client.ask())
            while not old.requests:
                await asyncio.sleep(0.01)
            await harness.install(table(new.endpoint, seq=2))
            assert (await running).body.endswith(b"data: [DONE]\n\n")


async def test_a_drain_finishes_a_stream_and_takes_no_new_connection(harness: Harness) -> None:
    async with ScriptedArm(stream) as arm:
        await harness.start(table(arm.endpoint))
        async with connected(harness.port) as client:
            running = asyncio.create_task(client.ask())
            while not arm.requests:
                await asyncio.sleep(0.01)
            begun = time.perf_counter()
            counted = await harness.counted()
            assert (await running).body.endswith(b"data: [DONE]\n\n")
            assert time.perf_counter() - begun < 4
        assert (counted[Role.STABLE].finished, counted[Role.STABLE].failed) == (1, 0)
        with pytest.raises(OSError, match=r"refused|Connect call failed"):
            await asyncio.open_connection("127.0.0.1", harness.port)


async def test_a_kept_connection_is_told_to_close_while_draining(harness: Harness) -> None:
    async with ScriptedArm(always(answer())) as arm:
        await harness.start(table(arm.endpoint))
        async with connected(harness.port) as client:
            await client.ask()
            send(harness.writer, {"type": "drain"})
            while not harness.worker.draining:
                await asyncio.sleep(0.01)
            reply = await client.ask()
            assert (reply.status, reply.headers["connection"]) == (200, "close")
            assert await client.closed()


async def test_a_drain_ends_at_its_limit(tmp_path: Path) -> None:
    async def forever(_: ArmRequest, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60)

    harness = Harness(tmp_path)
    async with ScriptedArm(forever) as arm:
        await harness.start(table(arm.endpoint), drain_seconds=0.3)
        async with connected(harness.port) as client:
            client.writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            while not arm.requests:
                await asyncio.sleep(0.01)
            counted = await harness.counted()
        assert (counted[Role.STABLE].finished, counted[Role.STABLE].unknown) == (1, 1)


async def test_a_worker_whose_parent_is_gone_drains(harness: Harness) -> None:
    async with ScriptedArm(stream) as arm:
        await harness.start(table(arm.endpoint))
        async with connected(harness.port) as client:
            running = asyncio.create_task(client.ask())
            while not arm.requests:
                await asyncio.sleep(0.01)
            harness.writer.close()
            assert (await running).body.endswith(b"data: [DONE]\n\n")
            async with asyncio.timeout(5):
                await harness._running


# --- feature flags ---------------------------------------------------------------------------------------------


async def test_an_arm_learns_which_flags_are_on_and_a_client_cannot_say_so(harness: Harness) -> None:
    """By tenant and by share; from the next table on; also on a connection that took the short way before."""
    everyone, nobody = TableFlag(name="all", share=WHOLE), TableFlag(name="none", share=Parts(0))
    some = TableFlag(name="some", share=Parts(50_000), tenant_header="x-tenant", tenants=(("acme", WHOLE),))
    async with ScriptedArm(always(answer())) as arm:
        await harness.start(table(arm.endpoint))
        async with connected(harness.port) as client:
            for _ in range(3):
                await client.ask("X-Conversation-Id: c-1", method="POST", body=b"question")
            await harness.install(replace(table(arm.endpoint, seq=2), flags=(everyone, nobody, some)))
            for n in range(20):
                await client.ask(f"X-Conversation-Id: c-{n}", "X-Fairway-Flag-None: on", method="POST", body=b"q")
            await client.ask("X-Conversation-Id: c-1", "X-Tenant: acme")
            await harness.install(table(arm.endpoint, seq=3))
            await client.ask("X-Conversation-Id: c-1", method="POST", body=b"question")
    before, during, tenant, after = arm.requests[:3], arm.requests[3:23], arm.requests[23], arm.requests[24]
    assert all(request.header("x-fairway-flag-all") is None for request in (*before, after))
    assert {request.header("x-fairway-flag-all") for request in during} == {"on"}
    assert {request.header("x-fairway-flag-none") for request in during} == {"off"}
    said = [request.header("x-fairway-flag-some") == "on" for request in during]
    assert said == [is_on(some, GivenFacts(headers={}), f"c-{n}") for n in range(20)]
    assert set(said) == {True, False}
    assert tenant.header("x-fairway-flag-some") == "on"
    assert [request.body for request in during] == [b"q"] * 20
