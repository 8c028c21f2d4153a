"""The newest blocks of a window, and whom they met: what triggers count, in a step and in the soak."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fairway.observe.fold import ArmBlock, Block
from fairway.units import UnitHash


def window(blocks: Sequence[Block], seconds: float) -> list[Block]:
    """The newest blocks that last for so long together; nothing when there are too few."""
    taken: list[Block] = []
    length = 0.0
    for block in reversed(blocks):
        if length >= seconds:
            break
        taken.append(block)
        length += block.seconds
    return taken if length >= seconds else []


def units_of(arms: Iterable[ArmBlock]) -> tuple[set[UnitHash], set[UnitHash]]:
    """Distinct units with a failed request, and distinct units of known outcome."""
    failed: set[UnitHash] = set()
    known: set[UnitHash] = set()
    for arm in arms:
        failed.update(arm.failed_units)
        known.update(set(arm.active) - set(arm.unknown_units))
    return failed, known | failed
