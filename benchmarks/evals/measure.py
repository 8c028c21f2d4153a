"""One command, measured from the shell's view: wall clock, processor time and memory of all its processes."""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

POLL_SECONDS = 0.01
LONGEST_SECONDS = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Medians over the repeats: seconds, seconds, MiB; ``requests`` and ``in_flight`` are the last repeat's."""

    wall: float
    cpu: float
    mib: float
    requests: int
    in_flight: int
    code: int
    said: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """The endpoint."""

    port: int

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def seen(self) -> dict[str, int]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/seen", timeout=5) as answer:
            return json.load(answer)

    def reset(self) -> None:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/reset", data=b"", timeout=5) as answer:
            answer.read()


@contextmanager
def endpoint(delay: float) -> Iterator[Served]:
    """The endpoint in a process of its own, on the last core; what is measured gets the others."""
    command = [sys.executable, "-m", "benchmarks.evals.endpoint", str(delay)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    os.sched_setaffinity(process.pid, _cores()[-1:])
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
        yield Served(port=port)
    finally:
        process.terminate()
        process.wait(10)


def measure(
    command: Sequence[str],
    served: Served,
    *,
    folder: Path,
    environment: Mapping[str, str] | None = None,
    repeats: int = 3,
    before: Sequence[str] | None = None,
) -> Measured:
    """Run a command ``repeats`` times, on every core but the endpoint's.

    Args:
        command: What a user would type.
        served: What it asks; told to forget before each repeat.
        folder: Where it runs.
        environment: Added to this process's.
        repeats: Medians are over these.
        before: Run, unmeasured, before each repeat.
    """
    # an installed tool has its bytecode on disk: without it Python would compile every module in every run
    own = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    found = []
    for _ in range(repeats):
        if before is not None:
            subprocess.run(before, cwd=folder, check=True, capture_output=True)
        served.reset()
        found.append(_once(command, served, folder, {**own, **(environment or {})}))
    return Measured(
        wall=statistics.median(one.wall for one in found),
        cpu=statistics.median(one.cpu for one in found),
        mib=statistics.median(one.mib for one in found),
        requests=found[-1].requests,
        in_flight=found[-1].in_flight,
        code=found[-1].code,
        said=found[-1].said,
    )


def _once(command: Sequence[str], served: Served, folder: Path, environment: Mapping[str, str]) -> Measured:
    log = folder / "output.log"
    with log.open("wb") as output:
        begun = time.perf_counter()
        process = subprocess.Popen(command, cwd=folder, env=dict(environment), stdout=output, stderr=subprocess.STDOUT)
        os.sched_setaffinity(process.pid, _cores()[:-1] or _cores())
        top = 0
        root = psutil.Process(process.pid)
        while True:
            # wait4 gives the processor time of the command and of every child it has waited for
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            top = max(top, _resident(root))
            if time.perf_counter() - begun > LONGEST_SECONDS:
                process.kill()
            time.sleep(POLL_SECONDS)
        wall = time.perf_counter() - begun
    process.returncode = os.waitstatus_to_exitcode(status)
    seen = served.seen()
    return Measured(
        wall=wall,
        cpu=usage.ru_utime + usage.ru_stime,
        mib=max(top / 2**20, usage.ru_maxrss / 1024),
        requests=seen["requests"],
        in_flight=seen["most"],
        code=process.returncode,
        said=log.read_text(errors="replace")[-2000:],
    )


def _cores() -> list[int]:
    return sorted(os.sched_getaffinity(0))


def _resident(root: psutil.Process) -> int:
    total = 0
    try:
        for process in (root, *root.children(recursive=True)):
            try:
                total += process.memory_info().rss
            except psutil.Error:
                continue
    except psutil.Error:
        return total
    return total
