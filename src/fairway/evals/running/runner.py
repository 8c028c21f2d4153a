"""Plays every case against each side, in turn, and keeps what was found even when it is stopped."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from fairway.clock import Clock
from fairway.evals import scoring
from fairway.evals.running.cache import CallCache
from fairway.evals.running.journal import Journal, TrialKey
from fairway.evals.running.limiting import AdaptiveLimit
from fairway.evals.running.options import RunOptions
from fairway.evals.running.playing import Player, SideAsked, Task, ToMeasure
from fairway.evals.running.spend import Pricing, SpendCap
from fairway.evals.trials import Measuring, Subject, Trial, Trouble
from fairway.evals.values import Case, Suite

_CUT = (Trouble.SPEND, Trouble.PRICE)
"""Troubles by which a run cuts itself short."""


class PlannedTrial(Protocol):
    """One more repeat of a case, on every side, as an adaptive plan asks for it."""

    @property
    def suite(self) -> str:
        """Of the case."""
        ...

    @property
    def case_id(self) -> str:
        """Which case."""
        ...

    @property
    def inclusion(self) -> float:
        """Probability with which it was chosen."""
        ...


NextWave = Callable[[int, Mapping[str, tuple[Trial, ...]]], Sequence[PlannedTrial]]
"""What to play after wave ``n`` (from 1), by what was seen so far on each side; nothing: it is enough."""
OnTrial = Callable[[str, Trial, int, int], None]
"""Told of each trial: its side, the trial, how many are done, how many there are."""


@dataclass(frozen=True, slots=True)
class _Planned:
    suite: str
    case: Case
    index: int
    inclusion: float = 1.0
    wave: int = 0


def _endpoint(subject: Subject, at: int) -> object:
    """What refuses calls together: one provider's address, whichever model and prompt; else each side by itself."""
    address = (subject.info.identity or {}).get("base_url")
    return at if address is None else address


def _asked(
    sides: Sequence[tuple[str, Subject]], options: RunOptions, clock: Clock, spend: SpendCap | None
) -> list[SideAsked]:
    """The sides as the run asks them: one bound of calls for all, one adaptive limit an endpoint."""
    calls = asyncio.Semaphore(options.concurrency)
    identities = [subject.info.identity for _, subject in sides]
    limits: dict[object, AdaptiveLimit] = {}
    return [
        SideAsked(
            name,
            subject,
            options,
            clock,
            calls,
            limit=limits.setdefault(_endpoint(subject, at), AdaptiveLimit(options.concurrency, clock=clock)),
            spend=spend,
            twin=identities[:at].count(identities[at]),
        )
        for at, (name, subject) in enumerate(sides)
    ]


def _planned(suites: Sequence[Suite]) -> list[_Planned]:
    """Each case as often as it asks for: all of them once, then the second repeats, and so on."""
    most = max((case.repeat for suite in suites for case in suite.cases), default=0)
    return [
        _Planned(suite.name, case, index)
        for index in range(most)
        for suite in suites
        for case in suite.cases
        if index < case.repeat
    ]


