from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import ssl
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairway.errors import PermanentError, TransientError, UserError
from fairway.http_client.address import parse_address
from fairway.http_client.client import HttpClient
from fairway.http_client.connection import HttpResponse
from fairway.http_client.errors import (
    HttpAddressError,
    HttpAnswerError,
    HttpConnectError,
    HttpCutError,
    HttpTimeoutError,
)
from fairway.http_client.proxy import proxy_of
from fairway.testing.scripted_arm import ArmRequest, ScriptedArm, always, answer

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


async def ask(*pieces: bytes, close: bool = False, hang: bool = False, **options) -> HttpResponse:
    """One request to a server that writes ``pieces`` with pauses between them."""

    async def script(_: ArmRequest, writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.001)
        if close:
            writer.close()
        if hang:
            await asyncio.sleep(60)

    async with ScriptedArm(script) as server, HttpClient(**{"timeout_seconds": 0.3, **options}) as client:
        return await client.post(f"http://{server.endpoint}/", b"{}")


# requests


async def test_a_request_says_what_a_server_needs_and_no_more():
    async with ScriptedArm(always(OK)) as server, HttpClient(headers={"x-common": "1"}) as client:
        response = await client.post(f"http://{server.endpoint}/a%20b?q=ä&r=%20", b'{"a":1}', headers={"x-own": "2"})
        await client.get(f"http://{server.endpoint}")
    assert (response.status, response.body) == (200, b"ok")
    posted, got = server.requests
    assert (posted.method, posted.target, posted.body) == ("POST", "/a%20b?q=%C3%A4&r=%20", b'{"a":1}')
    assert posted.header("host") == server.endpoint
    assert (posted.header("x-common"), posted.header("x-own")) == ("1", "2")
    assert posted.header("content-type") == "application/json"
    assert (got.method, got.target, got.header("content-length")) == ("GET", "/", None)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "x",
        "ftp://x",
        "http://",
        "http://[",
        "http://a b/",
        "http://u:p@x/",
        "http://x:99999/",
        "http://x\r\n/",
        "//x",
    ],
)
async def test_what_is_no_address_is_refused_and_never_a_traceback(url):
    async with HttpClient() as client:
        with pytest.raises(HttpAddressError):
            await client.get(url)


@given(st.text(max_size=40))
def test_any_text_is_an_address_or_refused(text):
    try:
        address = parse_address("http://" + text)
    except UserError:
        return
    assert address.target.isascii()
    assert not any(char.isspace() for char in address.target + address.origin.host)


@pytest.mark.parametrize("headers", [{"a": "b\r\nc: d"}, {"a\n": "b"}, {"a b": "c"}, {"a:": "b"}])
async def test_a_header_cannot_end_its_line(headers):
    async with HttpClient() as client:
        with pytest.raises(HttpAddressError):
            await client.post("http://127.0.0.1:9/", b"", headers=headers)


# answers


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\ntrailer: 1\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
    ],
)
@pytest.mark.parametrize("size", [1, 7, 1000])
async def test_an_answer_is_read_however_it_is_framed_and_cut_into_pieces(raw, size):
    pieces = [raw[at : at + size] for at in range(0, len(raw), size)]
    response = await ask(*pieces, timeout_seconds=5)
    assert (response.status, response.body) == (200, b"hello")
    assert "link" not in response.headers
    assert "trailer" not in response.headers


async def test_an_answer_without_a_length_ends_with_the_connection():
    assert (await ask(b"HTTP/1.1 200 OK\r\n\r\nhel", b"lo", close=True)).body == b"hello"
    assert (await ask(b"HTTP/1.0 200 OK\r\n\r\nhello", close=True)).body == b"hello"


@pytest.mark.parametrize("status", [204, 304])
async def test_an_answer_that_has_no_body_does_not_wait_for_one(status):
    response = await ask(b"HTTP/1.1 %d X\r\n\r\n" % status)
    assert (response.status, response.body) == (status, b"")


async def test_headers_sent_twice_are_joined_and_names_are_small():
    response = await ask(b"HTTP/1.1 200 OK\r\nX-A: 1\r\nx-a: 2\r\ncontent-length: 0\r\n\r\n")
    assert response.headers["x-a"] == "1, 2"


@pytest.mark.parametrize("cut", [b"", b"HTTP/1.1 200 OK\r\ncontent-", OK[:-1], b"HTTP/1.1 100 Continue\r\n\r\n"])
async def test_a_cut_answer_is_trouble_and_never_a_short_one(cut):
    with pytest.raises(HttpCutError):
        await ask(cut, close=True)
    chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n"
    with pytest.raises(HttpCutError):
        await ask(chunked, close=True)


