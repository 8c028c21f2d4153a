"""Shadows that hang, reset, flood, drip and cannot be reached: users are answered as if there were none."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import replace
from pathlib import Path

import pytest

from fairway.gateway import room
from fairway.gateway.shadow_copy import MAX_ANSWER_BYTES
from fairway.testing.gateway_worker import Harness, connected
from fairway.testing.scripted_arm import ScriptedArm, always, answer
from fairway.traffic.fence import Fence
from fairway.traffic.table import Arm, KeyExtractor, KeyKind, Role, RouteTable, Timeouts
from fairway.units import AgentName, Digest, EnvironmentName, Parts, RouteId

OLD, NEW = Digest("sha256:" + "a" * 64), Digest("sha256:" + "b" * 64)
CLIENTS, TURNS = 4, 30

HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n"
SERVED = b"the user's answer"


class HostileShadow:
    """Accepts connections and treats each as ``kind`` says; ``sent``: bytes it got rid of."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.sent = 0
        self.requests = 0
        self.endpoint = ""
        self._tasks: set[asyncio.Task[None]] = set()
        self._listener = socket.socket()
        self._fillers: list[socket.socket] = []

    async def __aenter__(self) -> HostileShadow:
        self._listener.bind(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self.endpoint = f"127.0.0.1:{self._listener.getsockname()[1]}"
        if self.kind == "never connects":
            self._listener.listen(0)
            for _ in range(4):  # what waits to be accepted is full: a new connection gets no answer at all
                filler = socket.socket()
                filler.setblocking(False)
                filler.connect_ex(self._listener.getsockname())
                self._fillers.append(filler)
        elif self.kind != "refuses":
            self._listener.listen(256)
            self._spawn(self._accept())
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for one in (self._listener, *self._fillers):
            one.close()

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            connection, _ = await loop.sock_accept(self._listener)
            self._spawn(self._treat(connection))

    async def _treat(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with connection, contextlib.suppress(OSError):
            while data := await loop.sock_recv(connection, 65_536):
                self.requests += data.count(b"HTTP/1.1\r\n")
                await TREATMENTS[self.kind](self, connection)
                if self.kind in ("resets", "half and reset"):
                    linger = struct.pack("ii", 1, 0)  # close() sends a reset
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    return

    async def write(self, connection: socket.socket, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(connection, data)
        self.sent += len(data)


async def _nothing(shadow: HostileShadow, connection: socket.socket) -> None:
    """Read, and never answer."""


async def _half(shadow: HostileShadow, connection: socket.socket) -> None:
    await shadow.write(connection, HEAD % 1000 + b"x" * 500)


async def _garbage(shadow: HostileShadow, connection: socket.socket) -> None:
    await shadow.write(connection, bytes(range(256)) * 64)


async def _flood(shadow: HostileShadow, connection: socket.socket) -> None:
    await shadow.write(connection, HEAD % (10 * 1024**3))
    while True:
        await shadow.write(connection, b"z" * 1_000_000)


async def _endless_head(shadow: HostileShadow, connection: socket.socket) -> None:
    await shadow.write(connection, b"HTTP/1.1 200 OK\r\n")
    while True:
        await shadow.write(connection, b"x-more: " + b"y" * 8000 + b"\r\n")


async def _drip(shadow: HostileShadow, connection: socket.socket) -> None:
    await shadow.write(connection, HEAD % 100_000)
    while True:
        await shadow.write(connection, b".")
        await asyncio.sleep(0.005)


async def _two_answers(shadow: HostileShadow, connection: socket.socket) -> None:
    await shadow.write(connection, (HEAD % 2 + b"ok") * 3)


TREATMENTS: dict[str, Callable[[HostileShadow, socket.socket], Awaitable[None]]] = {
    "hangs": _nothing,
    "resets": _nothing,
    "half and reset": _half,
    "garbage": _garbage,
    "floods": _flood,
    "endless head": _endless_head,
    "drips": _drip,
    "answers thrice": _two_answers,
}


def table(stable: str, shadow: str, *, mirror: int = 100_000) -> RouteTable:
    return RouteTable(
        route=RouteId(agent=AgentName("support"), environment=EnvironmentName("production")),
        fence=Fence(term=1, seq=1),
        arms=(
            Arm(role=Role.STABLE, release=OLD, version="1.0.0", endpoints=(stable,)),
            Arm(role=Role.SHADOW, release=NEW, version="1.1.0", endpoints=(shadow,)),
        ),
        mirror=Parts(mirror),
        salt="r-1",
        keys=(KeyExtractor(kind=KeyKind.HEADER, name="x-conversation-id"),),
        timeouts=Timeouts(connect=0.3, first_byte=0.6, idle=0.6, total=1.2),
        block_seconds=60.0,
    )


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[Harness]:
    made = Harness(tmp_path)
    yield made
    await made.close()


async def conversations(harness: Harness, name: str, turns: int) -> None:
    """One client: short conversations, one after the other; every answer is looked at."""
    async with connected(harness.port) as client:
        for turn in range(turns):
            key = f"X-Conversation-Id: {name}-{turn // 3}"
            reply = await client.ask(key, method="POST", target="/chat", body=b"question")
            assert (reply.status, reply.version, reply.body) == (200, "1.0.0", SERVED)


@pytest.mark.parametrize("kind", [*TREATMENTS, "refuses", "never connects"])
async def test_every_user_is_answered_whatever_a_shadow_does(harness: Harness, kind: str) -> None:
    async with ScriptedArm(always(answer(SERVED))) as stable, HostileShadow(kind) as shadow:
        await harness.start(table(stable.endpoint, shadow.endpoint))
        async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
            for number in range(CLIENTS):
                tasks.create_task(conversations(harness, f"c-{number}", TURNS))
        mirror = harness.worker.mirror
        assert mirror.room.copies <= room.MAX_COPIES
        async with asyncio.timeout(10):
            while mirror.room.copies:
                await asyncio.sleep(0.01)
        assert mirror.room.held_bytes == 0
        counted = await harness.counted()
        users, copies = counted[Role.STABLE], counted[Role.SHADOW].sums
        assert (users.assigned, users.finished, users.failed, users.unknown) == (120, 120, 0, 0)
        ended = ("shadow_pairs", "shadow_unknown", "shadow_dropped", "shadow_skipped", "shadow_client_left")
        assert sum(copies.get(name, 0) for name in ended) == 120, "each is compared, or counted with its reason"
        assert shadow.sent <= shadow.requests * (MAX_ANSWER_BYTES + 8 * 1024 * 1024), "a flood is not listened to"


async def test_users_are_answered_nearly_as_often_beside_a_shadow_that_hangs(harness: Harness) -> None:
    async def answered(seconds: float, name: str) -> int:
        count, until = 0, time.perf_counter() + seconds
        async with connected(harness.port) as client:
            while time.perf_counter() < until:
                key = f"X-Conversation-Id: {name}-{count // 3}"
                assert (await client.ask(key, method="POST", body=b"q")).body == SERVED
                count += 1
        return count

    async with ScriptedArm(always(answer(SERVED))) as stable, HostileShadow("hangs") as shadow:
        beside = table(stable.endpoint, shadow.endpoint)
        await harness.start(replace(beside, mirror=Parts(0)))
        alone = with_shadow = 0
        for number in range(3):
            await harness.install(replace(beside, mirror=Parts(0), fence=Fence(term=1, seq=2 * number + 2)))
            alone += await answered(0.2, f"a{number}")
            await harness.install(replace(beside, fence=Fence(term=1, seq=2 * number + 3)))
            with_shadow += await answered(0.2, f"b{number}")
        assert shadow.requests > 0
        assert with_shadow > alone / 4, f"{with_shadow} beside the shadow, {alone} without"
