"""A head known from the connection's last requests is treated as on a connection that knows nothing."""

from __future__ import annotations

import asyncio
import json
import random
import time
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from fairway.gateway.access_log import AccessLog, asked
from fairway.gateway.client import ClientConnection
from fairway.gateway.framing import parse_request
from fairway.gateway.quick_answer import quick_answer
from fairway.gateway.quick_request import LEARN_EVERY, quick_request
from fairway.gateway.repeats import NO_ANSWER, NO_REQUEST, AnswerRepeat
from fairway.gateway.telemetry import Cell
from fairway.gateway.upstream import Upstream
from fairway.gateway.worker import Worker
from fairway.testing.gateway_wire import PieceWire
from fairway.traffic.bucket import bucket
from fairway.traffic.fence import Fence
from fairway.traffic.table import Arm, KeyExtractor, KeyKind, Role, RouteTable, Rule, RuleKind
from fairway.units import AgentName, Digest, EnvironmentName, Parts, RouteId

STABLE, CANDIDATE = Digest("sha256:" + "a" * 64), Digest("sha256:" + "b" * 64)
ANOTHER = Digest("sha256:" + "c" * 64)
TABLE = RouteTable(
    route=RouteId(agent=AgentName("shop"), environment=EnvironmentName("production")),
    fence=Fence(term=1, seq=1),
    arms=(
        Arm(role=Role.STABLE, release=STABLE, version="1.0.0", endpoints=("127.0.0.1:1",)),
        Arm(role=Role.CANDIDATE, release=CANDIDATE, version="1.1.0", endpoints=("127.0.0.1:2",)),
    ),
    split=Parts(30_000),
    salt="r-1",
    keys=(KeyExtractor(kind=KeyKind.HEADER, name="x-conversation-id"),),
)
TRACE = b"Traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n"


@pytest.fixture
async def worker(bare_worker: Worker) -> Worker:
    install(bare_worker, TABLE)
    return bare_worker


def install(worker: Worker, table: RouteTable) -> None:
    """A table with its blocks begun and an open connection to each arm."""
    worker._install({"table": table.to_wire(), "generation": 1})
    serving = worker.serving
    for arm in table.arms:
        serving.cells[arm.release] = worker.telemetry.cell(
            start=time.time(), block_seconds=86_400, release=arm.release, role=arm.role, fence=table.fence, regime="r"
        )
        upstream = Upstream(serving.arms[arm.release].pools[0])
        upstream.connection_made(cast(asyncio.Transport, PieceWire()))
        upstream.release(time.perf_counter())


def connect(worker: Worker) -> ClientConnection:
    client = ClientConnection(worker)
    client.connection_made(cast(asyncio.Transport, PieceWire()))
    return client


def keep_warm(worker: Worker) -> None:
    """Open connections stay usable however slowly the test runs."""
    for served in worker.serving.arms.values():
        for upstream in served.pools[0].idle:
            upstream.idle_since = time.perf_counter()


def sent(client: ClientConnection, data: bytes) -> bytes | None:
    """What the arm got of a request on the short way, without its number; ``None`` when it did not take it."""
    keep_warm(client.worker)
    if not quick_request(client, data):
        return None
    exchange = client.exchange
    assert exchange is not None
    assert exchange.upstream is not None
    upstream, client.exchange = exchange.upstream, None
    client.worker.in_flight -= 1
    upstream.release(time.perf_counter())
    pipe = cast(PieceWire, upstream.transport)
    return pipe.pieces.pop().replace(f"b-0-{exchange.number:x}\r\n".encode(), b"number\r\n")


def meaning(message: bytes | None) -> object:
    """What a request says: the order of its headers aside."""
    if message is None:
        return None
    head = parse_request(message, 65_536)
    assert head is not None
    return head.method, head.target, head.headers, message[len(head.raw) :]


