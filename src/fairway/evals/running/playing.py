"""One trial: the turns of a case put to one side, then what a judge, a script or a webhook says of the replies."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from fairway.clock import Clock
from fairway.errors import FairwayError
from fairway.evals.running.cache import CallCache, question_key
from fairway.evals.running.calling import OF_THE_TRIAL, Caller, CallRules, Patience
from fairway.evals.running.journal import Journal, TrialKey
from fairway.evals.running.limiting import AdaptiveLimit
from fairway.evals.running.options import RunOptions
from fairway.evals.running.spend import PriceError, Pricing, SpendCap, SpendError
from fairway.evals.trials import Measuring, Observed, Question, Subject, SubjectInfo, Trial, Trouble
from fairway.evals.values import AssertionResult, Case, Reply

ToMeasure = Callable[[Case, tuple[Reply, ...]], tuple[int, ...]]
"""Positions in ``Case.checks`` that are worth a call of their own, given the replies."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One trial to play."""

    suite: str
    case: Case
    index: int
    thread: str
    inclusion: float = 1.0
    wave: int = 0

    @property
    def key(self) -> TrialKey:
        """Suite, case, repeat."""
        return self.suite, self.case.id, self.index


class SideAsked:
    """A side and the way calls are made to it."""

    def __init__(
        self,
        name: str,
        subject: Subject,
        options: RunOptions,
        clock: Clock,
        total: asyncio.Semaphore,
        *,
        limit: AdaptiveLimit,
        spend: SpendCap | None,
        twin: int = 0,
    ) -> None:
        self._twin = twin
        self.name = name
        self.subject = subject
        self.info: SubjectInfo = subject.info
        rules = CallRules(
            retries=options.retries,
            busy_retries=options.busy_retries,
            max_wait_seconds=options.max_wait_seconds,
            call_timeout_seconds=options.call_timeout_seconds,
        )
        self.caller = Caller(limit=limit, rules=rules, clock=clock, total=total, spend=spend)
        self.capped = spend is not None and spend.limit_micros is not None
        # a bare model knows what a call costs at most; a service does not
        self._at_most: Callable[[Question], int | None] | None = getattr(subject, "cost_at_most", None)

    def key(self, question: Question) -> bytes | None:
        """Of a question in the cache; ``None``: its answers are not kept."""
        return question_key(self.info, question, twin=self._twin)

    def at_most(self, question: Question) -> int | None:
        """What a call costs at most, in millionths of a US dollar; ``None``: nobody knows."""
        return None if self._at_most is None else self._at_most(question)


@dataclass(slots=True)
class _Progress:
    """How far a trial got; survives its being cut off."""

    replies: list[Reply]
    measured: dict[int, AssertionResult]
    cached: bool = False


