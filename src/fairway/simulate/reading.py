"""What gates find in modelled blocks, taken again only where it can have changed.

The evidence is folded by ``verdict.panel.Panel``, and what follows from it is said by ``rollout.measuring``: what a
controller measures with (``controller.measure``). What is left out is repetition: a finding that cannot have changed is
kept (a *lazy* panel), stable's quantiles come from histograms that roll on, and a jump of stable's failures is looked
into only where the plain rates leave one possible. A test compares the decisions with those of the engine.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from fairway.controller.measure import known_from
from fairway.observe.blocks import bin_value
from fairway.observe.fold import Block
from fairway.rollout.deciding import Measured
from fairway.rollout.judged import judged
from fairway.rollout.measuring import Reading, measured
from fairway.rollout.values import Plan, RolloutState
from fairway.units import Digest, UnitHash
from fairway.verdict.kinds import KINDS
from fairway.verdict.panel import Panel
from fairway.verdict.shared_cause import (
    EARLIER_UNITS,
    JUMP_FACTOR,
    JUMP_POINTS,
    RECENT_BAD_UNITS,
    RECENT_BLOCKS,
)
from fairway.verdict.theta import YARDSTICKS
from fairway.verdict.values import GateKind

WINDOW_BLOCKS = 60
"""As in ``controller.measure``: ten minutes of blocks of ten seconds."""
BEYOND = 5
"""As in ``verdict.theta``: values that have to lie beyond a quantile."""


@dataclass(slots=True, kw_only=True)
class RollingYardstick:
    """A quantile of stable over a rolling window; equal to ``verdict.theta.yardstick`` over the same blocks.

    Attributes:
        kind: Of the gate it is for.
        window: Seconds.
    """

    stable: Digest
    kind: GateKind = GateKind.LATENCY_P95
    window: float = 600.0
    _blocks: deque[Block] = field(default_factory=deque)
    _counts: dict[int, int] = field(default_factory=dict)
    _total: int = 0
    _added: int = 0
    _cursor: int = 0
    _reached: int = 0

    def keep(self, block: Block) -> None:
        """One more block, in order of ``t0``."""
        if not block.gap and self.stable in block.arms:
            self._blocks.append(block)

    def value(self, now: float) -> float | None:
        """The quantile at ``now`` (epoch seconds), or ``None`` with too few requests."""
        blocks = self._blocks
        while blocks and blocks[0].t0 < now - self.window:
            gone = blocks.popleft()
            if self._added:  # else it came and went while nobody asked
                self._added -= 1
                self._add(gone, -1)
        while self._added < len(blocks):
            self._add(blocks[self._added], 1)
            self._added += 1
        share = KINDS[self.kind].share
        if self._total < round(BEYOND / (1 - share)):
            return None
        counts, needed = self._counts, share * self._total - 1e-9
        cursor, reached = self._cursor, self._reached
        while reached < needed:
            cursor += 1
            reached += counts.get(cursor, 0)
        while not (here := counts.get(cursor, 0)) or reached - here >= needed:
            reached -= here
            cursor -= 1
        self._cursor, self._reached = cursor, reached
        return bin_value(cursor)

    def _add(self, block: Block, sign: int) -> None:
        """Add a block or take it away; how much is at or below the cursor is kept, as the quantile moves little."""
        counts, cursor, below = self._counts, self._cursor, 0
        histogram: Mapping[int, int] = getattr(block.arms[self.stable], KINDS[self.kind].histogram)
        for index, count in histogram.items():
            counts[index] = counts.get(index, 0) + sign * count
            if index <= cursor:
                below += count
        self._total += sign * sum(histogram.values())
        self._reached += sign * below


@dataclass(slots=True, kw_only=True)
class JumpWatch:
    """Whether stable's failures may have jumped: a necessary condition of ``verdict.shared_cause``, kept up to date."""

    stable: Digest
    _recent: deque[tuple[frozenset[UnitHash], frozenset[UnitHash]]] = field(default_factory=deque)
    _earlier: set[UnitHash] = field(default_factory=set)
    _earlier_bad: set[UnitHash] = field(default_factory=set)

    def keep(self, block: Block) -> None:
        """One more block of the rollout, in order of ``t0``."""
        arm = None if block.gap else block.arms.get(self.stable)
        if arm is None:
            return
        bad = frozenset(arm.failed_units)
        self._recent.append((bad, bad.union(arm.active)))
        if len(self._recent) > RECENT_BLOCKS:
            older_bad, older = self._recent.popleft()
            self._earlier_bad |= older_bad
            self._earlier |= older

    def possible(self) -> bool:
        """Whether it is worth asking ``shared_cause``."""
        failures = sum([len(bad) for bad, _ in self._recent])
        if failures < RECENT_BAD_UNITS or len(self._earlier) < EARLIER_UNITS:
            return False
        bad = len(frozenset().union(*[bad for bad, _ in self._recent]))
        units = len(frozenset().union(*[active for _, active in self._recent]))
        before = (len(self._earlier_bad) + 1) / (len(self._earlier) + 1)
        return bad >= RECENT_BAD_UNITS and bad > (JUMP_FACTOR * before + JUMP_POINTS) * units


