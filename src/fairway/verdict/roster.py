"""Values that only grow: a rollout meets a million units, and copying them for every block costs more than every test.

A longer value shares its memory with the shorter one it grew from. Growing the longest costs as much as what is new;
growing another one copies first, so that a value, once seen, stays as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice

from fairway.observe.blocks import bin_value
from fairway.observe.fold import ArmBlock
from fairway.units import UnitHash

Units = frozenset[UnitHash]


class Roster:
    """Distinct units, in the order they came."""

    __slots__ = ("_count", "_places")

    def __init__(self, units: Iterable[UnitHash] = ()) -> None:
        """Hold ``units``, each once."""
        self._places: dict[UnitHash, int] = {}
        for unit in units:
            self._places.setdefault(unit, len(self._places))
        self._count = len(self._places)

    def __len__(self) -> int:
        return self._count

    def __contains__(self, unit: object) -> bool:
        return self._places.get(unit, self._count) < self._count  # type: ignore[call-overload, no-any-return]

    def __iter__(self) -> Iterator[UnitHash]:
        return islice(self._places, self._count)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Roster) and frozenset(self) == frozenset(other)

    def __hash__(self) -> int:
        return hash(frozenset(self))

    def __repr__(self) -> str:
        return f"Roster({self._count} units)"

    def missing(self, units: Units) -> Units:
        """Those of ``units`` that are not in it."""
        if len(self._places) == self._count:
            return units.difference(self._places)
        return frozenset([unit for unit in units if unit not in self])

    def among(self, units: Units) -> Units:
        """Those of ``units`` that are in it; nearly nothing when it is small and has none of them."""
        places = self._places
        if len(places) == self._count and self._count < len(units) and units.isdisjoint(places):
            return frozenset()
        return units - self.missing(units)

    def count(self, units: Units) -> int:
        """How many of ``units`` are in it."""
        places = self._places
        if len(places) != self._count:
            return sum([unit in self for unit in units])
        if self._count < len(units) and units.isdisjoint(places):
            return 0
        return sum(map(places.__contains__, units))

    def grown(self, units: Units) -> Roster:
        """It with more units."""
        places = self._places if self._count else {}
        if len(places) != self._count:
            places = {unit: place for place, unit in enumerate(self)}
        new = units.difference(places)
        if not new:
            return self
        places.update(zip(new, range(len(places), len(places) + len(new)), strict=True))
        longer = Roster.__new__(Roster)
        longer._places, longer._count = places, len(places)
        return longer


NOBODY = Roster()
"""The roster everything grows from."""


class Counted:
    """Distinct units that count: those of a roster that gates share, without the few that never counted.

    What gates count differs in a unit here and there - its outcome was not known - and growing a roster for each of
    them costs more than every test.
    """

    __slots__ = ("_count", "seen", "without")

    def __init__(self, seen: Roster, without: Units = frozenset()) -> None:
        """Hold the units of ``seen`` that are not in ``without``, which is a part of it."""
        self.seen = seen
        self.without = without
        self._count = len(seen) - len(without)

    def __len__(self) -> int:
        return self._count

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Counted) and self._all() == other._all()

    def __hash__(self) -> int:
        return hash(self._all())

    def __repr__(self) -> str:
        return f"Counted({self._count} units)"

    def grown(self, active: Units, counted: Units, grow: Callable[[Roster, Units], Roster]) -> Counted:
        """It with the units of one more block.

        Args:
            active: Units that were there.
            counted: Those that count; others of them count if they did before.
            grow: Gives a roster with more units.
        """
        if counted is active and not self.without:
            seen = grow(self.seen, active)
            return self if seen is self.seen else Counted(seen)
        if not counted and not self.seen:
            return self  # nobody ever counted: agents that report nothing
        never = self.seen.missing(active - counted)
        seen = grow(self.seen, active if counted <= active else active | counted)
        return Counted(seen, (self.without - counted) | never)

    def _all(self) -> Units:
        return frozenset(self.seen) - self.without


NO_UNITS = Counted(NOBODY)
"""The count everything grows from."""


class _Total:
    """One histogram of many arms added up, with the bin each asked quantile lies in and how much is in it and below."""

    __slots__ = ("added", "bins", "cursors", "size")

    def __init__(self) -> None:
        self.added = 0
        self.bins: dict[int, int] = {}
        self.size = 0
        self.cursors: dict[float, tuple[int, int]] = {}

    def add(self, part: Mapping[int, int]) -> None:
        self.added += 1
        bins, size = self.bins, sum(part.values())
        for index, count in part.items():
            bins[index] = bins.get(index, 0) + count
        self.size += size
        for share, (cursor, reached) in self.cursors.items():
            # Few values lie above a high quantile.
            above = sum([part[index] for index in part if index > cursor])
            self.cursors[share] = cursor, reached + size - above

    def quantile(self, share: float) -> float | None:
        if not self.size:
            return None
        bins, target = self.bins, share * self.size - 1e-9
        if share not in self.cursors:
            last = max(bins)
            self.cursors[share] = last, self.size
        cursor, reached = self.cursors[share]
        while reached < target:
            cursor += 1
            reached += bins.get(cursor, 0)
        while not bins.get(cursor) or reached - bins[cursor] >= target:
            reached -= bins.get(cursor, 0)
            cursor -= 1
        self.cursors[share] = cursor, reached
        return bin_value(cursor)


class _Arms:
    """The arms of many blocks, and their histograms as far as somebody asked for them."""

    __slots__ = ("parts", "totals")

    def __init__(self, parts: Iterable[ArmBlock] = ()) -> None:
        self.parts = list(parts)
        self.totals: dict[str, _Total] = {}

    def total(self, histogram: str) -> _Total:
        total = self.totals.get(histogram)
        if total is None:
            total = self.totals[histogram] = _Total()
        for place in range(total.added, len(self.parts)):
            total.add(getattr(self.parts[place], histogram))
        return total


class Spread:
    """What one arm measured in many blocks; knows a quantile without sorting, because that moves little a block.

    Nothing is added up before somebody asks, since most gates are rarely asked.
    """

    __slots__ = ("_arms", "_count")

    def __init__(self, parts: Iterable[ArmBlock] = ()) -> None:
        """The sum of ``parts``."""
        self._arms = _Arms(parts)
        self._count = len(self._arms.parts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Spread) and self._parts() == other._parts()

    def __hash__(self) -> int:
        return self._count

    def __repr__(self) -> str:
        return f"Spread({self._count} blocks)"

    def grown(self, part: ArmBlock) -> Spread:
        """It with one more block."""
        arms = self._newest() if self._count else _Arms()
        arms.parts.append(part)
        longer = Spread.__new__(Spread)
        longer._arms, longer._count = arms, len(arms.parts)
        return longer

    def quantile(self, histogram: str, share: float) -> float | None:
        """The value below which ``share`` of a histogram's values lie, within 0.5 %; ``None`` for nothing."""
        return self._newest().total(histogram).quantile(share)

    def _parts(self) -> list[ArmBlock]:
        return self._arms.parts[: self._count]

    def _newest(self) -> _Arms:
        """The shared arms when this is the longest that shares them, else some of its own."""
        return self._arms if len(self._arms.parts) == self._count else _Arms(self._parts())


NOTHING = Spread()
"""The spread everything grows from."""
