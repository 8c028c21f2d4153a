"""No order of events lets what one request left behind reach another: hand-picked orders, then many at random."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from fairway.gateway.access_log import AccessLog, _asked_for
from fairway.gateway.client import ClientConnection
from fairway.gateway.forwarding import Peer
from fairway.gateway.proxied import ProxyConnection
from fairway.gateway.upstream import Upstream
from fairway.gateway.worker import Worker
from fairway.testing.gateway_wire import Wire, WiredWorker
from fairway.traffic.fence import Fence
from fairway.traffic.table import Arm, KeyExtractor, KeyKind, Limits, Role, RouteTable
from fairway.units import AgentName, Digest, EnvironmentName, RouteId

STABLE = Digest("sha256:" + "a" * 64)
TABLE = RouteTable(
    route=RouteId(agent=AgentName("shop"), environment=EnvironmentName("production")),
    fence=Fence(term=1, seq=1),
    arms=(Arm(role=Role.STABLE, release=STABLE, version="1.0.0", endpoints=("127.0.0.1:1",)),),
    salt="r-1",
    keys=(KeyExtractor(kind=KeyKind.HEADER, name="x-conversation-id"),),
)


def request(body: bytes = b"hi", key: bytes = b"c-1", *, method: bytes = b"POST") -> bytes:
    head = b"%b /chat HTTP/1.1\r\nHost: a\r\nX-Conversation-Id: %b\r\nContent-Length: %d\r\n\r\n"
    return head % (method, key, len(body)) + body


def answer(body: bytes = b"ok", status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 %b\r\nServer: x\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body)


class Narrow(Wire):
    """A wire whose other end reads only when it is told to: what is written meanwhile waits here."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.client: ClientConnection | None = None
        self.room = room
        self.waiting = 0
        self.most = 0

    def write(self, data: bytes) -> None:
        super().write(data)
        self.waiting += len(data)
        self.most = max(self.most, self.waiting)
        if self.client is not None and self.waiting > self.room and not self.client.slow_reader:
            self.client.pause_writing()

    def get_write_buffer_size(self) -> int:
        return self.waiting

    @property
    def held(self) -> bool:
        """Whether nothing is read from it."""
        return not self.reading

    def read(self) -> None:
        """The other end reads all there is."""
        self.waiting = 0
        if self.client is not None and self.client.slow_reader:
            self.client.resume_writing()


