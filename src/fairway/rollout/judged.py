"""Which gates judge a rollout now, and from which blocks on: those of the traffic that is served. Pure.

A step is judged from its split being in force. Until then - while its instances start, a person holds it, or a gateway
has not confirmed - users still meet the candidate as the step before exposes it, so that step's gates go on; the same
holds from the decision for 100 % until the last gateway has confirmed it.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace

from fairway.observe.fold import Block
from fairway.rollout.deciding import Snapshot
from fairway.rollout.values import Phase, RolloutState, Served, Step
from fairway.traffic.fence import Fence
from fairway.verdict.values import GateSpec

FAST_SECONDS = 120.0
"""A block of the step that is so much older than its beginning says that the controller's clock was ahead then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What is judged.

    Attributes:
        gates: Of the step that is served, or of the soak.
        since: Epoch seconds from which its blocks count.
        fence: Of the table it was in force with; ``None``: not known.
        step: The step; ``None``: the soak.
        anew: A person made evidence begin at ``since``, within the step: earlier blocks of it are out.
    """

    gates: tuple[GateSpec, ...]
    since: float
    fence: Fence | None
    step: Step | None
    anew: bool = False

    @property
    def soaking(self) -> bool:
        """Whether it is the soak."""
        return self.step is None

    def begins(self, blocks: Sequence[Block]) -> float:
        """Start (epoch seconds) of the first block that counts for it; infinity while there is none.

        Blocks have the gateways' clocks and ``since`` the controller's, which may go back, or be another machine's
        after a takeover. A block of the step says itself under which table it was served: where the controller's clock
        was ahead as the step began, those before ``since`` count too.

        Args:
            blocks: In order of ``t0``.
        """
        if self.fence is None:
            return self.since
        if not self.anew and (entered := self.entered(blocks)) < self.since - FAST_SECONDS:
            return entered
        for place in range(bisect_left(blocks, self.since, key=lambda block: block.t0), len(blocks)):
            fence = blocks[place].fence
            if fence is not None and fence >= self.fence:
                return blocks[place].t0
        return math.inf

    def entered(self, blocks: Sequence[Block]) -> float:
        """Start (epoch seconds) of the first block under its table, where that is before ``since``; else ``since``.

        A person who resumes makes evidence begin anew, and does not move this.

        Args:
            blocks: In order of ``t0``.
        """
        found = self.since
        if self.fence is None:
            return found
        for place in range(bisect_left(blocks, self.since, key=lambda block: block.t0) - 1, -1, -1):
            fence = blocks[place].fence
            if fence is None:
                continue
            if fence < self.fence:
                break
            found = blocks[place].t0
        return found


def judged(rollout: RolloutState) -> Judged | None:
    """What is judged of a rollout now; ``None``: nothing yet, or nothing any more."""
    if rollout.phase is Phase.SOAKING:
        if rollout.step_from is None:
            return None
        gates = rollout.plan.soak_gates
        since = rollout.step_from
        return Judged(gates=gates, since=since, fence=rollout.step_fence, step=None, anew=since == rollout.anew_from)
    if rollout.phase not in (Phase.STEPPING, Phase.PROMOTING) or not rollout.plan.steps:
        return None
    served = serving(rollout)
    if served is None:
        return None
    step = rollout.plan.steps[served.step]
    anew = served.since == rollout.anew_from
    return Judged(gates=step.gates, since=served.since, fence=served.fence, step=step, anew=anew)


def serving(rollout: RolloutState) -> Served | None:
    """The step whose traffic is served: the present one once it is in force, else the one before it."""
    if rollout.phase is Phase.STEPPING and rollout.step_from is not None:
        return Served(step=rollout.step, since=rollout.step_from, fence=rollout.step_fence)
    return rollout.served if rollout.phase in (Phase.STEPPING, Phase.PROMOTING) else None


def next_block(snapshot: Snapshot) -> float:
    """Start (epoch seconds) of the first whole telemetry block from now on; never of one that was seen before.

    A clock that goes back, or that of another machine after a takeover, does not make the blocks of the step before
    those of the next one.
    """
    first, rollout = first_unseen(snapshot), snapshot.state.rollout
    before = None if rollout is None else serving(rollout)
    return first if before is None else max(first, before.since)


def first_unseen(snapshot: Snapshot) -> float:
    """The same, whatever the rollout says of itself."""
    seconds, read = snapshot.block_seconds, snapshot.measured.read
    first = math.ceil(snapshot.now.timestamp() / seconds) * seconds
    return first if read is None or not read.count else max(first, read.upto + seconds)


def begun_anew(rollout: RolloutState, snapshot: Snapshot) -> RolloutState:
    """The rollout with no evidence: from the next block on it is judged by what comes.

    In a soak what was counted before the promotion stays: it says what stable was like.
    """
    begins = first_unseen(snapshot)
    rollout = replace(rollout, anew_from=begins)
    if rollout.step_from is not None:
        rollout = replace(rollout, step_from=begins)
    if rollout.served is not None:
        rollout = replace(rollout, served=replace(rollout.served, since=begins))
    if rollout.counted_from is None or rollout.phase is Phase.SOAKING:
        return rollout
    return replace(rollout, counted_from=begins)
