"""Every suite against the agent as it would run: the examined bundle, the configured environment, the mock model."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fairway.bundle.overlay import Overlay, ResolvedModel
from fairway.evals.config import EvalsSection
from fairway.evals.gating.simple import GateFinding, GatePolicy, judge_run
from fairway.evals.instrument import instrument_digest
from fairway.evals.judges.settings import JudgeSettings
from fairway.evals.judges.single import Judge
from fairway.evals.reports.explain import Explanation, explain_case, prompt_changes
from fairway.evals.reports.stage_report import report_markdown
from fairway.evals.running.suite_runner import RunOptions, SuiteRunner
from fairway.evals.subjects.arm import HttpAgent, chat_mapping
from fairway.evals.suites.load import load_suites
from fairway.evals.values import CaseOutcome, CaseResult, RunResult, Suite
from fairway.llm.client import OpenAIModelClient
from fairway.pipeline.port import Finding, StageOutcome, StageStatus
from fairway.project.load import Project, load_project
from fairway.stages.config import DEFAULT_ENVIRONMENT, StageSection
from fairway.stages.context import DeliveryContext
from fairway.stages.eval_judge import judge_endpoint, judge_settings, judged_by
from fairway.stages.previous_prompts import previous_prompt_texts, prompt_texts
from fairway.stages.ready_service import ReadyService
from fairway.stages.serving import serving
from fairway.units import WHOLE, Digest, Verdict

_MOST_FINDINGS = 50
_HOW_TO_ADD = (
    "add evals/suites/<name>.yaml with `cases:` (each: id, input, expected_keywords or expected_tools), "
    "or say `evals: {required: false}`"
)
_STATUS = {Verdict.PASS: StageStatus.PASSED, Verdict.FAIL: StageStatus.FAILED, Verdict.NO_DATA: StageStatus.FAILED}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Examination:
    """What is examined, with what.

    Attributes:
        judge: How rubrics are graded; ``None``: no judge is configured.
        judge_model: The model behind it.
    """

    project: Project
    evals: EvalsSection
    environment: str
    overlay: Overlay
    suites: tuple[Suite, ...]
    judge: JudgeSettings | None
    judge_model: ResolvedModel | None
    instrument: Digest

    @property
    def policy(self) -> GatePolicy:
        """The gate's limits as the project sets them; what cannot be checked is never tolerated."""
        return GatePolicy(
            max_failed=self.evals.maximum_failed / WHOLE,
            max_errors=self.evals.errors / WHOLE,
            max_invalid=self.evals.errors / WHOLE,
            min_tool_accuracy=self.evals.tool_accuracy,
        )


class PromptRegression:
    """Plays the suites and lets the gate decide."""

    id = "prompt_regression"
    title = "Prompt regression"
    after = ("static_analysis",)

    def cache_key(self, context: DeliveryContext) -> str | None:
        """The registry's: content, instrument, settings."""
        return context.opening.node.key(context)

    async def run(self, context: DeliveryContext) -> StageOutcome:
        """Start the agent, play every case, decide."""
        context.settings(StageSection)
        tree = await context.tree(instrument=False)
        examined = await asyncio.to_thread(_examine, context, tree)
        if not any(suite.cases for suite in examined.suites):
            return _without_cases(context, examined)
        async with serving(context, examined.environment) as served:
            run = await _play(context, examined, served)
        gate = judge_run(run, examined.policy)
        explanations = await asyncio.to_thread(_explain, context, examined, run)
        return _outcome(context, examined, served, run, gate, explanations)


def _examine(context: DeliveryContext, tree: Path) -> _Examination:
    """Read what the run needs, from the examined content only.

    Raises:
        UserError: A suite, the judge or the environment is wrong.
    """
    project = load_project(tree)
    evals = project.evals
    environment = evals.environment or DEFAULT_ENVIRONMENT
    overlay = project.overlay(environment)
    bundle = context.bundle
    suites = load_suites([file.path for file in bundle.files], bundle.read, evals.suites)
    judge: JudgeSettings | None = None
    model: ResolvedModel | None = None
    if evals.judge is not None and evals.judge.enabled:
        model = judged_by(project, overlay, evals.judge)
        guidance = bundle.read(evals.judge.rubric) if evals.judge.rubric else None
        judge = judge_settings(evals.judge, model, guidance)
    scenario = project.llm.mock.scenario if overlay.uses_mock_models else None
    mock = bundle.read(scenario) if scenario is not None and bundle.find(scenario) else None
    return _Examination(
        project=project,
        evals=evals,
        environment=environment,
        overlay=overlay,
        suites=tuple(_repeated(suite, evals.repeat) for suite in suites),
        judge=judge,
        judge_model=model,
        instrument=instrument_digest(suites, judge=judge, mock_scenario=mock),
    )


