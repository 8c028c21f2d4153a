"""The gateway's parent process: holds the listening socket and the table, keeps workers alive, serves the admin API.

It serves no traffic itself, so that nothing it does can slow a request down; workers outlive each other, and a drain
follows when it goes.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import logging
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode

from fairway.errors import TransientError
from fairway.gateway.admin import AdminApi
from fairway.gateway.channel import receive, send
from fairway.gateway.goodbyes import goodbye, unfinished
from fairway.gateway.keeping import RETRY_SECONDS, Keeper
from fairway.gateway.metrics import MetricsBook
from fairway.gateway.overruling import narrows, overruled, pinned_in, settled, tripped_in
from fairway.gateway.ring import Ring
from fairway.gateway.state import GatewayState, LocalDecisions
from fairway.gateway.trip import TripWindow
from fairway.gateway.worker import WorkerSettings
from fairway.observe.blocks import Batch
from fairway.state_dir import StateDir
from fairway.traffic.fence import ZERO_FENCE, Fence
from fairway.traffic.local_http import LocalClient, LocalServer
from fairway.traffic.table import Role, RouteTable
from fairway.units import AgentName, EnvironmentName, RouteId

log = logging.getLogger("fairway.gateway")

T = TypeVar("T")

POLL_SECONDS = 1.0
"""What a gateway decides by itself travels with its next question, so it is told within so long."""

ACK_SECONDS = 1.0
"""How long an acknowledgement waits for slow workers before it tells the lower fence."""

MAX_PENDING = 10_000
"""Batches kept in memory while another gateway process still holds the ring."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySettings:
    """How a gateway is run.

    Attributes:
        state: Where its files are.
        host, port: Where it listens; port 0 takes a free one. Not used with ``fd``.
        fd: Inherited listening socket.
        admin_port: TCP port for people and Prometheus on 127.0.0.1; ``None``: only the unix socket.
        workers: Processes that serve.
        table_file: A table to begin with, for use without a controller.
        controller_socket: Where tables are pulled from; ``None``: only ``table_file`` and what is on disk.
        drain_seconds: How long running requests may take after SIGTERM.
    """

    state: StateDir
    host: str = "127.0.0.1"
    port: int = 8080
    fd: int | None = None
    admin_port: int | None = None
    workers: int = 2
    table_file: Path | None = None
    controller_socket: Path | None = None
    drain_seconds: float = 30.0


_NO_TABLE = RouteTable(
    route=RouteId(agent=AgentName("none"), environment=EnvironmentName("none")), fence=ZERO_FENCE, arms=()
)
"""Served before there is any table: every request is told that no release is serving."""


