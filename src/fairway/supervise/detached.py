"""A ``fairway up`` in the background: starting it, and ending it from elsewhere."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from fairway.clock import Clock, SystemClock
from fairway.errors import FairwayError, PermanentError, TransientError, UserError
from fairway.state_dir import StateDir
from fairway.supervise.info import ChildState, UpInfo, UpLock, running
from fairway.supervise.supervisor import marker_prefix
from fairway.targets.local.log import tail
from fairway.targets.local.process import GroupProcess, find_marked, is_running
from fairway.targets.local.target import stop_left_behind

_ERROR_BEGINS = '{\n  "error": {'
_POLL_SECONDS = 0.1
_LEFTOVER_GRACE_SECONDS = 10.0


async def start_detached(
    state: StateDir,
    project: Path,
    options: Sequence[str],
    *,
    within: float = 60.0,
    clock: Clock | None = None,
    starting: Callable[[UpInfo], str] = lambda _: "",
) -> UpInfo:
    """Start ``fairway up`` as a process of its own and wait until everything serves.

    Args:
        state: Of the project.
        project: Its folder.
        options: Further options of ``fairway up``.
        within: Seconds to wait.
        clock: Time.
        starting: What is missing until clients are served, asked once gateway and controller run; empty: nothing.

    Raises:
        UserError, PermanentError: What the process says of why it ends at once, with its exit code; ``up_ended`` with
            its last words when it does not say.
        TransientError: ``up_crash_loop`` when a child keeps ending, ``up_slow`` when not everything serves in time; it
            goes on trying.
    """
    time = clock or SystemClock()
    log = state.logs / "up.log"
    since = log.stat().st_size if log.exists() else 0
    command = (sys.executable, "-m", "fairway", "up", "--project", str(project), "-o", "json", *options)
    process = GroupProcess.start(command, cwd=project, environment=os.environ, log=log)
    deadline = time.monotonic() + within
    lacks = ""
    try:
        while time.monotonic() < deadline:
            if (ended := process.poll()) is not None:
                raise _why_it_ended(log, since, ended.code)
            info = running(state)
            if info is not None and info.process.pid == process.identity.pid:
                lacks = starting(info) if info.serving() else ""
                if info.serving() and not lacks:
                    return info
                _complain_of_crash_loop(info)
            await time.sleep(_POLL_SECONDS)
    finally:
        process.disown()
    raise TransientError(
        f"fairway up (pid {process.identity.pid}) runs, but not everything serves after {within:g} s"
        + (f": {lacks}" if lacks else ""),
        code="up_slow",
        hint=f"see {log} and `fairway doctor`; `fairway up --stop` ends it\n{tail(log, since=since)}",
    )


def _why_it_ended(log: Path, since: int, exit_code: int | None) -> FairwayError:
    """The error a ``fairway up -o json`` wrote last, as if it had happened here."""
    said = tail(log, lines=50, since=since)
    _, found, body = said.rpartition(_ERROR_BEGINS)
    try:
        error = json.JSONDecoder().raw_decode(found + body)[0]["error"]
        message, code, hint = (error[name] for name in ("message", "code", "hint"))
        kind = UserError if exit_code == UserError.exit_code else PermanentError
        return kind(message, code=code, hint=hint)
    except (ValueError, KeyError, TypeError):
        words = tail(log, lines=8, since=since)
        return PermanentError("fairway up ended at once", code="up_ended", hint=f"log: {log}\n{words}")


def _complain_of_crash_loop(info: UpInfo) -> None:
    """Say early that waiting will not help.

    Raises:
        TransientError: When a child is in a crash loop.
    """
    for child in info.children.values():
        if child.state is ChildState.CRASH_LOOP:
            raise TransientError(
                f"fairway up (pid {info.process.pid}) runs, but its {child.name} {child.detail}",
                code="up_crash_loop",
                hint="it goes on trying; `fairway up --stop` ends it",
            )


async def end_running(state: StateDir, *, say: Callable[[str], None], clock: Clock | None = None) -> bool:
    """Ask the running ``fairway up`` to drain and wait until it has; without one, end what a killed one left.

    Returns:
        Whether there was anything to end.
    """
    time = clock or SystemClock()
    info = running(state)
    if info is not None:
        say(f"draining fairway up (pid {info.process.pid})")
        os.kill(info.process.pid, signal.SIGTERM)
        while is_running(info.process):
            await time.sleep(_POLL_SECONDS)
        return True
    lock = UpLock(state)
    lock.take()
    try:
        left = [
            GroupProcess.adopt(identity, marker=marker)
            for marker, identities in find_marked(marker_prefix(state)).items()
            for identity in identities
        ]
        await asyncio.gather(*(process.stop(grace=_LEFTOVER_GRACE_SECONDS, clock=time) for process in left))
        arms = await stop_left_behind(state, clock=time)
    finally:
        lock.release()
    state.pid_file("up").unlink(missing_ok=True)
    if left or arms:
        say(f"ended {len(left)} process(es) and {arms} arm(s) that a killed fairway up had left")
    return bool(left or arms)
