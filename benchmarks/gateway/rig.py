"""What every part needs: upstreams and proxies on their cores, wrk, and what a process takes of a machine."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

import fairway
from fairway.state_dir import StateDir
from fairway.traffic.fence import Fence
from fairway.traffic.table import Arm, KeyExtractor, KeyKind, Role, RouteTable
from fairway.units import AgentName, Digest, EnvironmentName, Parts, RouteId

CONNECTIONS = 64
SECONDS = int(os.environ.get("FAIRWAY_BENCH_SECONDS", "2"))
ROUNDS = int(os.environ.get("FAIRWAY_BENCH_ROUNDS", "9"))
PROXY_CORE, LOAD_CORE = 0, 1

PYTHON = os.environ.get("FAIRWAY_BENCH_PYTHON", sys.executable)
"""What the gateway runs on: another build of the same version, say one made with ``--enable-optimizations``."""

TURNS = 5
"""Requests of one conversation: what clients do, and what the promise is about."""

BODY = json.dumps(
    {
        "id": "chatcmpl-bench",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "x" * 180}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 20, "completion_tokens": 40, "total_tokens": 60},
    }
)

_CONVERSATIONS = """
local n = 0
local seed = tostring(os.time())
local TURNS = tonumber(os.getenv("FAIRWAY_BENCH_TURNS"))
local SIZE = tonumber(os.getenv("FAIRWAY_BENCH_BODY"))
local METHOD = os.getenv("FAIRWAY_BENCH_METHOD")
local OPENAI = os.getenv("FAIRWAY_BENCH_HEADS") == "openai"
local front = table.concat({"POST /v1/chat/completions HTTP/1.1", "Host: 127.0.0.1", "Accept-Encoding: gzip, deflate",
  "Connection: keep-alive", "authorization: Bearer none", "accept: application/json", "content-type: application/json",
  "user-agent: AsyncOpenAI/Python 3.51.0", "x-stainless-lang: python", "x-stainless-package-version: 3.51.0",
  "x-stainless-os: Linux", "x-stainless-arch: x64", "x-stainless-runtime: CPython",
  "x-stainless-runtime-version: 3.11.7", "x-stainless-async: async:asyncio", "x-conversation-id: "}, "\\r\\n")
local back = "\\r\\nx-stainless-retry-count: 0\\r\\nx-stainless-read-timeout: 600\\r\\nContent-Length: "
local bodies = {}
for i = 0, 199 do
  bodies[i] = '{"messages":[{"role":"user","content":"' .. string.rep("y", SIZE > 0 and SIZE - i or 50 + i) .. '"}]}'
end
request = function()
  n = n + 1
  if METHOD == "GET" then
    return wrk.format("GET", "/answer", {["X-Conversation-Id"] = seed .. "-" .. math.floor(n / TURNS)})
  end
  local key, body = seed .. "-" .. math.floor(n / TURNS), bodies[n % 200]
  if OPENAI then
    return front .. key .. back .. #body .. "\\r\\n\\r\\n" .. body
  end
  return wrk.format("POST", "/v1/chat/completions", {["Content-Type"] = "application/json",
    ["X-Conversation-Id"] = key}, body)
end
"""

_DONE = """
done = function(summary, latency, requests)
  io.write(string.format("RESULT %d %d %d %d %d %d %d %d %d\\n", summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99), summary.errors.connect, summary.errors.read,
    summary.errors.write, summary.errors.status, summary.errors.timeout))
end
"""


LUA = _CONVERSATIONS + _DONE
"""Conversations of some turns, 200 bodies in turn."""

CHAT_LUA = (
    """
request = function()
  return wrk.format("POST", "/v1/chat/completions", {["Content-Type"] = "application/json"},
    '{"model":"m","messages":[{"role":"user","content":"' .. string.rep("y", 120) .. '"}]}')
end
"""
    + _DONE
)
"""Chat completions a proxy that reads them understands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """What is measured: where it listens, and the process that does its work."""

    name: str
    port: int
    pid: int
    folder: Path = Path()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(port: int, *, seconds: float = 10) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    raise RuntimeError(f"nothing listens on {port}")


def on_core(core: int, *command: str) -> list[str]:
    return ["taskset", "-c", str(core), *command]


def end(process: subprocess.Popen[str] | subprocess.Popen[bytes], seconds: float = 40) -> None:
    """Ask a process to end, and see that it does."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


# --- nginx -----------------------------------------------------------------------------------------------------------


def nginx_upstream(*ports: int, body: str = BODY) -> str:
    servers = "".join(
        f"server {{ listen 127.0.0.1:{port} backlog=4096; location / {{ default_type application/json;"
        f" return 200 '{body}'; }} }}"
        for port in ports
    )
    return f"access_log off; keepalive_requests 100000000; client_max_body_size 64m; {servers}"


def nginx_files(answer: Path, *ports: int) -> str:
    """Upstreams that answer every GET with one file."""
    servers = "".join(
        f"server {{ listen 127.0.0.1:{port} backlog=4096; location / {{ root {answer.parent};"
        f" try_files /{answer.name} =404; }} }}"
        for port in ports
    )
    return f"access_log off; keepalive_requests 100000000; sendfile on; {servers}"


@contextlib.contextmanager
def nginx(folder: Path, name: str, http: str, core: int) -> Iterator[int]:
    """Run nginx on a core; yields its master's process id."""
    root = folder / name
    root.mkdir()
    config = root / "nginx.conf"
    config.write_text(
        f"daemon off; worker_processes 1; pid {root}/pid; error_log {root}/error.log;\n"
        f"events {{ worker_connections 8192; }}\nhttp {{ client_body_temp_path {root}/b; proxy_temp_path {root}/p;\n"
        f"fastcgi_temp_path {root}/f; uwsgi_temp_path {root}/u; scgi_temp_path {root}/s;\n{http} }}\n"
    )
    command = on_core(core, "nginx", "-c", str(config), "-p", str(root))
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        yield process.pid
    finally:
        end(process)


