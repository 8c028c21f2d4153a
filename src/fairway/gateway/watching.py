"""Looks after clients that wait too long: at a few at a time, so that ten thousand idle ones cost next to nothing."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

from fairway.traffic.table import Timeouts

if TYPE_CHECKING:
    from fairway.gateway.client import ClientConnection

GROUPS = 8
MOST_SECONDS = 1.0
"""How late a limit is noticed at most, beside the time between two sweeps."""

BODY_SECONDS = 10.0
"""The pace of a request's body is that of the last so many seconds."""


class Watch:
    """A worker's clients in groups, which sweeps look at in turn."""

    __slots__ = ("_groups", "_newest", "_next", "_request", "_share", "_waiting")

    def __init__(self) -> None:
        self._groups: tuple[set[ClientConnection], ...] = tuple(set() for _ in range(GROUPS))
        self._newest = 0
        self._next = 0
        self.limit(Timeouts(), sweep_seconds=MOST_SECONDS)

    def limit(self, timeouts: Timeouts, *, sweep_seconds: float) -> None:
        """Take the limits of a table.

        Args:
            timeouts: Of the table.
            sweep_seconds: Between two calls of :meth:`look`.
        """
        half = timeouts.total / 2  # when a WebSocket is counted, at the soonest
        self._request = min(timeouts.first_byte, timeouts.idle, timeouts.websocket, half, BODY_SECONDS)
        self._waiting = timeouts.keep_alive
        shortest = min(self._request, self._waiting, timeouts.head)
        self._share = min(GROUPS, ceil(GROUPS * sweep_seconds / min(MOST_SECONDS, shortest / 4)))

    def add(self, client: ClientConnection) -> set[ClientConnection]:
        """Watch a client; the group it is in."""
        self._newest = (self._newest + 1) % GROUPS
        group = self._groups[self._newest]
        group.add(client)
        return group

    def look(self, now: float, *, at_all: bool) -> None:
        """Close what waits too long among the next groups.

        Args:
            now: ``perf_counter()`` seconds.
            at_all: At every client, however short it has waited: the worker drains.
        """
        for _ in range(GROUPS if at_all else self._share):
            self._next = (self._next + 1) % GROUPS
            self._look_at(tuple(self._groups[self._next]), now, at_all=at_all)

    def _look_at(self, clients: tuple[ClientConnection, ...], now: float, *, at_all: bool) -> None:
        since_request, since_idle = now - self._request, now - self._waiting
        for client in clients:
            exchange = client.exchange
            if exchange is not None:
                if exchange.started > since_request:
                    continue  # no limit of a request can have passed
            elif client.since > since_idle and not (client.buffer or client.closing or at_all):
                continue
            client.overdue(now)
