"""What a worker counts: blocks of requests keyed by their start, reported as increments.

A :class:`Cell` holds what changed since the last flush for one (block, release, role, fence, regime). Requests keep
a reference to the cell they started in, so they are counted where they belong whenever they end.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from hashlib import blake2b
from itertools import chain
from typing import TYPE_CHECKING, Any

from fairway.gateway.usage import Usage
from fairway.observe.blocks import GAMMA, Batch, Increment, bin_of
from fairway.traffic.fence import ZERO_FENCE, Fence
from fairway.traffic.outcome import Outcome
from fairway.traffic.table import Role
from fairway.units import Digest, UnitHash

if TYPE_CHECKING:
    from fairway.gateway.thresholds import Thresholds

MAX_EXEMPLARS = 20
"""Failing requests described per cell."""


QUICK_US = 4096
"""Microseconds up to which answers in one piece are counted in a list, which costs less than a dictionary."""

GRACE_SECONDS = 1.0
"""A block is kept for so long after its end: what begins at its very end may be counted a moment later."""


MAX_UNITS = 2_048
"""Units a report should not have more of in one cell."""

MAX_USED = 8_192
"""Nor requests whose tokens a model's API said."""

_HASH_BYTES = 8


class Cell:
    """Counts of one block of one release under one table, since the last flush."""

    __slots__ = (
        "_described",
        "active",
        "assigned",
        "begun",
        "by",
        "dirty",
        "end",
        "exemplars",
        "failed",
        "fence",
        "finished",
        "first_byte",
        "first_token",
        "gaps",
        "latency",
        "marks",
        "open",
        "quick",
        "reads_usage",
        "regime",
        "release",
        "retired",
        "role",
        "seen",
        "served",
        "split",
        "sums",
        "t0",
        "tells_tokens",
        "told",
        "units",
        "unknown",
        "used",
        "valued",
        "whole",
        "whole_later",
    )  # fmt: skip

    def __init__(
        self,
        *,
        t0: float,
        end: float,
        release: Digest,
        role: Role,
        fence: Fence,
        regime: str,
        split: int | None = None,
        tells_tokens: bool = False,
        reads_usage: bool = False,
    ) -> None:
        self.t0 = t0
        self.end = end
        self.release = release
        self.role = role
        self.fence = fence
        self.regime = regime
        self.split = split
        self.tells_tokens = tells_tokens
        self.reads_usage = reads_usage
        self.active: set[bytes] = set()
        self.seen: dict[str, set[bytes]] = {"active": self.active}
        self.exemplars: list[dict[str, str]] = []
        self.open = 0
        self.dirty = False
        self._clear()
        self._described = 0
        self.retired = False

    def _clear(self) -> None:
        self.assigned = self.served = self.finished = self.failed = self.unknown = 0
        self.by: dict[str, int] = {}
        self.quick = 0  # requests that took the short way: pinned, served as assigned
        self.begun = 0  # the same, by the hash
        self.whole = [0] * QUICK_US  # answers in one piece by microseconds: first byte and last at once
        self.whole_later = defaultdict[int, int](int)  # those that took longer
        self.latency = defaultdict[int, int](int)  # of the general way, in bins of milliseconds, like the next two
        self.first_byte = defaultdict[int, int](int)
        self.first_token = defaultdict[int, int](int)
        self.gaps = defaultdict[int, int](int)  # between pieces of streams, by tenths of a millisecond
        self.sums: dict[str, float] = {}
        self.told: dict[int, list[Any]] = {}  # [outcome, how often], by its id: added up off the hot path
        self.used: list[Usage] = []  # the same for tokens that a model's API said, which is no outcome; each time
        self.units: list[bytes] = []  # hashes of units that had a request; now and then one twice
        self.marks: dict[str, list[bytes]] = {"active": self.units}
        self.valued: list[tuple[bytes, Outcome | Usage]] = []  # by unit: what has values means are taken of
        self.exemplars = []

    @property
    def changed(self) -> bool:
        """Whether there is anything to report."""
        return bool(self.dirty or self.quick or self.begun or self.used or self.whole_later or any(self.whole))

    def mark(self, kind: str, unit: bytes, digest: bytes | None = None) -> None:
        """Mark a unit, given by its key in UTF-8, once in this block; ``digest``: its hash, where that is at hand."""
        seen = self.seen.get(kind)
        if seen is None:
            seen = self.seen[kind] = set()
        if unit not in seen:
            seen.add(unit)
            digest = digest or blake2b(unit, digest_size=8).digest()
            units = self.marks.get(kind)
            if units is None:
                self.marks[kind] = [digest]
            else:
                units.append(digest)

    def start(self, by: str) -> None:
        """A request begins."""
        self.dirty = True
        self.assigned += 1
        self.open += 1
        self.by[by] = self.by.get(by, 0) + 1

    def add(self, outcome: Outcome) -> None:
        """Count an outcome; its figures are added up when they are reported."""
        told = self.told.get(id(outcome))
        if told is None:
            self.told[id(outcome)] = [outcome, 1]
        else:
            told[1] += 1

    def use(self, usage: Usage, unit: bytes | None, thresholds: Thresholds) -> None:
        """Count the tokens a model's API said, where the agent said none; it says nothing of success.

        Args:
            usage: The tokens.
            unit: Key of the unit when it takes part in unit tests.
            thresholds: What its request is held against.
        """
        self.used.append(usage)
        if unit is not None:
            self.weigh(usage, unit, thresholds)

    def weigh(self, usage: Usage, unit: bytes, thresholds: Thresholds) -> None:
        """Hold tokens that were counted against their threshold, and tell them by unit when a gate asks for that."""
        if self.tells_tokens:
            self.valued.append((unit, usage))
        if usage.tokens > thresholds.tokens:
            self.mark("tokens_high", unit)

    def _add_up(self) -> tuple[int, dict[int, int]]:
        """The outcomes' figures into the sums; how many there were, and the tokens of each as a histogram."""
        reported, tokens, sums = 0, dict[int, int](), self.sums
        for outcome, count in self.told.values():
            reported += count
            for name, value in outcome.counts().items():
                sums[name] = sums.get(name, 0) + value * count
            if outcome.tokens:
                index = bin_of(outcome.tokens)
                tokens[index] = tokens.get(index, 0) + count
        for usage, count in Counter(self.used).items():
            for name, value in (("usage_reports", 1), *usage.counts().items()):
                sums[name] = sums.get(name, 0) + value * count
            if usage.tokens:
                index = bin_of(usage.tokens)
                tokens[index] = tokens.get(index, 0) + count
        return reported, tokens

    def _values(self) -> dict[str, dict[UnitHash, tuple[int, int]]]:
        """Of each kind of value, the sum and the number of requests that said it, by unit."""
        found: dict[str, dict[bytes, list[int]]] = {}
        tells_tokens = self.tells_tokens
        for unit, outcome in self.valued:
            tokens = (("tokens", outcome.tokens),) if tells_tokens and outcome.counted else ()
            for kind, value in (*outcome.values, *tokens):
                by_unit = found.get(kind)
                if by_unit is None:
                    by_unit = found[kind] = {}
                told = by_unit.get(unit)
                if told is None:
                    by_unit[unit] = [value, 1]
                else:
                    told[0] += value
                    told[1] += 1
        names = {unit: UnitHash(blake2b(unit, digest_size=8).hexdigest()) for unit, _ in self.valued}
        return {
            kind: {names[unit]: (total, count) for unit, (total, count) in by_unit.items()}
            for kind, by_unit in found.items()
        }

    def describe(self, exemplar: dict[str, str]) -> None:
        """Keep a failing request for people, the first twenty of the block."""
        if self._described < MAX_EXEMPLARS:
            self._described += 1
            self.exemplars.append(exemplar)

    def retire(self) -> None:
        """Its block is over and told: keep next to nothing, because units at hand may name it for hours."""
        self.retired = True
        self.whole = []
        self.active = set()
        self.seen = {}

    def take(self) -> Increment:
        """What changed since the last time; the counts begin again at zero."""
        histograms: dict[str, dict[int, int]] = {}
        whole = sum(self.whole) + sum(self.whole_later.values())
        bins = _binned(chain(enumerate(self.whole), self.whole_later.items())) if whole else {}
        for name, times in (("latency_ms", self.latency), ("first_byte_ms", self.first_byte)):
            for index, count in bins.items():
                times[index] += count
            if times:
                histograms[name] = times
        if self.first_token:
            histograms["first_token_ms"] = self.first_token
        if self.gaps:
            histograms["gap_ms"] = _binned((gap * _GAP_US, count) for gap, count in self.gaps.items())
        reported, tokens = self._add_up()
        if tokens:
            histograms["tokens"] = tokens
        quick = self.quick + self.begun
        self.open += quick - whole  # these two are not kept up to date with every request
        for by, count in (("pin", self.quick), ("hash", self.begun)):
            if count:
                self.by[by] = self.by.get(by, 0) + count
        increment = Increment(
            t0=self.t0,
            release=self.release,
            role=self.role,
            fence=self.fence,
            assigned=self.assigned + quick,
            served=self.served + quick,
            finished=self.finished + whole,
            failed=self.failed,
            unknown=self.unknown,
            reported=reported,
            by=self.by,
            histograms=histograms,
            sums=self.sums,
            marks={kind: _named(units) for kind, units in self.marks.items() if units},
            values=self._values() if self.valued else {},
            exemplars=tuple(self.exemplars),
            regime=self.regime,
            split=self.split,
        )
        self._clear()
        self.dirty = False
        return increment


