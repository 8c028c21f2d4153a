"""A gateway in its own restart: the one that is taken over from, the one that takes over, or the bridge between."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from fairway.errors import ConflictError, FairwayError, PermanentError
from fairway.gateway.goodbyes import goodbye
from fairway.gateway.succession import Link, Succession
from fairway.observe.blocks import Batch

if TYPE_CHECKING:
    from fairway.gateway.parent import Gateway

log = logging.getLogger("fairway.gateway")

START_SECONDS = 30.0
"""How long a new gateway may take until its workers serve; the old one goes on if it takes longer."""

ANSWER_SECONDS = 0.05
"""How long the old one's admin API still has to finish what it answers."""

ENDING = (signal.SIGTERM, signal.SIGINT)
"""Ask a gateway to end; blocked while a process replaces itself, in which it would die of them."""

_LAST_WORDS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Again:
    """This very process as the code that is installed now."""

    succession: Succession

    def __call__(self) -> NoReturn:
        """Replace the process; its pid and whatever is inherited stay."""
        for descriptor in self.succession.descriptors:
            os.set_inheritable(descriptor, True)
        environment = {**os.environ, **self.succession.environment()}
        os.execve(sys.executable, command(), environment)  # noqa: S606 - the command this process was started with


def command() -> list[str]:
    """The command this process was started with."""
    return [sys.executable, *sys.orig_argv[1:]]


