"""Many streams of events at once: how long until the first event, and how evenly the others come."""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.bench import Bench, Promise
from benchmarks.gateway.peers import MissingError
from benchmarks.gateway.proxies import DIRECT, ENVOY, FAIRWAY, envoy_proxy, fairway_proxy, nginx_proxy
from benchmarks.gateway.rig import LOAD_CORE, Proxy, cpu_us, end, free_port, in_words, on_core, wait_for

CHUNKS, PACE = 64, 0.02
SIZES = {300: 3, 1000: 2}
"""Streams at once, and how many follow each other on each connection."""

ROUNDS = int(os.environ.get("FAIRWAY_BENCH_STREAM_ROUNDS", "7"))
MAX_LATER_MS = 1.0

Figures = dict[str, float]


@contextlib.contextmanager
def pacer(*arguments: str) -> Iterator[int]:
    """An arm that paces, on the load's core; yields its port."""
    port = free_port()
    command = on_core(LOAD_CORE, sys.executable, "-m", "benchmarks.gateway.pacer", str(port), *arguments)
    process = subprocess.Popen(command)
    try:
        wait_for(port)
        yield port
    finally:
        end(process)


def listened(proxy: Proxy, at_once: int) -> Figures:
    """One round of streams through a proxy."""
    arguments = [proxy.port, at_once, SIZES[at_once], CHUNKS, PACE]
    before = cpu_us(proxy.pid)
    command = on_core(LOAD_CORE, sys.executable, "-m", "benchmarks.gateway.listener", *map(str, arguments))
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    figures: Figures = json.loads(done.stdout)
    cpu = cpu_us(proxy.pid) - before
    return {**figures, "cpu_s": cpu / 1e6, "cpu_us": cpu / max(1.0, figures["streams"] * CHUNKS)}


def measure() -> Bench:
    notes: list[str] = []
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        first, second = (stack.enter_context(pacer("stream", str(CHUNKS), str(PACE))) for _ in range(2))
        proxies = [Proxy(name=DIRECT, port=first, pid=os.getpid())]
        for make in (nginx_proxy, envoy_proxy, fairway_proxy):
            try:
                proxies.append(stack.enter_context(make(folder, first, second, full=True)))
            except MissingError as missing:
                notes.append(f"{ENVOY}: not measured, {missing}")
        rounds = {
            size: [{proxy.name: listened(proxy, size) for proxy in proxies} for _ in range(ROUNDS)] for size in SIZES
        }
    return report(rounds, notes)


def report(rounds: dict[int, list[dict[str, Figures]]], notes: list[str]) -> Bench:
    rows, promises = [], []
    for size, found in rounds.items():
        for name in found[0]:
            middle = {key: statistics.median(one[name][key] for one in found) for key in found[0][name]}
            rows.append(
                {
                    "at once": f"{size:,}",
                    "proxy": name,
                    "first event p50 ms": f"{middle['first_p50_ms']:.2f}",
                    "p99 ms": f"{middle['first_p99_ms']:.2f}",
                    "gap p50 ms": f"{middle['gap_p50_ms']:.2f}",
                    "gap p99 ms": f"{middle['gap_p99_ms']:.2f}",
                    "longest": f"{max(one[name]['gap_max_ms'] for one in found):.1f}",
                    "CPU us an event": "" if name == DIRECT else f"{middle['cpu_us']:.1f}",
                    "streams": f"{sum(one[name]['streams'] for one in found):.0f}",
                    "wrong or lost": f"{sum(one[name]['wrong'] + one[name]['lost'] for one in found):.0f}",
                }
            )
        later = [one[FAIRWAY]["gap_p99_ms"] - one[DIRECT]["gap_p99_ms"] for one in found]
        bad = sum(one[FAIRWAY]["wrong"] + one[FAIRWAY]["lost"] for one in found)
        promises.append(
            Promise(
                text=f"{size:,} streams at once: p99 of the gaps within {MAX_LATER_MS:.0f} ms of asking directly, none "
                "wrong or lost",
                measured=f"{in_words(later)} ms later, {bad:.0f} wrong or lost",
                kept=statistics.median(later) <= MAX_LATER_MS and not bad,
            )
        )
    return Bench(
        title=f"Streams of {CHUNKS} events, one every {PACE * 1000:.0f} ms",
        rows=rows,
        promises=promises,
        notes=["every byte of every stream is compared with what the arm sent", *notes],
    )
