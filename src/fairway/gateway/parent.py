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
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from fairway.gateway.admin import AdminApi
from fairway.gateway.archive import Archive
from fairway.gateway.goodbyes import goodbye
from fairway.gateway.handover import Handover, listener_socket
from fairway.gateway.keeping import RETRY_SECONDS, Keeper
from fairway.gateway.metrics import MetricsBook
from fairway.gateway.overruling import narrows, overruled, pinned_in, settled, tripped_in
from fairway.gateway.pulling import check_table, pull_forever
from fairway.gateway.ring import Ring
from fairway.gateway.state import GatewayState, LocalDecisions
from fairway.gateway.trip import TripWindow
from fairway.gateway.worker import WorkerSettings
from fairway.gateway.workforce import WorkerHandle, Workforce
from fairway.observe.blocks import Batch
from fairway.state_dir import StateDir
from fairway.traffic.fence import ZERO_FENCE, Fence
from fairway.traffic.local_http import LocalServer
from fairway.traffic.sampling import SOCKET
from fairway.traffic.table import Role, RouteTable
from fairway.units import AgentName, EnvironmentName, RouteId

log = logging.getLogger("fairway.gateway")

T = TypeVar("T")

ACK_SECONDS = 1.0
"""How long an acknowledgement waits for slow workers before it tells the lower fence."""


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
        self.refused_total: dict[str, int] = {}
        self.draining = False
        self._arms_known = settings.controller_socket is None
        """Whether the table in force names arms that were there in this life; see the workers' of the same name."""
        self.started = time.time()
        self._archive = Archive()
        self._on_ready = on_ready
        self._generation = 0
        self._acked = asyncio.Event()
        self._ready = asyncio.Event()
        self._stop = asyncio.Event()
        self._workforce = Workforce(self, self._stop)
        self._versions: dict[str, str] = {}
        self._trip = TripWindow()
        self._lock_fd: int | None = None
        self._listener: socket.socket | None = None
        self._handover: Handover | None = None

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
            background.append(asyncio.create_task(pull_forever(self, self.settings.controller_socket)))
        try:
            self._workforce.start(self.settings.workers, self._worker_settings, self._listener)
            background.append(asyncio.create_task(self._announce(admin_port)))
            await self._stop.wait()
            self.draining = True
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)
            await self._workforce.drain(self.settings.drain_seconds + 7)
        finally:
            await public.close()
            await private.close()
            await self._workforce.end()
            if self._handover is not None:
                self._handover.close()
            self._listener.close()
            self._archive.close()
            if self._lock_fd is not None:
                os.close(self._lock_fd)

    @property
    def gateway_id(self) -> str:
        """Its name, for good."""
        return self.state.gateway_id

    @property
    def workers(self) -> dict[int, WorkerHandle]:
        """Its workers by number."""
        return self._workforce.workers

    @property
    def restarts(self) -> int:
        """Workers replaced."""
        return self._workforce.restarts

    @property
    def ring(self) -> Ring | None:
        """Where telemetry is kept; ``None`` while another gateway process holds it."""
        return self._archive.ring

    def _worker_settings(self, number: int, channel: int) -> WorkerSettings:
        assert self._listener is not None
        return WorkerSettings(
            listen_fd=self._listener.fileno(),
            channel_fd=channel,
            worker=number,
            gateway=self.state.gateway_id,
            boot=self.boot,
            pin_key=str(self.state.pin_key),
            memory=str(self.state.memory),
            samples=str(self.settings.state.socket(SOCKET)),
            drain_seconds=self.settings.drain_seconds,
        )

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
        self._hand_over()

        async def opened() -> Ring:
            return Ring(self.state.ring)

        self._archive.take_over(await _insist("the telemetry's ring", opened), self.boot)

    def _hand_over(self) -> None:
        """Let the next supervisor hold the listening socket as well; without it a crash only costs more."""
        assert self._listener is not None
        self._handover = Handover(self._listener, listener_socket(self.settings.state))
        try:
            self._handover.open()
        except OSError as error:
            log.warning("the listening socket cannot be handed over: %s", error)

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

    def first_message(self) -> dict[str, Any]:
        """What workers are told of the table in force."""
        table, withheld = overruled(self.table or _NO_TABLE, self.decisions)
        return {
            "type": "table",
            "generation": self._generation,
            "table": table.to_wire(),
            "withheld": sorted(withheld),
            "attested": list(self.decisions.attested),
            "arms_known": self._arms_known,
        }

    def _push(self) -> None:
        self._generation += 1
        if self.workers:
            self._workforce.tell(self.first_message())

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

    async def install(self, table: RouteTable) -> None:
        """Put a newer table in force, and wait (a little) for the workers to have it."""
        self.table_error = None
        self._arms_known = self._arms_known or any(arm.endpoints for arm in table.arms)
        self._adopt(table)
        await self.applied(ACK_SECONDS)

    # --- workers -----------------------------------------------------------------------------------------------

    def hear(self, worker: WorkerHandle, message: dict[str, Any]) -> None:
        """A message of a worker."""
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

    def bury(self, worker: WorkerHandle) -> None:
        """A worker is gone. What it had not reported is lost: leave a gap in its numbers, so that readers know."""
        self._acked.set()
        for code, value in worker.stats.get("refused", {}).items():
            self.refused_total[code] = self.refused_total.get(code, 0) + value
        if not worker.said_goodbye:
            like = self.table or _NO_TABLE
            self._archive.keep(goodbye(self.state.gateway_id, self.boot, worker.number, worker.seq, like))

    def _attest(self, release: str) -> None:
        if release in self.decisions.attested:
            return
        recent = (*self.decisions.attested, release)[-32:]
        self.decisions = replace(self.decisions, attested=recent)
        self._workforce.tell({"type": "attested", "release": release})
        self.keeper.keep_decisions(self.decisions)

    # --- telemetry ---------------------------------------------------------------------------------------------

    def _count(self, worker: WorkerHandle, message: dict[str, Any]) -> None:
        batch = Batch.from_wire(message["batch"])
        worker.seq = batch.seq
        worker.said_goodbye = batch.last
        worker.stats = message["stats"]
        self._archive.keep(batch)
        self.metrics.add(batch, self._versions)
        self._watch(batch)

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
