"""Memory that a burst of large messages took goes back to the system.

The C library keeps what was freed in case it is asked for again: after a burst of prompts of 100 KB over 256
connections a worker would keep some 20 MB that nobody uses. Asked to, it gives back whole pages; that takes well
below a millisecond, so it is asked now and then.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable

TIDY_SECONDS = 5.0
"""From one time to the next."""


class Heap:
    """What the C library has allocated for this process."""

    __slots__ = ("_tidied", "_trim")

    def __init__(self) -> None:
        """Find how to ask; only glibc can be."""
        self._trim: Callable[[int], int] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)
        self._tidied = 0.0

    def tidy(self, now: float) -> None:
        """Give back what is not used, if that was not done a moment ago; ``now`` in seconds of any steady clock."""
        if self._trim is not None and now - self._tidied >= TIDY_SECONDS:
            self._tidied = now
            self._trim(0)
