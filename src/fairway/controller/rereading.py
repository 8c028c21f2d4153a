"""Recorded blocks read again by the gates, event by event: the same findings, or the first difference.

A replay of decisions takes what the gates found as given. This goes one step further back: the blocks, the plan and
the state are the record, and what :class:`fairway.controller.measure.BlockMeasurer` makes of them is compared with what
each event says it looked at. What cannot be read again is named and counted, and is never agreement.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, cast

from fairway.controller.measure import BlockMeasurer
from fairway.controller.same_findings import FoundOtherwise, found_otherwise
from fairway.errors import FairwayError, NotFoundError
from fairway.observe.fold import Block
from fairway.observe.port import Pulled
from fairway.rollout.deciding import NOTHING_MEASURED, READING_VERSION, BlocksRead, Measured, Snapshot
from fairway.rollout.judged import judged
from fairway.rollout.port import JournalEntry, RolloutLedger
from fairway.rollout.values import Phase, Plan, RouteState
from fairway.rollout.verbs import live
from fairway.rollout.wire import snapshot_from_bytes
from fairway.units import RolloutId, RouteId
from fairway.verdict.panel import REFRESH_BLOCKS
from fairway.verdict.values import GateSpec

_PAGE = 200
_STRETCH_SECONDS = 3600.0
"""Blocks are read so much at a time between two events far apart."""
_KEPT_FIGURES = REFRESH_BLOCKS - 1
"""A gate that need not pass may say at the newest block what it said so many blocks before."""


class NotReread(StrEnum):
    """Why what an event looked at could not be worked out again."""

    NO_SNAPSHOT = "no_snapshot"
    """It kept nothing of what it looked at, or that was erased."""
    UNREADABLE = "unreadable"
    """Its snapshot, or a block, cannot be read."""
    NOT_NOTED = "not_noted"
    """An earlier version wrote it, which did not say how far the blocks were read."""
    OTHER_VERSION = "other_version"
    """Gates of another version read the blocks."""
    BLOCKS_GONE = "blocks_gone"
    """Not every block it read is still kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reread:
    """What one event looked at, worked out again.

    Attributes:
        gates: Findings that were compared.
        outside: Custom gates: what their sources answered nobody can ask again, and is taken as recorded.
        not_reread: Why nothing was compared; ``None``: it was, or there was nothing to compare.
        detail: The same as a sentence.
        difference: What was recorded otherwise; ``None``: nothing.
        blocks: Blocks read for it that were not read for the event before.
    """

    route: RouteId
    seq: int
    code: str
    gates: int = 0
    outside: tuple[str, ...] = ()
    not_reread: NotReread | None = None
    detail: str = ""
    difference: FoundOtherwise | None = None
    blocks: int = 0

    @property
    def wrong(self) -> bool:
        """Whether it was recorded otherwise than the blocks say, and no figure stood on the edge."""
        return self.difference is not None and not self.difference.edge


