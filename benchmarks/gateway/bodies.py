"""Large bodies: prompts of 100 KB, and answers of 100 KB, 32 connections."""

from __future__ import annotations

import contextlib
import statistics
import tempfile
from functools import partial
from pathlib import Path

from benchmarks.bench import Bench, Promise
from benchmarks.gateway.peers import MissingError
from benchmarks.gateway.proxies import DIRECT, ENVOY, FAIRWAY, NGINX, envoy_proxy, fairway_proxy, nginx_proxy
from benchmarks.gateway.rig import (
    LOAD_CORE,
    LUA,
    ROUNDS,
    SECONDS,
    Proxy,
    cpu_us,
    free_port,
    in_words,
    nginx,
    nginx_files,
    nginx_upstream,
    wait_for,
    wrk,
)

SIZE = 100_000
CONNECTIONS = 32
MIN_OF_NGINX = 0.8
PROMPTS, ANSWERS = "prompts", "answers"

Figures = dict[str, float]


def measured(script: Path, proxy: Proxy, kind: str) -> Figures:
    before = cpu_us(proxy.pid)
    method = "POST" if kind == PROMPTS else "GET"
    result = wrk(script, proxy.port, SECONDS, connections=CONNECTIONS, body=SIZE, method=method)
    return {**result, "cpu_us": (cpu_us(proxy.pid) - before) / max(1, result["requests"])}


def measure() -> Bench:
    notes: list[str] = []
    rounds: dict[str, list[dict[str, Figures]]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        script = folder / "load.lua"
        script.write_text(LUA)
        folder.chmod(0o755)  # nginx reads it as another user
        (folder / "answer").write_text("z" * SIZE)
        for kind in (PROMPTS, ANSWERS):
            with contextlib.ExitStack() as stack:
                first, second = free_port(), free_port()
                small = nginx_upstream(first, second)
                http = small if kind == PROMPTS else nginx_files(folder / "answer", first, second)
                up = stack.enter_context(nginx(folder, f"upstream-{kind}", http, LOAD_CORE))
                wait_for(first), wait_for(second)
                proxies = [Proxy(name=DIRECT, port=first, pid=up)]
                for make in (partial(nginx_proxy, large=True), envoy_proxy, fairway_proxy):
                    try:
                        proxies.append(stack.enter_context(make(folder, first, second, full=True)))
                    except MissingError as missing:
                        notes.append(f"{ENVOY}: not measured, {missing}")
                for proxy in proxies:
                    measured(script, proxy, kind)
                rounds[kind] = [
                    {proxy.name: measured(script, proxy, kind) for proxy in proxies} for _ in range(max(3, ROUNDS // 2))
                ]
    return report(rounds, notes)


def report(rounds: dict[str, list[dict[str, Figures]]], notes: list[str]) -> Bench:
    rows, promises = [], []
    for kind, found in rounds.items():
        for name in found[0]:
            middle = {key: statistics.median(one[name][key] for one in found) for key in found[0][name]}
            rows.append(
                {
                    f"{SIZE // 1000} KB": kind,
                    "proxy": name,
                    "requests/s": f"{middle['per_second']:,.0f}",
                    "CPU us/request": "" if name == DIRECT else f"{middle['cpu_us']:.0f}",
                    "p50 ms": f"{middle['p50_ms']:.2f}",
                    "p99 ms": f"{middle['p99_ms']:.2f}",
                    "failed": int(sum(one[name]["failed"] for one in found)),
                }
            )
        ratios = [one[FAIRWAY]["per_second"] / one[NGINX]["per_second"] for one in found]
        failed = sum(one[FAIRWAY]["failed"] for one in found)
        promises.append(
            Promise(
                text=f"{kind} of {SIZE // 1000} KB: at least {MIN_OF_NGINX} of nginx's requests a second, none failed",
                measured=f"{in_words(ratios)}, {failed:.0f} failed",
                kept=statistics.median(ratios) >= MIN_OF_NGINX and not failed,
            )
        )
    return Bench(
        title=f"Bodies of {SIZE // 1000} KB, {CONNECTIONS} connections",
        rows=rows,
        promises=promises,
        notes=["nginx passes bodies on as they come (no buffering), in buffers of 64 KB", *notes],
    )