def _repeated(suite: Suite, repeat: int) -> Suite:
    """The project's number of runs for cases that do not say their own; all of them must pass."""
    cases = tuple(case if case.repeat > 1 else replace(case, repeat=repeat, at_least=repeat) for case in suite.cases)
    return replace(suite, cases=cases)


async def _play(context: DeliveryContext, examined: _Examination, served: ReadyService) -> RunResult:
    """Every case; when the run is cancelled, what was done is on disk."""
    evals = examined.evals
    failed = 0

    def tell(result: CaseResult, done: int, total: int) -> None:
        nonlocal failed
        failed += result.outcome is CaseOutcome.FAILED
        context.progress(f"{done} of {total} cases" + (f", {failed} failed" if failed else ""))

    async with AsyncExitStack() as stack:
        mapping = chat_mapping(evals, path=served.service.chat)
        agent = await stack.enter_async_context(
            HttpAgent(served.url, mapping, clock=context.clock, timeout_seconds=evals.timeout, retries=evals.retries)
        )
        options = RunOptions(
            concurrency=evals.concurrency,
            case_timeout_seconds=_case_seconds(evals),
            threshold=evals.judge.threshold if evals.judge else RunOptions().threshold,
            run_id=context.delivery.run_id,
        )
        judge = await _judge(context, examined, served, stack)
        runner = SuiteRunner(agent, examined.suites, options, clock=context.clock, judge=judge, on_result=tell)
        try:
            return await runner.run()
        finally:
            _write_results(context, runner.finished)


def _case_seconds(evals: EvalsSection) -> float:
    """Longest time of one run of a case: one turn's time, and the judge's two attempts each time it is asked."""
    judge = evals.judge
    return evals.timeout + (2 * judge.timeout * judge.repeats if judge is not None and judge.enabled else 0.0)


async def _judge(
    context: DeliveryContext, examined: _Examination, served: ReadyService, stack: AsyncExitStack
) -> Judge | None:
    """The judge, when one is configured and any case needs it: without rubrics no key has to be there."""
    section, settings, model = examined.evals.judge, examined.judge, examined.judge_model
    wanted = any(case.rubric is not None for suite in examined.suites for case in suite.cases)
    if section is None or settings is None or model is None or not wanted:
        return None
    endpoint = judge_endpoint(section, model, mock_url=served.mock_llm_url)
    client = await stack.enter_async_context(OpenAIModelClient(endpoint, clock=context.clock))
    return Judge(client, settings)


