"""Asking over HTTP: whatever happens on the way has a name, within the timeout, and no credential is repeated."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from fairway.sources.asking import LARGEST_ANSWER, HttpAsker
from fairway.sources.placeholders import Arm, Names
from fairway.sources.values import Answered, Question, SourceGate, SourceKind

NAMES = Names(
    candidate=Arm(version="1.1.0", release="sha256:cc", effective="sha256:0c"),
    stable=Arm(version="1.0.0", release="sha256:bb", effective="sha256:0b"),
    agent="support",
    environment="production",
    rollout="r1",
)
SECRET = "hunter2-hunter2"
ONE = json.dumps({"status": "success", "data": {"resultType": "vector", "result": [{"value": [1, "0.5"]}]}})


def answer(body, status="200 OK", **headers):
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


@asynccontextmanager
async def served(respond, tls=None):
    """A server whose every connection is handed to ``respond(head, writer)``; the heads it was sent."""
    heads, tasks = [], set()

    async def handle(reader, writer):
        tasks.add(asyncio.current_task())
        try:
            heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
            await respond(heads[-1], writer)
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}", heads
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def saying(text):
    async def respond(head, writer):
        writer.write(text)

    return respond


def gate(url, *, kind=SourceKind.PROMETHEUS, timeout=2.0, **question):
    asked = Question(kind=kind, url=url, query='cpu{v="{{arm}}"}' if kind is SourceKind.PROMETHEUS else "", **question)
    return SourceGate(name="cpu", question=asked, at_most=0.8, timeout=timeout)


async def ask(asked, environ=None, role="candidate"):
    return await HttpAsker(environ=environ or {}).ask(asked, NAMES, role=role)


async def test_a_query_is_asked_with_its_names_its_credential_and_its_headers():
    async with served(saying(answer(ONE))) as (host, heads):
        asked = gate(f"http://{host}/prom/", bearer="env:TOKEN", headers={"X-Scope-OrgID": "{{environment}}"})
        found = await ask(asked, {"TOKEN": SECRET})
    assert (found.outcome, found.value) == (Answered.VALUE, 0.5)
    assert heads[0].startswith("GET /prom/api/v1/query?query=cpu%7Bv%3D%221.1.0%22%7D&timeout=2000ms HTTP/1.1\r\n")
    assert f"Authorization: Bearer {SECRET}" in heads[0]
    assert "X-Scope-OrgID: production" in heads[0]


async def test_stable_is_asked_about_under_its_own_name():
    async with served(saying(answer(ONE))) as (host, heads):
        await ask(gate(f"http://{host}"), role="stable")
        first = replace(NAMES, stable=None)
        nobody = await HttpAsker(environ={}).ask(gate(f"http://{host}"), first, role="stable")
    assert len(heads) == 1
    assert "1.0.0" in heads[0]
    assert nobody.outcome is Answered.EMPTY


async def test_an_endpoint_is_asked_with_basic_authentication():
    async with served(saying(answer('{"ok": 0.25}'))) as (host, heads):
        asked = gate(
            f"http://{host}/v1/{{{{candidate}}}}?a=b",
            kind=SourceKind.HTTP,
            pointer="/ok",
            user="ada",
            password="env:PASSWORD",
        )
        found = await ask(asked, {"PASSWORD": SECRET})
    assert found.value == 0.25
    assert heads[0].startswith("GET /v1/1.1.0?a=b HTTP/1.1\r\n")
    assert "Authorization: Basic YWRhOmh1bnRlcjItaHVudGVyMg==" in heads[0]


@pytest.mark.parametrize("environ", [{}, {"TOKEN": " "}, {"TOKEN": "two\nlines"}, {"TOKEN": "pässword"}])
async def test_without_its_credential_nothing_is_asked(environ):
    async with served(saying(answer(ONE))) as (host, heads):
        found = await ask(gate(f"http://{host}", bearer="env:TOKEN"), environ)
    assert found.outcome is Answered.NO_CREDENTIAL
    assert "TOKEN" in found.detail
    assert not heads
    assert not any(value.strip() and value.strip() in found.detail for value in environ.values())


async def test_a_source_that_repeats_the_credential_does_not_bring_it_into_the_record():
    told = json.dumps({"status": "error", "errorType": "bad_data", "error": f"bad token {SECRET}"})
    async with served(saying(answer(told, "400 Bad Request"))) as (host, _):
        found = await ask(gate(f"http://{host}", bearer="env:TOKEN"), {"TOKEN": SECRET})
    assert found.outcome is Answered.REFUSED
    assert SECRET not in found.detail
    assert "[redacted]" in found.detail


async def _hang(head, writer):
    await asyncio.Event().wait()


async def _drip(head, writer):
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("respond", [_hang, _drip])
async def test_a_source_that_hangs_or_drips_is_given_up_at_the_timeout(respond):
    async with served(respond) as (host, _):
        begun = time.monotonic()
        found = await ask(gate(f"http://{host}", timeout=0.3))
        assert time.monotonic() - begun < 2.0
    assert (found.outcome, found.detail) == (Answered.TIMED_OUT, "no answer within 0.3s")


async def _flood(head, writer):
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    for _ in range(LARGEST_ANSWER // 65_536 + 20):
        writer.write(b" " * 65_536)
        await writer.drain()


@pytest.mark.parametrize(
    ("respond", "outcome"),
    [
        (saying(answer("", "302 Found", Location="http://127.0.0.1:1/")), Answered.REFUSED),
        (saying(answer("busy", "503 Service Unavailable")), Answered.REFUSED),
        (saying(answer("<html>")), Answered.MALFORMED),
        (saying(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{"), Answered.UNREACHABLE),
        (saying(b"SMTP ready\r\n"), Answered.UNREACHABLE),
        (saying(b""), Answered.UNREACHABLE),
        (saying(answer("xx", Content_Encoding="gzip")), Answered.UNREACHABLE),
    ],
)
async def test_what_is_no_answer_has_a_name(respond, outcome):
    async with served(respond) as (host, _):
        found = await ask(gate(f"http://{host}"))
    assert (found.outcome, found.value) == (outcome, None)
    assert found.detail


async def test_no_more_of_an_answer_is_read_than_a_number_could_need():
    async with served(_flood) as (host, _):
        found = await ask(gate(f"http://{host}"))
    assert (found.outcome, found.detail) == (Answered.MALFORMED, "an answer of more than 1,048,576 bytes")


async def test_a_server_that_is_not_there_is_unreachable():
    found = await ask(gate("http://127.0.0.1:1"))
    assert found.outcome is Answered.UNREACHABLE
    assert (await ask(gate("http://[::"))).outcome is Answered.UNREACHABLE


def _self_signed(folder):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(1))
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "both.pem").write_bytes(private + certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "both.pem")
    return context


async def test_a_certificate_nobody_vouches_for_is_an_error_and_no_question_is_sent(tmp_path):
    async with served(saying(answer(ONE)), tls=_self_signed(tmp_path)) as (host, heads):
        found = await ask(gate(f"https://{host}", bearer="env:TOKEN"), {"TOKEN": SECRET})
    assert found.outcome is Answered.BAD_CERTIFICATE
    assert "self-signed" in found.detail or "CERTIFICATE_VERIFY_FAILED" in found.detail
    assert not heads
