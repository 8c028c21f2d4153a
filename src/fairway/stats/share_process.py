# ruff: noqa: RUF002 - Greek letters and minus signs stand as in the papers
"""Is the share of bad things in a block above a limit? An e-process over the shares themselves, late onset included.

With ``x_t`` in [0, 1] the share of bad units (requests) of block t, a limit m, stakes ``λ_k < 1/m`` with equal weights
and a weight ``w_j`` for a fault that begins with block j::

    E_t = (1 − Σ_{j≤t} w_j) + Σ_k 1/K Σ_{j≤t} w_j Π_{i=j..t} (1 + λ_k (x_i − m))

Error bound: as long as the mean of each block's share, given the blocks before, is at most m, ``P(E ever ≥ 1/α) ≤ α``
(Ville). Nothing is asked of how units of one block hang together, nor of how many there are in it: a share is a bounded
number, whoever is behind it. That is why it is used where nothing serves beside the release to compare with.

Source: Waudby-Smith and Ramdas, arXiv 2010.09686, section 4 (betting on a bounded mean); a mixture over onsets as in
Shin, Ramdas and Rinaldo, arXiv 2203.03532. Departure: a fixed grid of stakes in place of a predictable one, and half of
the weight on a fault since the first block.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

_STAKES = (0.05, 0.2, 0.6, 0.95)
"""λ as a share of the largest there is, 1/m."""
_AT_ONCE = 0.5
_LARGEST = 1e100


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareProcess:
    """Evidence that shares are above a limit.

    Attributes:
        limit: m, in (0, 1).
        horizon: Blocks within which a late fault may begin; later ones are found by what those left.
        blocks: Seen so far.
        wealth: Of each stake, over the onsets so far.
        value: E after the last block.
        highest: The highest E there was, so that evidence once there stays.
    """

    limit: float
    horizon: int = 360
    blocks: int = 0
    wealth: tuple[float, ...] = (0.0,) * len(_STAKES)
    value: float = 1.0
    highest: float = 1.0

    def with_block(self, share: float) -> ShareProcess:
        """With one more block.

        Args:
            share: Of its units (requests) that were bad, 0 … 1.

        Raises:
            ValueError: When that is no share.
        """
        if not 0 <= share <= 1:
            raise ValueError(f"a share is between 0 and 1, not {share!r}")
        begins = _weight(self.blocks, self.horizon)
        limit = min(max(self.limit, 1e-9), 1 - 1e-9)
        gains = [1 + stake * (share / limit - 1) for stake in _STAKES]
        wealth = tuple(min(_LARGEST, (w + begins) * gain) for w, gain in zip(self.wealth, gains, strict=True))
        blocks = self.blocks + 1
        now = (1 - _given(blocks, self.horizon)) + math.fsum(wealth) / len(wealth)
        highest = max(self.highest, now)
        return replace(self, blocks=blocks, wealth=wealth, value=now, highest=highest)

    def shows(self, alpha: float) -> bool:
        """Whether shares were ever shown to be above the limit, with error ``alpha``."""
        return self.highest >= 1 / alpha


def _weight(number: int, horizon: int) -> float:
    """Of a fault that begins with a block, counted from 0."""
    if number == 0:
        return _AT_ONCE
    return (1 - _AT_ONCE) / horizon if number <= horizon else 0.0


def _given(blocks: int, horizon: int) -> float:
    """Weight of all onsets in the first so many blocks."""
    return _AT_ONCE + (1 - _AT_ONCE) * min(blocks - 1, horizon) / horizon if blocks else 0.0
