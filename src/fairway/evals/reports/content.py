"""What a report tells, whatever its format: one evaluation, what it is compared with, and what was decided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from fairway.evals.gating.decision import EvalDecision
from fairway.evals.reports.explain import Explanation
from fairway.evals.scoring import combine_runs
from fairway.evals.trials import EvalRun, Trial
from fairway.evals.values import UNDECIDED, Case, CaseOutcome, CaseResult


class Change(StrEnum):
    """A case against the baseline. A change of the outcome alone proves nothing: agents flip; the gate has the test.

    ``new``: the baseline did not have it. ``gone``: only the baseline had it. ``alone``: there is no baseline.
    """

    NEWLY_FAILING = "newly failing"
    NEWLY_PASSING = "newly passing"
    NEWLY_UNDECIDED = "newly undecided"
    DECIDED_NOW = "decided now"
    SAME = "same"
    NEW = "new"
    GONE = "gone"
    ALONE = "alone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """A case on one side.

    Attributes:
        rows: Trials with their results, by index.
        result: Over all repeats; the run it shows is the first that decided it.
    """

    rows: tuple[tuple[Trial, CaseResult], ...]
    result: CaseResult

    @property
    def passed(self) -> int:
        """How many trials passed."""
        return sum(result.outcome is CaseOutcome.PASSED for _, result in self.rows)

    @property
    def tokens(self) -> float | None:
        """Mean tokens of a trial; ``None``: of one it is not known."""
        return _mean([result.token_count for _, result in self.rows])

    @property
    def cost_micros(self) -> float | None:
        """Mean cost of a trial in millionths of a US dollar; ``None``: of one it is not known."""
        return _mean([result.cost_micros for _, result in self.rows])

    @property
    def shown(self) -> Trial | None:
        """The trial to look at first: the first one that did not pass when the case did not, else the first."""
        wrong = (trial for trial, result in self.rows if result.outcome is self.result.outcome)
        return next(wrong, self.rows[0][0] if self.rows else None)


@dataclass(frozen=True, slots=True, kw_only=True)
class CasePair:
    """A case on both sides; ``None``: that side did not have it."""

    suite: str
    case: Case
    candidate: Played | None
    baseline: Played | None
    change: Change

    @property
    def key(self) -> tuple[str, str]:
        """Suite and case."""
        return self.suite, self.case.id

    @property
    def result(self) -> CaseResult:
        """The candidate's; of a case that is gone the baseline's."""
        played = self.candidate or self.baseline
        assert played is not None
        return played.result


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportContent:
    """Everything a report shows.

    Attributes:
        title: What was examined, in one line.
        baseline: What it is compared with; ``None``: with nothing, and the report says so.
        explanations: Of cases that did not pass: the rule that is gone, what changed in the prompts.
        decision: What the gate found; it may rest on more attempts than the one that is shown. ``None``: nothing was
            decided, and the report says so.
        see_more: The command or place that shows more; ``None``: nothing to add.
    """

    title: str
    candidate: EvalRun
    baseline: EvalRun | None = None
    decision: EvalDecision | None = None
    explanations: tuple[Explanation, ...] = ()
    see_more: str | None = None


def pair_cases(content: ReportContent) -> tuple[CasePair, ...]:
    """Every case of both sides in the candidate's order, then what only the baseline has."""
    mine = _by_case(content.candidate)
    theirs = _by_case(content.baseline) if content.baseline else {}
    pairs = []
    known = set()
    for suite, case in content.candidate.cases:
        known.add((suite, case.id))
        candidate = _played(suite, case, mine.get((suite, case.id), []))
        other = _baseline_case(content, suite, case, theirs)
        change = _change(candidate.result, other.result) if other else Change.NEW if content.baseline else Change.ALONE
        pairs.append(CasePair(suite=suite, case=case, candidate=candidate, baseline=other, change=change))
    for suite, case in content.baseline.cases if content.baseline else ():
        if (suite, case.id) not in known:
            gone = _played(suite, case, theirs.get((suite, case.id), []))
            pairs.append(CasePair(suite=suite, case=case, candidate=None, baseline=gone, change=Change.GONE))
    return tuple(pairs)


_Rows = list[tuple[Trial, CaseResult]]


def _by_case(run: EvalRun) -> Mapping[tuple[str, str], _Rows]:
    found: dict[tuple[str, str], _Rows] = {}
    for trial, result in zip(run.trials, run.results, strict=True):
        found.setdefault((trial.suite, trial.case_id), []).append((trial, result))
    return found


def _baseline_case(
    content: ReportContent, suite: str, case: Case, rows: Mapping[tuple[str, str], _Rows]
) -> Played | None:
    if content.baseline is None or (suite, case.id) not in rows:
        return None
    return _played(suite, case, rows[suite, case.id])


def _played(suite: str, case: Case, rows: Sequence[tuple[Trial, CaseResult]]) -> Played:
    return Played(rows=tuple(rows), result=_over_repeats(suite, case, [result for _, result in rows]))


def _over_repeats(suite: str, case: Case, results: Sequence[CaseResult]) -> CaseResult:
    """The case's result; a case that was not played is unknown."""
    if results:
        return combine_runs(case, results)
    return CaseResult(
        suite=suite,
        case_id=case.id,
        name=case.name,
        outcome=CaseOutcome.UNKNOWN,
        critical=case.critical,
        rule=case.rule,
        undecided="it was not played",
        runs=0,
    )


def _change(now: CaseResult, before: CaseResult) -> Change:
    undecided_now, undecided_before = now.outcome in UNDECIDED, before.outcome in UNDECIDED
    if undecided_now and not undecided_before:
        return Change.NEWLY_UNDECIDED
    if undecided_before and not undecided_now:
        return Change.DECIDED_NOW
    if now.outcome is CaseOutcome.FAILED and before.outcome is CaseOutcome.PASSED:
        return Change.NEWLY_FAILING
    if now.outcome is CaseOutcome.PASSED and before.outcome is CaseOutcome.FAILED:
        return Change.NEWLY_PASSING
    return Change.SAME


def _mean(values: Sequence[int | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None
