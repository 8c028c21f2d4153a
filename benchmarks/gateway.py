"""The gateway against nginx in the same run, and table switches under load.

Proxy under test on core 0 (one worker each), upstream nginx and wrk on core 1. Conversations of ten turns, 10 % of them
on the second arm. Rounds are interleaved and the ratio taken within a round, because machines are shared.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx

from benchmarks.bench import Bench, Promise
from fairway.state_dir import StateDir
from fairway.traffic.fence import Fence
from fairway.traffic.routers.gateway import GatewayRouter
from fairway.traffic.table import Arm, KeyExtractor, KeyKind, Role, RouteTable
from fairway.units import AgentName, Digest, EnvironmentName, Parts, RouteId

CONNECTIONS = 64
SECONDS = int(os.environ.get("FAIRWAY_BENCH_SECONDS", "6"))
ROUNDS = int(os.environ.get("FAIRWAY_BENCH_ROUNDS", "5"))
MIN_RATIO = 0.7
SWITCH_REQUESTS = 200_000

BODY = json.dumps(
    {
        "id": "chatcmpl-bench",
        "object": "chat.completion",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "x" * 180}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 20, "completion_tokens": 40, "total_tokens": 60},
    }
)

LUA = """
local n = 0
local seed = tostring(os.time())
request = function()
  n = n + 1
  return wrk.format("POST", "/v1/chat/completions", {["Content-Type"] = "application/json",
    ["X-Conversation-Id"] = seed .. "-" .. math.floor(n / 10)},
    '{"messages":[{"role":"user","content":"' .. string.rep("y", 150) .. '"}]}')
end
done = function(summary, latency, requests)
  io.write(string.format("RESULT %d %d %d %d %d %d %d %d %d\\n", summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99), summary.errors.connect, summary.errors.read,
    summary.errors.write, summary.errors.status, summary.errors.timeout))
end
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def nginx_upstream(first: int, second: int) -> str:
    servers = "".join(
        f"server {{ listen 127.0.0.1:{port} backlog=4096; location / {{ default_type application/json;"
        f" return 200 '{BODY}'; }} }}"
        for port in (first, second)
    )
    return f"access_log off; keepalive_requests 100000000; {servers}"


def nginx_proxy(port: int, first: int, second: int) -> str:
    return (
        "access_log off; keepalive_requests 100000000;"
        f"upstream stable {{ server 127.0.0.1:{first}; keepalive 128; keepalive_requests 100000000; }}"
        f"upstream candidate {{ server 127.0.0.1:{second}; keepalive 128; keepalive_requests 100000000; }}"
        'split_clients "$http_x_conversation_id" $arm { 10% candidate; * stable; }'
        f"server {{ listen 127.0.0.1:{port} backlog=4096; location / {{ proxy_pass http://$arm;"
        ' proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header X-Forwarded-For $remote_addr; } }'
    )


