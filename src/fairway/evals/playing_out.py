"""What an evaluation plays, and the playing of it; what comes of it is :mod:`fairway.evals.evaluation`'s.

Apart, so that the first call can be made before the gate and the reports are even loaded.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from fairway.clock import Clock
from fairway.evals.running.cache import CallCache
from fairway.evals.running.journal import Journal
from fairway.evals.running.options import RunOptions
from fairway.evals.running.runner import EvalRunner, NextWave, OnTrial
from fairway.evals.running.spend import Pricing, SpendCap
from fairway.evals.trials import EvalRun, JudgeHealth, Measuring, Subject, Trial, Trouble
from fairway.evals.values import PASS_SCORE, Suite
from fairway.units import Digest

if TYPE_CHECKING:
    from fairway.evals.gating.policy import EvalPolicy

CANDIDATE, OTHER = "candidate", "baseline"
"""Names of the sides: what is examined, and what is asked in turn with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What an evaluation was measured with.

    Attributes:
        suites: What this run plays: selected, and its own shard of them.
        plan: Suite and id of every selected case, also of other shards.
        instrument: Digest over the selection before it was cut into shards, judge and scorer included.
        threshold: Score a judged answer needs.
        shard: ``(part, parts)``; ``None``: whole.
        instrument_of: What the digest would be with other suites; ``None``: nobody can say.
    """

    suites: tuple[Suite, ...]
    plan: tuple[tuple[str, str], ...]
    instrument: Digest
    instrument_of: Callable[[Sequence[Suite]], Digest] | None = None
    threshold: float = PASS_SCORE
    shard: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Playing:
    """How an evaluation is played.

    Attributes:
        candidate: Who is examined.
        baseline: Who is asked in turn with it; ``None``: nobody.
        stored: The run it is compared with instead; ``None``: none.
        measuring: Judges, scripts and webhooks; ``None``: nothing is measured by a call of its own.
        health: Asks the judge about its calibration set, before anything else; ``None``: there is none.
        spend: Hard stop on money, shared with the judges' clients; ``None``: nothing is stopped.
        cache: Answers of bare models; ``None``: every call is made.
    """

    measured: Measured
    candidate: Subject
    baseline: Subject | None = None
    stored: EvalRun | None = None
    options: RunOptions
    policy: EvalPolicy
    measuring: Measuring | None = None
    health: Callable[[], Awaitable[JudgeHealth | None]] | None = None
    spend: SpendCap | None = None
    prices: Pricing | None = None
    cache: CallCache | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a runner brought back, before it is scored.

    Attributes:
        trials: Of each side.
        judge: Health of the judge; ``None``: none was used, or there is no calibration set.
        spent_micros: By both sides and judges, in millionths of a US dollar; ``None``: a price is unknown.
        complete: Every planned trial was played to an end, and no limit of the run's own cut it short.
    """

    trials: Mapping[str, Sequence[Trial]]
    judge: JudgeHealth | None = None
    spent_micros: int | None = 0
    complete: bool = True
    adaptive: bool = False


def repeated(suites: Sequence[Suite], repeat: int) -> tuple[Suite, ...]:
    """A number of runs for cases that do not say their own; all of them must pass."""
    return tuple(
        replace(
            suite,
            cases=tuple(
                case if case.repeat > 1 else replace(case, repeat=repeat, at_least=repeat) for case in suite.cases
            ),
        )
        for suite in suites
    )


async def play_out(
    folder: Path,
    playing: Playing,
    *,
    clock: Clock,
    health: JudgeHealth | None = None,
    next_wave: NextWave | None = None,
    on_trial: OnTrial | None = None,
) -> Outcome:
    """Play every trial that the run's journal does not have.

    Args:
        folder: Of the run; its journal is there.
        playing: What is asked of whom, and how.
        clock: Time.
        health: Of the judge.
        next_wave: More repeats where the outcome is in doubt; ``None``: none.
        on_trial: Told of each trial as it ends.

    Raises:
        FairwayError: The run's folder cannot be written, or another process writes it.
    """
    sides = [(CANDIDATE, playing.candidate)]
    if playing.baseline is not None:
        sides.append((OTHER, playing.baseline))
    with Journal(folder) as journal:
        runner = EvalRunner(
            sides,
            playing.measured.suites,
            playing.options,
            clock=clock,
            measuring=playing.measuring,
            cache=playing.cache,
            journal=journal,
            spend=playing.spend,
            prices=playing.prices,
            next_wave=next_wave,
            on_trial=on_trial,
        )
        trials = await runner.run()
    return Outcome(
        trials=trials,
        judge=health,
        spent_micros=_spent(trials, playing.spend, health),
        complete=runner.complete,
        adaptive=playing.policy.adaptive,
    )


def _spent(trials: Mapping[str, Sequence[Trial]], cap: SpendCap | None, health: JudgeHealth | None) -> int | None:
    """What was paid, in millionths of a US dollar; ``None``: a part of it is not known."""
    if cap is not None:
        return cap.spent_micros
    costs = [cost for side in trials.values() for trial in side for cost in _costs(trial)]
    if health is not None:
        costs.append(health.cost_micros)
    return None if None in costs else sum(cost for cost in costs if cost is not None)


def _costs(trial: Trial) -> Iterable[int | None]:
    """Of replies unless they came from the cache, and of judges and embeddings, also where the reply did.

    A call that was cut may have been paid: nobody knows what it cost.
    """
    if trial.trouble is Trouble.TIMEOUT and trial.duration_seconds:
        yield None
    if not trial.cached:
        yield from (reply.cost_micros for reply in trial.replies)
    yield from (result.cost_micros for result in trial.measured.values())
