"""Why prompt regression stopped a release, as the demo tells it: the case, the missing rule, the diff, and before."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fairway.errors import FairwayError
from fairway.evals.history.folders import EvalHistory, read_run
from fairway.evals.values import CaseOutcome

_MOST_LINES = 6


def told_regression(stage: Mapping[str, Any], evals: Path) -> Iterator[str]:
    """What there is to tell about a stopped release, line by line; nothing where there is no report.

    Args:
        stage: Prompt regression's part of the run's report.
        evals: Where evaluations are kept.
    """
    path = stage.get("artifacts", {}).get("report.json")
    if path is None:
        return
    report = json.loads(Path(path).read_text(encoding="utf-8"))
    failed = [case for case in report["cases"] if case["candidate"]["outcome"] == CaseOutcome.FAILED.value]
    for case in sorted(failed, key=lambda one: not one["critical"])[:1]:
        yield f"case {case['suite']}/{case['case_id']}: {case['candidate']['why']}"
        if case["rule"]:
            yield f"  the rule it protects: {case['rule']}"
        changed = [line.strip() for line in case["explanation"] if ": - " in line or ": + " in line]
        yield from (f"    {line}" for line in changed[:_MOST_LINES])
        yield f"  the agent answered: {case['candidate']['answer']}"
        yield from _before(evals, report["candidate"]["run_id"], case["suite"], case["case_id"])
    if len(failed) > 1:
        yield f"and {len(failed) - 1} more cases failed"


def _before(evals: Path, run_id: str, suite: str, case_id: str) -> Iterator[str]:
    """How often the case passed in the last evaluation that passed, beside this one."""
    history = EvalHistory(evals)
    try:
        now = history.header(run_id)
        good = next(
            (one for one in history.headers() if one.verdict == "PASS" and one.instrument == now.instrument), None
        )
        if good is None:
            return
        counts = []
        for header in (good, now):
            results = [
                result
                for result in read_run(history.folder(header.run_id)).results
                if (result.suite, result.case_id) == (suite, case_id)
            ]
            counts.append((header.release, sum(result.passed for result in results), len(results)))
    except FairwayError:
        return  # a line less; the expectations are checked elsewhere
    (before, passed, of), (_, still, now_of) = counts
    yield f"  it passed {passed} of {of} times on v{before}, and passes {still} of {now_of} now"
