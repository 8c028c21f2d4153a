"""Digest of what measures: two runs compare only when it is the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from fairway.canonical import sha256_digest, value_digest
from fairway.evals.assertions.embeddings import is_similarity
from fairway.evals.assertions.script_values import script_files
from fairway.evals.judges.digest import judge_digest
from fairway.evals.judges.settings import JudgeSettings
from fairway.evals.suites.fingerprint import suite_digest
from fairway.evals.values import SCORER_VERSION, Suite
from fairway.units import Digest


def instrument_digest(
    suites: Sequence[Suite],
    *,
    judge: JudgeSettings | None,
    mock_scenario: bytes | None,
    read: Callable[[str], bytes | None] | None = None,
    embeddings: str | None = None,
) -> Digest:
    """Digest over suites, judge, mock scenario, scripts, embedding model and scorer version.

    Neither comments, nor the order of suites and cases, nor names of cases and files change it: they change no result.

    Args:
        suites: What is asked and expected.
        judge: How rubrics are graded; ``None``: not.
        mock_scenario: Bytes of the mock model's scenario; ``None``: no mock model.
        read: Content of a file that a ``python`` assertion names; ``None`` from it: there is none. What such a file
            imports is not followed.
        embeddings: The model ``similar`` is measured with; ``None``: none.
    """
    measures: dict[str, Any] = {
        "version": 2,
        "scorer": SCORER_VERSION,
        "suites": {suite.name: suite_digest(suite) for suite in suites},
        "judge": None if judge is None else judge_digest(judge),
        "mock": None if mock_scenario is None else sha256_digest(mock_scenario),
    }
    assertions = [one for suite in suites for case in suite.cases for one in case.assertions]
    scripts = script_files(assertions) if read is not None else ()
    if scripts and read is not None:
        found = {path: read(path) for path in scripts}
        measures["scripts"] = {path: None if code is None else sha256_digest(code) for path, code in found.items()}
    if embeddings is not None and any(map(is_similarity, assertions)):
        measures["embeddings"] = embeddings
    return value_digest(measures)
