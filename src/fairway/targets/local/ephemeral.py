"""A service for the length of a block: how stages test a release before it is an arm."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from fairway.clock import Clock, SystemClock
from fairway.errors import UserError
from fairway.targets.local.log import redact, secrets_of, tail
from fairway.targets.local.owned import end_group, marker_of_mine, reap_orphans
from fairway.targets.local.probe import ProbeError, Readiness, fetch, judge
from fairway.targets.local.process import (
    LOOPBACK,
    MARKER,
    GroupProcess,
    free_port,
    says_port_taken,
)
from fairway.targets.local.service import LocalService, Placement, command_line, service_environment
from fairway.targets.port import AttestedBy
from fairway.units import format_duration

_POLL_SECONDS = 0.1
_PROBE_TIMEOUT_SECONDS = 1.0
_PORT_TRIES = 3
PREFIX = "fairway#once#"
"""Marks these services among all processes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeSpec:
    """What to serve.

    Attributes:
        placement: The release, its environment and the folders with its files; the service runs in ``placement.tree``.
        service: How it is started.
        log: File for what it prints; appended to.
        variables: Further environment variables (``FAIRWAY_MOCK_LLM_URL`` …).
        stop_grace: Seconds between SIGTERM and SIGKILL at the end.
    """

    placement: Placement
    service: LocalService
    log: Path
    variables: Mapping[str, str] = field(default_factory=dict)
    stop_grace: float = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A service that is ready.

    Attributes:
        url: ``http://127.0.0.1:<port>``, without a slash at the end.
        ready_after: Seconds it took.
    """

    url: str
    host: str
    port: int
    attested_by: AttestedBy
    ready_after: float
    log: Path
    process: GroupProcess

    def running(self) -> bool:
        """Whether it still runs; False in the middle of a test means that the test killed it."""
        return self.process.poll() is None


@asynccontextmanager
async def serving(spec: ServeSpec, *, clock: Clock | None = None) -> AsyncIterator[Served]:
    """Start a service, wait until it is ready, and end its whole process group at the end of the block, come what may.

    A process that was killed before it could clean up leaves its service behind; the next call ends it.

    Raises:
        UserError: ``service_start`` when the command cannot be run, ``service_exited`` when it ends before it is ready,
            ``service_never_ready`` when its time is up or it reports another release. The hint shows its last lines.
    """
    time = clock or SystemClock()
    reap_orphans(PREFIX)
    began = time.monotonic()
    for attempt in range(1, _PORT_TRIES + 1):
        since = spec.log.stat().st_size if spec.log.exists() else 0
        port = free_port()
        process = _start(spec, port)
        try:
            try:
                readiness = await _until_ready(spec, process, port, since, time)
            except _PortTakenError:
                if attempt == _PORT_TRIES:
                    raise _error(
                        spec, "service_exited", "says that its port is taken, whichever it is given", since
                    ) from None
                continue
            except _NotReadyError as error:
                raise _error(spec, error.code, error.what, since, advice=error.advice) from None
            yield Served(
                url=f"http://{LOOPBACK}:{port}",
                host=LOOPBACK,
                port=port,
                attested_by=readiness.attested_by,
                ready_after=time.monotonic() - began,
                log=spec.log,
                process=process,
            )
            return
        finally:
            await end_group(process, grace=spec.stop_grace, clock=time)


class _PortTakenError(Exception):
    """The service lost the race for its port."""


class _NotReadyError(Exception):
    """It will not become ready."""

    def __init__(self, code: str, what: str, advice: str = "") -> None:
        super().__init__(what)
        self.code = code
        self.what = what
        self.advice = advice


def _start(spec: ServeSpec, port: int) -> GroupProcess:
    """Start the process.

    Raises:
        UserError: When it cannot be.
    """
    environment = service_environment(
        spec.service, spec.placement, port=port, inherited={**os.environ, **spec.variables}
    )
    environment[MARKER] = marker_of_mine(PREFIX)
    try:
        return GroupProcess.start(
            command_line(spec.service, port=port), cwd=spec.placement.tree, environment=environment, log=spec.log
        )
    except OSError as error:
        raise UserError(
            f"the service cannot be started: {error.strerror}: {error.filename or spec.service.command[0]}",
            code="service_start",
            hint="check service.command in fairway.yaml; it runs in the folder of the release, without a shell",
        ) from error


async def _until_ready(spec: ServeSpec, process: GroupProcess, port: int, since: int, clock: Clock) -> Readiness:
    """Wait until the service is ready.

    Raises:
        _PortTakenError, _NotReadyError: When it will not be.
    """
    deadline = clock.monotonic() + spec.service.ready_timeout
    detail, advice = "no answer", ""
    while True:
        ended = process.poll()
        if ended is not None:
            if says_port_taken(tail(spec.log, since=since)):
                raise _PortTakenError
            raise _NotReadyError("service_exited", f"{ended} before it was ready")
        try:
            answer = await fetch(LOOPBACK, port, spec.service.ready, timeout=_PROBE_TIMEOUT_SECONDS)
            readiness = judge(
                answer,
                path=spec.service.ready,
                release=spec.placement.release,
                effective=spec.placement.effective,
            )
            if readiness.ready:
                return readiness
            detail, advice = readiness.detail, readiness.advice
        except ProbeError as error:
            detail, advice = str(error), error.advice
        if clock.monotonic() >= deadline:
            waited = format_duration(spec.service.ready_timeout)
            raise _NotReadyError("service_never_ready", f"was not ready within {waited}: {detail}", advice)
        await clock.sleep(_POLL_SECONDS)


def _error(spec: ServeSpec, code: str, what: str, since: int, *, advice: str = "") -> UserError:
    """The error with what to change and the service's last words, without secrets."""
    secrets = secrets_of({**os.environ, **spec.service.environment, **spec.variables})
    words = redact(tail(spec.log, lines=8, since=since), secrets)
    hint = "\n".join(part for part in (advice, f"log: {spec.log}", words) if part)
    return UserError(f"the service {what}", code=code, hint=hint)
