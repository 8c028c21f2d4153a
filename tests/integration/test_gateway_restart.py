"""A gateway restarted in place: nothing fails, streams complete, decisions stay, and a bad upgrade harms nobody."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from fairway.observe.blocks import Batch
from fairway.observe.sources.gateway import GatewaySource
from fairway.testing.gateway_process import GatewayProcess, runs, until
from fairway.testing.scripted_arm import ArmRequest, ScriptedArm, always, answer
from fairway.traffic.fence import Fence
from fairway.traffic.routers.gateway import GatewayRouter
from fairway.traffic.table import Arm, KeyExtractor, KeyKind, Role, RouteTable, Timeouts, Trip
from fairway.units import AgentName, Digest, EnvironmentName, Parts, RouteId

ALL = bool(os.environ.get("FAIRWAY_REQUIRE_ALL"))
OLD, NEW = Digest("sha256:" + "a" * 64), Digest("sha256:" + "b" * 64)
ROUTE = RouteId(agent=AgentName("support"), environment=EnvironmentName("production"))


def table(stable: str, candidate: str, *, split: int = 50_000, seq: int = 1) -> RouteTable:
    return RouteTable(
        route=ROUTE,
        fence=Fence(term=1, seq=seq),
        arms=(
            Arm(role=Role.STABLE, release=OLD, version="1.0.0", endpoints=(stable,)),
            Arm(role=Role.CANDIDATE, release=NEW, version="1.1.0", endpoints=(candidate,)),
        ),
        split=Parts(split),
        salt="r-1",
        keys=(KeyExtractor(kind=KeyKind.HEADER, name="x-conversation-id"),),
        timeouts=Timeouts(total=60.0),
        block_seconds=1.0,
    )


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[GatewayProcess]:
    made = GatewayProcess(tmp_path)
    yield made
    if made.process is not None:
        await made.stop()


@pytest.fixture
async def arms() -> AsyncIterator[tuple[ScriptedArm, ScriptedArm]]:
    async with ScriptedArm(always(answer(b"old"))) as old, ScriptedArm(always(answer(b"new"))) as new:
        yield old, new


class Load:
    """Conversations on kept connections, each answer held against where the conversation began."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.seen: Counter[str] = Counter()
        self._stop = asyncio.Event()
        self._began: dict[str, str] = {}
        self._tasks = [asyncio.create_task(self._run(number)) for number in range(4)]

    async def _run(self, number: int) -> None:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}", timeout=60) as client:
            turn = 0
            while not self._stop.is_set():
                turn += 1
                name = f"{number}-{turn // 8}"
                try:
                    reply = await client.get("/", headers={"x-conversation-id": name})
                    began = self._began.setdefault(name, reply.text)
                    self.seen["ok" if reply.status_code == 200 and reply.text == began else f"{reply!r}"] += 1
                except httpx.HTTPError as error:
                    self.seen[repr(error)] += 1
                await asyncio.sleep(0.001 if ALL else 0.01)

    async def stop(self) -> Counter[str]:
        self._stop.set()
        await asyncio.gather(*self._tasks)
        return self.seen


async def stream(port: int, name: str) -> str:
    """All of a stream of events that takes a second and a half."""
    async with (
        httpx.AsyncClient(timeout=60) as client,
        client.stream("GET", f"http://127.0.0.1:{port}/stream", headers={"x-conversation-id": name}) as reply,
    ):
        return (await reply.aread()).decode()


async def pids(gateway: GatewayProcess) -> tuple[int, list[int]]:
    status = await gateway.status()
    return status["pid"], [worker["pid"] for worker in status["workers"]]


async def events(
    request: ArmRequest,
    writer: asyncio.StreamWriter,
    *,
    pause: float = 0.1,
    last: Callable[[], Awaitable[Any]] | None = None,
) -> None:
    """Fifteen events, ten a second, the last one after ``last``; anything else is answered at once."""
    if request.target != "/stream":
        writer.write(answer(b"ok"))
        return
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
    for number in range(15):
        if number == 14 and last is not None:
            await last()
        event = b"data: %d\n\n" % number
        writer.write(b"%x\r\n%b\r\n" % (len(event), event))
        await asyncio.sleep(pause)
    writer.write(b"0\r\n\r\n")


