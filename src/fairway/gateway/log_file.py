"""Whole lines appended to a file by many processes, from a thread: a disk that is full or slow costs lines, never time.

Every write is one batch of whole lines at the end of the file. Where the file is a file, writers take turns by a lock,
so that one that could write only half of its batch takes it back, and the half line of one that was killed is ended by
the next. A pipe takes batches of at most ``PIPE_BUF`` bytes, which the kernel keeps whole.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import stat
import threading
from collections import deque
from pathlib import Path
from select import PIPE_BUF
from time import monotonic, sleep

MAX_WAITING = 8_000
"""Lines waiting to be written, some 4 MB of usual ones; what comes on top is dropped and counted, at the next look."""

TOGETHER_SECONDS = 0.01
"""What comes within so long of a write is written together: the thread takes the interpreter from those who serve for
every call it makes."""

MOST_TOGETHER = 1_000
"""Lines written at once: what a write that hangs holds, beside those that wait."""

LOOK_SECONDS = 1.0
"""How often it is looked whether the file was moved away."""

log = logging.getLogger("fairway.gateway.worker")

STANDARD_OUTPUT = "-"


class LogFile:
    """One writer of one file; opened when there is something to write."""

    def __init__(self, path: str, *, max_waiting: int = MAX_WAITING) -> None:
        """Write to the file at ``path``, or to standard output for ``-``."""
        self.lines: deque[bytes] = deque()
        """Append whole lines here, each with its line end; whoever does waits for nothing, and need not look."""
        self._path = path
        self._max_waiting = max_waiting
        self._more = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closing = False
        self._descriptor = -1
        self._regular = False
        self._looked = 0.0
        self._reopen = False
        self.written = 0
        """Lines in the file."""
        self._not_written = self._not_kept = 0
        self.error = ""
        """Why the last batch was not written; empty when it was."""

    @property
    def dropped(self) -> int:
        """Lines that are not in the file, and will not be: no room in memory, or the disk took them not."""
        return self._not_written + self._not_kept

    def look(self) -> None:
        """Have written what is here, soon; to be called some times a second.

        While lines come the thread goes on by itself: to wake it has its price.
        """
        lines = self.lines
        if not lines:
            return
        if len(lines) > self._max_waiting:
            with contextlib.suppress(IndexError):  # the thread takes them at the other end
                while len(lines) > self._max_waiting:
                    lines.pop()
                    self._not_kept += 1
        if self._thread is None:
            self._thread = threading.Thread(target=self._write_all, name="log", daemon=True)
            self._thread.start()
        else:
            with self._more:  # held for an instant alone
                self._more.notify()

    def reopen(self) -> None:
        """Open the file anew before the next write: somebody has moved it away."""
        self._reopen = True

    def close(self, within: float = 2.0) -> None:
        """Write what waits, for at most ``within`` seconds; what is left is dropped with the process."""
        if self.lines:
            self.look()
        with self._more:
            self._closing = True
            self._more.notify()
        if self._thread is not None:
            self._thread.join(within)

    # --- the thread --------------------------------------------------------------------------------------------

    def _write_all(self) -> None:
        while self._wait():
            self._write_together()
            if not self._closing and len(self.lines) < MOST_TOGETHER:
                sleep(TOGETHER_SECONDS)
        self._let_go()

    def _wait(self) -> bool:
        """Wait for lines; whether there are any, which there are not only when no more will come."""
        with self._more:
            while not self.lines and not self._closing:
                self._more.wait()
        return bool(self.lines)

    def _write_together(self) -> None:
        """Write what waits now; others may go on appending meanwhile."""
        batch = taken(self.lines, MOST_TOGETHER)
        text, count = b"".join(batch), len(batch)
        del batch
        try:
            self._write(text)
        except OSError as error:
            if not self.error:
                log.error("the access log loses lines: %s", error)
            self.error = str(error)
            self._not_written += count
        else:
            self.error = ""
            self.written += count

    def _write(self, text: bytes) -> None:
        """Append all of it, or nothing.

        Raises:
            OSError: It cannot be opened or written.
        """
        self._follow()
        if self._descriptor < 0:
            self._open()
        if not self._regular:
            for part in _parts(text):
                _write_whole(self._descriptor, part)
            return
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        try:
            end = os.fstat(self._descriptor).st_size
            if end and os.pread(self._descriptor, 1, end - 1) != b"\n":
                text = b"\n" + text  # a writer was killed within a line
            try:
                _write_whole(self._descriptor, text)
            except OSError:
                os.ftruncate(self._descriptor, end)
                raise
        finally:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def _open(self) -> None:
        if self._path == STANDARD_OUTPUT:
            self._descriptor = os.dup(1)
        else:
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            try:
                self._descriptor = os.open(self._path, flags, 0o640)
            except OSError:
                if not _is_pipe(self._path):
                    raise
                self._descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        # what standard output is belongs to whoever opened it: it may be no file to read or to cut
        self._regular = self._path != STANDARD_OUTPUT and stat.S_ISREG(os.fstat(self._descriptor).st_mode)

    def _follow(self) -> None:
        """Let go of a file that was moved away or removed."""
        if self._descriptor < 0 or self._path == STANDARD_OUTPUT:
            return
        now = monotonic()
        if not self._reopen and now - self._looked < LOOK_SECONDS:
            return
        self._looked = now
        reopen, self._reopen = self._reopen, False
        if not reopen:
            ours = os.fstat(self._descriptor)
            try:
                there = Path(self._path).stat()
            except OSError:
                reopen = True
            else:
                reopen = (ours.st_dev, ours.st_ino) != (there.st_dev, there.st_ino)
        if reopen:
            self._let_go()

    def _let_go(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def taken(lines: deque[bytes], most: int) -> list[bytes]:
    """The first lines, taken out; fewer when somebody else takes the last ones meanwhile."""
    found: list[bytes] = []
    with contextlib.suppress(IndexError):
        for _ in range(min(len(lines), most)):
            found.append(lines.popleft())
    return found


def _is_pipe(path: str) -> bool:
    try:
        return stat.S_ISFIFO(Path(path).stat().st_mode)
    except OSError:
        return False


def _write_whole(descriptor: int, text: bytes) -> None:
    """Write all of it.

    Raises:
        OSError: Some of it could not be written.
    """
    rest = memoryview(text)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _parts(text: bytes) -> list[bytes]:
    """Whole lines in parts a pipe keeps together; a longer line is a part of its own."""
    parts: list[bytes] = []
    start = 0
    while start < len(text):
        end = start + PIPE_BUF
        if end < len(text):
            cut = text.rfind(b"\n", start, end) + 1 or text.find(b"\n", end) + 1 or len(text)
        else:
            cut = len(text)
        parts.append(text[start:cut])
        start = cut
    return parts
