"""From batches of telemetry to mature blocks: pure, and indifferent to duplicates and to order.

:func:`fold` adds what was pulled, :func:`mature_blocks` takes out the blocks nothing more will be known about. What is
never known is said and never counted as zero: a sequence number that did not arrive makes the blocks it could have
touched a *gap*, and so does a worker that fell silent without a good-bye; a request that has no end when its block
matures has *failed*.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar

from fairway.observe.blocks import OTHER_MARKS, Batch, Increment, Values, values_from_wire, values_to_wire
from fairway.traffic.fence import Fence
from fairway.traffic.table import Role
from fairway.units import Digest, UnitHash

_Key = TypeVar("_Key", str, int)

BLOCK_VERSION: Literal[1] = 1

SILENT_SECONDS = 5.0
"""A worker flushes every second; after this long without a batch it counts as silent."""

WorkerKey = tuple[str, str, int]
"""``(gateway, boot, worker)``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmBlock:
    """What one release did in one block, over all workers; requests by start, assigned to this release.

    Attributes:
        assigned, served, finished, failed, unknown: Requests. ``failed`` includes ``unfinished``.
        unfinished: Requests still without an end when the block matured: their worker vanished. Which units they
            belong to is not known.
        reported: Finished requests whose agent said what became of them.
        by: Requests by why they were routed here.
        latency_ms, first_byte_ms, tokens: Histograms ``{bin: count}`` of finished requests (see ``observe.blocks``).
        first_token_ms, gap_ms: Of streams of events: to the first with something for the user, and between pieces.
        sums: Totals, by the names of ``observe.blocks.Increment``.
        active, failed_units, slow_units, unknown_units: Hash-assigned units, each once, sorted.
        marks: ``{kind: units}``, for the kinds of ``observe.blocks.OTHER_MARKS`` that occurred; sorted as well.
        values: ``{kind: {unit: (sum, requests)}}`` of hash-assigned units, sorted: tokens, micro-dollars, millionths of
            a score or of feedback.
        exemplars: At most twenty failing requests.
    """

    role: Role
    assigned: int = 0
    served: int = 0
    finished: int = 0
    failed: int = 0
    unknown: int = 0
    unfinished: int = 0
    reported: int = 0
    by: Mapping[str, int] = field(default_factory=dict)
    latency_ms: Mapping[int, int] = field(default_factory=dict)
    first_byte_ms: Mapping[int, int] = field(default_factory=dict)
    first_token_ms: Mapping[int, int] = field(default_factory=dict)
    gap_ms: Mapping[int, int] = field(default_factory=dict)
    tokens: Mapping[int, int] = field(default_factory=dict)
    sums: Mapping[str, float] = field(default_factory=dict)
    active: tuple[UnitHash, ...] = ()
    failed_units: tuple[UnitHash, ...] = ()
    slow_units: tuple[UnitHash, ...] = ()
    unknown_units: tuple[UnitHash, ...] = ()
    marks: Mapping[str, tuple[UnitHash, ...]] = field(default_factory=dict)
    values: Values = field(default_factory=dict)
    exemplars: tuple[Mapping[str, str], ...] = ()

    def to_wire(self) -> dict[str, Any]:
        """A JSON-able value; empty parts are left out."""
        wire: dict[str, Any] = {"role": self.role.value}
        for name in (*_COUNTS, "unfinished", "reported", "by", "sums"):
            if value := getattr(self, name):
                wire[name] = dict(value) if isinstance(value, Mapping) else value
        for name in _HISTOGRAMS:
            if bins := getattr(self, name):
                wire[name] = {str(index): count for index, count in sorted(bins.items())}
        for name in _UNIT_SETS:
            if units := getattr(self, name):
                wire[name] = list(units)
        if self.marks:
            wire["marks"] = {kind: list(units) for kind, units in sorted(self.marks.items())}
        if self.values:
            wire["values"] = values_to_wire(self.values)
        if self.exemplars:
            wire["exemplars"] = [dict(exemplar) for exemplar in self.exemplars]
        return wire

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> ArmBlock:
        """Read an arm's part of a block."""
        return cls(
            role=Role(wire["role"]),
            assigned=int(wire.get("assigned", 0)),
            served=int(wire.get("served", 0)),
            finished=int(wire.get("finished", 0)),
            failed=int(wire.get("failed", 0)),
            unknown=int(wire.get("unknown", 0)),
            unfinished=int(wire.get("unfinished", 0)),
            reported=int(wire.get("reported", 0)),
            by=dict(wire.get("by", {})),
            latency_ms=_bins(wire, "latency_ms"),
            first_byte_ms=_bins(wire, "first_byte_ms"),
            first_token_ms=_bins(wire, "first_token_ms"),
            gap_ms=_bins(wire, "gap_ms"),
            tokens=_bins(wire, "tokens"),
            sums=dict(wire.get("sums", {})),
            active=tuple(wire.get("active", ())),
            failed_units=tuple(wire.get("failed_units", ())),
            slow_units=tuple(wire.get("slow_units", ())),
            unknown_units=tuple(wire.get("unknown_units", ())),
            marks={kind: tuple(units) for kind, units in wire.get("marks", {}).items()},
            values=values_from_wire(wire.get("values", {})),
            exemplars=tuple(dict(exemplar) for exemplar in wire.get("exemplars", ())),
        )


