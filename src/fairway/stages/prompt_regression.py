"""Every suite against the agent as it would run: the examined bundle, the configured environment, the mock model."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fairway.evals.evaluation import Evaluation, evaluate, scored
from fairway.evals.history.attempts import sides_digest
from fairway.evals.history.folders import EvalHistory, RunHeader, new_run_id
from fairway.evals.playing_out import CANDIDATE, Measured, Outcome, Playing
from fairway.evals.reports.as_json import render_json
from fairway.evals.reports.content import ReportContent, pair_cases
from fairway.evals.reports.explain import Explanation, explain_case, prompt_changes
from fairway.evals.reports.html import render_html
from fairway.evals.reports.junit import render_junit
from fairway.evals.reports.markdown import render_markdown
from fairway.evals.running.options import RunOptions
from fairway.evals.running.spend import SpendCap
from fairway.evals.trials import Trial
from fairway.evals.values import PASS_SCORE, CaseOutcome, CaseResult, RunResult
from fairway.pipeline.port import StageOutcome, StageStatus
from fairway.stages.blessed import LedgerBaselines
from fairway.stages.config import StageSection
from fairway.stages.context import DeliveryContext
from fairway.stages.eval_baseline import Compared, compared_with
from fairway.stages.eval_subjects import agent_subject, case_seconds, measuring_of
from fairway.stages.examining import Examination, examine, policy_of
from fairway.stages.previous_prompts import previous_prompt_texts, prompt_texts
from fairway.stages.ready_service import ReadyService
from fairway.stages.regression_findings import regression_findings, without_cases
from fairway.stages.serving import serving
from fairway.units import Digest, Verdict

PIPELINE = "pipeline"
"""In what was asked of a run: the run of the pipeline it belongs to."""
_MICROS = 1_000_000
_STATUS = {
    Verdict.PASS: StageStatus.PASSED,
    Verdict.FAIL: StageStatus.FAILED,
    Verdict.INCONCLUSIVE: StageStatus.FAILED,
    Verdict.NO_DATA: StageStatus.FAILED,
}


class PromptRegression:
    """Plays the suites and lets the gate decide."""

    id = "prompt_regression"
    title = "Prompt regression"
    after = ("static_analysis",)

    def cache_key(self, context: DeliveryContext) -> str | None:
        """The registry's: content, instrument, settings, and what it is compared with."""
        return context.opening.node.key(context)

    async def run(self, context: DeliveryContext) -> StageOutcome:
        """Start the agent, and what it is compared with; play every case, decide."""
        context.settings(StageSection)
        tree = await context.tree(instrument=False)
        examined = await asyncio.to_thread(examine, tree, context.bundle)
        if not any(suite.cases for suite in examined.suites):
            return without_cases(context, examined)
        async with AsyncExitStack() as stack:
            served = await stack.enter_async_context(serving(context, examined.environment))
            compared = await compared_with(context, examined, stack)
            evaluation = await _evaluate(context, examined, served, compared, stack)
        results = tuple(pair.result for pair in pair_cases(_content(evaluation, ())))
        explanations = await asyncio.to_thread(_explain, context, examined, results)
        return _outcome(context, examined, _Found(served, compared, evaluation, results, explanations))


@dataclass(frozen=True, slots=True)
class _Found:
    """What came of it."""

    served: ReadyService
    compared: Compared
    evaluation: Evaluation
    results: tuple[CaseResult, ...]
    explanations: tuple[Explanation, ...]


