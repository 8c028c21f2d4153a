"""A gateway alone, whose table is a file that people write and change."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from fairway.testing.gateway_process import GatewayProcess, until
from fairway.testing.scripted_arm import ScriptedArm, always, answer

TABLE = """\
agent: support
arms:
  stable: {{version: 1.0.0, endpoints: ["{old}"]}}
  candidate: {{version: 1.1.0, endpoints: ["{new}"]}}
split: {split}
"""


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[GatewayProcess]:
    made = GatewayProcess(tmp_path)
    yield made
    if made.process is not None:
        await made.stop()


async def test_a_table_that_its_author_changes_is_in_force_without_a_restart_and_a_bad_one_is_not(
    gateway: GatewayProcess,
) -> None:
    async with ScriptedArm(always(answer(b"old"))) as old, ScriptedArm(always(answer(b"new"))) as new:
        path = gateway.folder / "gateway.yaml"

        def write(split: str) -> None:
            path.write_text(TABLE.format(old=old.endpoint, new=new.endpoint, split=split))

        async def serves(split: str) -> bool:
            table = (await gateway.status())["table"]
            return bool(table["split"] == split)

        async def refused() -> bool:
            return "gateway.yaml:5:8: split" in ((await gateway.status())["table_error"] or "")

        async def body() -> str:
            async with httpx.AsyncClient() as client:
                return (await client.get(f"http://127.0.0.1:{gateway.port}/")).text

        write("0%")
        await gateway.start("--table", str(path))
        assert await body() == "old"

        write("100%")
        await until(lambda: serves("100%"))
        assert await body() == "new"

        write("lots")
        await until(refused)
        metrics = (await gateway.ask("GET", "/metrics")).body.decode()
        assert 'fairway_gateway_table_refused{route="support/production"} 1' in metrics
        assert await body() == "new"

        write("0%")
        assert gateway.process is not None
        gateway.process.send_signal(signal.SIGHUP)
        await until(lambda: serves("0%"))
        assert (await gateway.status())["table_error"] is None
        await gateway.restart()
        status = await gateway.status()
        assert (status["table"]["fence"], status["table"]["split"]) == ("0.3", "0%")
