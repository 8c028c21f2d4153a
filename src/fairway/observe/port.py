"""What a controller needs from whoever counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from fairway.observe.blocks import Batch
from fairway.units import Digest, RouteId, UnitHash


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


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoresSeen:
    """How far the scoring of sampled replies has come.

    Attributes:
        at: When whoever scores last said so, epoch seconds; 0: never, or it has ended.
        oldest: Start of the first block of which replies still wait for a score; ``None``: none waits.
        scores: ``{(start of the block, release): {unit: (sum in millionths, replies)}}``.
    """

    at: float
    oldest: float | None
    scores: Mapping[tuple[float, Digest], Mapping[UnitHash, tuple[int, int]]]


class ScoreSource(Protocol):
    """Scores of sampled replies, from a process of their own."""

    def look(self, *, since: float) -> ScoresSeen:
        """What is known now of blocks that start at ``since`` or later; what cannot be read is not there."""
        ...
