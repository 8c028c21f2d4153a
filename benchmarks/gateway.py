"""The gateway against nginx in the same run, and table switches under load.

Proxy under test on core 0 (one worker each), upstream nginx and wrk on core 1. Conversations of five turns, 10 % of
them on the second arm: what clients do, and what the promise is about. Beside it the worst case, every request a new
conversation. Many short rounds, the two in turn, and the ratio taken within a round, because machines are shared. The
CPU time a request takes of the proxy's process depends less on who else has the machine.
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
from dataclasses import dataclass, replace
from pathlib import Path

import httpx

from benchmarks.bench import Bench, Promise
from fairway.state_dir import StateDir
from fairway.traffic.fence import Fence
from fairway.traffic.routers.gateway import GatewayRouter
from fairway.traffic.table import Arm, KeyExtractor, KeyKind, Role, RouteTable
from fairway.units import AgentName, Digest, EnvironmentName, Parts, RouteId

CONNECTIONS = 64
SECONDS = int(os.environ.get("FAIRWAY_BENCH_SECONDS", "2"))
ROUNDS = int(os.environ.get("FAIRWAY_BENCH_ROUNDS", "15"))
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

TURNS = 5
"""Requests of one conversation."""

LUA = """
local n = 0
local seed = tostring(os.time())
local TURNS = tonumber(os.getenv("FAIRWAY_BENCH_TURNS"))
local bodies = {}
for i = 0, 199 do bodies[i] = '{"messages":[{"role":"user","content":"' .. string.rep("y", 50 + i) .. '"}]}' end
request = function()
  n = n + 1
  return wrk.format("POST", "/v1/chat/completions", {["Content-Type"] = "application/json",
    ["X-Conversation-Id"] = seed .. "-" .. math.floor(n / TURNS)},
    bodies[n % 200])
end
done = function(summary, latency, requests)
  io.write(string.format("RESULT %d %d %d %d %d %d %d %d %d\\n", summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99), summary.errors.connect, summary.errors.read,
    summary.errors.write, summary.errors.status, summary.errors.timeout))
end
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """What is measured: where it listens, and the process that does its work."""

    port: int
    pid: int


Round = dict[int, tuple[dict[str, float], dict[str, float]]]
"""By turns of a conversation: what nginx did, and the gateway."""


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
def nginx(folder: Path, name: str, http: str, core: int) -> Iterator[int]:
    """Run nginx on a core; yields its master's process id."""
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
        yield process.pid
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


def wrk(script: Path, port: int, seconds: int, *, turns: int = TURNS) -> dict[str, float]:
    environment = {**os.environ, "FAIRWAY_BENCH_TURNS": str(turns)}
    command = wrk_command(script, port, seconds)
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return wrk_result(done.stdout)


def cpu_us(pid: int) -> float:
    """CPU time of a process so far, microseconds."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1000


def measured(script: Path, proxy: Proxy, turns: int) -> dict[str, float]:
    """One run, with the CPU time of the proxy's process a request took."""
    before = cpu_us(proxy.pid)
    result = wrk(script, proxy.port, SECONDS, turns=turns)
    return {**result, "cpu_us": (cpu_us(proxy.pid) - before) / result["requests"]}


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
            load = await asyncio.create_subprocess_exec(
                *wrk_command(script, port, 12),
                stdout=asyncio.subprocess.PIPE,
                env={**os.environ, "FAIRWAY_BENCH_TURNS": str(TURNS)},
            )
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


def worker_of(folder: Path) -> int:
    """Process id of the gateway's one worker."""
    transport = httpx.HTTPTransport(uds=str(StateDir(folder / ".fairway").socket("gateway")))
    with httpx.Client(transport=transport) as client:
        return int(client.get("http://gateway/v1/status").json()["workers"][0]["pid"])


def child_of(pid: int) -> int:
    """Process id of nginx's one worker."""
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


def memory_mb(pid: int) -> float:
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
                nginx(folder, "proxy", nginx_proxy(proxy, first, second), 0) as master,
                gateway(folder / "pass", "--table", str(folder / "table.json")) as port,
            ):
                for listening in (first, second, proxy, port):
                    wait_for(listening)
                wrk(script, port, 2), wrk(script, proxy, 2)
                theirs = Proxy(port=proxy, pid=child_of(master))
                ours = Proxy(port=port, pid=worker_of(folder / "pass"))
                rounds: list[Round] = [
                    {turns: (measured(script, theirs, turns), measured(script, ours, turns)) for turns in (TURNS, 1)}
                    for _ in range(ROUNDS)
                ]
                memory = memory_mb(ours.pid)
            switched = asyncio.run(switch_under_load(folder / "switch", script, first, second))
    return report(title, rounds, memory, switched)


def ratios(rounds: list[Round], turns: int, figure: str) -> list[float]:
    """The gateway's figure by nginx's, round by round, sorted."""
    return sorted(ours[figure] / theirs[figure] for theirs, ours in (found[turns] for found in rounds))


def in_words(values: list[float]) -> str:
    low, middle, high = statistics.quantiles(values, n=4) if len(values) > 1 else values * 3
    every = f"half within {low:.2f}-{high:.2f}, all within {values[0]:.2f}-{values[-1]:.2f}"
    return f"{middle:.2f} (median of {len(values)} interleaved rounds, {every})"


def report(title: str, rounds: list[Round], memory: float, switched: dict[str, float]) -> Bench:
    def row(name: str, turns: int, results: list[dict[str, float]]) -> dict[str, object]:
        middle = {key: statistics.median(result[key] for result in results) for key in results[0]}
        return {
            "proxy": name,
            "conversations": f"{turns} requests" if turns > 1 else "1 request",
            "CPU us/request": f"{middle['cpu_us']:.1f}",
            "requests/s": f"{middle['per_second']:,.0f}",
            "p50 ms": f"{middle['p50_ms']:.2f}",
            "p99 ms": f"{middle['p99_ms']:.2f}",
            "failed": int(sum(result["failed"] for result in results)),
        }

    usual = ratios(rounds, TURNS, "per_second")
    return Bench(
        title=title,
        rows=[
            row(name, turns, [found[turns][which] for found in rounds])
            for turns in (TURNS, 1)
            for which, name in enumerate(("nginx split_clients", "fairway gateway"))
        ],
        promises=[
            Promise(
                text=f"at least {MIN_RATIO} of nginx's requests a second on one core",
                measured=in_words(usual),
                kept=statistics.median(usual) >= MIN_RATIO,
            ),
            Promise(
                text=f"no failed request of at least {SWITCH_REQUESTS:,} over 10 table switches",
                measured=f"{switched['failed']:.0f} of {switched['requests']:,.0f} over {switched['switches']:.0f} "
                f"switches, slowest confirmed after {switched['slowest_confirm_ms']:.0f} ms",
                kept=switched["failed"] == 0 and switched["switches"] >= 10,
            ),
        ],
        notes=[
            f"of nginx's requests a second when every request is a new conversation: "
            f"{in_words(ratios(rounds, 1, 'per_second'))}",
            f"CPU time of a request, as a multiple of nginx's: {in_words(ratios(rounds, TURNS, 'cpu_us'))}; "
            f"every request a new conversation: {in_words(ratios(rounds, 1, 'cpu_us'))}",
            f"memory of the worker after the load: {memory:.0f} MB (proportional set size)",
        ],
    )
