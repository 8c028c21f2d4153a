"""A stream of events that passes as it came is the one that is read and written anew."""

from __future__ import annotations

import asyncio
import random
import time
from typing import Any, cast

import pytest

from fairway.gateway.chunks import Dechunker
from fairway.gateway.client import ClientConnection
from fairway.gateway.exchange import Exchange
from fairway.gateway.framing import RefusalError
from fairway.gateway.quick_stream import _BEGINS, MAX_PIECE, QuickStream, whole_chunks
from fairway.gateway.upstream import Upstream
from fairway.gateway.worker import Worker
from fairway.testing.gateway_wire import PieceWire
from fairway.traffic.fence import Fence
from fairway.traffic.table import Arm, KeyExtractor, KeyKind, Role, RouteTable
from fairway.units import AgentName, Digest, EnvironmentName, RouteId

STABLE = Digest("sha256:" + "a" * 64)
TABLE = RouteTable(
    route=RouteId(agent=AgentName("shop"), environment=EnvironmentName("production")),
    fence=Fence(term=1, seq=1),
    arms=(Arm(role=Role.STABLE, release=STABLE, version="1.0.0", endpoints=("127.0.0.1:1",)),),
    salt="r-1",
    keys=(KeyExtractor(kind=KeyKind.HEADER, name="x-conversation-id"),),
)
REQUEST = b"POST /chat HTTP/1.1\r\nHost: a\r\nX-Conversation-Id: c-1\r\nContent-Length: 2\r\n\r\nhi"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
TOKEN = b'data: {"choices":[{"delta":{"content":"to"}}]}\n\n'
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":5,"total_tokens":8}}\n\n'
LINES = [
    TOKEN, TOKEN, TOKEN, TOKEN, b"data: x\r\n\r\n", b"data: x\r\r", b": ping\n\n", b":\n", b"event: e\n",
    b"data: :\n\n",
    b": fairway-outcome status=ok, tokens_out=7\n", b": fairway-outcome status=failed\r\n", b"id: 1\n", b"\n", b"\r",
    b"data: no end", b": fairway-out", USAGE, b"data: [DONE]\n\n", b"data: " + b"z" * 3000 + b"\n\n",
]  # fmt: skip


@pytest.fixture
async def worker(bare_worker: Worker) -> Worker:
    bare_worker._install({"table": TABLE.to_wire(), "generation": 1})
    return bare_worker


def chunk(rng: random.Random, payload: bytes) -> bytes:
    """A chunk, mostly as most write it; some that are not, and some that are none."""
    size = b"%x" % len(payload)
    draw = rng.random()
    if draw < 0.06:
        size = rng.choice(
            (size.upper(), b"0" + size, b"0x" + size, b" " + size, size + b";a=b", b"+" + size, size + b"_")
        )
    end = b"\r\n" if draw < 0.995 else b"\n\r\n"
    return b"%b\r\n%b%b" % (size, payload, end)


def pieces(rng: random.Random) -> list[bytes]:
    """What an arm sends after the head: events, one or more in a chunk, which come cut or several at once."""
    chunks: list[bytes] = [chunk(rng, TOKEN)]
    for _ in range(rng.randint(3, 20)):
        payload = b"".join(rng.choice(LINES) for _ in range(rng.choice((1, 1, 1, 2, 3))))
        chunks.append(chunk(rng, payload))
    chunks.append(b"0\r\n\r\n")
    cut: list[bytes] = []
    for piece in chunks:
        draw = rng.random()
        if draw < 0.7 or not cut:
            cut.append(piece)
        elif draw < 0.85:
            cut[-1] += piece
        else:
            at = rng.randrange(len(piece) + 1)
            cut += [piece[:at], piece[at:]]
    return [piece for piece in cut if piece]


def passed_on(worker: Worker, stream: list[bytes]) -> dict[str, Any]:
    """What reached the client of a stream, and what was counted."""
    serving = worker.serving
    serving.cells.clear()
    worker.telemetry._cells.clear()
    upstream = Upstream(serving.arms[STABLE].pools[0])
    upstream.connection_made(cast(asyncio.Transport, PieceWire()))
    upstream.release(time.perf_counter())
    client = ClientConnection(worker)
    client.connection_made(cast(asyncio.Transport, PieceWire()))
    client.data_received(REQUEST)
    exchange = client.exchange
    assert exchange is not None
    for piece in (HEAD, *stream):
        if upstream.exchange is None:
            break
        upstream.data_received(piece)
    written = cast(PieceWire, client.transport).written
    body = Dechunker()
    try:
        payload, rest = body.feed(written[written.index(b"\r\n\r\n") + 4 :])
    except RefusalError as refused:
        payload, rest = refused.code.encode(), b"refused"
    (cell,) = worker.telemetry._cells.values()
    counted = cell.take()
    for pool in (serving.arms[STABLE].pools[0],):
        pool.idle.clear()
    return {
        "payload": payload, "rest": rest, "done": body.done, "sums": counted.sums, "failed": counted.failed,
        "unknown": counted.unknown, "reported": counted.reported, "tokens": counted.histograms.get("tokens"),
        "gaps": sum(counted.histograms.get("gap_ms", {}).values()),
    }  # fmt: skip


async def test_a_stream_that_passes_as_it_came_is_the_one_that_is_written_anew(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(11)
    short = 0
    quick = QuickStream.passed

    def counting(self: QuickStream, exchange: Exchange, data: bytes) -> bool:
        nonlocal short
        done = quick(self, exchange, data)
        short += done
        return done

    for _ in range(300):
        stream = pieces(rng)
        monkeypatch.setattr(QuickStream, "passed", counting)
        ours = passed_on(worker, stream)
        monkeypatch.setattr(QuickStream, "passed", lambda *_: False)
        assert ours == passed_on(worker, stream), stream
    assert short > 600


def test_only_whole_chunks_in_plain_notation_are_whole() -> None:
    assert whole_chunks(b"3\r\nabc\r\nA\r\n0123456789\r\n") == b"abc0123456789"
    for data in (
        b"3\r\nabcd\r\n", b"3\r\nab\r\n", b"3\r\nabc\r\n4\r\nab", b"0\r\n\r\n", b"3\r\nabc\r\n0\r\n\r\n",
        b"+3\r\nabc\r\n",
        b" 3\r\nabc\r\n", b"0x3\r\nabc\r\n", b"3;a\r\nabc\r\n", b"-3\r\nabc\r\n", b"1_0\r\n0123456789abcdef\r\n",
        b"\r\n\r\n", b"g\r\nabc\r\n", b"3\nabc\r\n",
    ):  # fmt: skip
        assert whole_chunks(data) == b"", data


def test_a_piece_of_every_size_passes_in_one_chunk_only_when_it_is_one() -> None:
    for size in range(1, MAX_PIECE - 10):
        data = b"%x\r\n%b\r\n" % (size, b"x" * size)
        if len(data) < MAX_PIECE:
            assert data.startswith(_BEGINS[len(data)])
    assert not any(data.startswith(_BEGINS[len(data)]) for data in (b"", b"0\r\n\r\n", b"\n" * 21, bytes(21)))