@dataclass(slots=True, kw_only=True)
class BlockReader:
    """The measurements of one rollout of ``candidate`` from ``stable`` under ``plan``, until it is promoted.

    Attributes:
        blocks: Mature blocks, in order of ``t0``.
    """

    candidate: Digest
    stable: Digest
    plan: Plan
    blocks: list[Block] = field(default_factory=list)
    _theta: RollingYardstick = field(init=False)
    _others: dict[str, RollingYardstick] = field(init=False)
    _yardsticks: tuple[RollingYardstick, ...] = field(init=False)
    _watch: JumpWatch = field(init=False)
    _panel: Panel | None = None
    _taken: int = 0
    _counted: list[Block] = field(default_factory=list)
    _step_from: float | None = None
    _step_upto: int = 0
    _step_seconds: float = 0.0

    def __post_init__(self) -> None:
        self._theta = RollingYardstick(stable=self.stable)
        asked = sorted({gate.kind for step in self.plan.steps for gate in step.gates} & YARDSTICKS)
        self._others = {KINDS[kind].yardstick: RollingYardstick(stable=self.stable, kind=kind) for kind in asked}
        self._yardsticks = (self._theta, *self._others.values())
        self._watch = JumpWatch(stable=self.stable)

    def keep(self, block: Block) -> None:
        """One more mature block, in order of ``t0``."""
        self.blocks.append(block)
        window = WINDOW_BLOCKS * block.seconds
        for yardstick in self._yardsticks:
            yardstick.window = window
            yardstick.keep(block)

    def measured(self, rollout: RolloutState, now: float) -> Measured:
        """As ``controller.measure.BlockMeasurer`` would measure the rollout now (epoch seconds), but ``yardsticks``.

        A simulation ends where the soak begins, so that nothing is measured of one.
        """
        theta, of = self._theta.value(now), judged(rollout)
        if of is None or of.soaking:
            return Measured(theta=theta)
        begins, panel = of.begins(self.blocks), self._reading(rollout, now)
        reading = Reading(
            panel=panel,
            begins=begins,
            mature_seconds=self._mature(begins),
            counted=self._counted,
            jumps=self._watch.possible(),
        )
        return replace(measured(rollout, of, reading), theta=theta)

    def yardsticks(self, now: float) -> dict[str, float]:
        """Stable's other quantiles, where a gate of the plan needs one and there is enough to know it."""
        known = {name: yardstick.value(now) for name, yardstick in self._others.items()}
        return {name: value for name, value in known.items() if value is not None}

    def _reading(self, rollout: RolloutState, now: float) -> Panel:
        """The gates of the rollout, with every block that is new to them."""
        since = rollout.counted_from
        assert since is not None
        if self._panel is None:
            alarms = rollout.plan.alarms
            self._panel = Panel(candidate=self.candidate, stable=self.stable, since=since, alarms=alarms, lazy=True)
            first = known_from(rollout, now)
            self._taken = next((n for n, block in enumerate(self.blocks) if block.t0 >= first), len(self.blocks))
        for place in range(self._taken, len(self.blocks)):
            block = self.blocks[place]
            self._panel.take(block)
            if block.t0 >= since:
                self._counted.append(block)
                self._watch.keep(block)
        self._taken = len(self.blocks)
        return self._panel

    def _mature(self, step_from: float) -> float:
        if step_from != self._step_from:
            self._step_from, self._step_seconds, self._step_upto = step_from, 0.0, 0
        for place in range(self._step_upto, len(self.blocks)):
            block = self.blocks[place]
            if block.t0 >= step_from and block.comparable and self.candidate in block.arms:
                self._step_seconds += block.seconds
        self._step_upto = len(self.blocks)
        return self._step_seconds
