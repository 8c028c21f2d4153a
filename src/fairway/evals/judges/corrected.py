"""The pass rate behind the one an imperfect judge counted."""

from __future__ import annotations

from collections.abc import Iterable

from fairway.evals.judges.kinds import JUDGE_KINDS
from fairway.evals.trials import JudgeHealth
from fairway.evals.values import CaseResult, Found
from fairway.stats.corrected_rate import CorrectedRate, corrected_rate


def corrected_pass_rate(health: JudgeHealth, results: Iterable[CaseResult]) -> CorrectedRate | None:
    """The rate at which judged assertions truly hold, corrected for the judge's errors, with its interval.

    Args:
        health: What the judge showed.
        results: Of trials; the repeats of a case are one unit, with their mean. What is undecided is left out.

    Returns:
        ``None``: nothing was judged, or the judge was not tried or is no better than chance.
    """
    cases: dict[tuple[str, str], list[bool]] = {}
    for result in results:
        held = [
            (assertion.found is Found.HELD) != assertion.type.startswith("not-")
            for assertion in result.assertions
            if assertion.type.removeprefix("not-") in JUDGE_KINDS and assertion.found in (Found.HELD, Found.VIOLATED)
        ]
        cases.setdefault((result.suite, result.case_id), []).extend(held)
    rates = [sum(held) / len(held) for held in cases.values() if held]
    if health.sensitivity is None or health.specificity is None:
        return None
    return corrected_rate(
        min(sum(rates), float(len(rates))),
        len(rates),
        good_passed=round(health.sensitivity * health.good),
        good=health.good,
        bad_failed=round(health.specificity * health.bad),
        bad=health.bad,
    )
