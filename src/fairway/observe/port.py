"""What a controller needs from whoever counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from fairway.observe.blocks import Batch
from fairway.units import RouteId


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulled:
    """New batches and where to go on from; ``cursor`` is opaque to the caller."""

    batches: tuple[Batch, ...]
    cursor: str


class ObservationSource(Protocol):
    """Telemetry of a route, pulled by cursor; at least once, so readers drop what they already have."""

    async def pull(self, route: RouteId, *, after: str | None) -> Pulled:
        """Batches after the cursor (``None``: from the beginning of what is kept).

        Raises:
            TransientError: When the source cannot be reached; spends the instrument budget, never counts as zero.
        """
        ...