@contextlib.contextmanager
def nginx(folder: Path, name: str, http: str, core: int) -> Iterator[None]:
    root = folder / name
    root.mkdir()
    config = root / "nginx.conf"
    config.write_text(
        f"daemon off; worker_processes 1; pid {root}/pid; error_log {root}/error.log;\n"
        f"events {{ worker_connections 4096; }}\nhttp {{ client_body_temp_path {root}/b; proxy_temp_path {root}/p;\n"
        f"fastcgi_temp_path {root}/f; uwsgi_temp_path {root}/u; scgi_temp_path {root}/s;\n{http} }}\n"
    )
    command = ["taskset", "-c", str(core), "nginx", "-c", str(config), "-p", str(root)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(10)


@contextlib.contextmanager
def gateway(folder: Path, *arguments: str, workers: int = 1) -> Iterator[int]:
    process = subprocess.Popen(
        [
            "taskset",
            "-c",
            "0",
            sys.executable,
            "-m",
            "fairway",
            "gateway",
            "serve",
            "--project",
            str(folder),
            "--port",
            "0",
            "--workers",
            str(workers),
            "-o",
            "json",
            *arguments,
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield int(json.loads(process.stdout.readline())["port"])
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(40)


def wait_for(port: int) -> None:
    for _ in range(200):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    raise RuntimeError(f"nothing listens on {port}")


def wrk_command(script: Path, port: int, seconds: int) -> list[str]:
    url = f"http://127.0.0.1:{port}/"
    return ["taskset", "-c", "1", "wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-s", str(script), url]


def wrk_result(text: str) -> dict[str, float]:
    found = re.search(r"RESULT ([\d ]+)", text)
    assert found, text
    figures = [int(word) for word in found.group(1).split()]
    return {
        "requests": figures[0],
        "per_second": figures[0] / figures[1] * 1e6,
        "p50_ms": figures[2] / 1000,
        "p99_ms": figures[3] / 1000,
        "failed": sum(figures[4:9]),
    }


def wrk(script: Path, port: int, seconds: int) -> dict[str, float]:
    done = subprocess.run(wrk_command(script, port, seconds), capture_output=True, text=True, check=True)
    return wrk_result(done.stdout)


def table(first: int, second: int) -> RouteTable:
    return RouteTable(
        route=RouteId(agent=AgentName("bench"), environment=EnvironmentName("production")),
        fence=Fence(term=1, seq=1),
        arms=(
            Arm(role=Role.STABLE, release=Digest("sha256:" + "a" * 64), version="1", endpoints=(f"127.0.0.1:{first}",)),
            Arm(
                role=Role.CANDIDATE,
                release=Digest("sha256:" + "b" * 64),
                version="2",
                endpoints=(f"127.0.0.1:{second}",),
            ),
        ),
        split=Parts(10_000),
        salt="bench",
        keys=(KeyExtractor(kind=KeyKind.HEADER, name="x-conversation-id"),),
    )


async def switch_under_load(folder: Path, script: Path, first: int, second: int) -> dict[str, float]:
    """Ten switches between 0 and 100 % while wrk runs, through the controller's own router."""
    state = StateDir(folder / ".fairway")
    router = GatewayRouter(state.socket("controller"))
    await router.start()
    current = replace(table(first, second), split=Parts(0))
    await router.apply(current)
    total = {"requests": 0.0, "failed": 0.0, "switches": 0.0, "slowest_confirm_ms": 0.0}
    with gateway(folder) as port:
        while (await router.observe(current.route)).confirmed != current.fence:
            await asyncio.sleep(0.01)
        while total["requests"] < SWITCH_REQUESTS:
            load = await asyncio.create_subprocess_exec(*wrk_command(script, port, 12), stdout=asyncio.subprocess.PIPE)
            for _ in range(10):
                await asyncio.sleep(1.0)
                fence = Fence(term=1, seq=current.fence.seq + 1)
                current = replace(current, fence=fence, split=Parts(100_000 - current.split))
                begun = time.perf_counter()
                await router.apply(current)
                while (await router.observe(current.route)).confirmed != fence:
                    await asyncio.sleep(0.001)
                total["slowest_confirm_ms"] = max(total["slowest_confirm_ms"], (time.perf_counter() - begun) * 1000)
                total["switches"] += 1
            assert load.stdout is not None
            found = wrk_result((await load.stdout.read()).decode())
            await load.wait()
            total["requests"] += found["requests"]
            total["failed"] += found["failed"]
    await router.close()
    return total


def memory_mb(port_folder: Path) -> float:
    transport = httpx.HTTPTransport(uds=str(StateDir(port_folder / ".fairway").socket("gateway")))
    with httpx.Client(transport=transport) as client:
        pid = client.get("http://gateway/v1/status").json()["workers"][0]["pid"]
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    pss = re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)
    return int(pss.group(1)) / 1024 if pss else float("nan")


def run() -> Bench:
    title = "Gateway pass-through on one core, against nginx"
    missing = [name for name in ("nginx", "wrk", "taskset") if shutil.which(name) is None]
    if missing or (os.cpu_count() or 1) < 2:
        why = f"{', '.join(missing)} not installed" if missing else "needs two cores"
        return Bench(title=title, skipped=why)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        script = folder / "load.lua"
        script.write_text(LUA)
        first, second, proxy = free_port(), free_port(), free_port()
        (folder / "table.json").write_text(json.dumps(table(first, second).to_wire()))
        (folder / "pass").mkdir()
        (folder / "switch").mkdir()
        with nginx(folder, "upstream", nginx_upstream(first, second), 1):
            with (
                nginx(folder, "proxy", nginx_proxy(proxy, first, second), 0),
                gateway(folder / "pass", "--table", str(folder / "table.json")) as port,
            ):
                for listening in (first, second, proxy, port):
                    wait_for(listening)
                wrk(script, port, 2), wrk(script, proxy, 2)
                rounds = [(wrk(script, proxy, SECONDS), wrk(script, port, SECONDS)) for _ in range(ROUNDS)]
                memory = memory_mb(folder / "pass")
            switched = asyncio.run(switch_under_load(folder / "switch", script, first, second))
    return report(title, rounds, memory, switched)


def report(
    title: str, rounds: list[tuple[dict[str, float], dict[str, float]]], memory: float, switched: dict[str, float]
) -> Bench:
    def row(name: str, results: list[dict[str, float]]) -> dict[str, object]:
        middle = {key: statistics.median(result[key] for result in results) for key in results[0]}
        return {
            "proxy": name,
            "requests/s": f"{middle['per_second']:,.0f}",
            "p50 ms": f"{middle['p50_ms']:.2f}",
            "p99 ms": f"{middle['p99_ms']:.2f}",
            "failed": int(sum(result["failed"] for result in results)),
        }

    ratios = sorted(ours["per_second"] / theirs["per_second"] for theirs, ours in rounds)
    ratio = statistics.median(ratios)
    return Bench(
        title=title,
        rows=[
            row("nginx split_clients", [theirs for theirs, _ in rounds]),
            row("fairway gateway", [ours for _, ours in rounds]),
        ],
        promises=[
            Promise(
                text=f"at least {MIN_RATIO} of nginx's requests a second on one core",
                measured=f"{ratio:.2f} (median of {len(ratios)} interleaved rounds, {ratios[0]:.2f}-{ratios[-1]:.2f})",
                kept=ratio >= MIN_RATIO,
            ),
            Promise(
                text=f"no failed request of at least {SWITCH_REQUESTS:,} over 10 table switches",
                measured=f"{switched['failed']:.0f} of {switched['requests']:,.0f} over {switched['switches']:.0f} "
                f"switches, slowest confirmed after {switched['slowest_confirm_ms']:.0f} ms",
                kept=switched["failed"] == 0 and switched["switches"] >= 10,
            ),
        ],
        notes=[f"memory of the worker after the load: {memory:.0f} MB (proportional set size)"],
    )