async def _evaluate(
    context: DeliveryContext,
    examined: Examination,
    served: ReadyService,
    compared: Compared,
    stack: AsyncExitStack,
) -> Evaluation:
    """Every case; when the run is cancelled, what was done is on disk."""
    evals, judges = examined.evals, examined.judges
    measured = Measured(
        suites=examined.suites,
        plan=tuple((suite.name, case.id) for suite in examined.suites for case in suite.cases),
        instrument=examined.instrument(),
        threshold=PASS_SCORE if judges is None else judges.settings.threshold,
    )
    history = EvalHistory(context.state.evals)
    spend = None if evals.spend is None else SpendCap(round(evals.spend * _MICROS))
    subject = await agent_subject(served, evals, stack, version=context.delivery.shown_version)
    other = None if compared.subject is None else compared.subject.info
    sides = sides_digest(subject.info, other, compared.stored)
    header = _header(context, examined, served, measured, history, sides)
    measuring = await measuring_of(
        examined,
        measured.suites,
        stack,
        clock=context.clock,
        state=context.state,
        spend=spend,
        mock_url=served.mock_llm_url,
        folder=await context.tree(),
    )
    playing = Playing(
        measured=measured,
        candidate=subject,
        baseline=compared.subject,
        stored=compared.stored,
        options=RunOptions(
            concurrency=evals.concurrency,
            case_timeout_seconds=case_seconds(evals, measured.suites),
            call_timeout_seconds=evals.timeout,
            retries=evals.retries,
            threshold=measured.threshold,
            run_id=header.run_id,
            conversations_kept=False,
        ),
        policy=policy_of(evals, compared=compared.compares, interleaved=compared.subject is not None),
        measuring=measuring.measuring,
        health=measuring.health,
        spend=spend,
        prices=measuring.prices,
    )
    with _partly_kept(context, header, playing) as tell:
        evaluation = await evaluate(history, header, playing, clock=context.clock, on_trial=tell)
    if history.crowded:
        history.prune(blessed=[one.run_id for one in LedgerBaselines(context.ledger).all()])
    return evaluation


def _header(
    context: DeliveryContext,
    examined: Examination,
    served: ReadyService,
    measured: Measured,
    history: EvalHistory,
    sides: Digest,
) -> RunHeader:
    """Of a new run, or of the one this run of the pipeline began before it was stopped."""
    asked = {PIPELINE: context.delivery.run_id}
    for header in history.headers():
        if not header.ended and (header.asked, header.instrument, header.sides) == (asked, measured.instrument, sides):
            return header
    now = context.clock.now()
    return RunHeader(
        run_id=new_run_id(now),
        created_at=now,
        agent=context.project.name,
        environment=examined.environment,
        asked=asked,
        plan=measured.plan,
        subject=context.delivery.shown_version,
        release=context.delivery.shown_version,
        instrument=measured.instrument,
        effective=served.effective,
        sides=sides,
    )


@contextmanager
def _partly_kept(context: DeliveryContext, header: RunHeader, playing: Playing) -> Iterator[Any]:
    """Tell how it goes; write the results so far when it is stopped in the middle."""
    trials: list[Trial] = []
    failed = 0

    def tell(side: str, trial: Trial, done: int, total: int) -> None:
        nonlocal failed
        if side == CANDIDATE:
            trials.append(trial)
        context.progress(f"{done} of {total} {'trials' if total > len(playing.measured.plan) else 'cases'}")

    try:
        yield tell
    except BaseException:
        outcome = Outcome(trials={}, complete=False)
        run = scored(
            playing.measured,
            playing.candidate.info,
            trials,
            run_id=header.run_id,
            created_at=header.created_at,
            outcome=outcome,
        )
        _write_results(context, RunResult(details=run.results))
        raise


