"""Telemetry of a route, pulled, folded, kept, and read by the gates of the rollout that runs."""

from __future__ import annotations

import logging
import math
from bisect import bisect_left
from dataclasses import dataclass, field, replace

from fairway.clock import Clock
from fairway.controller.scores import ScoreJoin
from fairway.controller.sources import SourceWatch
from fairway.errors import TransientError
from fairway.observe.fold import Block, FoldState, fold_all, mature_blocks
from fairway.observe.port import ObservationSource
from fairway.rollout.deciding import NOTHING_MEASURED, BlocksRead, Measured
from fairway.rollout.instances import goes_back_whole
from fairway.rollout.judged import judged
from fairway.rollout.measuring import Reading, measured
from fairway.rollout.mirroring import pairs_of
from fairway.rollout.port import RolloutLedger
from fairway.rollout.values import Phase, RolloutState, RouteState
from fairway.rollout.verbs import live
from fairway.units import Digest, RouteId
from fairway.verdict.kinds import KINDS
from fairway.verdict.panel import Panel
from fairway.verdict.soak_alarms import UNKNOWN_BEFORE, SoakWatch, stood_before
from fairway.verdict.theta import YARDSTICKS, theta, yardstick

log = logging.getLogger("fairway.controller")

REMEMBERED_SECONDS = 900.0
"""How far back blocks are kept in memory when no rollout needs them: enough for theta's ten minutes."""

LATE_SECONDS = 30.0
"""So long after telemetry came late the instrument counts as broken: once is told, again and again pauses."""

KNOWN_SECONDS = 120.0
"""How far back of its first counted block a gate is shown who was there already, at least."""

PIN_SECONDS = 3600.0
"""The same, at most: a pin lives for so long by default."""


