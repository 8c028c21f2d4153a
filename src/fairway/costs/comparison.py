"""Whether a release calls models more often for a task than the one before it: a new tool loop shows here. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fairway.costs.spending import ReleaseSeen, Spending, Unit
from fairway.stats.ratio import mean_ratio
from fairway.units import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One figure of a task, in the candidate and in the baseline.

    Attributes:
        what: ``calls`` or ``cost``.
        verdict: PASS: the rise is shown to stay below the margin; FAIL: a rise is shown, and not that it stays below
            it; INCONCLUSIVE: neither; NO_DATA: nothing to compare.
        reason: In words.
        candidate, baseline: Means (calls; micro-dollars); ``None``: not known.
        ratio, lower, upper: Of the means; each bound errs with nominally 1 %.
        tasks: In the candidate and the baseline.
    """

    what: str
    verdict: Verdict
    reason: str
    candidate: float | None = None
    baseline: float | None = None
    ratio: float | None = None
    lower: float | None = None
    upper: float | None = None
    tasks: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleasePair:
    """Two releases of a log, compared.

    Attributes:
        chosen: Whether somebody named the candidate, or it is what is examined; else it is the newest in the log.
    """

    candidate: str
    baseline: str
    chosen: bool
    calls: Compared
    cost: Compared


def releases_to_compare(spending: Spending, candidate: str | None, baseline: str | None) -> tuple[str, str] | None:
    """Candidate and baseline by name: those that were named, else the newest in the log and the one before it.

    Releases are ordered by their first call. ``None``: the log does not hold two of them.
    """
    named = {name: seen for name, seen in spending.releases.items() if name}
    order = sorted(named, key=lambda name: (named[name].first, name))
    newest = candidate or next((name for name in reversed(order) if name != baseline), None)
    if newest is None:
        return None
    others = [name for name in order if name != newest]
    before = [name for name in others if newest not in named or named[name].first <= named[newest].first]
    older = baseline or next(reversed(before or others), None)
    return None if older is None else (newest, older)


def compare_releases(
    spending: Spending, candidate: str, baseline: str, *, chosen: bool, margin: float, minimum_tasks: int
) -> ReleasePair:
    """Calls and cost of a task in two releases.

    Args:
        spending: Of one window, so that both met the same users as far as that is possible.
        candidate: Name in the log; a release that is not there is NO_DATA.
        baseline: The same.
        chosen: See :class:`ReleasePair`.
        margin: Ratio, ≥ 1, up to which a rise is nobody's concern.
        minimum_tasks: Fewer in either release are NO_DATA.
    """
    ours, theirs = spending.releases.get(candidate), spending.releases.get(baseline)

    def compared(what: str, value: Callable[[Unit], float | None]) -> Compared:
        return _compare(what, _values(ours, value), _values(theirs, value), margin, minimum_tasks)

    return ReleasePair(
        candidate=candidate,
        baseline=baseline,
        chosen=chosen,
        calls=compared("calls", lambda unit: float(unit.calls)),
        cost=compared("cost", lambda unit: None if unit.cost_micros is None else float(unit.cost_micros)),
    )


def _values(seen: ReleaseSeen | None, value: Callable[[Unit], float | None]) -> list[float | None]:
    return [] if seen is None else [value(unit) for unit in seen.units if unit.named]


def _compare(
    what: str, ours: Sequence[float | None], theirs: Sequence[float | None], margin: float, minimum: int
) -> Compared:
    tasks = (len(ours), len(theirs))
    unknown = sum(value is None for value in (*ours, *theirs))
    if unknown:
        return Compared(what=what, verdict=Verdict.NO_DATA, reason=f"of {unknown} tasks it is unknown", tasks=tasks)
    if min(tasks) < minimum:
        reason = f"{tasks[0]} and {tasks[1]} tasks, {minimum} of each are needed"
        return Compared(what=what, verdict=Verdict.NO_DATA, reason=reason, tasks=tasks)
    found = mean_ratio([value or 0.0 for value in ours], [value or 0.0 for value in theirs])
    if found is None:
        return Compared(what=what, verdict=Verdict.NO_DATA, reason="one of them is nothing at all", tasks=tasks)
    within, more = found.upper <= margin, found.lower > 1
    verdict = Verdict.PASS if within else Verdict.FAIL if more else Verdict.INCONCLUSIVE
    told = f"{found.ratio:.2f} times as much a task, {found.lower:.2f} to {found.upper:.2f}"
    return Compared(
        what=what,
        verdict=verdict,
        reason=f"{told}; up to {margin:g} times is allowed",
        candidate=sum(value or 0.0 for value in ours) / tasks[0],
        baseline=sum(value or 0.0 for value in theirs) / tasks[1],
        ratio=found.ratio,
        lower=found.lower,
        upper=found.upper,
        tasks=tasks,
    )
