"""A project on disk, the commands a user runs on it, and traffic: what the end-to-end tests share."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from fairway.demo.commands import Done, environment, execute, fairway, free_ports, git, interrupt
from fairway.demo.traffic import TrafficGenerator
from fairway.ledger import open_ledger
from fairway.project.load import load_project
from fairway.rollout.describe import status_wire
from fairway.state_dir import StateDir
from fairway.supervise.info import UpInfo, running

POLICY = """
gateway:
  port: {port}
  admin_port: {admin_port}
  block: 1s
  timeouts: {{connect: 2s, first_byte: 5s, idle: 5s, total: 6s}}
rollout:
  strategy: canary
  steps: [20%, 50%, 100%]
  dwell: 2s
  cap: 2m
  soak: 2s
  warm: 5s
  gates:
    success: 80%
    failures:
      margins: [25pt, 20pt]
    p95:
      enabled: false
    minimum_units: 8
"""


@dataclass
class Lab:
    """One project and what runs of it."""

    root: Path
    port: int
    admin_port: int
    processes: list[asyncio.subprocess.Process] = field(default_factory=list)

    @property
    def state(self) -> StateDir:
        return StateDir(self.root / ".fairway")

    async def fairway(self, *arguments: str, expect: int | None = 0) -> Done:
        done = await execute(fairway(*arguments), cwd=self.root)
        if expect is not None:
            assert done.code == expect, f"fairway {' '.join(arguments)}: exit {done.code}\n{done.stdout}\n{done.stderr}"
        return done

    async def status(self) -> dict[str, Any]:
        """What `fairway rollout status -o json` prints, read here: a process for each look would load the machine."""
        project = load_project(self.root)
        with open_ledger(self.state.ledger) as ledger:
            return status_wire(ledger, project.route("production"), None)

    async def commit(self, tag: str) -> None:
        await git(self.root, "add", "-A")
        await git(self.root, "commit", "-q", "-m", tag)
        await git(self.root, "tag", tag)

    def write_policy(self, **changes: str) -> None:
        """Replace the rollout and gateway sections of fairway.yaml by a fast policy."""
        file = self.root / "fairway.yaml"
        kept, skipping = [], False
        for line in file.read_text().splitlines():
            if line and not line.startswith((" ", "#")):
                skipping = line.startswith(("rollout:", "gateway:"))
            if not skipping:
                kept.append(line)
        policy = POLICY.format(port=self.port, admin_port=self.admin_port)
        for old, new in changes.items():
            policy = policy.replace(old, new)
        file.write_text("\n".join(kept) + policy)

    async def up(self, *, wait: bool = True) -> UpInfo | None:
        """Start ``fairway up`` and wait until it serves."""
        log = self.root / ".fairway" / "logs" / "up.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *fairway("up"), cwd=self.root, env=environment(), stdout=output, stderr=output, start_new_session=True
            )
        self.processes.append(process)
        if not wait:
            return None
        for _ in range(600):
            info = running(self.state)
            if info is not None and info.serving() and info.process.pid == process.pid:
                return info
            assert process.returncode is None, log.read_text()[-2000:]
            await asyncio.sleep(0.1)
        raise AssertionError("fairway up did not serve in 60 s:\n" + log.read_text()[-3000:])

    async def down(self) -> None:
        for process in self.processes:
            await interrupt(process)
        await execute(fairway("up", "--stop"), cwd=self.root)

    @contextlib.asynccontextmanager
    async def traffic(self, *, rate: float = 25.0, path: str = "/chat") -> AsyncIterator[TrafficGenerator]:
        generator = TrafficGenerator(
            f"http://127.0.0.1:{self.port}",
            conversations_per_second=rate,
            path=path,
            turns=(1, 2),
            streamed_share=0.0,
            think_seconds=(0.05, 0.2),
        )
        generator.start()
        try:
            yield generator
        finally:
            await generator.stop()

    async def until(self, *phases: str, seconds: float = 90.0) -> dict[str, Any]:
        """Wait until the rollout is in one of the phases; returns the status."""
        status: dict[str, Any] = {}
        for _ in range(int(seconds / 0.2)):
            status = await self.status()
            if status["rollout"] and status["rollout"]["phase"] in phases:
                return status
            await asyncio.sleep(0.2)
        raise AssertionError(f"not {phases} after {seconds}s: {json.dumps(status, indent=1)[:3000]}")


def kill_hard(pid: int) -> None:
    """``kill -9`` of a process that this test started."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    port, admin_port = free_ports(2)
    made = Lab(root=tmp_path / "shop", port=port, admin_port=admin_port)
    try:
        yield made
    finally:
        if made.root.exists():
            await made.down()
