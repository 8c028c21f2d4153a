"""The verdict and the figures above the cases, in the words every report uses: pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from fairway.evals.gating.decision import (
    CaseFigure,
    EvalDecision,
    Flag,
    Interval,
    PassPower,
    Quality,
    Ratio,
)
from fairway.evals.judges.corrected import corrected_pass_rate
from fairway.evals.reports.content import CasePair, Change, ReportContent
from fairway.evals.reports.figures import chance, count, money, percent, points, seconds, times
from fairway.evals.trials import EvalRun, JudgeHealth
from fairway.evals.values import UNDECIDED, CaseOutcome, Found
from fairway.units import Verdict

_TONES = {Verdict.PASS: "good", Verdict.FAIL: "bad"}
_OUTCOME_WORDS = {CaseOutcome.INVALID: "without a valid grade", CaseOutcome.ERROR: "in error"}
NO_VERDICT = "NO VERDICT"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """A figure as a person reads it: what it is of, its value, and its interval or remark."""

    name: str
    value: str
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What stands above the cases.

    Attributes:
        word: The verdict.
        tone: ``good``, ``bad`` or ``open``, for its colour.
        reasons: Most important first; never empty.
        tiles: The few figures to see first.
        facts: Every other figure.
        notes: What decides nothing but must be said; of an inconclusive comparison, what would decide it.
        flags: Remarks of the gate about single cases, by suite and case.
    """

    word: str
    tone: str
    reasons: tuple[str, ...]
    tiles: tuple[Fact, ...]
    facts: tuple[Fact, ...] = ()
    notes: tuple[str, ...] = ()
    flags: Mapping[tuple[str, str], str] = field(default_factory=dict)


def summarise(content: ReportContent, pairs: Sequence[CasePair]) -> Summary:
    """The summary of a report.

    Args:
        content: The report.
        pairs: Its cases, of `pair_cases`.
    """
    decision = content.decision
    flagged = [case for case in decision.cases if case.flag is not Flag.NONE] if decision else []
    return Summary(
        word=decision.label if decision else NO_VERDICT,
        tone=_TONES.get(decision.verdict, "open") if decision else "open",
        reasons=decision.reasons if decision else ("no gate was asked: this shows only what was found",),
        tiles=tuple(_tiles(content, pairs)),
        facts=tuple(_facts(content, pairs)),
        notes=tuple(_notes(content)),
        flags={(case.suite, case.case_id): flag_text(case) for case in flagged},
    )


def flag_text(case: CaseFigure) -> str:
    """What the trials of one case say by themselves, in a few words."""
    return f"{case.flag.value} (p = {chance(case.adjusted)} after Holm)"


def _notes(content: ReportContent) -> Iterator[str]:
    decision, run = content.decision, content.candidate
    if decision is not None:
        yield from decision.notes
        if decision.attempts > 1:
            yield f"the verdict rests on {decision.attempts} attempts; the last one is shown"
    if not run.complete:
        yield "the run is not complete"
    if run.shard is not None:
        yield f"this is shard {run.shard[0]} of {run.shard[1]}"


def _tiles(content: ReportContent, pairs: Sequence[CasePair]) -> Iterator[Fact]:
    mine = [pair.candidate.result for pair in pairs if pair.candidate]
    passed = sum(result.outcome is CaseOutcome.PASSED for result in mine)
    yield Fact(name="Cases passed", value=f"{passed} of {len(mine)}", note=percent(passed / len(mine)) if mine else "")
    undecided = sum(result.outcome in UNDECIDED for result in mine)
    if undecided:
        yield Fact(name="Undecided", value=str(undecided))
    if content.baseline is not None:
        for name, change in (("Newly failing", Change.NEWLY_FAILING), ("Newly passing", Change.NEWLY_PASSING)):
            yield Fact(name=name, value=str(sum(pair.change is change for pair in pairs)))
    decision = content.decision
    if decision is not None and decision.quality is not None:
        difference = decision.quality.difference
        yield Fact(name="Pass rate", value=f"{points(difference.estimate)} points", note=_between(difference, points))
    for name, ratio in (("Cost", decision.cost), ("Tokens", decision.tokens)) if decision else ():
        if ratio is not None and ratio.ratio is not None:
            yield Fact(name=name, value=times(ratio.ratio.estimate), note=_between(ratio.ratio, times))
    yield Fact(name="Spent", value=money(content.candidate.spent_micros))


