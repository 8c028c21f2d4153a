"""Where metrics go beside ``/metrics``: a port, so that the data plane imports no client of anything."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from fairway.gateway.metric_values import Gauge


class Exporter(Protocol):
    """Tells the metrics to somebody else, now and then."""

    async def run(self) -> None:
        """Go on until cancelled, and tell the last ones then."""
        ...

    def gauges(self) -> Iterator[Gauge]:
        """What ``/metrics`` says of it."""
        ...
