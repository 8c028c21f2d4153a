"""Table switches under load, through the controller's own router: none fails a request."""

from __future__ import annotations

import asyncio
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from benchmarks.bench import Bench, Promise
from benchmarks.gateway.rig import (
    LOAD_CORE,
    LUA,
    free_port,
    gateway,
    nginx,
    nginx_upstream,
    table,
    wait_for,
    wrk_command,
    wrk_environment,
    wrk_result,
)
from fairway.state_dir import StateDir
from fairway.traffic.fence import Fence
from fairway.traffic.routers.gateway import GatewayRouter
from fairway.units import Parts

SWITCH_REQUESTS = 200_000


async def switch_under_load(folder: Path, script: Path, first: int, second: int) -> dict[str, float]:
    """Ten switches between 0 and 100 % while wrk runs, through the controller's own router."""
    state = StateDir(folder / ".fairway")
    router = GatewayRouter(state.socket("controller"))
    await router.start()
    current = replace(table(first, second), split=Parts(0))
    await router.apply(current)
    total = {"requests": 0.0, "failed": 0.0, "switches": 0.0, "slowest_confirm_ms": 0.0}
    with gateway(folder) as port:
        while (await router.observe(current.route)).confirmed != current.fence:
            await asyncio.sleep(0.01)
        while total["requests"] < SWITCH_REQUESTS:
            load = await asyncio.create_subprocess_exec(
                *wrk_command(script, port, 12), stdout=asyncio.subprocess.PIPE, env=wrk_environment()
            )
            for _ in range(10):
                await asyncio.sleep(1.0)
                fence = Fence(term=1, seq=current.fence.seq + 1)
                current = replace(current, fence=fence, split=Parts(100_000 - current.split))
                begun = time.perf_counter()
                await router.apply(current)
                while (await router.observe(current.route)).confirmed != fence:
                    await asyncio.sleep(0.001)
                total["slowest_confirm_ms"] = max(total["slowest_confirm_ms"], (time.perf_counter() - begun) * 1000)
                total["switches"] += 1
            assert load.stdout is not None
            found = wrk_result((await load.stdout.read()).decode())
            await load.wait()
            total["requests"] += found["requests"]
            total["failed"] += found["failed"]
    await router.close()
    return total


def measure() -> Bench:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        script = folder / "load.lua"
        script.write_text(LUA)
        first, second = free_port(), free_port()
        (folder / "switch").mkdir()
        with nginx(folder, "upstream", nginx_upstream(first, second), LOAD_CORE):
            wait_for(first), wait_for(second)
            switched = asyncio.run(switch_under_load(folder / "switch", script, first, second))
    return Bench(
        title="Switches under load",
        promises=[
            Promise(
                text=f"no failed request of at least {SWITCH_REQUESTS:,} over 10 table switches",
                measured=f"{switched['failed']:.0f} of {switched['requests']:,.0f} over {switched['switches']:.0f} "
                f"switches, slowest confirmed after {switched['slowest_confirm_ms']:.0f} ms",
                kept=switched["failed"] == 0 and switched["switches"] >= 10,
            )
        ],
    )