def reread_route(
    ledger: RolloutLedger,
    route: RouteId,
    *,
    first: int = 1,
    last: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Iterator[Reread]:
    """Work out again what the events ``first`` to ``last`` (both included) looked at, in order.

    Args:
        ledger: Only read.
        route: Whose events.
        first: Seq of the first event.
        last: Seq of the last; ``None``: all there are.
        progress: Told the seq of each event that is done.
    """
    reader = _Reader(ledger=ledger, route=route)
    after = first - 1
    while page := ledger.events(route, after=after, limit=_PAGE):
        for entry in page:
            if last is not None and entry.fence.seq > last:
                return
            yield _reread(reader, entry)
            if progress is not None:
                progress(entry.fence.seq)
        after = page[-1].fence.seq


def _reread(reader: _Reader, entry: JournalEntry) -> Reread:
    told = Reread(route=entry.route, seq=entry.fence.seq, code=entry.code)
    try:
        snapshot = snapshot_from_bytes(reader.ledger.snapshot(entry.route, entry.fence.seq))
    except NotFoundError:
        return replace(told, not_reread=NotReread.NO_SNAPSHOT, detail="the event kept nothing of what it looked at")
    except FairwayError as error:
        return replace(told, not_reread=NotReread.UNREADABLE, detail=error.message)
    recorded, read = snapshot.measured, snapshot.measured.read
    if read is None:
        if replace(recorded, error="") == NOTHING_MEASURED:
            return told  # no rollout, nothing to read
        return replace(told, not_reread=NotReread.NOT_NOTED, detail="an earlier version wrote it")
    if read.version != READING_VERSION:
        detail = f"gates of version {read.version} read the blocks, these are version {READING_VERSION}"
        return replace(told, not_reread=NotReread.OTHER_VERSION, detail=detail)
    try:
        return _compared(reader, told, snapshot, read)
    except (FairwayError, ValueError) as error:
        return replace(told, not_reread=NotReread.UNREADABLE, detail=str(error))


def _compared(reader: _Reader, told: Reread, snapshot: Snapshot, read: BlocksRead) -> Reread:
    recorded, taken = snapshot.measured, reader.blocks
    again = reader.measure(snapshot.state, read)
    told = replace(told, blocks=reader.blocks - taken)
    kept = again.read
    if kept is None or (kept.upto, kept.count) != (read.upto, read.count):
        count = 0 if kept is None else kept.count
        if kept is None or kept.upto != read.upto or count < read.count:
            detail = f"{count} of the {read.count} blocks it read are still kept"
            return replace(told, not_reread=NotReread.BLOCKS_GONE, detail=detail)
        more = FoundOtherwise(what="blocks", path="count", recorded=read.count, recomputed=count)
        return replace(told, difference=more)
    return replace(
        told,
        gates=len(recorded.findings),
        outside=tuple(reading.gate for reading in recorded.sources),
        difference=found_otherwise(recorded, again, _specs(snapshot.state), reader.earlier()),
    )


def _specs(state: RouteState) -> Mapping[str, GateSpec]:
    """The gates that were judged, as the plan has them."""
    rollout = state.rollout
    if rollout is None:
        return {}
    of = judged(rollout)
    return {} if of is None else {gate.name: gate for gate in of.gates}


@dataclass(slots=True, kw_only=True)
class _At:
    """A clock that stands where a measurement was made."""

    at: float = 0.0

    def now(self) -> datetime:
        """That time."""
        return datetime.fromtimestamp(self.at, UTC)

    def monotonic(self) -> float:
        """That time."""
        return self.at

    async def sleep(self, seconds: float) -> None:
        """Nothing waits here."""


@dataclass(slots=True, kw_only=True)
class _Reader:
    """Reads on along a route's events; a new rollout, or its soak, is read from its beginning.

    Attributes:
        blocks: Blocks read so far.
    """

    ledger: RolloutLedger
    route: RouteId
    blocks: int = 0
    _of: tuple[RolloutId, bool] | None = None
    _measurer: BlockMeasurer | None = None
    _shown: _Shown = field(init=False)
    _clock: _At = field(default_factory=_At)
    _history: deque[Measured] = field(default_factory=lambda: deque(maxlen=_KEPT_FIGURES))

    def __post_init__(self) -> None:
        self._shown = _Shown(ledger=self.ledger, route=self.route)

    def earlier(self) -> list[Measured]:
        """What the gates said after the last blocks before the newest."""
        return list(self._history)

    def measure(self, state: RouteState, read: BlocksRead) -> Measured:
        """What the gates find in the blocks that were read, at the time they were read."""
        rollout = live(state)
        assert rollout is not None
        self._clock.at = read.at
        of = rollout.id, rollout.phase is Phase.SOAKING
        if of != self._of or read.upto < self._shown.upto:
            self._begin(of, read)
        judged = replace(state, rollout=replace(rollout, plan=_all_told(rollout.plan)))
        measurer = self._measurer
        assert measurer is not None
        found = _done(measurer.measure(judged))  # the first one reads back what came before
        waiting: deque[Block] = deque()
        skipped = False
        for block in self._shown.fresh(read.upto):
            waiting.append(block)
            if len(waiting) > _KEPT_FIGURES:
                self._show(measurer, waiting.popleft())
                skipped = True
        if skipped:
            found = _done(measurer.measure(judged))
        for block in waiting:
            self._history.append(found)
            self._show(measurer, block)
            found = _done(measurer.measure(judged))
        return found

    def _begin(self, of: tuple[RolloutId, bool], read: BlocksRead) -> None:
        self._of = of
        self._history.clear()
        self._shown = _Shown(ledger=self.ledger, route=self.route, limit=read.upto)
        self._measurer = BlockMeasurer(
            route=self.route, ledger=cast(RolloutLedger, self._shown), source=_Nothing(), clock=self._clock
        )

    def _show(self, measurer: BlockMeasurer, block: Block) -> None:
        self._shown.upto = block.t0
        measurer.keep((block,))
        self.blocks += 1


def _done(measuring: Coroutine[Any, Any, Measured]) -> Measured:
    """The result of a measurement that waits for nothing: neither the source nor the clock ever does."""
    try:
        measuring.send(None)
    except StopIteration as finished:
        found: Measured = finished.value
        return found
    raise AssertionError("a measurement over recorded blocks waited for something")


def _all_told(plan: Plan) -> Plan:
    """The plan with the figures of every gate taken after each block: whether one must pass changes no finding."""
    steps = tuple(replace(step, gates=_must(step.gates)) for step in plan.steps)
    return replace(plan, steps=steps, soak_gates=_must(plan.soak_gates))


def _must(gates: Iterable[GateSpec]) -> tuple[GateSpec, ...]:
    return tuple(replace(gate, must_pass=True) for gate in gates)


@dataclass(slots=True, kw_only=True)
class _Shown:
    """The ledger's blocks as far as they are shown; keeps nothing, for what is read is already kept.

    Attributes:
        limit: At first up to here (epoch seconds), but for the last blocks, which are shown one by one.
        upto: Start of the newest block shown; 0: none.
        since: Start of the earliest that was asked for.
    """

    ledger: RolloutLedger
    route: RouteId
    limit: float | None = None
    upto: float = 0.0
    since: float = 0.0

    def blocks(self, route: RouteId, *, since: float = 0.0, upto: float = math.inf) -> tuple[Mapping[str, Any], ...]:
        """What a measurer may read back."""
        if self.limit is None:
            return self.ledger.blocks(route, since=since, upto=min(upto, self.upto)) if self.upto else ()
        rows = self.ledger.blocks(route, since=since, upto=self.limit)[:-_KEPT_FIGURES]
        self.limit, self.since = None, since
        self.upto = Block.from_wire(rows[-1]).t0 if rows else 0.0
        return rows

    def add_blocks(self, route: RouteId, blocks: Iterable[Mapping[str, Any]]) -> None:
        """They are kept already."""

    def fresh(self, upto: float) -> Iterator[Block]:
        """The blocks after the newest that was shown, in order of time."""
        low = max(self.upto, math.nextafter(self.since, -math.inf))
        while low < upto:
            high = min(low + _STRETCH_SECONDS, upto)
            for wire in self.ledger.blocks(self.route, since=math.nextafter(low, math.inf), upto=high):
                yield Block.from_wire(wire)
            low = high


@dataclass(slots=True, kw_only=True)
class _Nothing:
    """A source with nothing new in it."""

    async def pull(self, route: RouteId, *, after: str | None) -> Pulled:
        """Nothing: what was pulled is in the blocks."""
        return Pulled(batches=(), cursor="")
