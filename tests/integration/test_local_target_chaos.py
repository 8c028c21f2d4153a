"""Whatever is killed whenever, the local target ends where it was told to: laws of convergence with real processes."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from fairway.state_dir import StateDir
from fairway.targets.local.instance import Timing
from fairway.targets.local.restarts import RestartPolicy
from fairway.targets.local.service import LocalService
from fairway.targets.local.target import LocalTarget, PreparedArm, marker_prefix, stop_left_behind
from fairway.targets.port import ArmSpec
from fairway.traffic.table import Role
from fairway.units import AgentName, Digest, EnvironmentName, RouteId

pytestmark = pytest.mark.slow

ROUTE = RouteId(agent=AgentName("shop"), environment=EnvironmentName("production"))
RELEASES = [Digest("sha256:" + digit * 64) for digit in "12"]
EFFECTIVE = Digest("sha256:" + "e" * 64)
APP = """
import socket, sys
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    client, _ = server.accept()
    client.recv(1000)
    client.sendall(b"HTTP/1.1 200 OK\\r\\ncontent-length: 0\\r\\n\\r\\n")
    client.close()
"""


class Files:
    async def prepare(self, route: RouteId, spec: ArmSpec, folder: Path) -> PreparedArm:
        (folder / "app.py").write_text(APP)
        await asyncio.sleep(0)
        service = LocalService(command=(sys.executable, "-S", "-E", "app.py", "{port}"), drain=0.5)
        return PreparedArm(release_version="1.0.0", service=service, tree=folder, bundle=folder)


def spec(release: Digest, replicas: int) -> ArmSpec:
    return ArmSpec(role=Role.STABLE, release_digest=release, effective_digest=EFFECTIVE, replicas=replicas)


def processes(state: StateDir) -> list[int]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("FAIRWAY_INSTANCE", "").startswith(marker_prefix(state)):
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


@pytest.fixture
async def state(tmp_path: Path) -> AsyncIterator[StateDir]:
    folder = StateDir(tmp_path / ".fairway")
    yield folder
    await stop_left_behind(folder, grace=0.0)


class Life:
    """Targets that live one after the other over one state folder."""

    def __init__(self, state: StateDir) -> None:
        self.state = state
        self.target = self._new()
        self.running = asyncio.create_task(self.target.run())

    def _new(self) -> LocalTarget:
        return LocalTarget(
            state=self.state,
            files=Files(),
            timing=Timing(poll=0.01, ready_interval=0.02, stop_grace=0.5),
            policy=RestartPolicy(first=0.02, ceiling=0.1, probation=0.1),
            lock_wait=5.0,
        )

    async def die(self) -> None:
        self.running.cancel()
        await asyncio.gather(self.running, return_exceptions=True)
        self.target.close()  # it may have died before it began to run

    async def reborn(self) -> None:
        await self.die()
        self.target = self._new()
        self.running = asyncio.create_task(self.target.run())


@pytest.mark.parametrize("seed", range(6))
async def test_after_any_row_of_verbs_and_deaths_there_runs_what_was_wanted_last_and_nothing_else(
    state: StateDir, seed: int
) -> None:
    dice = random.Random(seed)
    life = Life(state)
    wanted = dict.fromkeys(RELEASES, 0)
    for _ in range(25):
        release = dice.choice(RELEASES)
        match dice.choice(["ensure", "ensure", "drain", "stop", "kill", "kill", "die", "wait"]):
            case "ensure":
                wanted[release] = dice.randint(1, 2)
                await life.target.ensure(ROUTE, spec(release, wanted[release]))
            case "drain":
                wanted[release] = 0
                await life.target.drain(ROUTE, release)
            case "stop":
                wanted[release] = 0
                await life.target.stop(ROUTE, release)
            case "kill":
                for pid in dice.sample(alive := processes(state), k=min(1, len(alive))):
                    os.kill(pid, signal.SIGKILL)
            case "die":
                await life.reborn()
            case _:
                await asyncio.sleep(dice.random() * 0.1)
    deadline = time.monotonic() + 20
    while True:
        arms = {arm.release_digest: arm for arm in await life.target.observe(ROUTE)}
        ready = {release: len(arms[release].ready()) if release in arms else 0 for release in RELEASES}
        total = sum(len(arm.instances) for arm in arms.values())
        if ready == wanted and total == sum(wanted.values()):
            break
        assert time.monotonic() < deadline, f"wanted {wanted}, got {arms}"
        await asyncio.sleep(0.02)
    while len(processes(state)) != sum(wanted.values()):  # one that was just killed may take a moment to be gone
        assert time.monotonic() < deadline, f"wanted {wanted}, running {processes(state)}"
        await asyncio.sleep(0.02)
    await life.target.shutdown()
    assert processes(state) == []
    await life.die()
