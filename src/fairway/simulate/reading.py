"""What gates find in modelled blocks, taken again only where it can have changed.

The evidence is folded by ``verdict.panel.Panel``, and said by ``theta`` and ``shared_cause``: what a controller
measures with (``controller.measure``). What is left out is repetition: a finding whose verdict cannot have changed is
kept (a *lazy* panel), stable's P95 comes from a histogram that rolls on, and a jump of stable's failures is looked into
only where the plain rates leave one possible. A test compares the decisions with those of the engine.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from fairway.controller.measure import known_from
from fairway.observe.blocks import bin_value
from fairway.observe.fold import Block
from fairway.rollout.values import Measured, Phase, RolloutState
from fairway.units import Digest, UnitHash, Verdict
from fairway.verdict.panel import Panel
from fairway.verdict.shared_cause import (
    EARLIER_UNITS,
    JUMP_FACTOR,
    JUMP_POINTS,
    RECENT_BAD_UNITS,
    RECENT_BLOCKS,
    shared_cause,
)
from fairway.verdict.theta import THETA_SHARE
from fairway.verdict.values import GateFinding

YARDSTICK_SECONDS = 600.0
YARDSTICK_MINIMUM = 100
"""As in ``verdict.theta``: finished requests below which a P95 says too little."""


@dataclass(slots=True, kw_only=True)
class RollingYardstick:
    """Stable's P95 over a rolling window; equal to ``verdict.theta.theta`` over the same blocks."""

    stable: Digest
    window: float = YARDSTICK_SECONDS
    _blocks: deque[Block] = field(default_factory=deque)
    _counts: dict[int, int] = field(default_factory=dict)
    _total: int = 0
    _highest: int = -(10**9)

    def keep(self, block: Block) -> None:
        """One more block, in order of ``t0``."""
        if block.gap or self.stable not in block.arms:
            return
        self._blocks.append(block)
        self._add(block, 1)

    def value(self, now: float) -> float | None:
        """The P95 in ms at ``now``, or ``None`` with too few requests."""
        while self._blocks and self._blocks[0].t0 < now - self.window:
            self._add(self._blocks.popleft(), -1)
        if self._total < YARDSTICK_MINIMUM:
            return None
        counts, needed = self._counts, THETA_SHARE * self._total - 1e-9
        index = self._highest
        while not counts.get(index):
            index -= 1
        self._highest = index
        at_or_below = self._total
        found = index
        while at_or_below >= needed:
            count = counts.get(index, 0)
            if count:
                found = index
                at_or_below -= count
            index -= 1
        return bin_value(found)

    def _add(self, block: Block, sign: int) -> None:
        histogram, counts = block.arms[self.stable].latency_ms, self._counts
        for index, count in histogram.items():
            counts[index] = counts.get(index, 0) + sign * count
        self._total += sign * sum(histogram.values())
        if sign > 0 and histogram:
            self._highest = max(self._highest, *histogram)


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
    """The measurements of one rollout of ``candidate`` from ``stable``."""

    candidate: Digest
    stable: Digest
    blocks: list[Block] = field(default_factory=list)
    yardstick: RollingYardstick = field(init=False)
    _watch: JumpWatch = field(init=False)
    _watched: int = 0
    _panel: Panel | None = None
    _taken: int = 0
    _step_from: float | None = None
    _step_upto: int = 0
    _step_seconds: float = 0.0

    def __post_init__(self) -> None:
        self.yardstick = RollingYardstick(stable=self.stable)
        self._watch = JumpWatch(stable=self.stable)

    def keep(self, block: Block) -> None:
        """One more mature block, in order of ``t0``."""
        self.blocks.append(block)
        self.yardstick.window = 60.0 * block.seconds
        self.yardstick.keep(block)

    def measured(self, rollout: RolloutState, now: float) -> Measured:
        """As ``controller.measure.BlockMeasurer`` would measure the rollout now (epoch seconds)."""
        theta = self.yardstick.value(now)
        if rollout.step_from is None:
            return Measured(theta=theta)
        soaking = rollout.phase is Phase.SOAKING
        gates = rollout.plan.soak_gates if soaking else rollout.plan.steps[rollout.step].gates
        panel = self._reading(rollout, soaking=soaking)
        findings = panel.judge(gates, step_from=rollout.step_from)
        outage = "" if soaking else self._shared_cause(rollout, findings)
        return Measured(
            findings=findings,
            mature_seconds=self._mature(rollout.step_from),
            shared_cause=outage,
            theta=theta,
            alarms=() if outage or soaking else panel.alarming(self.blocks),
        )

    def _reading(self, rollout: RolloutState, *, soaking: bool) -> Panel:
        """The gates of the rollout, or of its soak, with every block that is new to them."""
        since = rollout.step_from if soaking else rollout.counted_from
        assert since is not None
        if self._panel is None or self._panel.since != since:
            alarms = None if soaking else rollout.plan.alarms
            self._panel = Panel(candidate=self.candidate, stable=self.stable, since=since, alarms=alarms, lazy=True)
            first = known_from(rollout, since)
            self._taken = next((n for n, block in enumerate(self.blocks) if block.t0 >= first), len(self.blocks))
        for place in range(self._taken, len(self.blocks)):
            self._panel.take(self.blocks[place])
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

    def _shared_cause(self, rollout: RolloutState, findings: tuple[GateFinding, ...]) -> str:
        begun = rollout.counted_from
        assert begun is not None
        for place in range(self._watched, len(self.blocks)):
            if self.blocks[place].t0 >= begun:
                self._watch.keep(self.blocks[place])
        self._watched = len(self.blocks)
        absolute = any(finding.verdict is Verdict.FAIL and finding.stable_fails_too for finding in findings)
        if not absolute and not self._watch.possible():
            return ""
        since = [block for block in self.blocks if block.t0 >= begun]
        return shared_cause(findings, since, candidate=self.candidate, stable=self.stable)