async def test_a_restart_keeps_the_pid_lets_streams_complete_and_leaves_nothing_behind(gateway: GatewayProcess) -> None:
    async with ScriptedArm(events) as arm:
        await gateway.start(*gateway.with_table(table(arm.endpoint, arm.endpoint)))
        before, old_workers = await pids(gateway)
        running = [asyncio.create_task(stream(gateway.port, f"s-{number}")) for number in range(6)]
        await asyncio.sleep(0.3)
        await gateway.restart()
        assert [text.count("data:") for text in await asyncio.gather(*running)] == [15] * 6
        after, new_workers = await pids(gateway)
        assert before == after == gateway.pid
        assert not set(old_workers) & set(new_workers)

        async def alone() -> bool:
            children = Path(f"/proc/{gateway.pid}/task/{gateway.pid}/children").read_text().split()
            return sorted(int(pid) for pid in children) == sorted(new_workers)

        await until(alone)
        assert not any(runs(pid) for pid in old_workers)


@pytest.mark.slow
async def test_restarts_of_gateway_and_workers_fail_nothing_move_nobody_and_lose_no_count(
    gateway: GatewayProcess, arms: tuple[ScriptedArm, ScriptedArm]
) -> None:
    old, new = arms
    await gateway.start(*gateway.with_table(table(old.endpoint, new.endpoint)))
    load = Load(gateway.port)
    for what in ("workers", "gateway", *(("gateway",) if ALL else ())):
        before = load.seen.total()
        while load.seen.total() < before + 40:
            await asyncio.sleep(0.02)
        await gateway.restart(what)
    seen = await load.stop()
    assert set(seen) == {"ok"}, seen

    async def counted() -> bool:
        return await finished(gateway) == (seen["ok"], 0)

    await until(counted)


async def finished(gateway: GatewayProcess) -> tuple[int, int]:
    """Requests that were counted to their end, and those that never were."""
    source = GatewaySource(gateway.state.socket("gateway"))
    try:
        batches: list[Batch] = []
        cursor: str | None = None
        while (pulled := await source.pull(ROUTE, after=cursor)).batches:
            batches += pulled.batches
            cursor = pulled.cursor
    finally:
        source.close()
    numbers: dict[tuple[str, int], list[int]] = {}
    for batch in batches:
        numbers.setdefault((batch.boot, batch.worker), []).append(batch.seq)
    assert all(found == list(range(1, len(found) + 1)) for found in numbers.values()), "no batch was lost or came twice"
    done = sum(increment.finished for batch in batches for increment in batch.increments)
    return done, sum(increment.assigned for batch in batches for increment in batch.increments) - done


async def test_a_pin_said_before_or_during_a_restart_holds_after_it(
    gateway: GatewayProcess, arms: tuple[ScriptedArm, ScriptedArm]
) -> None:
    old, new = arms
    await gateway.start("--workers", "1", *gateway.with_table(table(old.endpoint, new.endpoint, split=100_000)))
    assert await bodies(gateway.port) == {"new": 12}
    held = await asyncio.open_connection("127.0.0.1", gateway.port)
    held[1].write(b"GET / HTTP/1.1\r\nHost: h\r\n")  # begun, so that the old worker waits for the rest
    restarting = asyncio.create_task(gateway.restart())

    async def between() -> bool:
        return bool((await gateway.status())["pid"] != gateway.pid)

    await until(between)
    assert (await gateway.ask("POST", "/v1/pin", {"to": "stable"})).status == 200
    held[1].write(b"x-conversation-id: held\r\n\r\n")
    assert b"old" in await held[0].read(), "also what a worker answers that finishes"
    held[1].close()
    assert await bodies(gateway.port) == {"old": 12}
    await restarting
    assert (await gateway.status())["pid"] == gateway.pid
    assert await bodies(gateway.port) == {"old": 12}


async def bodies(port: int, count: int = 12) -> Counter[str]:
    found: Counter[str] = Counter()
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        for _ in range(count):
            found[(await client.get("/", headers={"x-conversation-id": os.urandom(8).hex()})).text] += 1
    return found


