"""Values that only grow: a rollout meets a million units, and copying them for every block costs more than every test.

A longer value shares its memory with the shorter one it grew from. Growing the longest costs as much as what is new;
growing another one copies first, so that a value, once seen, stays as it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice

from fairway.observe.blocks import bin_value
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
        return frozenset(unit for unit in units if unit not in self)

    def grown(self, units: Iterable[UnitHash]) -> Roster:
        """It with more units."""
        places = self._places if self._count else {}
        if len(places) != self._count:
            places = {unit: place for place, unit in enumerate(self)}
        for unit in units:
            if unit not in places:
                places[unit] = len(places)
        if len(places) == self._count:
            return self
        longer = Roster.__new__(Roster)
        longer._places, longer._count = places, len(places)
        return longer


NOBODY = Roster()
"""The roster everything grows from."""


class _Total:
    """Histograms added up, with the bin each asked quantile lies in and how much lies in it and below."""

    __slots__ = ("bins", "cursors", "parts", "size")

    def __init__(self) -> None:
        self.parts: list[Mapping[int, int]] = []
        self.bins: dict[int, int] = {}
        self.size = 0
        self.cursors: dict[float, tuple[int, int]] = {}

    def add(self, part: Mapping[int, int]) -> None:
        self.parts.append(part)
        bins = self.bins
        for index, count in part.items():
            bins[index] = bins.get(index, 0) + count
        self.size += sum(part.values())
        for share, (cursor, reached) in self.cursors.items():
            self.cursors[share] = cursor, reached + sum(c for index, c in part.items() if index <= cursor)

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


class Spread:
    """The histograms of many blocks, added up; knows a quantile without sorting, because that moves little a block."""

    __slots__ = ("_count", "_total")

    def __init__(self, parts: Iterable[Mapping[int, int]] = ()) -> None:
        """The sum of ``parts``, each ``{bin: count}``."""
        self._total = _Total()
        for part in parts:
            self._total.add(part)
        self._count = len(self._total.parts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Spread) and self._newest().bins == other._newest().bins

    def __hash__(self) -> int:
        return self._count

    def __repr__(self) -> str:
        return f"Spread({self._newest().size} values)"

    def grown(self, part: Mapping[int, int]) -> Spread:
        """It with one more histogram."""
        if not part:
            return self
        total = self._newest() if self._count else _Total()
        total.add(part)
        longer = Spread.__new__(Spread)
        longer._total, longer._count = total, len(total.parts)
        return longer

    def quantile(self, share: float) -> float | None:
        """The value below which ``share`` of the values lie, within 0.5 %; ``None`` for nothing."""
        return self._newest().quantile(share)

    def _newest(self) -> _Total:
        """The shared total when this is the longest that shares it, else one of its own."""
        if len(self._total.parts) == self._count:
            return self._total
        return Spread(self._total.parts[: self._count])._total


NOTHING = Spread()
"""The spread everything grows from."""