def _facts(content: ReportContent, pairs: Sequence[CasePair]) -> Iterator[Fact]:
    yield from _counts(content, pairs)
    decision = content.decision
    if decision is not None:
        yield from _decided(decision)
    yield from _metrics(content)
    sides = [("Candidate", content.candidate)]
    if content.baseline is not None:
        sides.append(("Baseline", content.baseline))
    for side, run in sides:
        yield from _run(side, run)


def _counts(content: ReportContent, pairs: Sequence[CasePair]) -> Iterator[Fact]:
    mine = [pair.candidate.result.outcome for pair in pairs if pair.candidate]
    theirs = [pair.baseline.result.outcome for pair in pairs if pair.baseline]
    for outcome in CaseOutcome:
        if outcome not in mine and outcome not in theirs:
            continue
        note = f"baseline {theirs.count(outcome)}" if content.baseline else ""
        word = _OUTCOME_WORDS.get(outcome, outcome.value)
        yield Fact(name=f"Cases {word}", value=str(mine.count(outcome)), note=note)
    if content.baseline is not None:
        for change in (Change.NEWLY_UNDECIDED, Change.DECIDED_NOW, Change.NEW, Change.GONE):
            number = sum(pair.change is change for pair in pairs)
            if number:
                yield Fact(name=f"Cases {change.value}", value=str(number))


def _decided(decision: EvalDecision) -> Iterator[Fact]:
    rule = "against a baseline" if decision.compared else "share of failed cases; compared with nothing"
    yield Fact(name="Rule", value=rule)
    if decision.quality is not None:
        yield from _quality(decision.quality)
    if decision.pass_power is not None:
        yield _pass_power(decision.pass_power)
    if decision.cost is not None:
        yield from _ratio("Cost of a case", decision.cost, money)
    if decision.tokens is not None:
        yield from _ratio("Tokens of a case", decision.tokens, count)
    if decision.tool_accuracy is not None:
        yield Fact(name="Expected tool calls made", value=percent(decision.tool_accuracy))


def _quality(quality: Quality) -> Iterator[Fact]:
    over = f"{quality.cases} cases"
    if quality.clusters != quality.cases:
        over += f" in {quality.clusters} families"
    trials = f"{quality.trials[0]} and {quality.trials[1]} trials"
    value = f"{percent(quality.candidate)}, baseline {percent(quality.baseline)}"
    yield Fact(name="Pass rate", value=value, note=f"{over}, {trials}")
    interval = quality.difference
    yield Fact(
        name="Difference",
        value=f"{points(interval.estimate)} points",
        note=f"{_between(interval, points)} at {interval.confidence:.0%} ({quality.rule})",
    )
    value = f"p = {chance(quality.p_regression)}"
    yield Fact(name="“No change” against “worse”", value=value, note=f"a regression below {quality.alpha:.3g}")
    yield Fact(name="Shown to be within the margin", value="yes" if quality.within_margin else "no")


def _pass_power(power: PassPower) -> Fact:
    note = f"mean of {power.cases} cases" + (
        f", baseline {percent(power.baseline)}" if power.baseline is not None else ""
    )
    return Fact(name=f"All of {power.k} fresh runs pass", value=percent(power.candidate), note=note)


def _ratio(name: str, ratio: Ratio, shown: Callable[[float | None], str]) -> Iterator[Fact]:
    if ratio.means is not None:
        yield Fact(name=name, value=f"{shown(ratio.means[0])}, baseline {shown(ratio.means[1])}", note="mean")
    parts = []
    if ratio.ratio is not None:
        parts.append(f"{_between(ratio.ratio, times)} at {ratio.ratio.confidence:.0%}")
    if ratio.limit is not None:
        parts.append(f"at most {times(ratio.limit)}: {ratio.verdict.value}")
    if ratio.unknown:
        parts.append(f"unknown for {len(ratio.unknown)} cases, first {ratio.unknown[0]}")
    value = times(ratio.ratio.estimate if ratio.ratio else None)
    yield Fact(name=f"{name}, against the baseline", value=value, note="; ".join(parts))


