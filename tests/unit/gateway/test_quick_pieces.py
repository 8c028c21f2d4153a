"""A request or an answer that comes in pieces is the same on the short way as on the general one."""

from __future__ import annotations

import asyncio
import random
import time
from typing import Any, cast

import pytest

from fairway.gateway.client import ClientConnection
from fairway.gateway.framing import parse_answer, parse_request
from fairway.gateway.quick_exchange import QuickExchange
from fairway.gateway.quick_pieces import PiecedExchange
from fairway.gateway.quick_request import quick_request
from fairway.gateway.sending import REPLAY_BYTES
from fairway.gateway.upstream import Upstream
from fairway.gateway.worker import Worker
from fairway.testing.gateway_wire import Wire
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


class Rig:
    """A worker with one client and one open connection to its arm."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        worker.serving.forget_times()
        worker.telemetry._cells.clear()
        worker.serving.cells[STABLE] = worker.telemetry.cell(
            start=time.time(), block_seconds=86_400, release=STABLE, role=Role.STABLE, fence=TABLE.fence, regime="r"
        )
        pool = worker.serving.arms[STABLE].pools[0]
        for upstream in pool.idle:
            upstream.pool.forget(upstream)
        self.upstream = Upstream(pool)
        self.arm = Wire()
        self.upstream.connection_made(cast(asyncio.Transport, self.arm))
        self.upstream.release(time.perf_counter())
        self.client = ClientConnection(worker)
        self.pipe = Wire()
        self.client.connection_made(cast(asyncio.Transport, self.pipe))

    def send(self, *pieces: bytes) -> None:
        self.upstream.idle_since = time.perf_counter()  # warm, however slowly the test runs
        for piece in pieces:
            self.client.data_received(piece)

    def answer(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.upstream.data_received(piece)

    @property
    def counted(self) -> dict[str, Any]:
        (cell,) = self.worker.telemetry._cells.values()
        told = cell.take()
        assert (cell.open, self.worker.in_flight) == (0, 0)
        return {
            "requests": (told.assigned, told.served, told.finished, told.failed, told.unknown),
            "marks": {kind: set(units) for kind, units in told.marks.items()},
            "timed": [sum(told.histograms.get(name, {}).values()) for name in ("latency_ms", "first_byte_ms")],
        }


@pytest.fixture
async def worker(bare_worker: Worker) -> Worker:
    bare_worker._install({"table": TABLE.to_wire(), "generation": 1})
    return bare_worker


def request(body: bytes, key: bytes = b"c-1") -> bytes:
    head = b"POST /chat HTTP/1.1\r\nHost: a\r\nX-Conversation-Id: %b\r\nContent-Length: %d\r\n\r\n" % (key, len(body))
    return head + body


def answer(body: bytes, status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 %b\r\nServer: x\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body)


def cut(rng: random.Random, data: bytes) -> list[bytes]:
    places = sorted(rng.randrange(len(data) + 1) for _ in range(rng.choice((0, 1, 1, 2, 4))))
    if rng.random() < 0.5:
        places = sorted([*places, data.index(b"\r\n\r\n") + 4])  # as most clients and arms do
    pieces = [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]
    return [piece for piece in pieces if piece]


def requests_in(data: bytes) -> list[tuple[object, ...]]:
    """What an arm reads: method, target, headers but for the number, body."""
    found: list[tuple[object, ...]] = []
    while data:
        head = parse_request(data, 65_536)
        assert head is not None
        end = len(head.raw) + head.length
        assert len(data) >= end, "whole"
        headers = {name: value for name, value in head.headers.items() if name != b"x-fairway-request"}
        assert head.value(b"x-fairway-request") is not None
        found.append((head.method, head.target, tuple(sorted(headers.items())), data[len(head.raw) : end]))
        data = data[end:]
    return found


def answers_in(data: bytes) -> list[tuple[object, ...]]:
    found: list[tuple[object, ...]] = []
    while data:
        head = parse_answer(data, limit=65_536, head_request=False)
        assert head is not None
        end = head.end + head.length
        assert len(data) >= end, "whole"
        leave = (b"x-fairway-request", b"set-cookie", b"x-fairway-pin")
        headers = tuple(sorted((name, value) for name, value in head.headers.items() if name not in leave))
        found.append((head.status, headers, data[head.end : end]))
        data = data[end:]
    return found


async def test_what_comes_in_pieces_reaches_both_sides_alike_and_is_counted_alike(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(5)
    pieced = quick = 0
    for _ in range(100):
        turns = []
        for number in range(rng.randint(1, 6)):
            body = b"x" * rng.choice((0, 1, 5, 300, 20_000, 70_000))
            said = answer(
                b"y" * rng.choice((0, 2, 2, 500, 70_000)), rng.choice((b"200 OK", b"200 OK", b"404 No", b"500 No"))
            )
            turns.append((cut(rng, request(body, b"c-%d" % (number % 3))), cut(rng, said)))

        def run(turns: list[tuple[list[bytes], list[bytes]]] = turns) -> tuple[object, ...]:
            nonlocal pieced, quick
            rig = Rig(worker)
            for pieces, said in turns:
                rig.send(*pieces)
                pieced += isinstance(rig.client.exchange, PiecedExchange)
                quick += isinstance(rig.client.exchange, QuickExchange)
                rig.answer(*said)
            return requests_in(rig.arm.written), answers_in(rig.pipe.written), rig.counted, not rig.pipe.open

        ours = run()
        with monkeypatch.context() as patch:
            patch.setattr("fairway.gateway.client.quick_request", lambda *_: False)
            before = quick
            assert run() == ours, turns
            assert quick == before
    assert pieced > 80


async def test_what_comes_as_most_clients_and_arms_write_it_takes_the_short_way_throughout(worker: Worker) -> None:
    rig = Rig(worker)
    (cell,) = worker.telemetry._cells.values()
    for _ in range(3):
        rig.send(request(b"hello")[:-5], b"hello")
        rig.answer(answer(b"ok")[:-2], b"ok")
    assert sum(cell.whole) + sum(cell.whole_later.values()) == 3
    assert rig.counted["requests"] == (3, 3, 3, 0, 0)


@pytest.mark.parametrize("size", [300, REPLAY_BYTES + 1])
async def test_a_request_taken_over_amid_its_body_goes_on_where_it_was(worker: Worker, size: int) -> None:
    whole = request(b"x" * size)
    rig = Rig(worker)
    rig.send(whole[:150])
    assert isinstance(rig.client.exchange, PiecedExchange)
    rig.client.overdue(time.perf_counter())
    assert not isinstance(rig.client.exchange, QuickExchange)
    rig.send(whole[150:])
    rig.answer(answer(b"ok"))
    assert requests_in(rig.arm.written)[0][3] == b"x" * size
    assert answers_in(rig.pipe.written)[0][2] == b"ok"
    assert rig.counted["requests"] == (1, 1, 1, 0, 0)


async def test_an_answer_before_all_of_the_request_ends_the_connection_after_it(worker: Worker) -> None:
    rig = Rig(worker)
    rig.send(request(b"x" * 300)[:200])
    rig.answer(answer(b"no", b"413 Too large"))
    assert b"connection: close" in rig.pipe.written
    assert not rig.pipe.open or rig.client.closing


async def test_a_head_whose_body_does_not_come_at_once_is_passed_on_by_the_sweep(worker: Worker) -> None:
    rig = Rig(worker)
    rig.send(request(b"hi"))
    said = answer(b"ok")
    rig.answer(said[:-2])
    assert rig.pipe.written == b""
    rig.client.overdue(time.perf_counter())
    assert rig.pipe.written.startswith(b"HTTP/1.1 200 OK\r\n")
    rig.answer(said[-2:])
    assert answers_in(rig.pipe.written)[0][2] == b"ok"
    assert rig.counted["requests"] == (1, 1, 1, 0, 0)


async def test_a_head_without_its_body_is_no_answer_when_the_arm_goes(worker: Worker) -> None:
    rig = Rig(worker)
    rig.send(request(b"hi"))
    rig.answer(answer(b"ok")[:-2])
    rig.upstream.connection_lost(None)
    assert rig.pipe.written.startswith(b"HTTP/1.1 502 ")
    assert rig.counted["requests"] == (1, 1, 1, 1, 0)


async def test_a_client_that_goes_while_a_head_is_kept_is_nobodys_failure(worker: Worker) -> None:
    rig = Rig(worker)
    rig.send(request(b"hi"))
    rig.answer(answer(b"ok")[:-2])
    rig.client.connection_lost(None)
    assert not rig.arm.open
    assert rig.counted["requests"] == (1, 1, 1, 0, 1)


async def test_what_follows_a_request_in_pieces_is_the_next_request(worker: Worker) -> None:
    rig = Rig(worker)
    first, second = request(b"x" * 300), request(b"z" * 9, b"c-2")
    rig.send(first[:200], first[200:] + second)
    rig.answer(answer(b"1"))
    rig.answer(answer(b"2"))
    assert [body for *_, body in requests_in(rig.arm.written)] == [b"x" * 300, b"z" * 9]
    assert [body for *_, body in answers_in(rig.pipe.written)] == [b"1", b"2"]


async def test_a_body_beyond_the_limit_is_refused_however_it_begins(worker: Worker) -> None:
    limit = worker.serving.table.limits.body_bytes
    rig = Rig(worker)
    for _ in range(3):
        rig.send(request(b"hi"))
        rig.answer(answer(b"ok"))
    rig.pipe.written = b""
    data = b"POST /chat HTTP/1.1\r\nHost: a\r\nX-Conversation-Id: c-1\r\nContent-Length: %d\r\n\r\nhi" % (limit + 1)
    assert quick_request(rig.client, data) is False
    rig.send(data)
    assert rig.pipe.written.startswith(b"HTTP/1.1 413 ")


async def test_a_body_that_looks_like_the_answer_before_is_the_body_of_the_head_that_is_kept(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run() -> tuple[bytes, bool]:
        rig = Rig(worker)
        whole = answer(b"ok")
        for pieces in ([whole], [whole], [whole[:-2], whole]):
            rig.send(request(b"hi"))
            rig.answer(*pieces)
        return rig.pipe.written.rpartition(b"\r\n\r\n")[2], not rig.arm.open

    assert run() == (b"HT", True)
    monkeypatch.setattr("fairway.gateway.client.quick_request", lambda *_: False)
    assert run() == (b"HT", True)
