"""Plays every case against the agent, a bounded number at a time, and keeps what was found even when it is stopped."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from fairway.clock import Clock
from fairway.errors import FairwayError
from fairway.evals.scoring import combine_runs
from fairway.evals.single_attempt import Attempt, score_attempt
from fairway.evals.values import PASS_SCORE, Case, CaseResult, Reply, RunResult, Suite


class AgentUnderTest(Protocol):
    """Whatever can be talked to."""

    async def ask(self, message: str, *, thread: str) -> Reply:
        """One turn on a conversation.

        Raises:
            TransientError: Could not be asked this time.
            PermanentError: Cannot be asked.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """How a run goes.

    Attributes:
        concurrency: Cases at a time.
        case_timeout_seconds: Of one run of one case.
        total_timeout_seconds: Of everything; what is not done by then is an error. ``None``: no limit.
        threshold: Score a case needs.
        run_id: Makes conversation ids of this run its own.
    """

    concurrency: int = 4
    case_timeout_seconds: float = 60.0
    total_timeout_seconds: float | None = None
    threshold: float = PASS_SCORE
    run_id: str = "0"


class SuiteRunner:
    """One run over some suites, without a judge. ``finished`` may be asked at any time, also after a cancellation."""

    def __init__(
        self,
        agent: AgentUnderTest,
        suites: Sequence[Suite],
        options: RunOptions,
        *,
        clock: Clock,
        on_result: Callable[[CaseResult, int, int], None] | None = None,
    ) -> None:
        """Prepare a run.

        Args:
            agent: Who is asked.
            suites: What is asked.
            options: Limits.
            clock: For durations.
            on_result: Told of each result with how many are done and how many there are.
        """
        self._agent = agent
        self._cases = [(suite.name, case) for suite in suites for case in suite.cases]
        self._options = options
        self._clock = clock
        self._on_result = on_result
        self._results: dict[int, CaseResult] = {}

    @property
    def finished(self) -> RunResult:
        """Results so far, in the order of the suites."""
        return RunResult(details=tuple(self._results[index] for index in sorted(self._results)))

    async def run(self) -> RunResult:
        """Play every case.

        Returns:
            One result for each case, in the order of the suites whatever the order they ended in.
        """
        waiting = iter(range(len(self._cases)))
        try:
            async with asyncio.timeout(self._options.total_timeout_seconds), asyncio.TaskGroup() as group:
                for _ in range(min(self._options.concurrency, len(self._cases))):
                    group.create_task(self._work(waiting))
        except TimeoutError:
            limit = self._options.total_timeout_seconds
            for index, (suite, case) in enumerate(self._cases):
                if index not in self._results:
                    late = Attempt(error=f"not finished when the run's {limit:g} s were over")
                    self._results[index] = score_attempt(suite, case, late)
        return self.finished

    async def _work(self, waiting: Iterator[int]) -> None:
        for index in waiting:
            suite, case = self._cases[index]
            runs = [await self._play(suite, case, number) for number in range(case.repeat)]
            result = combine_runs(case, runs) if case.repeat > 1 else runs[0]
            self._results[index] = result
            if self._on_result is not None:
                self._on_result(result, len(self._results), len(self._cases))

    async def _play(self, suite: str, case: Case, number: int) -> CaseResult:
        started = self._clock.monotonic()
        replies: list[Reply] = []
        error: str | None = None
        thread = self._thread(suite, case, number)
        try:
            async with asyncio.timeout(self._options.case_timeout_seconds):
                for turn in case.turns:
                    replies.append(await self._agent.ask(turn, thread=thread))
        except TimeoutError:
            error = f"not finished within {self._options.case_timeout_seconds:g} s"
        except FairwayError as problem:
            hint = (problem.hint or "").partition("\n")[0]
            error = f"{problem.message}; {hint}" if hint else problem.message
        seconds = self._clock.monotonic() - started
        attempt = Attempt(replies=tuple(replies), error=error, duration_seconds=seconds)
        return score_attempt(suite, case, attempt, threshold=self._options.threshold)

    def _thread(self, suite: str, case: Case, number: int) -> str:
        """Id of a conversation nobody else has, the same for the same run."""
        text = f"{self._options.run_id}\0{suite}\0{case.id}\0{number}"
        return "eval-" + hashlib.sha256(text.encode()).hexdigest()[:20]
