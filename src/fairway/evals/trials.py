"""What a run leaves behind: every trial as it was observed and scored, enough to score again without a call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

from fairway.evals.values import Assertion, AssertionResult, Case, CaseOutcome, CaseResult, Reply
from fairway.units import Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One turn of a conversation, with all that came before it, so that who answers needs no memory.

    Attributes:
        turns: What the user has said up to now; the last one is to be answered.
        replies: To every turn but the last.
        thread: Id of the conversation: nobody else has it, and the same run gives the same.
        index: Which repeat of the case this is, from 0.
        variables: Of the case.
    """

    suite: str
    case_id: str
    turns: tuple[str, ...]
    replies: tuple[Reply, ...] = ()
    thread: str
    index: int = 0
    variables: Mapping[str, Any] = field(default_factory=dict)

    @property
    def message(self) -> str:
        """What the user says now."""
        return self.turns[-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class SubjectInfo:
    """Who is examined.

    Attributes:
        kind: ``arm``, ``url``, ``command``, ``python``, ``prompt`` or ``openai``/``anthropic`` for a bare endpoint.
        name: As a report shows it: a version, an address, a command.
        release, effective: Digests, where it is a release as one environment runs it; ``None``: nobody knows.
        identity: All that an answer depends on besides the question, as JSON: the cache's key. ``None``: not known (a
            service whose version nobody knows), and then no answer of it is ever taken from a cache.
        stateless: Each question carries all it needs and leaves nothing behind: a conversation may go on where another
            run left it, and a call whose end nobody saw may be made again.
    """

    kind: str
    name: str
    release: Digest | None = None
    effective: Digest | None = None
    identity: Mapping[str, Any] | None = None
    stateless: bool = False


class Subject(Protocol):
    """A system under test: whatever can answer a question. An async context manager that frees what it holds."""

    @property
    def info(self) -> SubjectInfo:
        """Who it is."""
        ...

    async def ask(self, question: Question) -> Reply:
        """The reply to the last turn.

        Raises:
            TransientError: Could not be asked this time; ``retry_after`` when it said so.
            PermanentError: Cannot be asked.
        """
        ...


class Trouble(StrEnum):
    """Why a trial has no result of its own: never a failure of the agent."""

    PROVIDER = "provider"
    TIMEOUT = "timeout"
    SPEND = "spend"
    PRICE = "price"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One run of a case, as it was observed.

    Attributes:
        index: Which repeat, from 0.
        replies: One a turn, as far as it got.
        trouble, error: Why it could not be played to its end; nothing else counts then. ``None``: it was.
        measured: Results of the assertions that need a call of their own (judges, scripts, webhooks, embeddings), by
            position in ``Case.checks``; what is not here was not measured.
        duration_seconds: With waiting and measuring.
        cached: Every reply came from the cache.
        inclusion: Probability, in (0, 1], with which an adaptive run chose to play this trial; 1 for a planned one.
        wave: Which wave of an adaptive run played it, from 0, the planned ones.
    """

    suite: str
    case_id: str
    index: int = 0
    replies: tuple[Reply, ...] = ()
    trouble: Trouble | None = None
    error: str | None = None
    measured: Mapping[int, AssertionResult] = field(default_factory=dict)
    duration_seconds: float = 0.0
    cached: bool = False
    inclusion: float = 1.0
    wave: int = 0

    @property
    def key(self) -> tuple[str, str, int]:
        """Suite, case, repeat."""
        return self.suite, self.case_id, self.index


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What an assertion looks at.

    Attributes:
        replies: One a turn; never empty.
        duration_seconds: Of the replies, without waits for retries; ``None``: not measured, or from the cache.
    """

    case: Case
    replies: tuple[Reply, ...]
    duration_seconds: float | None = None

    @property
    def text(self) -> str:
        """The last reply, which assertions speak of unless they say otherwise."""
        return self.replies[-1].text


class Measuring(Protocol):
    """Whatever measures an assertion by a call of its own: a judge, a script, a webhook, an embedding model."""

    async def measure(self, assertion: Assertion, observed: Observed, *, repeat: int) -> AssertionResult:
        """What it says; never an exception for an answer that cannot be used, which is ``invalid`` or ``error``."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeHealth:
    """How well the judge agrees with people on the calibration set, in this run.

    Attributes:
        items: Labelled items that were graded.
        sensitivity, specificity: Share of good items it passes, of bad ones it fails, with exact 95 % intervals.
        kappa: Cohen's, against the labels; ``None``: not defined.
        flip_rate: Share of items whose repeated grades disagree; ``None``: graded once.
        problem: Why verdicts of this judge may not be used (drift, too little agreement); ``None``: they may.
        good, bad: Items people call good, and bad; what the corrected pass rate is computed from.
        cost_micros: What trying it cost, in millionths of a US dollar; ``None``: not known.
    """

    items: int
    sensitivity: float | None
    specificity: float | None
    sensitivity_interval: tuple[float, float] = (0.0, 1.0)
    specificity_interval: tuple[float, float] = (0.0, 1.0)
    kappa: float | None = None
    flip_rate: float | None = None
    problem: str | None = None
    good: int = 0
    bad: int = 0
    cost_micros: int | None = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalRun:
    """One evaluation of one subject, scored.

    Attributes:
        run_id: Names its folder.
        attempt_of: Digest over release, effective configuration and instrument: attempts on the same accumulate as
            repeats. ``None``: the subject is not known well enough to accumulate.
        instrument: What measured; two runs compare only when it is the same.
        cases: In the order of the suites.
        trials: By case in that order, then by index.
        results: Of each trial, in the same order.
        judge: ``None``: no judge was used, or there is no calibration set.
        shard: ``(part, parts)``, from 1; ``None``: whole.
        complete: Every planned trial was played to an end, troubled or not, and no limit of the run's own (its time,
            its cap on money, a price nobody knows) cut it short.
        spent_micros: Paid in this run, judges included, in millionths of a US dollar; ``None``: a price is unknown.
        adaptive: Repeats were added where the outcome was in doubt.
    """

    run_id: str
    created_at: datetime
    subject: SubjectInfo
    instrument: Digest
    cases: tuple[tuple[str, Case], ...]
    trials: tuple[Trial, ...]
    results: tuple[CaseResult, ...]
    judge: JudgeHealth | None = None
    shard: tuple[int, int] | None = None
    complete: bool = True
    spent_micros: int | None = 0
    adaptive: bool = False
    attempt_of: Digest | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseTrials:
    """One case's trials on one side, as the gate takes them.

    Attributes:
        cluster: Cases that vary together share it.
        outcomes, scores, tokens, cost_micros, inclusion: One a trial, all of the same length, by index.
        attempts, waves: Which attempt and, within it, which wave of adaptive repeats each trial belongs to, from 0.
        needed: How many of ``planned`` trials must pass.
        tools_expected, tools_met: Expected tool calls over all trials that could be checked, and how many were made.
        max_repeat: Adaptive repeats end here; ``None``: as the policy says.
    """

    suite: str
    case_id: str
    cluster: str
    critical: bool = False
    planned: int = 1
    needed: int = 1
    outcomes: tuple[CaseOutcome, ...] = ()
    scores: tuple[float | None, ...] = ()
    tokens: tuple[int | None, ...] = ()
    cost_micros: tuple[int | None, ...] = ()
    inclusion: tuple[float, ...] = ()
    attempts: tuple[int, ...] = ()
    waves: tuple[int, ...] = ()
    tools_expected: int = 0
    tools_met: int = 0
    max_repeat: int | None = None

    @property
    def decided(self) -> tuple[bool, ...]:
        """Passed or failed, of the trials that could be decided."""
        known = (CaseOutcome.PASSED, CaseOutcome.FAILED)
        return tuple(outcome is CaseOutcome.PASSED for outcome in self.outcomes if outcome in known)


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """Candidate or baseline, as the gate takes it.

    Attributes:
        name: As a report shows it.
        complete: Whether all that was planned is there.
    """

    name: str
    instrument: Digest
    cases: tuple[CaseTrials, ...]
    judge: JudgeHealth | None = None
    complete: bool = True
    created_at: datetime | None = None
    spent_micros: int | None = 0

    @property
    def by_case(self) -> Mapping[tuple[str, str], CaseTrials]:
        """Cases by suite and id."""
        return {(case.suite, case.case_id): case for case in self.cases}


def side_of(runs: Sequence[EvalRun]) -> Side:
    """All attempts on one subject as one side; trials accumulate as repeats, in the order of the attempts.

    Args:
        runs: One or more, oldest first, of one subject with one instrument.

    Raises:
        ValueError: There is none, or their instruments differ.
    """
    if not runs or len({run.instrument for run in runs}) != 1:
        raise ValueError("a side needs runs of one instrument")
    last = runs[-1]
    found: dict[tuple[str, str], list[tuple[int, Trial, CaseResult]]] = {}
    for attempt, run in enumerate(runs):
        for trial, result in zip(run.trials, run.results, strict=True):
            found.setdefault((trial.suite, trial.case_id), []).append((attempt, trial, result))
    spent = [run.spent_micros for run in runs]
    return Side(
        name=last.subject.name,
        instrument=last.instrument,
        cases=tuple(_case_trials(suite, case, found.get((suite, case.id), [])) for suite, case in last.cases),
        judge=_latest_judge(runs),
        complete=all(run.complete for run in runs),
        created_at=last.created_at,
        spent_micros=None if None in spent else sum(one for one in spent if one is not None),
    )


def _latest_judge(runs: Sequence[EvalRun]) -> JudgeHealth | None:
    """Of the latest attempt that had one; an attempt without a judge clears no other."""
    return next((run.judge for run in reversed(runs) if run.judge is not None), None)


def _case_trials(suite: str, case: Case, rows: Sequence[tuple[int, Trial, CaseResult]]) -> CaseTrials:
    return CaseTrials(
        suite=suite,
        case_id=case.id,
        cluster=f"{suite}/{case.family}" if case.family else f"{suite}//{case.id}",
        critical=case.critical,
        planned=case.repeat,
        needed=case.at_least,
        outcomes=tuple(result.outcome for _, _, result in rows),
        scores=tuple(result.score for _, _, result in rows),
        tokens=tuple(result.token_count for _, _, result in rows),
        cost_micros=tuple(result.cost_micros for _, _, result in rows),
        inclusion=tuple(trial.inclusion for _, trial, _ in rows),
        attempts=tuple(attempt for attempt, _, _ in rows),
        waves=tuple(trial.wave for _, trial, _ in rows),
        tools_expected=sum(result.tools_expected for _, _, result in rows),
        tools_met=sum(result.tools_met for _, _, result in rows),
        max_repeat=case.max_repeat,
    )
