"""Who runs first where a processor is shared: the worker with a request at hand."""

from __future__ import annotations

import contextlib
import os


def give_way() -> None:
    """Let the calling thread not interrupt others when there is something to do for it; it gets its share all the same.

    A worker that reports wakes its parent, and one whose lines are written a thread of its own; on the same processor
    these would run at once, for a millisecond or more, which every stream of that worker would wait for. Linux calls
    this ``SCHED_BATCH`` (sched(7)); processes started from here do not inherit it. Elsewhere nothing happens.
    """
    if hasattr(os, "SCHED_BATCH"):
        with contextlib.suppress(OSError):  # a sandbox may forbid it
            os.sched_setscheduler(0, os.SCHED_BATCH | os.SCHED_RESET_ON_FORK, os.sched_param(0))
