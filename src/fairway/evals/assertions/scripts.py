"""Runs the Python of a suite: a process of its own for each check, bounded in time, without secrets around it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from fairway.evals.assertions import script_child
from fairway.evals.assertions.about import about
from fairway.evals.assertions.finding import Finding, broken
from fairway.evals.assertions.grading import read_verdict
from fairway.evals.assertions.json_text import parse_json
from fairway.evals.plain_text import plain
from fairway.evals.trials import Observed
from fairway.evals.values import Assertion

_KEPT = ("PATH", "LANG", "LC_ALL", "TMPDIR", "SYSTEMROOT")
_MOST_BYTES = 1024 * 1024
_SHOWN = 300


class Scripts:
    """Where ``python`` assertions run.

    A script sees neither the environment of this process nor its open files, and is killed with everything it started
    when its time is over. It is the suite's own code, as trusted as a test is: it may read files and use the network.
    """

    def __init__(
        self,
        root: Path,
        *,
        timeout_seconds: float = 10.0,
        at_a_time: int | None = None,
        interpreter: str = sys.executable,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        """Prepare; nothing is started yet.

        Args:
            root: Of the project; paths of scripts are below it, and it is their working directory.
            timeout_seconds: Of one check.
            at_a_time: Processes at a time; ``None``: one a processor.
            interpreter: The Python that runs them.
            environment: Where ``PATH`` and the locale are taken from.
        """
        self._root = root.resolve()
        self._timeout = timeout_seconds
        self._places = asyncio.Semaphore(at_a_time or os.cpu_count() or 1)
        self._command = (interpreter, "-I", "-B", script_child.__file__)
        self._environment = {name: environment[name] for name in _KEPT if name in environment}

    async def measure(self, assertion: Assertion, observed: Observed) -> Finding:
        """What the script says of a trial; ``error`` when it is not there, breaks, says nothing or takes too long."""
        value = assertion.value
        request = {"root": str(self._root), **about(assertion, observed), "code": value.get("code")}
        if "file" in value:
            path = (self._root / value["file"]).resolve()
            if not path.is_relative_to(self._root) or not path.is_file():
                return broken(f"there is no file {value['file']} in the project")
            request |= {"file": str(path), "function": value["function"]}
        try:
            body = json.dumps(request).encode()
        except (ValueError, TypeError, RecursionError) as error:
            return broken(f"the trial cannot be handed to it: {error}")
        async with self._places:
            return await self._run(body, assertion.threshold)

    async def _run(self, body: bytes, threshold: float | None) -> Finding:
        # a file, not a pipe: what a script leaves running may hold its standard error open for ever
        with tempfile.TemporaryFile() as errors:
            try:
                process = await asyncio.create_subprocess_exec(
                    *self._command,
                    cwd=self._root,
                    env=self._environment,
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=errors,
                    start_new_session=True,
                )
            except OSError as error:
                return broken(f"{self._command[0]} cannot be started: {error.strerror}")
            try:
                async with asyncio.timeout(self._timeout):
                    output = await _talk(process, body)
            except TimeoutError:
                return broken(f"it was not done within {self._timeout:g} s")
            finally:
                # it has answered, or its time is over; what it started goes with it
                _kill_group(process.pid)
                await process.wait()
            return _answer(output, _last_line(errors), threshold)


async def _talk(process: asyncio.subprocess.Process, body: bytes) -> bytes:
    """Hand the request over and read the answer, up to a limit; the rest is read and dropped."""
    assert process.stdin is not None
    try:
        process.stdin.write(body)
        await process.stdin.drain()
    except (BrokenPipeError, ConnectionResetError):
        pass  # it ended without reading; its answer, or its absence, says more
    process.stdin.close()
    return await _read(process.stdout, _MOST_BYTES)


async def _read(stream: asyncio.StreamReader | None, most: int) -> bytes:
    assert stream is not None
    kept = bytearray()
    while chunk := await stream.read(65536):
        kept += chunk[: most + 1 - len(kept)]
    return bytes(kept)


def _last_line(errors: IO[bytes]) -> str:
    """The last thing the script said on standard error, short."""
    errors.seek(max(0, errors.seek(0, os.SEEK_END) - 4 * _SHOWN))
    lines = plain(errors.read().decode("utf-8", "replace")).strip().splitlines()
    return lines[-1][:_SHOWN] if lines else ""


def _answer(output: bytes, last: str, threshold: float | None) -> Finding:
    if len(output) > _MOST_BYTES:
        return broken("its answer is too large")
    parsed = parse_json(output.decode("utf-8", "replace"))
    if parsed.problem is not None or not isinstance(parsed.value, Mapping):
        return broken(f"it gave no answer{': ' + last if last else ''}")
    return _said(parsed.value, threshold)


def _said(answer: Mapping[str, Any], threshold: float | None) -> Finding:
    if "error" in answer:
        return broken(f"it broke: {plain(str(answer['error']))[:_SHOWN]}")
    return read_verdict(answer.get("result"), threshold)


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass  # it ended by itself meanwhile
