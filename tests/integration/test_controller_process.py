"""The controller as a process: a second one stands by, and takes over when the first is killed."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys

import pytest

from fairway.demo.commands import environment, execute, fairway
from fairway.ledger import open_ledger
from fairway.project.load import load_project


async def start(root, log):
    with log.open("ab") as output:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "fairway.controller", "--project", str(root), env=environment(), stdout=output,
            stderr=output,
        )  # fmt: skip


async def holder(root, *, other_than=None):
    """Who has the route, once somebody else has it."""
    project = load_project(root)
    with open_ledger(project.state.ledger) as ledger:
        for _ in range(300):
            lease = ledger.lease_of(project.route("production"))
            if lease is not None and lease.holder != other_than:
                return lease
            await asyncio.sleep(0.1)
    raise AssertionError("nobody took the route")


@pytest.mark.slow
async def test_a_second_controller_stands_by_and_takes_over_when_the_first_is_killed(tmp_path):
    root = tmp_path / "shop"
    await execute(fairway("init", str(root)), cwd=tmp_path, check=True)
    first = await start(root, tmp_path / "first.log")
    running = [first]
    try:
        lease = await holder(root)
        second = await start(root, tmp_path / "second.log")
        running.append(second)
        async with asyncio.timeout(60):
            while "standing by" not in (tmp_path / "second.log").read_text():
                assert second.returncode is None, (tmp_path / "second.log").read_text()
                await asyncio.sleep(0.05)
        await asyncio.sleep(1)
        assert second.returncode is None, (tmp_path / "second.log").read_text()
        first.kill()
        await first.wait()
        taken = await holder(root, other_than=lease.holder)
        assert taken.term == lease.term + 1
        assert second.returncode is None
        second.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(second.wait(), 20) == 0, (tmp_path / "second.log").read_text()
        assert "Traceback" not in (tmp_path / "second.log").read_text()
    finally:
        for process in running:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


async def test_a_controller_that_stands_by_ends_when_asked(tmp_path):
    root = tmp_path / "shop"
    await execute(fairway("init", str(root)), cwd=tmp_path, check=True)
    first = await start(root, tmp_path / "first.log")
    running = [first]
    try:
        await holder(root)
        second = await start(root, tmp_path / "second.log")
        running.append(second)
        while "standing by" not in (tmp_path / "second.log").read_text():
            assert second.returncode is None
            await asyncio.sleep(0.05)
        second.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(second.wait(), 10) == 0
    finally:
        for process in running:
            if process.returncode is None:
                process.kill()
                await process.wait()
