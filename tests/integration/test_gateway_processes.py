"""The gateway as processes: tables pulled and kept, workers killed, restarts, drains, pin and trip (laws 6 and 13)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from fairway.errors import ConflictError, TransientError
from fairway.gateway.handover import listener_socket, take_listener
from fairway.observe.blocks import Batch
from fairway.observe.sources.gateway import GatewaySource
from fairway.state_dir import StateDir
from fairway.testing.scripted_arm import ArmRequest, ScriptedArm, always, answer
from fairway.traffic.bucket import bucket
from fairway.traffic.fence import Fence
from fairway.traffic.local_http import LocalAnswer, LocalClient, LocalRequest, LocalServer
from fairway.traffic.routers.gateway import GatewayRouter
from fairway.traffic.table import Arm, KeyExtractor, KeyKind, Role, RouteTable, Timeouts, Trip
from fairway.units import AgentName, Digest, EnvironmentName, Parts, RouteId

OLD, NEW = Digest("sha256:" + "a" * 64), Digest("sha256:" + "b" * 64)
ROUTE = RouteId(agent=AgentName("support"), environment=EnvironmentName("production"))


def table(stable: str, candidate: str, *, split: int = 0, seq: int = 1, term: int = 1) -> RouteTable:
    return RouteTable(
        route=ROUTE,
        fence=Fence(term=term, seq=seq),
        arms=(
            Arm(role=Role.STABLE, release=OLD, version="1.0.0", endpoints=(stable,)),
            Arm(role=Role.CANDIDATE, release=NEW, version="1.1.0", endpoints=(candidate,)),
        ),
        split=Parts(split),
        salt="r-1",
        keys=(KeyExtractor(kind=KeyKind.HEADER, name="x-conversation-id"),),
        timeouts=Timeouts(total=10.0),
        block_seconds=1.0,
    )


class GatewayProcess:
    """``fairway gateway serve`` in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = StateDir(folder / ".fairway")
        self.process: asyncio.subprocess.Process | None = None
        self.port = 0
        self.admin = 0

    async def start(self, *arguments: str, listener: socket.socket | None = None) -> None:
        inherited = () if listener is None else (listener.fileno(),)
        where = ("--port", "0") if listener is None else ("--fd", str(listener.fileno()))
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "fairway", "gateway", "serve", "--project", str(self.folder), "-o", "json",
            "--admin-port", "0", *where, *arguments,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL, pass_fds=inherited,
        )  # fmt: skip
        assert self.process.stdout is not None
        async with asyncio.timeout(20):
            said = json.loads(await self.process.stdout.readline())
        self.port, self.admin = said["port"], said["admin_port"]

    async def stop(self) -> int:
        assert self.process is not None
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(25):
            return await self.process.wait()

    async def kill(self) -> None:
        assert self.process is not None
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()

    async def ask_admin(self, method: str, target: str, body: dict[str, Any] | None = None) -> LocalAnswer:
        client = LocalClient(self.state.socket("gateway"))
        try:
            return await client.ask(method, target, body=b"" if body is None else json.dumps(body).encode())
        finally:
            client.close()

    async def status(self) -> Any:
        return (await self.ask_admin("GET", "/v1/status")).json()

    async def batches(self) -> list[Batch]:
        """Everything kept, pulled by cursor as a controller does."""
        source = GatewaySource(self.state.socket("gateway"))
        try:
            found: list[Batch] = []
            cursor: str | None = None
            while True:
                pulled = await source.pull(ROUTE, after=cursor)
                if not pulled.batches:
                    return found
                found += pulled.batches
                cursor = pulled.cursor
        finally:
            source.close()


