"""Processes for the length of a block: marked with their owner, so that what a killed owner left behind is found."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal

from fairway.clock import Clock
from fairway.targets.local.process import GroupProcess, ProcessIdentity, find_marked, identify, is_running

_NUMBERS = itertools.count()


def marker_of_mine(prefix: str) -> str:
    """A marker for a process of ours; ``prefix`` says what for."""
    me = identify(os.getpid())
    assert me is not None
    return f"{prefix}{me.pid}#{me.mark}#{next(_NUMBERS)}"


async def end_group(process: GroupProcess, *, grace: float, clock: Clock) -> None:
    """End the group, also while the task is being cancelled: politely, and at once when cancelled again.

    Args:
        process: Its leader.
        grace: Seconds between SIGTERM and SIGKILL.
        clock: Times the grace.
    """
    ending = asyncio.ensure_future(process.stop(grace=grace, clock=clock))
    try:
        await asyncio.shield(ending)
    except asyncio.CancelledError:
        process.send(signal.SIGKILL)
        await ending
        raise


def reap_orphans(prefix: str) -> int:
    """End what owners that were killed left behind under this prefix; returns how many processes there were."""
    count = 0
    for marker, identities in find_marked(prefix).items():
        owner = marker.removeprefix(prefix).split("#")
        if not owner[0].isdigit() or is_running(ProcessIdentity(pid=int(owner[0]), mark="#".join(owner[1:-1]))):
            continue
        for identity in identities:
            count += 1
            for kill in (os.killpg, os.kill):  # the group when it leads one, and itself
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    kill(identity.pid, signal.SIGKILL)
    return count
