"""Switches, restarts and kills under checked load: nothing fails, nothing is misrouted, streams complete.

``python -m benchmarks gateway endurance``; ``FAIRWAY_ENDURANCE_REQUESTS`` (500,000) for each of the three parts. The
gateway, its controller and the load share the machine as they come.
"""

from __future__ import annotations

import asyncio
import os
import random
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvloop

from benchmarks.bench import Bench, Promise
from fairway.testing.checked_load import CheckedLoad, CheckedStreams, TablesInForce
from fairway.testing.echo_arm import EchoArm
from fairway.testing.gateway_process import GatewayProcess, until
from fairway.traffic.fence import Fence
from fairway.traffic.routers.gateway import GatewayRouter
from fairway.traffic.table import Arm, KeyExtractor, KeyKind, Role, RouteTable, Timeouts
from fairway.units import AgentName, Digest, EnvironmentName, Parts, RouteId

REQUESTS = int(os.environ.get("FAIRWAY_ENDURANCE_REQUESTS", "500000"))
SWITCHES, RESTARTS, KILLS = 20, 30, 20
ROUTE = RouteId(agent=AgentName("endurance"), environment=EnvironmentName("production"))
RELEASES = {"blue": Digest("sha256:" + "b" * 64), "green": Digest("sha256:" + "9" * 64)}

SPLITS = (10_000, 50_000, 100_000)
"""Through which a colour grows before it becomes stable."""


@dataclass(slots=True)
class Stage:
    """A gateway, two arms of two instances each, and who publishes tables."""

    gateway: GatewayProcess
    router: GatewayRouter
    arms: dict[str, list[EchoArm]]
    tables: TablesInForce = field(default_factory=TablesInForce)
    block_seconds: float = 5.0
    rest: float = 0.0
    switches: int = 0
    _seq: int = 0
    _rollout: int = 0
    _split: int = 0
    _stable: str = "blue"

    def table(self) -> RouteTable:
        """As it is meant now: both colours are there, so conversations stay where they began."""
        self._seq += 1
        stable, other = self._stable, "green" if self._stable == "blue" else "blue"
        role = Role.CANDIDATE if self._split else Role.BASELINE
        arms = [
            Arm(
                role=as_role, release=RELEASES[name], version=name, endpoints=tuple(a.endpoint for a in self.arms[name])
            )
            for as_role, name in ((Role.STABLE, stable), (role, other))
        ]
        return RouteTable(
            route=ROUTE,
            fence=Fence(term=1, seq=self._seq),
            arms=tuple(arms),
            split=Parts(self._split),
            salt=f"rollout-{self._rollout}",
            keys=(KeyExtractor(kind=KeyKind.HEADER, name="x-conversation-id"),),
            timeouts=Timeouts(total=60.0),
            block_seconds=self.block_seconds,
        )

    async def publish(self) -> None:
        """Publish the table, and wait until every worker serves it."""
        table = self.table()
        self.tables.publish(table)
        await self.router.apply(table)

        async def in_force() -> bool:
            return (await self.router.observe(ROUTE)).confirmed == table.fence

        await until(in_force, 60)
        self.tables.confirmed()

    async def switch(self) -> None:
        """The next one: a larger share of the other colour, at last the other colour itself."""
        larger = [split for split in SPLITS if split > self._split]
        if larger:
            self._split = larger[0]
        else:
            self._split, self._rollout = 0, self._rollout + 1
            self._stable = "green" if self._stable == "blue" else "blue"
        self.switches += 1
        await self.publish()


