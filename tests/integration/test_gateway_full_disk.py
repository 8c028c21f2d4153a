"""A full disk keeps no table, no trip and no pin from the workers, and nothing is acknowledged that would be lost."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import socket
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fairway.gateway import state as gateway_state
from fairway.gateway.admin import AdminApi
from fairway.gateway.channel import receive, send
from fairway.gateway.parent import Gateway
from fairway.gateway.pulling import pull_forever
from fairway.gateway.ring import Ring
from fairway.gateway.settings import GatewaySettings
from fairway.gateway.workforce import WorkerHandle
from fairway.observe.blocks import Batch, Increment
from fairway.state_dir import StateDir
from fairway.traffic.fence import Fence
from fairway.traffic.local_http import LocalRequest
from fairway.traffic.routers.gateway import GatewayRouter
from fairway.traffic.table import Arm, Role, RouteTable, Trip
from fairway.units import AgentName, Digest, EnvironmentName, Parts, RouteId, UnitHash

OLD, NEW = Digest("sha256:" + "a" * 64), Digest("sha256:" + "b" * 64)
ROUTE = RouteId(agent=AgentName("support"), environment=EnvironmentName("production"))
STABLE = Arm(role=Role.STABLE, release=OLD, version="1.0.0", endpoints=("127.0.0.1:1",))
CANDIDATE = Arm(role=Role.CANDIDATE, release=NEW, version="1.1.0", endpoints=("127.0.0.1:2",))
STEPPING = RouteTable(
    route=ROUTE,
    fence=Fence(term=1, seq=1),
    arms=(STABLE, CANDIDATE),
    split=Parts(10_000),
    salt="r-1",
    trip=Trip(max_excess_bad_units=5, window_seconds=60, min_units=5),
)
FURTHER = replace(STEPPING, fence=Fence(term=1, seq=2), split=Parts(50_000))
ROLLED_BACK = replace(STEPPING, fence=Fence(term=1, seq=3), arms=(STABLE,), split=Parts(0), masks=(NEW,))


class Disk:
    """What the gateway writes its small files to; can be full."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.full = False
        write = gateway_state.write_json

        def write_or_not(path: Path, value: Any) -> None:
            if self.full:
                raise OSError(errno.ENOSPC, "No space left on device", str(path))
            write(path, value)

        monkeypatch.setattr(gateway_state, "write_json", write_or_not)


