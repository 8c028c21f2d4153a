"""What a worker tells of requests beside outcomes: the access log, tokens of models, first tokens, gaps, traces."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fairway.gateway.quick_request import quick_request
from fairway.observe.quantile import quantile
from fairway.testing.gateway_worker import Harness, connected
from fairway.testing.scripted_arm import ArmRequest, ScriptedArm, always, answer
from fairway.traffic.fence import Fence
from fairway.traffic.reading import Reading
from fairway.traffic.rerun import Rerun, RerunWhen
from fairway.traffic.table import Arm, KeyExtractor, KeyKind, Limits, Role, RouteTable, Timeouts
from fairway.units import WHOLE, AgentName, Digest, EnvironmentName, Parts, RouteId

OLD, NEW = Digest("sha256:" + "a" * 64), Digest("sha256:" + "b" * 64)
TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"
USAGE = {"prompt_tokens": 12, "completion_tokens": 34, "total_tokens": 46}
FAKE = '", "usage": {"prompt_tokens": 999, "completion_tokens": 999, "total_tokens": 1998}}'
CHAT = {"choices": [{"message": {"content": FAKE}}], "usage": USAGE}


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[Harness]:
    made = Harness(tmp_path)
    yield made
    await made.close()


def table(stable: str, candidate: str | None = None, **settings: Any) -> RouteTable:
    arms = [Arm(role=Role.STABLE, release=OLD, version="1.0.0", endpoints=(stable,))]
    if candidate is not None:
        arms.append(Arm(role=Role.CANDIDATE, release=NEW, version="1.1.0", endpoints=(candidate,)))
    return RouteTable(**{
        "route": RouteId(agent=AgentName("support"), environment=EnvironmentName("production")),
        "fence": Fence(term=1, seq=1),
        "arms": tuple(arms),
        "split": Parts(WHOLE) if candidate is not None else Parts(0),
        "salt": "r-1",
        "keys": (KeyExtractor(kind=KeyKind.HEADER, name="x-conversation-id"),),
        "block_seconds": 1e9,  # one block, whenever this runs
        **settings,
    })  # fmt: skip


def watched(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each request took the short way."""
    short: list[bool] = []

    def quick(*given: Any) -> bool:
        short.append(quick_request(*given))
        return short[-1]

    monkeypatch.setattr("fairway.gateway.client.quick_request", quick)
    return short


def as_json(value: Any, *, outcome: str | None = None, **more: str) -> bytes:
    headers = ("content-type: application/json", *(f"{name}: {text}" for name, text in more.items()))
    return answer(json.dumps(value).encode(), headers=headers, outcome=outcome)


async def logged(path: Path, lines: int) -> list[dict[str, Any]]:
    """So many lines, once they are there."""
    async with asyncio.timeout(10):
        while not path.exists() or path.read_bytes().count(b"\n") < lines:
            await asyncio.sleep(0.01)
    found = [json.loads(line) for line in path.read_bytes().splitlines()]
    assert len(found) == lines
    return found


FIELDS = {
    "time", "request", "trace", "client", "method", "path", "status", "bytes_in", "bytes_out", "duration_us",
    "first_byte_us", "agent", "release", "digest", "role", "by", "verdict", "outcome", "tokens_in", "tokens_out",
    "cost",
}  # fmt: skip
"""Of a request of which all of this is known, to which nothing special happened."""


