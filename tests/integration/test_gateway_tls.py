"""``fairway gateway serve`` over TLS, as a process: real clients, renewed certificates, too few file descriptors."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import psutil
import pytest

from fairway.gateway.tls import KeyPair, TlsFiles
from fairway.testing.certificates import key_pair, trusting, written
from fairway.testing.gateway_process import GatewayProcess, until
from fairway.testing.gateway_worker import connected
from fairway.testing.scripted_arm import ArmRequest, ScriptedArm, always, answer
from fairway.traffic.fence import Fence
from fairway.traffic.table import Arm, KeyExtractor, KeyKind, Role, RouteTable, Timeouts
from fairway.units import AgentName, Digest, EnvironmentName, RouteId

PAIR, OTHER = key_pair(), key_pair("renewed.example")


def table(endpoint: str) -> RouteTable:
    return RouteTable(
        route=RouteId(agent=AgentName("support"), environment=EnvironmentName("production")),
        fence=Fence(term=1, seq=1),
        arms=(Arm(role=Role.STABLE, release=Digest("sha256:" + "a" * 64), version="1.0.0", endpoints=(endpoint,)),),
        salt="r-1",
        keys=(KeyExtractor(kind=KeyKind.HEADER, name="x-conversation-id"),),
        timeouts=Timeouts(total=10.0),
        block_seconds=1.0,
    )


async def events(_: ArmRequest, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
    for number in range(3):
        writer.write(b"%x\r\ndata: %d\n\n\r\n" % (9, number))
        await asyncio.sleep(0.02)
    writer.write(b"0\r\n\r\n")


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[GatewayProcess]:
    one = GatewayProcess(tmp_path)
    yield one
    await one.kill()


async def start(gateway: GatewayProcess, arm: ScriptedArm, files: TlsFiles, *options: str) -> None:
    pem = ("--tls-certificate", str(files.certificate), "--tls-key", str(files.key))
    await gateway.start(*gateway.with_table(table(arm.endpoint)), *pem, *options)


async def served(gateway: GatewayProcess, *trusted: KeyPair) -> int:
    """The status that a client which trusts these gets; 0 when it does not trust the gateway."""
    async with httpx.AsyncClient(verify=trusting(*trusted)) as client:
        try:
            return (await client.get(f"https://localhost:{gateway.port}/")).status_code
        except httpx.ConnectError:
            return 0


async def test_a_real_client_asks_and_streams_over_tls_and_the_gateway_says_what_it_serves(
    gateway: GatewayProcess, tmp_path: Path
) -> None:
    async with ScriptedArm(events) as arm:
        await start(gateway, arm, written(PAIR, tmp_path), "--workers", "2")
        url = f"https://localhost:{gateway.port}/"
        async with httpx.AsyncClient(verify=trusting(PAIR)) as client:
            for _ in range(3):
                async with client.stream("GET", url, headers={"x-conversation-id": "c"}) as stream:
                    lines = [line async for line in stream.aiter_lines() if line]
                assert lines == ["data: 0", "data: 1", "data: 2"]
        assert {request.header("x-forwarded-proto") for request in arm.requests} == {"https"}
        said = (await gateway.status())["tls"]
        assert said["names"][0] == "localhost"
        assert said["error"] is None
        metrics = (await gateway.ask("GET", "/metrics")).body.decode()
        assert f'fairway_gateway_tls_not_after_seconds{{route="support/production"}} {said["not_after"]}' in metrics
    assert await gateway.stop() == 0


@pytest.mark.slow
async def test_a_renewed_certificate_is_served_without_a_restart_and_without_losing_a_connection(
    gateway: GatewayProcess, tmp_path: Path
) -> None:
    async with ScriptedArm(always(answer())) as arm:
        files = written(PAIR, tmp_path)
        await start(gateway, arm, files, "--workers", "2")
        async with connected(gateway.port, "localhost", tls=trusting(PAIR)) as kept:
            assert (await kept.ask()).status == 200
            written(OTHER, tmp_path)  # by itself, within a moment
            await until(lambda: _is(gateway, OTHER))
            assert await served(gateway, PAIR) == 0
            assert (await kept.ask()).status == 200

            written(PAIR, tmp_path)  # at once, when it is told to look
            gateway.process.send_signal(signal.SIGHUP)  # type: ignore[union-attr]
            await until(lambda: _is(gateway, PAIR), 20.0)
            assert (await kept.ask()).status == 200


async def _is(gateway: GatewayProcess, pair: KeyPair) -> bool:
    return await served(gateway, pair) == 200


@pytest.mark.slow
async def test_a_broken_renewal_keeps_the_old_certificate_also_for_a_worker_started_later_and_says_so(
    gateway: GatewayProcess, tmp_path: Path
) -> None:
    async with ScriptedArm(always(answer())) as arm:
        files = written(PAIR, tmp_path)
        await start(gateway, arm, files, "--workers", "1")
        files.key.write_bytes(OTHER.key)

        async def told() -> bool:
            return (await gateway.status())["tls"]["error"] is not None

        await until(told)
        assert "not that of the certificate" in (await gateway.status())["tls"]["error"]
        assert (
            '\nfairway_gateway_tls_stale{route="support/production"} 1\n'
            in (await gateway.ask("GET", "/metrics")).body.decode()
        )
        assert await served(gateway, PAIR) == 200
        (worker,) = (await gateway.status())["workers"]
        os.kill(worker["pid"], signal.SIGKILL)
        await until(lambda: _is(gateway, PAIR))
        files.certificate.write_bytes(OTHER.certificate)
        await until(lambda: _is(gateway, OTHER))
        assert (await gateway.status())["tls"]["error"] is None


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--tls-certificate", "tls.crt", "--tls-key", "other.key"), "key is not that of the certificate"),
        (("--proxy-protocol", "10.0.0.1/8"), "has host bits set"),
    ],
)
def test_a_gateway_that_cannot_serve_so_says_why_and_ends(tmp_path: Path, options: tuple[str, ...], said: str) -> None:
    written(PAIR, tmp_path)
    (tmp_path / "other.key").write_bytes(OTHER.key)
    found = subprocess.run(
        [sys.executable, "-m", "fairway", "gateway", "serve", "--project", str(tmp_path), "--port", "0", *options],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert found.returncode == 2
    assert said in found.stderr
    assert "Traceback" not in found.stderr


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_with_too_few_file_descriptors_nobody_who_is_served_is_lost_and_nothing_spins(
    gateway: GatewayProcess, tmp_path: Path, tls: bool
) -> None:
    async with ScriptedArm(always(answer())) as arm:
        options = [*gateway.with_table(table(arm.endpoint)), "--workers", "1"]
        if tls:
            files = written(PAIR, tmp_path)
            options += ["--tls-certificate", str(files.certificate), "--tls-key", str(files.key)]
        await gateway.start(*options)
        (worker,) = (await gateway.status())["workers"]
        resource.prlimit(worker["pid"], resource.RLIMIT_NOFILE, (64, 64))  # below what it found at its start
        process = psutil.Process(worker["pid"])
        where = ("localhost", trusting(PAIR)) if tls else ("127.0.0.1", None)
        async with connected(gateway.port, where[0], tls=where[1]) as client:
            assert (await client.ask("X-Conversation-Id: c")).status == 200
            crowd = [_connect(gateway.port) for _ in range(100)]
            await asyncio.sleep(0.3)
            assert process.num_fds() >= 62, "it has run out of them"
            before = process.cpu_times()
            await asyncio.sleep(1.0)
            after = process.cpu_times()
            used = after.user + after.system - before.user - before.system
            assert used < 0.5, "it asks again and again"
            assert (await client.ask("X-Conversation-Id: c")).status == 200, "over the connection to the arm it has"
            for one in crowd:
                one.close()
        async with asyncio.timeout(20):
            while not await _answers(gateway.port, where[0], tls=tls):
                await asyncio.sleep(0.1)
        assert (await gateway.status())["workers"][0]["pid"] == worker["pid"]


def _connect(port: int) -> socket.socket:
    one = socket.socket()
    one.setblocking(False)
    one.connect_ex(("127.0.0.1", port))
    return one


async def _answers(port: int, host: str, *, tls: bool) -> bool:
    try:
        async with connected(port, host, tls=trusting(PAIR) if tls else None) as client:
            return (await client.ask("X-Conversation-Id: c")).status == 200
    except (OSError, asyncio.IncompleteReadError):
        return False


@pytest.mark.slow
def test_fairway_up_serves_tls_as_the_project_says(tmp_path: Path) -> None:
    files = written(PAIR, tmp_path)
    (tmp_path / "fairway.yaml").write_text(
        "version: 1\nagent: {name: shop}\n"
        'service: {command: "python app.py {port}", drain: 1s}\n'
        "gateway: {port: 0, admin_port: 0, timeouts: {total: 2s}, tls: {certificate: tls.crt, key: tls.key}}\n"
    )
    (tmp_path / "app.py").write_text("")
    for words in (("init", "-q"), ("add", "fairway.yaml"), ("-c", "user.name=A", "-c", "user.email=a@example.org",
                                                           "commit", "-q", "-m", "first")):  # fmt: skip
        subprocess.run(["git", *words], cwd=tmp_path, check=True)

    def fairway(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "fairway", *words]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)

    began = fairway("up", "--detach", "-o", "json")
    assert began.returncode == 0, began.stderr
    try:
        url = json.loads(began.stdout)["url"]
        assert url.startswith("https://127.0.0.1:")
        answered = httpx.get(url.replace("127.0.0.1", "localhost"), verify=trusting(PAIR))
        assert answered.status_code == 503
        assert "no_release" in answered.text
    finally:
        assert fairway("up", "--stop").returncode == 0
    files.certificate.unlink()
    refused = fairway("up", "--detach")
    assert refused.returncode == 2
    assert "fairway.yaml:4:" in refused.stderr
    assert "gateway.tls.certificate" in refused.stderr
