"""One evaluation, from its suites to its verdict: play, score, decide over every attempt, keep."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from fairway.clock import Clock
from fairway.evals.gating.adaptive import next_wave
from fairway.evals.gating.decide import decide
from fairway.evals.gating.decision import EvalDecision
from fairway.evals.gating.policy import EvalPolicy
from fairway.evals.history.attempts import accumulated, attempt_digest, only_repeats
from fairway.evals.history.folders import (
    BASELINE,
    DECISION,
    EvalHistory,
    RunHeader,
    read_run,
    write_run,
    write_text,
)
from fairway.evals.playing_out import CANDIDATE, OTHER, Measured, Outcome, Playing, play_out
from fairway.evals.running.runner import NextWave, OnTrial, PlannedTrial
from fairway.evals.scoring import score_trial
from fairway.evals.trials import EvalRun, JudgeHealth, Side, SubjectInfo, Trial
from fairway.evals.values import CaseOutcome, runs_needed
from fairway.evals.wire import encode


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """An evaluation that came to its end.

    Attributes:
        run: The candidate's.
        baseline: What it is compared with; ``None``: nothing.
        decision: Over every attempt on the same content.
        attempt: Which attempt this is, from 1.
        folder: Where it is kept.
    """

    run: EvalRun
    baseline: EvalRun | None
    decision: EvalDecision
    attempt: int
    folder: Path


async def evaluate(
    history: EvalHistory, header: RunHeader, playing: Playing, *, clock: Clock, on_trial: OnTrial | None = None
) -> Evaluation:
    """Play, score, decide and keep.

    What was played is on disk as it happens: a run that is cancelled or killed is gone on with by calling this again
    with the same header.

    Args:
        history: Where it is kept.
        header: What it is about; its folder is made when it is not there.
        playing: What is asked of whom, and how.
        clock: Time.
        on_trial: Told of each trial as it ends.

    Raises:
        FairwayError: The run's folder cannot be written, or an earlier attempt cannot be read.
    """
    folder = history.begin(header)
    health = await playing.health() if playing.health is not None else None
    outcome = await play_out(
        folder,
        playing,
        clock=clock,
        health=health,
        next_wave=_waves(history, header, playing, health),
        on_trial=on_trial,
    )
    return concluded(history, header, playing, outcome)


def concluded(history: EvalHistory, header: RunHeader, playing: Playing, outcome: Outcome) -> Evaluation:
    """Score, decide and keep what a runner brought back."""
    run = _side(header, playing, playing.candidate.info, CANDIDATE, outcome)
    baseline = playing.stored
    if playing.baseline is not None:
        baseline = _side(header, playing, playing.baseline.info, OTHER, outcome)
    return keep(history, header, run, baseline, playing.policy, interleaved=playing.baseline is not None)


def keep(
    history: EvalHistory,
    header: RunHeader,
    run: EvalRun,
    baseline: EvalRun | None,
    policy: EvalPolicy,
    *,
    interleaved: bool,
    others: Sequence[EvalRun] = (),
) -> Evaluation:
    """Write a run, decide over every attempt, and write what was decided; the header comes last.

    Args:
        history: Where it is kept.
        header: As it was when the run began.
        run: Scored.
        baseline: What it is compared with; ``None``: nothing.
        policy: Of the gate.
        interleaved: Whether the baseline was asked in turn with it, and is kept with it.
        others: Attempts on the same content that are kept under another instrument only (a run that is scored again):
            they count too.

    Raises:
        FairwayError: An earlier attempt cannot be read.
    """
    folder = history.folder(header.run_id)
    write_run(folder, run)
    if baseline is not None and interleaved:
        write_run(folder / BASELINE, baseline)
    decision, attempt = decided(history, run, baseline, policy, interleaved=interleaved, others=others)
    write_text(folder / DECISION, json.dumps(encode(decision), separators=(",", ":")) + "\n")
    last = ended(header, run, baseline, decision, attempt=attempt)
    if baseline is not None and not interleaved:
        last = replace(last, baseline_run=baseline.run_id)
    history.write_header(last)
    return Evaluation(run=run, baseline=baseline, decision=decision, attempt=attempt, folder=folder)


def _side(header: RunHeader, playing: Playing, info: SubjectInfo, name: str, outcome: Outcome) -> EvalRun:
    return scored(
        playing.measured,
        info,
        outcome.trials[name],
        run_id=header.run_id,
        created_at=header.created_at,
        outcome=outcome,
    )


def _waves(history: EvalHistory, header: RunHeader, playing: Playing, health: JudgeHealth | None) -> NextWave | None:
    """What to play next, by what the gate would say of every trial so far; ``None``: only what is planned.

    Repeats are added on both sides alike, so a baseline that is not asked in turn has none.
    """
    if playing.baseline is None or not playing.policy.adaptive:
        return None
    other_info = playing.baseline.info

    def wanted(wave: int, trials: Mapping[str, tuple[Trial, ...]]) -> Sequence[PlannedTrial]:
        seen = Outcome(trials=trials, judge=health, adaptive=True)
        run = _side(header, playing, playing.candidate.info, CANDIDATE, seen)
        other = _side(header, playing, other_info, OTHER, seen)
        candidate, baseline = _accumulated(history, _earlier(history, run, other), run, other, interleaved=True)
        return next_wave(candidate, baseline, playing.policy, wave=wave, seed=playing.options.seed)

    return wanted


def scored(
    measured: Measured,
    subject: SubjectInfo,
    trials: Sequence[Trial],
    *,
    run_id: str,
    created_at: datetime,
    outcome: Outcome,
) -> EvalRun:
    """The run of one side. Pure: the same trials and suites give the same results, so it needs no call.

    Args:
        measured: What it was measured with.
        subject: Whose trials.
        trials: Of that side, in any order; those of cases that are not in the suites are left out.
        run_id: Names its folder.
        created_at: When it began.
        outcome: What the runner says of the whole run.
    """
    cases = {(suite.name, case.id): (suite.name, case) for suite in measured.suites for case in suite.cases}
    order = {key: number for number, key in enumerate(cases)}
    kept = sorted(
        (trial for trial in trials if (trial.suite, trial.case_id) in cases),
        key=lambda trial: (order[trial.suite, trial.case_id], trial.index),
    )
    results = tuple(
        score_trial(trial.suite, cases[trial.suite, trial.case_id][1], trial, threshold=measured.threshold)
        for trial in kept
    )
    return EvalRun(
        run_id=run_id,
        created_at=created_at,
        subject=subject,
        instrument=measured.instrument,
        cases=tuple(cases.values()),
        trials=tuple(kept),
        results=results,
        judge=outcome.judge,
        shard=measured.shard,
        complete=outcome.complete,
        spent_micros=outcome.spent_micros,
        adaptive=outcome.adaptive,
        attempt_of=attempt_digest(subject, measured.instrument),
    )


def decided(
    history: EvalHistory,
    run: EvalRun,
    baseline: EvalRun | None,
    policy: EvalPolicy,
    *,
    interleaved: bool,
    others: Sequence[EvalRun] = (),
) -> tuple[EvalDecision, int]:
    """The gate over every attempt on the same content, and which attempt this is, from 1.

    Args:
        history: Where earlier attempts are kept.
        run: The attempt at hand; it is taken as the last one, since it is the last that came to its end.
        baseline: What it is compared with; ``None``: nothing.
        policy: What must hold.
        interleaved: Whether the baseline was asked in turn with the candidate in each attempt; a stored one is the same
            for all of them and counts once.
        others: Attempts that are not found in the history, see :func:`keep`; their baselines are not asked for.

    Raises:
        FairwayError: An earlier attempt cannot be read: it is not left out.
    """
    earlier = (*others, *_earlier(history, run, baseline))
    if baseline is not None and not interleaved:
        # the same content, run again to see whether it still does what it did: no trial stands on both sides
        earlier = tuple(one for one in earlier if one.run_id != baseline.run_id)
    candidate, other = _accumulated(history, earlier, run, baseline, interleaved=interleaved and not others)
    return decide(candidate, other, policy), len(earlier) + 1


def _earlier(history: EvalHistory, run: EvalRun, baseline: EvalRun | None) -> tuple[EvalRun, ...]:
    """The other attempts on the same content; a shard has none, its whole has them."""
    if run.shard is not None:
        return ()
    names = history.attempts(run.attempt_of, but=run.run_id, repeats=only_repeats(run, baseline))
    return tuple(read_run(history.folder(name)) for name in names)


def _accumulated(
    history: EvalHistory, earlier: Sequence[EvalRun], run: EvalRun, baseline: EvalRun | None, *, interleaved: bool
) -> tuple[Side, Side | None]:
    candidate = accumulated([*earlier, run])
    if baseline is None:
        return candidate, None
    others = _earlier_baselines(history, earlier, baseline) if interleaved else []
    return candidate, accumulated([*others, baseline])


def _earlier_baselines(history: EvalHistory, attempts: Sequence[EvalRun], baseline: EvalRun) -> list[EvalRun]:
    """The baselines asked in turn with earlier attempts, as far as they are the same subject."""
    found = []
    for attempt in attempts:
        folder = history.folder(attempt.run_id) / BASELINE
        if not folder.is_dir():
            continue
        other = read_run(folder)
        if other.attempt_of is not None and other.attempt_of == baseline.attempt_of:
            found.append(other)
    return found


def ended(
    header: RunHeader, run: EvalRun, baseline: EvalRun | None, decision: EvalDecision, *, attempt: int
) -> RunHeader:
    """The header of a run that came to its end."""
    return replace(
        header,
        subject=run.subject.name,
        instrument=run.instrument,
        attempt_of=run.attempt_of,
        repeats=only_repeats(run, baseline),
        shard=run.shard,
        ended=True,
        complete=run.complete,
        verdict=decision.label,
        reasons=tuple(decision.reasons),
        attempt=attempt,
        total=len(run.cases),
        passed=cases_passed(run),
        spent_micros=run.spent_micros,
        baseline=None if baseline is None else baseline.subject.name,
    )


def cases_passed(run: EvalRun) -> int:
    """Cases of which as many trials passed as they need."""
    passed: dict[tuple[str, str], list[bool]] = {}
    for result in run.results:
        passed.setdefault((result.suite, result.case_id), []).append(result.outcome is CaseOutcome.PASSED)
    found = [(case, passed.get((suite, case.id), [])) for suite, case in run.cases]
    return sum(sum(runs) >= runs_needed(case.at_least, case.repeat, len(runs)) for case, runs in found)