async def test_the_controller_hears_one_gateway_throughout_and_its_next_table_is_served(
    gateway: GatewayProcess, arms: tuple[ScriptedArm, ScriptedArm]
) -> None:
    old, new = arms
    router = GatewayRouter(gateway.state.socket("controller"))
    await router.start()
    try:
        await router.apply(table(old.endpoint, new.endpoint, split=0))
        await gateway.start("--workers", "1")

        async def in_force() -> bool:
            return (await router.observe(ROUTE)).confirmed == Fence(term=1, seq=1)

        await until(in_force)
        seen: set[tuple[int, Fence | None]] = set()
        restarting = asyncio.create_task(gateway.restart())
        while not restarting.done():
            observed = await router.observe(ROUTE)
            seen.add((observed.gateways, observed.confirmed))
            await asyncio.sleep(0.005)
        await restarting
        assert seen == {(1, Fence(term=1, seq=1))}
        await router.apply(table(old.endpoint, new.endpoint, split=100_000, seq=2))

        async def confirmed() -> bool:
            return (await router.observe(ROUTE)).confirmed == Fence(term=1, seq=2)

        await until(confirmed)
        assert await bodies(gateway.port) == {"new": 12}
    finally:
        await router.close()


async def test_the_exposure_of_a_release_is_counted_on_through_a_restart(gateway: GatewayProcess) -> None:
    bad = always(answer(outcome="status=failed"))
    async with ScriptedArm(always(answer(b"old"))) as old, ScriptedArm(bad) as new:
        limit = Trip(max_excess_bad_units=15, window_seconds=60, min_units=10)
        first = replace(table(old.endpoint, new.endpoint, split=100_000), trip=limit)
        await gateway.start("--workers", "1", *gateway.with_table(first))
        await bodies(gateway.port, 10)
        await gateway.restart()
        assert (await gateway.status())["tripped"] is None
        await bodies(gateway.port, 10)

        async def tripped() -> bool:
            return bool((await gateway.status())["tripped"] == NEW)

        await until(tripped)
        assert await bodies(gateway.port) == {"old": 12}


# --- what goes wrong ---------------------------------------------------------------------------------------------


BROKEN = "raise RuntimeError('half an upgrade')\n"


async def broken_upgrade(gateway: GatewayProcess, folder: Path) -> None:
    """From the next start on, the code that is installed cannot be imported."""
    folder.mkdir(exist_ok=True)
    (folder / "uvloop.py").write_text(BROKEN)


async def test_an_upgrade_that_does_not_start_is_refused_with_its_reason_and_the_old_one_goes_on(
    gateway: GatewayProcess, arms: tuple[ScriptedArm, ScriptedArm], tmp_path: Path
) -> None:
    old, new = arms
    installed = tmp_path / "installed"
    path = f"{installed}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    await gateway.start(
        "--workers", "1", *gateway.with_table(table(old.endpoint, new.endpoint)), environment={"PYTHONPATH": path}
    )
    before = await pids(gateway)
    load = Load(gateway.port)
    await broken_upgrade(gateway, installed)
    refused = await gateway.ask("POST", "/v1/restart", {"what": "gateway"})
    assert refused.status == 500
    assert "half an upgrade" in refused.json()["error"]["message"]
    assert set(await load.stop()) == {"ok"}
    assert await pids(gateway) == before
    assert (await gateway.status())["restarting"] is None
    (installed / "uvloop.py").unlink()
    await gateway.restart()
    assert (await pids(gateway))[0] == before[0]


async def test_a_second_restart_meanwhile_is_refused(
    gateway: GatewayProcess, arms: tuple[ScriptedArm, ScriptedArm]
) -> None:
    old, new = arms
    await gateway.start("--workers", "1", *gateway.with_table(table(old.endpoint, new.endpoint)))
    restarting = asyncio.create_task(gateway.restart())

    async def begun() -> bool:
        return bool((await gateway.status())["restarting"] is not None)

    await until(begun)
    refused = await gateway.ask("POST", "/v1/restart", {"what": "workers"})
    assert (refused.status, refused.json()["error"]["code"]) == (409, "restart_running")
    await restarting


async def test_sigterm_in_the_middle_of_a_restart_ends_the_bridge_as_well(gateway: GatewayProcess) -> None:
    async with ScriptedArm(events) as arm:
        await gateway.start("--workers", "1", *gateway.with_table(table(arm.endpoint, arm.endpoint)))
        running = asyncio.create_task(stream(gateway.port, "s"))
        await asyncio.sleep(0.2)
        _, old_workers = await pids(gateway)
        assert (await gateway.ask("POST", "/v1/restart", {"what": "gateway"})).status == 200

        async def between() -> bool:
            return bool((await gateway.status())["pid"] != gateway.pid)

        await until(between)
        bridge, workers = await pids(gateway)
        assert await gateway.stop() == 0
        assert (await running).count("data:") == 15
        assert not any(runs(pid) for pid in (bridge, *workers, *old_workers))