@dataclass(slots=True, kw_only=True)
class BlockMeasurer:
    """Implements :class:`fairway.controller.engine.Measurer` over an observation source and the ledger.

    Mature blocks are written to the ledger before any gate reads them, so that a verdict can always be replayed; a
    controller that takes over reads them back and folds the rest from what the gateway still keeps.

    Attributes:
        sources: Asks what custom gates need, beside the loop; ``None``: nobody does, and they find no data.
        scores: Joins scores of sampled replies to their blocks; ``None``: agents say their scores themselves.
    """

    route: RouteId
    ledger: RolloutLedger
    source: ObservationSource
    clock: Clock
    sources: SourceWatch | None = None
    scores: ScoreJoin | None = None
    _fold: FoldState | None = None
    _cursor: str | None = None
    _blocks: list[Block] = field(default_factory=list)
    _held_from: float = math.inf
    _panels: dict[tuple[str, float], Panel] = field(default_factory=dict)
    _soaks: dict[tuple[str, float], SoakWatch] = field(default_factory=dict)
    _late: int = 0
    _late_at: float = -math.inf

    def forget(self) -> None:
        """Drop what is held in memory."""
        if self.sources is not None:
            self.sources.forget()
        if self.scores is not None:
            self.scores.forget()
        self._fold = None
        self._cursor = None
        self._blocks.clear()
        self._panels.clear()
        self._soaks.clear()
        self._late, self._late_at = 0, -math.inf

    async def measure(self, state: RouteState) -> Measured:
        """What the gates of the live rollout find now; a source that does not answer is ``Measured.error``."""
        try:
            await self._pull(state)
            error = self._came_late()
        except TransientError as failure:
            error = failure.message
        rollout = live(state)
        readings = () if self.sources is None else self.sources.look(rollout)
        if rollout is None or (rollout.stable is None and rollout.phase is not Phase.SOAKING):
            return Measured(error=error) if error else NOTHING_MEASURED
        found = self._read(rollout, error)
        return replace(found, sources=readings) if readings else found

    async def _pull(self, state: RouteState) -> None:
        if self._fold is None:
            self._remember(state)
        if (needed := self._needed(state)) < self._held_from:
            self._read_back(needed)  # long blocks, or a retry, which asks who was there before it began
        pulled = await self.source.pull(self.route, after=self._cursor)
        assert self._fold is not None
        folded = fold_all(self._fold, pulled.batches)
        if self._cursor is not None and folded.late > self._fold.late:  # the first pull brings what was read before
            self._late, self._late_at = self._late + folded.late - self._fold.late, self.clock.now().timestamp()
        now = self.clock.now().timestamp()
        fresh, folded = mature_blocks(folded, now)
        if self.scores is not None:
            fresh = self.scores.join(fresh, now)
        self.keep(fresh)
        self._fold, self._cursor = folded, pulled.cursor
        self._trim(state)

    def _came_late(self) -> str:
        """That telemetry came after its blocks had been read, a short while ago; empty when it did not."""
        if self.clock.now().timestamp() - self._late_at > LATE_SECONDS:
            self._late = 0
            return ""
        return f"telemetry came late: {self._late:,} reports of blocks already read, which say less than happened"

    def keep(self, blocks: tuple[Block, ...]) -> None:
        """Record mature blocks, in order of ``t0``; then gates may read them."""
        if blocks:
            self.ledger.add_blocks(self.route, tuple(block.to_wire() for block in blocks))
            self._blocks.extend(blocks)

    def _remember(self, state: RouteState) -> None:
        """Go on after the last recorded block; what the gateway keeps of later ones comes again."""
        self._read_back(self._needed(state))
        last = self._blocks[-1] if self._blocks else None
        self._fold = FoldState() if last is None else FoldState(watermark=last.t0 + last.seconds)

    def _read_back(self, since: float) -> None:
        self._blocks = [Block.from_wire(wire) for wire in self.ledger.blocks(self.route, since=since)]
        self._held_from = since

    def _needed(self, state: RouteState) -> float:
        """Start of the earliest block somebody may still ask for."""
        recent = self.clock.now().timestamp() - max(REMEMBERED_SECONDS, self._yardstick_window())
        rollout = live(state)
        return recent if rollout is None else min(recent, known_from(rollout, self.clock.now().timestamp()))

    def _trim(self, state: RouteState) -> None:
        horizon = self._needed(state)
        if self._blocks and self._blocks[0].t0 < horizon - REMEMBERED_SECONDS:
            self._blocks = [block for block in self._blocks if block.t0 >= horizon]
            self._held_from = horizon

    def _read(self, rollout: RolloutState, error: str) -> Measured:
        now = self.clock.now().timestamp()
        stable = None if rollout.stable is None else rollout.stable.release
        limit = None if stable is None else theta(self._blocks, now, stable, window=self._yardstick_window())
        others = {} if stable is None or limit is None else self._yardsticks(rollout, now, stable)
        of = judged(rollout)
        if of is None:
            return Measured(theta=limit, yardsticks=others, error=error, read=self._what_is_read(rollout, now))
        begins = of.begins(self._blocks)
        candidate = rollout.candidate.release
        seen = [block for block in self._blocks if block.t0 >= begins and block.comparable]
        # Where the clock was ahead at the first exposure, its blocks are older than ``counted_from``.
        counted = begins if of.soaking or rollout.counted_from is None else min(rollout.counted_from, begins)
        mirrored = of.step is not None and of.step.mirroring is not None
        reading = Reading(
            # In the soak the former stable still serves what began on it: it tells an outage from a bad release.
            panel=self._panel(rollout, since=counted, soaking=of.soaking),
            begins=begins,
            mature_seconds=sum(block.seconds for block in seen if candidate in block.arms),
            counted=() if of.soaking else [block for block in self._blocks if block.t0 >= counted],
            soak=seen if of.soaking else (),
            watch=self._watch(rollout, since=begins, promoted=of.entered(self._blocks)) if of.soaking else None,
            pairs=pairs_of(seen, candidate) if mirrored else None,
        )
        found = measured(rollout, of, reading)
        return replace(found, theta=limit, yardsticks=others, error=error, read=self._what_is_read(rollout, now))

    def _watch(self, rollout: RolloutState, *, since: float, promoted: float) -> SoakWatch | None:
        """Triggers of the soak; none for what goes back whole: it would be left for what it was to replace.

        Args:
            rollout: That soaks.
            since: Epoch seconds from which its blocks count: later than ``promoted`` once a person has resumed.
            promoted: From which all traffic was the candidate's.
        """
        policy = rollout.plan.alarms
        if policy is None or goes_back_whole(rollout):
            return None
        watch = self._soaks.get((rollout.id, since))
        if watch is None:
            former = None if rollout.stable is None else rollout.stable.release
            earliest = known_from(rollout, self.clock.now().timestamp())
            earlier = [block for block in self._blocks if earliest <= block.t0 < promoted and block.comparable]
            before = UNKNOWN_BEFORE if former is None else stood_before(policy, earlier, former)
            watch = SoakWatch(candidate=rollout.candidate.release, former=former, policy=policy, before=before)
            self._soaks = {(rollout.id, since): watch}
        return watch

    def _what_is_read(self, rollout: RolloutState, now: float) -> BlocksRead:
        """The blocks everything is worked out from: those known now, from the earliest that can matter."""
        since = min(known_from(rollout, now), now - self._yardstick_window())
        count = len(self._blocks) - bisect_left(self._blocks, since, key=lambda block: block.t0)
        return BlocksRead(at=now, upto=self._blocks[-1].t0 if self._blocks else 0.0, count=count)

    def _yardsticks(self, rollout: RolloutState, now: float, stable: Digest) -> dict[str, float]:
        """Stable's other quantiles, where a gate of the plan needs one and there is enough to know it."""
        window, blocks = self._yardstick_window(), self._blocks
        asked = sorted({gate.kind for step in rollout.plan.steps for gate in step.gates} & YARDSTICKS)
        found = {KINDS[kind].yardstick: yardstick(blocks, now, stable, kind, window=window) for kind in asked}
        return {name: value for name, value in found.items() if value is not None}

    def _yardstick_window(self) -> float:
        """Sixty blocks: the ten minutes of the contract at ten seconds a block, less where blocks are shorter."""
        return 600.0 if not self._blocks else 60.0 * self._blocks[-1].seconds

    def _panel(self, rollout: RolloutState, *, since: float, soaking: bool) -> Panel:
        """The gates of the rollout, or of its soak, with every block that is new to them."""
        panel = self._panels.get((rollout.id, since))
        if panel is None:
            panel = Panel(
                candidate=rollout.candidate.release,
                stable=None if rollout.stable is None else rollout.stable.release,
                since=since,
                alarms=None if soaking else rollout.plan.alarms,
                alone=soaking,
            )
            self._panels = {(rollout.id, since): panel}
        taken = panel.upto
        known = min(known_from(rollout, self.clock.now().timestamp()), since - KNOWN_SECONDS)
        begins = known if taken is None else taken
        for block in self._blocks:
            if block.t0 > begins or (taken is None and block.t0 == begins):
                panel.take(block)
        return panel


def known_from(rollout: RolloutState, now: float) -> float:
    """From where on (epoch seconds) gates are shown blocks: earlier than they count, to know who was there already.

    Whoever the hash assigned under the rollout's own salt was first seen since it started (a retry keeps the salt), and
    whoever was not seen for as long as a pin lives by default is assigned anew.
    """
    first = now if rollout.counted_from is None else rollout.counted_from
    begun = rollout.started_at.timestamp() if rollout.bucket_salt == rollout.id else 0.0
    if begun > first:
        begun = 0.0  # by a clock that was ahead: nothing is known of when it started
    return min(max(begun, first - PIN_SECONDS), first - KNOWN_SECONDS)
