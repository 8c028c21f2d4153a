"""The workers of a gateway as their parent sees them: started, replaced when they die or hang, drained at the end."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, Protocol

from fairway.errors import PermanentError
from fairway.gateway.channel import receive, send
from fairway.gateway.worker import WorkerSettings
from fairway.traffic.fence import Fence

log = logging.getLogger("fairway.gateway")

SILENT_SECONDS = 10.0
"""A worker reports at least once a second; one that says nothing for so long hangs, and is replaced."""

START_SECONDS = 30.0
"""How long a worker may take until it serves."""

_WATCH_SECONDS = 1.0


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
        self.started = self.heard = time.monotonic()
        self.leaving = False
        """Whether it drains because another has taken its place."""


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

    def __init__(self, foreman: Foreman, stop: asyncio.Event, *, silent_seconds: float = SILENT_SECONDS) -> None:
        """Begin without any; once ``stop`` is set none is started any more.

        Args:
            foreman: For whom they work.
            stop: Set when the gateway ends.
            silent_seconds: A worker that serves and says nothing for so long is killed and replaced.
        """
        self.workers: dict[int, WorkerHandle] = {}
        self.restarts = 0
        self._foreman = foreman
        self._next = 0
        self._stop = stop
        self._silent_seconds = silent_seconds
        self._supervisors: set[asyncio.Task[None]] = set()
        self._employ: Callable[[asyncio.Future[WorkerHandle] | None], asyncio.Task[None]] | None = None

    def start(self, count: int, settings: Callable[[int, int], WorkerSettings], listener: socket.socket) -> None:
        """Start the workers.

        Args:
            count: How many.
            settings: Of a worker, given its number and the file descriptor of its channel.
            listener: The socket they accept on.
        """

        def employ(first: asyncio.Future[WorkerHandle] | None) -> asyncio.Task[None]:
            task = asyncio.create_task(self._supervise(settings, listener, first))
            self._supervisors.add(task)
            task.add_done_callback(self._supervisors.discard)
            return task

        self._employ = employ
        for _ in range(count):
            employ(None)

    async def watch(self) -> None:
        """Kill workers whose event loop stands still, for ever; each is replaced as one that died."""
        looked = time.monotonic()
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            now = time.monotonic()
            slept, looked = now - looked, now
            for worker in tuple(self.workers.values()):
                if slept > 2 * _WATCH_SECONDS:
                    worker.heard = now  # this process stood still itself: what they said has not been read yet
                limit = self._silent_seconds if worker.ready else START_SECONDS
                if not worker.leaving and now - worker.heard > limit and worker.process.returncode is None:
                    log.error("worker %d has said nothing for %.0f s; killing it", worker.number, now - worker.heard)
                    worker.process.kill()

    async def renew(self, drain_seconds: float) -> None:
        """Replace every worker, one after the other: the new one serves before the old one drains.

        Args:
            drain_seconds: How long an old one's requests may take.

        Raises:
            PermanentError: ``restart_failed``: a new one does not serve; the old ones go on.
        """
        for old in tuple(self.workers.values()):
            if old.leaving or old.process.returncode is not None or self._employ is None:
                continue
            first: asyncio.Future[WorkerHandle] = asyncio.get_running_loop().create_future()
            task = self._employ(first)
            await self._until_it_serves(first, task)
            old.leaving = True
            send(old.writer, {"type": "drain"})
            deadline = time.monotonic() + drain_seconds + 7
            while old.number in self.workers and time.monotonic() < deadline:  # noqa: ASYNC110 - rare, and bounded
                await asyncio.sleep(0.02)
            if old.number in self.workers:
                old.process.kill()

    async def _until_it_serves(self, first: asyncio.Future[WorkerHandle], task: asyncio.Task[None]) -> None:
        try:
            async with asyncio.timeout(START_SECONDS):
                worker = await first
                while not worker.ready:
                    if worker.process.returncode is not None:
                        raise ChildProcessError(f"it ended with {worker.process.returncode}")
                    await asyncio.sleep(0.01)
        except (TimeoutError, ChildProcessError) as error:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            if first.done() and not first.cancelled() and first.result().number in self.workers:
                await self._kill(first.result())
            raise PermanentError(
                f"a new worker does not serve, the old ones go on: {str(error) or f'not within {START_SECONDS:g} s'}",
                code="restart_failed",
                hint="the gateway's log says why",
            ) from error

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
            await self._kill(worker)

    async def listen_to(self, worker: WorkerHandle) -> None:
        """Pass on what a worker says until its channel closes."""
        while (message := await receive(worker.reader)) is not None:
            worker.heard = time.monotonic()
            try:
                self._foreman.hear(worker, message)
            except Exception:  # the next message may be the acknowledgement of a rollback
                log.exception("a message of worker %d could not be handled", worker.number)

    async def _supervise(
        self,
        settings: Callable[[int, int], WorkerSettings],
        listener: socket.socket,
        first: asyncio.Future[WorkerHandle] | None,
    ) -> None:
        """Keep one worker running; one that dies is replaced, at once the first time. ``first`` is told of it."""
        pause = 0.05
        while not self._stop.is_set():
            try:
                worker = await self._spawn(settings, listener)
            except Exception:  # no memory, no file descriptors: there may be some later
                log.exception("a worker could not be started")
                pause = min(pause * 2, 2.0)
                await asyncio.sleep(pause)
                continue
            if first is not None and not first.done():
                first.set_result(worker)
            await self.listen_to(worker)
            await worker.process.wait()
            self._bury(worker)
            if self._stop.is_set() or worker.leaving:
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
                "-X",
                "no_debug_ranges",  # columns of tracebacks cost a worker half a megabyte
                "-m",
                "fairway.gateway.worker",
                json.dumps(asdict(settings(number, theirs.fileno()))),
                env=environment_of(os.environ),
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=(listener.fileno(), theirs.fileno()),
            )
        ours.setblocking(False)
        reader, writer = await asyncio.open_unix_connection(sock=ours)
        worker = WorkerHandle(number, process, reader, writer)
        self.workers[number] = worker
        send(writer, self._foreman.first_message())
        return worker

    async def _kill(self, worker: WorkerHandle) -> None:
        if worker.process.returncode is None:
            worker.process.kill()
            await worker.process.wait()
        self._bury(worker)

    def _bury(self, worker: WorkerHandle) -> None:
        self.workers.pop(worker.number, None)
        worker.writer.close()
        self._foreman.bury(worker)


def environment_of(ours: Mapping[str, str]) -> dict[str, str]:
    """What a worker's environment is, given the parent's.

    Its threads wait for each other most of the time, so that more than one heap of the C library's would be memory
    without use: up to a megabyte for the thread that writes the access log.
    """
    return {"MALLOC_ARENA_MAX": "1", **ours}