def _metrics(content: ReportContent) -> Iterator[Fact]:
    """Mean score by named metric, over the assertions that could be decided."""
    mine = metric_means(content.candidate)
    theirs = metric_means(content.baseline) if content.baseline else {}
    for name, (mean, decided, undecided) in sorted(mine.items()):
        parts = [f"{decided} scores"]
        if undecided:
            parts.append(f"{undecided} undecided")
        if theirs.get(name, (None,))[0] is not None:
            parts.append(f"baseline {theirs[name][0]:.3f}")
        yield Fact(name=f"Metric {name}", value="unknown" if mean is None else f"{mean:.3f}", note=", ".join(parts))


def metric_means(run: EvalRun) -> Mapping[str, tuple[float | None, int, int]]:
    """Of each named metric: weighted mean score (``None``: nothing was decided), decided results, undecided ones."""
    sums: dict[str, list[float]] = {}
    for result in run.results:
        for one in result.assertions:
            if one.metric is None:
                continue
            total = sums.setdefault(one.metric, [0.0, 0.0, 0.0, 0.0])
            if one.score is None or one.found not in (Found.HELD, Found.VIOLATED):
                total[3] += 1
                continue
            weight = one.weight or 1.0  # recording is what an assertion of weight 0 is for
            total[0] += weight * one.score
            total[1] += weight
            total[2] += 1
    return {
        name: (score / weight if weight else None, int(decided), int(undecided))
        for name, (score, weight, decided, undecided) in sums.items()
    }


def _run(side: str, run: EvalRun) -> Iterator[Fact]:
    yield Fact(name=side, value=run.subject.name, note=f"run {run.run_id}, {run.created_at:%Y-%m-%d %H:%M} UTC")
    yield Fact(name=f"{side}: instrument", value=run.instrument)
    if run.subject.release is not None:
        yield Fact(name=f"{side}: release", value=run.subject.release)
    cached = sum(trial.cached for trial in run.trials)
    note = f"{cached} from the cache" if cached else ""
    yield Fact(name=f"{side}: trials", value=count(len(run.trials)), note=note)
    played = sum(trial.duration_seconds for trial in run.trials)
    yield Fact(name=f"{side}: spent", value=money(run.spent_micros), note=f"{seconds(played)} of trials, added up")
    if run.judge is not None:
        yield _judge(side, run.judge)
        yield from _corrected(side, run)


def _judge(side: str, judge: JudgeHealth) -> Fact:
    parts = [
        f"passes {percent(judge.sensitivity)} of good answers",
        f"fails {percent(judge.specificity)} of bad ones",
    ]
    if judge.kappa is not None:
        parts.append(f"kappa {judge.kappa:.2f}")
    if judge.flip_rate is not None:
        parts.append(f"{percent(judge.flip_rate)} flip when graded again")
    value = f"not to be used: {judge.problem}" if judge.problem else "agrees with people"
    return Fact(name=f"{side}: judge", value=value, note=f"{judge.items} labelled answers; " + ", ".join(parts))


def _corrected(side: str, run: EvalRun) -> Iterator[Fact]:
    """What the judged pass rate says once the judge's errors are taken into account."""
    found = corrected_pass_rate(run.judge, run.results) if run.judge is not None else None
    if found is not None:
        held = f"{percent(found.rate)} (95 %: {percent(found.lower)} to {percent(found.upper)})"
        note = f"the judge counted {percent(found.judged)}; corrected for how often it errs on labelled answers"
        yield Fact(name=f"{side}: judged truly", value=held, note=note)


def _between(interval: Interval, shown: Callable[[float | None], str]) -> str:
    return f"{shown(interval.low)} to {shown(interval.high)}"
