"""Who runs first where a processor is shared: the worker with a request at hand."""

from __future__ import annotations

import contextlib
import os


def give_way() -> None:
    """Let this process not interrupt others when there is something to do for it; it gets its share all the same.

    A worker that reports wakes its parent, which on the same processor would run at once, for a millisecond or two that
    every stream of that worker would wait for. Linux calls this ``SCHED_BATCH`` (sched(7)). Elsewhere nothing happens.
    """
    if hasattr(os, "SCHED_BATCH"):
        with contextlib.suppress(OSError):  # a sandbox may forbid it
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def run_first() -> None:
    """Take back what this process has inherited from one that gives way."""
    if hasattr(os, "SCHED_BATCH"):
        with contextlib.suppress(OSError):
            if os.sched_getscheduler(0) == os.SCHED_BATCH:
                os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
