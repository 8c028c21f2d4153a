"""A parent, which its workers wake with what they report, does not interrupt them on the same processor."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from fairway.testing.gateway_process import GatewayProcess
from fairway.traffic.fence import Fence
from fairway.traffic.table import Arm, KeyExtractor, KeyKind, Role, RouteTable
from fairway.units import AgentName, Digest, EnvironmentName, RouteId

TABLE = RouteTable(
    route=RouteId(agent=AgentName("shop"), environment=EnvironmentName("production")),
    fence=Fence(term=1, seq=1),
    arms=(Arm(role=Role.STABLE, release=Digest("sha256:" + "a" * 64), version="1", endpoints=("127.0.0.1:1",)),),
    keys=(KeyExtractor(kind=KeyKind.HEADER, name="x-conversation-id"),),
)


@pytest.mark.skipif(sys.platform != "linux", reason="SCHED_BATCH is Linux's")
async def test_a_parent_waits_for_a_worker_that_runs(tmp_path: Path) -> None:
    gateway = GatewayProcess(tmp_path)
    await gateway.start(*gateway.with_table(TABLE), "--workers", "1")
    try:
        (worker,) = (await gateway.status())["workers"]
        assert os.sched_getscheduler(gateway.pid) == os.SCHED_BATCH
        assert os.sched_getscheduler(worker["pid"]) == os.SCHED_OTHER, "a worker does not inherit it"
    finally:
        await gateway.stop()