# --- the gateway -----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def gateway(folder: Path, *arguments: str, workers: int = 1) -> Iterator[int]:
    """Run the gateway of the project in ``folder``; yields its port."""
    command = [PYTHON, "-m", "fairway", "gateway", "serve", "--project", str(folder), "--port", "0"]
    command += ["--workers", str(workers), "-o", "json", *arguments]
    environment = dict(os.environ)
    if sys.executable != PYTHON:
        packages = (sysconfig.get_path("purelib"), str(Path(fairway.__file__).parents[1]))
        environment["PYTHONPATH"] = os.pathsep.join(packages)
    process = subprocess.Popen(on_core(PROXY_CORE, *command), stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    try:
        said = process.stdout.readline()
        if not said:
            raise RuntimeError(f"the gateway did not start: {' '.join(command)}")
        yield int(json.loads(said)["port"])
    finally:
        end(process)


def worker_of(folder: Path) -> int:
    """Process id of the gateway's one worker."""
    return workers_of(folder)[0]


def workers_of(folder: Path) -> list[int]:
    """Process ids of the gateway's workers."""
    transport = httpx.HTTPTransport(uds=str(StateDir(folder / ".fairway").socket("gateway")))
    with httpx.Client(transport=transport) as client:
        return [int(worker["pid"]) for worker in client.get("http://gateway/v1/status").json()["workers"]]


def table(first: int, second: int) -> RouteTable:
    """Two arms, 10 % of conversations on the second."""
    stable, candidate = Digest("sha256:" + "a" * 64), Digest("sha256:" + "b" * 64)
    return RouteTable(
        route=RouteId(agent=AgentName("bench"), environment=EnvironmentName("production")),
        fence=Fence(term=1, seq=1),
        arms=(
            Arm(role=Role.STABLE, release=stable, version="1", endpoints=(f"127.0.0.1:{first}",)),
            Arm(role=Role.CANDIDATE, release=candidate, version="2", endpoints=(f"127.0.0.1:{second}",)),
        ),
        split=Parts(10_000),
        salt="bench",
        keys=(KeyExtractor(kind=KeyKind.HEADER, name="x-conversation-id"),),
    )


# --- load ------------------------------------------------------------------------------------------------------------


def wrk_command(script: Path, port: int, seconds: int, connections: int = CONNECTIONS) -> list[str]:
    url = f"http://127.0.0.1:{port}/"
    return on_core(LOAD_CORE, "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(script), url)


def wrk_environment(turns: int = TURNS, body: int = 0, method: str = "POST", heads: str = "few") -> dict[str, str]:
    """What the script is told: requests a conversation, bytes a body (0: 50 to 250), POST or GET, whose headers."""
    told = {"FAIRWAY_BENCH_TURNS": str(turns), "FAIRWAY_BENCH_BODY": str(body), "FAIRWAY_BENCH_METHOD": method}
    told["FAIRWAY_BENCH_HEADS"] = heads
    return {**os.environ, **told}


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


def wrk(
    script: Path,
    port: int,
    seconds: int,
    *,
    turns: int = TURNS,
    connections: int = CONNECTIONS,
    body: int = 0,
    method: str = "POST",
    heads: str = "few",
) -> dict[str, float]:
    """One run of wrk."""
    command = wrk_command(script, port, seconds, connections)
    environment = wrk_environment(turns, body, method, heads)
    return wrk_result(subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout)


# --- what a process takes --------------------------------------------------------------------------------------------


def cpu_us(pid: int) -> float:
    """CPU time of a process so far, all its threads, microseconds."""
    threads = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(thread.read_text().split()[0]) for thread in threads) / 1000


def child_of(pid: int) -> int:
    """Process id of nginx's one worker."""
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


def memory_mb(pid: int) -> float:
    """Proportional set size."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    pss = re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)
    return int(pss.group(1)) / 1024 if pss else float("nan")


# --- in words --------------------------------------------------------------------------------------------------------


def in_words(values: Sequence[float], digits: int = 2) -> str:
    """A figure of many rounds: median, the middle half, and the range."""
    ordered = sorted(values)
    low, middle, high = statistics.quantiles(ordered, n=4) if len(ordered) > 1 else list(ordered) * 3
    shown = [f"{value:.{digits}f}" for value in (middle, low, high, ordered[0], ordered[-1])]
    every = f"half within {shown[1]}-{shown[2]}, all within {shown[3]}-{shown[4]}"
    return f"{shown[0]} (median of {len(ordered)} interleaved rounds, {every})"
