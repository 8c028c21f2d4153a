"""The folder of one run, ``.fairway/runs/<run id>/``: written as it happens, so that a killed run can go on.

``journal.jsonl`` is append-only, one event a line: ``run`` (what is examined), ``started``, ``finished`` (with the
result), ``ended``. A torn last line is what a kill leaves, and is ignored. ``lock`` is held while the run lives.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from fairway.errors import ConflictError, NotFoundError, UserError
from fairway.pipeline.port import StageResult, StageStatus
from fairway.pipeline.wire import result_from_wire, result_to_wire

_VERSION = 1
_KEEP_DAYS = 7
_KEEP_RUNS = 20
_RESTORED = (StageStatus.PASSED, StageStatus.CACHED)


def new_run_id(now: datetime) -> str:
    """``20261120-095523-1f0c2a``: sorts by time, unique enough for one project."""
    return f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PastRun:
    """What the journal of an earlier run says.

    Attributes:
        subject: What it examined and how: ``{"release", "version", …}``.
        passed: ``{stage: (cache key or None, result)}`` of what passed.
        ended: Whether it came to its end.
    """

    run_id: str
    folder: Path
    subject: Mapping[str, Any]
    passed: Mapping[str, tuple[str | None, StageResult]]
    ended: bool


class RunJournal:
    """One run's folder, held by one process.

    Use as a context manager. Opening takes the lock.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.run_id = folder.name
        self._lock: IO[str] | None = None
        self._file: IO[bytes] | None = None

    def __enter__(self) -> RunJournal:
        """Take the run's lock.

        Raises:
            ConflictError: When another process is running it (``code="run_in_progress"``).
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = (self.folder / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._lock.close()
            raise ConflictError(
                f"run {self.run_id} is still going on in another process",
                code="run_in_progress",
                hint="wait for it, or interrupt it with Ctrl-C there",
            ) from error
        path = self.folder / "journal.jsonl"
        torn = _torn(path)
        self._file = path.open("ab")
        if torn:  # a kill in the middle of a line: close it, so that ours starts on its own
            self._file.write(b"\n")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the lock back."""
        for file in (self._file, self._lock):
            if file is not None:
                file.close()
        self._file = self._lock = None

    def begin(self, subject: Mapping[str, Any], *, at: datetime) -> None:
        """Say what this run examines."""
        self._append({"kind": "run", "version": _VERSION, "at": at.isoformat(), "subject": dict(subject)})

    def started(self, stage: str, *, key: str | None, at: datetime) -> None:
        """A stage starts."""
        self._append({"kind": "started", "stage": stage, "key": key, "at": at.isoformat()})

    def finished(self, result: StageResult, *, key: str | None, at: datetime, durable: bool = True) -> None:
        """A stage ended; on disk when this returns, unless ``durable`` is false (its result can be had again)."""
        wire = result_to_wire(result, folder=self.folder)
        self._append({"kind": "finished", "key": key, "at": at.isoformat(), "result": wire}, durable=durable)

    def ended(self, verdict: str, *, at: datetime) -> None:
        """The run came to its end."""
        self._append({"kind": "ended", "verdict": verdict, "at": at.isoformat()})

    def workdir(self, stage: str) -> Path:
        """An empty folder of a stage, kept with the run."""
        folder = self.folder / "stages" / stage
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

    def log(self, stage: str) -> Path:
        """The log file of a stage."""
        folder = self.folder / "logs"
        folder.mkdir(exist_ok=True)
        return folder / f"{stage}.log"

    def _append(self, event: Mapping[str, Any], *, durable: bool = False) -> None:
        assert self._file is not None, "the journal is not open"
        self._file.write(json.dumps(event, separators=(",", ":"), ensure_ascii=False).encode() + b"\n")
        self._file.flush()
        if durable:
            os.fsync(self._file.fileno())


def _torn(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) != b"\n"
    except OSError:
        return False


def _events(path: Path) -> Iterator[Mapping[str, Any]]:
    for line in path.read_bytes().splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict):
            yield event


def read_run(folder: Path) -> PastRun:
    """What an earlier run did, as far as it came.

    Raises:
        NotFoundError: When it never wrote what it was about (``code="unknown_run"``).
    """
    subject: Mapping[str, Any] | None = None
    passed: dict[str, tuple[str | None, StageResult]] = {}
    ended = False
    path = folder / "journal.jsonl"
    for event in _events(path) if path.is_file() else ():
        kind = event.get("kind")
        if kind == "run":
            if event.get("version") != _VERSION:
                raise UserError(
                    f"run {folder.name} was written by another version of Fairway",
                    code="unknown_run_version",
                    hint="start a new run: fairway run",
                )
            subject = event["subject"]
        elif kind == "finished":
            try:
                result = result_from_wire(event["result"], folder=folder)
            except (ValueError, KeyError, TypeError, UserError):
                continue
            if result.status in _RESTORED:
                passed[result.stage] = (event.get("key"), result)
            else:
                passed.pop(result.stage, None)
        elif kind == "ended":
            ended = True
    if subject is None:
        raise NotFoundError(
            f"run {folder.name} has no journal", code="unknown_run", hint="start a new run: fairway run"
        )
    return PastRun(run_id=folder.name, folder=folder, subject=subject, passed=passed, ended=ended)


def find_run(runs: Path, run_id: str | None) -> Path:
    """The folder of a run, by default of the last one; a unique beginning of its id is enough.

    Raises:
        NotFoundError: When there is none, or more than one fits.
    """
    known = sorted(folder.name for folder in runs.iterdir() if folder.is_dir()) if runs.is_dir() else []
    fitting = [name for name in known if run_id is None or name.startswith(run_id)]
    if not fitting:
        hint = "the last runs: " + ", ".join(known[-3:][::-1]) if known else "there is none yet: fairway run"
        raise NotFoundError(
            "there is no run to resume" if run_id is None else f"there is no run '{run_id}'",
            code="unknown_run",
            hint=hint,
        )
    if run_id is not None and len(fitting) > 1 and run_id not in fitting:
        raise NotFoundError(f"'{run_id}' fits {len(fitting)} runs", code="unknown_run", hint=", ".join(fitting[-3:]))
    return runs / (run_id if run_id in fitting else fitting[-1])


def prune_runs(runs: Path, *, now: datetime) -> tuple[str, ...]:
    """Remove runs older than seven days beyond the last twenty; returns their ids. Runs that still go on stay."""
    known = sorted(folder.name for folder in runs.iterdir() if folder.is_dir()) if runs.is_dir() else []
    limit = f"{now - timedelta(days=_KEEP_DAYS):%Y%m%d-%H%M%S}"
    removed = []
    for name in known[:-_KEEP_RUNS]:
        if name < limit and not _locked(runs / name / "lock"):
            shutil.rmtree(runs / name, ignore_errors=True)
            removed.append(name)
    return tuple(removed)


def _locked(lock: Path) -> bool:
    try:
        with lock.open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return False
    except BlockingIOError:
        return True
    except OSError:
        return False
