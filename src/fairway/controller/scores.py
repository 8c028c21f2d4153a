"""Scores of sampled replies join their blocks before any gate reads them; what is late is missing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from fairway.observe.fold import ArmBlock, Block
from fairway.observe.port import ScoreSource, ScoresSeen
from fairway.units import UnitHash

SILENT_SECONDS = 5.0
"""Whoever scores says so every second; after this long without a word no block waits for it."""

SETTLED_SECONDS = 1.0
"""Samples of a block are with whoever scores so long after the block is mature."""

_SCORE = "score"


@dataclass(slots=True, kw_only=True)
class ScoreJoin:
    """Holds mature blocks until their scores are there, or no longer worth waiting for.

    A block that has been given to the gates never changes, so that every verdict can be replayed. Scores an agent gives
    itself are left out: they and those of a scorer are not the same measure.

    Attributes:
        source: Where scores come from.
        wait: Seconds a block is held at most.
    """

    source: ScoreSource
    wait: float
    _held: list[tuple[float, Block]] = field(default_factory=list)

    def forget(self) -> None:
        """Drop what is held; it is folded again from what the gateway keeps."""
        self._held.clear()

    def join(self, fresh: tuple[Block, ...], now: float) -> tuple[Block, ...]:
        """Blocks that gates may read, in order, with their scores.

        Args:
            fresh: That are mature since the last time.
            now: Epoch seconds.
        """
        self._held += [(now, block) for block in fresh]
        if not self._held:
            return ()
        seen = self.source.look(since=self._held[0][1].t0)
        ready = 0
        for since, block in self._held:
            if not self._is_ready(block, since, seen, now):
                break
            ready += 1
        done, self._held = self._held[:ready], self._held[ready:]
        return tuple(with_scores(block, seen) for _, block in done)

    def _is_ready(self, block: Block, since: float, seen: ScoresSeen, now: float) -> bool:
        if now - seen.at > SILENT_SECONDS or now >= since + self.wait:
            return True
        return seen.at >= since + SETTLED_SECONDS and (seen.oldest is None or seen.oldest > block.t0)


def with_scores(block: Block, seen: ScoresSeen) -> Block:
    """A block with the scores of its hash-assigned units, and no others. Pure."""
    arms = {release: _with_score(arm, seen.scores.get((block.t0, release), {})) for release, arm in block.arms.items()}
    return replace(block, arms=arms)


def _with_score(arm: ArmBlock, scores: Mapping[UnitHash, tuple[int, int]]) -> ArmBlock:
    active = set(arm.active) if scores else set()
    found = {unit: scores[unit] for unit in sorted(scores) if unit in active}
    values = {kind: by_unit for kind, by_unit in arm.values.items() if kind != _SCORE}
    return replace(arm, values=dict(sorted({**values, **({_SCORE: found} if found else {})}.items())))