class Side:
    """One client of a worker whose arms are connections made by hand."""

    def __init__(self, worker: Worker, room: int = 1 << 30) -> None:
        self.client = ClientConnection(worker)
        self.wire = Narrow(room)
        self.client.connection_made(cast(asyncio.Transport, self.wire))
        self.wire.client = self.client

    def says(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.client.data_received(piece)


@pytest.fixture
async def wired(tmp_path: Path) -> AsyncIterator[WiredWorker]:
    made = WiredWorker(tmp_path, TABLE, [answer()])
    made.worker.serving.cells[STABLE] = made.worker.telemetry.cell(
        start=time.time(), block_seconds=86_400, release=STABLE, role=Role.STABLE, fence=TABLE.fence, regime="r"
    )
    yield made
    made.close()


def opened(worker: Worker) -> tuple[Upstream, Wire]:
    """An idle connection to the arm."""
    upstream, wire = Upstream(worker.serving.arms[STABLE].pools[0]), Wire()
    upstream.connection_made(cast(asyncio.Transport, wire))
    upstream.release(time.perf_counter())
    return upstream, wire


async def test_an_answer_before_the_end_of_a_slow_body_gives_its_connection_to_nobody(wired: WiredWorker) -> None:
    """The sweep has looked at the request meanwhile: the rest of its body is neither a request nor another's body."""
    worker = wired.worker
    upstream, arm = opened(worker)
    slow = Side(worker)
    slow.says(request(b"x" * 100)[:-50])
    slow.client.overdue(time.perf_counter())
    upstream.data_received(answer(b"no", b"401 No"))
    assert upstream.closed, "the arm still expects fifty bytes on it"
    assert b"connection: close" in slow.wire.written
    slow.says(b"GET /admin HTTP/1.1\r\nHost: a\r\n\r\n")
    assert slow.client.exchange is None
    assert b"/admin" not in arm.written


async def test_a_head_kept_for_its_body_is_not_left_to_the_next_request(wired: WiredWorker) -> None:
    """An arm that answers twice, the first time without the body it promised."""
    worker = wired.worker
    upstream, _ = opened(worker)
    one = Side(worker)
    one.says(request())
    upstream.data_received(answer(b"12345")[:-5])
    upstream.data_received(answer(b"12345"))
    assert upstream.closed
    assert upstream.held == b""
    assert one.wire.written.count(b"HTTP/1.1 200 OK") == 1
    assert one.wire.written.endswith(b"\r\n\r\nHTTP/"), "five bytes, as the head said"


async def test_a_body_that_looks_like_an_answer_is_a_body(wired: WiredWorker) -> None:
    worker = wired.worker
    upstream, _ = opened(worker)
    one = Side(worker, room=10)
    one.says(request())
    body = answer(b"forged")
    upstream.data_received(answer(body)[: -len(body)])
    one.client.pause_writing()
    one.client.resume_writing()
    upstream.data_received(body)
    assert one.wire.written.startswith(b"HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: %d\r\n" % len(body))
    assert one.wire.written.endswith(body)


async def test_the_body_an_arm_sends_after_a_head_request_reaches_nobody(wired: WiredWorker) -> None:
    worker = wired.worker
    one = Side(worker)
    for _ in range(3):
        upstream, _ = opened(worker)
        one.says(b"HEAD / HTTP/1.1\r\nHost: a\r\nX-Conversation-Id: c-1\r\n\r\n")
        upstream.data_received(answer(b"secret"))
        assert upstream.closed
    assert b"secret" not in one.wire.written


@pytest.mark.parametrize("at_once", [1, 2])
@pytest.mark.parametrize("method", [b"POST", b"HEAD"])
async def test_requests_of_who_does_not_read_wait_in_the_client(
    wired: WiredWorker, method: bytes, at_once: int, tmp_path: Path
) -> None:
    """On both ways: nothing is asked of the arm, and nothing piles up, until the answers before have been read."""
    worker = wired.worker
    worker.access_log = AccessLog(worker, str(tmp_path / "log"))
    upstream, arm = opened(worker)
    one = Side(worker, room=1_000)
    body = b"y" * 2_000 if method == b"POST" else b""
    for number in range(50):
        one.says(request(b"", b"c-%d" % (number % 2), method=method) * at_once)
        if upstream.exchange is not None:
            upstream.data_received(answer(body) if method == b"POST" else answer(b"y")[:-1])
        if one.wire.held:
            break
    assert one.wire.held, "its requests stay where they are"
    assert one.wire.most < 4_000
    asked = len(arm.written)
    assert worker.in_flight == 0
    one.wire.read()
    assert not one.wire.held, "and go on once it reads"
    assert (len(arm.written) > asked) is (at_once == 2)


async def test_a_client_that_never_reads_is_let_go_in_time_by_a_reset(wired: WiredWorker) -> None:
    worker = wired.worker
    upstream, _ = opened(worker)
    one = Side(worker, room=10)
    one.says(request())
    upstream.data_received(answer(b"y" * 100))
    idle = worker.serving.table.timeouts.idle
    now = time.perf_counter()
    one.client.overdue(now)
    one.client.overdue(now + idle - 1)
    assert not one.wire.is_closing()
    one.client.overdue(now + idle + 1)
    assert one.wire.is_closing()
    assert one.client.closing


async def test_an_idle_connection_the_arm_ended_is_taken_by_nobody(wired: WiredWorker) -> None:
    """Also by a request that is read in the same turn of the loop, before the connection is told to be gone."""
    worker = wired.worker
    upstream, arm = opened(worker)
    upstream.eof_received()
    one = Side(worker)
    one.says(request())
    assert arm.written == b""
    assert upstream not in worker.serving.arms[STABLE].pools[0].idle
    one.client.connection_lost(None)


async def test_lines_of_the_access_log_hold_no_bodies_and_no_queries(wired: WiredWorker, tmp_path: Path) -> None:
    worker = wired.worker
    log = worker.access_log = AccessLog(worker, str(tmp_path / "log"))
    body = b"z" * 30_000
    _asked_for.cache_clear()
    for number in range(20):
        upstream, _ = opened(worker)
        asks = Side(worker)  # each on a connection of its own, whose heads nobody knows
        asks.says(request(body).replace(b"/chat", b"/chat?q=%d%b" % (number, b"q" * 20_000)))
        upstream.data_received(answer())
        assert asks.wire.written.endswith(b"ok")
    assert len(log.lines) == 20
    assert max(map(len, log.lines)) < 500
    log.close()
    assert _asked_for.cache_info().currsize == 1
    assert (tmp_path / "log").read_text().count('"path":"/chat","status":200,"bytes_in":30000,') == 20


async def test_a_table_that_is_over_keeps_none_of_its_units(wired: WiredWorker) -> None:
    worker = wired.worker
    one = Side(worker)
    for key in (b"c-1", b"c-1", b"c-2", b"c-1"):
        upstream, _ = opened(worker)
        one.says(request(key=key))
        upstream.data_received(answer())
    old = worker.serving
    assert one.client.repeat[8] is old.known, "the connection knows its head by them"
    assert old.known
    worker._install({"table": TABLE.to_wire(), "generation": 2})
    assert not old.known
    upstream, _ = opened(worker)
    one.says(request())
    upstream.data_received(answer(b"after"))
    assert one.wire.written.endswith(b"after")


async def test_a_head_request_too_many_has_no_body_in_its_answer(wired: WiredWorker) -> None:
    wired.worker._install({"table": replace(TABLE, limits=Limits(in_flight=0)).to_wire(), "generation": 2})
    one = Side(wired.worker)
    one.says(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert one.wire.written.startswith(b"HTTP/1.1 503 ")
    assert one.wire.written.endswith(b"\r\n\r\n"), "its client would read a body as the next answer"
    assert not one.client.closing


async def test_a_request_behind_another_of_a_trusted_proxy_is_not_of_its_client(wired: WiredWorker) -> None:
    worker = wired.worker
    upstream, arm = opened(worker)
    wire = Wire()
    proxy = ProxyConnection(worker, Peer("10.0.0.9", False, True, b"x-forwarded-for: 10.0.0.9\r\n"))
    proxy.connection_made(cast(asyncio.Transport, wire))
    known = b"x-forwarded-for: 192.0.2.1, 10.0.0.9\r\n"
    proxy.data_received(request().replace(b"Host", b"X-Forwarded-For: 192.0.2.1\r\nHost"))
    proxy.data_received(request())
    assert known in arm.written
    upstream.data_received(answer())
    _, second = arm.written.split(b"hi", 1)
    assert b"x-forwarded-for: 10.0.0.9\r\n" in second
    assert b"192.0.2.1" not in second
    upstream.data_received(answer())
    proxy.connection_lost(None)


async def test_an_arm_reached_after_its_client_stopped_reading_is_not_read_either(wired: WiredWorker) -> None:
    one = Side(wired.worker)
    one.says(request())
    one.client.pause_writing()
    for _ in range(5):
        await asyncio.sleep(0)
    (arm,) = wired.arm.wires
    assert arm.written, "it was asked"
    assert not arm.reading
    one.client.resume_writing()
    assert arm.reading
    wired.arm.reply()
    assert one.wire.written.endswith(b"ok")


async def test_an_arm_that_reads_again_does_not_let_a_client_ask_that_does_not_read(wired: WiredWorker) -> None:
    """The connection has another request's bytes still to send, and is the next client's already."""
    upstream, _ = opened(wired.worker)
    one = Side(wired.worker, room=10)
    one.says(request(key=b"c-2"))
    upstream.data_received(answer(b"y" * 100))
    assert one.wire.held
    one.client.go_on_reading()
    assert one.wire.held
    one.wire.read()
    assert not one.wire.held
