"""The pass rate behind the one an imperfect judge counted."""

from __future__ import annotations

from collections.abc import Iterable

from fairway.evals.judges.kinds import JUDGE_KINDS
from fairway.evals.trials import JudgeHealth
from fairway.evals.values import AssertionResult, CaseResult, Found
from fairway.stats.corrected_rate import CorrectedRate, corrected_rate

_NOT = "not-"


def corrected_pass_rate(health: JudgeHealth, results: Iterable[CaseResult]) -> CorrectedRate | None:
    """The rate at which judged assertions truly hold, corrected for the judge's errors, with its interval.

    A ``not-`` holds where the judge says no, and so errs the other way round: they are a rate of their own, and counted
    only where every judged assertion is one.

    Args:
        health: What the judge showed.
        results: Of trials; the repeats of a case are one unit, with their mean. What is undecided is left out.

    Returns:
        ``None``: nothing was judged, or the judge was not tried or is no better than chance.
    """
    if health.sensitivity is None or health.specificity is None:
        return None
    judged = [(result, one) for result in results for one in result.assertions if _is_judged(one)]
    turned = all(one.type.startswith(_NOT) for _, one in judged)
    cases: dict[tuple[str, str], list[bool]] = {}
    for result, one in judged:
        if one.type.startswith(_NOT) == turned:
            cases.setdefault((result.suite, result.case_id), []).append(one.found is Found.HELD)
    rates = [sum(held) / len(held) for held in cases.values()]
    good, bad = (
        (round(health.sensitivity * health.good), health.good),
        (round(health.specificity * health.bad), health.bad),
    )
    (good_passed, goods), (bad_failed, bads) = (bad, good) if turned else (good, bad)
    return corrected_rate(
        min(sum(rates), float(len(rates))),
        len(rates),
        good_passed=good_passed,
        good=goods,
        bad_failed=bad_failed,
        bad=bads,
    )


def _is_judged(one: AssertionResult) -> bool:
    return one.type.removeprefix(_NOT) in JUDGE_KINDS and one.found in (Found.HELD, Found.VIOLATED)
