"""Telemetry kept on disk, and in memory while another gateway process still holds the ring."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable
from typing import Any

from fairway.gateway.ring import Ring
from fairway.observe.blocks import Batch

log = logging.getLogger("fairway.gateway")

MAX_PENDING = 10_000
"""Batches kept in memory while there is no ring."""


class Archive:
    """Batches in the order they came."""

    def __init__(self) -> None:
        """Begin without a ring."""
        self.ring: Ring | None = None
        self.pass_on: Callable[[dict[str, Any]], object] | None = None
        """Told of every batch instead, once another gateway process keeps them."""
        self._pending: list[bytes] = []

    def keep(self, batch: Batch) -> None:
        """Write a batch, or hold it until there is a ring; one that cannot be kept shows as a gap."""
        if self.pass_on is not None:
            self.pass_on(batch.to_wire())
            return
        line = json.dumps(batch.to_wire(), separators=(",", ":")).encode()
        if self.ring is not None:
            self._append(self.ring, line)
        elif len(self._pending) < MAX_PENDING:
            self._pending.append(line)

    def take_over(self, ring: Ring, farewells: Iterable[Batch]) -> None:
        """From now on batches go to ``ring``; workers of earlier boots that died say good-bye in it first."""
        self.ring = ring
        for batch in farewells:
            self.keep(batch)
        for line in self._pending:
            self._append(ring, line)
        self._pending.clear()

    def close(self) -> None:
        """Close the ring; what comes from now on is held, or passed on."""
        if self.ring is not None:
            self.ring.close()
            self.ring = None

    @staticmethod
    def _append(ring: Ring, line: bytes) -> None:
        try:
            ring.append(line)
        except OSError as error:
            log.error("telemetry was not kept: %s", error)  # the missing number shows as a gap