def runs(pid: int) -> bool:
    """Whether a process still does something (its body may lie unburied where nobody reaps orphans)."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def until(condition: Callable[[], Awaitable[bool]], within: float = 10.0) -> None:
    async with asyncio.timeout(within):
        while True:
            with contextlib.suppress(TransientError):
                if await condition():
                    return
            await asyncio.sleep(0.02)


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[GatewayProcess]:
    made = GatewayProcess(tmp_path)
    yield made
    if made.process is not None:
        await made.stop()
        made.process._transport.close()  # type: ignore[attr-defined]
        await asyncio.sleep(0.01)


@pytest.fixture
async def arms() -> AsyncIterator[tuple[ScriptedArm, ScriptedArm]]:
    async with ScriptedArm(always(answer(b"old"))) as old, ScriptedArm(always(answer(b"new"))) as new:
        yield old, new


@contextlib.asynccontextmanager
async def routed(gateway: GatewayProcess, first: RouteTable) -> AsyncIterator[GatewayRouter]:
    router = GatewayRouter(gateway.state.socket("controller"))
    await router.start()
    await router.apply(first)
    try:
        yield router
    finally:
        await router.close()


async def confirmed(router: GatewayRouter, fence: Fence) -> None:
    async def same() -> bool:
        return (await router.observe(ROUTE)).confirmed == fence

    await until(same)


def from_file(gateway: GatewayProcess, value: RouteTable) -> tuple[str, str]:
    path = gateway.folder / "table.json"
    path.write_text(json.dumps(value.to_wire()))
    return "--table", str(path)


async def bodies(port: int, count: int = 20) -> Counter[str]:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        found: Counter[str] = Counter()
        for number in range(count):
            reply = await client.get("/", headers={"x-conversation-id": f"{time.monotonic_ns()}-{number}"})
            found[reply.text if reply.status_code == 200 else str(reply.status_code)] += 1
        return found


class Load:
    """Requests one after another on several kept connections, until stopped."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.seen: Counter[str] = Counter()
        self._stop = asyncio.Event()
        self._tasks = [asyncio.create_task(self._run(number)) for number in range(6)]

    async def _run(self, number: int) -> None:
        limits = httpx.Limits(max_keepalive_connections=1, keepalive_expiry=30)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}", limits=limits, timeout=15) as client:
            turn = 0
            while not self._stop.is_set():
                turn += 1
                try:
                    reply = await client.post("/", headers={"x-conversation-id": f"{number}-{turn}"}, content=b"q")
                    self.seen[str(reply.status_code)] += 1
                except httpx.HTTPError as error:
                    self.seen[repr(error)] += 1
                await asyncio.sleep(0.002)

    async def stop(self) -> Counter[str]:
        self._stop.set()
        await asyncio.gather(*self._tasks)
        return self.seen


# --- tables ----------------------------------------------------------------------------------------------------


async def test_it_serves_a_table_from_a_file_and_says_what_it_does(
    gateway: GatewayProcess, arms: tuple[ScriptedArm, ScriptedArm]
) -> None:
    old, new = arms
    await gateway.start(*from_file(gateway, table(old.endpoint, new.endpoint, split=100_000)))
    assert await bodies(gateway.port, 10) == {"new": 10}
    status = await gateway.status()
    assert [worker["ready"] for worker in status["workers"]] == [True, True]
    assert (status["confirmed"], status["table"]["split"], status["port"]) == ("1.1", "100%", gateway.port)
    assert (await gateway.ask_admin("GET", "/healthz")).status == 200
    assert (await gateway.ask_admin("GET", "/nonsense")).status == 404
    assert (await gateway.ask_admin("POST", "/v1/pin", {"to": "candidate"})).status == 400
    assert (await gateway.ask_admin("GET", "/v1/deltas?after=x")).status == 400


async def test_without_any_table_every_request_is_told_that_no_release_serves(gateway: GatewayProcess) -> None:
    await gateway.start("--workers", "1")
    assert await bodies(gateway.port, 3) == {"503": 3}
    assert (await gateway.status())["table"] is None


