"""Who holds a lease, so that the next controller on the same machine need not wait for a dead one."""

from __future__ import annotations

import logging
import os
import secrets
import socket

from fairway.rollout.port import RolloutLedger
from fairway.targets.local.process import ProcessIdentity, identify, is_running
from fairway.units import RouteId

log = logging.getLogger("fairway.controller")


def holder_name() -> str:
    """A name for this process as a lease holder: host, pid, when it started, and a random part."""
    identity = identify(os.getpid())
    mark = "" if identity is None else identity.mark
    return "|".join((socket.gethostname(), str(os.getpid()), mark, secrets.token_hex(4)))


def is_dead(holder: str) -> bool:
    """Whether a holder is known to run no more: a process of this machine that has ended. In doubt, no."""
    parts = holder.split("|")
    if len(parts) != 4 or parts[0] != socket.gethostname() or not parts[1].isdecimal() or not parts[2]:
        return False
    return not is_running(ProcessIdentity(pid=int(parts[1]), mark=parts[2]))


def release_dead_lease(ledger: RolloutLedger, route: RouteId) -> bool:
    """Give back the lease of a controller that was killed; the next holder's term is still higher than its was.

    Returns:
        Whether there was one.
    """
    lease = ledger.lease_of(route)
    if lease is None or not is_dead(lease.holder):
        return False
    log.info("%s: the controller that held the lease was killed; taking over", route)
    ledger.release_lease(lease)
    return True
