from __future__ import annotations

from datetime import UTC, datetime

import pytest

from fairway.evals.trials import EvalRun, SubjectInfo, Trial, Trouble
from fairway.evals.values import Case, CaseOutcome, CaseResult, Reply
from fairway.units import Digest

RELEASE = Digest("sha256:" + "a" * 64)
EFFECTIVE = Digest("sha256:" + "b" * 64)
INSTRUMENT = Digest("sha256:" + "c" * 64)
ATTEMPT = Digest("sha256:" + "d" * 64)
WORDS = {"P": CaseOutcome.PASSED, "F": CaseOutcome.FAILED, "E": CaseOutcome.ERROR, "?": CaseOutcome.UNKNOWN}


def case(name: str, **more) -> Case:
    return Case(id=name, name=name, turns=("Hi",), expected_keywords=("hello",), **more)


def run_of(found: dict[str, str], *, cached: bool = False, **more) -> EvalRun:
    """A run from what its cases found: ``{"a": "PF"}`` is a case whose first trial passed and whose second failed."""
    cases = {name: case(name, repeat=max(1, len(words))) for name, words in found.items()}
    rows = [(name, index, WORDS[word]) for name, words in found.items() for index, word in enumerate(words)]
    values = {
        "run_id": "20261120-095523-00000a",
        "created_at": datetime(2026, 11, 20, 9, 55, 23, tzinfo=UTC),
        "subject": SubjectInfo(kind="arm", name="1.4.0", release=RELEASE, effective=EFFECTIVE),
        "instrument": INSTRUMENT,
        "attempt_of": ATTEMPT,
    }
    return EvalRun(
        cases=tuple(("shop", one) for one in cases.values()),
        trials=tuple(
            Trial(
                suite="shop",
                case_id=name,
                index=index,
                replies=(Reply(text="hello"),),
                trouble=Trouble.PROVIDER if outcome is CaseOutcome.ERROR else None,
                cached=cached,
            )
            for name, index, outcome in rows
        ),
        results=tuple(CaseResult(suite="shop", case_id=name, name=name, outcome=outcome) for name, _, outcome in rows),
        **{**values, **more},
    )


@pytest.fixture(scope="session")
def make_run():
    return run_of
