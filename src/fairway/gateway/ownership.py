"""What only one gateway process of a project has: lock, admin socket, ring, and who gives the listener away."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import socket
from collections.abc import Awaitable, Callable
from typing import TypeVar

from fairway.gateway.archive import Archive
from fairway.gateway.goodbyes import unfinished
from fairway.gateway.handover import Handover, listener_socket
from fairway.gateway.ring import Ring
from fairway.gateway.state import GatewayState
from fairway.observe.blocks import Batch
from fairway.state_dir import StateDir
from fairway.traffic.local_http import LocalServer

log = logging.getLogger("fairway.gateway")

WARN_AFTER = 40
"""Attempts, two seconds: a gateway that was told to end has let go by then, unless it still drains."""

T = TypeVar("T")


class Ownership:
    """Takes them as soon as no other gateway process has them, and lets go of them."""

    def __init__(self, state: GatewayState, state_dir: StateDir, archive: Archive, private: LocalServer) -> None:
        """Take what there is to own; nothing is owned yet.

        Args:
            state: The gateway's folder.
            state_dir: The project's.
            archive: Gets the ring.
            private: Serves the admin API.
        """
        self._state = state
        self._state_dir = state_dir
        self._archive = archive
        self._private = private
        self._lock: int | None = None
        self._handover: Handover | None = None

    async def take(self, listener: socket.socket, alive: frozenset[str]) -> None:
        """Wait until no other gateway process writes here, then take over.

        Args:
            listener: Handed to the next supervisor.
            alive: Boots whose workers still report.
        """
        asked = 0
        while self._lock is None:
            asked += 1
            if asked == WARN_AFTER:
                log.warning(
                    "another gateway runs in %s: until it ends this one serves without an admin socket, and nobody is "
                    "told its counts; give each gateway a folder of its own with --project",
                    self._state_dir.root,
                )
            try:
                self._lock = _locked(os.open(self._state.lock, os.O_RDWR | os.O_CREAT, 0o600))
            except OSError as error:
                log.error("the gateway's lock cannot be taken: %s", error)
            await asyncio.sleep(0 if self._lock is not None else 0.05)
        await _insist("the admin socket", lambda: self._private.listen_unix(self._state_dir.socket("gateway")))
        self._hand_over(listener)

        async def opened() -> tuple[Ring, list[Batch]]:
            ring = Ring(self._state.ring)
            return ring, await asyncio.to_thread(unfinished, ring, alive)  # up to 64 MB to read

        self._archive.take_over(*await _insist("the telemetry's ring", opened))

    async def release(self) -> None:
        """Let go of everything, in the order that lets another process take it whole."""
        await self._private.close()
        if self._handover is not None:
            self._handover.close()
            self._handover = None
        self._archive.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _hand_over(self, listener: socket.socket) -> None:
        """Let the next supervisor hold the listening socket as well; without it a crash only costs more."""
        self._handover = Handover(listener, listener_socket(self._state_dir))
        try:
            self._handover.open()
        except OSError as error:
            log.warning("the listening socket cannot be handed over: %s", error)


async def _insist(what: str, attempt: Callable[[], Awaitable[T]]) -> T:
    """What ``attempt`` gives, tried again until it does."""
    while True:
        try:
            return await attempt()
        except OSError as error:
            log.error("%s cannot be opened, tried again: %s", what, error)
            await asyncio.sleep(1.0)


def _locked(descriptor: int) -> int | None:
    """The descriptor when the lock is ours now; closed and ``None`` when another process has it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor
