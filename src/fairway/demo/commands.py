"""The demo runs the commands a user would run, as processes of their own."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairway.errors import PermanentError

AUTHOR = {
    "GIT_AUTHOR_NAME": "Fairway demo",
    "GIT_AUTHOR_EMAIL": "demo@localhost",
    "GIT_COMMITTER_NAME": "Fairway demo",
    "GIT_COMMITTER_EMAIL": "demo@localhost",
}
GRACE_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A command that has ended."""

    arguments: tuple[str, ...]
    code: int
    stdout: str
    stderr: str

    def json(self) -> dict[str, Any]:
        """Its result.

        Raises:
            PermanentError: When it printed none.
        """
        try:
            value = json.loads(self.stdout)
        except ValueError as error:
            last = (self.stderr.strip() or self.stdout.strip() or "nothing").splitlines()[-1]
            raise PermanentError(
                f"`{' '.join(self.arguments)}` ended with {self.code} and said: {last}", code="demo_command"
            ) from error
        if not isinstance(value, dict):
            raise PermanentError(f"`{' '.join(self.arguments)}` printed no object", code="demo_command")
        return value


def environment() -> dict[str, str]:
    """The environment of the demo's commands: no colour, no project or key of the person who runs it."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("FAIRWAY_", "OPENAI_"))}
    return {**inherited, **AUTHOR, "NO_COLOR": "1"}


async def execute(
    arguments: Sequence[str], *, cwd: Path, check: bool = False, hear: Callable[[str], None] | None = None
) -> Done:
    """Run a command to its end; cancelled, it is interrupted as by Ctrl-C and waited for.

    Args:
        arguments: Program and arguments.
        cwd: Where it runs.
        check: Whether a failure is an error.
        hear: Told each line the command says on stderr, as it comes.

    Raises:
        PermanentError: When ``check`` and it failed.
    """
    process = await asyncio.create_subprocess_exec(
        *arguments,
        cwd=cwd,
        env=environment(),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        stdout, stderr, _ = await asyncio.gather(_read(process.stdout), _read(process.stderr, hear), process.wait())
    except asyncio.CancelledError:
        await interrupt(process)
        raise
    done = Done(arguments=tuple(arguments), code=process.returncode or 0, stdout=stdout, stderr=stderr)
    if check and done.code:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise PermanentError(
            f"`{' '.join(arguments)}` ended with {done.code}: {said[-1] if said else ''}", code="demo_command"
        )
    return done


async def _read(stream: asyncio.StreamReader | None, hear: Callable[[str], None] | None = None) -> str:
    """Everything a stream says; each line is also passed on as it comes."""
    assert stream is not None
    if hear is None:
        return (await stream.read()).decode(errors="replace")
    lines: list[str] = []
    async for line in stream:
        lines.append(line.decode(errors="replace"))
        hear(lines[-1].rstrip())
    return "".join(lines)


async def interrupt(process: asyncio.subprocess.Process) -> None:
    """Ctrl-C, then wait for its own clean end; killed only when it does not end."""
    if process.returncode is not None:
        return
    process.send_signal(signal.SIGINT)
    try:
        await asyncio.wait_for(process.wait(), GRACE_SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()


def fairway(*arguments: str) -> tuple[str, ...]:
    """A Fairway command in this Python."""
    return (sys.executable, "-m", "fairway", *arguments)


async def git(root: Path, *arguments: str) -> None:
    """A git command in the project.

    Raises:
        PermanentError: When it failed.
    """
    await execute(("git", *arguments), cwd=root, check=True)


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on now."""
    held = [socket.socket() for _ in range(count)]
    try:
        for one in held:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in held]
    finally:
        for one in held:
            one.close()


def last_line(text: str, fallback: str) -> str:
    """The last line of what a command said."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else fallback


def stage(run: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """One stage of a run's report; empty when it is not there."""
    return next((each for each in run.get("stages", ()) if each.get("stage") == name), {})