async def test_a_published_table_is_served_and_confirmed_at_once(
    gateway: GatewayProcess, arms: tuple[ScriptedArm, ScriptedArm]
) -> None:
    old, new = arms
    async with routed(gateway, table(old.endpoint, new.endpoint)) as router:
        assert (await router.observe(ROUTE)).confirmed is None
        await gateway.start()
        await confirmed(router, Fence(term=1, seq=1))
        for seq in range(2, 7):
            begun = time.perf_counter()
            split = 100_000 if seq % 2 == 0 else 0
            await router.apply(table(old.endpoint, new.endpoint, split=split, seq=seq))
            await confirmed(router, Fence(term=1, seq=seq))
            assert time.perf_counter() - begun < 1.0
            assert await bodies(gateway.port, 6) == {"new" if split else "old": 6}
        observed = await router.observe(ROUTE)
        assert (observed.gateways, observed.tripped) == (1, ())
        with pytest.raises(ConflictError):
            await router.apply(table(old.endpoint, new.endpoint, seq=3))
        with pytest.raises(ConflictError):
            await router.apply(table(old.endpoint, new.endpoint, seq=6, split=7))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda wire: {**wire, "fence": [1, 4]}, "not newer"),
        (lambda wire: {**wire, "fence": [9, 9], "version": 2}, "version 2"),
        (lambda wire: {**wire, "fence": [9, 9], "surprise": 1}, "surprise"),
        (
            lambda wire: {**wire, "fence": [9, 9], "arms": [{**wire["arms"][0], "endpoints": ["nowhere"]}], "split": 0},
            "nowhere",
        ),
    ],
    ids=["lower fence", "other version", "unknown key", "bad endpoint"],
)
async def test_a_table_it_must_not_serve_is_refused_and_the_last_one_goes_on(
    gateway: GatewayProcess,
    arms: tuple[ScriptedArm, ScriptedArm],
    change: Callable[[dict[str, Any]], dict[str, Any]],
    why: str,
) -> None:
    old, new = arms
    good = table(old.endpoint, new.endpoint, seq=5)
    bad = change(replace(good, split=Parts(100_000)).to_wire())

    async def stale_controller(_: LocalRequest) -> LocalAnswer:
        return LocalAnswer.of(bad)

    server = LocalServer(stale_controller)
    await server.listen_unix(gateway.state.socket("controller"))
    try:
        socket_path = str(gateway.state.socket("controller"))
        await gateway.start(*from_file(gateway, good), "--controller-socket", socket_path)

        async def refused() -> bool:
            return why in ((await gateway.status())["table_error"] or "")

        await until(refused)
        assert await bodies(gateway.port, 6) == {"old": 6}
        assert json.loads((gateway.state.gateway / "table.json").read_text())["fence"] == [1, 5]
    finally:
        await server.close()


async def test_with_the_controller_gone_it_serves_the_last_table_also_after_its_own_restart(
    gateway: GatewayProcess, arms: tuple[ScriptedArm, ScriptedArm]
) -> None:
    old, new = arms
    async with routed(gateway, table(old.endpoint, new.endpoint, split=100_000, seq=7)) as router:
        await gateway.start()
        await confirmed(router, Fence(term=1, seq=7))
    assert await bodies(gateway.port, 6) == {"new": 6}
    assert await gateway.stop() == 0
    await gateway.start()
    assert await bodies(gateway.port, 6) == {"new": 6}
    async with routed(gateway, table(old.endpoint, new.endpoint, split=0, seq=8, term=2)) as router:
        await confirmed(router, Fence(term=2, seq=8))
        assert await bodies(gateway.port, 6) == {"old": 6}


async def test_an_unreadable_table_on_disk_is_an_error_with_a_hint(tmp_path: Path) -> None:
    folder = StateDir(tmp_path / ".fairway").gateway
    folder.mkdir(parents=True)
    (folder / "table.json").write_text("{half")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "fairway", "gateway", "serve", "--project", str(tmp_path), "--port", "0",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, said = await process.communicate()
    assert process.returncode == 3
    assert b"cannot be read" in said
    assert b"Traceback" not in said