@pytest.mark.parametrize(
    "raw",
    [
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok!",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
    ],
)
async def test_what_is_not_http_or_could_be_read_in_two_ways_is_refused(raw):
    with pytest.raises(HttpAnswerError):
        await ask(raw, hang=True, timeout_seconds=3)


async def test_an_answer_that_is_too_large_is_refused_before_it_is_read():
    with pytest.raises(HttpAnswerError, match="over 10 bytes"):
        await ask(b"HTTP/1.1 200 OK\r\ncontent-length: 99999999\r\n\r\n", max_body_bytes=10, hang=True)
    with pytest.raises(HttpAnswerError, match="over 10 bytes"):
        await ask(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nb\r\nhello hello\r\n", max_body_bytes=10)
    with pytest.raises(HttpAnswerError, match="head"):
        await ask(b"HTTP/1.1 200 OK\r\n" + b"x: %s\r\n" % (b"y" * 1000) * 70, hang=True)


@pytest.mark.parametrize("encode", [gzip.compress, zlib.compress])
async def test_a_compressed_answer_is_unpacked_within_the_limit(encode):
    name = b"gzip" if encode is gzip.compress else b"deflate"

    def packed(content: bytes, *, lost: int = 0) -> bytes:
        body = encode(content)
        body = body[: len(body) - lost]
        head = b"HTTP/1.1 200 OK\r\ncontent-encoding: %s\r\ncontent-length: %d\r\n\r\n" % (name, len(body))
        return head + body

    assert (await ask(packed(b"hello" * 9))).body == b"hello" * 9
    with pytest.raises(HttpAnswerError, match="over 1000 bytes"):
        await ask(packed(b"x" * 1_000_000), max_body_bytes=1000)
    with pytest.raises(HttpAnswerError, match="too early"):
        await ask(packed(b"hello", lost=3))
    with pytest.raises(HttpAnswerError, match="cannot be read"):
        await ask(b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 3\r\n\r\nabc")


async def test_every_member_of_a_compressed_answer_is_part_of_it():
    body = gzip.compress(b"hel") + gzip.compress(b"lo")
    head = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n"
    assert (await ask(head % len(body) + body)).body == b"hello"
    with pytest.raises(HttpAnswerError, match="over 4 bytes"):
        await ask(head % len(body) + body, max_body_bytes=4)
    with pytest.raises(HttpAnswerError, match="too early"):
        await ask(head % (len(body) + 1) + body + b"x")


async def test_an_encoding_nobody_asked_for_is_refused():
    with pytest.raises(HttpAnswerError, match="'br'"):
        await ask(b"HTTP/1.1 200 OK\r\ncontent-encoding: br\r\ncontent-length: 2\r\n\r\nok")


async def test_a_server_that_does_not_answer_in_time_is_trouble_and_its_connection_gone():
    async with ScriptedArm(lambda *_: asyncio.sleep(60)) as server, HttpClient() as client:
        with pytest.raises(HttpTimeoutError):
            await client.post(f"http://{server.endpoint}/", b"", timeout_seconds=0.05)
        for _ in range(100):
            if server.lost:
                break
            await asyncio.sleep(0.01)
        assert server.lost == 1


async def test_nobody_there_is_trouble_of_its_own_kind():
    async with HttpClient() as client:
        for url in ("http://127.0.0.1:9/", "http://no-such-host.invalid/"):
            with pytest.raises(HttpConnectError):
                await client.get(url)


def test_trouble_is_transient_and_a_broken_answer_is_not():
    assert issubclass(HttpTimeoutError, TransientError)
    assert issubclass(HttpAnswerError, PermanentError)


# connections


async def test_connections_are_kept_and_no_more_are_made_than_are_used_at_a_time():
    async with ScriptedArm(always(OK)) as server, HttpClient() as client:
        for _ in range(5):
            await client.get(f"http://{server.endpoint}/")
        assert server.connections == 1
        await asyncio.gather(*(client.get(f"http://{server.endpoint}/") for _ in range(7)))
        assert server.connections <= 7


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok",
        OK + b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil",
        OK + b"garbage",
        b"HTTP/1.1 200 OK\r\nkeep-alive: timeout=1\r\ncontent-length: 2\r\n\r\nok",
    ],
    ids=["closing", "an answer nobody asked for", "rubbish after it", "kept for a second only"],
)
async def test_a_connection_that_cannot_be_trusted_is_not_used_again(raw):
    async with ScriptedArm(always(raw)) as server, HttpClient() as client:
        for _ in range(3):
            assert (await client.get(f"http://{server.endpoint}/")).body == b"ok"
            await asyncio.sleep(0.01)
        assert server.connections == 3