async def staged(
    stack: AsyncExitStack, folder: Path, *, workers: int = 2, block_seconds: float = 5.0, rest: float = 0.0
) -> Stage:
    """Everything started, and ended with ``stack``."""
    arms = {name: [EchoArm(name, folder / "arms.log") for _ in range(2)] for name in RELEASES}
    for arm in (arm for instances in arms.values() for arm in instances):
        stack.push_async_callback(arm.kill)
        await arm.start()
    gateway = GatewayProcess(folder)
    router = GatewayRouter(gateway.state.socket("controller"))
    await router.start()
    stack.push_async_callback(router.close)
    stage = Stage(gateway=gateway, router=router, arms=arms, block_seconds=block_seconds, rest=rest)
    stack.push_async_callback(gateway.stop)
    await gateway.start("--workers", str(workers), "--drain", "30")
    await stage.publish()
    return stage


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one part."""

    title: str
    requests: int
    rate: float
    wrong: int
    stale: int
    streams: int
    broken: int
    what: dict[str, int]
    examples: list[str]


async def endure(
    stage: Stage, title: str, events: list[Callable[[], Awaitable[None]]], requests: int, *, streams: bool, posts: bool
) -> Outcome:
    """Load until so many requests are checked and every event has happened, spread evenly over them."""
    load = CheckedLoad(port=stage.gateway.port, tables=stage.tables, posts=posts, rest=stage.rest)
    flowing = CheckedStreams(port=stage.gateway.port, at_once=8 if streams else 0)
    begun = time.perf_counter()
    load.start()
    flowing.start()
    for number, event in enumerate(events, start=1):
        await load.reach(number * requests // (len(events) + 1))
        await event()
    await load.reach(requests)
    await flowing.stop()
    await load.stop()
    seconds = time.perf_counter() - begun
    return Outcome(
        title=title,
        requests=load.total,
        rate=load.total / seconds,
        wrong=load.wrong,
        stale=load.stale,
        streams=flowing.whole,
        broken=len(flowing.wrong),
        what={name: count for name, count in load.seen.items() if name != "ok"},
        examples=load.examples + flowing.wrong[:5],
    )


def restarts(stage: Stage, count: int) -> list[Callable[[], Awaitable[None]]]:
    """Of the workers and of the gateway, in turn."""

    def one(what: str) -> Callable[[], Awaitable[None]]:
        return lambda: stage.gateway.restart(what, within=120)

    return [one("workers" if number % 2 == 0 else "gateway") for number in range(count)]


def kills(stage: Stage, count: int, *, seed: int = 1) -> list[Callable[[], Awaitable[None]]]:
    """SIGKILL of an instance, which is started again where it was half a second later."""
    chance = random.Random(seed)

    async def one() -> None:
        victim = chance.choice([arm for instances in stage.arms.values() for arm in instances])
        await victim.kill()
        await asyncio.sleep(0.5)
        await victim.start()
        await asyncio.sleep(0.5)

    return [one] * count


async def parts(
    folder: Path, requests: int, *, scale: float = 1.0, least: int = 2, rest: float = 0.0, workers: int = 2
) -> list[Outcome]:
    """All three, with ``scale`` of the events each, ``least`` at the least.

    Args:
        folder: Of the gateway's project.
        requests: Of each part.
        scale: Of the events of each part, 1 for all.
        least: Events of each part.
        rest: Seconds a connection of the load does nothing between two requests.
        workers: Of the gateway.
    """
    found = []
    async with AsyncExitStack() as stack:
        stage = await staged(stack, folder, rest=rest, workers=workers)
        count = max(least, round(SWITCHES * scale))
        found.append(await endure(stage, f"{count} switches of split and colour", [stage.switch] * count, requests,
                                  streams=True, posts=True))  # fmt: skip
        stage._split = 50_000
        await stage.publish()
        count = max(least, round(RESTARTS * scale))
        found.append(await endure(stage, f"{count} restarts of gateway and workers", restarts(stage, count), requests,
                                  streams=True, posts=True))  # fmt: skip
        count = max(least, round(KILLS * scale))
        found.append(await endure(stage, f"{count} kill -9 of arms", kills(stage, count), requests,
                                  streams=False, posts=False))  # fmt: skip
    return found


def measure() -> Bench:
    """Run all of it, once."""
    make_loop = uvloop.new_event_loop
    with tempfile.TemporaryDirectory(prefix="fairway-") as name, asyncio.Runner(loop_factory=make_loop) as runner:
        found = runner.run(parts(Path(name), REQUESTS))
    rows: list[dict[str, Any]] = [
        {
            "while": part.title,
            "requests": f"{part.requests:,}",
            "failed or misrouted": part.wrong,
            "kept connection closed, sent again": part.stale,
            "streams whole": part.streams,
            "streams broken": part.broken,
            "requests/s": f"{part.rate:,.0f}",
        }
        for part in found
    ]
    promises = [
        Promise(
            text=f"no request fails or is misrouted over {part.title}, and running streams complete",
            measured=f"{part.wrong} of {part.requests:,}, {part.broken} of {part.streams + part.broken} streams",
            kept=part.wrong == 0 and part.broken == 0,
        )
        for part in found
    ]
    notes = [f"{part.title}: {part.what}: {example}" for part in found for example in part.examples[:5]]
    return Bench(title="Endurance", rows=rows, promises=promises, notes=notes)
