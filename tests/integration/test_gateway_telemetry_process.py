"""A gateway as a process: its access log over rotation and a killed worker, its metrics asked for and pushed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as prometheus

from fairway.cli.gateway.log_path import access_log_path
from fairway.errors import UserError
from fairway.testing.scripted_arm import ScriptedArm, always, answer
from fairway.traffic.fence import Fence
from fairway.traffic.table import Arm, KeyExtractor, KeyKind, Role, RouteTable
from fairway.units import AgentName, Digest, EnvironmentName, RouteId


def table(endpoint: str) -> RouteTable:
    return RouteTable(
        route=RouteId(agent=AgentName("support"), environment=EnvironmentName("production")),
        fence=Fence(term=1, seq=1),
        arms=(Arm(role=Role.STABLE, release=Digest("sha256:" + "a" * 64), version="1.0.0", endpoints=(endpoint,)),),
        keys=(KeyExtractor(kind=KeyKind.HEADER, name="x-conversation-id"),),
        block_seconds=1.0,
    )


class Served:
    """``fairway gateway serve`` with a table from a file."""

    def __init__(self, process: asyncio.subprocess.Process, port: int, admin: int) -> None:
        self.process = process
        self.url = f"http://127.0.0.1:{port}"
        self.admin = f"http://127.0.0.1:{admin}"


@contextlib.asynccontextmanager
async def served(folder: Path, endpoint: str, *options: str, **environment: str) -> AsyncIterator[Served]:
    (folder / "table.json").write_text(json.dumps(table(endpoint).to_wire()))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "fairway", "gateway", "serve", "--project", str(folder), "-o", "json", "--port", "0",
        "--admin-port", "0", "--table", str(folder / "table.json"), *options,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL, env={**os.environ, **environment},
    )  # fmt: skip
    assert process.stdout is not None
    try:
        async with asyncio.timeout(30):
            said = json.loads(await process.stdout.readline())
        yield Served(process, said["port"], said["admin_port"])
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(30):
            assert await process.wait() == 0


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(15):
        while not true():
            await asyncio.sleep(0.02)


async def ask(client: httpx.AsyncClient, url: str, first: int, count: int) -> None:
    for number in range(first, first + count):
        reply = await client.get(f"{url}/ask/{number}?secret", headers={"x-conversation-id": f"c-{number % 7}"})
        assert reply.status_code == 200


def paths(*logs: Path) -> list[str]:
    return sorted(
        (json.loads(line)["path"] for log in logs if log.exists() for line in log.read_bytes().splitlines()),
        key=lambda path: int(path.rpartition("/")[2]),
    )


async def test_each_request_has_its_line_over_rotation_and_the_end_of_a_worker_and_of_all(tmp_path: Path) -> None:
    log, old = tmp_path / "access.log", tmp_path / "access.log.1"
    async with (
        ScriptedArm(always(answer())) as arm,
        served(tmp_path, arm.endpoint, "--workers", "2", "--access-log", str(log)) as gateway,
    ):
        async with httpx.AsyncClient() as client:
            await ask(client, gateway.url, 0, 40)
            await until(lambda: len(paths(log)) == 40)
            log.rename(old)
            gateway.process.send_signal(signal.SIGUSR1)
            status = (await client.get(f"{gateway.admin}/v1/status")).json()
        psutil.Process(status["workers"][0]["pid"]).kill()
        async with httpx.AsyncClient() as client:
            await ask(client, gateway.url, 40, 40)
    assert paths(old, log) == [f"/ask/{number}" for number in range(80)], "the end writes what was noted last"
    assert paths(log), "the file was opened anew"


async def test_lines_may_go_to_standard_output(tmp_path: Path) -> None:
    async with ScriptedArm(always(answer())) as arm:
        options = ("--workers", "2", "--access-log", "-")
        async with served(tmp_path, arm.endpoint, *options) as gateway, httpx.AsyncClient() as client:
            await ask(client, gateway.url, 0, 20)
            assert gateway.process.stdout is not None
            async with asyncio.timeout(10):
                lines = [json.loads(await gateway.process.stdout.readline()) for _ in range(20)]
    assert sorted(int(line["path"].rpartition("/")[2]) for line in lines) == list(range(20))


@pytest.mark.parametrize("there", [True, False])
def test_a_log_that_cannot_be_written_is_said_before_anything_is_served(tmp_path: Path, there: bool) -> None:
    folder = tmp_path / ("there" if there else "missing")
    (tmp_path / "there").mkdir()
    if there:
        assert access_log_path(str(folder / "log")) == str(folder / "log")
        return
    with pytest.raises(UserError, match="cannot be written"):
        access_log_path(str(folder / "log"))


async def test_metrics_are_asked_for_in_either_form_and_pushed(tmp_path: Path) -> None:
    pushed: list[Any] = []

    async def collect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
                pushed.append(json.loads(await reader.readexactly(length)))
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
        writer.close()

    collector = await asyncio.start_server(collect, "127.0.0.1", 0)
    port = collector.sockets[0].getsockname()[1]
    settings = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}", "OTEL_METRIC_EXPORT_INTERVAL": "300",
        "OTEL_SERVICE_NAME": "front",
    }  # fmt: skip
    async with ScriptedArm(always(answer(outcome="status=ok, tokens_in=3, tokens_out=4"))) as arm:
        async with served(tmp_path, arm.endpoint, **settings) as gateway, httpx.AsyncClient() as client:
            await ask(client, gateway.url, 0, 30)
            url = f"{gateway.admin}/metrics"
            await until(lambda: 'outcome="ok"} 30' in httpx.get(url).text)
            plain = await client.get(url)
            form = await client.get(url, headers={"accept": "application/openmetrics-text; version=1.0.0"})
        assert plain.headers["content-type"].startswith("text/plain; version=0.0.4")
        assert form.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
        names = {family.name for family in prometheus(plain.text)}
        assert names == {family.name for family in openmetrics(form.text)}
        assert {"fairway_gateway_tokens", "fairway_gateway_start_time_seconds", "fairway_gateway_otlp_pushes"} <= names
    collector.close()
    (found,) = pushed[-1]["resourceMetrics"]
    who = {attribute["key"]: attribute["value"]["stringValue"] for attribute in found["resource"]["attributes"]}
    assert (who["service.name"], who["fairway.agent"]) == ("front", "support")
    metrics = {metric["name"]: metric for metric in found["scopeMetrics"][0]["metrics"]}
    points = metrics["fairway.gateway.requests"]["sum"]["dataPoints"]
    assert {point["asInt"] for point in points} == {"30", "0"}, "the last push has every request"
