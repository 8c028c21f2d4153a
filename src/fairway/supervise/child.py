"""One child of the supervisor: started or adopted, restarted with back-off, ended."""

from __future__ import annotations

import os
import signal
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

from fairway.clock import Clock
from fairway.errors import FairwayError
from fairway.supervise.info import ChildInfo, ChildState
from fairway.targets.local.log import redact, rotate, secrets_of, tail
from fairway.targets.local.process import MARKER, GroupProcess, is_running
from fairway.targets.local.restarts import RestartHistory, RestartPolicy, after_exit
from fairway.targets.local.service import LEASH_VARIABLE
from fairway.units import format_duration

_POLL_SECONDS = 0.1
_ROTATE_EVERY_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """When a child that serves counts as hung: so many questions in a row without an answer, so many seconds apart."""

    interval: float = 5.0
    failures: int = 5


class Takeover(StrEnum):
    """What the next supervisor does with a child that outlived the last one."""

    ADOPT = "adopt"
    REPLACE = "replace"


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """A command with what it inherits."""

    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    pass_fds: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildSpec:
    """What to keep running.

    Attributes:
        launch: Called before every start; a FairwayError it raises counts as a failed start.
        ready: Whether it serves now; asked every tenth of a second until it does. ``None``: as soon as it runs.
        alive: Whether it still answers, asked once it serves; one that does not is killed and started again. ``None``:
            not asked. It is SIGKILL, because to a controller that comes to itself SIGTERM means to stop the arms.
        grace: Seconds between SIGTERM and SIGKILL.
        fingerprint: What it is started with, apart from descriptors; see :class:`Takeover`.
        takeover_grace: Seconds a child that is to be replaced has to go by itself before SIGKILL.
        patience: When it counts as hung.
        sweeps: Whether processes it leaves behind when it crashes are killed; the gateway's workers are not, so that
            they can finish what they are serving.
        say_goodbye: Whether a child that is to be replaced is asked to end with SIGTERM; without, it is expected to
            have noticed that its supervisor is dead.
    """

    name: str
    launch: Callable[[], Launch]
    cwd: Path
    log: Path
    ready: Callable[[], Awaitable[bool]] | None = None
    alive: Callable[[], Awaitable[bool]] | None = None
    url: Callable[[], str] | None = None
    grace: float = 10.0
    fingerprint: str = ""
    takeover: Takeover = Takeover.REPLACE
    takeover_grace: float = 5.0
    say_goodbye: bool = True
    sweeps: bool = True
    patience: Patience = Patience()


