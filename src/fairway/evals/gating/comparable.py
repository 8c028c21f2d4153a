"""May the two sides be compared at all? What stands against it is said; none of it ever passes."""

from __future__ import annotations

from collections.abc import Sequence

from fairway.evals.gating.guards import Held
from fairway.evals.trials import Side
from fairway.units import Verdict

_NAMED = 5
_CUT_SHORT = "it was stopped, or its time or money was over, before every trial was played"


def what_prevents(candidate: Side, baseline: Side) -> tuple[Held, ...]:
    """Why the sides cannot be compared: what measured differs, a case is missing, or a run is not complete."""
    held = []
    if candidate.instrument != baseline.instrument:
        reason = (
            f"{candidate.name} and {baseline.name} were not measured with the same instrument "
            f"({_short(candidate)} and {_short(baseline)}): the suites, the judge or the scorer changed in between"
        )
        held.append(Held(verdict=Verdict.ERROR, reason=reason))
    held.extend(
        _missing(candidate, baseline, "the candidate did not run {}, which the baseline did: coverage was lost")
    )
    held.extend(_missing(baseline, candidate, "the baseline did not run {}: there is nothing to compare with"))
    held.extend(incomplete(candidate, "the candidate's"))
    held.extend(incomplete(baseline, "the baseline's"))
    return tuple(held)


def incomplete(side: Side, whose: str) -> tuple[Held, ...]:
    """Not every planned trial is there."""
    empty = [(case.suite, case.case_id) for case in side.cases if len(case.outcomes) < case.planned]
    if side.complete and not empty:
        return ()
    missing = f"planned trials are missing ({_names(empty)})"
    reason = f"{whose} run is not complete: {missing if empty else _CUT_SHORT}"
    return (Held(verdict=Verdict.INCONCLUSIVE, reason=reason, blocking=tuple(empty)),)


def judge_problem(side: Side, whose: str) -> tuple[Held, ...]:
    """Verdicts of this judge may not be used."""
    if side.judge is None or side.judge.problem is None:
        return ()
    return (Held(verdict=Verdict.INCONCLUSIVE, reason=f"{whose} judge cannot be relied on: {side.judge.problem}"),)


def _missing(side: Side, other: Side, text: str) -> tuple[Held, ...]:
    known = side.by_case
    missing = [key for key in other.by_case if key not in known]
    if not missing:
        return ()
    return (Held(verdict=Verdict.ERROR, reason=text.format(_names(missing)), blocking=tuple(missing)),)


def _names(keys: Sequence[tuple[str, str]]) -> str:
    more = f" and {len(keys) - _NAMED} more" if len(keys) > _NAMED else ""
    return f"{len(keys)} case{'s' if len(keys) > 1 else ''}: " + ", ".join(key[1] for key in keys[:_NAMED]) + more


def _short(side: Side) -> str:
    return side.instrument.rpartition(":")[2][:12]
