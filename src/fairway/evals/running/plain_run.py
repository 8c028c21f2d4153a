"""Suites against one subject, and each case's result: for a check that is no evaluation (a smoke, a rehearsal)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fairway.clock import Clock
from fairway.evals.running.options import RunOptions
from fairway.evals.running.runner import EvalRunner
from fairway.evals.scoring import combine_runs, score_trial
from fairway.evals.trials import Subject, Trial
from fairway.evals.values import RunResult, Suite

_SIDE = "subject"
_REFUSALS = 2
_LONGEST_WAIT_SECONDS = 5.0


async def play_suites(subject: Subject, suites: Sequence[Suite], options: RunOptions, *, clock: Clock) -> RunResult:
    """Play every case once through, without judges, a cache or a journal.

    A service that says it is busy is asked again twice, and not waited for longer than 5 s: a smoke is no load test.

    Returns:
        One result a case, in the order of the suites.
    """
    short = replace(options, busy_retries=_REFUSALS, max_wait_seconds=_LONGEST_WAIT_SECONDS, grace_seconds=0.0)
    trials = (await EvalRunner([(_SIDE, subject)], suites, short, clock=clock).run())[_SIDE]
    played: dict[tuple[str, str], list[Trial]] = {}
    for trial in trials:
        played.setdefault((trial.suite, trial.case_id), []).append(trial)
    details = []
    for suite in suites:
        for case in suite.cases:
            runs = [
                score_trial(suite.name, case, trial, threshold=options.threshold)
                for trial in played[suite.name, case.id]
            ]
            details.append(combine_runs(case, runs) if case.repeat > 1 else runs[0])
    return RunResult(details=tuple(details))
