"""What every evaluation needs once its suites and its subject are known, in a project or outside one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fairway.cli.eval.reading import BLESSED, find_run
from fairway.cli.eval.suites import selected, selection_of
from fairway.errors import UserError
from fairway.evals.history.attempts import sides_digest
from fairway.evals.playing_out import Measured, Playing
from fairway.evals.running.cache import CallCache
from fairway.evals.running.options import RunOptions
from fairway.evals.running.spend import SpendCap

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AsyncExitStack

    from fairway.cli.eval.asked import Asked
    from fairway.cli.eval.place import EvalPlace
    from fairway.evals.history.folders import RunHeader
    from fairway.evals.trials import EvalRun, SubjectInfo
    from fairway.evals.values import Suite
    from fairway.units import Digest

STABLE = "stable"
_SCHEMES = ("http://", "https://", "cmd:", "python:", "openai:", "anthropic:", "prompt:")
MICROS = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits of a run that a project or Fairway sets where a person did not.

    Attributes:
        concurrency: Calls in flight.
        timeout: Seconds of one trial.
        retries: Further tries of a call that does no harm to repeat.
        spend: Hard stop in USD; ``None``: none.
    """

    concurrency: int = 4
    timeout: float = 60.0
    retries: int = 2
    spend: float | None = None


def is_target(text: str) -> bool:
    """Whether it names somebody to ask, rather than a run."""
    return text.startswith(_SCHEMES)


def measured_of(
    suites: Sequence[Suite], asked: Asked, instrument: Callable[[Sequence[Suite]], Digest], *, threshold: float
) -> Measured:
    """What is played of the suites, and the digest of what measures: of the selection before it is cut into shards.

    Raises:
        UserError: Nothing is left to play.
    """
    whole, own = selected(suites, asked)
    return Measured(
        suites=own,
        plan=tuple((suite.name, case.id) for suite in whole for case in suite.cases),
        instrument=instrument(whole),
        instrument_of=instrument,
        threshold=threshold,
        shard=selection_of(asked).shard,
    )


def options_of(asked: Asked, header: RunHeader, limits: Limits) -> RunOptions:
    """How the run goes.

    Args:
        asked: What a person asked for; it wins.
        header: Of the run.
        limits: Where nothing was asked for.
    """
    return RunOptions(
        concurrency=asked.concurrency or limits.concurrency,
        case_timeout_seconds=asked.timeout or limits.timeout,
        total_timeout_seconds=asked.total_timeout,
        retries=limits.retries,
        run_id=header.run_id,
        conversations_kept=not _started_anew(asked),
        seed=asked.seed,
    )


def _started_anew(asked: Asked) -> bool:
    """Whether a resumed run finds a side that knows nothing of its conversations any more.

    That is whoever Fairway starts itself: the project's agent, the stable release, a function in this process.
    """
    asked_in_turn = asked.baseline if asked.baseline is not None and is_target(asked.baseline) else None
    here = [one for one in (asked.target, asked_in_turn) if one is not None and one.startswith("python:")]
    return asked.target is None or asked.baseline == STABLE or bool(here)


def spend_cap(asked: Asked, limits: Limits) -> SpendCap | None:
    """The hard stop; ``None``: there is none."""
    limit = asked.spend if asked.spend is not None else limits.spend
    return None if limit is None else SpendCap(round(limit * MICROS))


def stored_baseline(
    place: EvalPlace, asked: Asked, header: RunHeader, instrument: Digest, *, environment: str
) -> EvalRun | None:
    """The kept run to compare with; ``None``: nothing, or somebody who is asked in turn.

    A run that is gone on with keeps the one it began with: what was the latest then need not be it now.

    Raises:
        NotFoundError: There is no such run.
    """
    wanted = asked.baseline
    if wanted is None or wanted == STABLE or is_target(wanted):
        return None
    if wanted != BLESSED:
        return find_run(place, header.baseline_run or wanted)
    return find_run(place, wanted, instrument=instrument, environment=environment)


def header_of(header: RunHeader, playing: Playing, *, agent: str, environment: str, release: str | None) -> RunHeader:
    """The header of a run that is about to begin.

    Raises:
        UserError: ``eval_resume``: the run to go on with was about something else.
    """
    measured, info = playing.measured, playing.candidate.info
    other = None if playing.baseline is None else playing.baseline.info
    sides = sides_digest(info, other, playing.stored)
    if header.instrument is not None:
        _refuse_changed(header, measured, info, sides)
    return replace(
        header,
        agent=agent,
        environment=environment,
        plan=measured.plan,
        subject=info.name,
        release=release,
        instrument=measured.instrument,
        shard=measured.shard,
        effective=info.effective,
        sides=sides,
        baseline_run=None if playing.stored is None else playing.stored.run_id,
    )


def _refuse_changed(header: RunHeader, measured: Measured, info: SubjectInfo, sides: Digest) -> None:
    what = None
    if header.instrument != measured.instrument or header.plan != measured.plan:
        what = "the suites or the judge"
    elif header.effective != info.effective or header.subject != info.name:
        what = "the agent"
    elif header.sides != sides:
        what = "the agent, or what it is compared with,"
    if what is not None:
        raise UserError(
            f"{what} changed since {header.run_id} was stopped",
            code="eval_resume",
            hint="begin anew: fairway eval run",
        )


def answer_cache(place: EvalPlace, asked: Asked, stack: AsyncExitStack) -> CallCache | None:
    """Answers of earlier runs, for those whose identity is known; ``None``: every call is made."""
    if asked.cache is False:
        return None
    return stack.enter_context(CallCache(place.state.cache / "evals.db"))