def _write_results(context: DeliveryContext, result: RunResult, **more: Any) -> Path:
    path = context.workdir / "results.json"
    wire = {**result.to_json(), **more}
    path.write_text(json.dumps(wire, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def _explain(context: DeliveryContext, examined: Examination, results: Sequence[CaseResult]) -> tuple[Explanation, ...]:
    """Why each case that did not pass did not, with what changed in the prompts since the last release."""
    wrong = [result for result in results if not result.passed]
    if not wrong:
        return ()
    current = prompt_texts(examined.project, examined.environment)
    folder = context.workdir / "previous"
    previous = previous_prompt_texts(context.bundle, examined.environment, folder)
    changes = () if previous is None else prompt_changes(previous, current)
    return tuple(explain_case(result, changes, previous=previous, current=current) for result in wrong)


def _content(evaluation: Evaluation, explanations: Sequence[Explanation], title: str = "") -> ReportContent:
    return ReportContent(
        title=title,
        candidate=evaluation.run,
        baseline=evaluation.baseline,
        explanations=tuple(explanations),
        decision=evaluation.decision,
        see_more=f"fairway eval show {evaluation.run.run_id}",
    )


def _outcome(context: DeliveryContext, examined: Examination, found: _Found) -> StageOutcome:
    evaluation, served = found.evaluation, found.served
    decision = evaluation.decision
    attempt = f", attempt {evaluation.attempt}" if evaluation.attempt > 1 else ""
    title = (
        f"{context.delivery.shown_version} as in {served.environment}{attempt}, instrument {evaluation.run.instrument}"
    )
    content = _content(evaluation, found.explanations, title)
    figures = {**_figures(found.results, evaluation), **_compared(found)}
    evidence = context.found(
        decision.verdict, figures=figures, environment=served.environment, effective=served.effective, instrument=True
    )
    return StageOutcome(
        status=_STATUS.get(decision.verdict, StageStatus.ERROR),
        summary=f"{_summary(evaluation, found.results)}{attempt}",
        details={
            **figures,
            "verdict": decision.verdict.value,
            "label": decision.label,
            "reasons": list(decision.reasons),
            "environment": served.environment,
            "instrument": evaluation.run.instrument,
        },
        findings=regression_findings(examined, evaluation, found.explanations, found.compared),
        evidence=(replace(evidence, instrument=evaluation.run.instrument),),
        artifacts=_artifacts(context, content, found),
    )


def _summary(evaluation: Evaluation, results: Sequence[CaseResult]) -> str:
    """The gate's first reason, and what was seen of the first case that made it say so."""
    decision = evaluation.decision
    first = decision.blocking[0].name if decision.blocking else None
    result = next((one for one in results if f"{one.suite}/{one.case_id}" == first), None)
    if result is None or result.passed:
        return decision.reasons[0]
    more = len(result.violations) - 1
    said = result.undecided or (result.violations[0].message if result.violations else "")
    return f"{decision.reasons[0]}: {said}" + (f" and {more} more" if more > 0 else "") if said else decision.reasons[0]


def _artifacts(context: DeliveryContext, content: ReportContent, found: _Found) -> dict[str, Path]:
    """The reports of the run."""
    folder = context.workdir
    results = _write_results(context, RunResult(details=found.results), decision=found.evaluation.decision.to_json())
    paths = {name: folder / name for name in ("report.md", "report.html", "report.json", "junit.xml")}
    paths["report.md"].write_text(render_markdown(content), encoding="utf-8")
    paths["report.json"].write_text(render_json(content), encoding="utf-8")
    paths["junit.xml"].write_text(render_junit(content), encoding="utf-8")
    with paths["report.html"].open("w", encoding="utf-8") as file:
        file.writelines(render_html(content))
    return {"results.json": results, **paths}


def _figures(results: Sequence[CaseResult], evaluation: Evaluation) -> dict[str, Any]:
    run = RunResult(details=tuple(results))
    tokens = [result.token_count for result in results]
    spent = evaluation.run.spent_micros
    return {
        "total": len(results),
        "passed": run.count(CaseOutcome.PASSED),
        "failed": run.count(CaseOutcome.FAILED),
        "errors": run.count(CaseOutcome.ERROR),
        "invalid": run.count(CaseOutcome.INVALID),
        "unknown": run.count(CaseOutcome.UNKNOWN),
        "pass_rate": run.pass_rate,
        "tool_accuracy": run.tool_accuracy,
        # a sum with an unknown part is unknown
        "tokens": None if None in tokens else sum(count for count in tokens if count is not None),
        "spent_usd": None if spent is None else spent / _MICROS,
        "attempt": evaluation.attempt,
        "run_id": evaluation.run.run_id,
    }


def _compared(found: _Found) -> dict[str, Any]:
    """What the evidence says of the comparison."""
    quality = found.evaluation.decision.quality
    told: dict[str, Any] = {"compared_with": found.compared.name}
    if quality is None:
        return told
    interval = quality.difference
    return {
        **told,
        "difference": interval.estimate,
        "difference_low": interval.low,
        "difference_high": interval.high,
        "baseline_pass_rate": quality.baseline,
    }