def _bins(wire: Mapping[str, Any], name: str) -> dict[int, int]:
    return {int(index): int(count) for index, count in wire.get(name, {}).items()}


_COUNTS = ("assigned", "served", "finished", "failed", "unknown")
_HISTOGRAMS = ("latency_ms", "first_byte_ms", "first_token_ms", "gap_ms", "tokens")
_UNIT_SETS = ("active", "failed_units", "slow_units", "unknown_units")
_EXEMPLARS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A mature block: what all arms did between ``t0`` and ``t0 + seconds``.

    Attributes:
        t0: Start, epoch seconds.
        fence: Of the last table in force; ``None`` when what decides who is assigned where changed within the block (a
            *mixed* block). Tables that only have other endpoints, as after the restart of an arm, do not mix one.
        arms: By the release requests were assigned to.
        gap: Some telemetry of this block was lost: left out of verdicts for every arm.
        split: Candidate's share of what the hash assigned, parts of 100,000; ``None`` when it changed or is not known.
    """

    t0: float
    seconds: float
    fence: Fence | None
    arms: Mapping[Digest, ArmBlock]
    gap: bool = False
    split: int | None = None
    version: Literal[1] = BLOCK_VERSION

    @property
    def comparable(self) -> bool:
        """Whether verdicts may use it: complete, and under one regime."""
        return not self.gap and self.fence is not None

    def to_wire(self) -> dict[str, Any]:
        """A JSON-able value; :meth:`from_wire` is its inverse."""
        wire = {
            "version": self.version,
            "t0": self.t0,
            "seconds": self.seconds,
            "fence": None if self.fence is None else [self.fence.term, self.fence.seq],
            "gap": self.gap,
            "arms": {release: arm.to_wire() for release, arm in sorted(self.arms.items())},
        }
        return wire if self.split is None else {**wire, "split": self.split}

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> Block:
        """Read a block.

        Raises:
            ValueError: When it is malformed or of a version this code does not know.
        """
        if wire.get("version") != BLOCK_VERSION:
            raise ValueError(f"block version {wire.get('version')!r} is not supported")
        try:
            fence = wire["fence"]
            return cls(
                t0=float(wire["t0"]),
                seconds=float(wire["seconds"]),
                fence=None if fence is None else Fence(term=int(fence[0]), seq=int(fence[1])),
                gap=bool(wire["gap"]),
                split=None if wire.get("split") is None else int(wire["split"]),
                arms={Digest(release): ArmBlock.from_wire(arm) for release, arm in wire["arms"].items()},
            )
        except (KeyError, TypeError, AttributeError, IndexError) as error:
            raise ValueError(f"block is malformed: {type(error).__name__}: {error}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class _Range:
    """Sequence numbers that arrived without a hole, and the worker's clock at the first and the last of them."""

    low: int
    high: int
    at_low: float
    at_high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Worker:
    """What is known of one worker: disjoint ranges in order, and whether it said good-bye."""

    ranges: tuple[_Range, ...] = ()
    timeout: float = 0.0
    last: bool = False

    @property
    def at(self) -> float:
        return self.ranges[-1].at_high

    def has(self, seq: int) -> bool:
        return any(r.low <= seq <= r.high for r in self.ranges)

    def holes(self) -> Iterable[tuple[float, float]]:
        """``(after, until)`` by the worker's clock, for each run of missing sequence numbers."""
        if self.ranges[0].low > 1:
            yield -math.inf, self.ranges[0].at_low
        for left, right in zip(self.ranges, self.ranges[1:], strict=False):
            yield left.at_high, right.at_low