async def test_a_connection_the_server_closed_meanwhile_is_not_used_again():
    async def script(_: ArmRequest, writer: asyncio.StreamWriter) -> None:
        writer.write(OK)
        await writer.drain()
        asyncio.get_running_loop().call_later(0.01, writer.close)

    async with ScriptedArm(script) as server, HttpClient() as client:
        for _ in range(3):
            await client.get(f"http://{server.endpoint}/")
            await asyncio.sleep(0.03)
        assert server.connections == 3


async def test_a_connection_that_was_idle_for_long_is_not_used_again(monkeypatch):
    monkeypatch.setattr("fairway.http_client.client._IDLE_SECONDS", 0.01)
    async with ScriptedArm(always(OK)) as server, HttpClient() as client:
        for _ in range(2):
            await client.get(f"http://{server.endpoint}/")
            await asyncio.sleep(0.02)
        assert server.connections == 2


async def test_the_answer_to_a_cancelled_request_never_reaches_the_next_one():
    async def script(request: ArmRequest, writer: asyncio.StreamWriter) -> None:
        if request.target == "/slow":
            await asyncio.sleep(0.03)
        writer.write(answer(request.target.encode(), outcome=None))

    async with ScriptedArm(script) as server, HttpClient() as client:
        slow = asyncio.create_task(client.get(f"http://{server.endpoint}/slow"))
        await asyncio.sleep(0.01)
        slow.cancel()
        await asyncio.gather(slow, return_exceptions=True)
        for _ in range(5):
            assert (await client.get(f"http://{server.endpoint}/fast")).body == b"/fast"
            await asyncio.sleep(0.01)


@given(st.lists(st.integers(0, 30), min_size=1, max_size=12), st.integers(0, 2**16))
@settings(max_examples=25, deadline=None)
def test_each_request_gets_its_own_answer_however_answers_are_cut(sizes, seed):
    async def script(request: ArmRequest, writer: asyncio.StreamWriter) -> None:
        raw = answer(request.body * 3, outcome=None)
        at = (seed + len(request.body)) % len(raw)
        writer.write(raw[:at])
        await asyncio.sleep(0)
        writer.write(raw[at:])

    async def play() -> None:
        async with ScriptedArm(script) as server, HttpClient() as client:
            bodies = [b"%d:" % number + b"x" * size for number, size in enumerate(sizes)]
            answers = await asyncio.gather(*(client.post(f"http://{server.endpoint}/", body) for body in bodies))
            assert [one.body for one in answers] == [body * 3 for body in bodies]

    asyncio.run(play())


async def test_closing_the_client_ends_what_is_in_flight():
    async with ScriptedArm(lambda *_: asyncio.sleep(60)) as server:
        client = HttpClient()
        task = asyncio.create_task(client.get(f"http://{server.endpoint}/"))
        await asyncio.sleep(0.02)
        await client.aclose()
        with pytest.raises(HttpCutError):
            await asyncio.wait_for(task, 2)


