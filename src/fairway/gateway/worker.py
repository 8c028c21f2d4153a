"""One worker process of the gateway: accepts on the inherited socket, serves, counts, obeys its parent.

Started by the parent as ``python -m fairway.gateway.worker <json>``; not for people.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter, time
from typing import Any

import uvloop

from fairway.gateway.accepting import Entrance
from fairway.gateway.access_log import AccessLog
from fairway.gateway.channel import receive, send
from fairway.gateway.client import ClientConnection
from fairway.gateway.conversations import ConversationMemory
from fairway.gateway.endpoints.arm import ArmEndpoints
from fairway.gateway.endpoints.line import STALL_SECONDS
from fairway.gateway.heap import Heap
from fairway.gateway.listening import Listening
from fairway.gateway.mirroring import Mirror
from fairway.gateway.numbering import numbers
from fairway.gateway.priority import run_first
from fairway.gateway.sampling import Sampler
from fairway.gateway.serving import ArmServing, Serving, expect_outcomes, prepare, unusual
from fairway.gateway.shapes import request_matcher
from fairway.gateway.telemetry import Telemetry
from fairway.gateway.watching import Watch
from fairway.traffic.matching import looked_at
from fairway.traffic.pin import Pin, PinSigner
from fairway.traffic.release_pass import PassSigner
from fairway.traffic.table import RouteTable
from fairway.units import Digest, UnitHash

log = logging.getLogger("fairway.gateway.worker")

TIDY_SECONDS = 20.0
"""How often a worker that does nothing at the moment frees what refers to itself."""

TIDY_AT_LAST_SECONDS = 600.0
"""And how often one that always does something: with 1,000 streams that takes 15 ms, which they would all wait for."""

COLLECT = (1_000, 3, 1_000_000)
"""Thresholds of the collector: young generations so small that no pause, half a millisecond, is felt in a stream."""

_LOOK_SECONDS = 0.1
"""How often a worker looks whether there is so much to report already that it should not grow."""

CLOCK_SET_SECONDS = 0.25
"""The wall clock was set when it is off by more than this against the one that only counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """What a worker is told at its start."""

    listen_fd: int
    channel_fd: int
    worker: int
    gateway: str
    boot: str
    pin_key: str
    memory: str
    drain_seconds: float
    samples: str = ""
    listening: Mapping[str, Any] = field(default_factory=dict)
    access_log: str = ""