@dataclass(frozen=True, slots=True, kw_only=True)
class _OpenBlock:
    """A block still being counted: its increments as they came, and unfinished requests by worker."""

    seconds: float
    timeout: float
    increments: tuple[Increment, ...] = ()
    pending: Mapping[WorkerKey, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldState:
    """Everything the fold remembers; a value, never changed in place.

    Attributes:
        watermark: Blocks that start before it were handed out (or are not wanted). To go on after a restart, begin with
            the end of the last recorded block and pull from the beginning of what is kept.
        late: Increments that came for blocks already handed out, and were dropped: those blocks say less than happened.
        gone: The last sequence number of each worker that is no longer in ``workers``: so that what is pulled again
            does not count as late.
    """

    watermark: float = -math.inf
    late: int = 0
    workers: Mapping[WorkerKey, _Worker] = field(default_factory=dict)
    open: Mapping[float, _OpenBlock] = field(default_factory=dict)
    gone: Mapping[WorkerKey, int] = field(default_factory=dict)


def fold(state: FoldState, batch: Batch) -> FoldState:
    """The state with one more batch; a batch that was seen changes nothing."""
    return fold_all(state, (batch,))


def fold_all(state: FoldState, batches: Iterable[Batch]) -> FoldState:
    """The state with all these batches, in whatever order."""
    workers = dict(state.workers)
    blocks = dict(state.open)
    late = state.late
    for batch in batches:
        key = (batch.gateway, batch.boot, batch.worker)
        worker = workers.get(key, _Worker())
        if worker.has(batch.seq) or batch.seq <= state.gone.get(key, 0):
            continue
        workers[key] = _with_batch(worker, batch)
        for increment in batch.increments:
            if increment.t0 < state.watermark:
                late += 1
                continue
            blocks[increment.t0] = _with_increment(blocks.get(increment.t0), batch, key, increment)
    return replace(state, workers=workers, open=blocks, late=late)


def mature_blocks(state: FoldState, now: float) -> tuple[tuple[Block, ...], FoldState]:
    """Blocks nothing more will be known about, in order of ``t0``, and the state without them.

    A block is mature when every worker that lives has reported past its end and all its requests have ended; at the
    latest at its *deadline*, ``t0 + seconds + timeout``, when every live worker has reported past that or is silent
    (for
    ``SILENT_SECONDS``). A silent worker never makes a block mature early; one silent for a timeout more is gone. What
    it did after its last word is not known, so a block that ends after that is a gap, until it is gone.

    Args:
        state: What was folded.
        now: Epoch seconds, on the clock of the workers.
    """
    done: list[Block] = []
    blocks = dict(state.open)
    watermark = state.watermark
    for t0 in sorted(blocks):
        holes = _holes_touching(state, t0, blocks[t0])
        if not _is_mature(state, t0, blocks[t0], now=now, holes=holes):
            break
        block = blocks.pop(t0)
        done.append(_close(t0, block, gap=holes or _unheard(state, t0, block)))
        watermark = max(watermark, t0 + block.seconds)
    if not done:
        return (), state
    horizon = min(blocks, default=watermark)
    workers = {
        key: _forget_holes(worker, horizon)
        for key, worker in state.workers.items()
        # Its last words are older than any block that could still change: a duplicate of them is late anyway.
        if worker.at + worker.timeout + SILENT_SECONDS >= horizon
    }
    gone = {key: worker.ranges[-1].high for key, worker in state.workers.items() if key not in workers}
    return tuple(done), replace(
        state, open=blocks, workers=workers, watermark=watermark, gone={**state.gone, **gone} if gone else state.gone
    )


def _with_batch(worker: _Worker, batch: Batch) -> _Worker:
    own = _Range(low=batch.seq, high=batch.seq, at_low=batch.at, at_high=batch.at)
    merged: list[_Range] = []
    for item in sorted((*worker.ranges, own), key=lambda r: r.low):
        if merged and merged[-1].high + 1 == item.low:
            merged[-1] = replace(merged[-1], high=item.high, at_high=max(merged[-1].at_high, item.at_high))
        else:
            merged.append(item)
    return _Worker(ranges=tuple(merged), timeout=max(worker.timeout, batch.timeout), last=worker.last or batch.last)


def _with_increment(block: _OpenBlock | None, batch: Batch, key: WorkerKey, increment: Increment) -> _OpenBlock:
    if block is None:
        block = _OpenBlock(seconds=batch.block_seconds, timeout=batch.timeout)
    pending = dict(block.pending)
    pending[key] = pending.get(key, 0) + increment.assigned - increment.finished
    return _OpenBlock(
        seconds=max(block.seconds, batch.block_seconds),
        timeout=max(block.timeout, batch.timeout),
        increments=(*block.increments, increment),
        pending=pending,
    )


def _is_mature(state: FoldState, t0: float, block: _OpenBlock, *, now: float, holes: bool) -> bool:
    end = t0 + block.seconds
    deadline = end + block.timeout
    known = [w for w in state.workers.values() if not w.last and now - w.at <= w.timeout + SILENT_SECONDS]
    settled = not holes and all(count == 0 for count in block.pending.values())
    if settled and all(worker.at >= end for worker in known):
        return True
    if now < deadline:
        return False
    return all(worker.at >= deadline or now - worker.at > SILENT_SECONDS for worker in known)


def _unheard(state: FoldState, t0: float, block: _OpenBlock) -> bool:
    """Whether a worker that may have served in this block said nothing of its end, and no good-bye.

    It counts as gone a timeout after its last word: what restarted it has its own name.
    """
    end = t0 + block.seconds
    return any(
        not worker.last and worker.at < end and worker.at + worker.timeout + SILENT_SECONDS >= t0
        for worker in state.workers.values()
    )


def _holes_touching(state: FoldState, t0: float, block: _OpenBlock) -> bool:
    """Whether a batch that never came could have said something about this block.

    What a worker reported up to ``after`` includes every request that started before; so a hole behind it matters to a
    block that ends later, or whose requests of that worker had not all ended.
    """
    end = t0 + block.seconds
    for key, worker in state.workers.items():
        for after, until in worker.holes():
            if t0 >= until:
                continue
            still_running = block.pending.get(key, 0) != 0 and end + block.timeout > after
            if end > after or still_running:
                return True
    return False


def _forget_holes(worker: _Worker, horizon: float) -> _Worker:
    """Close holes that end before every block that is still open."""
    ranges = list(worker.ranges)
    if ranges[0].low > 1 and ranges[0].at_low < horizon:
        ranges[0] = replace(ranges[0], low=1)
    closed = [ranges[0]]
    for item in ranges[1:]:
        if item.at_low < horizon:
            closed[-1] = replace(closed[-1], high=item.high, at_high=item.at_high)
        else:
            closed.append(item)
    return replace(worker, ranges=tuple(closed))


def _close(t0: float, block: _OpenBlock, *, gap: bool) -> Block:
    regimes = {increment.regime or str(increment.fence) for increment in block.increments}
    splits = {increment.split for increment in block.increments}
    by_release: dict[Digest, list[Increment]] = {}
    for increment in block.increments:
        by_release.setdefault(increment.release, []).append(increment)
    return Block(
        t0=t0,
        seconds=block.seconds,
        fence=max(increment.fence for increment in block.increments) if len(regimes) == 1 else None,
        arms={release: _merge(increments) for release, increments in sorted(by_release.items())},
        gap=gap,
        split=splits.pop() if len(splits) == 1 else None,
    )


def _merge(increments: list[Increment]) -> ArmBlock:
    assigned = sum(increment.assigned for increment in increments)
    finished = sum(increment.finished for increment in increments)
    unfinished = max(0, assigned - finished)
    exemplars = sorted(
        (dict(exemplar) for increment in increments for exemplar in increment.exemplars),
        key=lambda exemplar: sorted(exemplar.items()),
    )
    return ArmBlock(
        # A release changes its role when it is promoted; the newest table says what it is now.
        role=max(increments, key=lambda increment: (increment.fence, increment.role)).role,
        assigned=assigned,
        served=sum(increment.served for increment in increments),
        finished=finished,
        failed=sum(increment.failed for increment in increments) + unfinished,
        unknown=sum(increment.unknown for increment in increments),
        unfinished=unfinished,
        reported=sum(increment.reported for increment in increments),
        by=_totals(increment.by for increment in increments),
        latency_ms=_totals(increment.histograms.get("latency_ms", {}) for increment in increments),
        first_byte_ms=_totals(increment.histograms.get("first_byte_ms", {}) for increment in increments),
        first_token_ms=_totals(increment.histograms.get("first_token_ms", {}) for increment in increments),
        gap_ms=_totals(increment.histograms.get("gap_ms", {}) for increment in increments),
        tokens=_totals(increment.histograms.get("tokens", {}) for increment in increments),
        sums=_sums(increment.sums for increment in increments),
        active=_units(increments, "active"),
        failed_units=_units(increments, "failed"),
        slow_units=_units(increments, "slow"),
        unknown_units=_units(increments, "unknown"),
        marks={kind: units for kind in OTHER_MARKS if (units := _units(increments, kind))},
        values=_values(increments),
        exemplars=tuple(exemplars[:_EXEMPLARS]),
    )


def _units(increments: list[Increment], mark: str) -> tuple[UnitHash, ...]:
    return tuple(sorted({unit for increment in increments for unit in increment.marks.get(mark, ())}))


def _values(increments: list[Increment]) -> dict[str, dict[UnitHash, tuple[int, int]]]:
    """What all increments say of each unit, added up: whole numbers, so that their order changes no bit."""
    found: dict[str, dict[UnitHash, tuple[int, int]]] = {}
    for increment in increments:
        for kind, by_unit in increment.values.items():
            known = found.setdefault(kind, {})
            for unit, (total, count) in by_unit.items():
                before = known.get(unit, (0, 0))
                known[unit] = before[0] + total, before[1] + count
    return {kind: dict(sorted(by_unit.items())) for kind, by_unit in sorted(found.items())}


def _totals(parts: Iterable[Mapping[_Key, int]]) -> dict[_Key, int]:
    total: dict[_Key, int] = {}
    for part in parts:
        for key, count in part.items():
            total[key] = total.get(key, 0) + count
    return dict(sorted(total.items()))


def _sums(parts: Iterable[Mapping[str, float]]) -> dict[str, float]:
    values: dict[str, list[float]] = {}
    for part in parts:
        for key, value in part.items():
            values.setdefault(key, []).append(value)
    # fsum is exact, so that the order of batches changes no bit.
    return {key: math.fsum(numbers) for key, numbers in sorted(values.items())}
