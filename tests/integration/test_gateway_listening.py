"""How clients come in: TLS, PROXY headers, IPv6, and what becomes of those that are slow, silent or too many."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import ssl
import struct
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from fairway.gateway.descriptors import ANSWERED
from fairway.gateway.listening import Listening, listening_socket
from fairway.gateway.proxy_protocol import SIGNATURE
from fairway.gateway.tls import KeyPair
from fairway.gateway.upstream import Pool, Upstream
from fairway.testing.certificates import key_pair, trusting
from fairway.testing.gateway_worker import Client, Harness, connected
from fairway.testing.scripted_arm import ArmRequest, ScriptedArm, always, answer
from fairway.traffic.fence import Fence
from fairway.traffic.table import Arm, KeyExtractor, KeyKind, Limits, Role, RouteTable, Timeouts
from fairway.units import AgentName, Digest, EnvironmentName, RouteId

PAIR, OTHER = key_pair(), key_pair()
LOOPBACK = Listening(proxy_protocol=("127.0.0.0/8",))
TIMEOUTS = Timeouts(connect=0.5, first_byte=5.0, idle=5.0, total=10.0)
V1 = b"PROXY TCP4 192.0.2.1 198.51.100.2 51234 443\r\n"
V2 = SIGNATURE + struct.pack(">BBH", 0x21, 0x11, 12) + bytes([192, 0, 2, 1, 198, 51, 100, 2]) + struct.pack(">HH", 1, 2)
GET = b"GET / HTTP/1.1\r\nHost: agent\r\nX-Conversation-Id: c-1\r\n\r\n"

Make = Callable[..., Harness]


def table(endpoint: str, *, seq: int = 1) -> RouteTable:
    return RouteTable(
        route=RouteId(agent=AgentName("support"), environment=EnvironmentName("production")),
        fence=Fence(term=1, seq=seq),
        arms=(Arm(role=Role.STABLE, release=Digest("sha256:" + "a" * 64), version="1.0.0", endpoints=(endpoint,)),),
        salt="r-1",
        keys=(KeyExtractor(kind=KeyKind.HEADER, name="x-conversation-id"),),
        timeouts=TIMEOUTS,
        block_seconds=2.0,
    )


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Make]:
    made: list[Harness] = []

    def begin(*, host: str = "127.0.0.1", listening: Listening | None = None, tls: KeyPair | None = None) -> Harness:
        made.append(Harness(tmp_path, host=host, listening=listening, tls=tls))
        return made[-1]

    yield begin
    for harness in made:
        await harness.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


# --- whose word counts ---------------------------------------------------------------------------------------------


async def test_a_client_cannot_say_who_it_is_but_a_trusted_proxy_can(make: Make) -> None:
    for listening, said in (
        (Listening(), "127.0.0.1"),
        (Listening(trusted_proxies=("127.0.0.1/32",)), "203.0.113.5, 127.0.0.1"),
    ):
        harness = make(listening=listening)
        async with ScriptedArm(always(answer())) as arm:
            await harness.start(table(arm.endpoint))
            async with connected(harness.port) as client:
                for _ in range(2):  # once met, once known
                    lines = ("X-Conversation-Id: c", "X-Forwarded-For: 203.0.113.5", "X-Forwarded-Proto: https")
                    assert (await client.ask(*lines)).status == 200
                    assert (await client.ask("X-Conversation-Id: c")).status == 200
            for asked, plain in zip(arm.requests[::2], arm.requests[1::2], strict=True):
                found = [value for name, value in asked.headers if name == "x-forwarded-for"]
                assert found == [said]
                proto = [value for name, value in asked.headers if name == "x-forwarded-proto"]
                assert proto == (["https"] if listening.trusted_proxies else ["http"])
                assert plain.header("x-forwarded-for") == "127.0.0.1"
        await harness.drained()


# --- PROXY headers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("header", [V1, V2], ids=["version 1", "version 2"])
async def test_an_arm_learns_of_the_client_behind_the_balancer(make: Make, header: bytes) -> None:
    harness = make(listening=LOOPBACK)
    async with ScriptedArm(always(answer())) as arm:
        await harness.start(table(arm.endpoint))
        async with connected(harness.port) as client:
            client.writer.write(header + GET)  # header and request in one piece
            assert (await client.reply()).status == 200
            assert (await client.ask("X-Conversation-Id: c-1")).status == 200
        assert [request.header("x-forwarded-for") for request in arm.requests] == ["192.0.2.1"] * 2


@pytest.mark.parametrize("header", [V1, V2], ids=["version 1", "version 2"])
async def test_a_header_may_come_byte_by_byte(make: Make, header: bytes) -> None:
    harness = make(listening=LOOPBACK)
    async with ScriptedArm(always(answer())) as arm:
        await harness.start(table(arm.endpoint))
        async with connected(harness.port) as client:
            for byte in header + GET[:10]:
                client.writer.write(bytes([byte]))
                await asyncio.sleep(0.001)
            client.writer.write(GET[10:])
            assert (await client.reply()).status == 200
        assert arm.requests[0].header("x-forwarded-for") == "192.0.2.1"


async def test_a_balancer_that_speaks_for_itself_is_known_by_its_own_address(make: Make) -> None:
    harness = make(listening=LOOPBACK)
    async with ScriptedArm(always(answer())) as arm:
        await harness.start(table(arm.endpoint))
        for header in (b"PROXY UNKNOWN\r\n", SIGNATURE + b"\x20\0\0\0"):
            async with connected(harness.port) as client:
                client.writer.write(header + GET)
                assert (await client.reply()).status == 200
        assert {request.header("x-forwarded-for") for request in arm.requests} == {"127.0.0.1"}


@pytest.mark.parametrize(
    ("networks", "sent", "code"),
    [
        (("127.0.0.0/8",), GET, "proxy_header"),
        (("127.0.0.0/8",), V1.replace(b"192.0.2.1", b"192.0.2.01") + GET, "proxy_header"),
        (("127.0.0.0/8",), V1[:20], "proxy_header"),
        (("10.0.0.0/8",), V1 + GET, "proxy_stranger"),
    ],
    ids=["none", "malformed", "cut off", "stranger"],
)
async def test_a_connection_without_a_good_header_is_closed_and_counted(
    make: Make, networks: tuple[str, ...], sent: bytes, code: str
) -> None:
    harness = make(listening=Listening(proxy_protocol=networks))
    async with ScriptedArm(always(answer())) as arm:
        await harness.start(table(arm.endpoint))
        async with connected(harness.port) as client:
            with contextlib.suppress(OSError):  # what it sent was not read
                client.writer.write(sent)
                client.writer.write_eof()
                assert await client.closed()
        assert arm.requests == []
        assert harness.worker.refused == {code: 1}
        await until(lambda: harness.worker.entrance.pending == 0)


async def test_a_header_is_not_looked_for_where_it_was_not_agreed_on(make: Make) -> None:
    harness = make()
    async with ScriptedArm(always(answer())) as arm:
        await harness.start(table(arm.endpoint))
        for header in (V1, V2):
            async with connected(harness.port) as client:
                client.writer.write(header + GET)
                assert (await client.reply()).status in (400, 505)
        assert arm.requests == []


# --- TLS -----------------------------------------------------------------------------------------------------------


async def test_requests_pass_over_tls_and_the_arm_is_told(make: Make) -> None:
    harness = make(tls=PAIR)
    async with ScriptedArm(always(answer(b"x" * 300_000))) as arm:
        await harness.start(table(arm.endpoint))
        async with connected(harness.port, "localhost", tls=trusting(PAIR)) as client:
            for body in (b"", b"small", b"y" * 300_000):
                reply = await client.ask("X-Conversation-Id: c", method="POST", body=body)
                assert (reply.status, len(reply.body)) == (200, 300_000)
                if not body:
                    assert reply.headers["set-cookie"].endswith("; Secure")
        assert [len(request.body) for request in arm.requests] == [0, 5, 300_000]
        assert {request.header("x-forwarded-proto") for request in arm.requests} == {"https"}


async def test_a_header_may_stand_in_front_of_tls(make: Make) -> None:
    harness = make(listening=LOOPBACK, tls=PAIR)
    async with ScriptedArm(always(answer())) as arm:
        await harness.start(table(arm.endpoint))
        for header in (V1, V2):
            plain = socket.create_connection(("127.0.0.1", harness.port))
            plain.sendall(header)
            plain.setblocking(False)
            reader, writer = await asyncio.open_connection(sock=plain, ssl=trusting(PAIR), server_hostname="localhost")
            assert (await Client(reader, writer).ask("X-Conversation-Id: c")).status == 200
            writer.close()
        for request in arm.requests:
            assert request.header("x-forwarded-for") == "192.0.2.1"
            assert request.header("x-forwarded-proto") == "https"


async def test_events_pass_at_once_over_tls(make: Make) -> None:
    gate = asyncio.Event()

    async def stream(_: ArmRequest, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        writer.write(b"9\r\ndata: a\n\n\r\n")
        await gate.wait()
        writer.write(b"9\r\ndata: b\n\n\r\n0\r\n\r\n")

    harness = make(tls=PAIR)
    async with ScriptedArm(stream) as arm:
        await harness.start(table(arm.endpoint))
        async with connected(harness.port, "localhost", tls=trusting(PAIR)) as client:
            client.writer.write(GET)
            async with asyncio.timeout(5):
                assert b"data: a" in await client.reader.readuntil(b"a\n\n")
                gate.set()
                assert b"data: b" in await client.reader.readuntil(b"b\n\n")


async def test_a_slow_reader_over_tls_slows_the_arm_and_gets_everything(make: Make) -> None:
    size = 30_000_000
    written = 0

    async def pour(_: ArmRequest, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
        while written < size:
            writer.write(b"z" * 100_000)
            written += 100_000
            await writer.drain()

    harness = make(tls=PAIR)
    async with ScriptedArm(pour) as arm:
        await harness.start(table(arm.endpoint))
        async with connected(harness.port, "localhost", tls=trusting(PAIR)) as client:
            client.writer.write(GET)
            await client.reader.readuntil(b"\r\n\r\n")
            await asyncio.sleep(0.3)
            assert written < size, "the arm goes on while the client reads nothing"
            async with asyncio.timeout(20):
                assert len(await client.reader.readexactly(size)) == size


async def test_a_refusal_reaches_a_client_that_is_still_sending_over_tls(make: Make) -> None:
    harness = make(tls=PAIR)
    async with ScriptedArm(always(answer())) as arm:
        await harness.start(replace(table(arm.endpoint), limits=Limits(body_bytes=1000)))
        async with connected(harness.port, "localhost", tls=trusting(PAIR)) as client:
            client.writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5000000\r\n\r\n" + b"x" * 5_000_000)
            assert (await client.reply()).status == 413
        assert arm.requests == []
        await until(lambda: not harness.worker.clients)


async def test_a_handshake_that_fails_is_counted_and_costs_nobody_else(make: Make) -> None:
    harness = make(tls=PAIR)
    async with ScriptedArm(always(answer())) as arm:
        await harness.start(table(arm.endpoint))
        async with connected(harness.port) as client:  # plain HTTP where TLS is spoken
            client.writer.write(GET)
            with contextlib.suppress(ConnectionResetError):
                await client.reader.read()
        assert harness.worker.refused == {"tls_handshake": 1}
        with pytest.raises(ssl.SSLError):
            async with connected(harness.port, "localhost", tls=trusting(OTHER)):
                raise AssertionError("a certificate nobody trusts was trusted")
        async with connected(harness.port, "localhost", tls=trusting(PAIR)) as client:
            assert (await client.ask()).status == 200


async def test_another_certificate_is_served_from_the_next_connection_on_and_running_ones_go_on(make: Make) -> None:
    harness = make(tls=PAIR)
    async with ScriptedArm(always(answer())) as arm:
        await harness.start(table(arm.endpoint))
        async with connected(harness.port, "localhost", tls=trusting(PAIR)) as old:
            assert (await old.ask()).status == 200
            harness.tls = OTHER
            await harness.install(table(arm.endpoint, seq=2))
            async with connected(harness.port, "localhost", tls=trusting(OTHER)) as new:
                assert (await new.ask()).status == 200
            assert (await old.ask()).status == 200
            with pytest.raises(ssl.SSLError):
                async with connected(harness.port, "localhost", tls=trusting(PAIR)):
                    raise AssertionError("the old certificate is still served")


async def test_a_drain_waits_for_a_client_in_its_handshake(make: Make) -> None:
    harness = make(tls=PAIR)
    async with ScriptedArm(always(answer())) as arm:
        await harness.start(table(arm.endpoint))
        plain = socket.create_connection(("127.0.0.1", harness.port))
        plain.setblocking(False)
        await until(lambda: harness.worker.entrance.pending == 1)
        draining = asyncio.create_task(harness.drained())
        await asyncio.sleep(0.1)
        assert not draining.done()
        reader, writer = await asyncio.open_connection(sock=plain, ssl=trusting(PAIR), server_hostname="localhost")
        reply = await Client(reader, writer).ask()
        assert (reply.status, reply.headers["connection"]) == (200, "close")
        writer.close()
        await draining


async def test_http_2_without_asking_is_told_that_it_is_not_spoken(make: Make) -> None:
    harness = make()
    await harness.start(table("127.0.0.1:1"))
    async with connected(harness.port) as client:
        client.writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x12\4\0\0\0\0\0")
        reply = await client.reply()
        assert (reply.status, b"only HTTP/1.1" in reply.body) == (505, True)
        assert await client.closed()


# --- IPv6 ----------------------------------------------------------------------------------------------------------


def has_ipv6() -> bool:
    try:
        listening_socket("::1", 0).close()
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6 loopback")
async def test_ipv6_is_spoken_on_both_sides(make: Make) -> None:
    harness = make(host="[::1]")
    async with ScriptedArm(always(answer())) as inner:
        back = inner.endpoint.rpartition(":")[2]
        relay = await asyncio.start_server(lambda r, w: _relay(r, w, int(back)), "::1", 0)
        endpoint = f"[::1]:{relay.sockets[0].getsockname()[1]}"
        await harness.start(table(endpoint))
        async with connected(harness.port, "::1") as client:
            client.writer.write(GET.replace(b"Host: agent", f"Host: [::1]:{harness.port}".encode()))
            assert (await client.reply()).status == 200
        (request,) = inner.requests
        assert request.header("x-forwarded-for") == "::1"
        assert request.header("host") == f"[::1]:{harness.port}"
        relay.close()


async def _relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
    inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)

    async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65_536):
                sink.write(data)
        sink.close()

    await asyncio.gather(copy(reader, inner_writer), copy(inner_reader, writer))


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6 loopback")
async def test_every_address_means_ipv4_too_and_its_clients_are_known_by_their_own_address(make: Make) -> None:
    harness = make(host="::", listening=Listening(trusted_proxies=("127.0.0.0/8",)))
    async with ScriptedArm(always(answer())) as arm:
        await harness.start(table(arm.endpoint))
        for host in ("127.0.0.1", "::1"):
            async with connected(harness.port, host) as client:
                assert (await client.ask("X-Forwarded-For: 203.0.113.5")).status == 200
        assert [request.header("x-forwarded-for") for request in arm.requests] == ["203.0.113.5, 127.0.0.1", "::1"]


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6 loopback")
def test_a_single_ipv6_address_is_that_address_alone() -> None:
    with listening_socket("::1", 0) as listener:
        assert listener.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 1
    with listening_socket("::", 0) as listener:
        assert listener.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 0


# --- the slow and the silent -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("tls", [None, PAIR], ids=["plain", "tls"])
async def test_a_head_that_does_not_end_in_time_is_a_408_however_its_bytes_trickle(
    make: Make, tls: KeyPair | None
) -> None:
    harness = make(tls=tls)
    async with ScriptedArm(always(answer())) as arm:
        await harness.start(replace(table(arm.endpoint), timeouts=replace(TIMEOUTS, head=0.6)))
        context = None if tls is None else trusting(tls)
        async with connected(harness.port, "localhost" if tls else "127.0.0.1", tls=context) as client:
            trickle = asyncio.create_task(_trickle(client, b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X-A: b\r\n" * 1000))
            reply = await client.reply()
            assert (reply.status, b"timeout_head" in reply.body) == (408, True)
            trickle.cancel()
        assert arm.requests == []


async def _trickle(client: Client, data: bytes) -> None:
    for byte in data:
        client.writer.write(bytes([byte]))
        await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("listening", "tls"), [(LOOPBACK, None), (None, PAIR), (LOOPBACK, PAIR)], ids=["proxy", "tls", "both"]
)
async def test_who_says_nothing_before_its_first_request_is_closed_in_time(
    make: Make, listening: Listening | None, tls: KeyPair | None
) -> None:
    harness = make(listening=listening, tls=tls)
    await harness.start(replace(table("127.0.0.1:1"), timeouts=replace(TIMEOUTS, head=0.3)))
    async with connected(harness.port) as client:
        if listening is not None and tls is not None:
            client.writer.write(V1)
        begun = time.perf_counter()
        with contextlib.suppress(ConnectionResetError):
            assert await client.closed()
        assert 0.2 < time.perf_counter() - begun < 5
    assert harness.worker.refused == {"timeout_head": 1}
    await until(lambda: harness.worker.entrance.pending == 0)


async def test_a_kept_connection_is_closed_when_no_request_comes(make: Make) -> None:
    harness = make()
    async with ScriptedArm(always(answer())) as arm:
        await harness.start(replace(table(arm.endpoint), timeouts=replace(TIMEOUTS, keep_alive=0.4)))
        async with connected(harness.port) as client:
            for _ in range(3):
                assert (await client.ask("X-Conversation-Id: c")).status == 200
                await asyncio.sleep(0.2)
            assert await client.closed()
        assert harness.worker.refused == {}, "that is no refusal"


async def test_a_body_that_crawls_is_a_408_and_one_that_keeps_its_pace_is_served(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fairway.gateway.pace.BODY_SECONDS", 0.5)
    monkeypatch.setattr("fairway.gateway.watching.BODY_SECONDS", 0.5)
    harness = make()
    async with ScriptedArm(always(answer())) as arm:
        limits = Limits(body_rate=100)
        await harness.start(replace(table(arm.endpoint), limits=limits))
        head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3000\r\n\r\n"

        async def send(piece: int) -> int:
            async with connected(harness.port) as client:
                client.writer.write(head)
                sending = asyncio.create_task(_trickle_in(client, piece, 3000))
                reply = await client.reply()
                sending.cancel()
                return reply.status

        assert list(await asyncio.gather(send(1), send(120))) == [408, 200]
        assert harness.worker.refused == {"slow_body": 1}


async def _trickle_in(client: Client, piece: int, total: int) -> None:
    for _ in range(0, total, piece):
        client.writer.write(b"x" * piece)
        await asyncio.sleep(0.05)


async def test_the_rest_of_an_answer_is_not_cut_off_while_its_slow_client_still_reads(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that asked for the connection to be closed, and pauses before it takes what the gateway still holds."""
    monkeypatch.setattr("fairway.gateway.client.LINGER_SECONDS", 0.2)
    size = 300_000
    harness = make()
    harness.listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16_384)
    async with ScriptedArm(always(answer(b"x" * size))) as arm:
        await harness.start(table(arm.endpoint))
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
            sock.connect(("127.0.0.1", harness.port))
            sock.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(sock, GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            got = 0
            async with asyncio.timeout(10):
                while not any(client.closing for client in harness.worker.clients):
                    got += len(await loop.sock_recv(sock, 4096))
            assert any(client.transport.get_write_buffer_size() for client in harness.worker.clients)
            await asyncio.sleep(1.2)
            while data := await loop.sock_recv(sock, 65_536):
                got += len(data)
            assert got >= size


async def test_a_flood_of_clients_beyond_the_limit_holds_no_more_than_a_few_descriptors(make: Make) -> None:
    harness = make()
    async with ScriptedArm(always(answer())) as arm:
        await harness.start(replace(table(arm.endpoint), limits=Limits(connections=1)))
        async with connected(harness.port) as served:
            assert (await served.ask()).status == 200
            crowd = [socket.create_connection(("127.0.0.1", harness.port)) for _ in range(200)]
            await until(lambda: harness.worker.refused.get("connections") == 200)
            await asyncio.sleep(0.2)
            assert len(harness.worker.clients) <= 1 + ANSWERED
            assert (await served.ask()).status == 200
            for one in crowd:
                one.close()


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EADDRNOTAVAIL])
async def test_a_gateway_without_descriptors_or_ports_blames_no_arm(
    make: Make, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    harness = make()

    async def fail(*_: object, **__: object) -> Upstream:
        raise OSError(number, os.strerror(number))

    async with ScriptedArm(always(answer())) as arm:
        await harness.start(table(arm.endpoint))
        with monkeypatch.context() as patch:
            patch.setattr(Pool, "connect", fail)
            async with connected(harness.port) as client:
                for _ in range(2):
                    reply = await client.ask("X-Conversation-Id: c")
                    assert (reply.status, b"no_descriptors" in reply.body) == (503, True)
                    assert reply.headers["retry-after"] == "1"
        async with connected(harness.port) as client:
            assert (await client.ask("X-Conversation-Id: c")).status == 200, "the endpoint is not left out"
        assert harness.worker.refused == {"no_descriptors": 2}
        assert harness.worker.in_flight == 0
        found = (await harness.counted())[Role.STABLE]
        assert (found.finished, found.failed, found.unknown) == (3, 0, 2)


# --- a client's own deadline -----------------------------------------------------------------------------------------


async def hang(_: ArmRequest, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(30)


async def begin_and_hang(_: ArmRequest, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
    writer.write(b"9\r\ndata: a\n\n\r\n")
    await asyncio.sleep(30)


@pytest.mark.parametrize("line", ["X-Request-Timeout: 0.3", "x-envoy-expected-rq-timeout-ms: 300"])
async def test_a_request_ends_at_its_own_deadline_and_counts_against_nobody(make: Make, line: str) -> None:
    harness = make()
    async with ScriptedArm(hang) as arm:
        await harness.start(table(arm.endpoint))
        async with connected(harness.port) as client:
            begun = time.perf_counter()
            reply = await client.ask("X-Conversation-Id: c", line)
            assert (reply.status, b"timeout_deadline" in reply.body) == (504, True)
            assert 0.29 < time.perf_counter() - begun < 3
            assert 200 < int(arm.requests[0].header("x-fairway-deadline-ms") or "0") <= 300
        await until(lambda: arm.lost == 1)
        found = (await harness.counted())[Role.STABLE]
        assert (found.failed, found.unknown, found.sums["client_aborted"]) == (0, 1, 1)


async def test_a_deadline_holds_while_the_arm_cannot_be_reached(make: Make) -> None:
    harness = make()
    deaf = socket.socket()
    deaf.bind(("127.0.0.1", 0))
    deaf.listen(0)
    filling = [socket.socket() for _ in range(4)]  # its queue is full: the next one waits for a place in it
    for one in filling:
        one.setblocking(False)
        one.connect_ex(deaf.getsockname())
    await harness.start(replace(table(f"127.0.0.1:{deaf.getsockname()[1]}"), timeouts=replace(TIMEOUTS, connect=5.0)))
    async with connected(harness.port) as client:
        begun = time.perf_counter()
        reply = await client.ask("X-Conversation-Id: c", "X-Request-Timeout: 0.3")
        assert (reply.status, b"timeout_deadline" in reply.body) == (504, True)
        assert time.perf_counter() - begun < 3
    for one in (*filling, deaf):
        one.close()


async def test_a_stream_is_cut_at_its_deadline(make: Make) -> None:
    harness = make()
    async with ScriptedArm(begin_and_hang) as arm:
        await harness.start(table(arm.endpoint))
        async with connected(harness.port) as client:
            client.writer.write(GET.replace(b"\r\n\r\n", b"\r\nX-Request-Timeout: 0.4\r\n\r\n"))
            data = await asyncio.wait_for(client.reader.read(), 5)
            data += await asyncio.wait_for(client.reader.read(), 5)
            assert b"data: a" in data
            assert b"0\r\n\r\n" not in data, "a cut answer has no end"


@pytest.mark.parametrize("line", ["X-Request-Timeout: 3600", "X-Request-Timeout: soon", "X-Request-Timeout: 0"])
async def test_a_deadline_never_lengthens_what_the_gateway_gives(make: Make, line: str) -> None:
    harness = make()
    async with ScriptedArm(hang) as arm:
        await harness.start(replace(table(arm.endpoint), timeouts=replace(TIMEOUTS, total=0.4)))
        async with connected(harness.port) as client:
            reply = await client.ask(line)
            assert (reply.status, b"timeout_total" in reply.body) == (504, True)
        assert arm.requests[0].header("x-fairway-deadline-ms") is None


async def test_a_websocket_goes_on_past_the_deadline_of_the_request_that_opened_it(make: Make) -> None:
    harness = make()

    async def open_up(_: ArmRequest, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
        await asyncio.sleep(0.6)
        writer.write(b"\x81\x04late")
        await asyncio.sleep(5)

    async with ScriptedArm(open_up) as arm:
        await harness.start(table(arm.endpoint))
        async with connected(harness.port) as client:
            lines = b"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-Request-Timeout: 0.3\r\n\r\n"
            client.writer.write(GET.replace(b"\r\n\r\n", lines))
            async with asyncio.timeout(5):
                assert b" 101 " in await client.reader.readuntil(b"\r\n\r\n")
                assert await client.reader.readexactly(6) == b"\x81\x04late"


async def test_a_body_is_not_slow_while_its_key_is_looked_for_in_it(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fairway.gateway.pace.BODY_SECONDS", 0.3)
    monkeypatch.setattr("fairway.gateway.watching.BODY_SECONDS", 0.3)
    harness = make()
    async with ScriptedArm(always(answer())) as arm:
        keys = (KeyExtractor(kind=KeyKind.JSON_POINTER, name="/z"),)
        await harness.start(replace(table(arm.endpoint), keys=keys, limits=Limits(body_rate=100)))
        body = b'{"a": "' + b"x" * 4000 + b'", "z": "c"}'
        async with connected(harness.port) as client:
            head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
            client.writer.write(head % len(body))
            for at in range(0, len(body), 200):
                client.writer.write(body[at : at + 200])
                await asyncio.sleep(0.05)
            assert (await client.reply()).status == 200


async def test_after_a_request_with_a_deadline_the_connection_goes_on(make: Make) -> None:
    """Its timer is gone with it, and does not end the request that runs when it would have fired."""
    harness = make()
    release = asyncio.Event()

    async def second_waits(_: ArmRequest, writer: asyncio.StreamWriter) -> None:
        if len(arm.requests) > 2:
            await release.wait()
        writer.write(answer())

    async with ScriptedArm(second_waits) as arm:
        await harness.start(table(arm.endpoint))
        async with connected(harness.port) as client:
            for _ in range(2):  # one over a new connection to the arm, one over a kept one
                assert (await client.ask("X-Conversation-Id: c", "X-Request-Timeout: 0.3")).status == 200
            running = asyncio.create_task(client.ask("X-Conversation-Id: c"))
            await asyncio.sleep(0.5)
            release.set()
            assert (await running).status == 200
