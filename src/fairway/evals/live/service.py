"""Listens for samples of live traffic: redacts and keeps them, and has them scored. Its own process.

What comes is redacted before it is written or sent anywhere. Gateways never wait: what this process is too slow for is
lost, which they count.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import json
import logging
import os
import socket
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fairway.errors import ConflictError
from fairway.evals.live.kept import KeptLines
from fairway.evals.live.online import OnlineScorer
from fairway.evals.live.redaction import Redactor
from fairway.evals.live.turns import LiveTurn, UnreadableSampleError, read_turn
from fairway.evals.subjects.mapping import ChatMapping
from fairway.traffic.sampling import SCORES, STATUS, unpack

log = logging.getLogger("fairway.live")

TURNS = "live/turns"
"""Redacted turns, below the project's state folder."""

MAX_WAITING = 1_000
"""Turns that wait to be scored; what comes beyond has no score."""

MOST_REASONS = 200
"""Reasons for a missing score that are counted apart."""

BEAT_SECONDS = 1.0
_RECEIVE_BYTES = 4 << 20
_MOST_DATAGRAM = 1 << 20
_SCORES_BYTES = 16 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveSettings:
    """What the process is told.

    Attributes:
        state: The project's state folder.
        socket: Where gateways send samples.
        keep_bytes: Of redacted turns.
        concurrency: Replies scored at a time.
    """

    state: Path
    socket: Path
    mapping: ChatMapping
    redactor: Redactor
    keep_bytes: int
    concurrency: int = 4


@dataclass(slots=True)
class LiveCounts:
    """What happened since the process began."""

    received: int = 0
    kept: int = 0
    unreadable: Counter[str] = field(default_factory=Counter)
    scored: int = 0
    missing: Counter[str] = field(default_factory=Counter)


class LiveService:
    """Receives, redacts, keeps, scores."""

    def __init__(self, settings: LiveSettings, *, now: Callable[[], float], scorer: OnlineScorer | None = None) -> None:
        """Take what it is told, the wall clock (epoch seconds) and who scores, if anybody does."""
        self._settings = settings
        self._now = now
        self._scorer = scorer
        self._turns = KeptLines(settings.state / TURNS, most_bytes=settings.keep_bytes)
        self._scores = KeptLines(settings.state / SCORES, most_bytes=_SCORES_BYTES)
        self._waiting: asyncio.Queue[LiveTurn] = asyncio.Queue(MAX_WAITING)
        self._pending: dict[str, float] = {}
        self.counts = LiveCounts()

    async def run(self, stop: asyncio.Event) -> None:
        """Listen until told to stop.

        Raises:
            ConflictError: Another process listens for this project.
            OSError: The socket cannot be bound.
        """
        with _alone(self._settings.state / "live/lock"), _listening(self._settings.socket) as heard:
            loop = asyncio.get_running_loop()
            loop.add_reader(heard.fileno(), self._drain, heard)
            tasks = [asyncio.create_task(self._beat_forever())]
            if self._scorer is not None:
                tasks += [asyncio.create_task(self._score_forever()) for _ in range(self._settings.concurrency)]
            try:
                await stop.wait()
            finally:
                loop.remove_reader(heard.fileno())
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                self._beat(alive=False)

    def _drain(self, heard: socket.socket) -> None:
        for _ in range(64):  # then others have their turn
            try:
                data = heard.recv(_MOST_DATAGRAM)
            except (BlockingIOError, InterruptedError):
                return
            self.take(data)

    def take(self, data: bytes) -> None:
        """One datagram."""
        self.counts.received += 1
        try:
            turn = read_turn(unpack(data), self._settings.mapping, self._settings.redactor)
        except UnreadableSampleError as error:
            self.counts.unreadable[str(error)] += 1
            return
        except ValueError:
            self.counts.unreadable["is no sample"] += 1
            return
        try:
            self._turns.add(turn.to_json())
            self.counts.kept += 1
        except OSError as error:
            self.counts.unreadable[f"not kept: {error.strerror}"] += 1
        if self._scorer is None:
            return
        try:
            self._waiting.put_nowait(turn)
            self._pending[turn.request] = turn.t0
        except asyncio.QueueFull:
            self._missed("too many wait to be scored")

    def _missed(self, why: str) -> None:
        """Count a reply without a score; of reasons that are all different, only the first are told apart."""
        told = why if why in self.counts.missing or len(self.counts.missing) < MOST_REASONS else "for other reasons"
        self.counts.missing[told] += 1

    async def _score_forever(self) -> None:
        assert self._scorer is not None
        while True:
            turn = await self._waiting.get()
            scored = await self._scorer.score(turn)
            if scored.score_micros is None:
                self._missed(scored.why)
            else:
                self.counts.scored += 1
            try:
                self._scores.add(scored.to_json())
            except OSError as error:
                log.error("a score was not kept: %s", error)
            self._pending.pop(turn.request, None)

    async def _beat_forever(self) -> None:
        while True:
            self._beat(alive=True)
            await asyncio.sleep(BEAT_SECONDS)

    def _beat(self, *, alive: bool) -> None:
        """Say that scores go on coming, and from which block on some are still missing."""
        now = self._now()
        status = {
            "at": now if alive else 0.0,
            "pid": os.getpid(),
            "scores": self._scorer is not None,
            "oldest": min(self._pending.values(), default=None),
            "received": self.counts.received,
            "kept": self.counts.kept,
            "unreadable": dict(self.counts.unreadable.most_common(20)),
            "scored": self.counts.scored,
            "missing": dict(self.counts.missing.most_common(20)),
        }
        path = self._settings.state / STATUS
        scratch = path.with_suffix(".new")
        try:
            scratch.write_text(json.dumps(status))
            scratch.replace(path)
        except OSError as error:
            log.error("the state of scoring was not written: %s", error)


def readable_turns(lines: Iterable[Mapping[str, Any]]) -> Iterator[LiveTurn]:
    """The turns that were kept; lines of another version are left out."""
    for line in lines:
        with contextlib.suppress(ValueError):
            yield LiveTurn.from_json(line)


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if error.errno not in (errno.EAGAIN, errno.EACCES):
            raise
        raise ConflictError("another process listens to samples of this project", code="live_taken") from error
    try:
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _listening(path: Path) -> Iterator[socket.socket]:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as heard:
        heard.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BYTES)
        heard.bind(str(path))
        path.chmod(0o600)
        try:
            yield heard
        finally:
            path.unlink(missing_ok=True)
