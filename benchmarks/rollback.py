"""How long after the decision the last request reaches the bad arm.

A gateway of two worker processes serves under a bounded closed loop of conversations that stay where they began. The
controller's own router publishes a table that gives the candidate half, then one that masks it, and so on with rising
fences. The arms note when each request arrives: that is what a user of the bad arm sees. The router's read-back is
what a controller sees.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks.bench import Bench, Promise, markdown
from fairway.state_dir import StateDir
from fairway.traffic.fence import Fence
from fairway.traffic.routers.gateway import GatewayRouter
from fairway.traffic.table import Arm, KeyExtractor, KeyKind, Role, RouteTable
from fairway.units import AgentName, Digest, EnvironmentName, Parts, RouteId

SWITCHES = int(os.environ.get("FAIRWAY_BENCH_SWITCHES", "20"))
MAX_SECONDS = 1.0
WATCH_SECONDS = 1.5  # longer than the promise, so that a late request is seen and not missed
WORKERS = 2
CLIENTS = 16
THINK_SECONDS = 0.005  # between two requests of a client: busy, yet far from what a gateway can carry
TURNS = 40  # requests of a conversation, so that many are on the bad arm when it is masked
HALF = Parts(50_000)
STABLE, CANDIDATE = Digest("sha256:" + "a" * 64), Digest("sha256:" + "b" * 64)
_BODY = b'{"reply":"' + b"x" * 180 + b'"}'
_ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(_BODY), _BODY)


class ArrivalArm(asyncio.Protocol):
    """One connection to an arm: answers GETs, and notes when each arrived."""

    def __init__(self, arrivals: list[float]) -> None:
        self._arrivals = arrivals
        self._left = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        *heads, self._left = (self._left + data).split(b"\r\n\r\n")
        for _ in heads:
            self._arrivals.append(time.perf_counter())
            self._transport.write(_ANSWER)


@dataclass(slots=True)
class Load:
    """What the clients saw: seconds of each round trip, and what failed."""

    took: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    async def client(self, port: int, name: int, stop: asyncio.Event) -> None:
        """Send one request after another until told to stop; a failed one is counted and the connection made anew."""
        sent = 0
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while not stop.is_set():
            head = f"GET /chat HTTP/1.1\r\nhost: bench\r\nx-conversation-id: {name}-{sent // TURNS}\r\n\r\n"
            begun = time.perf_counter()
            sent += 1
            try:
                async with asyncio.timeout(10):
                    await self._ask(reader, writer, head.encode())
                self.took.append(time.perf_counter() - begun)
            except (OSError, EOFError, TimeoutError, ValueError) as error:
                self.failures.append(f"{type(error).__name__}: {error}")
                writer.close()
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
            await asyncio.sleep(THINK_SECONDS)
        writer.close()

    @staticmethod
    async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> None:
        writer.write(head)
        answer = await reader.readuntil(b"\r\n\r\n")
        if not answer.startswith(b"HTTP/1.1 200 "):
            raise ValueError(answer.partition(b"\r\n")[0].decode())
        if await reader.readexactly(len(_BODY)) != _BODY:
            raise ValueError("another body")


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    """One rollback, in seconds after it was decided; ``last_request`` is 0 when none came any more."""

    last_request: float
    confirmed: float
    on_bad_arm_before: int


@contextlib.asynccontextmanager
async def _gateway(folder: Path) -> AsyncIterator[int]:
    command = [sys.executable, "-m", "fairway", "gateway", "serve", "--project", str(folder)]
    log = folder / "gateway.log"
    with log.open("wb") as told:
        process = await asyncio.create_subprocess_exec(
            *command, "--port", "0", "--workers", str(WORKERS), "-o", "json",
            stdout=asyncio.subprocess.PIPE, stderr=told,
        )  # fmt: skip
    try:
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), 30)
        if not line:
            raise RuntimeError(f"the gateway ended before it served: {log.read_text()[-2000:]}")
        yield int(json.loads(line)["port"])
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(process.wait(), 40)


async def _arm(role: Role, release: Digest, arrivals: list[float]) -> Arm:
    server = await asyncio.get_running_loop().create_server(lambda: ArrivalArm(arrivals), "127.0.0.1", 0, backlog=1024)
    port = server.sockets[0].getsockname()[1]
    return Arm(role=role, release=release, version=role.value, endpoints=(f"127.0.0.1:{port}",))


async def _confirmed(router: GatewayRouter, table: RouteTable) -> float:
    """Publish a table; seconds until every worker said that it serves it."""
    begun = time.perf_counter()
    await router.apply(table)
    async with asyncio.timeout(30):
        while (await router.observe(table.route)).confirmed != table.fence:
            await asyncio.sleep(0.001)
    return time.perf_counter() - begun


def _next(table: RouteTable, *, masked: bool) -> RouteTable:
    fence = Fence(term=1, seq=table.fence.seq + 1)
    if masked:
        return replace(table, fence=fence, split=Parts(0), masks=(CANDIDATE,))
    return replace(table, fence=fence, split=HALF, masks=())


async def _one_switch(router: GatewayRouter, half: RouteTable, bad: list[float]) -> tuple[Switch, RouteTable]:
    before = len(bad)
    await asyncio.sleep(0.5)  # half of the conversations are with the bad arm by now
    on_bad_arm = len(bad) - before
    masked = _next(half, masked=True)
    decided = time.perf_counter()
    confirmed = await _confirmed(router, masked)
    await asyncio.sleep(max(0.0, WATCH_SECONDS - confirmed))
    late = [at - decided for at in bad if at > decided]
    return Switch(last_request=max(late, default=0.0), confirmed=confirmed, on_bad_arm_before=on_bad_arm), masked


async def _measure(folder: Path) -> tuple[list[Switch], Load]:
    good: list[float] = []
    bad: list[float] = []
    table = RouteTable(
        route=RouteId(agent=AgentName("bench"), environment=EnvironmentName("production")),
        fence=Fence(term=1, seq=1),
        arms=(await _arm(Role.STABLE, STABLE, good), await _arm(Role.CANDIDATE, CANDIDATE, bad)),
        salt="bench",
        keys=(KeyExtractor(kind=KeyKind.HEADER, name="x-conversation-id"),),
    )
    router = GatewayRouter(StateDir(folder / ".fairway").socket("controller"))
    await router.start()
    load, stop = Load(), asyncio.Event()
    switches: list[Switch] = []
    try:
        async with _gateway(folder) as port, asyncio.TaskGroup() as clients:
            await _confirmed(router, table)
            for name in range(CLIENTS):
                clients.create_task(load.client(port, name, stop))
            try:
                for _ in range(SWITCHES):
                    table = _next(table, masked=False)
                    await _confirmed(router, table)
                    switch, table = await _one_switch(router, table, bad)
                    switches.append(switch)
            finally:
                stop.set()
    finally:
        await router.close()
    return switches, load


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.1f}"


def _row(name: str, seconds: list[float], floor: float) -> dict[str, str]:
    middle = statistics.median(seconds)
    return {
        "after the decision": name,
        "median ms": _milliseconds(middle),
        "max ms": _milliseconds(max(seconds)),
        "to a round trip (median)": f"{middle / floor:.1f}",
    }


def report(switches: list[Switch], load: Load) -> Bench:
    """The result; a switch before which nothing was on the bad arm proves nothing and breaks the promise."""
    floor = statistics.median(load.took)
    last, confirmed = [one.last_request for one in switches], [one.confirmed for one in switches]
    empty = sum(one.on_bad_arm_before == 0 for one in switches)
    on_bad_arm = sum(one.on_bad_arm_before for one in switches)
    sent = len(load.took) + len(load.failures)
    return Bench(
        title="Rollback: from the decision to the last request on the bad arm",
        rows=[
            _row("last request on the bad arm", last, floor),
            _row(f"confirmed by {WORKERS} workers", confirmed, floor),
            _row("a round trip through the gateway, in the same run", load.took, floor),
        ],
        promises=[
            Promise(
                text=f"last request on the bad arm ≤ {MAX_SECONDS:.0f} s after the decision",
                measured=f"{max(last) * 1000:.0f} ms at most over {len(switches)} switches"
                + (f", {empty} of them without traffic on that arm" if empty else ""),
                kept=max(last) <= MAX_SECONDS and empty == 0,
            ),
            Promise(
                text="no failed request",
                measured=f"{len(load.failures)} of {sent:,}"
                + (f", the first: {load.failures[0]}" if load.failures else ""),
                kept=not load.failures,
            ),
        ],
        notes=[
            f"{CLIENTS} clients in a closed loop, {TURNS} requests a conversation",
            f"{on_bad_arm:,} requests on the bad arm in the half seconds before the switches; watched for "
            f"{WATCH_SECONDS} s after each",
        ],
    )


def run() -> Bench:
    """Measure."""
    with tempfile.TemporaryDirectory() as folder:
        return report(*asyncio.run(_measure(Path(folder))))


def main() -> int:
    """Print the table; 1 when a promise is broken."""
    bench = run()
    print(markdown(bench))
    return 1 if any(promise.kept is False for promise in bench.promises) else 0


if __name__ == "__main__":
    sys.exit(main())
