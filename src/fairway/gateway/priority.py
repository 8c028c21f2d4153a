"""Who runs first where a processor is shared: the worker with a request at hand."""

from __future__ import annotations

import contextlib
import os

GIVES_WAY = "FAIRWAY_GATEWAY_GIVES_WAY"
"""In the environment of what a process starts that gives way: how that is scheduled is not what its operator chose."""


def give_way() -> None:
    """Let this process not interrupt others as it wakes; it gets its share all the same.

    A worker that reports wakes its parent, which on the same processor would run at once, for a millisecond or two that
    every stream of that worker would wait for. Linux calls this ``SCHED_BATCH`` (sched(7)). Elsewhere, where a sandbox
    forbids it, and where an operator chose another policy, nothing happens.
    """
    if hasattr(os, "SCHED_BATCH"):
        with contextlib.suppress(OSError):
            if os.sched_getscheduler(0) == os.SCHED_OTHER:
                os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
                os.environ[GIVES_WAY] = "1"


def run_first() -> None:
    """Take back what this process has inherited from one that gives way."""
    if os.environ.pop(GIVES_WAY, None) and hasattr(os, "SCHED_BATCH"):
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