LINES = [
    b"Host: agent\r\n", b"Accept: */*\r\n", b"User-Agent: client/1.0\r\n", b"Content-Type: application/json\r\n",
    b"Connection: keep-alive\r\n",
]  # fmt: skip
PIECES = [
    b"\r\n", b"\n", b" ", b"\t", b":", b"\0", b"5", b"Content-Length: 6\r\n", b"Cookie: a=b\r\n", b"\r\n\r\n",
    b"Transfer-Encoding: chunked\r\n", b"Host: b\r\n", b"x-conversation-id: c-2\r\n", b"X-Tenant: a\r\n", b"\x80", b",",
    b"Connection: close\r\n", b"Connection: keep-alive\r\n", b"X-Fairway-Pin: p\r\n", b"HTTP/1.0", b"TE: x\r\n", b"_",
]  # fmt: skip
KEYS = [b"c-%d" % number for number in range(8, 80)] + [
    b"a b",
    b" c-1",
    b"c-1 ",
    b"\x80",
    b"",
    b"c\x01",
    b"a,b",
    b"7",
    b"+5",
]


def conversation(rng: random.Random) -> list[bytes]:
    """Requests of one client: alike in most, with here and there something else in them."""
    lines = rng.sample(LINES, rng.randint(2, len(LINES)))
    if LINES[0] not in lines:
        lines.append(LINES[0])
    rng.shuffle(lines)
    key_at, length_at = rng.randint(0, len(lines)), rng.randint(0, len(lines) + 1)
    with_body = rng.random() < 0.8
    requests = []
    for _ in range(rng.randint(2, 12)):
        body = b"x" * rng.choice((0, 9, 10, 20, 30, 40, 60, 80, 98, 99, 100)) if with_body else b""
        said = [*lines]
        said.insert(key_at, b"X-Conversation-Id: %b\r\n" % rng.choice(KEYS))
        if with_body:
            length = str(len(body) + rng.choice((0, 0, 0, 0, 0, 0, 1, -1)))
            said.insert(length_at, f"Content-Length: {rng.choice(('', '', '', '0', '+')) + length}\r\n".encode())
        data = bytearray(b"POST /chat HTTP/1.1\r\n" + b"".join(said) + b"\r\n" + body)
        if rng.random() < 0.3:
            starts = [0] + [at + 2 for at in range(len(data)) if data[at : at + 2] == b"\r\n"]
            place = rng.choice(starts) if rng.random() < 0.7 else rng.randrange(len(data) + 1)
            data[place : place + rng.choice((0, 0, 1))] = rng.choice(PIECES)
        requests.append(bytes(data))
    return requests