# TLS and proxies


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for localhost that signs itself, with its key, in one file."""
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.DNSName("model.test")]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def hello(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)


@contextlib.asynccontextmanager
async def started(handler: Handler, certificate: Path | None = None) -> AsyncIterator[asyncio.Server]:
    """A server whose connections are gone when the block ends."""
    tls = None
    if certificate is not None:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(certificate)
    running: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        running[task] = writer
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await handler(reader, writer)
        writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    try:
        yield server
    finally:
        server.close()
        for task, writer in running.items():
            task.cancel()
            writer.transport.abort()
        await asyncio.gather(*running, return_exceptions=True)
        await asyncio.sleep(0.01)


def port_of(server: asyncio.Server) -> int:
    return int(server.sockets[0].getsockname()[1])


async def test_tls_is_spoken_with_who_can_show_who_he_is_and_with_nobody_else(certificate):
    async with started(hello, certificate) as server:
        url = f"https://localhost:{port_of(server)}/"
        async with HttpClient(tls=ssl.create_default_context(cafile=str(certificate))) as client:
            assert (await client.get(url)).body == b"ok"
            assert (await client.get(url)).body == b"ok"
            with pytest.raises(HttpConnectError, match="TLS"):
                await client.get(url.replace("localhost", "127.0.0.1"))
        async with HttpClient() as client:
            with pytest.raises(HttpConnectError, match="TLS"):
                await client.get(url)


class ForwardProxy:
    """Answers CONNECT with a tunnel to ``port``, and anything else itself; remembers what it was asked."""

    def __init__(self, port: int, *, refuses: bool = False) -> None:
        self.port, self.refuses = port, refuses
        self.heads: list[str] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.heads.append(head)
        if self.refuses or not head.startswith("CONNECT"):
            writer.write(b"HTTP/1.1 407 X\r\ncontent-length: 0\r\n\r\n" if self.refuses else OK)
            await writer.drain()
            return
        there, back = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        pumps = [asyncio.create_task(pump(reader, back)), asyncio.create_task(pump(there, writer))]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in pumps:
                one.cancel()
            back.transport.abort()
            await asyncio.gather(*pumps, return_exceptions=True)


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()


async def test_https_goes_through_a_tunnel_of_the_proxy_and_http_is_asked_of_it(certificate):
    async with started(hello, certificate) as server:
        proxy = ForwardProxy(port_of(server))
        async with started(proxy) as proxy_server:
            address = f"http://ada:s%20t@127.0.0.1:{port_of(proxy_server)}"
            environment = {"HTTPS_PROXY": address, "http_proxy": address, "NO_PROXY": "other.test"}
            tls = ssl.create_default_context(cafile=str(certificate))
            async with HttpClient(proxies=True, tls=tls, environment=environment) as client:
                for _ in range(2):
                    assert (await client.get("https://model.test/v1")).body == b"ok"
                assert (await client.get("http://model.test/v1?a=b")).body == b"ok"
    tunnel, plain = proxy.heads
    assert tunnel.startswith("CONNECT model.test:443 HTTP/1.1\r\nhost: model.test:443\r\n")
    assert plain.startswith("GET http://model.test/v1?a=b HTTP/1.1\r\nhost: model.test\r\n")
    assert all("proxy-authorization: Basic YWRhOnMgdA==" in head for head in proxy.heads)


async def test_a_proxy_that_refuses_is_trouble():
    async with started(ForwardProxy(0, refuses=True)) as proxy_server:
        environment = {"https_proxy": f"http://127.0.0.1:{port_of(proxy_server)}"}
        async with HttpClient(proxies=True, environment=environment) as client:
            with pytest.raises(HttpConnectError, match="407"):
                await client.get("https://model.test/")


@pytest.mark.parametrize(
    ("url", "environment", "found"),
    [
        ("http://a.test/", {}, None),
        ("http://a.test/", {"HTTP_PROXY": "http://p:1"}, "p:1"),
        ("http://a.test/", {"HTTP_PROXY": "http://p:1", "REQUEST_METHOD": "GET"}, None),
        ("https://a.test/", {"HTTP_PROXY": "http://p:1"}, None),
        ("https://a.test/", {"ALL_PROXY": "p:1"}, "p:1"),
        ("https://a.test/", {"https_proxy": "", "HTTPS_PROXY": "http://p:1"}, None),
        ("https://x.a.test/", {"https_proxy": "http://p:1", "no_proxy": "b.test, .a.test"}, None),
        ("https://xa.test/", {"https_proxy": "http://p:1", "no_proxy": "a.test"}, "p:1"),
        ("https://a.test/", {"https_proxy": "http://p:1", "NO_PROXY": "*"}, None),
        ("http://127.0.0.1:8/", {"http_proxy": "http://p:1"}, None),
        ("http://localhost/", {"http_proxy": "http://p:1"}, None),
    ],
)
def test_the_environment_names_the_proxy_and_this_machine_needs_none(url, environment, found):
    proxy = proxy_of(parse_address(url).origin, environment)
    assert (proxy and proxy.origin.authority) == found


@pytest.mark.parametrize("address", ["socks5://p:1", "http://", "http://p:port"])
def test_a_proxy_that_cannot_be_used_is_said(address):
    with pytest.raises(HttpAddressError):
        proxy_of(parse_address("http://a.test/").origin, {"http_proxy": address})


def test_who_we_are_to_a_proxy_is_not_shown():
    proxy = proxy_of(parse_address("http://a.test/").origin, {"http_proxy": "http://ada:secret@p:1"})
    assert "secret" not in repr(proxy)
    assert "secret" not in json.dumps(repr(proxy))
