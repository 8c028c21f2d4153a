"""Commands that stages run: bounded in time, in their own process group, gone when the stage is."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from fairway.clock import Clock, SystemClock
from fairway.errors import UserError
from fairway.targets.local.log import redact, secrets_of, tail
from fairway.targets.local.owned import end_group, marker_of_mine
from fairway.targets.local.process import (
    MARKER,
    GroupProcess,
)

STOP_GRACE_SECONDS = 3.0
_POLL_SECONDS = 0.02
PREFIX = "fairway#stage#"
"""Marks the commands of stages among all processes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """How a command ended.

    Attributes:
        code: Its exit code, negative for a signal; ``None`` when its time was up and it was ended.
        seconds: How long it ran.
        output: What it printed, standard output and error together.
    """

    code: int | None
    seconds: float
    output: Path
    since: int = 0

    def last_words(self, lines: int = 12) -> str:
        """The end of what it printed."""
        return tail(self.output, lines=lines, since=self.since)

    def text(self) -> str:
        """All it printed."""
        with self.output.open("rb") as file:
            file.seek(self.since)
            return file.read().decode("utf-8", errors="replace")


async def run_command(
    command: Sequence[str],
    *,
    cwd: Path,
    environment: Mapping[str, str],
    output: Path,
    limit: float,
    clock: Clock | None = None,
) -> Finished:
    """Run a command to its end; whatever it started is gone when this returns or is cancelled.

    Args:
        command: Program and arguments; no shell.
        cwd: Where it runs.
        environment: All its variables.
        output: File its words are appended to.
        limit: Seconds it may take.
        clock: Time; by default the machine's.

    Raises:
        UserError: When there is no such program (``code="command_not_found"``).
    """
    time = clock or SystemClock()
    since = _size(output)
    began = time.monotonic()
    async with running(command, cwd=cwd, environment=environment, output=output, clock=time) as process:
        while (ended := process.poll()) is None and time.monotonic() - began < limit:
            await time.sleep(_POLL_SECONDS)
    code = ended.code if ended is not None else None
    _redact(output, secrets_of(environment))
    return Finished(code=code, seconds=time.monotonic() - began, output=output, since=since)


@asynccontextmanager
async def running(
    command: Sequence[str], *, cwd: Path, environment: Mapping[str, str], output: Path, clock: Clock
) -> AsyncIterator[GroupProcess]:
    """A command that runs for the length of a block; its whole process group is gone after it, come what may.

    Raises:
        UserError: When there is no such program (``code="command_not_found"``).
    """
    marked = {**environment, MARKER: marker_of_mine(PREFIX)}
    try:
        process = GroupProcess.start(_found(command, environment), cwd=cwd, environment=marked, log=output)
    except OSError as error:
        raise UserError(
            f"cannot run {command[0]}: {error.strerror}",
            code="command_not_found",
            hint="is it installed, and on the PATH of the shell that called fairway?",
        ) from error
    try:
        yield process
    finally:
        await end_group(process, grace=STOP_GRACE_SECONDS, clock=clock)


def _redact(output: Path, secrets: tuple[str, ...]) -> None:
    """Take secrets of the environment out of what a command printed; reports quote it and people send it around."""
    if not secrets:
        return
    text = output.read_bytes().decode("utf-8", errors="surrogateescape")
    clean = redact(text, secrets)
    if clean != text:
        output.write_bytes(clean.encode("utf-8", errors="surrogateescape"))


def _found(command: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    """The command with its program looked up on the path it is given, not on ours."""
    program = shutil.which(command[0], path=environment.get("PATH")) if "/" not in command[0] else None
    return [program or command[0], *command[1:]]


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0
