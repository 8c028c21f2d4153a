"""The report as JSON, for programs: pure, and of the published schema ``eval-report``.

Full texts of the replies are in the run's own files; here is what was found, with the answers' beginnings.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fairway.evals.plain_text import writable
from fairway.evals.reports.content import CasePair, Played, ReportContent, pair_cases
from fairway.evals.reports.headline import headline
from fairway.evals.reports.summary import Summary, metric_means, summarise
from fairway.evals.trials import EvalRun, JudgeHealth
from fairway.evals.values import AssertionResult

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class SubjectPart:
    """Who was examined.

    Attributes:
        release, effective: Digests; ``None``: not a release, or nobody knows.
    """

    kind: str
    name: str
    release: str | None
    effective: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricPart:
    """Scores of one named metric.

    Attributes:
        mean: Weighted; ``None``: nothing was decided.
    """

    mean: float | None
    decided: int
    undecided: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPart:
    """One side's run.

    Attributes:
        created_at: ISO 8601.
        shard: ``[part, parts]``; ``None``: whole.
        spent_micros: Millionths of a US dollar; ``None``: a price is unknown.
        judge: How well it agrees with people; ``None``: no judge, or no calibration set.
    """

    run_id: str
    created_at: str
    subject: SubjectPart
    instrument: str
    complete: bool
    shard: tuple[int, int] | None
    trials: int
    spent_micros: int | None
    metrics: Mapping[str, MetricPart]
    judge: JudgeHealth | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ViolationPart:
    """Something that does not hold."""

    check: str
    subject: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AssertionPart:
    """What one assertion says.

    Attributes:
        found: ``held``, ``violated``, ``unknown``, ``invalid`` or ``error``.
        score: 0 to 1; ``None``: undecided.
        reason: The judge's; ``None``: no judge.
        detail: What else was found, by type: votes and claims of judges, unmatched calls; ``None``: nothing.
    """

    type: str
    found: str
    score: float | None
    weight: float
    metric: str | None
    message: str
    subject: str
    reason: str | None
    detail: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SidePart:
    """A case on one side.

    Attributes:
        outcome: ``passed``, ``failed``, ``unknown``, ``invalid`` or ``error``, over all repeats.
        trials: Outcome of each repeat.
        tokens, cost_micros: Mean of a trial; ``None``: not known.
        why: Why it did not pass, in one line; empty: it did.
        answer: Beginning of the last reply of the run that is shown.
    """

    outcome: str
    passed: int
    runs: int
    trials: tuple[str, ...]
    score: float | None
    tokens: float | None
    cost_micros: float | None
    duration_seconds: float
    why: str
    undecided: str | None
    violations: tuple[ViolationPart, ...]
    assertions: tuple[AssertionPart, ...]
    answer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CasePart:
    """One case.

    Attributes:
        change: ``newly failing``, ``newly passing``, ``newly undecided``, ``decided now``, ``same``, ``new``,
            ``gone`` or ``alone`` (there is no baseline).
        flag: What its trials say by themselves; ``None``: nothing.
        explanation: What changed in the prompts; empty: not known.
        candidate, baseline: ``None``: that side does not have it.
    """

    suite: str
    case_id: str
    name: str
    critical: bool
    tags: tuple[str, ...]
    rule: str | None
    change: str
    flag: str | None
    explanation: tuple[str, ...]
    candidate: SidePart | None
    baseline: SidePart | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalReport:
    """The report of an evaluation.

    Attributes:
        version: 1; raised when a key changes its meaning or goes.
        verdict: PASS, REGRESSION, FAIL, INCONCLUSIVE, NO_DATA, ERROR or NO VERDICT (no gate was asked).
        exit_code: That of the command: 0, 1, 2 or 3; ``None``: no gate was asked.
        decision: Every figure of the gate with its interval; ``None``: no gate was asked.
    """

    version: int
    title: str
    verdict: str
    exit_code: int | None
    reasons: tuple[str, ...]
    notes: tuple[str, ...]
    decision: Mapping[str, Any] | None
    candidate: RunPart
    baseline: RunPart | None
    cases: tuple[CasePart, ...]


def render_json(content: ReportContent) -> str:
    """The report without its last line's end: one line for each case, so that it can be compared by line."""
    return "".join(json_pieces(content)).rstrip("\n")


