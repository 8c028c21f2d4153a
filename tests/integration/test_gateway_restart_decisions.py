"""What is decided while a new gateway process starts holds from its first request on."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from fairway.errors import TransientError
from fairway.testing.gateway_process import GatewayProcess, until
from fairway.testing.gateway_worker import connected
from fairway.testing.scripted_arm import ScriptedArm, always, answer
from fairway.traffic.fence import Fence
from fairway.traffic.table import Arm, KeyExtractor, KeyKind, Role, RouteTable
from fairway.units import WHOLE, AgentName, Digest, EnvironmentName, RouteId

OLD, NEW = Digest("sha256:" + "a" * 64), Digest("sha256:" + "b" * 64)


def table(stable: str, candidate: str) -> RouteTable:
    return RouteTable(
        route=RouteId(agent=AgentName("support"), environment=EnvironmentName("production")),
        fence=Fence(term=1, seq=1),
        arms=(
            Arm(role=Role.STABLE, release=OLD, version="1.0.0", endpoints=(stable,)),
            Arm(role=Role.CANDIDATE, release=NEW, version="1.1.0", endpoints=(candidate,)),
        ),
        split=WHOLE,
        salt="r-1",
        keys=(KeyExtractor(kind=KeyKind.HEADER, name="x-conversation-id"),),
    )


@pytest.mark.slow
async def test_no_request_goes_where_somebody_forbade_it_while_the_next_gateway_process_started(
    tmp_path: Path,
) -> None:
    gateway = GatewayProcess(tmp_path)
    seen: Counter[str | None] = Counter()
    over = asyncio.Event()

    async def ask_on(number: int) -> None:
        turn = 0
        while not over.is_set():
            turn += 1
            async with connected(gateway.port) as client:
                seen[(await client.ask(f"X-Conversation-Id: {number}-{turn}")).version] += 1
            await asyncio.sleep(0.002)

    async with ScriptedArm(always(answer())) as old, ScriptedArm(always(answer())) as new:
        await gateway.start("--workers", "1", *gateway.with_table(table(old.endpoint, new.endpoint)))
        try:
            restarting = asyncio.create_task(gateway.ask("POST", "/v1/restart", {"what": "gateway"}))

            async def begins() -> bool:
                return (await gateway.status())["restarting"] is not None

            await until(begins)
            assert (await gateway.ask("POST", "/v1/pin", {"to": "stable"})).json()["applied"]
            tasks = [asyncio.create_task(ask_on(number)) for number in range(4)]
            assert (await restarting).status == 200

            async def done() -> bool:
                try:
                    return (await gateway.status())["restarting"] is None
                except TransientError:
                    return False

            await until(done, within=60.0)
            over.set()
            await asyncio.gather(*tasks)
        finally:
            await gateway.kill()
    assert set(seen) == {"1.0.0"}, seen
