"""Runs a scanner as a program: bounded in time, nothing inherited that it does not need, gone when the scan is."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "SYSTEMROOT")
_SHOWN = 300


class ToolError(Exception):
    """A scanner is missing or broke; caught where its findings are gathered, and then the scan is an ERROR."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolOutput:
    """How a scanner ended; ``errors`` is the end of its standard error, for a message."""

    code: int
    output: bytes
    errors: str


async def run_tool(
    command: Sequence[str], *, cwd: Path, timeout_seconds: float, stdin: bytes | None = None
) -> ToolOutput:
    """Run a scanner and return what it printed.

    A scanner gets neither the environment's secrets nor a terminal. A cancellation or the end of its time kills it and
    everything it started.

    Raises:
        ToolError: It is not installed, or was not done in time.
    """
    environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=cwd,
            env=environment,
            stdin=asyncio.subprocess.PIPE if stdin is not None else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        raise ToolError(f"{command[0]} cannot be started: {error.strerror}") from error
    try:
        async with asyncio.timeout(timeout_seconds):
            output, errors = await process.communicate(stdin)
    except TimeoutError as error:
        raise ToolError(f"was not done within {timeout_seconds:g} s") from error
    finally:
        if process.returncode is None:
            _kill_group(process.pid)
            await process.wait()
    assert process.returncode is not None
    last = errors.decode("utf-8", "replace").strip().splitlines()
    return ToolOutput(code=process.returncode, output=output, errors=last[-1][:_SHOWN] if last else "")


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass  # it ended by itself meanwhile