class Setting:
    """A gateway's parent with one scripted worker, and the controller's side of the protocol."""

    def __init__(self, folder: Path) -> None:
        self.state = StateDir(folder)
        self.state.socket("controller").parent.mkdir(parents=True, exist_ok=True)
        self.router = GatewayRouter(self.state.socket("controller"))
        self.messages: list[dict[str, Any]] = []
        self.tasks: list[asyncio.Task[Any]] = []
        self.gateway = Gateway(GatewaySettings(state=self.state, workers=0))

    async def start(self) -> None:
        await self.router.start()
        ours, theirs = socket.socketpair()
        reader, writer = await asyncio.open_unix_connection(sock=ours)
        self._theirs = await asyncio.open_unix_connection(sock=theirs)
        process: Any = SimpleNamespace(pid=0)
        self.worker = WorkerHandle(0, process, reader, writer)
        self.gateway.workers[0] = self.worker
        self.gateway._load_tables()
        self.gateway._push()
        self.reader = asyncio.create_task(self.gateway._workforce.listen_to(self.worker))
        self.pulling = asyncio.create_task(pull_forever(self.gateway, self.state.socket("controller")))
        self.keeping = asyncio.create_task(self.gateway._keep_forever())
        self.tasks = [self.reader, self.pulling, self.keeping, asyncio.create_task(self._work())]

    async def _work(self) -> None:
        """Acknowledge every table, as a worker does."""
        reader, writer = self._theirs
        while (message := await receive(reader)) is not None:
            self.messages.append(message)
            if message["type"] == "table":
                fence = RouteTable.from_wire(message["table"]).fence
                send(writer, {"type": "ack", "generation": message["generation"], "fence": str(fence)})

    def tell(self, batch: dict[str, Any]) -> None:
        send(self._theirs[1], {"type": "batch", "batch": batch, "stats": {}})

    async def close(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        for writer in (self.worker.writer, self._theirs[1]):
            writer.close()
        await self.router.close()
        await asyncio.sleep(0.01)

    @property
    def served(self) -> RouteTable:
        """The table the worker was sent last."""
        return RouteTable.from_wire([m for m in self.messages if m["type"] == "table"][-1]["table"])

    @property
    def withheld(self) -> list[str]:
        return list([m for m in self.messages if m["type"] == "table"][-1]["withheld"])

    async def confirmed(self) -> Fence | None:
        return (await self.router.observe(ROUTE)).confirmed

    async def status(self, target: str = "/v1/status") -> Any:
        asked = LocalRequest(method="GET", path=target, query={}, body=b"")
        return await AdminApi(self.gateway).handle(asked)


async def until(condition: Any, within: float = 5.0) -> None:
    async with asyncio.timeout(within):
        while True:
            found = condition()
            if await found if asyncio.iscoroutine(found) else found:
                return
            await asyncio.sleep(0.02)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


@pytest.fixture
async def setting(tmp_path: Path, disk: Disk) -> AsyncIterator[Setting]:
    made = Setting(tmp_path)
    await made.start()
    await made.router.apply(STEPPING)

    async def begun() -> bool:
        return await made.confirmed() == STEPPING.fence

    await until(begun)
    yield made
    await made.close()


def restarted(setting: Setting) -> Gateway:
    """What a gateway that starts now begins with."""
    fresh = Gateway(GatewaySettings(state=setting.state, workers=0))
    fresh._load_tables()
    return fresh


def bad_units(setting: Setting) -> dict[str, Any]:
    units = tuple(UnitHash(hashlib.blake2b(bytes([n]), digest_size=8).hexdigest()) for n in range(20))
    increment = Increment(
        t0=time.time(), release=NEW, role=Role.CANDIDATE, fence=STEPPING.fence, assigned=20, served=20, finished=20,
        failed=20, marks={"active": units, "failed": units}, regime=STEPPING.regime,
    )  # fmt: skip
    return Batch(
        gateway="g", boot="b", worker=0, seq=1, at=time.time(), block_seconds=10.0, timeout=30.0,
        increments=(increment,),
    ).to_wire()  # fmt: skip


async def test_a_table_is_served_though_the_disk_is_full_and_acknowledged_once_it_is_kept(
    setting: Setting, disk: Disk
) -> None:
    disk.full = True
    await setting.router.apply(FURTHER)
    await until(lambda: setting.served == FURTHER)
    await asyncio.sleep(0.8)
    assert await setting.confirmed() == STEPPING.fence, "a crash would forget it"
    assert restarted(setting).table == STEPPING
    status = (await setting.status()).json()
    assert status["not_kept"]["what"] == ["table"]
    assert "No space left" in status["not_kept"]["error"]
    assert b"fairway_gateway_not_kept" in (await setting.status("/metrics")).body
    disk.full = False

    async def acknowledged() -> bool:
        return await setting.confirmed() == FURTHER.fence

    await until(acknowledged)
    assert (await setting.status()).json()["not_kept"] is None
    assert restarted(setting).table == FURTHER


async def test_a_rollback_is_served_and_acknowledged_on_a_full_disk(setting: Setting, disk: Disk) -> None:
    disk.full = True
    await setting.router.apply(FURTHER)
    await until(lambda: setting.served == FURTHER)
    await setting.router.apply(ROLLED_BACK)

    async def acknowledged() -> bool:
        return await setting.confirmed() == ROLLED_BACK.fence

    await until(acknowledged)
    assert setting.served == ROLLED_BACK
    assert not setting.pulling.done()
    disk.full = False
    await until(lambda: restarted(setting).table == ROLLED_BACK)


async def test_a_trip_reaches_the_workers_and_the_controller_on_a_full_disk_and_is_kept_later(
    setting: Setting, disk: Disk
) -> None:
    disk.full = True
    setting.tell(bad_units(setting))
    await until(lambda: setting.withheld == [NEW])

    async def told() -> bool:
        return (await setting.router.observe(ROUTE)).tripped == (NEW,)

    await until(told, 3.0)
    assert not setting.reader.done(), "the worker is still listened to"
    assert restarted(setting).decisions.tripped is None
    assert (await setting.status()).json()["not_kept"]["what"] == ["decisions"]
    disk.full = False
    await until(lambda: restarted(setting).decisions.tripped == NEW)
    assert restarted(setting).decisions.tripped_to == OLD


async def test_a_pin_reaches_the_workers_and_the_controller_on_a_full_disk_and_is_kept_later(
    setting: Setting, disk: Disk
) -> None:
    disk.full = True
    asked = LocalRequest(method="POST", path="/v1/pin", query={}, body=b'{"to":"stable"}')
    answer = await AdminApi(setting.gateway).handle(asked)
    assert answer.json() == {"pinned": "stable", "applied": True, "kept": False}
    assert setting.withheld == [NEW]

    async def told() -> bool:
        return (await setting.router.observe(ROUTE)).pinned == OLD

    await until(told, 3.0)
    disk.full = False
    await until(lambda: restarted(setting).decisions.pinned_to == OLD)


async def test_a_restart_never_meets_the_table_it_tripped_under_without_the_trip(
    setting: Setting, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting.tell(bad_units(setting))
    await until(lambda: setting.withheld == [NEW])
    keep = setting.gateway.state.keep_table

    def full(_: RouteTable) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(setting.gateway.state, "keep_table", full)  # the table is the larger file
    await setting.router.apply(ROLLED_BACK)
    await until(lambda: setting.served == ROLLED_BACK)
    assert setting.gateway.decisions.tripped is None, "the controller obeyed"
    again = restarted(setting)
    assert (again.table, again.decisions.tripped) == (STEPPING, NEW)
    monkeypatch.setattr(setting.gateway.state, "keep_table", keep)
    await until(lambda: restarted(setting).table == ROLLED_BACK and restarted(setting).decisions.tripped is None)


async def test_an_error_nobody_thought_of_ends_neither_the_pulling_nor_the_listening(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(setting.gateway, "_adopt", broken)
    monkeypatch.setattr(setting.gateway, "_watch", broken)
    setting.tell(bad_units(setting))
    await setting.router.apply(FURTHER)
    await asyncio.sleep(0.3)
    monkeypatch.undo()
    await until(lambda: setting.served == FURTHER)
    setting.tell(bad_units(setting))
    await until(lambda: setting.withheld == [NEW])


def test_a_ring_that_found_no_space_for_its_next_segment_goes_on_when_there_is_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ring = Ring(tmp_path / "ring", segment_bytes=24)
    ring.append(b"x" * 20)
    opened = Path.open

    def full(self: Path, *arguments: Any, **options: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "open", full)
    for _ in range(2):
        with pytest.raises(OSError, match="No space"):
            ring.append(b"lost")
    monkeypatch.setattr(Path, "open", opened)
    ring.append(b"kept")
    assert ring.read(None)[0] == [b"x" * 20, b"kept"]
    ring.close()
