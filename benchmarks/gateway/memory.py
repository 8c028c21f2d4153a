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
    workers_of,
    wrk,
)

MAX_MB = 25
CONNECTIONS = 256
LARGE = 100_000
SETTLE_SECONDS = 6.0
"""Memory is looked at so long after a load: each has had the time to give back what it does not use."""


WORKERS = 2
"""Of a gateway by default."""


def by_default(folder: Path, first: int, second: int, *, full: bool) -> contextlib.AbstractContextManager[Proxy]:
    """The gateway with as many workers as it has by default, all on one core."""
    return fairway_proxy(folder, first, second, full=full, workers=WORKERS)


def mean_mb(pids: list[int]) -> float:
    """Proportional set size, the mean of some processes."""
    return sum(map(memory_mb, pids)) / len(pids)


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
        for make in (nginx_proxy, envoy_proxy, fairway_proxy, by_default):
            try:
                with make(folder, first, second, full=True) as proxy:
                    pids = workers_of(proxy.folder) if proxy.name == FAIRWAY else [proxy.pid]
                    before = mean_mb(pids)
                    made = load(script, proxy, 0)
                    time.sleep(SETTLE_SECONDS)
                    after = mean_mb(pids)
                    kept = map_mb(pids[0], "conversations.map")
                    load(script, proxy, LARGE)
                    time.sleep(SETTLE_SECONDS)
                    large = mean_mb(pids)
            except MissingError as missing:
                notes.append(f"{ENVOY}: not measured, {missing}")
                continue
            rows.append(
                {
                    "proxy": f"{proxy.name}, {WORKERS} workers, each" if len(pids) > 1 else proxy.name,
                    "at first MB": f"{before:.1f}",
                    "after load MB": f"{after:.1f}",
                    "requests": f"{made:,.0f}",
                    f"after bodies of {LARGE // 1000} KB, MB": f"{large:.1f}",
                }
            )
            if len(pids) > 1:
                measured = after
                notes.append(
                    f"of each of the {WORKERS} workers', {kept:.1f} MB are its share of the map of conversations, one "
                    "for all of them; a page that several processes share is counted once among them"
                )
    return Bench(
        title=f"Memory of a worker after load, {CONNECTIONS} connections (proportional set size)",
        rows=rows,
        promises=[
            Promise(
                text=f"at most {MAX_MB} MB a worker of the {WORKERS} a gateway has by default",
                measured=f"{measured:.1f} MB",
                kept=measured <= MAX_MB,
            )
        ],
        notes=notes,
    )
