"""Digest of what measures: two runs compare only when it is the same."""

from __future__ import annotations

from collections.abc import Sequence

from fairway.canonical import sha256_digest, value_digest
from fairway.evals.judges.digest import judge_digest
from fairway.evals.judges.settings import JudgeSettings
from fairway.evals.suites.fingerprint import suite_digest
from fairway.evals.values import SCORER_VERSION, Suite
from fairway.units import Digest


def instrument_digest(suites: Sequence[Suite], *, judge: JudgeSettings | None, mock_scenario: bytes | None) -> Digest:
    """Digest over suites, judge, mock scenario and scorer version.

    Neither comments, nor the order of suites and cases, nor names of cases and files change it: they change no result.

    Args:
        suites: What is asked and expected.
        judge: How rubrics are graded; ``None``: not.
        mock_scenario: Bytes of the mock model's scenario; ``None``: no mock model.
    """
    return value_digest(
        {
            "version": 2,
            "scorer": SCORER_VERSION,
            "suites": {suite.name: suite_digest(suite) for suite in suites},
            "judge": None if judge is None else judge_digest(judge),
            "mock": None if mock_scenario is None else sha256_digest(mock_scenario),
        }
    )
