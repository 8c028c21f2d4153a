"""How a request gets its connection when things go wrong on the way: no place is lost, and no dead one is used."""

from __future__ import annotations

import asyncio
from time import perf_counter
from types import SimpleNamespace
from typing import Any

import pytest

from fairway.gateway.endpoints.arm import ArmEndpoints
from fairway.gateway.endpoints.line import Turn
from fairway.gateway.reaching import Reaching
from fairway.gateway.upstream import Pool, Upstream
from fairway.traffic.endpoints import DEFAULT_EJECTION
from fairway.traffic.table import Limits, Timeouts
from fairway.units import Digest


class Request(Reaching):
    """A placed request that only looks for a connection."""

    def __init__(self) -> None:
        self._serving: Any = SimpleNamespace(table=SimpleNamespace(timeouts=Timeouts(connect=0.2)))


def arm(*names: str, limit: int = 1) -> ArmEndpoints:
    made = ArmEndpoints(Digest("sha256:" + "a" * 64), asyncio.get_running_loop())
    made.follow(names, Limits(arm_in_flight=limit, queue=8), DEFAULT_EJECTION)
    return made


def reach(found: ArmEndpoints) -> asyncio.Task[Upstream | Turn | None]:
    served: Any = SimpleNamespace(endpoints=found)
    return asyncio.create_task(Request()._reach(served))


def opened(pool: Pool) -> Upstream:
    upstream = Upstream(pool)
    upstream.transport = SimpleNamespace(abort=lambda: None)  # type: ignore[assignment]
    upstream.counted = True
    pool.open += 1
    return upstream


class Loop:
    """Opens connections as it is told to: at once, never, or not at all."""

    def __init__(self, answer: str) -> None:
        self.answer = answer
        self.asked = 0

    async def create_connection(self, make: Any, host: str, port: int) -> tuple[None, Upstream]:
        self.asked += 1
        if self.answer == "refuse":
            raise ConnectionRefusedError
        if self.answer == "hang":
            await asyncio.sleep(60)
        upstream: Upstream = make()
        upstream.transport = SimpleNamespace(abort=lambda: None)  # type: ignore[assignment]
        upstream.closed = self.answer == "close"
        return None, upstream


def use(found: ArmEndpoints, answer: str) -> Loop:
    loop = Loop(answer)
    for pool in found.pools.values():
        pool.loop = loop  # type: ignore[assignment]
    return loop


async def test_a_connection_that_dies_between_being_handed_over_and_taken_is_not_used() -> None:
    found = arm("h:1")
    use(found, "open")
    dying = opened(found.pools["h:1"])
    found.places = 1
    waiting = reach(found)
    await asyncio.sleep(0)
    dying.release(perf_counter())
    dying.close()
    got = await waiting
    assert isinstance(got, Upstream)
    assert (got is dying, got.closed, found.places) == (False, False, 1)


@pytest.mark.parametrize("answer", ["refuse", "close", "hang"])
async def test_whoever_gets_no_connection_gives_the_place_back(answer: str) -> None:
    found = arm("h:1", "h:2")
    loop = use(found, answer)
    assert await reach(found) is None
    assert (found.places, loop.asked, [pool.open for pool in found.pools.values()]) == (0, 2, [0, 0])


async def test_whoever_leaves_while_a_connection_is_opened_gives_the_place_back() -> None:
    found = arm("h:1")
    use(found, "hang")
    leaving = reach(found)
    await asyncio.sleep(0.01)
    waiting = reach(found)
    await asyncio.sleep(0.01)
    use(found, "open")
    leaving.cancel()
    assert isinstance(await waiting, Upstream)
    assert found.places == 1


class Slow(Loop):
    """Opens when it is let to."""

    def __init__(self, answer: str) -> None:
        super().__init__(answer)
        self.begun, self.go_on = asyncio.Event(), asyncio.Event()

    async def create_connection(self, make: Any, host: str, port: int) -> tuple[None, Upstream]:
        self.begun.set()
        await self.go_on.wait()
        return await super().create_connection(make, host, port)


@pytest.mark.parametrize(("answer", "endpoint", "places"), [("open", "h:1", 0), ("refuse", "h:2", 1)])
async def test_an_endpoint_that_leaves_the_table_while_a_connection_to_it_is_opened_keeps_no_place(
    answer: str, endpoint: str, places: int
) -> None:
    found = arm("h:1", "h:2", limit=4)
    use(found, "open")
    slow = Slow(answer)
    found.pools["h:1"].loop = slow  # type: ignore[assignment]
    found.pools["h:2"].down_until = 1e12  # so that the other is asked first
    reaching = reach(found)
    await slow.begun.wait()
    found.follow(("h:2",), Limits(arm_in_flight=4), DEFAULT_EJECTION)
    slow.go_on.set()
    got = await reaching
    assert isinstance(got, Upstream)
    assert (got.pool.endpoint, found.places) == (endpoint, places)
    got.close()
    assert found.places == 0


async def test_requests_that_find_no_room_are_told_which_way() -> None:
    found = arm("h:1")
    found.line.places, found.places = 0, 1
    assert await reach(found) is Turn.FULL
    found.line.places, found.line.seconds = 1, 0.01
    assert await reach(found) is Turn.LATE
