"""Memory that large messages take: kept from one to the next, given back after a burst.

By itself the C library returns what a message of 100 KB took as soon as it is freed, and takes it anew, every page
cleared, for the next one: a quarter of what such a request costs. So it is told to keep some. After a burst over 256
connections that is some 20 MB that nobody uses; asked to, it gives back whole pages, which takes well below a
millisecond, so it is asked now and then.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable

TIDY_SECONDS = 5.0
"""From one time to the next."""

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
_KEPT_BYTES = 8 << 20
_OWN_PAGES_BYTES = 4 << 20
"""Bytes from which on a piece of memory has pages of its own, which go back as it is freed."""


class Heap:
    """What the C library has allocated for this process."""

    __slots__ = ("_tidied", "_trim")

    def __init__(self) -> None:
        """Find how to ask, and say what to keep; only glibc can be told."""
        library = ctypes.CDLL(None)
        self._trim: Callable[[int], int] | None = getattr(library, "malloc_trim", None)
        if self._trim is not None:
            library.mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
            library.mallopt(_M_TOP_PAD, 256 << 10)
            library.mallopt(_M_MMAP_THRESHOLD, _OWN_PAGES_BYTES)
        self._tidied = 0.0

    def tidy(self, now: float) -> None:
        """Give back what is not used, if that was not done a moment ago; ``now`` in seconds of any steady clock."""
        if self._trim is not None and now - self._tidied >= TIDY_SECONDS:
            self._tidied = now
            self._trim(0)