async def test_each_way_writes_the_same_line_and_nothing_of_what_a_client_wrote(
    harness: Harness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = watched(monkeypatch)
    log = tmp_path / "access.log"
    raw = answer(b"hello", outcome="status=ok, tokens_in=3, tokens_out=4, cost=0.0125")
    async with ScriptedArm(always(raw)) as arm:
        await harness.start(table(arm.endpoint), access_log=str(log))
        async with connected(harness.port) as client:
            for conversation in ("secret", "secret", "secret", "new"):
                await client.ask(
                    f"X-Conversation-Id: c-{conversation}", "Authorization: Bearer s3cret", f"traceparent: {PARENT}",
                    target="/v1/chat?token=s3cret", method="POST", body=b"my s3cret body",
                )  # fmt: skip
        assert short == [False, True, True, True]
        lines = await logged(log, 4)
        for line in lines:
            assert set(line) == FIELDS
            assert line["time"].startswith("20")
            assert line["time"].endswith("Z")
            assert line["duration_us"] >= line["first_byte_us"] > 0
        assert len({line["request"] for line in lines}) == 4
        varying = ("time", "request", "duration_us", "first_byte_us", "by")
        same = [{name: value for name, value in line.items() if name not in varying} for line in lines]
        assert same[0] == same[1] == same[2] == same[3] == {
            "trace": TRACE, "client": "127.0.0.1", "method": "POST", "path": "/v1/chat", "status": 200, "bytes_in": 14,
            "bytes_out": 5, "agent": "support", "release": "1.0.0", "digest": OLD, "role": "stable", "verdict": "ok",
            "outcome": "ok", "tokens_in": 3, "tokens_out": 4, "cost": 0.0125,
        }  # fmt: skip
        assert [line["by"] for line in lines] == ["hash", "pin", "pin", "hash"]
        assert b"s3cret" not in log.read_bytes()
        assert [request.header("x-fairway-request") for request in arm.requests] == [line["request"] for line in lines]


async def test_a_line_tells_its_own_trace_where_conversations_are_told_apart_by_it(
    harness: Harness, tmp_path: Path
) -> None:
    async with ScriptedArm(always(answer())) as arm:
        keys = (KeyExtractor(kind=KeyKind.HEADER, name="traceparent"),)
        await harness.start(table(arm.endpoint, keys=keys), access_log=str(tmp_path / "access.log"))
        traces = [f"{0xABC0 + number:032x}" for number in range(6)]
        async with connected(harness.port) as client:
            for trace in traces:
                await client.ask(f"traceparent: 00-{trace}-00f067aa0ba902b7-01")
        assert [line["trace"] for line in await logged(tmp_path / "access.log", 6)] == traces


async def test_what_was_refused_failed_or_left_has_one_line_each(harness: Harness, tmp_path: Path) -> None:
    log = tmp_path / "access.log"

    async def script(request: ArmRequest, writer: asyncio.StreamWriter) -> None:
        if request.target == "/fail?q=1":
            writer.write(answer(b"", status="500 Oops", outcome="status=failed"))
        elif request.target == "/cut":
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")
            await writer.drain()
            writer.close()
        elif request.target == "/hang":
            await asyncio.sleep(30)

    async with ScriptedArm(script) as arm:
        limits = Limits(body_bytes=100)
        await harness.start(table(arm.endpoint, limits=limits, timeouts=Timeouts(total=20.0)), access_log=str(log))
        async with connected(harness.port) as client:
            assert (await client.ask(target="/fail?q=1")).status == 500
            client.writer.write(b"GET /cut HTTP/1.1\r\nHost: a\r\n\r\n")
            assert b"half" in await client.reader.read()
        async with connected(harness.port) as client:
            assert (await client.ask(target="/large", method="POST", body=b"x" * 101)).status == 413
        async with connected(harness.port) as client:
            client.writer.write(b"GET /bad HTTP/1.1\nHost: a\r\n\r\n")
            assert (await client.reply()).status == 400
        async with connected(harness.port) as client:
            client.writer.write(b"POST /chunks HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
            assert (await client.reply()).status == 400
        async with connected(harness.port) as client:
            client.writer.write(b"GET /hang HTTP/1.1\r\nHost: a\r\n\r\n")
            await asyncio.sleep(0.1)
        lines = await logged(log, 6)
    told = ("path", "status", "verdict", "code", "bytes_out")
    short = [tuple(line.get(name) for name in told) for line in lines]
    assert short == [
        ("/fail", 500, "failed", "status_500", 0),
        ("/cut", 200, "failed", "answer_cut", 4),
        ("/large", 413, "refused", "body_too_large", 0),
        (None, 400, "refused", lines[3]["code"], 0),
        ("/chunks", 400, "unknown", "refused_chunk", 0),
        ("/hang", None, "unknown", "client_aborted", 0),
    ]
    assert not {"release", "role", "agent", "by"} & (lines[2].keys() | lines[3].keys()), "it was nobody's"
    assert all(None not in line.values() for line in lines), "what is not known is left out"
    assert "request" not in lines[3], "it never had a number"


async def test_a_request_that_runs_again_has_one_line_that_says_it_failed(harness: Harness, tmp_path: Path) -> None:

    log = tmp_path / "access.log"
    bad = answer(b"", status="500 Oops", outcome="status=failed")
    async with ScriptedArm(always(answer())) as old, ScriptedArm(always(bad)) as new:
        again = Rerun(when=RerunWhen.ON_FAILURE)
        await harness.start(table(old.endpoint, new.endpoint, rerun=again), access_log=str(log))
        async with connected(harness.port) as client:
            reply = await client.ask("X-Conversation-Id: c-1")
        assert (reply.status, reply.version) == (200, "1.0.0")
        (line,) = await logged(log, 1)
    assert (line["status"], line["verdict"], line["code"]) == (200, "failed", "status_500")
    assert (line["release"], line["assigned"]) == ("1.0.0", NEW)


async def test_tokens_of_a_model_are_counted_on_each_way_and_are_no_outcome(
    harness: Harness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = watched(monkeypatch)
    log = tmp_path / "access.log"
    chunked = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    body = json.dumps(CHAT).encode()

    async def script(request: ArmRequest, writer: asyncio.StreamWriter) -> None:
        if request.target == "/pieces":
            writer.write(chunked + b"%x\r\n%b\r\n" % (50, body[:50]))
            await writer.drain()
            await asyncio.sleep(0.01)
            writer.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(body) - 50, body[50:]))
        elif request.target == "/none":
            writer.write(as_json({"choices": [{"message": {"content": FAKE}}]}))
        else:
            writer.write(as_json(CHAT))

    theta = {"tokens_mean": {Role.STABLE: 0.0, Role.CANDIDATE: 0.0}, "tokens": {Role.STABLE: 40.0}}
    async with ScriptedArm(script) as arm:
        await harness.start(table(arm.endpoint, theta=theta), access_log=str(log))
        async with connected(harness.port) as client:
            for target in ("/", "/", "/pieces", "/none", "/"):
                await client.ask("X-Conversation-Id: c-1", target=target)
        assert short == [False, True, True, True, True]
        lines = await logged(log, 5)
        assert [line.get("tokens_out") for line in lines] == [34, 34, 34, None, 34]
        assert not any("outcome" in line for line in lines)
        counted = (await harness.counted())[Role.STABLE]
    assert counted.sums == {"tokens_in": 48, "tokens_out": 136, "usage_reports": 4}
    assert (counted.finished, counted.reported, counted.unknown) == (5, 0, 0)
    assert len(counted.marks["tokens_high"]) == 1
    assert sum(batch_values(harness, "tokens")) == 4 * 46


def batch_values(harness: Harness, kind: str) -> list[int]:
    increments = [increment for batch in harness.batches for increment in batch.increments]
    return [total for increment in increments for total, _ in increment.values.get(kind, {}).values()]


async def test_usage_makes_no_unknown_request_a_good_one_and_can_be_left_unread(harness: Harness) -> None:
    said = iter(["status=ok, tokens_in=1, tokens_out=2", "status=ok", None])

    async def script(_: ArmRequest, writer: asyncio.StreamWriter) -> None:
        writer.write(as_json(CHAT, outcome=next(said)))

    async with ScriptedArm(script) as arm:
        await harness.start(table(arm.endpoint))
        async with connected(harness.port) as client:
            for _ in range(3):
                await client.ask("X-Conversation-Id: c-1")
        counted = (await harness.counted())[Role.STABLE]
    assert counted.unknown == 1, "this agent reports outcomes, and usage is none"
    assert counted.sums == {"tokens_in": 1 + 12 + 12, "tokens_out": 2 + 34 + 34, "usage_reports": 2}


async def test_a_table_may_say_that_usage_is_not_read(harness: Harness) -> None:
    async with ScriptedArm(always(as_json(CHAT))) as arm:
        await harness.start(table(arm.endpoint, reading=Reading(usage=False)))
        async with connected(harness.port) as client:
            for _ in range(3):
                await client.ask("X-Conversation-Id: c-1")
        assert (await harness.counted())[Role.STABLE].sums == {}


def sse(value: Any) -> bytes:
    return b"data: %b\n\n" % (value.encode() if isinstance(value, str) else json.dumps(value).encode())


async def test_a_stream_tells_its_first_token_its_gaps_and_its_tokens(harness: Harness, tmp_path: Path) -> None:
    log = tmp_path / "access.log"

    async def script(_: ArmRequest, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
        pieces = [
            (0.0, sse({"choices": [{"delta": {"role": "assistant", "content": ""}}]})),
            (0.2, sse({"choices": [{"delta": {"content": "Hello "}}]})),
            (0.05, sse({"choices": [{"delta": {"content": FAKE}}]})),
            (0.3, b": ping\n\n"),
            (0.1, sse({"choices": [{"delta": {"content": "!"}}]})),
            (0.0, sse({"choices": [], "usage": USAGE})),
            (0.0, b"data: [DONE]\n: fairway-outcome status=ok\n\n"),
        ]
        for pause, piece in pieces:
            await asyncio.sleep(pause)
            writer.write(piece)
            await writer.drain()
        writer.close()

    async with ScriptedArm(script) as arm:
        await harness.start(table(arm.endpoint, reading=Reading(stall_seconds=0.25)), access_log=str(log))
        async with connected(harness.port) as client:
            await client.ask("X-Conversation-Id: c-1", method="POST", body=b"{}")
        (line,) = await logged(log, 1)
        counted = (await harness.counted())[Role.STABLE]
    assert line["first_byte_us"] < 150_000 < 190_000 < line["first_token_us"] < line["duration_us"]
    assert 390_000 < line["largest_gap_us"] < line["duration_us"]
    assert (line["outcome"], line["tokens_in"], line["tokens_out"]) == ("ok", 12, 34)
    assert counted.sums == {"stalls": 1, "tokens_in": 12, "tokens_out": 34, "usage_reports": 1}
    histograms = [increment.histograms for batch in harness.batches for increment in batch.increments]
    (first,) = [found["first_token_ms"] for found in histograms if "first_token_ms" in found]
    assert 190 < quantile(first, 0.5) < line["duration_us"] / 1000
    assert sum(sum(found.get("gap_ms", {}).values()) for found in histograms) >= 2


@pytest.mark.parametrize(
    "parent", [PARENT, "garbage", f"ff-{TRACE}-b7ad6b7169203331-01", ""], ids=["good", "bad", "version", "empty"]
)
async def test_trace_headers_pass_untouched_on_each_way(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, parent: str
) -> None:
    short = watched(monkeypatch)
    lines = (f"TraceParent: {parent}", "tracestate: congo=t61rcWkgMzE,rojo=00f067", "baggage: a=1;p=2, gray=x%20y")
    async with ScriptedArm(always(answer())) as arm:
        await harness.start(table(arm.endpoint))
        async with connected(harness.port) as client:
            for _ in range(3):
                await client.ask("X-Conversation-Id: c-1", *lines)
        assert short == [False, True, True]
        for request in arm.requests:
            for line in lines:
                name, _, value = line.partition(":")
                assert request.header(name.lower()) == value.strip()
            assert sum(name == "traceparent" for name, _ in request.headers) == 1


async def test_an_exemplar_has_the_trace_and_nothing_a_client_or_an_agent_wrote(harness: Harness) -> None:
    bad = answer(b'{"error": "s3cret"}', status="500 s3cret", headers=("x-detail: s3cret",), outcome=None)
    async with ScriptedArm(always(bad)) as arm:
        await harness.start(table(arm.endpoint))
        async with connected(harness.port) as client:
            for number in range(25):
                parent = f"traceparent: {PARENT}" if number else "traceparent: s3cret"
                await client.ask(
                    "X-Conversation-Id: s3cret", parent, target="/s3cret?s3cret", method="POST", body=b"s3cret"
                )
        counted = (await harness.counted())[Role.STABLE]
    assert counted.failed == 25
    assert len(counted.exemplars) == 20
    assert "trace" not in counted.exemplars[0]
    assert {exemplar["trace"] for exemplar in counted.exemplars[1:]} == {TRACE}
    assert "s3cret" not in json.dumps([dict(exemplar) for exemplar in counted.exemplars])


async def test_a_copy_for_a_shadow_is_in_a_trace_of_its_own(harness: Harness) -> None:
    async with ScriptedArm(always(answer())) as old, ScriptedArm(always(answer())) as shadow:
        arms = (
            Arm(role=Role.STABLE, release=OLD, version="1.0.0", endpoints=(old.endpoint,)),
            Arm(role=Role.SHADOW, release=NEW, version="1.1.0", endpoints=(shadow.endpoint,)),
        )
        await harness.start(replace(table(old.endpoint), arms=arms, mirror=Parts(WHOLE)))
        async with connected(harness.port) as client:
            await client.ask("X-Conversation-Id: c-1", f"traceparent: {PARENT}", "x-fairway-shadow-of: forged")
        async with asyncio.timeout(10):
            while not shadow.requests:
                await asyncio.sleep(0.01)
    (served,), (copied,) = old.requests, shadow.requests
    assert served.header("traceparent") == PARENT
    assert served.header("x-fairway-shadow-of") is None
    parent = copied.header("traceparent") or ""
    assert parent
    assert TRACE not in parent
    assert copied.header("x-fairway-shadow-of") == TRACE
