"""Memory of a worker after load: many connections, many conversations, streams and large bodies."""

from __future__ import annotations

import contextlib
import re
import tempfile
import time
from pathlib import Path

from benchmarks.bench import Bench, Promise
from benchmarks.gateway.peers import MissingError
from benchmarks.gateway.proxies import ENVOY, FAIRWAY, envoy_proxy, fairway_proxy, nginx_proxy
from benchmarks.gateway.rig import (
    LOAD_CORE,
    LUA,
    SECONDS,
    Proxy,
    free_port,
    memory_mb,
    nginx,
    nginx_upstream,
    wait_for,
    wrk,
)

MAX_MB = 25
CONNECTIONS = 256
LARGE = 100_000
SETTLE_SECONDS = 6.0
"""Memory is looked at so long after a load: each has had the time to give back what it does not use."""


def map_mb(pid: int, name: str) -> float:
    """Of the proportional set size, what one mapped file takes."""
    text = Path(f"/proc/{pid}/smaps").read_text()
    found = re.findall(rf"^[0-9a-f]+-[0-9a-f]+ .*{re.escape(name)}\n(?:.*\n)*?Pss:\s+(\d+) kB", text, re.MULTILINE)
    return sum(int(size) for size in found) / 1024


def load(script: Path, proxy: Proxy, body: int) -> float:
    """Conversations of five turns and of one; requests made."""
    made = 0.0
    for turns in (5, 1):
        result = wrk(script, proxy.port, max(2, SECONDS), turns=turns, connections=CONNECTIONS, body=body)
        made += result["requests"]
    return made


def measure() -> Bench:
    rows, notes = [], []
    measured = float("nan")
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        script = folder / "load.lua"
        script.write_text(LUA)
        first, second = free_port(), free_port()
        stack.enter_context(nginx(folder, "upstream", nginx_upstream(first, second), LOAD_CORE))
        wait_for(first), wait_for(second)
        for make in (nginx_proxy, envoy_proxy, fairway_proxy):
            try:
                with make(folder, first, second, full=True) as proxy:
                    before = memory_mb(proxy.pid)
                    made = load(script, proxy, 0)
                    time.sleep(SETTLE_SECONDS)
                    after = memory_mb(proxy.pid)
                    kept = map_mb(proxy.pid, "conversations.map")
                    load(script, proxy, LARGE)
                    time.sleep(SETTLE_SECONDS)
                    large = memory_mb(proxy.pid)
            except MissingError as missing:
                notes.append(f"{ENVOY}: not measured, {missing}")
                continue
            rows.append(
                {
                    "proxy": proxy.name,
                    "at first MB": f"{before:.1f}",
                    "after load MB": f"{after:.1f}",
                    "requests": f"{made:,.0f}",
                    f"after bodies of {LARGE // 1000} KB, MB": f"{large:.1f}",
                }
            )
            if proxy.name == FAIRWAY:
                measured = after
                notes.append(f"of the gateway's, {kept:.1f} MB are its map of conversations, which workers share")
    return Bench(
        title=f"Memory of a worker after load, {CONNECTIONS} connections (proportional set size)",
        rows=rows,
        promises=[Promise(text=f"at most {MAX_MB} MB", measured=f"{measured:.1f} MB", kept=measured <= MAX_MB)],
        notes=notes,
    )
