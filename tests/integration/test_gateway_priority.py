"""A parent, which its workers wake with what they report, does not interrupt them on the same processor."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fairway.testing.gateway_process import GatewayProcess, until
from fairway.traffic.fence import Fence
from fairway.traffic.table import Arm, KeyExtractor, KeyKind, Role, RouteTable
from fairway.units import AgentName, Digest, EnvironmentName, RouteId

TABLE = RouteTable(
    route=RouteId(agent=AgentName("shop"), environment=EnvironmentName("production")),
    fence=Fence(term=1, seq=1),
    arms=(Arm(role=Role.STABLE, release=Digest("sha256:" + "a" * 64), version="1", endpoints=("127.0.0.1:1",)),),
    keys=(KeyExtractor(kind=KeyKind.HEADER, name="x-conversation-id"),),
)

_SAYS = """
import os
from fairway.gateway.priority import give_way, run_first
os.sched_setscheduler(0, getattr(os, {before!r}), os.sched_param(0))
give_way()
parent = os.sched_getscheduler(0)
run_first()
print(parent, os.sched_getscheduler(0))
"""


def refused() -> bool:
    """Whether this machine lets nobody choose how it is scheduled."""
    try:
        os.sched_setscheduler(0, os.sched_getscheduler(0), os.sched_param(0))
    except (AttributeError, OSError):
        return True
    return False


needs_policies = pytest.mark.skipif(refused(), reason="how a process is scheduled cannot be chosen here")


@needs_policies
async def test_a_parent_waits_for_a_worker_that_runs(tmp_path: Path) -> None:
    gateway = GatewayProcess(tmp_path)
    await gateway.start(*gateway.with_table(TABLE), "--workers", "1")
    try:
        (first,) = (await gateway.status())["workers"]
        assert os.sched_getscheduler(gateway.pid) == os.SCHED_BATCH
        assert os.sched_getscheduler(first["pid"]) == os.SCHED_OTHER, "a worker does not inherit it"
        os.kill(first["pid"], signal.SIGKILL)

        async def replaced() -> bool:
            workers = (await gateway.status())["workers"]
            return [worker["pid"] for worker in workers if worker["ready"]] not in ([], [first["pid"]])

        await until(replaced)
        (second,) = (await gateway.status())["workers"]
        assert os.sched_getscheduler(second["pid"]) == os.SCHED_OTHER
        await gateway.restart("gateway", within=60)
        (third,) = (await gateway.status())["workers"]
        assert os.sched_getscheduler(gateway.pid) == os.SCHED_BATCH
        assert os.sched_getscheduler(third["pid"]) == os.SCHED_OTHER
    finally:
        await gateway.stop()


@needs_policies
@pytest.mark.parametrize(
    ("before", "parent", "worker"),
    [
        ("SCHED_OTHER", "SCHED_BATCH", "SCHED_OTHER"),
        ("SCHED_BATCH", "SCHED_BATCH", "SCHED_BATCH"),
        ("SCHED_IDLE", "SCHED_IDLE", "SCHED_IDLE"),
    ],
)
def test_what_an_operator_chose_stays(before: str, parent: str, worker: str) -> None:
    said = subprocess.run(
        [sys.executable, "-c", _SAYS.format(before=before)], capture_output=True, text=True, check=True
    )
    assert said.stdout.split() == [str(getattr(os, parent)), str(getattr(os, worker))]
