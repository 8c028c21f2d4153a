"""Figures of single cases: how each did on both sides, which are worse by themselves, and pass^k."""

from __future__ import annotations

from dataclasses import replace

from fairway.evals.gating.decision import CaseFigure, Flag, PassPower
from fairway.evals.gating.guards import case_outcome
from fairway.evals.trials import CaseTrials, Side
from fairway.evals.values import CaseOutcome
from fairway.stats.exact_pairs import fisher_lower, holm, pass_power_k


def case_figures(candidate: Side, baseline: Side | None, alpha: float) -> tuple[CaseFigure, ...]:
    """Every case in the candidate's order, then those only the baseline has.

    A flag is Fisher's exact test of the case's trials, one-sided, after Holm's correction over all cases; worse and
    better are two families of tests.
    """
    others = baseline.by_case if baseline else {}
    figures = [_figure(case, others.get((case.suite, case.case_id))) for case in candidate.cases]
    mine = candidate.by_case
    figures.extend(_gone(case) for key, case in others.items() if key not in mine)
    if baseline is None:
        return tuple(figures)
    worse, better = holm([one.p_worse for one in figures]), holm([one.p_better for one in figures])
    return tuple(_flagged(one, w, b, alpha) for one, w, b in zip(figures, worse, better, strict=True))


def pass_power(candidate: Side, baseline: Side | None) -> PassPower | None:
    """pass^k for the most repeats a case plans; ``None`` when every case runs once."""
    k = max((case.planned for case in candidate.cases), default=1)
    mine = _powers(candidate, k)
    if k < 2 or not mine:
        return None
    theirs = _powers(baseline, k) if baseline else []
    return PassPower(
        k=k,
        cases=len(mine),
        candidate=sum(mine) / len(mine),
        baseline=sum(theirs) / len(theirs) if theirs else None,
    )


def _powers(side: Side, k: int) -> list[float]:
    powers = (pass_power_k(*_counts(case), k) for case in side.cases)
    return [power for power in powers if power is not None]


def _counts(case: CaseTrials) -> tuple[int, int]:
    passed = case.outcomes.count(CaseOutcome.PASSED)
    return passed, passed + case.outcomes.count(CaseOutcome.FAILED)


def _figure(case: CaseTrials, other: CaseTrials | None) -> CaseFigure:
    mine, theirs = _counts(case), _counts(other) if other else None
    compared = theirs is not None and mine[1] > 0 and theirs[1] > 0
    return CaseFigure(
        suite=case.suite,
        case_id=case.case_id,
        candidate=mine,
        baseline=theirs,
        outcome=case_outcome(case),
        critical=case.critical,
        p_worse=fisher_lower(*mine, *theirs) if compared and theirs else 1.0,
        p_better=fisher_lower(*theirs, *mine) if compared and theirs else 1.0,
    )


def _gone(case: CaseTrials) -> CaseFigure:
    return CaseFigure(
        suite=case.suite,
        case_id=case.case_id,
        candidate=None,
        baseline=_counts(case),
        outcome=None,
        critical=case.critical,
    )


def _flagged(figure: CaseFigure, worse: float, better: float, alpha: float) -> CaseFigure:
    if worse >= 1.0 and better >= 1.0:
        return figure
    flag = Flag.WORSE if worse <= alpha else Flag.BETTER if better <= alpha else Flag.NONE
    return replace(figure, adjusted=min(worse, better), flag=flag)