class Child:
    """Keeps one child running until it is asked to end.

    Args:
        spec: What to run.
        marker: What its processes carry in their environment, so that none is lost.
        clock: Time.
        policy: When it is started again.
        changed: Called after every change of :attr:`info`.
    """

    def __init__(
        self,
        spec: ChildSpec,
        *,
        marker: str,
        clock: Clock,
        policy: RestartPolicy,
        changed: Callable[[ChildInfo], None],
    ) -> None:
        self.spec = spec
        self.marker = marker
        self.info = ChildInfo(name=spec.name, state=ChildState.STARTING, fingerprint=spec.fingerprint)
        self._clock = clock
        self._policy = policy
        self._changed = changed
        self._process: GroupProcess | None = None
        self._history = RestartHistory()
        self._ending = False
        self._started = 0.0
        self._ready_since: float | None = None
        self._log_start = 0
        self._next_rotation = 0.0
        self._next_question = 0.0
        self._unanswered = 0

    async def take_over(self, left: ChildInfo | None) -> None:
        """Deal with the process an earlier supervisor left: adopt it, or see it gone."""
        if left is None or left.process is None or not is_running(left.process):
            return
        process = GroupProcess.adopt(left.process, marker=self.marker)
        same = left.fingerprint == self.spec.fingerprint
        if self.spec.takeover is Takeover.ADOPT and same and await self._is_ready():
            process.sweeps = self.spec.sweeps
            self._process = process
            self._started = self._clock.monotonic()
            self._note(process=left.process, detail="adopted")
            return
        if self.spec.say_goodbye:
            await process.stop(grace=self.spec.grace, clock=self._clock)
            return
        deadline = self._clock.monotonic() + self.spec.takeover_grace
        while is_running(left.process) and self._clock.monotonic() < deadline:
            await self._clock.sleep(_POLL_SECONDS)
        # Not SIGTERM: to the controller that means to stop the arms, which are to go on.
        process.send(signal.SIGKILL)
        while process.poll() is None:
            await self._clock.sleep(_POLL_SECONDS)

    async def run(self) -> None:
        """Keep it running until :meth:`end`. Cancelled, it leaves the process as it is."""
        try:
            while not self._ending:
                ended = self._start() if self._process is None else None
                if ended is None:
                    ended = await self._watch()
                if ended is not None and not self._ending:
                    await self._back_off(ended)
        finally:
            if self._process is not None and not self._ending:
                self._process.disown()

    async def end(self, *, grace: float | None = None) -> None:
        """SIGTERM, wait for it, SIGKILL what is left, and start nothing again."""
        self._ending = True
        if self._process is not None:
            self._note(state=ChildState.DRAINING, detail="")
            await self._process.stop(grace=self.spec.grace if grace is None else grace, clock=self._clock)
            self._process = None
        self._note(state=ChildState.STOPPED, process=None, detail="")

    def kill(self) -> None:
        """SIGKILL its group now; a running :meth:`end` returns at once."""
        self._ending = True
        if self._process is not None:
            self._process.send(signal.SIGKILL)

    def _start(self) -> str | None:
        """Start it; returns why that failed, or ``None``."""
        spec = self.spec
        self._started = self._clock.monotonic()
        self._ready_since = None
        self._unanswered = 0
        self._log_start = spec.log.stat().st_size if spec.log.exists() else 0
        self._note(state=ChildState.STARTING, process=None)
        try:
            launch = spec.launch()
            inherited = {name: value for name, value in os.environ.items() if name != LEASH_VARIABLE}
            self._process = GroupProcess.start(
                launch.command,
                cwd=spec.cwd,
                environment={**inherited, **launch.environment, MARKER: self.marker},
                log=spec.log,
                pass_fds=launch.pass_fds,
            )
            self._process.sweeps = spec.sweeps
        except FairwayError as error:
            return f"could not be started: {error.message}"
        except OSError as error:
            return f"could not be started: {error.strerror}: {error.filename}"
        self._note(process=self._process.identity, detail="")
        return None

    async def _watch(self) -> str | None:
        """Look after the running process; returns how it ended, or ``None`` when it is being ended on purpose."""
        while not self._ending:
            assert self._process is not None
            ended = self._process.poll()
            if ended is not None:
                self._process = None
                hung = f"did not answer {self._unanswered} times and " if self._is_hung() else ""
                return f"{hung}{ended} {format_duration(self._clock.monotonic() - self._started)} after its start"
            if self._ready_since is None and await self._is_ready():
                self._ready_since = self._clock.monotonic()
                self._unanswered = 0
                self._note(state=ChildState.SERVING, url=self.spec.url() if self.spec.url else None, detail="")
            await self._question()
            if self._clock.monotonic() >= self._next_rotation:
                self._next_rotation = self._clock.monotonic() + _ROTATE_EVERY_SECONDS
                rotate(self.spec.log)
            await self._clock.sleep(_POLL_SECONDS)
        return None

    async def _is_ready(self) -> bool:
        """Whether it serves."""
        return self.spec.ready is None or await self.spec.ready()

    async def _question(self) -> None:
        """Ask a child that serves whether it still answers, and kill one that hangs."""
        now = self._clock.monotonic()
        if self.spec.alive is None or self._ready_since is None or now < self._next_question:
            return
        self._unanswered = 0 if await self.spec.alive() else self._unanswered + 1
        self._next_question = self._clock.monotonic() + self.spec.patience.interval
        if self._process is not None and self._is_hung():
            self._process.kill_leader()

    def _is_hung(self) -> bool:
        """Whether it has not answered for too long."""
        return self._unanswered >= self.spec.patience.failures

    async def _back_off(self, ended: str) -> None:
        """Wait before the next start, longer each time, and say why."""
        decision = after_exit(
            self._history,
            self._policy,
            started=self._started,
            ready_since=self._ready_since,
            now=self._clock.monotonic(),
        )
        self._history = decision.history
        words = redact(tail(self.spec.log, lines=8, since=self._log_start), secrets_of(os.environ))
        what = f"{ended}; starting again in {format_duration(decision.delay)}; log: {self.spec.log}"
        self._note(
            state=ChildState.CRASH_LOOP if decision.looping else ChildState.BACKING_OFF,
            process=None,
            restarts=self.info.restarts + 1,
            detail=what + (f"\n{words}" if words else ""),
        )
        until = self._clock.monotonic() + decision.delay
        while not self._ending and (rest := until - self._clock.monotonic()) > 0:
            await self._clock.sleep(min(rest, _POLL_SECONDS))

    def _note(self, **changes: object) -> None:
        """Change what is known of it, and tell when that is new."""
        info = replace(self.info, **changes)  # type: ignore[arg-type]
        if info != self.info:
            self.info = info
            self._changed(info)
