"""A command as a system under test: started for each question, JSON on its standard input, an answer on its output."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from fairway.errors import PermanentError, TransientError
from fairway.evals.plain_text import plain
from fairway.evals.subjects.said import said_as_text, told
from fairway.evals.trials import Question, SubjectInfo
from fairway.evals.values import Reply

_MOST_BYTES = 4 * 1024 * 1024
_SHOWN = 200
_PIECE = 65_536
_REAPING_SECONDS = 2.0


class CommandSubject:
    """Starts a command for each question, in a process group of its own that is killed with it."""

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        folder: Path | None = None,
        environment: Mapping[str, str] | None = None,
        timeout_seconds: float = 60.0,
        version: str | None = None,
    ) -> None:
        """Prepare.

        Args:
            arguments: The program and its arguments; no shell reads them.
            folder: Where it runs; ``None``: here.
            environment: ``None``: this process's own.
            timeout_seconds: Of one question; the whole process group is killed then.
            version: What the person says it is: answers of one version may come from the cache. ``None``: nobody knows.
        """
        self._arguments = tuple(arguments)
        self._folder = folder
        self._environment = None if environment is None else dict(environment)
        self._timeout = timeout_seconds
        name = " ".join(self._arguments)
        identity: dict[str, Any] | None = None
        if version is not None:
            identity = {"command": list(self._arguments), "version": version}
        self._info = SubjectInfo(kind="command", name=name, identity=identity, stateless=False)

    @property
    def info(self) -> SubjectInfo:
        """Who it is."""
        return self._info

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        return None

    async def ask(self, question: Question) -> Reply:
        """What it writes; see :func:`fairway.evals.subjects.said.said_as_text`.

        Raises:
            TransientError: Not in time.
            PermanentError: It cannot be started, fails, or writes no text or too much.
        """
        started = time.monotonic()
        try:
            async with asyncio.timeout(self._timeout) as scope:
                output = await self._run(json.dumps(told(question), ensure_ascii=False).encode("utf-8", "replace"))
        except TimeoutError as error:
            if not scope.expired():
                raise
            told_limit = f"the command did not end within {self._timeout:g} s"
            raise TransientError(told_limit, code="agent_timeout") from error
        return said_as_text(output, latency_seconds=time.monotonic() - started)

    async def _run(self, data: bytes) -> str:
        try:
            process = await asyncio.create_subprocess_exec(
                *self._arguments,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                cwd=self._folder,
                env=self._environment,
                start_new_session=True,
            )
        except OSError as error:
            problem = error.strerror or type(error).__name__
            raise PermanentError(f"{self._arguments[0]} cannot be started: {problem}", code="agent_command") from error
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        reading = asyncio.ensure_future(_all(process.stdout)), asyncio.ensure_future(_last(process.stderr))
        feeding = asyncio.ensure_future(_fed(process.stdin, data))
        try:
            _, output, errors = await asyncio.gather(feeding, *reading)
            code = await process.wait()
        finally:
            for task in (feeding, *reading):
                task.cancel()
            _kill_group(process.pid)  # also what it left running in the background
            await asyncio.shield(asyncio.ensure_future(_reaped(process, process.stdout, process.stderr)))
        if code != 0:
            raise PermanentError(f"the command ended with {code}{_because(errors)}", code="agent_command")
        try:
            return output.decode("utf-8")
        except UnicodeDecodeError as error:
            raise PermanentError("what the command wrote is not UTF-8 text", code="agent_answer") from error


async def _fed(stdin: asyncio.StreamWriter, data: bytes) -> None:
    try:
        stdin.write(data)
        await stdin.drain()
        stdin.close()
    except (BrokenPipeError, ConnectionResetError):
        pass  # it need not read what it is told


async def _all(stream: asyncio.StreamReader) -> bytes:
    found = bytearray()
    while piece := await stream.read(_PIECE):
        found += piece
        if len(found) > _MOST_BYTES:
            raise PermanentError(f"the command wrote more than {_MOST_BYTES} bytes", code="agent_answer")
    return bytes(found)


async def _last(stream: asyncio.StreamReader) -> bytes:
    kept = b""
    while piece := await stream.read(_PIECE):
        kept = (kept + piece)[-_PIECE:]
    return kept


def _because(errors: bytes) -> str:
    lines = errors.decode("utf-8", "replace").strip().splitlines()
    return f": {plain(lines[-1].strip())[:_SHOWN]}" if lines else ""


def _kill_group(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass


async def _reaped(process: asyncio.subprocess.Process, *streams: asyncio.StreamReader) -> None:
    """Collect the process, so that none is left behind.

    The event loop says that a process ended once its pipes have, so what is still in them is read and thrown away; a
    descendant that left the group may hold them open, and is not waited for.
    """
    await asyncio.sleep(0)  # lets the tasks that read be cancelled
    try:
        async with asyncio.timeout(_REAPING_SECONDS):
            await asyncio.gather(*(_drained(stream) for stream in streams), process.wait())
    except TimeoutError:
        process._transport.close()  # type: ignore[attr-defined]  # there is no public way to let go of the pipes


async def _drained(stream: asyncio.StreamReader) -> None:
    while await stream.read(_PIECE):
        pass
