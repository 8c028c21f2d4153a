from __future__ import annotations

from datetime import UTC, datetime

import pytest

from fairway.errors import TransientError
from fairway.targets.port import ArmSpec, InstanceState
from fairway.testing.memory_target import Behaviour, MemoryTarget
from fairway.traffic.table import Role
from fairway.units import AgentName, Digest, EnvironmentName, RouteId

ROUTE = RouteId(agent=AgentName("shop"), environment=EnvironmentName("production"))
RELEASE = Digest("sha256:" + "1" * 64)
OTHER = Digest("sha256:" + "2" * 64)
SPEC = ArmSpec(role=Role.CANDIDATE, release_digest=RELEASE, effective_digest=OTHER, replicas=2)


class HandClock:
    """Time that goes on when it is told to."""

    def __init__(self) -> None:
        self.at = 100.0

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.at, UTC)

    def monotonic(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        self.at += max(0.0, seconds)


async def states(target: MemoryTarget) -> list[InstanceState]:
    return [one.state for arm in await target.observe(ROUTE) for one in arm.instances]


async def test_states_follow_the_script_on_the_clock() -> None:
    clock = HandClock()
    target = MemoryTarget(clock)
    target.script(RELEASE, Behaviour(ready_after=2, crashes_at=(10,), back_off=1, loops_at=30, drains_in=5))
    await target.ensure(ROUTE, SPEC)
    seen = []
    for at in (0, 1.9, 2, 9.9, 10, 10.9, 11, 12.9, 13, 29, 30):
        clock.at = 100.0 + at
        (one, _) = await states(target)
        seen.append(one.value)
    assert seen == [
        "starting", "starting", "ready", "ready", "backing_off", "backing_off", "starting", "starting", "ready",
        "ready", "crash_loop",
    ]  # fmt: skip
    await target.drain(ROUTE, RELEASE)
    assert await states(target) == [InstanceState.DRAINING] * 2
    clock.at += 4.9
    assert target.running(ROUTE) == {RELEASE: 2}
    clock.at += 0.1
    assert await target.observe(ROUTE) == ()


async def test_an_instance_can_be_made_to_crash_and_comes_back_by_itself() -> None:
    clock = HandClock()
    target = MemoryTarget(clock, default=Behaviour(back_off=1))
    await target.ensure(ROUTE, SPEC)
    clock.at += 50
    target.crash(RELEASE, instance=0)
    assert await states(target) == [InstanceState.BACKING_OFF, InstanceState.READY]
    clock.at += 1
    ((one, two),) = [arm.instances for arm in await target.observe(ROUTE)]
    assert (one.state, one.restarts, two.restarts) == (InstanceState.READY, 1, 0)


async def test_unreachable_it_answers_nothing_and_starts_nothing() -> None:
    target = MemoryTarget(HandClock())
    target.unreachable = True
    for verb in (target.ensure(ROUTE, SPEC), target.observe(ROUTE), target.drain(ROUTE, RELEASE)):
        with pytest.raises(TransientError):
            await verb
    target.unreachable = False
    assert await target.observe(ROUTE) == ()
    assert target.calls == [("ensure", ROUTE, RELEASE), ("drain", ROUTE, RELEASE)]


async def test_never_ready_is_reported_when_its_time_is_up() -> None:
    clock = HandClock()
    target = MemoryTarget(clock)
    target.script(RELEASE, Behaviour(ready_after=None, never_ready_after=60))
    await target.ensure(ROUTE, SPEC)
    clock.at += 59
    assert await states(target) == [InstanceState.STARTING] * 2
    clock.at += 1
    assert await states(target) == [InstanceState.NEVER_READY] * 2
