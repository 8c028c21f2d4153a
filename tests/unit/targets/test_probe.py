from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.targets.local.probe import Answer, ProbeError, fetch, judge
from fairway.targets.port import AttestedBy
from fairway.units import Digest

RELEASE = Digest("sha256:" + "1" * 64)
OTHER = Digest("sha256:" + "2" * 64)
EFFECTIVE = Digest("sha256:" + "3" * 64)


def answered(body: object, status: int = 200) -> Answer:
    return Answer(status=status, body=body if isinstance(body, bytes) else json.dumps(body).encode())


@pytest.mark.parametrize(
    ("answer", "ready", "by"),
    [
        pytest.param(answered({"release": RELEASE, "effective": EFFECTIVE}), True, AttestedBy.ARM, id="both"),
        pytest.param(answered({"release": RELEASE}), True, AttestedBy.SUPERVISOR, id="release-only"),
        pytest.param(answered({"ok": True}), True, AttestedBy.SUPERVISOR, id="other-json"),
        pytest.param(answered(b"OK"), True, AttestedBy.SUPERVISOR, id="text"),
        pytest.param(answered(b""), True, AttestedBy.SUPERVISOR, id="empty"),
        pytest.param(answered([1]), True, AttestedBy.SUPERVISOR, id="list"),
        pytest.param(answered({"release": 7, "effective": None}), True, AttestedBy.SUPERVISOR, id="not-digests"),
        pytest.param(answered({"release": OTHER, "effective": EFFECTIVE}), False, AttestedBy.ARM, id="other-release"),
        pytest.param(answered({"release": OTHER}), False, AttestedBy.ARM, id="other-release-only"),
        pytest.param(answered({"release": RELEASE, "effective": OTHER}), False, AttestedBy.ARM, id="other-effective"),
        pytest.param(answered({"effective": OTHER}), False, AttestedBy.ARM, id="other-effective-only"),
        pytest.param(answered({}, status=503), False, AttestedBy.SUPERVISOR, id="503"),
        pytest.param(answered({"release": RELEASE}, status=204), False, AttestedBy.SUPERVISOR, id="204"),
    ],
)
def test_what_an_answer_means(answer: Answer, ready: bool, by: AttestedBy) -> None:
    readiness = judge(answer, path="/ready", release=RELEASE, effective=EFFECTIVE)
    assert (readiness.ready, readiness.attested_by) == (ready, by)
    assert bool(readiness.detail) is not ready


@given(st.binary(max_size=200), st.integers(100, 599))
def test_no_answer_is_attested_by_an_arm_that_does_not_name_both_digests(body: bytes, status: int) -> None:
    readiness = judge(Answer(status=status, body=body), path="/ready", release=RELEASE, effective=EFFECTIVE)
    assert readiness.attested_by is AttestedBy.SUPERVISOR
    assert readiness.ready is (status == 200)


@asynccontextmanager
async def serving(*pieces: bytes, stay: bool = False) -> AsyncIterator[int]:
    """A server that says just these bytes to whoever connects."""

    spoken: list[asyncio.Task[None]] = []

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            for piece in pieces:
                writer.write(piece)
                await asyncio.sleep(0.01)
            if stay:
                await reader.read()
        except OSError:
            pass
        finally:
            writer.transport.abort()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        spoken.append(asyncio.create_task(speak(reader, writer)))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
        await asyncio.gather(*spoken)


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param((b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",), id="length"),
        pytest.param((b"HTTP/1.1 200 OK\r\ncontent-le", b"ngth: 5\r\n\r\nhe", b"llo"), id="in-pieces"),
        pytest.param(
            (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",), id="chunked"
        ),
    ],
)
async def test_an_answer_is_read_however_it_is_framed_without_waiting_for_the_close(pieces: tuple[bytes, ...]) -> None:
    async with serving(*pieces, stay=True) as port:
        assert await fetch("127.0.0.1", port, "/ready", timeout=1) == Answer(status=200, body=b"hello")


async def test_an_answer_that_ends_with_the_connection_is_read() -> None:
    async with serving(b"HTTP/1.0 200 OK\r\n\r\nhel", b"lo") as port:
        assert await fetch("127.0.0.1", port, "/", timeout=1) == Answer(status=200, body=b"hello")


async def test_an_endless_answer_is_cut() -> None:
    async with serving(b"HTTP/1.1 200 OK\r\n\r\n", *[b"x" * 40_000] * 4) as port:
        assert len((await fetch("127.0.0.1", port, "/", timeout=2)).body) == 65_536


@pytest.mark.parametrize(
    ("pieces", "stay", "words"),
    [
        ((), True, "no answer within"),
        ((), False, "closed without an answer"),
        ((b"SSH-2.0-OpenSSH\r\n\r\n",), False, "failed"),
        ((b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhe",), True, "no answer within"),
    ],
)
async def test_what_is_no_answer_says_why(pieces: tuple[bytes, ...], stay: bool, words: str) -> None:
    async with serving(*pieces, stay=stay) as port:
        with pytest.raises(ProbeError, match=words):
            await fetch("127.0.0.1", port, "/ready", timeout=0.2)


async def test_a_port_nobody_listens_on_says_so(unused_tcp_port_factory: Callable[[], int]) -> None:
    port = unused_tcp_port_factory()
    with pytest.raises(ProbeError, match=f"nothing listens on 127.0.0.1:{port}"):
        await fetch("127.0.0.1", port, "/ready", timeout=0.5)
