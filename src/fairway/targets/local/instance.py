"""One instance of an arm: started, watched, restarted, drained, and seen to its end."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import dataclass, replace

from fairway.clock import Clock
from fairway.targets.local.log import redact, rotate, secrets_of, tail
from fairway.targets.local.probe import ProbeError, Readiness, fetch, judge
from fairway.targets.local.process import (
    LOOPBACK,
    MARKER,
    GroupProcess,
    free_port,
    open_connections,
    port_is_free,
    says_port_taken,
)
from fairway.targets.local.records import Goal, InstanceRecord, RecordFolder
from fairway.targets.local.restarts import RestartHistory, RestartPolicy, after_exit
from fairway.targets.local.service import command_line, service_environment
from fairway.targets.port import AttestedBy, InstanceState, ObservedInstance
from fairway.units import format_duration

_NEW_PORT_TRIES = 3  # a service that says "port taken" more often than that has another problem
_ROTATE_EVERY = 2.0  # seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """How often an instance is looked at; seconds.

    Attributes:
        poll: Between two looks at whether the process still runs.
        ready_interval, ready_timeout: Between two questions at the ready path, and how long each may take.
        health_interval, health_timeout, health_failures: The same at the health path once it is ready; patient, because
            a service that does one thing at a time answers nothing else meanwhile. So many failures in a row: hung.
        stop_grace: Between SIGTERM and SIGKILL when nothing has to be finished.
    """

    poll: float = 0.1
    ready_interval: float = 0.2
    ready_timeout: float = 1.0
    health_interval: float = 5.0
    health_timeout: float = 5.0
    health_failures: int = 3
    stop_grace: float = 3.0


class PortPool:
    """Ports given to instances of this target, so that no two get the same before either listens."""

    def __init__(self) -> None:
        self._taken: set[int] = set()

    def take(self) -> int:
        """A free port, reserved until it is given back."""
        port = free_port(taken=self._taken)
        self._taken.add(port)
        return port

    def reserve(self, port: int) -> None:
        """Note that an adopted instance has it."""
        self._taken.add(port)

    def give_back(self, port: int) -> None:
        """It may be given to another."""
        self._taken.discard(port)


class Instance:
    """Keeps one instance as it should be; :meth:`run` is its life, everything else looks or asks.

    Attributes:
        record: As last written down.
    """

    def __init__(
        self,
        record: InstanceRecord,
        *,
        marker: str,
        records: RecordFolder,
        ports: PortPool,
        clock: Clock,
        timing: Timing,
        policy: RestartPolicy,
        process: GroupProcess | None = None,
    ) -> None:
        # What an earlier supervisor saw is not known to be so now.
        known = record.goal is not Goal.SERVE or record.state is InstanceState.CRASH_LOOP
        self.record = record if known else replace(record, state=InstanceState.STARTING, detail="")
        self._marker = marker
        self._records = records
        self._ports = ports
        self._clock = clock
        self._timing = timing
        self._policy = policy
        self._process = process
        self._history = RestartHistory()
        self._looping = record.state is InstanceState.CRASH_LOOP
        self._readiness: Readiness | None = None
        self._ready_since: float | None = None
        self._new_ports = 0
        self._health_failures = 0
        self._log_start = 0
        self._next_rotation = 0.0
        age = max(0.0, clock.now().timestamp() - record.started_at) if process is not None else 0.0
        self._started = clock.monotonic() - age

    # -- what others ask ----------------------------------------------------------------------------------------------

    @property
    def goal(self) -> Goal:
        """What is wanted of it."""
        return self.record.goal

    def ask(self, goal: Goal) -> None:
        """Want less of it: serve, drain, stop. Asking for more than was asked before changes nothing."""
        order = list(Goal)
        if order.index(goal) > order.index(self.record.goal):
            ending = self.record.state is not InstanceState.STOPPED
            self._note(goal=goal, state=InstanceState.DRAINING if ending else InstanceState.STOPPED)

    def observed(self) -> ObservedInstance:
        """What is known of it now."""
        return ObservedInstance(
            id=self.record.id,
            endpoint=self.record.endpoint,
            state=self.record.state,
            attested_by=self._readiness.attested_by if self._readiness else AttestedBy.SUPERVISOR,
            reported=self._readiness.reported if self._readiness else None,
            restarts=self.record.restarts,
            detail=self.record.detail,
        )

    async def look(self) -> None:
        """Ask an adopted process once, so that the first observation is true."""
        if self._process is not None and self._process.poll() is None and self.goal is Goal.SERVE:
            await self._ask_ready()

    # -- its life -----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep it up until it is asked to end, then end it. Cancelled, it leaves the process running."""
        try:
            while self.goal is Goal.SERVE:
                ended = self._start() if self._process is None else None
                if ended is None:
                    ended = await self._watch()
                if ended is not None and self.goal is Goal.SERVE:
                    await self._back_off(ended)
            await self._end()
        finally:
            if self._process is not None:
                self._process.disown()

    def _start(self) -> str | None:
        """Start the process; returns why that failed, or ``None``."""
        if not port_is_free(self.record.port):
            self._change_port()
        record = self.record
        environment = service_environment(record.service, record.placement, port=record.port, inherited=os.environ)
        environment[MARKER] = self._marker
        self._log_start = record.log.stat().st_size if record.log.exists() else 0
        self._started = self._clock.monotonic()
        self._ready_since = None
        self._readiness = None
        self._health_failures = 0
        state = InstanceState.CRASH_LOOP if self._looping else InstanceState.STARTING
        # Written before the start: killed in between, the next supervisor finds the process by its marker.
        self._note(state=state, process=None, started_at=self._clock.now().timestamp())
        try:
            self._process = GroupProcess.start(
                command_line(record.service, port=record.port),
                cwd=record.placement.tree,
                environment=environment,
                log=record.log,
            )
        except OSError as error:
            return f"could not be started: {error.strerror}: {error.filename or record.service.command[0]}"
        self._note(process=self._process.identity)
        return None

    async def _watch(self) -> str | None:
        """Look after the running process; returns why it ended, or ``None`` when something else is wanted of it."""
        assert self._process is not None
        question: asyncio.Task[str | None] | None = None
        next_question = 0.0
        try:
            while self.goal is Goal.SERVE:
                ended = self._process.poll()
                if ended is not None:
                    self._process = None
                    return f"{ended} {format_duration(self._clock.monotonic() - self._started)} after its start"
                if question is None and self._clock.monotonic() >= next_question:
                    # Asked on the side: a service that does not answer delays neither a drain nor news of its end.
                    question = asyncio.create_task(self._question())
                elif question is not None and question.done():
                    if complaint := question.result():
                        return await self._give_up(complaint)
                    question = None
                    next_question = self._clock.monotonic() + self._question_interval()
                self._settle()
                self._rotate()
                await self._clock.sleep(self._timing.poll)
            return None
        finally:
            if question is not None:
                question.cancel()
                await asyncio.gather(question, return_exceptions=True)

    def _question_interval(self) -> float:
        """Seconds to the next question."""
        return self._timing.ready_interval if self._ready_since is None else self._timing.health_interval

    async def _question(self) -> str | None:
        """Ask how it is; returns why it has to be restarted, or ``None``."""
        if self._ready_since is None:
            waited = self._clock.monotonic() - self._started
            is_ready = await self._ask_ready()
            late = not is_ready and waited >= 2 * self.record.service.ready_timeout
            return f"was not ready after {format_duration(waited)}" if late else None
        try:
            path = self.record.service.health
            answer = await fetch(LOOPBACK, self.record.port, path, timeout=self._timing.health_timeout)
            problem = None if answer.status < 500 else f"GET {path} answered {answer.status}"
        except ProbeError as error:
            problem = str(error)
        if problem is None:
            self._health_failures = 0
            return None
        self._health_failures += 1
        self._note(detail=f"health check failed {self._health_failures} time(s): {problem}")
        return f"hung: {problem}" if self._health_failures >= self._timing.health_failures else None

    async def _ask_ready(self) -> bool:
        """Ask its ready path, note the answer, and say whether it is ready."""
        record = self.record
        path = record.service.ready
        try:
            answer = await fetch(LOOPBACK, record.port, path, timeout=self._timing.ready_timeout)
        except ProbeError as error:
            readiness = Readiness(ready=False, detail=str(error), advice=error.advice)
        else:
            readiness = judge(answer, path=path, release=record.placement.release, effective=record.placement.effective)
        if self.goal is not Goal.SERVE:
            return False  # asked before it was told to end; what it says no longer matters
        self._readiness = readiness
        now = self._clock.monotonic()
        if readiness.ready:
            self._ready_since = now
            self._new_ports = 0
            if not self._looping:
                self._note(state=InstanceState.READY, detail="")
        elif now - self._started >= record.service.ready_timeout and not self._looping:
            waited = format_duration(now - self._started)
            what = f"{readiness.detail} ({waited} so far)" + (f"; {readiness.advice}" if readiness.advice else "")
            self._note(state=InstanceState.NEVER_READY, detail=self._explain(what))
        elif record.state is InstanceState.STARTING:
            self._note(detail=readiness.detail)
        return readiness.ready

    def _settle(self) -> None:
        """Let time heal: out of a crash loop after its probation."""
        if self._ready_since is None or not self._looping:
            return
        if self._clock.monotonic() - self._ready_since >= self._policy.probation:
            self._looping = False
            self._note(state=InstanceState.READY, detail="")

    async def _give_up(self, complaint: str) -> str:
        """End a process that is of no use any more."""
        assert self._process is not None
        await self._process.stop(grace=self._timing.stop_grace, clock=self._clock)
        self._process = None
        return complaint

    async def _back_off(self, ended: str) -> None:
        """Wait before the next start, longer each time."""
        never_ready = self._ready_since is None
        if never_ready and self._new_ports < _NEW_PORT_TRIES and says_port_taken(self._tail()):
            self._new_ports += 1
            self._change_port()
            return
        decision = after_exit(
            self._history,
            self._policy,
            started=self._started,
            ready_since=self._ready_since,
            now=self._clock.monotonic(),
        )
        self._history = decision.history
        self._looping = decision.looping
        self._readiness = None
        self._note(
            process=None,
            restarts=self.record.restarts + 1,
            state=InstanceState.CRASH_LOOP if decision.looping else InstanceState.BACKING_OFF,
            detail=self._explain(f"{ended}; starting again in {format_duration(decision.delay)}"),
        )
        until = self._clock.monotonic() + decision.delay
        while self.goal is Goal.SERVE and (rest := until - self._clock.monotonic()) > 0:
            await self._clock.sleep(min(rest, self._timing.poll))

    async def _end(self) -> None:
        """Let running work finish if that was asked for, end the group, and forget the instance."""
        if self._process is not None:
            if self.goal is Goal.DRAIN:
                await self._drain(self._process)
            await self._process.stop(grace=self._timing.stop_grace, clock=self._clock)
            self._process = None
        self._note(state=InstanceState.STOPPED, process=None)
        self._records.remove(self.record.id)
        self._ports.give_back(self.record.port)

    async def _drain(self, process: GroupProcess) -> None:
        """Wait for clients to go, then SIGTERM and wait for the process to go, together at most the grace of the arm.

        Clients first, because a service that ends at SIGTERM at once would drop the answers it is writing. Where the
        system does not tell who is connected, it is SIGTERM at once.
        """
        deadline = self._clock.monotonic() + self.record.service.drain

        def waiting() -> bool:
            return self.goal is Goal.DRAIN and self._clock.monotonic() < deadline and process.any_running()

        while waiting() and (open_connections(self.record.port) or 0) > 0:
            await self._clock.sleep(self._timing.poll)
        process.send(signal.SIGTERM)
        while waiting():
            await self._clock.sleep(self._timing.poll)

    # -- small things -------------------------------------------------------------------------------------------------

    def _change_port(self) -> None:
        """Move to another port; the old one is somebody else's."""
        self._ports.give_back(self.record.port)
        self._note(port=self._ports.take())

    def _tail(self) -> str:
        """The last words of the present process."""
        return tail(self.record.log, since=self._log_start)

    def _explain(self, what: str) -> str:
        """``what``, where the log is, and its last lines without secrets."""
        environment = {**os.environ, **self.record.service.environment}
        words = redact(self._tail(), secrets_of(environment))
        return f"{what}; log: {self.record.log}" + (f"\n{words}" if words else "")

    def _rotate(self) -> None:
        """Keep the log bounded."""
        now = self._clock.monotonic()
        if now >= self._next_rotation:
            self._next_rotation = now + _ROTATE_EVERY
            if rotate(self.record.log):
                self._log_start = 0

    def _note(self, **changes: object) -> None:
        """Change the record, and write it when something changed."""
        changed = replace(self.record, **changes)  # type: ignore[arg-type]
        if changed == self.record:
            return
        self.record = changed
        try:
            self._records.write(changed)
        except OSError:
            # A full disk must not end supervision; the process is found by its marker if this record is missing.
            pass
