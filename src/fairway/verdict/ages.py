"""How long ago units were first seen, so that only units alike in age are compared.

A conversation stays on the release it began on. When the split grows, the candidate therefore holds young
conversations and stable holds old ones; where latency grows with the context, or the first turn fails more often,
that alone would look like a better or worse release. Within a band of age the arms differ by the release only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from fairway.verdict.roster import NOBODY, Roster, Units

BAND_EDGES = (0, 1, 2, 4, 8)
"""Ages, in blocks, at which a band begins; the last has no end."""

NOBODY_NEW: Units = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ages:
    """What a gate knows of the age of units.

    Attributes:
        present: Units of the first block it was shown: of unknown age, a band of their own. ``None`` before that.
        recent: ``(t0, units first seen in that block)``, of the blocks younger than the last edge.
        seen: Every unit it was ever shown.
    """

    present: Units | None = None
    recent: tuple[tuple[float, Units], ...] = ()
    seen: Roster = NOBODY


def with_block(ages: Ages, units: Units, *, t0: float, seconds: float) -> Ages:
    """The ages after one more block in which these units were active, on whichever arm."""
    if ages.present is None:
        return Ages(present=units, seen=Roster(units)) if units else ages
    new = ages.seen.missing(units)
    kept = tuple(item for item in ages.recent if t0 - item[0] < BAND_EDGES[-1] * seconds)
    if not new:
        return Ages(present=ages.present, recent=kept, seen=ages.seen)
    return Ages(present=ages.present, recent=(*kept, (t0, new)), seen=ages.seen.grown(new))


def newborn(ages: Ages, *, t0: float) -> Units:
    """Units first seen in the block that began at ``t0``; those of the very first block are not known to be new."""
    recent = ages.recent
    return recent[-1][1] if recent and recent[-1][0] == t0 else NOBODY_NEW


def bands(ages: Ages, *, t0: float, seconds: float) -> Iterator[tuple[Units, ...]]:
    """The parts of each band of known age, the youngest first, then of those present at the start.

    The oldest band has no parts: it is whoever is in none of the others.
    """
    aged = [(round((t0 - began) / seconds), units) for began, units in ages.recent]
    for low, high in pairwise(BAND_EDGES):
        yield tuple([units for age, units in aged if low <= age < high])
    if ages.present:
        yield (ages.present,)