class Renewal:
    """What goes on between this gateway, the one before it and the one after it.

    Attributes:
        phase: What a restart is about at the moment; ``None`` when none is under way.
        error: Why the last restart of the workers ended early; ``None`` when it did not.
        inherited: Set once the lock, the admin socket and the telemetry are this process's to take.
        yielding: Whether everything is given to the next one.
        terminated: Whether somebody asked this process to end.
        before: Boot of the one before while its workers still report.
    """

    def __init__(self, gateway: Gateway, succession: Succession | None) -> None:
        """Take the gateway, and what it was told when it was started."""
        self.phase: str | None = None if succession is None else "takes over"
        self.error: str | None = None
        self.inherited = asyncio.Event()
        self.yielding = False
        self.terminated = False
        self.before: str | None = None
        self._gateway = gateway
        self._succession = succession
        self._last: dict[int, int] = {}
        """The last number of each of its workers that has not said good-bye."""
        self._predecessor: Link | None = None
        self._successor: Link | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._renewing: asyncio.Task[None] | None = None
        self._back: socket.socket | None = None
        self._last_words: deque[str] = deque(maxlen=_LAST_WORDS)
        if succession is None:
            self.inherited.set()

    @property
    def bridge(self) -> bool:
        """Whether this process only serves until the one before has replaced itself."""
        return self._succession is not None and self._succession.back is not None

    @property
    def alive(self) -> frozenset[str]:
        """Boots whose workers still report."""
        return frozenset((self._gateway.boot, *(() if self.before is None else (self.before,))))

    def speak(self) -> None:
        """What is wrong from now on is logged; what was wrong before was the old one's to report."""
        if self._succession is not None:
            self._succession.speak()

    # --- taking over -------------------------------------------------------------------------------------------

    async def greet(self) -> None:
        """Learn what the one before knows, before anything is served."""
        if self._succession is None:
            return
        self._predecessor = await Link.over(socket.socket(fileno=self._succession.channel))
        hello = await self._predecessor.hear()
        if hello is None:
            self._alone()
        else:
            self.before = hello["boot"]
            self._gateway.inherit(hello)

    async def succeed(self, ready: Callable[[], bool]) -> None:
        """Take over once ``ready``, and listen to the one before until its last worker is done."""
        link = self._predecessor
        if link is None:
            return
        telling = asyncio.create_task(_tell_serving(link, ready))
        try:
            returning = await self._listen(link)
        finally:
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)
        self._alone()
        if not self.bridge:
            await self._reap()
            return
        if returning:
            await self._give_back()
        if not self.yielding:
            log.warning("the gateway that was to be restarted is gone; draining")
            self._gateway.stop()

    async def _listen(self, link: Link) -> bool:
        """Obey the one before until it is done; whether it comes back as new code."""
        gateway, returning = self._gateway, False
        while (message := await link.hear()) is not None:
            if message["type"] == "changed":
                gateway.inherit(message)  # from the first request on, as everywhere else
            elif message["type"] == "yours":
                self._last = {int(worker): seq for worker, seq in message["last"].items()}
                gateway.inherit(message)
                self.inherited.set()
                self.phase = "the process before finishes its requests"
            elif message["type"] == "batch":
                self._heard(Batch.from_wire(message["batch"]))
            elif message["type"] == "attested":
                gateway.attest(message["release"])
            elif message["type"] == "done":
                returning = bool(message["returning"])
        return returning

    def tell_before(self, message: dict[str, Any]) -> None:
        """Let the workers of the one before know of a table or a decision while they finish."""
        if self._predecessor is not None and self.inherited.is_set():
            self._predecessor.tell(message)

    def tell_next(self) -> None:
        """Let the one that starts know of a table or a decision at once: its workers may serve before it takes over."""
        if self._successor is not None and not self.yielding:
            self._successor.tell({"type": "changed", **self._gateway.estate()})

    def pass_on(self, message: dict[str, Any]) -> bool:
        """What a worker of this process says that the next one decides about; ``False`` when there is none yet."""
        return self.yielding and self._successor is not None and self._successor.tell(message)

    def _heard(self, batch: Batch) -> None:
        self._gateway.count(batch)
        if batch.last:
            self._last.pop(batch.worker, None)
        else:
            self._last[batch.worker] = batch.seq

    def _alone(self) -> None:
        """The one before is gone, and so are its workers."""
        before, self.before = self.before, None
        gateway = self._gateway
        if before is not None:
            for worker, seq in self._last.items():
                gateway.count(goodbye(gateway.gateway_id, before, worker, seq, gateway.effective_table()))
        self._last.clear()
        self._predecessor = None
        self.inherited.set()
        self.phase = None

    async def _reap(self) -> None:
        child = self._succession.child if self._succession is not None else None
        if child is not None:
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(child, os.WNOHANG)[0] == 0:  # noqa: ASYNC110, ASYNC222 - no child of this loop
                    await asyncio.sleep(0.05)

    async def _give_back(self) -> None:
        """Wait for the process that was to be restarted to serve again, then give everything back."""
        assert self._succession is not None
        assert self._succession.back is not None
        self.phase = "the process replaces itself"
        self._successor = await Link.over(socket.socket(fileno=self._succession.back))
        self._greet_next()
        message = await self._successor.hear()
        if message is not None and message["type"] == "serving":
            self._yield()

    # --- being taken over from ---------------------------------------------------------------------------------

    async def begin(self) -> None:
        """Start the next one; returns once it serves, and everything is given to it a moment later.

        Raises:
            ConflictError: ``restart_running``: one is under way already.
            PermanentError: ``restart_failed``: it does not start; this one goes on.
        """
        self._check_possible()
        self.phase = "the new one starts"
        try:
            await self._start_next()
        except BaseException:
            self.phase = None
            raise
        self.phase = "everything changes hands"
        asyncio.get_running_loop().call_later(ANSWER_SECONDS, self._yield)

    def begin_workers(self, renew: Callable[[], Awaitable[None]]) -> None:
        """Replace the workers one after the other; :attr:`phase` and :attr:`error` say what becomes of it.

        Raises:
            ConflictError: As for :meth:`begin`.
        """
        self._check_possible()
        self.phase, self.error = "workers are replaced", None

        async def renewed() -> None:
            try:
                await renew()
            except FairwayError as error:
                self.error = error.message
                log.error("%s", error.message)
            finally:
                self.phase = None

        self._renewing = asyncio.create_task(renewed())

    def _check_possible(self) -> None:
        if self.phase is not None or self.yielding or not self._gateway.serves:
            raise ConflictError(
                f"not now: {self.phase or 'the gateway is starting or stopping'}",
                code="restart_running",
                hint="fairway gateway status says when it is over",
            )

    async def _start_next(self) -> None:
        ours, theirs = socket.socketpair()
        self._back, back = socket.socketpair()
        stderr = os.dup(2)
        succession = Succession(channel=theirs.fileno(), back=back.fileno(), stderr=stderr, **self._gateway.listeners())
        try:
            self._process = await asyncio.create_subprocess_exec(
                *command(),
                stdin=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                env={**os.environ, **succession.environment()},
                pass_fds=succession.descriptors,
            )
        except OSError as error:
            ours.close()
            raise PermanentError(f"the new gateway cannot be started: {error}", code="restart_failed") from error
        finally:
            theirs.close()
            back.close()
            os.close(stderr)
        words = asyncio.create_task(self._listen_to_words(self._process))
        self._successor = await Link.over(ours)
        self._greet_next()
        message: dict[str, Any] | None = None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(START_SECONDS):
                message = await self._successor.hear()
        if message is None or message["type"] != "serving":
            await self._give_up(words, "" if message is None else str(message.get("error", "")))

    async def _give_up(self, words: asyncio.Task[None], said: str) -> NoReturn:
        """The new one does not serve: end it, and say why."""
        assert self._process is not None
        assert self._successor is not None
        assert self._back is not None
        ended = self._process.returncode
        await self._successor.close()  # its workers, if any, drain when it goes
        self._back.close()
        self._successor = None
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        try:
            async with asyncio.timeout(2.0):
                ended = await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                await words
        why = said or "\n".join(self._last_words)
        how = f"it did not serve within {START_SECONDS:g} s" if ended is None else f"it ended with {ended}"
        raise PermanentError(
            f"the new gateway does not start, the old one goes on: {why or how}",
            code="restart_failed",
            hint="mend what it says, then restart again; nothing was interrupted",
        )

    async def _listen_to_words(self, process: asyncio.subprocess.Process) -> None:
        """Pass on what the new one writes before it can log by itself, and keep the last lines."""
        assert process.stderr is not None
        with contextlib.suppress(ValueError):
            async for line in process.stderr:
                os.write(2, line)
                self._last_words.append(line.decode(errors="replace").rstrip())

    def _greet_next(self) -> None:
        assert self._successor is not None
        self._successor.tell({"type": "hello", **self._gateway.estate()})

    def _yield(self) -> None:
        if not self.terminated:
            self.yielding = True
            self._gateway.stop()

    async def hand_over(self) -> asyncio.Task[None]:
        """Give everything to the next one; what it decides from now on reaches the workers that still finish."""
        assert self._successor is not None
        link, gateway = self._successor, self._gateway
        gateway.archive.pass_on = lambda wire: link.tell({"type": "batch", "batch": wire})
        await gateway.release()
        last = {worker.number: worker.seq for worker in gateway.workers.values() if not worker.said_goodbye}
        link.tell({"type": "yours", "last": last, **gateway.estate()})

        async def obey() -> None:
            while (message := await link.hear()) is not None:
                gateway.tell_workers(message)

        return asyncio.create_task(obey())

    async def finish(self, obeying: asyncio.Task[None]) -> Again | None:
        """Everything is drained. How this process goes on: as new code, or not at all."""
        assert self._successor is not None
        obeying.cancel()
        await asyncio.gather(obeying, return_exceptions=True)
        signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)  # one that comes from here on waits for the code after this
        await asyncio.sleep(0)  # one that came before is known now
        returning = self._process is not None and not self.terminated
        if not returning:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
        self._successor.tell({"type": "done", "returning": returning})
        await self._successor.close()
        if self._process is None:
            return None
        assert self._back is not None
        if returning:
            listeners = self._gateway.listeners()
            return Again(succession=Succession(channel=self._back.detach(), child=self._process.pid, **listeners))
        self._back.close()
        await self._process.wait()
        return None


async def _tell_serving(link: Link, ready: Callable[[], bool]) -> None:
    while not ready():  # noqa: ASYNC110 - a start is rare, and workers should not have to tell it
        await asyncio.sleep(0.01)
    link.tell({"type": "serving"})
