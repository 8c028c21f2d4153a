"""The two sides case by case: what each attempt and wave of adaptive repeats found, and the differences at a look."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from fairway.evals.trials import CaseTrials, Side
from fairway.evals.values import CaseOutcome

WAVE_REPEATS = (0, 1, 2, 4)
"""Repeats an adaptive wave plays of each case it chooses; the first wave plays what was planned."""

Look = tuple[int, int]
"""An attempt and a wave of it, both from 0."""

Upto = Mapping[int, int]
"""Attempts whose trials count, and the last wave of each that does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """Trials of one case on one side, in one wave of one attempt.

    Attributes:
        inclusion: Probability with which they were played.
    """

    passed: int
    decided: int
    played: int
    inclusion: float = 1.0

    def rate(self, undecided: float | None) -> float | None:
        """Pass rate; trials that could not be decided count as ``undecided``, or not at all."""
        if undecided is not None:
            return (self.passed + undecided * (self.played - self.decided)) / self.played if self.played else undecided
        return self.passed / self.decided if self.decided else None


Tallies = Mapping[Look, Tally]


@dataclass(frozen=True, slots=True, kw_only=True)
class Matched:
    """A case that is on both sides.

    Attributes:
        extra: Repeats each wave plays of it when it is chosen; 0: the wave leaves it out, whatever was seen.
    """

    candidate: CaseTrials
    baseline: CaseTrials
    mine: Tallies
    theirs: Tallies
    extra: tuple[int, ...]

    @property
    def cluster(self) -> str:
        """What it varies together with."""
        return self.candidate.cluster

    @property
    def all_decided(self) -> bool:
        """Whether every trial passed or failed."""
        return all(one.decided == one.played for side in (self.mine, self.theirs) for one in side.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairing:
    """All cases of both sides, in the candidate's order, and the looks the gate took at them.

    Attributes:
        clusters: Positions in ``cases`` of those that vary together.
        looks: Attempts and waves of the candidate, in the order the gate looked at them.
        theirs: All of the baseline.
    """

    cases: tuple[Matched, ...]
    clusters: tuple[tuple[int, ...], ...]
    looks: tuple[Look, ...]
    theirs: Upto

    @property
    def fresh(self) -> bool:
        """Every attempt asked both sides anew; else one baseline serves several attempts."""
        return {attempt for attempt, _ in self.looks} == set(self.theirs)

    def upto(self, look: Look) -> tuple[Upto, Upto]:
        """The candidate's and the baseline's trials that count at a look."""
        attempt, wave = look
        last = _last_waves(self.looks)
        mine = {one: last[one] for one in last if one < attempt} | {attempt: wave}
        return mine, mine if self.fresh else self.theirs

    @property
    def widest(self) -> int:
        """Cases of the largest cluster."""
        return max(len(members) for members in self.clusters)


def pair_sides(candidate: Side, baseline: Side, *, max_repeat: int) -> Pairing:
    """Match the cases of both sides; those that are on one side only are left to :mod:`.comparable`."""
    others = baseline.by_case
    cases = tuple(
        Matched(
            candidate=case,
            baseline=other,
            mine=tally(case),
            theirs=tally(other),
            extra=extra_repeats(case, max_repeat),
        )
        for case in candidate.cases
        if (other := others.get((case.suite, case.case_id))) is not None
    )
    members: dict[str, list[int]] = {}
    for index, case in enumerate(cases):
        members.setdefault(case.cluster, []).append(index)
    return Pairing(
        cases=cases,
        clusters=tuple(tuple(indices) for indices in members.values()),
        looks=tuple(sorted({look for case in cases for look in case.mine})),
        theirs=_last_waves(look for case in cases for look in case.theirs),
    )


def tally(case: CaseTrials) -> Tallies:
    """Counts by attempt and wave."""
    if not case.outcomes:
        return {}
    if not any(case.attempts) and not any(case.waves):
        return {(0, 0): _count(case.outcomes, 1.0)}
    found: dict[Look, list[int]] = {}
    for index in range(len(case.outcomes)):
        found.setdefault((_at(case.attempts, index), _at(case.waves, index)), []).append(index)
    return {
        look: _count([case.outcomes[index] for index in indices], case.inclusion[indices[0]] if case.inclusion else 1.0)
        for look, indices in found.items()
    }


def extra_repeats(case: CaseTrials, max_repeat: int) -> tuple[int, ...]:
    """Repeats each wave may add; what is left out follows from the case's limit alone, never from what was seen."""
    return _extra_repeats(case.planned, min(max_repeat, case.max_repeat or max_repeat))


@lru_cache(maxsize=256)
def _extra_repeats(planned: int, limit: int) -> tuple[int, ...]:
    total, extra = planned, [0]
    for repeats in WAVE_REPEATS[1:]:
        total += repeats
        extra.append(repeats if total <= limit else 0)
    return tuple(extra)


def difference_at(case: Matched, mine: Upto, theirs: Upto, *, worst: bool = False) -> float | None:
    """The case's pass rate on the candidate minus that on the baseline.

    Args:
        case: On both sides.
        mine: Trials of the candidate that count.
        theirs: Trials of the baseline that count.
        worst: Trials that could not be decided count against the candidate; else not at all.

    Returns:
        A number in [-1, 1], beyond it when adaptive trials are weighted; ``None`` when one side decided nothing.
    """
    rate = _mean(case.mine, case.extra, mine, 0.0 if worst else None)
    other = _mean(case.theirs, case.extra, theirs, 1.0 if worst else None)
    return None if rate is None or other is None else rate - other


def decided_at(tallies: Tallies, upto: Upto) -> tuple[int, int]:
    """Passed and decided trials."""
    if len(tallies) == 1 and upto.get(0) == 0 and (only := tallies.get((0, 0))):
        return only.passed, only.decided
    kept = [one for (attempt, wave), one in tallies.items() if attempt in upto and wave <= upto[attempt]]
    return sum(one.passed for one in kept), sum(one.decided for one in kept)


def played_at(tallies: Tallies, upto: Upto) -> int:
    """Trials that were played."""
    if len(tallies) == 1 and upto.get(0) == 0 and (only := tallies.get((0, 0))):
        return only.played
    return sum(one.played for (attempt, wave), one in tallies.items() if attempt in upto and wave <= upto[attempt])


def _mean(tallies: Tallies, extra: Sequence[int], upto: Upto, undecided: float | None) -> float | None:
    """Mean pass rate over trials; a wave that chose the case with probability p counts 1/p-fold, else as 0.

    Weighted so (Horvitz and Thompson 1952) the mean is unbiased although the cases were chosen by what was seen.
    """
    if len(tallies) == 1 and len(upto) == 1 and upto.get(0) == 0 and (0, 0) in tallies:
        return tallies[0, 0].rate(undecided)
    total, planned = 0.0, 0
    for (attempt, wave), one in tallies.items():
        rate = one.rate(undecided)
        if rate is None or attempt not in upto or wave > upto[attempt]:
            continue
        total += rate * (one.played if wave == 0 else extra[wave]) / one.inclusion
        planned += one.played if wave == 0 else 0
    if not planned:
        return undecided
    return total / (planned + sum(sum(extra[: wave + 1]) for wave in upto.values()))


def _count(outcomes: Sequence[CaseOutcome], inclusion: float) -> Tally:
    passed = outcomes.count(CaseOutcome.PASSED)
    return Tally(
        passed=passed,
        decided=passed + outcomes.count(CaseOutcome.FAILED),
        played=len(outcomes),
        inclusion=inclusion,
    )


def _at(values: Sequence[int], index: int) -> int:
    return values[index] if values else 0


def _last_waves(looks: Iterable[Look]) -> Upto:
    last: dict[int, int] = {}
    for attempt, wave in looks:
        last[attempt] = max(wave, last.get(attempt, 0))
    return last