NO_CELL = Cell(t0=0.0, end=0.0, release=Digest(""), role=Role.STABLE, fence=ZERO_FENCE, regime="")
"""Counts nothing: stands where no block has been found yet."""


def _named(units: list[bytes]) -> tuple[UnitHash, ...]:
    """Units as telemetry names them, each once."""
    together = b"".join(dict.fromkeys(units))
    return tuple(map(UnitHash, together.hex(",", _HASH_BYTES).split(",")))


def _binned(counts: Iterable[tuple[int, int]]) -> dict[int, int]:
    """Counts by whole microseconds as counts by bins of milliseconds; off the hot path."""
    bins: dict[int, int] = {}
    for time_us, count in counts:
        if count:
            index = bin_of_us(time_us)
            bins[index] = bins.get(index, 0) + count
    return bins


_GAP_US = 100
"""Microseconds in the unit gaps are counted in."""

_LAST_US = 100_000_000
_FIRST_BIN = bin_of(0.001)


def _last_of_bins() -> array[int]:
    """The last whole microsecond of each bin of milliseconds, from that of 1 µs on; 8 kB instead of a cache of MB."""
    found = array("i")
    for index in range(_FIRST_BIN, bin_of(_LAST_US / 1000) + 1):
        time_us = int(GAMMA**index * 1000) + 1
        while bin_of(time_us / 1000) > index:
            time_us -= 1
        found.append(time_us)
    return found