def _write_results(context: DeliveryContext, run: RunResult) -> Path:
    path = context.workdir / "results.json"
    path.write_text(json.dumps(run.to_json(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def _explain(context: DeliveryContext, examined: _Examination, run: RunResult) -> tuple[Explanation, ...]:
    """Why each case that did not pass did not, with what changed in the prompts since the last release."""
    wrong = [result for result in run.details if not result.passed]
    if not wrong:
        return ()
    current = prompt_texts(examined.project, examined.environment)
    folder = context.workdir / "previous"
    previous = previous_prompt_texts(context.bundle, examined.environment, folder)
    changes = () if previous is None else prompt_changes(previous, current)
    return tuple(explain_case(result, changes, previous=previous, current=current) for result in wrong)


def _outcome(
    context: DeliveryContext,
    examined: _Examination,
    served: ReadyService,
    run: RunResult,
    gate: GateFinding,
    explanations: Sequence[Explanation],
) -> StageOutcome:
    figures = _figures(run)
    results = context.workdir / "results.json"
    report = context.workdir / "report.md"
    title = f"{context.delivery.shown_version} as in {served.environment}, instrument {examined.instrument}"
    report.write_text(report_markdown(run, gate, explanations, title=title), encoding="utf-8")
    evidence = context.found(
        gate.verdict, figures=figures, environment=served.environment, effective=served.effective, instrument=True
    )
    return StageOutcome(
        status=_STATUS.get(gate.verdict, StageStatus.ERROR),
        summary=gate.reasons[0],
        details={
            **figures,
            "verdict": gate.verdict.value,
            "reasons": list(gate.reasons),
            "environment": served.environment,
            "instrument": examined.instrument,
        },
        findings=_findings(examined, gate, explanations),
        evidence=(replace(evidence, instrument=examined.instrument),),
        artifacts={"results.json": results, "report.md": report},
    )


def _figures(run: RunResult) -> dict[str, Any]:
    tokens = [result.token_count for result in run.details]
    return {
        "total": len(run.details),
        "passed": run.count(CaseOutcome.PASSED),
        "failed": run.count(CaseOutcome.FAILED),
        "errors": run.count(CaseOutcome.ERROR),
        "invalid": run.count(CaseOutcome.INVALID),
        "unknown": run.count(CaseOutcome.UNKNOWN),
        "pass_rate": run.pass_rate,
        "tool_accuracy": run.tool_accuracy,
        # a sum with an unknown part is unknown
        "tokens": None if None in tokens else sum(count for count in tokens if count is not None),
    }


def _findings(examined: _Examination, gate: GateFinding, explanations: Sequence[Explanation]) -> tuple[Finding, ...]:
    places = {(suite.name, case.id): (suite.file, case.line) for suite in examined.suites for case in suite.cases}
    blocking = {(result.suite, result.case_id) for result in gate.blocking}
    found: list[Finding] = []
    for explanation in explanations[:_MOST_FINDINGS]:
        result = explanation.result
        key = (result.suite, result.case_id)
        file, line = places[key]
        first = explanation.lines()[0]
        problems = result.undecided or "; ".join(violation.message for violation in result.violations)
        check = result.violations[0].check if result.violations else result.outcome.value
        found.append(
            Finding(
                severity="error" if key in blocking else "warning",
                rule=f"eval/{check}",
                message=f"{first}: {problems}" if not first.endswith(problems) else first,
                file=file,
                line=line,
                hint=explanation.cause(),
            )
        )
    if examined.evals.spend is not None:
        message = "evals.spend is not enforced yet: nothing stops this run at that amount"
        found.append(Finding(severity="warning", rule="eval/spend", message=message, file="fairway.yaml"))
    if examined.judge is None:
        found += _unjudged(examined)
    found += _written_for_others(examined)
    return tuple(found)


def _written_for_others(examined: _Examination) -> list[Finding]:
    """Cases that say they were written for a prompt version this environment does not serve."""
    served = {pin.version for pin in examined.overlay.prompts.values()}
    wanted = [case.prompt_version for suite in examined.suites for case in suite.cases if case.prompt_version]
    others = [version for version in wanted if version.removeprefix("v") not in served]
    if not others or not served:
        return []
    named = ", ".join(sorted(set(others))[:5])
    message = f"cases written for prompt version {named}, while {', '.join(sorted(served))} is served: {len(others)}"
    return [Finding(severity="note", rule="eval/prompt-version", message=message, file="fairway.yaml")]


def _unjudged(examined: _Examination) -> list[Finding]:
    count = sum(case.rubric is not None for suite in examined.suites for case in suite.cases)
    if not count:
        return []
    message = f"cases whose described behaviour nobody judged, because no judge is configured: {count}"
    hint = "set evals.judge.model to an alias of models.yaml"
    return [Finding(severity="note", rule="eval/unjudged", message=message, file="fairway.yaml", hint=hint)]


def _without_cases(context: DeliveryContext, examined: _Examination) -> StageOutcome:
    """No case is no evidence: the stage fails, unless the project says that it has none."""
    figures = {"total": 0}
    evidence = context.found(Verdict.NO_DATA, figures=figures, environment=examined.environment)
    required = examined.evals.required
    if required:
        finding = Finding(
            severity="error",
            rule="eval/no-cases",
            message="there is no eval case, so nothing vouches for the prompts",
            file="fairway.yaml",
            hint=_HOW_TO_ADD,
        )
        summary = "no eval case"
    else:
        finding = Finding(severity="note", rule="eval/no-cases", message="there is no eval case, and none is required")
        summary = "no eval case, and evals.required is false"
    return StageOutcome(
        status=StageStatus.FAILED if required else StageStatus.SKIPPED,
        summary=summary,
        details={**figures, "verdict": Verdict.NO_DATA.value},
        findings=(finding,),
        evidence=(evidence,),
    )
