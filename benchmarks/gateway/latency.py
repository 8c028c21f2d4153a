"""What a proxy adds to a request when there is one connection: the median, over that of asking the arm directly."""

from __future__ import annotations

import contextlib
import statistics
import tempfile
from pathlib import Path

from benchmarks.bench import Bench, Promise
from benchmarks.gateway.peers import MissingError
from benchmarks.gateway.proxies import DIRECT, ENVOY, FAIRWAY, envoy_proxy, fairway_proxy, nginx_proxy
from benchmarks.gateway.rig import (
    LOAD_CORE,
    LUA,
    PROXY_CORE,
    ROUNDS,
    SECONDS,
    Proxy,
    free_port,
    in_words,
    nginx,
    nginx_upstream,
    wait_for,
    wrk,
)

MAX_ADDED_MS = 0.1


def measure() -> Bench:
    notes = ["direct: the arm on the other core, one hop between cores as every proxy has at least"]
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        script = folder / "load.lua"
        script.write_text(LUA)
        first, second, across = free_port(), free_port(), free_port()
        stack.enter_context(nginx(folder, "upstream", nginx_upstream(first, second), LOAD_CORE))
        far = stack.enter_context(nginx(folder, "across", nginx_upstream(across), PROXY_CORE))
        for port in (first, second, across):
            wait_for(port)
        proxies = [Proxy(name=DIRECT, port=across, pid=far)]
        for make in (nginx_proxy, envoy_proxy, fairway_proxy):
            try:
                proxies.append(stack.enter_context(make(folder, first, second, full=True)))
            except MissingError as missing:
                notes.append(f"{ENVOY}: not measured, {missing}")
        for proxy in proxies:
            wrk(script, proxy.port, 1, connections=1)
        rounds = [
            {proxy.name: wrk(script, proxy.port, SECONDS, connections=1) for proxy in proxies} for _ in range(ROUNDS)
        ]
    return report(rounds, notes)


def report(rounds: list[dict[str, dict[str, float]]], notes: list[str]) -> Bench:
    rows = []
    added: dict[str, list[float]] = {}
    for name in rounds[0]:
        added[name] = [found[name]["p50_ms"] - found[DIRECT]["p50_ms"] for found in rounds]
        rows.append(
            {
                "proxy": name,
                "p50 ms": f"{statistics.median(found[name]['p50_ms'] for found in rounds):.3f}",
                "p99 ms": f"{statistics.median(found[name]['p99_ms'] for found in rounds):.3f}",
                "added to p50, ms": "" if name == DIRECT else f"{statistics.median(added[name]):.3f}",
                "failed": int(sum(found[name]["failed"] for found in rounds)),
            }
        )
    ours = added[FAIRWAY]
    return Bench(
        title="One connection",
        rows=rows,
        promises=[
            Promise(
                text=f"at most {MAX_ADDED_MS} ms added to the median",
                measured=f"{in_words(ours, 3)} ms",
                kept=statistics.median(ours) <= MAX_ADDED_MS,
            )
        ],
        notes=notes,
    )