async def test_a_gateway_killed_in_the_middle_of_its_restart_leaves_no_second_one_behind(
    gateway: GatewayProcess,
) -> None:
    async with ScriptedArm(events) as arm:
        await gateway.start("--workers", "1", *gateway.with_table(table(arm.endpoint, arm.endpoint)))
        running = asyncio.create_task(stream(gateway.port, "s"))
        await asyncio.sleep(0.2)
        assert (await gateway.ask("POST", "/v1/restart", {"what": "gateway"})).status == 200

        async def between() -> bool:
            return bool((await gateway.status())["pid"] != gateway.pid)

        await until(between)
        bridge, workers = await pids(gateway)
        os.kill(gateway.pid, signal.SIGKILL)

        async def gone() -> bool:
            return not any(runs(pid) for pid in (bridge, *workers))

        await until(gone)
        assert (await running).count("data:") == 15, "a worker that lost its parent finishes what it serves"
        await gateway.kill()
        gateway.process = None


async def test_a_signal_restarts_it_too(gateway: GatewayProcess, arms: tuple[ScriptedArm, ScriptedArm]) -> None:
    old, new = arms
    await gateway.start("--workers", "1", *gateway.with_table(table(old.endpoint, new.endpoint)))
    before = await pids(gateway)
    os.kill(gateway.pid, signal.SIGUSR2)

    async def restarted() -> bool:
        status = await gateway.status()
        return (
            status["restarting"] is None
            and status["pid"] == gateway.pid
            and not {worker["pid"] for worker in status["workers"]} & set(before[1])
        )

    await until(restarted, 120)


async def test_the_command_says_what_became_of_it(
    gateway: GatewayProcess, arms: tuple[ScriptedArm, ScriptedArm]
) -> None:
    old, new = arms
    await gateway.start(*gateway.with_table(table(old.endpoint, new.endpoint)), "--workers", "1")
    for options in ((), ("--workers-only",)):
        before = await pids(gateway)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "fairway", "gateway", "restart", "--project", str(gateway.folder), "-o", "json",
            *options, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        said, _ = await process.communicate()
        found: dict[str, Any] = json.loads(said)
        assert (process.returncode, found["pid"], found["restarting"]) == (0, gateway.pid, False)
        assert found["workers"] == (await pids(gateway))[1] != before[1]


# --- workers -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_a_worker_killed_among_four_takes_nobody_elses_stream_with_it(gateway: GatewayProcess) -> None:
    async with ScriptedArm(events) as arm:
        await gateway.start(*gateway.with_table(table(arm.endpoint, arm.endpoint)), "--workers", "4")
        running = [asyncio.create_task(stream(gateway.port, f"s-{number}")) for number in range(40)]
        workers: list[dict[str, int]] = []

        async def all_are_told_of() -> bool:  # workers report about once a second
            workers[:] = (await gateway.status())["workers"]
            return sum(worker["in_flight"] for worker in workers) == 40

        await until(all_are_told_of)
        victim = max(workers, key=lambda worker: worker["in_flight"])
        os.kill(victim["pid"], signal.SIGKILL)
        ended = await asyncio.gather(*running, return_exceptions=True)
        whole = [text for text in ended if isinstance(text, str) and text.count("data:") == 15]
        assert len(whole) == 40 - victim["in_flight"]

        async def replaced() -> bool:
            status = await gateway.status()
            return status["restarts"] == 1 and len([w for w in status["workers"] if w["ready"]]) == 4

        await until(replaced)
        assert await bodies(gateway.port) == {"ok": 12}


@pytest.mark.slow
async def test_a_worker_that_stands_still_is_killed_and_replaced(
    gateway: GatewayProcess, arms: tuple[ScriptedArm, ScriptedArm]
) -> None:
    old, new = arms
    await gateway.start(*gateway.with_table(table(old.endpoint, new.endpoint, split=0)), "--hang-after", "2")
    _, (stuck, other) = await pids(gateway)
    os.kill(stuck, signal.SIGSTOP)

    async def replaced() -> bool:
        _, workers = await pids(gateway)
        return stuck not in workers and len(workers) == 2

    await until(replaced, 120)
    assert other in (await pids(gateway))[1], "one that only has nothing to do is left alone"
    assert await bodies(gateway.port) == {"old": 12}
