"""The gateway's parent process: holds the listening socket and the table, keeps workers alive, serves the admin API.

It serves no traffic itself, so that nothing it does can slow a request down; workers outlive each other, and a drain
follows when it goes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import signal
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

from fairway.errors import FairwayError
from fairway.gateway.admin import AdminApi
from fairway.gateway.archive import Archive
from fairway.gateway.chronicle import Chronicle
from fairway.gateway.deciding import NO_TABLE, Deciding
from fairway.gateway.endpoints.overseeing import Overseer
from fairway.gateway.exporter import Exporter
from fairway.gateway.goodbyes import goodbye
from fairway.gateway.instances import Registry
from fairway.gateway.keeping import RETRY_SECONDS, Keeper
from fairway.gateway.metrics import MetricsBook
from fairway.gateway.overruling import narrows, overruled, settled
from fairway.gateway.ownership import Ownership
from fairway.gateway.pairs import PairBook
from fairway.gateway.pulling import pull_forever
from fairway.gateway.renewing import ENDING, Again, Renewal
from fairway.gateway.ring import Ring
from fairway.gateway.settings import GatewaySettings
from fairway.gateway.sockets import Sockets
from fairway.gateway.state import GatewayState, LocalDecisions
from fairway.gateway.table_file import TableFile
from fairway.gateway.tls_files import TlsKeeper
from fairway.gateway.trip import TripWindow
from fairway.gateway.worker import WorkerSettings
from fairway.gateway.worker_totals import WorkerTotals
from fairway.gateway.workforce import WorkerHandle, Workforce
from fairway.observe.blocks import Batch
from fairway.traffic.fence import ZERO_FENCE, Fence
from fairway.traffic.local_http import LocalServer
from fairway.traffic.sampling import SOCKET
from fairway.traffic.table import RouteTable

log = logging.getLogger("fairway.gateway")

ACK_SECONDS = 1.0
"""How long an acknowledgement waits for slow workers before it tells the lower fence."""


class Gateway(Deciding):
    """One gateway: parent of its workers."""

    def __init__(self, settings: GatewaySettings, *, on_ready: Callable[[int, int | None], None] | None = None) -> None:
        """Take the settings; ``on_ready`` is told the port and the admin port once every worker serves.

        Raises:
            TlsError: When certificate and key do not serve.
        """
        self.settings = settings
        self.tls = None if settings.tls is None else TlsKeeper(settings.tls)
        self.state = GatewayState(settings.state)
        self.boot = secrets.token_hex(4)
        self.decisions: LocalDecisions = self.state.decisions()
        self.chronicle = Chronicle(self.state.folder / "decided.json", gateway=self.state.gateway_id, boot=self.boot)
        self.keeper = Keeper(self.state, table=None, decisions=self.decisions)
        self.table: RouteTable | None = None
        given = settings.table_file
        self.table_file = None if given is None else TableFile(given, settings.read_table)
        self.table_error: str | None = None
        self.controller_seen: float | None = None
        self.port = settings.port
        self.metrics = MetricsBook()
        self.totals = WorkerTotals()
        self.exporter: Exporter | None = None
        """Who tells the metrics to somebody else; set before :meth:`run`."""
        self.overseer = Overseer(self._push)
        self.registry = Registry()
        self.overseer.checker.heard = self.registry.heard
        self.draining = False
        self._arms_known = settings.controller_socket is None
        """Whether the table in force names arms that were there in this life; see the workers' of the same name."""
        self.started = time.time()
        self.archive = Archive()
        self.pairs = PairBook()
        self._on_ready = on_ready
        self._generation = 0
        self._acked = asyncio.Event()
        self._ready = asyncio.Event()
        self._stop = asyncio.Event()
        self._workforce = Workforce(self, self._stop, silent_seconds=settings.silent_seconds)
        self.versions: dict[str, str] = {}
        """Of releases, as people name them."""
        self._trip = TripWindow()
        self.renewal = Renewal(self, settings.succession)
        self._sockets: Sockets | None = None
        self._restarting: asyncio.Task[None] | None = None
        self._public = LocalServer(AdminApi(self).handle)
        self._ownership = Ownership(self.state, settings.state, self.archive, LocalServer(AdminApi(self).handle))

    # --- life --------------------------------------------------------------------------------------------------

    async def run(self) -> Again | None:
        """Serve until SIGTERM or SIGINT, then drain; or until a restart, and say how the process goes on.

        Raises:
            OSError: When the port or the admin socket cannot be bound.
            PermanentError: When the table on disk cannot be read.
        """
        settings = self.settings
        self._sockets = sockets = Sockets(
            host=settings.host,
            port=settings.port,
            fd=settings.fd,
            admin_port=settings.admin_port,
            given=settings.succession,
        )
        self.port = sockets.port
        self._load_tables()
        self._obey_signals()
        await self.renewal.greet()
        self.renewal.speak()
        background = [asyncio.create_task(work) for work in (self._own(sockets), self._keep_forever(), self._pull())]
        again = None
        telling = None if self.exporter is None else asyncio.create_task(self.exporter.run())
        try:
            self._workforce.start(settings.workers, self._worker_settings, sockets.traffic)
            background.append(asyncio.create_task(self._announce()))
            background.append(asyncio.create_task(self._workforce.watch()))
            if self.tls is not None:
                background.append(asyncio.create_task(self.tls.look_forever(self._push)))
            background.append(asyncio.create_task(self.renewal.succeed(self._all_serve)))
            await self._stop.wait()
            self.draining = True
            await _cancelled(background)
            obeying = await self.renewal.hand_over() if self.renewal.yielding else None
            await self._workforce.drain(settings.drain_seconds + 7)
            again = None if obeying is None else await self.renewal.finish(obeying)
        finally:
            await _cancelled(background if telling is None else [*background, telling])
            self.overseer.checker.close()
            await self._workforce.end()
            await self.release()
            if again is None:
                sockets.close()
            else:
                sockets.leave_open()
        return again

    def _obey_signals(self) -> None:
        def asked_to_end() -> None:
            self.renewal.terminated = True
            self._stop.set()

        async def restart() -> None:
            try:
                await self.renewal.begin()
            except FairwayError as error:
                log.error("%s", error.message)

        def asked_to_restart() -> None:
            self._restarting = asyncio.create_task(restart())

        loop = asyncio.get_running_loop()
        for number in ENDING:
            loop.add_signal_handler(number, asked_to_end)
        loop.add_signal_handler(signal.SIGUSR2, asked_to_restart)
        loop.add_signal_handler(signal.SIGUSR1, self._workforce.tell, {"type": "reopen"})
        loop.add_signal_handler(signal.SIGHUP, self._look_at_files)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)

    def _look_at_files(self) -> None:
        """Read table and certificate now; without either the signal says that a terminal was closed: nothing."""
        if self.tls is not None and self.tls.look(now=True):
            self._push()
        if self.table_file is not None and self.settings.controller_socket is None:
            table = self.table_file.look(self.table, now=True)
            if table is not None:
                self._adopt(table)

    async def _own(self, sockets: Sockets) -> None:
        """Take what only one gateway process has, once the one before lets go of it."""
        await self.renewal.inherited.wait()
        if sockets.admin is not None:
            await self._public.listen_on(sockets.admin)
        await self._ownership.take(sockets.traffic, self.renewal.alive)

    async def _pull(self) -> None:
        """Ask the controller for tables, or look at their file, once nobody else does so under this gateway's name."""
        await self.renewal.inherited.wait()
        if self.settings.controller_socket is not None:
            await pull_forever(self, self.settings.controller_socket)
        elif self.table_file is not None:
            await self.table_file.look_forever(lambda: self.table, self._adopt)

    async def release(self) -> None:
        """Let go of what only one gateway process has."""
        await self._public.close()
        await self._ownership.release()

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
        return self.archive.ring

    def _worker_settings(self, number: int, channel: int) -> WorkerSettings:
        assert self._sockets is not None
        return WorkerSettings(
            listen_fd=self._sockets.traffic.fileno(),
            channel_fd=channel,
            worker=number,
            gateway=self.state.gateway_id,
            boot=self.boot,
            pin_key=str(self.state.pin_key),
            memory=str(self.state.memory),
            samples=str(self.settings.state.socket(SOCKET)),
            listening=replace(self.settings.listening, secure=self.tls is not None).to_wire(),
            access_log=self.settings.access_log,
            drain_seconds=self.settings.drain_seconds,
        )

    def stop(self) -> None:
        """Begin to drain, as SIGTERM does."""
        self._stop.set()

    def listeners(self) -> dict[str, int]:
        """Descriptors of the sockets that whoever takes over listens on."""
        return {} if self._sockets is None else self._sockets.descriptors()

    def _load_tables(self) -> None:
        kept = self.state.table()
        self.keeper = Keeper(self.state, table=kept, decisions=self.decisions)
        if self.table_file is not None:
            kept = self.table_file.begin(kept)
        if kept is not None:
            self._adopt(kept)

    def _all_serve(self) -> bool:
        return len(self.workers) >= self.settings.workers and self.serves

    @property
    def serves(self) -> bool:
        """Whether every worker serves, and nobody has asked it to end."""
        return bool(self.workers) and all(worker.ready for worker in self.workers.values()) and not self._stop.is_set()

    async def _announce(self) -> None:
        while not self._all_serve():
            self._ready.clear()
            await self._ready.wait()
        if self._on_ready is not None and self.settings.succession is None:
            self._on_ready(self.port, None if self._sockets is None else self._sockets.admin_port)

    # --- what it is given, and gives --------------------------------------------------------------------------------

    def estate(self) -> dict[str, Any]:
        """What the next gateway process has to know that is not on disk, or may not be yet."""
        return {
            "boot": self.boot,
            "table": None if self.table is None else self.table.to_wire(),
            "decisions": asdict(self.decisions),
            "arms_known": self._arms_known or any(worker.stats.get("arms_known") for worker in self.workers.values()),
            "trip": self._trip.to_wire(),
            "decided": self.chronicle.events,
        }

    def inherit(self, estate: dict[str, Any]) -> None:
        """Go on with what the gateway process before knew last."""
        table = None if estate["table"] is None else RouteTable.from_wire(estate["table"])
        self.decisions = LocalDecisions.from_wire(estate["decisions"])
        self._arms_known = self._arms_known or bool(estate["arms_known"])
        if table is not None and (
            self.table is None or table.route != self.table.route or table.fence > self.table.fence
        ):
            self.table = table
        if self.table is not None:
            self._adopt(self.table)
        self._trip = TripWindow.from_wire(estate["trip"])
        self.chronicle.adopt(estate.get("decided", ()))
        self.renewal.tell_before(self.first_message())

    def renew_workers(self) -> None:
        """Begin to replace the workers, one after the other.

        Raises:
            ConflictError: When another restart is under way.
        """
        self.renewal.begin_workers(lambda: self._workforce.renew(self.settings.drain_seconds))

    def tell_workers(self, message: dict[str, Any]) -> None:
        """Tell every worker of this process."""
        self._workforce.tell(message)

    # --- tables ------------------------------------------------------------------------------------------------

    def _adopt(self, table: RouteTable) -> None:
        """Put a table in force, then keep it on disk as soon as that takes it."""
        decisions = settled(table, self.decisions)
        if decisions.tripped is None and self.decisions.tripped is not None:
            self._trip = TripWindow()
        if self.table is not None and self.table.salt != table.salt:
            self._trip = TripWindow()
        before, self.decisions = self.decisions, decisions
        self.table = table
        for arm in table.arms:
            self.versions[arm.release] = arm.version
        self.overseer.checker.follow(table)
        self._push()
        self.keeper.keep_table(table)
        self.keeper.keep_decisions(decisions)
        self._note(before, actor=None, table=True)

    def effective_table(self) -> RouteTable:
        """The table as workers serve it: what this gateway decided by itself overrules what it says."""
        return NO_TABLE if self.table is None else overruled(self.table, self.decisions)[0]

    def first_message(self) -> dict[str, Any]:
        """What workers are told of the table in force."""
        table, withheld = overruled(self.table or NO_TABLE, self.decisions)
        return {
            "type": "table",
            "generation": self._generation,
            "table": self.overseer.checker.fit(table).to_wire(),
            "withheld": sorted(withheld),
            "attested": list(self.decisions.attested),
            "arms_known": self._arms_known,
            **({} if self.tls is None else {"tls": self.tls.pair.to_wire()}),
        }

    def _push(self) -> None:
        self._generation += 1
        if self.workers:
            self._workforce.tell(self.first_message())
        self.renewal.tell_before(self.first_message())
        self.renewal.tell_next()

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
                async with asyncio.timeout(left):  # wait_for of 3.11 loses a cancellation at the moment it is told
                    await self._acked.wait()
        return True

    async def _keep_forever(self) -> None:
        while True:
            await asyncio.sleep(RETRY_SECONDS)
            if self.keeper.missing:
                self.keeper.attempt()
            self.chronicle.keep()

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
        elif kind == "attested" and not self.renewal.pass_on(message):
            self.attest(message["release"])

    def bury(self, worker: WorkerHandle) -> None:
        """A worker is gone. What it had not reported is lost: leave a gap in its numbers, so that readers know."""
        self._acked.set()
        self.overseer.forget(worker.number)
        self.totals.bury(worker.stats)
        if not worker.said_goodbye:
            like = self.table or NO_TABLE
            self.archive.keep(goodbye(self.state.gateway_id, self.boot, worker.number, worker.seq, like))

    def attest(self, release: str) -> None:
        """A release has reported an outcome: from now on a missing one is unknown."""
        if release in self.decisions.attested:
            return
        recent = (*self.decisions.attested, release)[-32:]
        self.decisions = replace(self.decisions, attested=recent)
        self._workforce.tell({"type": "attested", "release": release})
        self.renewal.tell_before({"type": "attested", "release": release})
        self.keeper.keep_decisions(self.decisions)

    # --- telemetry ---------------------------------------------------------------------------------------------

    def _count(self, worker: WorkerHandle, message: dict[str, Any]) -> None:
        batch = Batch.from_wire(message["batch"])
        worker.seq = batch.seq
        worker.said_goodbye = batch.last
        worker.stats = message["stats"]
        self.overseer.take(worker.number, worker.stats)
        self.registry.served(worker.stats, time.time())
        self.pairs.keep(message.get("pairs"))
        self.count(batch)

    def count(self, batch: Batch) -> None:
        """Keep what a worker reports, of this process or of the one before."""
        self.archive.keep(batch)
        self.metrics.add(batch, self.versions)
        self._watch(batch)


async def _cancelled(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