# --- deaths and restarts ---------------------------------------------------------------------------------------


async def test_a_killed_worker_is_replaced_and_leaves_a_gap_that_readers_see(
    gateway: GatewayProcess, arms: tuple[ScriptedArm, ScriptedArm]
) -> None:
    old, new = arms
    await gateway.start(*from_file(gateway, table(old.endpoint, new.endpoint)))
    await bodies(gateway.port, 10)
    victim, survivor = (await gateway.status())["workers"]
    os.kill(victim["pid"], signal.SIGKILL)

    async def replaced() -> bool:
        workers = (await gateway.status())["workers"]
        return (
            len(workers) == 2 and all(w["ready"] for w in workers) and victim["pid"] not in [w["pid"] for w in workers]
        )

    await until(replaced)
    assert await bodies(gateway.port, 20) == {"old": 20}
    status = await gateway.status()
    assert status["restarts"] == 1
    assert survivor["pid"] in [worker["pid"] for worker in status["workers"]]
    numbers = [batch.seq for batch in await gateway.batches() if batch.worker == victim["worker"]]
    assert numbers == [*range(1, len(numbers)), len(numbers) + 1]  # one number is missing, then the good-bye
    assert [b.last for b in await gateway.batches() if b.worker == victim["worker"]][-1]


@pytest.mark.slow
async def test_a_restart_on_an_inherited_socket_fails_no_request(
    gateway: GatewayProcess, arms: tuple[ScriptedArm, ScriptedArm]
) -> None:
    old, new = arms
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listener:
        port = listener.getsockname()[1]
        arguments = from_file(gateway, table(old.endpoint, new.endpoint, split=50_000))
        await gateway.start(*arguments, listener=listener)
        load = Load(port)
        for _ in range(3):
            await asyncio.sleep(0.3)
            following = GatewayProcess(gateway.folder)
            leaving = gateway.process
            await following.start(listener=listener)  # the new one serves before the old one goes
            assert await gateway.stop() == 0
            assert leaving is not None
            leaving._transport.close()  # type: ignore[attr-defined]
            gateway.process = following.process
        await asyncio.sleep(0.3)
        seen = await load.stop()
        assert seen.keys() == {"200"}
        assert seen["200"] > 100

        async def admin_is_back() -> bool:
            return (await gateway.status())["draining"] is False

        await until(admin_is_back)
        counted = sum(i.finished for batch in await gateway.batches() for i in batch.increments)
        assert counted <= seen["200"]  # what is not flushed yet comes within a second


@pytest.mark.slow
async def test_killing_the_parent_drains_its_workers_and_the_next_one_tells_of_the_gap(
    gateway: GatewayProcess, arms: tuple[ScriptedArm, ScriptedArm]
) -> None:
    old, new = arms
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listener:
        await gateway.start(*from_file(gateway, table(old.endpoint, new.endpoint)), listener=listener)
        status = await gateway.status()
        await gateway.kill()
        assert gateway.process is not None
        gateway.process._transport.close()  # type: ignore[attr-defined]
        await gateway.start(listener=listener)

        async def orphans_gone() -> bool:
            return not any(runs(worker["pid"]) for worker in status["workers"])

        await until(orphans_gone)
        assert await bodies(gateway.port, 10) == {"old": 10}

        async def told() -> bool:
            return {b.worker for b in await gateway.batches() if b.boot == status["boot"] and b.last} == {0, 1}

        await until(told)


