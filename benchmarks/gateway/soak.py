"""Memory of workers and parent over millions of requests: conversations, streams, hang-ups, switches, all at once.

``python -m benchmarks gateway soak``; ``FAIRWAY_SOAK_REQUESTS`` (2,000,000). What grows with time or with requests
would grow here: blocks of telemetry begin every two seconds instead of every ten, tables change every few seconds,
and every conversation is a new one after five turns, so that whatever is kept for each of them is kept by the hundred
thousand. Twenty-four hours are extrapolated from it by requests: the slope of a line through the last four fifths, for
each process, in MB a million requests. An eighth of the requests comes before the first look.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvloop

from benchmarks.bench import Bench, Promise
from benchmarks.gateway.endurance import Stage, staged
from benchmarks.gateway.rig import memory_mb
from fairway.testing.checked_load import CheckedLoad, CheckedStreams

REQUESTS = int(os.environ.get("FAIRWAY_SOAK_REQUESTS", "2000000"))
SAMPLES = 100
FLAT = 0.05
SWITCH_SECONDS = 5.0
DAY = 24 * 3600
DAILY_REQUESTS = 100 * DAY
"""Of a busy agent: a hundred a second and worker, all day."""


@dataclass(slots=True)
class HangUps:
    """Clients that leave in the middle: of a stream, of their head, of their body, or without a word."""

    port: int
    done: int = 0
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._run(number)) for number in range(4)]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self, number: int) -> None:
        key = f"Host: h\r\nx-conversation-id: h-{number}"
        halves = (
            f"GET /stream/40 HTTP/1.1\r\n{key}\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\r\nx-conv",
            f"POST / HTTP/1.1\r\n{key}\r\ncontent-length: 1000\r\n\r\nhalf",
            "",
        )
        while True:
            for half in halves:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                    writer.write(half.encode())
                    await asyncio.sleep(0.05)
                    writer.transport.abort()
                except OSError:
                    await asyncio.sleep(0.05)
                self.done += 1


@dataclass(slots=True)
class Watched:
    """Memory of one process, by requests."""

    name: str
    pid: int
    at: list[int] = field(default_factory=list)
    mb: list[float] = field(default_factory=list)

    def look(self, requests: int) -> None:
        self.at.append(requests)
        self.mb.append(memory_mb(self.pid))

    def _fifth(self, number: int) -> float:
        size = max(1, len(self.mb) // 5)
        return statistics.median(self.mb[number * size : (number + 1) * size])

    @property
    def first(self) -> float:
        """Median of the first fifth, in MB."""
        return self._fifth(0)

    @property
    def last(self) -> float:
        """The same of the last fifth."""
        return self._fifth(4)

    @property
    def slope(self) -> float:
        """MB a million requests, over the last four fifths."""
        begin = len(self.mb) // 5
        return statistics.linear_regression(self.at[begin:], self.mb[begin:]).slope * 1e6


async def soak(folder: Path, requests: int) -> tuple[list[Watched], dict[str, Any]]:
    """Run it; memory by process, and what the load saw."""
    async with AsyncExitStack() as stack:
        stage = await staged(stack, folder, block_seconds=2.0)
        workers = (await stage.gateway.status())["workers"]
        watched = [Watched(name="parent", pid=stage.gateway.pid)]
        watched += [Watched(name=f"worker {number}", pid=one["pid"]) for number, one in enumerate(workers, start=1)]
        load = CheckedLoad(port=stage.gateway.port, tables=stage.tables)
        streams, leaving = CheckedStreams(port=stage.gateway.port), HangUps(port=stage.gateway.port)
        begun = time.perf_counter()
        load.start()
        streams.start()
        leaving.start()
        switching = asyncio.create_task(switch_forever(stage))
        await load.reach(requests // 8)  # what a worker keeps at most of conversations is there by then
        first = load.total
        for number in range(SAMPLES):
            await load.reach(first + (number + 1) * (requests - first) // SAMPLES)
            for one in watched:
                one.look(load.total)
        seconds = time.perf_counter() - begun
        switching.cancel()
        await asyncio.gather(switching, return_exceptions=True)
        await leaving.stop()
        await streams.stop()
        await load.stop()
        same = [one["pid"] for one in (await stage.gateway.status())["workers"]] == [one.pid for one in watched[1:]]
        assert same, "a worker was replaced"
        told = {
            "requests": load.total,
            "wrong": load.wrong,
            "streams": streams.whole,
            "broken": len(streams.wrong),
            "left": leaving.done,
            "switches": stage.switches,
            "seconds": seconds,
            "examples": load.examples[:5] + streams.wrong[:5],
        }
    return watched, told


async def switch_forever(stage: Stage) -> None:
    while True:
        await asyncio.sleep(SWITCH_SECONDS)
        await stage.switch()


def measure() -> Bench:
    make_loop = uvloop.new_event_loop
    with tempfile.TemporaryDirectory(prefix="fairway-") as name, asyncio.Runner(loop_factory=make_loop) as runner:
        watched, told = runner.run(soak(Path(name), REQUESTS))
    rows = [
        {
            "process": one.name,
            "first fifth MB": f"{one.first:.1f}",
            "last fifth MB": f"{one.last:.1f}",
            "grown": f"{one.last / one.first - 1:+.1%}",
            "MB a million requests": f"{one.slope:+.2f}",
            "after 24 h at 100 requests/s": f"{one.last + max(0.0, one.slope) * DAILY_REQUESTS / 1e6:.1f} MB",
        }
        for one in watched
    ]
    worst = max(watched, key=lambda one: one.last / one.first)
    promises = [
        Promise(
            text=f"memory of every process flat within {FLAT:.0%} between the first and the last fifth",
            measured=f"{worst.last / worst.first - 1:+.1%} ({worst.name})",
            kept=worst.last / worst.first - 1 <= FLAT,
        ),
        Promise(
            text="nothing fails meanwhile",
            measured=f"{told['wrong']} of {told['requests']:,} requests, {told['broken']} of {told['streams']} streams",
            kept=told["wrong"] == 0 and told["broken"] == 0,
        ),
    ]
    notes = [
        f"{told['requests']:,} requests in {told['seconds']:.0f} s, {told['switches']} table switches, "
        f"{told['left']:,} clients that left in the middle",
        *told["examples"],
    ]
    return Bench(title="Soak: memory over many requests", rows=rows, promises=promises, notes=notes)
