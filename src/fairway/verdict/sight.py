"""What gates see of one block: made once a block and shared, because most of it is the same for all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar, cast

from fairway.observe.fold import ArmBlock, Block
from fairway.units import Digest, UnitHash
from fairway.verdict.ages import Ages, bands, newborn, with_block
from fairway.verdict.kinds import Among, Recipe
from fairway.verdict.roster import Roster, Units

NONE: Units = frozenset()
_Made = TypeVar("_Made")


class ArmSight:
    """One arm of one block: who was active, whose outcome is known, and who was marked how.

    Attributes:
        block: The counts; ``None`` when the arm did nothing.
        active: Hash-assigned units with a request.
        known: Of them, those without a request of unknown outcome.
        reported: The same as ``known`` where the agent reports outcomes at all, nobody where it does not.
        lost: Requests that never ended.
    """

    __slots__ = ("_marks", "active", "block", "known", "lost", "reported")

    def __init__(self, block: ArmBlock | None) -> None:
        """See an arm's part of a block."""
        self.block = block
        self._marks: dict[str, Units] = {}
        self.active = self.known = self.reported = NONE
        self.lost = 0
        if block is None:
            return
        for kind, units in block.marks.items():
            self._marks[kind] = frozenset(units)
        if block.failed_units:
            self._marks["failed"] = frozenset(block.failed_units)
        if block.slow_units:
            self._marks["slow"] = frozenset(block.slow_units)
        self.lost = block.unfinished
        self.active = self.known = frozenset(block.active)
        if block.unknown_units:
            unknown = self._marks["unknown"] = frozenset(block.unknown_units)
            self.known = self.active - unknown
        self.reported = self.known if block.reported else NONE

    def marked(self, kind: str) -> Units:
        """Units with a mark of that kind."""
        return self._marks.get(kind, NONE)

    def counted(self, recipe: Recipe) -> Units:
        """The units that a gate counts: an unknown outcome is none, but a unit known to be bad is bad."""
        units, marked = self.among(recipe.among), self._marks.get(recipe.mark)
        return units if marked is None or marked <= units else units | marked

    def among(self, among: Among) -> Units:
        """The units that count unless they are bad."""
        return self.known if among is Among.KNOWN else self.active if among is Among.ACTIVE else self.reported

    def has(self, kind: str) -> bool:
        """Whether any unit has a mark of that kind."""
        return kind in self._marks


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """Units of one age, on both arms; ``new``: none of them was ever seen before."""

    candidate: Units
    stable: Units
    new: bool = False


class Sight:
    """One block with both arms.

    What is made from a value is remembered by that value, so that gates that count the same units share one roster.

    Attributes:
        ages: What is known of the age of units, after this block.
    """

    __slots__ = ("_closed", "_kept", "_made", "ages", "block", "candidate", "stable")

    def __init__(self, block: Block, ages: Ages, candidate: ArmSight, stable: ArmSight) -> None:
        """Hold a block; :func:`see` makes one."""
        self.block = block
        self.ages = ages
        self.candidate = candidate
        self.stable = stable
        self._made: dict[tuple[object, ...], tuple[object, object]] = {}
        self._kept: dict[tuple[object, ...], tuple[object, object]] = {}
        self._closed = False

    def has(self, kind: str) -> bool:
        """Whether a unit of either arm has a mark of that kind, or the candidate lost a request."""
        return self.candidate.has(kind) or self.stable.has(kind) or self.candidate.lost > 0

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

    def for_good(self, key: tuple[object, ...]) -> object | None:
        """What :meth:`keep` keeps under this key; ``None`` for nothing."""
        found = self._kept.get(key)
        return None if found is None else found[0]

    def keep(self, key: tuple[object, ...], kept: object, made: _Made) -> _Made:
        """As :meth:`once`, but not forgotten: for values that share their memory, for gates that begin anew later."""
        if not self._closed:
            self._kept[key] = made, kept
        return made

    def close(self) -> None:
        """Keep nothing any more: a long rollout has room for its blocks, not for every reading of them."""
        self._closed = True
        self._kept.clear()

    def forget(self) -> None:
        """Drop what was remembered: another look at the block makes it again."""
        self._made.clear()

    def grown(self, roster: Roster, units: Units) -> Roster:
        """``roster`` with ``units``; one object for the same arguments."""
        return self.once((id(roster), id(units)), (roster, units), lambda: roster.grown(units))

    def born(self, arm: ArmSight, units: Units) -> tuple[UnitHash, ...]:
        """Those of an arm's ``units`` first seen in this block, in the order of their hashes."""
        key = (id(units), "born")
        found = self.for_good(key)
        return self.keep(key, units, self._born(arm, units)) if found is None else cast("tuple[UnitHash, ...]", found)

    def _born(self, arm: ArmSight, units: Units) -> tuple[UnitHash, ...]:
        new = newborn(self.ages, t0=self.block.t0)
        if not new or not units:
            return ()
        if units is not arm.active or arm.block is None:
            return tuple(sorted(units & new))
        # Blocks have their units sorted, and sorting them again costs next to nothing.
        active = arm.block.active
        return tuple(sorted(active if units <= new else [unit for unit in active if unit in new]))

    def by_age(self, candidate: Units, stable: Units) -> tuple[Band, ...]:
        """Both arms' units by age; ages that one of them does not have are left out."""
        return self.once((id(candidate), id(stable)), (candidate, stable), lambda: self._by_age(candidate, stable))

    def _by_age(self, candidate: Units, stable: Units) -> tuple[Band, ...]:
        found: list[Band] = []
        new = newborn(self.ages, t0=self.block.t0)
        if candidate <= new and stable <= new:
            return (Band(candidate=candidate, stable=stable, new=True),) if candidate and stable else ()
        for band in bands(self.ages, t0=self.block.t0, seconds=self.block.seconds):
            if not (candidate and stable):
                return tuple(found)
            ours, theirs = _inside(candidate, band), _inside(stable, band)
            if ours and theirs:
                found.append(Band(candidate=ours, stable=theirs, new=bool(new) and band == (new,)))
            candidate = candidate - ours if ours else candidate
            stable = stable - theirs if theirs else stable
        if candidate and stable:
            found.append(Band(candidate=candidate, stable=stable))
        return tuple(found)


def _inside(units: Units, band: tuple[Units, ...]) -> Units:
    """Those of ``units`` in any part of a band."""
    if len(band) == 1:
        return units & band[0]
    return NONE.union(*[units & part for part in band])


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