class WorkerHandle:
    """A worker as its parent sees it."""

    def __init__(
        self,
        number: int,
        process: asyncio.subprocess.Process,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.number = number
        self.process = process
        self.reader = reader
        self.writer = writer
        self.ready = False
        self.generation = 0
        self.fence: Fence | None = None
        self.seq = 0
        self.said_goodbye = False
        self.stats: dict[str, Any] = {}
        self.started = time.monotonic()


class Gateway:
    """One gateway: parent of its workers."""

    def __init__(self, settings: GatewaySettings, *, on_ready: Callable[[int, int | None], None] | None = None) -> None:
        """Take the settings; ``on_ready`` is told the port and the admin port once every worker serves."""
        self.settings = settings
        self.state = GatewayState(settings.state)
        self.boot = secrets.token_hex(4)
        self.decisions: LocalDecisions = self.state.decisions()
        self.keeper = Keeper(self.state, table=None, decisions=self.decisions)
        self.table: RouteTable | None = None
        self.table_error: str | None = None
        self.controller_seen: float | None = None
        self.port = settings.port
        self.metrics = MetricsBook()
        self.workers: dict[int, WorkerHandle] = {}
        self.restarts = 0
        self.refused_total: dict[str, int] = {}
        self.draining = False
        self.started = time.time()
        self.ring: Ring | None = None
        self._on_ready = on_ready
        self._generation = 0
        self._next_worker = 0
        self._acked = asyncio.Event()
        self._ready = asyncio.Event()
        self._stop = asyncio.Event()
        self._pending: list[bytes] = []
        self._versions: dict[str, str] = {}
        self._trip = TripWindow()
        self._lock_fd: int | None = None
        self._listener: socket.socket | None = None
        self._supervisors: set[asyncio.Task[None]] = set()

    # --- life --------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT, then drain.

        Raises:
            OSError: When the port or the admin socket cannot be bound.
            PermanentError: When the table on disk cannot be read.
        """
        self._listener = self._listen()
        self.port = self._listener.getsockname()[1]
        self._load_tables()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        admin_port = None
        public = LocalServer(AdminApi(self).handle)
        if self.settings.admin_port is not None:
            admin_port = await public.listen_tcp("127.0.0.1", self.settings.admin_port)
        private = LocalServer(AdminApi(self).handle)
        background = [asyncio.create_task(self._own_ring(private)), asyncio.create_task(self._keep_forever())]
        if self.settings.controller_socket is not None:
            background.append(asyncio.create_task(self._pull_forever(self.settings.controller_socket)))
        try:
            self._start_workers()
            background.append(asyncio.create_task(self._announce(admin_port)))
            await self._stop.wait()
            self.draining = True
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)
            await self._drain()
        finally:
            await public.close()
            await private.close()
            await self._end_workers()
            self._listener.close()
            if self.ring is not None:
                self.ring.close()
            if self._lock_fd is not None:
                os.close(self._lock_fd)

    def stop(self) -> None:
        """Begin to drain, as SIGTERM does."""
        self._stop.set()

    def _listen(self) -> socket.socket:
        if self.settings.fd is not None:
            listener = socket.socket(fileno=self.settings.fd)
        else:
            listener = socket.socket(socket.AF_INET6 if ":" in self.settings.host else socket.AF_INET)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((self.settings.host, self.settings.port))
            listener.listen(4096)
        listener.setblocking(False)
        return listener

    def _load_tables(self) -> None:
        kept = self.state.table()
        self.keeper = Keeper(self.state, table=kept, decisions=self.decisions)
        given = self.settings.table_file
        if given is not None:
            table = RouteTable.from_wire(json.loads(given.read_bytes()))
            check_table(table)
            if kept is None or kept.route != table.route or table.fence >= kept.fence:
                kept = table
        if kept is not None:
            self._adopt(kept)

    async def _announce(self, admin_port: int | None) -> None:
        while len(self.workers) < self.settings.workers or not all(worker.ready for worker in self.workers.values()):
            self._ready.clear()
            await self._ready.wait()
        if self._on_ready is not None:
            self._on_ready(self.port, admin_port)

    async def _own_ring(self, private: LocalServer) -> None:
        """Wait until no other gateway process writes here (one that drains, say), then take over socket and ring."""
        while self._lock_fd is None:
            try:
                lock = os.open(self.state.lock, os.O_RDWR | os.O_CREAT, 0o600)
                self._lock_fd = lock if _locked(lock) else None
            except OSError as error:
                log.error("the gateway's lock cannot be taken: %s", error)
            await asyncio.sleep(0 if self._lock_fd is not None else 0.05)
        await _insist("the admin socket", lambda: private.listen_unix(self.settings.state.socket("gateway")))

        async def opened() -> Ring:
            return Ring(self.state.ring)

        self.ring = ring = await _insist("the telemetry's ring", opened)
        for batch in unfinished(ring, self.boot):
            self._append(json.dumps(batch.to_wire(), separators=(",", ":")).encode())
        for line in self._pending:
            self._append(line)
        self._pending.clear()

    # --- tables ------------------------------------------------------------------------------------------------

    def _adopt(self, table: RouteTable) -> None:
        """Put a table in force, then keep it on disk as soon as that takes it."""
        decisions = settled(table, self.decisions)
        if decisions.tripped is None and self.decisions.tripped is not None:
            self._trip = TripWindow()
        if self.table is not None and self.table.salt != table.salt:
            self._trip = TripWindow()
        self.decisions = decisions
        self.table = table
        for arm in table.arms:
            self._versions[arm.release] = arm.version
        self._push()
        self.keeper.keep_table(table)
        self.keeper.keep_decisions(decisions)

    def effective_table(self) -> RouteTable:
        """The table as workers serve it: what this gateway decided by itself overrules what it says."""
        return _NO_TABLE if self.table is None else overruled(self.table, self.decisions)[0]

    def _message(self) -> dict[str, Any]:
        table, withheld = overruled(self.table or _NO_TABLE, self.decisions)
        return {
            "type": "table",
            "generation": self._generation,
            "table": table.to_wire(),
            "withheld": sorted(withheld),
            "attested": list(self.decisions.attested),
        }

    def _push(self) -> None:
        self._generation += 1
        if self.workers:
            message = self._message()
            for worker in self.workers.values():
                send(worker.writer, message)

    def confirmed(self) -> Fence:
        """The lowest fence over the workers; zero while none serves."""
        fences = [worker.fence for worker in self.workers.values()]
        if not fences or any(fence is None for fence in fences):
            return ZERO_FENCE
        return min(fence for fence in fences if fence is not None)

    def acknowledged(self) -> Fence:
        """What the controller is told: what the workers serve and the disk has, or what only takes away.

        A table that is not on disk yet would be forgotten by a crash; that is no reason to withhold a rollback.
        """
        serving, table, kept = self.confirmed(), self.table, self.keeper.table
        if table is None or table is kept or (kept is not None and narrows(table, kept)):
            return serving
        return min(serving, ZERO_FENCE if kept is None else kept.fence)

    async def applied(self, within: float) -> bool:
        """Wait until every worker has what was pushed last; whether they have."""
        deadline = time.monotonic() + within
        while any(worker.generation < self._generation for worker in self.workers.values()):
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            self._acked.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._acked.wait(), left)
        return True

    async def pin_stable(self, pinned: bool) -> bool:
        """Send everything to what is stable now, or no longer; whether every worker does so now."""
        if pinned:
            self._decide(pinned_in(self.table, self.decisions))
        else:
            if self.decisions.pinned:
                self._trip = TripWindow(since=time.time())  # what the pin moved did no harm
            self._decide(replace(self.decisions, pinned=False, pinned_to=None))
        return await self.applied(2.0)

    async def clear_trip(self) -> bool:
        """A person says that the release that tripped may serve again; whether every worker knows now."""
        self._trip = TripWindow(since=time.time())
        self._decide(replace(self.decisions, tripped=None, tripped_to=None))
        return await self.applied(2.0)

    def _decide(self, decisions: LocalDecisions) -> None:
        """Put a decision in force, then keep it on disk as soon as that takes it."""
        self.decisions = decisions
        self._push()
        self.keeper.keep_decisions(decisions)

    async def _keep_forever(self) -> None:
        while True:
            await asyncio.sleep(RETRY_SECONDS)
            if self.keeper.missing:
                self.keeper.attempt()

    async def _pull_forever(self, path: Path) -> None:
        client = LocalClient(path)
        try:
            while True:
                try:
                    await self._pull(client)
                except TransientError:
                    await asyncio.sleep(0.25)  # goes on with the last table; the controller may come back
                except Exception as error:  # nothing may cut the gateway off from its controller
                    log.exception("pulling a table failed")
                    self.table_error = f"{type(error).__name__}: {error}"
                    client.close()
                    await asyncio.sleep(0.5)
        finally:
            client.close()

    async def _pull(self, client: LocalClient) -> None:
        fence = self.table.fence if self.table is not None else ZERO_FENCE
        confirmed = self.acknowledged()
        hurry = RETRY_SECONDS if self.keeper.missing else 0.1
        query = {
            "after": str(fence),
            "wait": str(POLL_SECONDS if confirmed == fence else hurry),
            "gateway": self.state.gateway_id,
            "boot": self.boot,
            "confirmed": str(confirmed),
            "tripped": self.decisions.tripped or "",
            "pinned": (self.decisions.pinned_to or "") if self.decisions.pinned else "",
            **({"route": str(self.table.route)} if self.table is not None else {}),
        }
        answer = await client.ask("GET", "/v1/table?" + urlencode(query), within=POLL_SECONDS + 3)
        self.controller_seen = time.time()
        if answer.status == 204:
            return
        try:
            if answer.status != 200:
                raise ValueError(f"the controller answered {answer.status}")
            table = RouteTable.from_wire(answer.json())
            check_table(table)
            if self.table is not None and table.fence <= self.table.fence:
                raise ValueError(f"table {table.fence} is not newer than {self.table.fence}: refused")
        except ValueError as error:
            self.table_error = str(error)
            log.error("a table was refused: %s", error)
            await asyncio.sleep(0.5)
            return
        await self.install(table)

    async def install(self, table: RouteTable) -> None:
        """Put a newer table in force, and wait (a little) for the workers to have it."""
        self.table_error = None
        self._adopt(table)
        await self.applied(ACK_SECONDS)

    # --- workers -----------------------------------------------------------------------------------------------

    def _start_workers(self) -> None:
        for _ in range(self.settings.workers):
            task = asyncio.create_task(self._supervise())
            self._supervisors.add(task)
            task.add_done_callback(self._supervisors.discard)

    async def _supervise(self) -> None:
        """Keep one worker running; one that dies is replaced, at once the first time."""
        pause = 0.05
        while not self._stop.is_set():
            try:
                worker = await self._spawn()
            except Exception:  # no memory, no file descriptors: there may be some later
                log.exception("a worker could not be started")
                pause = min(pause * 2, 2.0)
                await asyncio.sleep(pause)
                continue
            await self._listen_to(worker)
            await worker.process.wait()
            self._bury(worker)
            if self._stop.is_set():
                return
            self.restarts += 1
            lived = time.monotonic() - worker.started
            pause = 0.05 if lived > 5 else min(pause * 2, 2.0)
            log.warning("worker %d ended with %s; starting another", worker.number, worker.process.returncode)
            await asyncio.sleep(pause)

    async def _spawn(self) -> WorkerHandle:
        assert self._listener is not None
        ours, theirs = socket.socketpair()
        number = self._next_worker
        self._next_worker += 1
        settings = WorkerSettings(
            listen_fd=self._listener.fileno(),
            channel_fd=theirs.fileno(),
            worker=number,
            gateway=self.state.gateway_id,
            boot=self.boot,
            pin_key=str(self.state.pin_key),
            memory=str(self.state.memory),
            drain_seconds=self.settings.drain_seconds,
        )
        with theirs:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "fairway.gateway.worker",
                json.dumps(asdict(settings)),
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=(settings.listen_fd, settings.channel_fd),
            )
        ours.setblocking(False)
        reader, writer = await asyncio.open_unix_connection(sock=ours)
        worker = WorkerHandle(number, process, reader, writer)
        self.workers[number] = worker
        send(writer, self._message())
        return worker

    async def _listen_to(self, worker: WorkerHandle) -> None:
        while (message := await receive(worker.reader)) is not None:
            try:
                self._hear(worker, message)
            except Exception:  # the next message may be the acknowledgement of a rollback
                log.exception("a message of worker %d could not be handled", worker.number)

    def _hear(self, worker: WorkerHandle, message: dict[str, Any]) -> None:
        kind = message["type"]
        if kind == "batch":
            self._count(worker, message)
        elif kind == "ack":
            worker.generation = message["generation"]
            worker.fence = Fence.parse(message["fence"])
            self._acked.set()
        elif kind == "ready":
            worker.ready = True
            self._ready.set()
        elif kind == "attested":
            self._attest(message["release"])

    def _bury(self, worker: WorkerHandle) -> None:
        """A worker is gone. What it had not reported is lost: leave a gap in its numbers, so that readers know."""
        self.workers.pop(worker.number, None)
        worker.writer.close()
        self._acked.set()
        for code, value in worker.stats.get("refused", {}).items():
            self.refused_total[code] = self.refused_total.get(code, 0) + value
        if not worker.said_goodbye:
            like = self.table or _NO_TABLE
            self._keep(goodbye(self.state.gateway_id, self.boot, worker.number, worker.seq, like))

    def _attest(self, release: str) -> None:
        if release in self.decisions.attested:
            return
        recent = (*self.decisions.attested, release)[-32:]
        self.decisions = replace(self.decisions, attested=recent)
        for worker in self.workers.values():
            send(worker.writer, {"type": "attested", "release": release})
        self.keeper.keep_decisions(self.decisions)

    async def _drain(self) -> None:
        for worker in self.workers.values():
            send(worker.writer, {"type": "drain"})
        if self._supervisors:
            await asyncio.wait(self._supervisors, timeout=self.settings.drain_seconds + 7)

    async def _end_workers(self) -> None:
        for task in tuple(self._supervisors):
            task.cancel()
        await asyncio.gather(*self._supervisors, return_exceptions=True)
        for worker in tuple(self.workers.values()):
            if worker.process.returncode is None:
                worker.process.kill()
                await worker.process.wait()
            self._bury(worker)

    # --- telemetry ---------------------------------------------------------------------------------------------

    def _count(self, worker: WorkerHandle, message: dict[str, Any]) -> None:
        batch = Batch.from_wire(message["batch"])
        worker.seq = batch.seq
        worker.said_goodbye = batch.last
        worker.stats = message["stats"]
        self._keep(batch)
        self.metrics.add(batch, self._versions)
        self._watch(batch)

    def _keep(self, batch: Batch) -> None:
        line = json.dumps(batch.to_wire(), separators=(",", ":")).encode()
        if self.ring is not None:
            self._append(line)
        elif len(self._pending) < MAX_PENDING:
            self._pending.append(line)

    def _append(self, line: bytes) -> None:
        assert self.ring is not None
        try:
            self.ring.append(line)
        except OSError as error:
            log.error("telemetry was not kept: %s", error)  # the missing number shows as a gap

    def _watch(self, batch: Batch) -> None:
        """Trip to stable when the candidate has done more harm than the table allows."""
        table, decisions = self.table, self.decisions
        candidate = None if table is None else table.arm(Role.CANDIDATE)
        if table is None or table.trip is None or candidate is None or candidate.release in table.masks:
            return
        if decisions.tripped is not None or decisions.pinned:
            return
        self._trip.add(batch, candidate.release)
        finding = self._trip.find(table.trip, time.time())
        if finding.tripped:
            log.error("tripped to stable: %d of the candidate's %d units were bad", finding.bad, finding.units)
            self._decide(tripped_in(table, decisions, candidate))


async def _insist(what: str, attempt: Callable[[], Awaitable[T]]) -> T:
    """What ``attempt`` gives, tried again until it does."""
    while True:
        try:
            return await attempt()
        except OSError as error:
            log.error("%s cannot be opened, tried again: %s", what, error)
            await asyncio.sleep(1.0)


def _locked(descriptor: int) -> bool:
    """Whether the lock is ours now; the file is closed when not."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return False
    return True


def check_table(table: RouteTable) -> None:
    """Refuse a table that is well formed but cannot be served.

    Raises:
        ValueError: For an endpoint that is not ``host:port``, or a salt with NUL.
    """
    for arm in table.arms:
        for endpoint in arm.endpoints:
            host, _, port = endpoint.rpartition(":")
            if not host or not port.isdecimal() or not 0 < int(port) < 65536:
                raise ValueError(f"endpoint {endpoint!r} of the {arm.role} arm is not host:port")
    if "\0" in table.salt:
        raise ValueError("the salt contains NUL")
