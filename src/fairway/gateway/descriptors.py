"""How many files a worker may have open, and so how many clients it can take without losing its way to the arms."""

from __future__ import annotations

import contextlib
import errno
import resource

ANSWERED = 64
"""Clients beyond the limit that are told so at once; whoever comes beyond these is only closed."""

_OWN = 48 + ANSWERED
"""Of a worker itself: channel, listening socket, memory, log, loop; and of clients that are being told."""
_LEAST = 8


_OF_OURS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL})


def is_own(error: BaseException) -> bool:
    """Whether a connection could not be opened for want of something here: no descriptor, no memory, no free port."""
    return isinstance(error, OSError) and error.errno in _OF_OURS


def raise_limit() -> int:
    """Allow the process as many open files as the system lets it have; how many that are."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):  # a system with a limit below the one it tells
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
    return soft if soft != resource.RLIM_INFINITY else 1 << 30


def most_clients(files: int, *, wanted: int, in_flight: int) -> int:
    """Clients that leave a connection to an arm for each request they may have running.

    Args:
        files: The process may have open.
        wanted: Clients the table allows.
        in_flight: Requests the table allows at once.
    """
    free = files - _OWN
    return min(wanted, max(_LEAST, free - in_flight, free // 2))