class EvalRunner:
    """One run over some suites. ``finished`` may be asked at any time, also after a cancellation."""

    def __init__(
        self,
        sides: Sequence[tuple[str, Subject]],
        suites: Sequence[Suite],
        options: RunOptions,
        *,
        clock: Clock,
        measuring: Measuring | None = None,
        to_measure: ToMeasure | None = None,
        cache: CallCache | None = None,
        journal: Journal | None = None,
        spend: SpendCap | None = None,
        prices: Pricing | None = None,
        next_wave: NextWave | None = None,
        on_trial: OnTrial | None = None,
    ) -> None:
        """Prepare a run.

        Args:
            sides: Who is asked, by name; each case is put to all of them in turn, who is first changing,
                so that a drift of what they share (a model, a machine) touches them alike.
            suites: What is asked.
            options: Limits.
            clock: For durations and waits.
            measuring: Judges, scripts and webhooks; ``None``: nothing is measured by a call of its own.
            to_measure: Which of ``Case.checks`` are worth such a call, given the replies; ``None``: those of
                ``scoring.to_measure``.
            cache: Answers of earlier runs; ``None``: every call is made.
            journal: Where answers are kept before they are used, and what a resumed run starts from; ``None``: nowhere.
            spend: Hard stop on money; the measuring side's clients share it.
            prices: What tokens cost, for replies that do not say their cost.
            next_wave: More repeats where the outcome is in doubt; ``None``: each case its own number of them.
            on_trial: Told of each trial as it ends.

        Raises:
            ValueError: Two sides have one name.
        """
        self._suites = tuple(suites)
        self._options = options
        self._next_wave = next_wave
        self._on_trial = on_trial
        self._journal = journal
        self._spend = spend
        if len({name for name, _ in sides}) != len(sides):
            raise ValueError("each side needs a name of its own")
        self._sides = _asked(sides, options, clock, spend)
        self._player = Player(
            options,
            clock=clock,
            measuring=measuring,
            to_measure=to_measure or scoring.to_measure,
            cache=cache,
            journal=journal,
            prices=prices,
        )
        # while a judge reads one answer the next case may be asked: both endpoints are kept busy
        self._workers = options.concurrency * (2 if measuring is not None else 1)
        self._cases = {(suite.name, case.id): case for suite in self._suites for case in suite.cases}
        self._planned = _planned(self._suites)
        self._trials: dict[str, dict[TrialKey, Trial]] = {side.name: {} for side in self._sides}
        self._done = 0
        self._out_of_time = False

    @property
    def planned(self) -> int:
        """Trials there are to play, as far as it is known."""
        return len(self._planned) * len(self._sides)

    @property
    def complete(self) -> bool:
        """Every planned trial was played to an end, troubled or not, and no limit of the run's own cut it short.

        What the time, the cap on money or an unknown price left out is no outage that a gate may tolerate a share of.
        """
        if self._out_of_time or self._done < self.planned:
            return False
        return not any(trial.trouble in _CUT for trials in self._trials.values() for trial in trials.values())

    @property
    def finished(self) -> Mapping[str, tuple[Trial, ...]]:
        """Trials so far by side, in the order of the suites and then by repeat, whatever the order they ended in."""
        most: dict[tuple[str, str], int] = {}
        for planned in self._planned:
            place = (planned.suite, planned.case.id)
            most[place] = max(most.get(place, 0), planned.index + 1)
        keys = [
            (suite.name, case.id, index)
            for suite in self._suites
            for case in suite.cases
            for index in range(most.get((suite.name, case.id), 0))
        ]
        return {side: tuple(trials[key] for key in keys if key in trials) for side, trials in self._trials.items()}

    async def run(self) -> Mapping[str, tuple[Trial, ...]]:
        """Play every trial that the journal does not have.

        When it is cancelled nothing more is begun, but calls in flight are paid for already: they are waited for, for
        the options' grace at most, or until it is cancelled again.

        Returns:
            Trials by side; one for each that was planned.

        Raises:
            asyncio.CancelledError: It was stopped; ``finished`` has what was done.
        """
        playing = asyncio.ensure_future(self._run())
        try:
            return await asyncio.shield(playing)
        except asyncio.CancelledError:
            self._player.stop()
            try:
                await asyncio.wait({playing}, timeout=self._options.grace_seconds)
            finally:
                playing.cancel()
                await asyncio.gather(playing, return_exceptions=True)
            raise

    async def _run(self) -> Mapping[str, tuple[Trial, ...]]:
        if self._spend is not None and self._journal is not None:
            for cost in self._journal.paid():
                self._spend.book(cost)
        limit = self._options.total_timeout_seconds
        waves = asyncio.ensure_future(self._waves())
        try:
            await asyncio.wait({waves}, timeout=limit)
            if limit is not None and not waves.done():
                # what is in flight is paid for: as after a stop, it is waited for
                self._player.stop()
                await asyncio.wait({waves}, timeout=self._options.grace_seconds)
                waves.cancel()
                await asyncio.wait({waves})
                self._out_of_time = self._done < self.planned
                self._close(Trouble.TIMEOUT, f"not finished when the run's {limit:g} s were over")
            if not waves.cancelled():
                waves.result()
        finally:
            waves.cancel()
            await asyncio.gather(waves, return_exceptions=True)
        return self.finished

    async def _waves(self) -> None:
        """Play what is planned, then what each wave adds."""
        await self._play(self._planned)
        wave = 1
        while self._next_wave is not None and not self._player.stopping:
            more = self._wave(self._next_wave(wave, self.finished), wave)
            if not more:
                return
            self._planned += more
            await self._play(more)
            wave += 1

    def _wave(self, chosen: Sequence[PlannedTrial], wave: int) -> list[_Planned]:
        """The trials of a wave, each with the next repeat of its case."""
        following: dict[tuple[str, str], int] = {}
        for planned in self._planned:
            following[planned.suite, planned.case.id] = planned.index + 1
        found = []
        for one in chosen:
            place = (one.suite, one.case_id)
            index = following.get(place, 0)
            following[place] = index + 1
            found.append(_Planned(one.suite, self._cases[place], index, one.inclusion, wave))
        return found

    async def _play(self, planned: Sequence[_Planned]) -> None:
        waiting = iter(self._tasks(planned))
        count = min(self._workers, len(planned) * len(self._sides))
        async with asyncio.TaskGroup() as group:
            for _ in range(count):
                group.create_task(self._work(waiting))

    def _tasks(self, planned: Sequence[_Planned]) -> Iterator[tuple[SideAsked, Task]]:
        """What is left to do, sides next to each other, the first of them taking turns."""
        for number, one in enumerate(planned):
            key = (one.suite, one.case.id, one.index)
            turn = (number + self._options.seed) % len(self._sides)
            for side in self._sides[turn:] + self._sides[:turn]:
                known = self._journal.trial(side.name, key) if self._journal is not None else None
                if known is not None and known.trouble is None:
                    self._keep(side.name, known)
                else:
                    yield (
                        side,
                        Task(
                            suite=one.suite,
                            case=one.case,
                            index=one.index,
                            thread=self._thread(side.name, *key),
                            inclusion=one.inclusion,
                            wave=one.wave,
                        ),
                    )

    async def _work(self, waiting: Iterator[tuple[SideAsked, Task]]) -> None:
        for side, task in waiting:
            if self._player.stopping:
                return
            trial = await self._player.play(side, task)
            if self._journal is not None:
                self._journal.record_trial(side.name, trial)
            self._keep(side.name, trial)

    def _keep(self, side: str, trial: Trial) -> None:
        self._trials[side][trial.key] = trial
        self._done += 1
        if self._on_trial is not None:
            self._on_trial(side, trial, self._done, self.planned)

    def _close(self, trouble: Trouble, error: str) -> None:
        """Give every planned trial that has none an end."""
        for one in self._planned:
            for side in self._sides:
                key = (one.suite, one.case.id, one.index)
                if key not in self._trials[side.name]:
                    trial = Trial(
                        suite=one.suite,
                        case_id=one.case.id,
                        index=one.index,
                        trouble=trouble,
                        error=error,
                        inclusion=one.inclusion,
                        wave=one.wave,
                    )
                    self._trials[side.name][key] = trial
                    self._done += 1

    def _thread(self, side: str, suite: str, case: str, index: int) -> str:
        """Id of a conversation nobody else has, the same for the same run: two sides may share one memory."""
        text = f"{self._options.run_id}\0{side}\0{suite}\0{case}\0{index}"
        return "eval-" + hashlib.sha256(text.encode()).hexdigest()[:20]
