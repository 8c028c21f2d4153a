"""What a worker takes of the machine's memory before its first request."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from fairway.gateway.workforce import environment_of
from fairway.testing.gateway_process import GatewayProcess
from fairway.traffic.fence import Fence
from fairway.traffic.table import Arm, KeyExtractor, KeyKind, Role, RouteTable
from fairway.units import AgentName, Digest, EnvironmentName, RouteId

MOST_MB = 30.0
"""Some 17 where others run the same Python, as its code is shared; a web framework or pydantic would be seen."""

TABLE = RouteTable(
    route=RouteId(agent=AgentName("shop"), environment=EnvironmentName("production")),
    fence=Fence(term=1, seq=1),
    arms=(Arm(role=Role.STABLE, release=Digest("sha256:" + "a" * 64), version="1", endpoints=("127.0.0.1:1",)),),
    keys=(KeyExtractor(kind=KeyKind.HEADER, name="x-conversation-id"),),
)


def test_a_worker_has_one_heap_for_all_its_threads_unless_its_operator_says_otherwise() -> None:
    assert environment_of({"HOME": "/root"}) == {"HOME": "/root", "MALLOC_ARENA_MAX": "1"}
    assert environment_of({"MALLOC_ARENA_MAX": "4"}) == {"MALLOC_ARENA_MAX": "4"}


@pytest.mark.skipif(sys.platform != "linux", reason="/proc says it")
async def test_a_worker_begins_with_little_memory(tmp_path: Path) -> None:
    gateway = GatewayProcess(tmp_path)
    log = ("--access-log", str(tmp_path / "access.log"))
    await gateway.start(*gateway.with_table(TABLE), *log, "--workers", "1")
    try:
        (worker,) = (await gateway.status())["workers"]
        pss = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{worker['pid']}/smaps_rollup").read_text(), re.MULTILINE)
        environment = Path(f"/proc/{worker['pid']}/environ").read_bytes().split(b"\0")
    finally:
        await gateway.stop()
    assert b"MALLOC_ARENA_MAX=1" in environment
    assert pss is not None
    assert int(pss[1]) / 1024 < MOST_MB