class Player:
    """Plays trials."""

    def __init__(
        self,
        options: RunOptions,
        *,
        clock: Clock,
        measuring: Measuring | None,
        to_measure: ToMeasure,
        cache: CallCache | None,
        journal: Journal | None,
        prices: Pricing | None,
    ) -> None:
        """Take what trials need; see :class:`fairway.evals.running.runner.EvalRunner`."""
        self._options = options
        self._clock = clock
        self._measuring = measuring
        self._to_measure = to_measure
        self._cache = cache
        self._journal = journal
        self._prices = prices
        self._resting: set[asyncio.Task[Any]] = set()
        self.stopping = False

    def stop(self) -> None:
        """Begin nothing more: what waits ends now, and a call in flight is the last of its trial."""
        self.stopping = True
        for task in tuple(self._resting):
            task.cancel()

    def _go_on(self) -> None:
        if self.stopping:
            raise asyncio.CancelledError

    async def play(self, side: SideAsked, task: Task) -> Trial:
        """Play one trial; trouble is part of the result, never an exception.

        Raises:
            asyncio.CancelledError: The run is stopped.
        """
        started = self._clock.monotonic()
        progress = _Progress(replies=[], measured={})
        trouble: Trouble | None = None
        error: str | None = None
        limit = self._options.case_timeout_seconds
        try:
            async with asyncio.timeout(limit) as scope:
                await self._converse(side, task, progress, Patience(scope, self._resting))
                OF_THE_TRIAL.set(Patience(scope))
                await self._measure(side, task, progress)
        except TimeoutError:
            trouble, error = Trouble.TIMEOUT, f"not finished within {limit:g} s"
        except FairwayError as problem:
            trouble, error = _trouble(problem), _told(problem)
        return Trial(
            suite=task.suite,
            case_id=task.case.id,
            index=task.index,
            replies=tuple(progress.replies),
            trouble=trouble,
            error=error,
            measured=progress.measured,
            duration_seconds=self._clock.monotonic() - started,
            cached=progress.cached,
            inclusion=task.inclusion,
            wave=task.wave,
        )

    async def _converse(self, side: SideAsked, task: Task, progress: _Progress, patience: Patience) -> None:
        """Put every turn; what the journal or the cache has is not asked."""
        known = self._remembered(side, task)
        if known is None:
            known = self._from_cache(side, task)
            progress.cached = len(known) == len(task.case.turns)
        progress.replies += known
        last = len(task.case.turns) - 1
        for turn in range(len(known), last + 1):
            self._go_on()
            question = _question(task, turn, progress.replies)
            reply = await self._ask(side, question, patience)
            unpriced = side.capped and reply.cost_micros is None
            if self._journal is not None and (turn < last or self._measuring is not None or unpriced):
                self._journal.record_reply(side.name, task.key, turn, reply)
            key = side.key(question) if self._cache is not None else None
            if self._cache is not None and key is not None:
                self._cache.keep_reply(key, reply)
            progress.replies.append(reply)
            if unpriced:
                raise PriceError("what the call cost is not known, and there is a cap", code="eval_price")

    def _remembered(self, side: SideAsked, task: Task) -> list[Reply] | None:
        """What this run was answered before it was interrupted; ``None``: nothing.

        A conversation that was cut goes on only with somebody who still knows it.
        """
        if self._journal is None:
            return None
        found: list[Reply] = []
        for turn in range(len(task.case.turns)):
            reply = self._journal.reply(side.name, task.key, turn)
            if reply is None:
                break
            found.append(reply)
        whole = len(found) == len(task.case.turns)
        if found and (whole or side.info.stateless or self._options.conversations_kept):
            return found
        return None

    def _from_cache(self, side: SideAsked, task: Task) -> list[Reply]:
        """Replies of another run: all turns, or as many as there are from somebody who needs no memory."""
        found: list[Reply] = []
        if self._cache is None:
            return found
        for turn in range(len(task.case.turns)):
            key = side.key(_question(task, turn, found))
            reply = self._cache.reply(key) if key is not None else None
            if reply is None:
                return found if side.info.stateless else []
            found.append(reply)
        return found

    async def _ask(self, side: SideAsked, question: Question, patience: Patience) -> Reply:
        prices = self._prices

        def cost(reply: Reply) -> int | None:
            if reply.cost_micros is not None:
                return reply.cost_micros
            if prices is None or reply.model is None or reply.tokens_in is None or reply.tokens_out is None:
                return None
            return prices.cost_micros(reply.model, reply.tokens_in, reply.tokens_out)

        started = 0.0

        async def send() -> Reply:
            nonlocal started
            started = self._clock.monotonic()
            return await side.subject.ask(question)

        reply = await side.caller.call(
            send,
            cost_of=cost,
            at_most=side.at_most(question),
            repeatable=side.info.stateless,
            patience=patience,
        )
        paid = cost(reply)
        latency = reply.latency_seconds
        if latency is None:
            latency = self._clock.monotonic() - started
        return replace(reply, cost_micros=paid, latency_seconds=latency)

    async def _measure(self, side: SideAsked, task: Task, progress: _Progress) -> None:
        if self._measuring is None:
            return
        replies = tuple(progress.replies)
        observed: Observed | None = None
        for position in self._to_measure(task.case, replies):
            result = None
            if self._journal is not None:
                result = self._journal.measured(side.name, task.key, position)
            if result is None:
                self._go_on()
                observed = observed or Observed(case=task.case, replies=replies, duration_seconds=_seconds(progress))
                result = await self._measuring.measure(task.case.checks[position], observed, repeat=task.index)
                if self._journal is not None:
                    self._journal.record_measured(side.name, task.key, position, result)
            progress.measured[position] = result


def _question(task: Task, turn: int, replies: list[Reply]) -> Question:
    return Question(
        suite=task.suite,
        case_id=task.case.id,
        turns=task.case.turns[: turn + 1],
        replies=tuple(replies[:turn]),
        thread=task.thread,
        index=task.index,
        variables=task.case.variables,
    )


def _seconds(progress: _Progress) -> float | None:
    """Time of the replies together; ``None``: from a cache, or not measured."""
    times = [reply.latency_seconds for reply in progress.replies]
    if progress.cached or None in times:
        return None
    return sum(time for time in times if time is not None)


_TROUBLE: Mapping[type[FairwayError], Trouble] = {SpendError: Trouble.SPEND, PriceError: Trouble.PRICE}


def _trouble(problem: FairwayError) -> Trouble:
    if "timeout" in problem.code:
        return Trouble.TIMEOUT
    return _TROUBLE.get(type(problem), Trouble.PROVIDER)


def _told(problem: FairwayError) -> str:
    hint = (problem.hint or "").partition("\n")[0]
    return f"{problem.message}; {hint}" if hint else problem.message
