"""Compared pairs as people see them: through the admin API and ``fairway gateway shadow``; no secret in either."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from fairway.testing.scripted_arm import ArmRequest, ScriptedArm, always, answer
from fairway.traffic.bucket import unit_hash
from fairway.traffic.fence import Fence
from fairway.traffic.table import Arm, KeyExtractor, KeyKind, Role, RouteTable, Timeouts
from fairway.units import AgentName, Digest, EnvironmentName, Parts, RouteId

OLD, NEW = Digest("sha256:" + "a" * 64), Digest("sha256:" + "b" * 64)
SECRET = "sk-very-secret"


def table(stable: str, shadow: str) -> RouteTable:
    return RouteTable(
        route=RouteId(agent=AgentName("support"), environment=EnvironmentName("production")),
        fence=Fence(term=1, seq=1),
        arms=(
            Arm(role=Role.STABLE, release=OLD, version="1.0.0", endpoints=(stable,)),
            Arm(role=Role.SHADOW, release=NEW, version="1.1.0", endpoints=(shadow,)),
        ),
        mirror=Parts(100_000),
        salt="r-1",
        keys=(KeyExtractor(kind=KeyKind.HEADER, name="x-conversation-id"),),
        timeouts=Timeouts(connect=0.5, first_byte=1.0, idle=1.0, total=2.0),
        block_seconds=1.0,
    )


async def by_content(request: ArmRequest, writer: asyncio.StreamWriter) -> None:
    failed = b"fail" in request.body
    writer.write(answer(b"shadow " + SECRET.encode(), outcome=f"status={'failed' if failed else 'ok'}, tokens_out=9"))


async def fairway(folder: Path, *arguments: str) -> tuple[int, str, str]:
    command = [sys.executable, "-m", "fairway", "gateway", *arguments, "--project", str(folder)]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(20):
        said, complained = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode(), complained.decode()


@pytest.fixture
async def port(tmp_path: Path) -> AsyncIterator[int]:
    reply = answer(b"stable " + SECRET.encode(), outcome="status=ok, tokens_out=4")
    async with ScriptedArm(always(reply)) as stable, ScriptedArm(by_content) as shadow:
        (tmp_path / "table.json").write_text(json.dumps(table(stable.endpoint, shadow.endpoint).to_wire()))
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "fairway", "gateway", "serve", "--project", str(tmp_path), "-o", "json", "--port",
            "0", "--workers", "1", "--table", str(tmp_path / "table.json"),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        assert process.stdout is not None
        async with asyncio.timeout(20):
            said = json.loads(await process.stdout.readline())
        yield said["port"]
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(25):
            await process.wait()


async def shown(folder: Path, *arguments: str, pairs: int) -> dict[str, Any]:
    """What the command shows, once it shows so many."""
    async with asyncio.timeout(15):
        while True:
            code, said, complained = await fairway(folder, "shadow", "-o", "json", *arguments)
            assert code == 0, complained
            found: dict[str, Any] = json.loads(said)
            if len(found["pairs"]) >= pairs:
                return found
            await asyncio.sleep(0.2)


async def test_people_see_how_a_shadow_fared_beside_what_users_got(tmp_path: Path, port: int) -> None:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        for key, body in (("c-1", "well"), ("c-2", "fail"), ("c-3", "well")):
            headers = {"x-conversation-id": key, "authorization": f"Bearer {SECRET}"}
            reply = await client.post("/chat", content=body, headers=headers)
            assert reply.text == f"stable {SECRET}"
    found = await shown(tmp_path, pairs=3)
    assert found["mirror"] == "100%"
    by_unit = {pair["unit"]: pair for pair in found["pairs"]}
    assert {unit: pair["finding"] for unit, pair in by_unit.items()} == {
        unit_hash("c-1"): "changed",
        unit_hash("c-2"): "shadow_failed",
        unit_hash("c-3"): "changed",
    }
    bad = by_unit[unit_hash("c-2")]
    assert (bad["primary"]["tokens"], bad["shadow"]["tokens"]) == (4, 9)
    assert (bad["release"], bad["same_body"]) == (NEW, False)
    only = await shown(tmp_path, "--finding", "shadow_failed", pairs=1)
    assert only["pairs"] == [bad]
    code, said, _ = await fairway(tmp_path, "shadow")
    assert code == 0
    assert bad["request"] in said
    assert SECRET not in said + json.dumps(found)
    assert (await fairway(tmp_path, "shadow", "--finding", "nonsense"))[0] == 2