async def test_a_request_is_treated_alike_on_a_connection_that_knows_its_head_and_on_one_that_does_not(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fairway.gateway.quick_request.LEARN_EVERY", 1)
    rng = random.Random(7)
    by_repeat = different = 0
    for _ in range(1_500):
        knowing = connect(worker)
        for data in conversation(rng):
            ours, theirs = sent(knowing, data), sent(connect(worker), data)
            assert meaning(ours) == meaning(theirs), data
            by_repeat += ours is not None and knowing.unlike == 0
            different += theirs is None
    assert by_repeat > 700
    assert different > 1_000


async def test_what_was_learned_ends_with_the_table_and_with_serving(worker: Worker) -> None:
    client = connect(worker)
    request = b"GET / HTTP/1.1\r\nHost: a\r\nX-Tenant: vip\r\nX-Conversation-Id: c-1\r\n\r\n"
    for _ in range(2):
        assert sent(client, request) is not None
    learned = client.repeat
    assert learned is not NO_REQUEST
    vip = Rule(id="vip", kind=RuleKind.HEADER, name="x-tenant", values=("vip",), to=Role.CANDIDATE)
    install(worker, replace(TABLE, rules=(vip,), fence=Fence(term=1, seq=2)))
    assert client.repeat is learned
    assert not learned[8], "an idle connection keeps no units of a table that is over"
    assert sent(client, request) is None, "a rule decides now, so the general way has to look"
    install(worker, replace(TABLE, fence=Fence(term=1, seq=3)))
    assert sent(client, request) is not None
    worker.draining = True
    install(worker, replace(TABLE, fence=Fence(term=1, seq=4)))
    assert sent(client, request) is None


async def test_clients_at_one_address_that_say_the_same_keep_one_head_among_them(worker: Worker) -> None:
    request = b"GET / HTTP/1.1\r\nHost: a\r\nX-Conversation-Id: c-%d\r\n%b\r\n"
    clients = {name: connect(worker) for name in ("one", "another", "elsewhere", "other head", "with a cookie")}
    clients["elsewhere"].address = "192.0.2.7"
    for name, client in clients.items():
        more = {"other head": b"Accept: */*\r\n", "with a cookie": b"Cookie: a=b\r\n"}.get(name, b"")
        for number in range(2):
            sent(client, request % (number, more))
    heads = {name: client.repeat for name, client in clients.items()}
    assert heads["one"] is not NO_REQUEST
    assert heads["another"] is heads["one"]
    assert heads["elsewhere"] is not heads["one"], "the access log says the address by the head"
    assert heads["other head"] is not heads["one"]
    assert heads["with a cookie"] not in worker.serving.heads.values()


async def test_connections_of_an_arm_keep_one_head_of_their_answers_among_them(worker: Worker) -> None:
    (pool,) = worker.serving.arms[STABLE].pools
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    learned = []
    for _ in range(3):
        pool.idle.clear()
        upstream = Upstream(pool)
        upstream.connection_made(cast(asyncio.Transport, PieceWire()))
        upstream.release(time.perf_counter())
        client = connect(worker)
        key = next(key for key in range(100) if bucket(TABLE.salt, f"c-{key}") >= TABLE.split)
        assert quick_request(client, b"GET / HTTP/1.1\r\nHost: a\r\nX-Conversation-Id: c-%d\r\n\r\n" % key)
        exchange = client.exchange
        assert exchange is not None
        assert exchange.upstream is upstream
        assert quick_answer(upstream, exchange, answer)
        learned.append(upstream.repeat)
    assert learned[0] is not NO_ANSWER
    assert learned[0] is learned[1] is learned[2]
    served = worker.serving.arms[STABLE]
    served.attested = not served.attested
    assert learned[0][0] is not served.reading, "what was learned of answers ends for all of them"


async def test_a_line_of_the_access_log_says_the_same_of_a_head_that_is_known_and_of_one_that_is_read(
    worker: Worker, tmp_path: Path
) -> None:
    rng = random.Random(9)
    log = worker.access_log = AccessLog(worker, str(tmp_path / "access.log"))
    by_repeat = 0
    for _ in range(150):
        client = connect(worker)
        path, trace = rng.choice((b"/chat", b"/a?b=c", b"/")), rng.choice((TRACE, b"", b"traceparent: x\r\n"))
        for number in range(rng.randint(3, 6)):
            body = b"x" * rng.choice((0, 10, 20, 99))
            lines = b"Host: a\r\n%bX-Conversation-Id: c-%02d\r\nContent-Length: %d\r\n" % (trace, number, len(body))
            data = b"POST %b HTTP/1.1\r\n%b\r\n%b" % (path, lines, body)
            keep_warm(worker)
            assert quick_request(client, data)
            exchange = client.exchange
            assert exchange is not None
            assert exchange.upstream is not None
            assert exchange.going is not None
            by_repeat += exchange.going[9] != b""
            assert quick_answer(exchange.upstream, exchange, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            line = log.lines.pop()
            assert b'%b,"status":200,"bytes_in":%d,"bytes_out":2,' % asked(data, client) in line, data
            assert json.loads(line)["bytes_in"] == len(body)
    assert by_repeat > 150


async def test_a_client_whose_heads_always_differ_is_seldom_learned_from(worker: Worker) -> None:
    client = connect(worker)
    learned = []
    for number in range(4 * LEARN_EVERY):
        line = b"X-Number: %d\r\n" % number
        assert sent(client, b"GET / HTTP/1.1\r\n" + line + b"Host: a\r\nX-Conversation-Id: c\r\n\r\n") is not None
        learned.append(client.repeat)
    assert learned[0] is NO_REQUEST, "the first of a connection may be its only one"
    assert len(set(map(id, learned[1:]))) == 4


def answers(rng: random.Random) -> list[bytes]:
    """What an arm says one after the other: often the same, now and then of another length or with another outcome."""
    lines = [b"Server: x\r\n", b"Content-Type: application/json\r\n"]
    if rng.random() < 0.5:
        lines.append(b"Connection: keep-alive\r\n")
    if rng.random() < 0.4:
        lines.append(b"fairway-release: %b\r\n" % rng.choice((STABLE, CANDIDATE, ANOTHER)).encode())
    rng.shuffle(lines)
    said = []
    for _ in range(8):
        body = b"o" * rng.choice((2, 2, 2, 3))
        more = list(lines)
        if rng.random() < 0.5:
            outcome = rng.choice((b"status=ok", b"status=ok; tokens_in=5", b"status=failed", b"status="))
            more.insert(rng.randint(0, len(more)), b"Fairway-Outcome: %b\r\n" % outcome)
        if rng.random() < 0.2:
            more.append(rng.choice((b"Date: x\r\n", b"Transfer-Encoding: chunked\r\n", b"Set-Cookie: a=b\r\n")))
        more.append(b"Content-Length: %d\r\n" % (len(body) + rng.choice((0, 0, 0, 0, 1))))
        said.append(b"HTTP/1.1 200 OK\r\n" + b"".join(more) + b"\r\n" + body)
    return said


def told_to(cell: Cell) -> dict[str, float]:
    """The figures of the outcomes a cell counted."""
    figures: dict[str, float] = {}
    for outcome, count in cell.told.values():
        for name, value in outcome.counts().items():
            figures[name] = figures.get(name, 0) + value * count
    return figures


def passed_on(worker: Worker, data: bytes, known: AnswerRepeat) -> tuple[bytes | None, dict[str, float], AnswerRepeat]:
    """What a client got of an answer on the short way, the figures counted by it, and what is known afterwards."""
    keep_warm(worker)
    client = connect(worker)
    assert quick_request(client, b"GET / HTTP/1.1\r\nHost: a\r\nX-Conversation-Id: c-1\r\n\r\n")
    exchange = client.exchange
    assert exchange is not None
    cell = exchange.cell
    assert cell is not None
    assert exchange.upstream is not None
    assert exchange.going is not None
    going = exchange.going
    exchange.going = (*going[:5], b"", going[6], b"1", *going[8:])
    cell.told.clear()
    upstream = exchange.upstream
    upstream.repeat = known
    if known is NO_ANSWER:
        upstream.pool.repeat = NO_ANSWER
    if quick_answer(upstream, exchange, data):
        return cast(PieceWire, client.transport).pieces[-1], told_to(cell), upstream.repeat
    client.worker.in_flight -= 1
    upstream.release(time.perf_counter())
    return None, told_to(cell), upstream.repeat


async def test_an_answer_is_treated_alike_by_a_connection_that_knows_its_head_and_by_one_that_does_not(
    worker: Worker,
) -> None:
    rng = random.Random(8)
    again = taken = refused = 0
    known = NO_ANSWER
    for round_ in range(1_000):
        for data in answers(rng):
            if rng.random() < 0.05:
                arms = tuple(replace(arm, version=f"2.{round_}") for arm in TABLE.arms)
                install(worker, replace(TABLE, arms=arms, fence=Fence(term=1, seq=round_ + 2)))
            for served in worker.serving.arms.values():
                served.attested = served.attested if rng.random() < 0.8 else not served.attested
            before = known
            ours, counted, known = passed_on(worker, data, known)
            theirs, expected, _ = passed_on(worker, data, NO_ANSWER)
            assert (ours, counted) == (theirs, expected), data
            assert ours is None or (ANOTHER.encode() not in data and b"\r\nfairway-release:" not in ours), data
            taken += ours is not None
            refused += ours is None
            again += ours is not None and known is before
    assert min(again, refused, taken - again) > 200
