"""Telemetry kept on disk, and in memory while another gateway process still holds the ring."""

from __future__ import annotations

import json
import logging

from fairway.gateway.goodbyes import unfinished
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
        self._pending: list[bytes] = []

    def keep(self, batch: Batch) -> None:
        """Write a batch, or hold it until there is a ring; one that cannot be kept shows as a gap."""
        line = json.dumps(batch.to_wire(), separators=(",", ":")).encode()
        if self.ring is not None:
            self._append(self.ring, line)
        elif len(self._pending) < MAX_PENDING:
            self._pending.append(line)

    def take_over(self, ring: Ring, boot: str) -> None:
        """From now on batches go to ``ring``; workers of earlier boots that died say good-bye in it first."""
        self.ring = ring
        for batch in unfinished(ring, boot):
            self.keep(batch)
        for line in self._pending:
            self._append(ring, line)
        self._pending.clear()

    def close(self) -> None:
        """Close the ring."""
        if self.ring is not None:
            self.ring.close()

    @staticmethod
    def _append(ring: Ring, line: bytes) -> None:
        try:
            ring.append(line)
        except OSError as error:
            log.error("telemetry was not kept: %s", error)  # the missing number shows as a gap
