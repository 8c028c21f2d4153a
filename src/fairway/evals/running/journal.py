"""What a run has got so far, on disk before it is used: a run that was killed goes on without asking twice.

``trials.jsonl`` is append-only, one JSON object a line:

- ``{"reply": {…}, "of": [side, suite, case, index, turn]}``: an answer that more will follow (a further turn, a judge);
- ``{"measured": {…}, "of": [side, suite, case, index, position]}``: what a judge, script or webhook said;
- ``{"trial": {…}, "side": …}``: a trial played to its end; the last one of a trial counts.

Each record is one ``write`` on a file opened for appending, so it survives ``kill -9`` as soon as that returned; every
second, and when the journal is closed, the file is forced to the disk (``fdatasync`` in a thread), so a power cut loses
a second at most. What a kill tore off is the last line: it has no end of line and is cut away.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from fairway.errors import ConflictError
from fairway.evals.trials import Trial
from fairway.evals.values import AssertionResult, Reply
from fairway.evals.wire import WireError, decode, encode

FILE = "trials.jsonl"
_SYNC_SECONDS = 1.0

TrialKey = tuple[str, str, int]
"""Suite, case, repeat."""
_Place = tuple[str, str, str, int, int]
"""Side, suite, case, repeat, and a turn or an assertion's position."""


@dataclass(slots=True)
class Recorded:
    """What a journal holds.

    Attributes:
        trials: By side, then by suite, case and repeat; in the order they ended.
        replies: By side, suite, case, repeat and turn.
        measured: By side, suite, case, repeat and the assertion's position.
        damaged: Lines that could not be read; what they held is asked again.
    """

    trials: dict[str, dict[TrialKey, Trial]] = field(default_factory=dict)
    replies: dict[_Place, Reply] = field(default_factory=dict)
    measured: dict[_Place, AssertionResult] = field(default_factory=dict)
    damaged: int = 0


class Journal:
    """The record of one run; only one process writes it at a time."""

    def __init__(self, folder: Path) -> None:
        """Open or go on with the journal of a run.

        Args:
            folder: Of the run; made when it is not there.

        Raises:
            ConflictError: Another process writes it.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / FILE
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        try:
            _lock(self._file, self.path)
        except ConflictError:
            os.close(self._file)
            raise
        _cut_torn_line(self._file)
        self._recorded = _read(self.path)
        self._synced_at = time.monotonic()
        self._syncing: asyncio.Future[None] | None = None

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def damaged(self) -> int:
        """Lines that could not be read when the journal was opened."""
        return self._recorded.damaged

    def trial(self, side: str, key: TrialKey) -> Trial | None:
        """A trial that was played to its end, troubled or not; ``None``: there is none."""
        return self._recorded.trials.get(side, {}).get(key)

    def reply(self, side: str, key: TrialKey, turn: int) -> Reply | None:
        """The answer to a turn of a trial that did not get to its end."""
        return self._recorded.replies.get((side, *key, turn))

    def measured(self, side: str, key: TrialKey, position: int) -> AssertionResult | None:
        """What was measured of a trial that did not get to its end."""
        return self._recorded.measured.get((side, *key, position))

    def paid(self) -> Iterator[int | None]:
        """What each answer cost when the journal was opened, in millionths of a US dollar; ``None``: not known."""
        replies: dict[_Place, int | None] = {place: one.cost_micros for place, one in self._recorded.replies.items()}
        measured: dict[_Place, int | None] = {place: one.cost_micros for place, one in self._recorded.measured.items()}
        for side, trials in self._recorded.trials.items():
            for key, trial in trials.items():
                if not trial.cached:
                    replies |= {(side, *key, turn): one.cost_micros for turn, one in enumerate(trial.replies)}
                measured |= {(side, *key, place): one.cost_micros for place, one in trial.measured.items()}
        yield from replies.values()
        yield from measured.values()

    def record_reply(self, side: str, key: TrialKey, turn: int, reply: Reply) -> None:
        """Keep an answer before anything is done with it."""
        self._append({"reply": encode(reply), "of": [side, *key, turn]})

    def record_measured(self, side: str, key: TrialKey, position: int, result: AssertionResult) -> None:
        """Keep what was measured."""
        self._append({"measured": encode(result), "of": [side, *key, position]})

    def record_trial(self, side: str, trial: Trial) -> None:
        """Keep a trial that ended."""
        self._append({"trial": encode(trial), "side": side})

    def _append(self, record: Mapping[str, Any]) -> None:
        line = json.dumps(record, ensure_ascii=False, separators=(",", ":")) + "\n"
        data = line.encode("utf-8", "replace")
        while data:
            data = data[os.write(self._file, data) :]
        now = time.monotonic()
        if now - self._synced_at >= _SYNC_SECONDS:
            self._synced_at = now
            self._sync_aside()

    def _sync_aside(self) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            os.fdatasync(self._file)
            return
        if self._syncing is None or self._syncing.done():
            # its own descriptor: the journal may be closed before the disk is done
            self._syncing = loop.run_in_executor(None, _sync, os.dup(self._file))

    def close(self) -> None:
        """Force everything to the disk; closing twice does no harm."""
        if self._file >= 0:
            os.fdatasync(self._file)
            os.close(self._file)
            self._file = -1


def refuse_busy(folder: Path) -> None:
    """Refuse the folder of a run that another process writes, before anything in it is touched.

    Raises:
        ConflictError: ``eval_run_busy``.
    """
    path = folder / FILE
    if not path.is_file():
        return
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        _lock(descriptor, path)
    finally:
        os.close(descriptor)


def _lock(descriptor: int, path: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise ConflictError(
            f"another process writes {path}", code="eval_run_busy", hint="wait for it, or stop it"
        ) from error


def _sync(descriptor: int) -> None:
    try:
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)


def read_trials(folder: Path) -> Mapping[str, tuple[Trial, ...]]:
    """The trials of a run by side, each side's in the order they first ended; empty without a journal.

    It may be read while the run goes on. What cannot be read is left out, as if it had not been played.
    """
    path = folder / FILE
    if not path.is_file():
        return {}
    return {side: tuple(trials.values()) for side, trials in _read(path).trials.items()}


def _cut_torn_line(descriptor: int) -> None:
    """Cut off what follows the last end of line."""
    end = os.fstat(descriptor).st_size
    kept = end
    while kept > 0:
        start = max(0, kept - 65_536)
        found = os.pread(descriptor, kept - start, start).rfind(b"\n")
        if found >= 0:
            kept = start + found + 1
            break
        kept = start
    if kept != end:
        os.ftruncate(descriptor, kept)


def _lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield line


def _read(path: Path) -> Recorded:
    recorded = Recorded()
    for line in _lines(path):
        try:
            _take(recorded, json.loads(line))
        except (ValueError, KeyError, TypeError, RecursionError, WireError):
            recorded.damaged += 1
    return recorded


def _take(recorded: Recorded, record: Mapping[str, Any]) -> None:
    if "trial" in record:
        trial = decode(Trial, record["trial"])
        recorded.trials.setdefault(str(record["side"]), {})[trial.key] = trial
    elif "reply" in record:
        recorded.replies[_place(record["of"])] = decode(Reply, record["reply"])
    else:
        recorded.measured[_place(record["of"])] = decode(AssertionResult, record["measured"])


def _place(of: Any) -> _Place:
    side, suite, case, index, number = of
    return str(side), str(suite), str(case), int(index), int(number)
