"""How much a worker does for its shadow: copies under way, bytes in them, and time that users have left over.

A copy takes longer than the request it copies. So a worker that its users keep busy takes up few conversations, and one
that is idle most of the time takes up all there is room for.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

MAX_COPIES = 64
MAX_BYTES = 4 * 1024 * 1024
"""Copies a worker has under way or waiting, and bytes of requests in them; a request beyond either is dropped."""

TAKEN_UP = 0.5
"""While more than this share of either is in use no conversation is taken up: the rest is for those under way, so that
they are followed to their end."""

BUSY = 0.5
"""Share of its time that a busy worker runs or waits for a processor."""

TRICKLE = 10.0
"""Conversations a second that a busy worker takes up."""

LOOK_SECONDS = 0.25
"""How often the worker's processor time is looked at."""


class Room:
    """What is left of it.

    Attributes:
        copies: Under way or waiting.
        held_bytes: Of the requests in them.
        open: Whether a conversation that begins now may be taken up.
    """

    __slots__ = ("_busy", "_looked", "_spent", "_tokens", "copies", "held_bytes", "open")

    def __init__(self) -> None:
        self.copies = 0
        self.held_bytes = 0
        self.open = True
        self._busy = False
        self._tokens = TRICKLE
        self._looked = self._spent = 0.0

    def _look_again(self) -> None:
        half_full = self.copies >= MAX_COPIES * TAKEN_UP or self.held_bytes >= MAX_BYTES * TAKEN_UP
        self.open = not half_full and (not self._busy or self._tokens >= 1)

    def taken_up(self) -> None:
        """A conversation has been."""
        if self._busy:
            self._tokens -= 1
            self._look_again()

    def for_copy(self, size: int) -> bool:
        """Whether a request of a conversation under way, of ``size`` bytes, can be copied."""
        return self.copies < MAX_COPIES and self.held_bytes + size <= MAX_BYTES

    def take(self, size: int) -> None:
        """A copy begins or waits."""
        self.copies += 1
        self.held_bytes += size
        self._look_again()

    def give_back(self, size: int) -> None:
        """A copy has ended."""
        self.copies -= 1
        self.held_bytes -= size
        self._look_again()

    def look(self, now: float, wanted: Callable[[], float]) -> None:
        """See how busy the worker is.

        Args:
            now: Seconds of any clock that never goes back.
            wanted: For how many seconds it has run, or waited to run, so far.
        """
        passed = now - self._looked
        if passed < LOOK_SECONDS:
            return
        spent = wanted()
        self._busy = bool(self._looked) and (spent - self._spent) / passed > BUSY
        self._tokens = min(TRICKLE, self._tokens + passed * TRICKLE) if self._busy else TRICKLE
        self._looked, self._spent = now, spent
        self._look_again()


class Processor:
    """What this thread asks of a processor, as Linux counts it; elsewhere what it gets."""

    __slots__ = ("_file",)

    def __init__(self) -> None:
        try:
            self._file = os.open("/proc/thread-self/schedstat", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._file = -1

    def wanted(self) -> float:
        """For how many seconds it has run, or waited to run, so far."""
        if self._file < 0:
            return time.process_time()
        ran, waited, _ = os.pread(self._file, 100, 0).split()
        return (int(ran) + int(waited)) / 1e9

    def close(self) -> None:
        """Read no more."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