def json_pieces(content: ReportContent) -> Iterator[str]:
    """`render_json` in pieces, to be written one after the other: for runs too large to be in memory twice."""
    pairs = pair_cases(content)
    summary = summarise(content, pairs)
    explained = {(one.result.suite, one.result.case_id): one.changed() for one in content.explanations}
    head = _dumps(_without_cases(content, summary), indent=2)
    # the head's closing brace comes after the cases
    yield f'{head[:-2]},\n  "cases": ['
    between = "\n    "
    for pair in pairs:
        yield between + _dumps(_case(pair, summary, explained.get(pair.key, ())))
        between = ",\n    "
    yield "\n  ]\n}\n"


def _without_cases(content: ReportContent, summary: Summary) -> dict[str, Any]:
    decision = content.decision
    wire = decision.to_json() if decision else None
    if wire is not None:
        del wire["cases"]  # told with each case
    report = EvalReport(
        version=SCHEMA_VERSION,
        title=content.title,
        verdict=summary.word,
        exit_code=decision.exit_code if decision else None,
        reasons=summary.reasons,
        notes=summary.notes,
        decision=wire,
        candidate=_run(content.candidate),
        baseline=_run(content.baseline) if content.baseline else None,
        cases=(),
    )
    told = dataclasses.asdict(report)
    del told["cases"]
    return told


def _run(run: EvalRun) -> RunPart:
    subject = run.subject
    means = metric_means(run)
    return RunPart(
        run_id=run.run_id,
        created_at=run.created_at.isoformat(),
        subject=SubjectPart(kind=subject.kind, name=subject.name, release=subject.release, effective=subject.effective),
        instrument=run.instrument,
        complete=run.complete,
        shard=run.shard,
        trials=len(run.trials),
        spent_micros=run.spent_micros,
        metrics={
            name: MetricPart(mean=mean, decided=decided, undecided=undecided)
            for name, (mean, decided, undecided) in means.items()
        },
        judge=run.judge,
    )


def _case(pair: CasePair, summary: Summary, explanation: tuple[str, ...]) -> dict[str, Any]:
    return dataclasses.asdict(
        CasePart(
            suite=pair.suite,
            case_id=pair.case.id,
            name=pair.case.name,
            critical=pair.case.critical,
            tags=pair.case.tags,
            rule=pair.case.rule,
            change=pair.change.value,
            flag=summary.flags.get(pair.key),
            explanation=explanation,
            candidate=_side(pair.candidate),
            baseline=_side(pair.baseline),
        )
    )


def _side(played: Played | None) -> SidePart | None:
    if played is None:
        return None
    result = played.result
    return SidePart(
        outcome=result.outcome.value,
        passed=played.passed,
        runs=len(played.rows),
        trials=tuple(one.outcome.value for _, one in played.rows),
        score=result.score,
        tokens=played.tokens,
        cost_micros=played.cost_micros,
        duration_seconds=round(sum(trial.duration_seconds for trial, _ in played.rows), 3),
        why=headline(result),
        undecided=result.undecided,
        violations=tuple(
            ViolationPart(check=one.check, subject=one.subject, message=one.message) for one in result.violations
        ),
        assertions=tuple(_assertion(one) for one in result.assertions),
        answer=result.response_preview,
    )


def _assertion(one: AssertionResult) -> AssertionPart:
    return AssertionPart(
        type=one.type,
        found=one.found.value,
        score=one.score,
        weight=one.weight,
        metric=one.metric,
        message=one.message,
        subject=one.subject,
        reason=one.reason,
        detail=one.detail or None,
    )


def _dumps(value: dict[str, Any], *, indent: int | None = None) -> str:
    return json.dumps(_plain(value), ensure_ascii=False, allow_nan=False, indent=indent)


def _plain(value: Any) -> Any:
    """What a file of JSON can hold: texts without halves of surrogate pairs, and null for what is not finite."""
    if isinstance(value, str):
        return writable(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {writable(str(key)): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return value
