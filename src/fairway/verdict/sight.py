"""What gates see of one block: made once a block and shared, because most of it is the same for all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar, cast

from fairway.observe.fold import ArmBlock, Block
from fairway.units import Digest, UnitHash
from fairway.verdict.ages import Ages, bands, newborn, with_block
from fairway.verdict.roster import Roster, Spread, Units

NONE: Units = frozenset()
_NO_BINS: Mapping[int, int] = {}
_Made = TypeVar("_Made")


class ArmSight:
    """One arm of one block: who was active, whose outcome is known, and who was marked how.

    Attributes:
        block: The counts; ``None`` when the arm did nothing.
        active: Hash-assigned units with a request.
        known: Of them, those without a request of unknown outcome.
        reported: The same as ``known`` where the agent reports outcomes at all, nobody where it does not.
    """

    __slots__ = ("_marks", "active", "block", "known", "reported")

    def __init__(self, block: ArmBlock | None) -> None:
        """See an arm's part of a block."""
        self.block = block
        self._marks: dict[str, Units] = {}
        self.active = self.known = self.reported = NONE
        if block is None:
            return
        own = (("failed", block.failed_units), ("slow", block.slow_units), ("unknown", block.unknown_units))
        for kind, units in (*own, *block.marks.items()):
            if units:
                self._marks[kind] = frozenset(units)
        self.active = frozenset(block.active)
        unknown = self.marked("unknown")
        self.known = self.active - unknown if unknown else self.active
        self.reported = self.known if block.reported else NONE

    def marked(self, kind: str) -> Units:
        """Units with a mark of that kind."""
        return self._marks.get(kind, NONE)

    def histogram(self, name: str) -> Mapping[int, int]:
        """One of the block's histograms, ``{bin: count}``."""
        return _NO_BINS if self.block is None else cast("Mapping[int, int]", getattr(self.block, name))


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """Units of one age: those ``inside`` a set, or those outside of it for the oldest."""

    units: Units
    inside: bool
    candidate: Units
    stable: Units

    def pick(self, units: Units) -> Units:
        """Those of ``units`` that are of this age."""
        return units & self.units if self.inside else units - self.units


class Sight:
    """One block with both arms.

    What is made from a value is remembered by that value, so that gates that count the same units share one roster.

    Attributes:
        ages: What is known of the age of units, after this block.
    """

    __slots__ = ("_bands", "_made", "ages", "block", "candidate", "stable")

    def __init__(self, block: Block, ages: Ages, candidate: ArmSight, stable: ArmSight) -> None:
        """Hold a block; :func:`see` makes one."""
        self.block = block
        self.ages = ages
        self.candidate = candidate
        self.stable = stable
        self._made: dict[tuple[object, ...], tuple[object, object]] = {}
        self._bands: list[tuple[Units, bool]] | None = None

    def once(self, key: tuple[object, ...], kept: object, make: Callable[[], _Made]) -> _Made:
        """What was made under this key before, else what ``make`` makes now.

        Args:
            key: Of what is asked for, values by their ``id``.
            kept: These values: while they are kept, their ids cannot become another's.
            make: Makes it from them alone.
        """
        found = self._made.get(key)
        if found is None:
            found = self._made[key] = make(), kept
        return cast("_Made", found[0])

    def forget(self) -> None:
        """Drop what was remembered: another look at the block makes it again."""
        self._made.clear()

    def grown(self, roster: Roster, units: Units) -> Roster:
        """``roster`` with ``units``; one object for the same arguments."""
        return self.once((id(roster), id(units)), (roster, units), lambda: roster.grown(units))

    def spread(self, spread: Spread, histogram: Mapping[int, int]) -> Spread:
        """``spread`` with ``histogram``; one object for the same arguments."""
        return self.once((id(spread), id(histogram)), (spread, histogram), lambda: spread.grown(histogram))

    def born(self, units: Units) -> tuple[UnitHash, ...]:
        """Those of ``units`` first seen in this block, in the order of their hashes."""
        return self.once(
            (id(units), "born"), units, lambda: tuple(sorted(units & newborn(self.ages, t0=self.block.t0)))
        )

    def by_age(self, candidate: Units, stable: Units) -> tuple[Band, ...]:
        """Both arms' units by age; ages that one of them does not have are left out."""
        return self.once((id(candidate), id(stable)), (candidate, stable), lambda: self._by_age(candidate, stable))

    def _by_age(self, candidate: Units, stable: Units) -> tuple[Band, ...]:
        if self._bands is None:
            self._bands = list(bands(self.ages, t0=self.block.t0, seconds=self.block.seconds))
        found = []
        for units, inside in self._bands:
            pick = frozenset.intersection if inside else frozenset.difference
            ours = pick(candidate, units)
            if not ours:
                continue
            theirs = pick(stable, units)
            if theirs:
                found.append(Band(units=units, inside=inside, candidate=ours, stable=theirs))
        return tuple(found)


def see(ages: Ages, block: Block, *, candidate: Digest, stable: Digest | None) -> Sight:
    """One block, given what was known of ages before it.

    Args:
        ages: After the blocks before.
        block: The next mature block.
        candidate: Release on trial.
        stable: Release it is compared with; ``None`` for a first release.
    """
    ours = ArmSight(block.arms.get(candidate))
    theirs = ArmSight(block.arms.get(stable) if stable else None)
    both = ours.active | theirs.active if theirs.active else ours.active
    return Sight(block, with_block(ages, both, t0=block.t0, seconds=block.seconds), ours, theirs)
