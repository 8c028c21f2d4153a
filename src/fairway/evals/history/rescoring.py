"""Trials of an earlier run under today's cases, without a call. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from fairway.evals.trials import EvalRun, Trial
from fairway.evals.values import Assertion, AssertionResult, Case, Suite


def suites_of(run: EvalRun) -> tuple[Suite, ...]:
    """The suites a run played, as far as its cases tell."""
    cases: dict[str, list[Case]] = {}
    for suite, case in run.cases:
        cases.setdefault(suite, []).append(case)
    return tuple(Suite(name=name, file=name, cases=tuple(those)) for name, those in cases.items())


def trials_under(run: EvalRun, suites: Sequence[Suite], *, measured_alike: bool) -> tuple[Trial, ...]:
    """The trials of a run as far as their cases still ask the same, with what was measured of what is still asserted.

    A case whose words changed was not asked: its trials are left out. A measured assertion (a judge's, a script's) is
    found again by what it says, wherever it stands now; one that is new was not measured, and its case is unknown.

    Args:
        run: Whose trials.
        suites: The cases of today.
        measured_alike: Whether judges, scripts and embeddings are those of the run. What others measured says nothing
            about what these would say: it is left out.
    """
    before = {(suite, case.id): case for suite, case in run.cases}
    now = {(suite.name, case.id): case for suite in suites for case in suite.cases}
    kept = []
    for trial in run.trials:
        old, new = before.get((trial.suite, trial.case_id)), now.get((trial.suite, trial.case_id))
        if old is None or new is None or not _asks_the_same(old, new):
            continue
        kept.append(replace(trial, measured=_moved(trial.measured, old, new) if measured_alike else {}))
    return tuple(kept)


def _asks_the_same(old: Case, new: Case) -> bool:
    return old.turns == new.turns and dict(old.variables) == dict(new.variables)


def _moved(measured: Mapping[int, AssertionResult], old: Case, new: Case) -> dict[int, AssertionResult]:
    """Results by the positions that equal assertions have now; each is used once."""
    left = {position: _plain(old.checks[position]) for position in measured if position < len(old.checks)}
    found: dict[int, AssertionResult] = {}
    for position, assertion in enumerate(new.checks):
        same = next((number for number, one in left.items() if one == _plain(assertion)), None)
        if same is not None:
            found[position] = measured[same]
            del left[same]
    return found


def _plain(assertion: Assertion) -> Assertion:
    """An assertion without what changes neither its question nor its answer."""
    return replace(assertion, line=None, members=tuple(_plain(member) for member in assertion.members))
