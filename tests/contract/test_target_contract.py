"""What every target promises, against the fake and against real processes."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fairway.errors import ConflictError, RefusedError
from fairway.state_dir import StateDir
from fairway.targets.local.instance import Timing
from fairway.targets.local.service import LocalService
from fairway.targets.local.target import LocalTarget, PreparedArm, stop_left_behind
from fairway.targets.port import ArmSpec, InstanceState, ObservedArm, Target
from fairway.testing.memory_target import Behaviour, MemoryTarget
from fairway.traffic.fence import Fence
from fairway.traffic.table import Role
from fairway.units import AgentName, Digest, EnvironmentName, RouteId

ROUTE = RouteId(agent=AgentName("shop"), environment=EnvironmentName("production"))
STAGING = RouteId(agent=AgentName("shop"), environment=EnvironmentName("staging"))
GOOD = Digest("sha256:" + "1" * 64)
BETTER = Digest("sha256:" + "2" * 64)
CRASHING = Digest("sha256:" + "3" * 64)
LYING = Digest("sha256:" + "4" * 64)
UNSIGNED = Digest("sha256:" + "5" * 64)
EFFECTIVE = Digest("sha256:" + "e" * 64)
OTHER_EFFECTIVE = Digest("sha256:" + "f" * 64)

APP = """
import json, os, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
release = os.environ["FAIRWAY_RELEASE"]
if release.endswith("3"): sys.exit(1)
if release.endswith("4"): release = release.replace("4", "1")
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        data = json.dumps({"release": release, "effective": os.environ["FAIRWAY_EFFECTIVE"]}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
    def log_message(self, *args): pass
HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


class Files:
    async def prepare(self, route: RouteId, spec: ArmSpec, folder: Path) -> PreparedArm:
        if spec.release_digest == UNSIGNED:
            raise RefusedError("the signature does not verify", code="signature")
        (folder / "app.py").write_text(APP)
        service = LocalService(command=(sys.executable, "-S", "app.py", "{port}"), ready_timeout=0.6, drain=1.0)
        return PreparedArm(release_version="1.0.0", service=service, tree=folder, bundle=folder)


@pytest.fixture(params=["memory", "local"])
async def target(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Target]:
    if request.param == "memory":
        memory = MemoryTarget(default=Behaviour(ready_after=0.05, drains_in=0.05))
        memory.script(CRASHING, Behaviour(ready_after=None, loops_at=0.1))
        memory.script(LYING, Behaviour(reports=GOOD, never_ready_after=0.2))
        memory.script(UNSIGNED, Behaviour(refused=True))
        yield memory
        return
    state = StateDir(tmp_path / ".fairway")
    local = LocalTarget(state=state, files=Files(), timing=Timing(poll=0.02, ready_interval=0.05, stop_grace=1.0))
    running = asyncio.create_task(local.run())
    yield local
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await stop_left_behind(state, grace=0.0)


def spec(release: Digest = GOOD, *, replicas: int = 1, effective: Digest = EFFECTIVE) -> ArmSpec:
    return ArmSpec(role=Role.STABLE, release_digest=release, effective_digest=effective, replicas=replicas)


async def states(target: Target, release: Digest = GOOD, route: RouteId = ROUTE) -> list[InstanceState]:
    arms = await target.observe(route)
    return [one.state for arm in arms if arm.release_digest == release for one in arm.instances]


async def until(target: Target, wanted: list[InstanceState], release: Digest = GOOD, route: RouteId = ROUTE) -> None:
    deadline = time.monotonic() + 10
    while (seen := await states(target, release, route)) != wanted:
        assert time.monotonic() < deadline, f"still {seen}"
        await asyncio.sleep(0.02)


READY = InstanceState.READY


async def test_a_target_nobody_asked_for_anything_has_no_arms(target: Target) -> None:
    assert await target.observe(ROUTE) == ()


async def test_an_ensured_arm_becomes_ready_with_its_digests_and_distinct_endpoints(target: Target) -> None:
    await target.ensure(ROUTE, spec(replicas=2))
    await until(target, [READY, READY])
    (arm,) = await target.observe(ROUTE)
    assert (arm.release_digest, arm.effective_digest) == (GOOD, EFFECTIVE)
    assert [one.reported for one in arm.instances] == [GOOD, GOOD]
    assert len({one.endpoint for one in arm.instances}) == len({one.id for one in arm.instances}) == 2
    assert arm.ready() == arm.instances


async def test_a_verb_returns_before_it_is_done(target: Target) -> None:
    began = time.monotonic()
    await target.ensure(ROUTE, spec(CRASHING, replicas=3))
    assert time.monotonic() - began < 1.0
    assert READY not in await states(target, CRASHING)


async def test_ensuring_again_changes_nothing(target: Target) -> None:
    await target.ensure(ROUTE, spec())
    await until(target, [READY])
    before = await target.observe(ROUTE)
    await target.ensure(ROUTE, spec())
    assert await target.observe(ROUTE) == before


async def test_the_role_is_not_part_of_an_arms_identity(target: Target) -> None:
    await target.ensure(ROUTE, spec())
    candidate = ArmSpec(role=Role.CANDIDATE, release_digest=GOOD, effective_digest=EFFECTIVE, replicas=1)
    await target.ensure(ROUTE, candidate)
    assert len(await states(target)) == 1


async def test_replicas_follow_the_last_word(target: Target) -> None:
    await target.ensure(ROUTE, spec(replicas=1))
    await target.ensure(ROUTE, spec(replicas=3))
    await until(target, [READY] * 3)
    await target.ensure(ROUTE, spec(replicas=1))
    await until(target, [READY])


async def test_what_is_too_many_is_the_last_of_what_is_reported(target: Target) -> None:
    await target.ensure(ROUTE, spec(replicas=3))
    await until(target, [READY] * 3)
    (before,) = await target.observe(ROUTE)
    await target.ensure(ROUTE, spec(replicas=1))
    await until(target, [READY])
    (after,) = await target.observe(ROUTE)
    assert after.instances[0].id == before.instances[0].id


async def test_arms_with_other_configuration_or_on_another_route_are_other_arms(target: Target) -> None:
    await target.ensure(ROUTE, spec())
    await target.ensure(ROUTE, spec(effective=OTHER_EFFECTIVE))
    await target.ensure(STAGING, spec())
    await until(target, [READY, READY])
    await until(target, [READY], route=STAGING)
    arms: tuple[ObservedArm, ...] = await target.observe(ROUTE)
    assert {arm.effective_digest for arm in arms} == {EFFECTIVE, OTHER_EFFECTIVE}


async def test_draining_one_release_leaves_the_others_and_other_routes_alone(target: Target) -> None:
    await target.ensure(ROUTE, spec())
    await target.ensure(ROUTE, spec(BETTER))
    await target.ensure(STAGING, spec())
    await until(target, [READY])
    await until(target, [READY], BETTER)
    await target.drain(ROUTE, GOOD)
    assert READY not in await states(target)
    await until(target, [])
    assert await states(target, BETTER) == [READY]
    await until(target, [READY], route=STAGING)


async def test_one_configuration_of_a_release_drains_and_its_other_one_serves_on(target: Target) -> None:
    await target.ensure(ROUTE, spec())
    await target.ensure(ROUTE, spec(effective=OTHER_EFFECTIVE))
    await until(target, [READY, READY])
    await target.drain(ROUTE, GOOD, OTHER_EFFECTIVE)
    await until(target, [READY])
    arms: tuple[ObservedArm, ...] = await target.observe(ROUTE)
    assert {arm.effective_digest for arm in arms} == {EFFECTIVE}


async def test_stopping_ends_an_arm_that_drains(target: Target) -> None:
    await target.ensure(ROUTE, spec())
    await until(target, [READY])
    await target.drain(ROUTE, GOOD)
    await target.stop(ROUTE, GOOD)
    await until(target, [])


async def test_draining_and_stopping_what_is_gone_is_no_error(target: Target) -> None:
    await target.drain(ROUTE, GOOD)
    await target.stop(ROUTE, GOOD)
    assert await target.observe(ROUTE) == ()


async def test_an_ended_arm_can_be_ensured_again(target: Target) -> None:
    await target.ensure(ROUTE, spec())
    await until(target, [READY])
    await target.drain(ROUTE, GOOD)
    await target.ensure(ROUTE, spec())  # while the old instance drains
    await until(target, [READY])
    await target.stop(ROUTE, GOOD)
    await until(target, [])
    await target.ensure(ROUTE, spec())
    await until(target, [READY])


OLD, NEW, NEWER = Fence(term=1, seq=9), Fence(term=2, seq=3), Fence(term=2, seq=4)


@pytest.mark.parametrize("heard", ["by a verb", "by word"])
async def test_under_an_older_fence_nothing_starts_and_nothing_is_taken_out_of_service(
    target: Target, heard: str
) -> None:
    await target.ensure(ROUTE, spec(), fence=OLD)
    await until(target, [READY])
    if heard == "by a verb":
        await target.ensure(ROUTE, spec(), fence=NEW)
    else:
        assert await target.follow(ROUTE, NEW) == NEW
    for late in (OLD, Fence(term=2, seq=2)):
        with pytest.raises(ConflictError) as refused:
            await target.drain(ROUTE, GOOD, fence=late)
        assert refused.value.code == "stale_fence"
        with pytest.raises(ConflictError):
            await target.ensure(ROUTE, spec(BETTER), fence=late)
        with pytest.raises(ConflictError):
            await target.ensure(ROUTE, spec(replicas=0), fence=late)
    assert await states(target) == [READY]
    assert await states(target, BETTER) == []
    assert await target.follow(ROUTE, OLD) == NEW  # who comes late hears of who leads
    await target.drain(ROUTE, GOOD, fence=NEWER)
    await until(target, [])


async def test_a_fence_is_of_its_route_and_a_verb_without_one_is_not_refused(target: Target) -> None:
    await target.follow(ROUTE, NEW)
    await target.ensure(STAGING, spec(), fence=OLD)
    await target.ensure(ROUTE, spec())
    await until(target, [READY])
    await until(target, [READY], route=STAGING)
    await target.drain(ROUTE, GOOD)
    await until(target, [])


async def test_the_next_supervisor_of_a_folder_knows_the_newest_fence(tmp_path: Path) -> None:
    state = StateDir(tmp_path / ".fairway")
    before = LocalTarget(state=state, files=Files())
    await before.follow(ROUTE, NEW)
    before.close()
    after = LocalTarget(state=state, files=Files())
    assert await after.follow(ROUTE, OLD) == NEW
    with pytest.raises(ConflictError):
        await after.drain(ROUTE, GOOD, fence=OLD)
    after.close()
    (state.arms / "fences.json").write_text("[1")
    begins_anew = LocalTarget(state=state, files=Files())
    assert await begins_anew.follow(ROUTE, OLD) == OLD
    begins_anew.close()


async def test_a_refused_release_raises_and_starts_nothing(target: Target) -> None:
    with pytest.raises(RefusedError):
        await target.ensure(ROUTE, spec(UNSIGNED))
    assert await target.observe(ROUTE) == ()


async def test_an_arm_that_ends_at_once_is_reported_as_a_crash_loop_with_a_reason(target: Target) -> None:
    await target.ensure(ROUTE, spec(CRASHING))
    await until(target, [InstanceState.CRASH_LOOP], CRASHING)
    (arm,) = await target.observe(ROUTE)
    assert "exited with code 1" in arm.instances[0].detail
    await target.stop(ROUTE, CRASHING)
    await until(target, [], CRASHING)


async def test_an_arm_that_reports_another_release_is_never_ready(target: Target) -> None:
    await target.ensure(ROUTE, spec(LYING))
    await until(target, [InstanceState.NEVER_READY], LYING)
    (arm,) = await target.observe(ROUTE)
    assert arm.ready() == ()
    assert arm.instances[0].reported == GOOD