@pytest.mark.slow
async def test_a_drain_finishes_a_running_stream_and_exits_zero_with_everything_reported(
    gateway: GatewayProcess,
) -> None:
    async def stream(_: ArmRequest, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for number in range(10):
            writer.write(b"9\r\ndata: %d\n\n\r\n" % number)
            await writer.drain()
            await asyncio.sleep(0.1)
        writer.write(b"1f\r\ndata: d\n: fairway-outcome statu\r\n6\r\ns=ok\n\n\r\n0\r\n\r\n")

    async with ScriptedArm(stream) as arm:
        await gateway.start(*from_file(gateway, table(arm.endpoint, arm.endpoint)))
        async with httpx.AsyncClient() as client:
            running = asyncio.create_task(client.get(f"http://127.0.0.1:{gateway.port}/"))
            while not arm.requests:
                await asyncio.sleep(0.01)
            assert await gateway.stop() == 0
            assert (await running).text == "".join(f"data: {n}\n\n" for n in range(10)) + "data: d\n\n"
    lines = (gateway.state.gateway / "ring" / "1.jsonl").read_text().splitlines()
    batches = [Batch.from_wire(json.loads(line)) for line in lines]
    assert {batch.worker for batch in batches if batch.last} == {0, 1}
    increments = [increment for batch in batches for increment in batch.increments]
    assert [sum(getattr(i, name) for i in increments) for name in ("finished", "failed", "unknown")] == [1, 0, 0]


# --- telemetry -------------------------------------------------------------------------------------------------


async def test_what_was_sent_is_what_is_counted(gateway: GatewayProcess) -> None:
    async def by_target(request: ArmRequest, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(outcome=f"status={request.target[1:]}, tokens_in=2"))

    async with ScriptedArm(by_target) as old, ScriptedArm(by_target) as new:
        await gateway.start(*from_file(gateway, table(old.endpoint, new.endpoint, split=40_000)))
        sent: Counter[tuple[Role, str]] = Counter()
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{gateway.port}") as client:

            async def one(number: int) -> None:
                status = "failed" if number % 5 == 0 else "ok"
                role = Role.CANDIDATE if bucket("r-1", f"c-{number}") < 40_000 else Role.STABLE
                sent[role, status] += 1
                reply = await client.get(f"/{status}", headers={"x-conversation-id": f"c-{number}"})
                assert reply.headers["x-fairway-release"] == ("1.1.0" if role is Role.CANDIDATE else "1.0.0")

            for start in range(0, 300, 20):
                await asyncio.gather(*(one(number) for number in range(start, start + 20)))

        async def all_reported() -> bool:
            return sum(i.finished for b in await gateway.batches() for i in b.increments) == 300

        await until(all_reported)
        increments = [i for batch in await gateway.batches() for i in batch.increments]
        for role in (Role.STABLE, Role.CANDIDATE):
            mine = [i for i in increments if i.role is role]
            assert sum(i.failed for i in mine) == sent[role, "failed"]
            assert sum(i.finished - i.failed - i.unknown for i in mine) == sent[role, "ok"]
            assert sum(i.sums.get("tokens_in", 0) for i in mine) == 2 * (sent[role, "failed"] + sent[role, "ok"])
            assert all(i.t0 % 1.0 == 0 for i in mine)
        text = httpx.get(f"http://127.0.0.1:{gateway.admin}/metrics").text
        for role, version in ((Role.STABLE, "1.0.0"), (Role.CANDIDATE, "1.1.0")):
            labels = f'route="support/production",release="{version}",role="{role.value}"'
            assert f'fairway_gateway_requests_total{{{labels},outcome="ok"}} {sent[role, "ok"]}' in text
        assert_valid_exposition(text)


def assert_valid_exposition(text: str) -> None:
    """Each family is announced once, before its samples, which are well formed and unique."""
    announced: dict[str, str] = {}
    samples: set[str] = set()
    assert text.endswith("\n")
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name not in announced
            announced[name] = kind
        elif not line.startswith("# HELP "):
            match = re.fullmatch(r'([a-z_]+)\{((?:[a-z_]+="[^"\\\n]*",?)*)\} (-?[0-9.e+-]+)', line)
            assert match, line
            name = match.group(1)
            family = name if name in announced else re.sub(r"_(bucket|sum|count)$", "", name)
            assert announced.get(family) in ("counter", "gauge", "histogram"), line
            assert line.rpartition(" ")[0] not in samples
            samples.add(line.rpartition(" ")[0])


# --- pin and trip ----------------------------------------------------------------------------------------------


async def fairway(*arguments: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "fairway", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode()


async def test_pin_stable_needs_nothing_but_the_gateway_and_holds_over_a_restart(
    gateway: GatewayProcess, arms: tuple[ScriptedArm, ScriptedArm]
) -> None:
    old, new = arms
    await gateway.start(*from_file(gateway, table(old.endpoint, new.endpoint, split=100_000)))
    assert await bodies(gateway.port, 4) == {"new": 4}
    code, said = await fairway("gateway", "pin", "stable", "--project", str(gateway.folder), "-o", "json")
    assert (code, json.loads(said)) == (0, {"pinned": "stable", "applied": True, "kept": True})
    assert await bodies(gateway.port, 10) == {"old": 10}
    await gateway.stop()
    await gateway.start()
    assert await bodies(gateway.port, 10) == {"old": 10}
    code, said = await fairway("gateway", "status", "--project", str(gateway.folder))
    assert "PINNED to stable" in said
    await fairway("gateway", "pin", "none", "--project", str(gateway.folder))
    assert await bodies(gateway.port, 4) == {"new": 4}


async def test_it_trips_to_stable_by_itself_past_the_exposure_limit(gateway: GatewayProcess) -> None:
    bad = answer(outcome="status=failed")
    async with ScriptedArm(always(answer(b"old"))) as old, ScriptedArm(always(bad)) as new:
        trip = Trip(max_excess_bad_units=5, window_seconds=60, min_units=10)
        first = replace(table(old.endpoint, new.endpoint, split=50_000), trip=trip)
        async with routed(gateway, first) as router:
            await gateway.start()
            await confirmed(router, first.fence)
            await bodies(gateway.port, 60)

            async def tripped() -> bool:
                return (await gateway.status())["tripped"] == NEW

            await until(tripped)
            assert await bodies(gateway.port, 30) == {"old": 30}

            async def told() -> bool:
                return (await router.observe(ROUTE)).tripped == (NEW,)

            await until(told, 3.0)
            promoting = replace(
                first,
                fence=Fence(term=1, seq=2),
                arms=(replace(first.arms[1], role=Role.STABLE), replace(first.arms[0], role=Role.BASELINE)),
                split=Parts(0),
            )
            for seq, later in enumerate((first, promoting, replace(first, salt="r-2")), start=2):
                await router.apply(replace(later, fence=Fence(term=1, seq=seq)))  # whatever it is called from now on
                await confirmed(router, Fence(term=1, seq=seq))
                assert await bodies(gateway.port, 20) == {"old": 20}
            await gateway.kill()
            await gateway.start()
            assert await bodies(gateway.port, 20) == {"old": 20}
            back = replace(first, arms=first.arms[:1], split=Parts(0), masks=(NEW,))
            await router.apply(replace(back, fence=Fence(term=1, seq=5)))  # the controller obeyed
            await confirmed(router, Fence(term=1, seq=5))
            assert (await gateway.status())["tripped"] is None

            async def forgotten() -> bool:
                return (await router.observe(ROUTE)).tripped == ()

            await until(forgotten, 3.0)


async def test_a_pin_holds_through_a_promotion_and_the_controller_sees_it(
    gateway: GatewayProcess, arms: tuple[ScriptedArm, ScriptedArm]
) -> None:
    old, new = arms
    first = table(old.endpoint, new.endpoint, split=50_000)
    async with routed(gateway, first) as router:
        await gateway.start("--workers", "1")
        await confirmed(router, first.fence)
        assert (await router.observe(ROUTE)).pinned is None
        assert (await gateway.ask_admin("POST", "/v1/pin", {"to": "stable"})).status == 200

        async def told() -> bool:
            return (await router.observe(ROUTE)).pinned == OLD

        await until(told, 3.0)
        promoted = (replace(first.arms[1], role=Role.STABLE), replace(first.arms[0], role=Role.BASELINE))
        await router.apply(replace(first, fence=Fence(term=1, seq=2), arms=promoted, split=Parts(0)))
        await confirmed(router, Fence(term=1, seq=2))
        assert await bodies(gateway.port, 20) == {"old": 20}
        assert (await gateway.ask_admin("POST", "/v1/pin", {"to": None})).status == 200
        assert await bodies(gateway.port, 20) == {"new": 20}

        async def let_go() -> bool:
            return (await router.observe(ROUTE)).pinned is None

        await until(let_go, 3.0)


async def test_a_person_ends_a_trip(gateway: GatewayProcess) -> None:
    async with (
        ScriptedArm(always(answer(b"old"))) as old,
        ScriptedArm(always(answer(b"new", outcome="status=failed"))) as new,
    ):
        trip = Trip(max_excess_bad_units=5, window_seconds=60, min_units=10)
        await gateway.start(*from_file(gateway, replace(table(old.endpoint, new.endpoint, split=50_000), trip=trip)))
        await bodies(gateway.port, 60)

        async def tripped() -> bool:
            return (await gateway.status())["tripped"] == NEW

        await until(tripped)
        assert (await gateway.ask_admin("POST", "/v1/trip", {"release": NEW})).status == 400
        _, said = await fairway("gateway", "status", "--project", str(gateway.folder))
        assert "TRIPPED: 1.1.0 passed" in said
        code, said = await fairway("gateway", "untrip", "--project", str(gateway.folder), "-o", "json")
        assert (code, json.loads(said)) == (0, {"tripped": None, "applied": True, "kept": True})

        async def serves_again() -> bool:
            return "new" in await bodies(gateway.port, 1)

        await until(serves_again)
        await asyncio.sleep(1.2)
        assert (await gateway.status())["tripped"] is None, "for what it did before it is forgiven"


async def test_an_outage_of_both_arms_does_not_trip(gateway: GatewayProcess) -> None:
    bad = always(answer(outcome="status=failed"))
    async with ScriptedArm(bad) as old, ScriptedArm(bad) as new:
        trip = Trip(max_excess_bad_units=5, window_seconds=60, min_units=10)
        await gateway.start(*from_file(gateway, replace(table(old.endpoint, new.endpoint, split=50_000), trip=trip)))
        await bodies(gateway.port, 60)

        async def counted() -> bool:
            return sum(i.failed for b in await gateway.batches() for i in b.increments) == 60

        await until(counted)
        assert (await gateway.status())["tripped"] is None


# --- commands --------------------------------------------------------------------------------------------------


async def test_commands_without_a_gateway_say_so(tmp_path: Path) -> None:
    code, said = await fairway("gateway", "status", "--project", str(tmp_path))
    assert code == 3
    assert "no gateway runs for" in said
    assert "Traceback" not in said
    code, said = await fairway("gateway", "explain", "-H", "x: y", "--project", str(tmp_path))
    assert (code, "no table" in said) == (2, True)


async def test_explain_reads_the_last_table_and_names_the_bucket(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_text(json.dumps(table("127.0.0.1:1", "127.0.0.1:2", split=50_000).to_wire()))
    code, said = await fairway(
        "gateway", "explain", "--table", str(path), "-H", "X-Conversation-Id: c-1", "-o", "json",
    )  # fmt: skip
    found = json.loads(said)
    assert (code, found["bucket"], found["key"]) == (0, bucket("r-1", "c-1"), "c-1")


async def test_a_table_file_that_is_no_table_is_an_error_of_its_author(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    for text in ("[]", "{}", "{half", '{"version": 1, "surprise": 2}'):
        path.write_text(text)
        code, said = await fairway("gateway", "serve", "--project", str(tmp_path), "--table", str(path), "--port", "0")
        assert (code, "Traceback" in said) == (2, False), said


async def test_a_taken_port_is_said_plainly(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, said = await fairway("gateway", "serve", "--project", str(tmp_path), "--port", port)
    assert code == 3
    assert "Traceback" not in said
    assert "listens there" in said


async def test_the_data_plane_imports_neither_numpy_pydantic_sql_nor_a_web_framework() -> None:
    code = (
        "import sys, fairway.gateway.parent, fairway.gateway.worker\n"
        "heavy = {'numpy', 'pydantic', 'sqlalchemy', 'fastapi', 'starlette', 'aiohttp', 'httpx', 'yaml', 'rich'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    said, _ = await process.communicate()
    assert said.decode().strip() == "[]"


# --- the mirror ------------------------------------------------------------------------------------------------


async def test_a_conversation_is_mirrored_whichever_worker_takes_its_requests(
    gateway: GatewayProcess, arms: tuple[ScriptedArm, ScriptedArm]
) -> None:
    old, new = arms
    plain = table(old.endpoint, new.endpoint)
    shadow = replace(plain.arms[1], role=Role.SHADOW)
    mirrored = replace(plain, arms=(plain.arms[0], shadow), mirror=Parts(100_000))
    await gateway.start(*from_file(gateway, mirrored))
    for _ in range(12):
        async with httpx.AsyncClient() as client:
            reply = await client.get(f"http://127.0.0.1:{gateway.port}/", headers={"x-conversation-id": "c-1"})
        assert (reply.status_code, reply.headers["x-fairway-release"]) == (200, "1.0.0")

    async def seen() -> bool:
        text = (await gateway.ask_admin("GET", "/metrics")).body.decode()
        return re.search(r'shadow_requests_total\{.*release="1.1.0",result="compared"\} 12\.?0?\n', text) is not None

    async with asyncio.timeout(5):
        while not await seen():
            await asyncio.sleep(0.1)
    assert len(new.requests) == 12
    assert {request.header("x-fairway-shadow") for request in new.requests} == {"1"}
    assert (await gateway.status())["table"]["mirror"] == "100%"


# --- the listening socket ----------------------------------------------------------------------------------------


async def test_a_killed_gateway_leaves_its_socket_to_who_took_a_hold_of_it(
    gateway: GatewayProcess, arms: tuple[ScriptedArm, ScriptedArm]
) -> None:
    old, new = arms
    served = from_file(gateway, table(old.endpoint, new.endpoint))
    await gateway.start(*served)
    where = listener_socket(gateway.state)
    async with asyncio.timeout(5):
        while not where.exists():
            await asyncio.sleep(0.02)
    assert os.stat(where).st_mode & 0o777 == 0o600
    assert await asyncio.to_thread(take_listener, where, port=gateway.port + 1) is None
    taken = await asyncio.to_thread(take_listener, where, port=gateway.port)
    assert taken is not None
    with taken:
        workers = [worker["pid"] for worker in (await gateway.status())["workers"]]
        await gateway.kill()
        for pid in workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        async with asyncio.timeout(5):
            while any(runs(pid) for pid in workers):
                await asyncio.sleep(0.02)
        waiting = asyncio.create_task(bodies(gateway.port, 1))
        await asyncio.sleep(0.3)
        assert not waiting.done(), "nobody accepts, and nobody is refused"
        await gateway.start(*served, listener=taken)
        assert await waiting == {"old": 1}


async def test_a_drained_gateway_hands_nothing_over(
    gateway: GatewayProcess, arms: tuple[ScriptedArm, ScriptedArm]
) -> None:
    old, new = arms
    await gateway.start(*from_file(gateway, table(old.endpoint, new.endpoint)))
    assert await gateway.stop() == 0
    assert not listener_socket(gateway.state).exists()
    assert await asyncio.to_thread(take_listener, listener_socket(gateway.state), port=gateway.port) is None
