"""The workers of a gateway as their parent sees them: started, replaced when they die, drained at the end."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Protocol

from fairway.gateway.channel import receive, send
from fairway.gateway.worker import WorkerSettings
from fairway.traffic.fence import Fence

log = logging.getLogger("fairway.gateway")


class WorkerHandle:
    """One worker."""

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


class Foreman(Protocol):
    """What a workforce works for."""

    def first_message(self) -> dict[str, Any]:
        """What a worker is told first: the table."""
        ...

    def hear(self, worker: WorkerHandle, message: dict[str, Any]) -> None:
        """A message of a worker."""
        ...

    def bury(self, worker: WorkerHandle) -> None:
        """A worker is gone."""
        ...


class Workforce:
    """Keeps so many workers running."""

    def __init__(self, foreman: Foreman, stop: asyncio.Event) -> None:
        """Begin without any; once ``stop`` is set none is started any more."""
        self.workers: dict[int, WorkerHandle] = {}
        self.restarts = 0
        self._foreman = foreman
        self._next = 0
        self._stop = stop
        self._supervisors: set[asyncio.Task[None]] = set()

    def start(self, count: int, settings: Callable[[int, int], WorkerSettings], listener: socket.socket) -> None:
        """Start the workers.

        Args:
            count: How many.
            settings: Of a worker, given its number and the file descriptor of its channel.
            listener: The socket they accept on.
        """
        for _ in range(count):
            task = asyncio.create_task(self._supervise(settings, listener))
            self._supervisors.add(task)
            task.add_done_callback(self._supervisors.discard)

    def tell(self, message: dict[str, Any]) -> None:
        """Tell every worker."""
        for worker in self.workers.values():
            send(worker.writer, message)

    async def drain(self, within: float) -> None:
        """Let every worker finish what runs.

        Args:
            within: Seconds.
        """
        self.tell({"type": "drain"})
        if self._supervisors:
            await asyncio.wait(self._supervisors, timeout=within)

    async def end(self) -> None:
        """End what is left."""
        for task in tuple(self._supervisors):
            task.cancel()
        await asyncio.gather(*self._supervisors, return_exceptions=True)
        for worker in tuple(self.workers.values()):
            if worker.process.returncode is None:
                worker.process.kill()
                await worker.process.wait()
            self._bury(worker)

    async def listen_to(self, worker: WorkerHandle) -> None:
        """Pass on what a worker says until its channel closes."""
        while (message := await receive(worker.reader)) is not None:
            try:
                self._foreman.hear(worker, message)
            except Exception:  # the next message may be the acknowledgement of a rollback
                log.exception("a message of worker %d could not be handled", worker.number)

    async def _supervise(self, settings: Callable[[int, int], WorkerSettings], listener: socket.socket) -> None:
        """Keep one worker running; one that dies is replaced, at once the first time."""
        pause = 0.05
        while not self._stop.is_set():
            try:
                worker = await self._spawn(settings, listener)
            except Exception:  # no memory, no file descriptors: there may be some later
                log.exception("a worker could not be started")
                pause = min(pause * 2, 2.0)
                await asyncio.sleep(pause)
                continue
            await self.listen_to(worker)
            await worker.process.wait()
            self._bury(worker)
            if self._stop.is_set():
                return
            self.restarts += 1
            lived = time.monotonic() - worker.started
            pause = 0.05 if lived > 5 else min(pause * 2, 2.0)
            log.warning("worker %d ended with %s; starting another", worker.number, worker.process.returncode)
            await asyncio.sleep(pause)

    async def _spawn(self, settings: Callable[[int, int], WorkerSettings], listener: socket.socket) -> WorkerHandle:
        ours, theirs = socket.socketpair()
        number = self._next
        self._next += 1
        with theirs:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "fairway.gateway.worker",
                json.dumps(asdict(settings(number, theirs.fileno()))),
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=(listener.fileno(), theirs.fileno()),
            )
        ours.setblocking(False)
        reader, writer = await asyncio.open_unix_connection(sock=ours)
        worker = WorkerHandle(number, process, reader, writer)
        self.workers[number] = worker
        send(writer, self._foreman.first_message())
        return worker

    def _bury(self, worker: WorkerHandle) -> None:
        self.workers.pop(worker.number, None)
        worker.writer.close()
        self._foreman.bury(worker)
