"""What a gate remembers: frozen values, folded block by block by :mod:`fairway.verdict.gates`.

Never written down: blocks are, and reading them again gives the same state to the last bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from fairway.stats.paired import Paired
from fairway.units import UnitHash
from fairway.verdict.ages import Ages
from fairway.verdict.roster import NO_UNITS, NOBODY, NOTHING, Counted, Roster, Spread, Units


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmCount:
    """One arm over the blocks that count: the same for every gate that counts the same units.

    Attributes:
        units: Distinct units.
        fresh: Units new in each of the last ``settle_blocks`` blocks, the newest last.
        finished, unknown, unfinished, reported: Requests (see ``observe.fold.ArmBlock``).
        spread: What it measured, for quantiles.
    """

    units: Counted = NO_UNITS
    fresh: tuple[int, ...] = ()
    finished: int = 0
    unknown: int = 0
    unfinished: int = 0
    reported: int = 0
    spread: Spread = NOTHING

    @property
    def count(self) -> int:
        """Distinct units."""
        return len(self.units)


@dataclass(frozen=True, slots=True, kw_only=True)
class Census:
    """Both arms over the blocks that count.

    Attributes:
        blocks: Blocks used.
        seconds: Their length.
        least: Distinct units of the arm that has fewer.
    """

    candidate: ArmCount = ArmCount()
    stable: ArmCount = ArmCount()
    blocks: int = 0
    seconds: float = 0.0
    least: int = 0


EMPTY = Census()


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmTally:
    """What a gate counted on one arm towards PASS.

    Attributes:
        seen: Units and requests.
        bad: Units whose first bad event was here.
    """

    seen: ArmCount
    bad: int

    @property
    def count(self) -> int:
        """Distinct units."""
        return len(self.seen.units)

    @property
    def settled(self) -> int:
        """Units that count as good or bad for a claim of health: not new any more, or bad already."""
        return max(len(self.seen.units) - sum(self.seen.fresh), self.bad)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cohort:
    """Units of both arms that were first seen in one block, sorted: alike in everything but the release.

    Attributes:
        members: All of them.
    """

    candidate: tuple[UnitHash, ...]
    stable: tuple[UnitHash, ...]
    members: Units


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What gates that count the same units have read: one value for all of them, made once a block.

    Attributes:
        since: Blocks that start earlier only teach the ages of units; ``None``: all blocks count.
        pass_since: Blocks that start earlier do not count for PASS; ``None``: as ``since``.
        ages: When units were first seen.
        census: Who was seen in the blocks that count towards PASS.
        whole: The same towards FAIL; ``None``: the same blocks.
        stage_units: Units of the candidate counted since each split after the first.
        split: Of the last block that said it.
        skipped: Blocks left out because they were a gap or mixed.
        last_t0: Start of the newest block looked at; an older one changes nothing. ``None`` at the start.
    """

    since: float | None = None
    pass_since: float | None = None
    ages: Ages = Ages()  # noqa: RUF009 - frozen
    census: Census = EMPTY
    whole: Census | None = None
    stage_units: tuple[Counted, ...] = ()
    split: int | None = None
    skipped: int = 0
    last_t0: float | None = None

    @property
    def all_of_it(self) -> Census:
        """Who was seen since the beginning."""
        return self.census if self.whole is None else self.whole


@lru_cache(maxsize=64)
def beginning(since: float | None, pass_since: float | None) -> Reading:
    """Before any block; one value for all gates that begin alike, so that they go on sharing."""
    return Reading(since=since, pass_since=pass_since)


@dataclass(frozen=True, slots=True, kw_only=True)
class Latch:
    """The moment a verdict was reached, kept as its evidence: start of the block, log e-value, and counts then."""

    t0: float
    log_e: float
    bad_candidate: int
    units_candidate: int
    bad_stable: int
    units_stable: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Where the evidence stood when a split came into force: evidence since then is what has been added.

    Attributes:
        ratios: Log likelihood ratios of T1 towards FAIL.
        lowest: The least of them.
        paired: Log e-value of T2 towards FAIL.
        bad: Bad units of the candidate before it.
    """

    ratios: tuple[float, ...] = ()
    lowest: float = 0.0
    paired: float = 0.0
    bad: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What bad events have shown so far.

    Attributes:
        spent: Units that had their first bad event, on whichever arm: no longer at risk.
        bad: Bad units of the candidate since the beginning of the rollout.
        bad_candidate, bad_stable: Bad units over the blocks that count towards PASS.
        fail_ratios: Log likelihood ratios of T1 towards FAIL, one for each alternative of the grid.
        pass_ratios: The same towards PASS.
        pass_top: The largest of these: no mixture of them is larger.
        fail_weights: Log weights of the grid towards FAIL, with the stages begun so far in them.
        paired: T2.
        pass_start: Log wealth of the absolute e-value when part of it was put on T1 and T2; ``None`` before that.
        expected_bad: Bad units the candidate would have had at stable's rate in the same blocks.
        stages: Splits after the first.
        worse: Of an absolute gate: T1 at ratio 1 has shown that stable is better. Set once, as is the rest.
        failed, passed: Set once, never taken back.
    """

    spent: Roster = NOBODY
    bad: int = 0
    bad_candidate: int = 0
    bad_stable: int = 0
    fail_ratios: tuple[float, ...] = ()
    pass_ratios: tuple[float, ...] = ()
    pass_top: float = 0.0
    fail_weights: tuple[float, ...] = ()
    paired: Paired = Paired()  # noqa: RUF009 - frozen
    pass_start: float | None = None
    expected_bad: float = 0.0
    stages: tuple[Stage, ...] = ()
    worse: bool = False
    failed: Latch | None = None
    passed: Latch | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GateState:
    """The evidence of one gate so far.

    Attributes:
        reading: What it shares with gates that count the same units.
        evidence: What bad events have shown.
        cohorts: Units first seen in each of the last ``settle_blocks`` blocks, by arm, not scored by T2 yet.
        idle_units: With fewer settled units of the candidate the absolute e-value towards PASS is not enough, whatever
            they do.
    """

    reading: Reading = Reading()
    evidence: Evidence = Evidence()
    cohorts: tuple[Cohort, ...] = ()
    idle_units: int = 0

    @property
    def since(self) -> float | None:
        """Blocks that start earlier only teach the ages of units; ``None``: all blocks count."""
        return self.reading.since

    @property
    def ages(self) -> Ages:
        """When units were first seen."""
        return self.reading.ages

    @property
    def split(self) -> int | None:
        """Of the last block that said it."""
        return self.reading.split

    @property
    def census(self) -> Census:
        """Who was seen in the blocks that count towards PASS."""
        return self.reading.census

    @property
    def all_of_it(self) -> Census:
        """Who was seen since the beginning."""
        return self.reading.all_of_it

    @property
    def skipped(self) -> int:
        """Blocks left out because they were a gap or mixed."""
        return self.reading.skipped

    @property
    def last_t0(self) -> float | None:
        """Start of the newest block looked at; ``None`` before any."""
        return self.reading.last_t0

    @property
    def candidate(self) -> ArmTally:
        """Counts of the candidate towards PASS."""
        return ArmTally(seen=self.reading.census.candidate, bad=self.evidence.bad_candidate)

    @property
    def stable(self) -> ArmTally:
        """Counts of stable towards PASS."""
        return ArmTally(seen=self.reading.census.stable, bad=self.evidence.bad_stable)

    @property
    def blocks(self) -> int:
        """Blocks used."""
        return self.reading.census.blocks