_LAST_OF_BINS = _last_of_bins()


def bin_of_us(time_us: int) -> int:
    """``bin_of(time_us / 1000)``, without the logarithm."""
    if not 0 < time_us <= _LAST_US:
        return bin_of(time_us / 1000)
    return _FIRST_BIN + bisect_left(_LAST_OF_BINS, time_us)


class Telemetry:
    """The cells of one worker, and the batches they become."""

    def __init__(self, *, gateway: str, boot: str, worker: int, wall: Callable[[], float]) -> None:
        """Take the worker's identity and its wall clock (epoch seconds)."""
        self._identity = (gateway, boot, worker)
        self._wall = wall
        self._seq = 0
        self._cells: dict[tuple[float, str, Role, Fence, str, str], Cell] = {}

    def cell(
        self,
        *,
        start: float,
        block_seconds: float,
        release: Digest,
        role: Role,
        fence: Fence,
        regime: str,
        split: int | None = None,
        tells_tokens: bool = False,
        reads_usage: bool = False,
    ) -> Cell:
        """The cell a request that starts now belongs to.

        ``tells_tokens``: by unit, because a gate asks for that; ``reads_usage``: those that a model's API says, too.
        """
        t0 = start - start % block_seconds
        key = (t0, release, role, fence, regime, "")
        cell = self._cells.get(key)
        if cell is None:
            end = t0 + block_seconds
            cell = Cell(
                t0=t0,
                end=end,
                release=release,
                role=role,
                fence=fence,
                regime=regime,
                split=split,
                tells_tokens=tells_tokens,
                reads_usage=reads_usage,
            )
            self._cells[key] = cell
        return cell

    def apart(self, like: Cell, name: str) -> Cell:
        """A cell of its own, by name, for some of the requests that belong to the same block as a cell's."""
        key = (like.t0, like.release, like.role, like.fence, like.regime, name)
        cell = self._cells.get(key)
        if cell is None:
            cell = self._cells[key] = Cell(
                t0=like.t0,
                end=like.end,
                release=like.release,
                role=like.role,
                fence=like.fence,
                regime=like.regime,
                split=like.split,
                tells_tokens=like.tells_tokens,
                reads_usage=like.reads_usage,
            )
        return cell

    @property
    def crowded(self) -> bool:
        """Whether there is so much to report that it should not wait: it takes memory of its own."""
        return any(len(cell.units) > MAX_UNITS or len(cell.used) > MAX_USED for cell in self._cells.values())

    def flush(self, *, block_seconds: float, timeout: float, last: bool = False) -> Batch:
        """The next batch: every change since the last one; a sign of life when there was none."""
        self._seq += 1
        now = self._wall()
        increments = tuple(cell.take() for cell in self._cells.values() if cell.changed)
        for key in [key for key, cell in self._cells.items() if cell.end + GRACE_SECONDS < now and not cell.open]:
            self._cells.pop(key).retire()
        gateway, boot, worker = self._identity
        return Batch(
            gateway=gateway,
            boot=boot,
            worker=worker,
            seq=self._seq,
            at=now,
            block_seconds=block_seconds,
            timeout=timeout,
            increments=increments,
            last=last,
        )