class Worker:
    """The state every connection of the process shares."""

    serving: Serving
    signer: PinSigner
    passes: PassSigner
    telemetry: Telemetry

    def __init__(self, settings: WorkerSettings) -> None:
        self.settings = settings
        self.listening = Listening.from_wire(settings.listening)
        self.entrance = Entrance(self)
        self.watch = Watch()
        self.clients: set[ClientConnection] = set()
        self.in_flight = 0
        self.draining = False
        self.arms_known = False
        """Whether an arm was reached, or the controller has named one that is ready, since this gateway began. Until
        then the table is that of a life before, whose arms may have been ended with it: what nobody can answer is no
        release's failure. Once known it stays so: an arm that goes away fails."""
        self.refused: dict[str, int] = {}
        self.telemetry = Telemetry(gateway=settings.gateway, boot=settings.boot, worker=settings.worker, wall=time)
        self.memory = ConversationMemory(Path(settings.memory))
        self.mirror = Mirror(self)
        self.sampler = Sampler(settings.samples)
        self._key = Path(settings.pin_key).read_bytes()
        self._attested: set[str] = set()
        self.fleet: dict[Digest, ArmEndpoints] = {}
        self.prefix = f"{settings.boot}-{settings.worker:x}-".encode()
        self.numbers = numbers()
        """Of its requests, in hexadecimal digits."""
        self.access_log = AccessLog(self, settings.access_log) if settings.access_log else None
        self.epoch = time() - perf_counter()
        """Wall clock minus ``perf_counter()``, looked at again with every sweep."""
        self._loop = asyncio.get_running_loop()
        self._writer: asyncio.StreamWriter | None = None
        self._drain_until = 0.0
        self._drain_asked = asyncio.Event()

    # --- what connections ask ----------------------------------------------------------------------------------

    def recall(self, unit: UnitHash, now: float) -> Pin | None:
        """Where a unit began, as any worker saw it."""
        return self.memory.recall(unit, now)

    def count_refused(self, code: str) -> None:
        """A message or connection was refused before it reached an arm."""
        self.refused[code] = self.refused.get(code, 0) + 1

    def attest(self, served: ArmServing) -> None:
        """The release reports outcomes: from now on a missing one is unknown."""
        release = served.arm.release
        if release not in self._attested:
            self._expect(release)
            self._tell({"type": "attested", "release": release})

    def _expect(self, *releases: str) -> None:
        self._attested.update(releases)
        expect_outcomes(self.serving, self._attested)

    # --- life --------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Serve until the parent asks for a drain, or is gone; returns when drained."""
        try:
            await self._serve()
        finally:
            self._close()

    def _close(self) -> None:
        self.entrance.close()
        self.entrance.abandon()
        for client in tuple(self.clients):
            client.abort()
        self.mirror.close()
        self.sampler.close()
        for endpoints in self.fleet.values():
            endpoints.retire()
        if self._writer is not None:
            self._writer.close()
        if self.access_log is not None:
            self.access_log.close()
        self.memory.close()

    async def _serve(self) -> None:
        channel = socket.socket(fileno=self.settings.channel_fd)
        reader, self._writer = await asyncio.open_unix_connection(sock=channel)
        first = await receive(reader)
        if first is None or first.get("type") != "table":
            return
        self._install(first)
        self._flush(last=False)  # known before its first request, so that whatever is lost later shows as a gap
        await self.entrance.open(socket.socket(fileno=self.settings.listen_fd))
        self._tell({"type": "ready", "pid": os.getpid()})
        async with asyncio.TaskGroup() as tasks:
            background = [tasks.create_task(self._obey(reader)), tasks.create_task(self._flush_forever())]
            background.append(tasks.create_task(self._sweep_forever()))
            background.append(tasks.create_task(_tidy_forever(self)))
            await self._drain_asked.wait()
            await self._drain()
            for task in background:
                task.cancel()
        await self._say_goodbye()

    def drain(self) -> None:
        """Begin to drain."""
        self._drain_asked.set()

    async def _obey(self, reader: asyncio.StreamReader) -> None:
        while (message := await receive(reader)) is not None:
            if message["type"] == "table":
                try:
                    self._install(message)
                except ValueError as error:
                    log.error("a table was not installed: %s", error)  # not acknowledged, so the parent knows
            elif message["type"] == "attested":
                self._expect(message["release"])
            elif message["type"] == "reopen" and self.access_log is not None:
                self.access_log.reopen()
            elif message["type"] == "drain":
                self._drain_asked.set()
        self._drain_asked.set()  # the parent is gone: finish what runs, the next parent's workers take over

    def _install(self, message: dict[str, Any]) -> None:
        table = RouteTable.from_wire(message["table"])
        serving = prepare(table, self.fleet, self._loop, frozenset(message.get("withheld", ())))
        of_its_own = table.flags or table.trace  # header lines, for each request or each arm
        if serving.key_header and not self.draining and not of_its_own:
            serving.usual = request_matcher(serving.key_header, looked_at(table.rules))
        serving.secure = self.listening.secure
        if (before := getattr(self, "serving", None)) is not None:
            before.forget_times()  # idle connections still know heads by it, and with them its units
        self.serving = serving
        self.watch.limit(table.timeouts, sweep_seconds=serving.sweep_seconds)
        self.entrance.take(message)
        self.arms_known = self.arms_known or bool(message.get("arms_known", True))
        self.signer = PinSigner(self._key, route=str(table.route))
        self.passes = PassSigner(self._key, route=str(table.route))
        self._expect(*message.get("attested", ()))
        self._tell({"type": "ack", "generation": message["generation"], "fence": str(table.fence)})

    def _tell(self, message: dict[str, Any]) -> bool:
        return self._writer is not None and send(self._writer, message)

    async def _flush_forever(self) -> None:
        while True:
            pause = min(1.0, self.serving.table.block_seconds / 4)
            while pause > 0 and not self.telemetry.crowded:
                await asyncio.sleep(min(pause, _LOOK_SECONDS))
                pause -= _LOOK_SECONDS
                if self.access_log is not None:
                    self.access_log.look()
            self._flush(last=False)

    def _flush(self, *, last: bool) -> None:
        self.mirror.tell()
        table = self.serving.table
        batch = self.telemetry.flush(block_seconds=table.block_seconds, timeout=table.timeouts.total, last=last)
        stats = {"in_flight": self.in_flight, "connections": len(self.clients), "refused": self.refused}
        stats["arms_known"] = self.arms_known
        if self.access_log is not None:
            self.access_log.look()
            stats["access_log"] = self.access_log.stats()
        stats["arms"] = {release: endpoints.told() for release, endpoints in self.fleet.items()}
        stats["mirror"] = {"in_flight": self.mirror.room.copies, "bytes": self.mirror.room.held_bytes}
        self._tell({"type": "batch", "batch": batch.to_wire(), "stats": stats, "pairs": self.mirror.log.taken()})

    async def _sweep_forever(self) -> None:
        turn, stood_still, heap = 0, False, Heap()
        while True:
            begun = perf_counter()
            await asyncio.sleep(self.serving.sweep_seconds)
            now = perf_counter()
            # timers run before sockets are read: what came while this process stood still has one more round to be seen
            stood_still = not stood_still and now - begun > self.serving.sweep_seconds + STALL_SECONDS
            if stood_still:
                continue
            epoch = time() - perf_counter()
            if abs(epoch - self.epoch) > CLOCK_SET_SECONDS:
                self.serving.forget_times()
            self.epoch = epoch
            self.watch.look(now, at_all=self.draining)
            self.mirror.overdue(now)
            heap.tidy(now)
            turn += 1
            if turn % 4 == 0:
                for endpoints in self.fleet.values():
                    endpoints.sweep()

    async def _drain(self) -> None:
        """Stop accepting; answers that begin now close their connection; wait for what runs."""
        self.draining = True
        self.serving.usual = unusual
        self.entrance.close()
        until = perf_counter() + self.settings.drain_seconds
        while (self.clients or self.entrance.pending) and perf_counter() < until:  # noqa: ASYNC110 - the hot path should not have to tell
            await asyncio.sleep(0.02)
        for client in tuple(self.clients):
            client.abort_at_drain_limit()
        self.mirror.abandon()
        await asyncio.sleep(0)

    async def _say_goodbye(self) -> None:
        self._flush(last=True)
        if self._writer is not None:
            try:
                async with asyncio.timeout(5.0):
                    await self._writer.drain()
                    self._writer.close()
                    await self._writer.wait_closed()
            except (OSError, TimeoutError):
                pass  # the parent is gone: nobody is left to tell


async def _tidy_forever(worker: Worker) -> None:
    """Free what only a collection of everything finds, before it is much.

    Requests and connections leave nothing of the kind, so there is little to find; but to look takes time.
    """
    waited = 0.0
    while True:
        await asyncio.sleep(TIDY_SECONDS)
        waited += TIDY_SECONDS
        if not worker.in_flight or waited >= TIDY_AT_LAST_SECONDS:
            waited = 0.0
            gc.collect()


def main(arguments: list[str]) -> int:
    """Run one worker; returns its exit code."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    settings = WorkerSettings(**json.loads(arguments[0]))

    run_first()
    gc.collect()
    gc.freeze()  # what was imported lives as long as the process
    gc.set_threshold(*COLLECT)

    async def serve() -> None:
        worker = Worker(settings)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.drain)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group: the parent decides
        await worker.run()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
