"""Token budgets of prompts, the models' windows, what a request costs at most, and what the call logs say is spent."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from fairway.bundle.components import component_of
from fairway.bundle.config import BudgetsSection
from fairway.costs.examination import Examined
from fairway.errors import FairwayError, ProjectFileError
from fairway.evals.suites.load import load_suites
from fairway.pipeline.port import Finding, StageOutcome, StageStatus
from fairway.project.load import Project, load_project
from fairway.section import Positive
from fairway.stages.call_logs import UNKNOWN, calls_report, examine_calls, log_findings
from fairway.stages.config import StageSection
from fairway.stages.context import DeliveryContext
from fairway.stages.cost_before import against_last_release
from fairway.stages.prompt_cost import LargestInput, Loads, PromptLoad, largest_input, prompt_loads
from fairway.units import Verdict

_UNKNOWN = UNKNOWN


class CostGateSection(StageSection):
    """What the projection assumes.

    Attributes:
        requests_per_day: Declared volume; ``None``: nothing is projected.
        calls_per_request: Model calls a request makes, tool loops included.
    """

    requests_per_day: Positive | None = None
    calls_per_request: Positive = 1


class CostGate:
    """Compares what the prompts take with what they may."""

    id = "cost_gate"
    title = "Cost gate"
    after = ("prepare",)

    def cache_key(self, context: DeliveryContext) -> str | None:
        """The registry's."""
        return context.opening.node.key(context)

    async def run(self, context: DeliveryContext) -> StageOutcome:
        """Count, compare, and write the report whatever comes out."""
        report = context.workdir / "cost.json"
        try:
            return await self._judged(context, report)
        except FairwayError as error:
            value = {"version": 1, "verdict": Verdict.ERROR.value, "error": {"code": error.code, "message": str(error)}}
            _write(report, value)
            return StageOutcome(
                status=StageStatus.ERROR,
                summary=error.message.partition("\n")[0],
                findings=(_finding(error),),
                artifacts={"cost.json": report},
            )

    async def _judged(self, context: DeliveryContext, report: Path) -> StageOutcome:
        settings = context.settings(CostGateSection)
        tree = await context.tree(instrument=False)
        found = await asyncio.to_thread(_measure, context, tree, settings)
        loads, budgets = found.measured.loads, found.project.budgets
        findings = (
            *judge_costs(loads, budgets, settings, projected=_is_projected(found.examined)),
            *_unresolved(found.measured),
            *_of_logs(found),
        )
        verdict = _verdict(findings)
        value = cost_report(loads, budgets, settings, found.largest, verdict)
        value["baseline"] = found.before
        value["call_logs"] = calls_report(found.examined, found.project, settings.requests_per_day)
        _write(report, value)
        largest_load = max((load.request_tokens for load in loads), default=0)
        prompts = len({(load.name, load.version) for load in loads})
        figures: dict[str, Any] = {"prompts": prompts, "largest_request_tokens": largest_load}
        if found.examined is not None:
            figures["usd_per_day_projected"] = value["call_logs"]["projection"]["usd_per_day"]
        return StageOutcome(
            status=StageStatus.PASSED if verdict is Verdict.PASS else StageStatus.FAILED,
            summary=_summary(loads, findings, largest_load, budgets),
            details={**figures, "verdict": verdict.value, "projection": value["projection"]},
            findings=findings,
            evidence=(context.found(verdict, figures=figures, instrument=found.whole),),
            artifacts={"cost.json": report},
        )


def _write(report: Path, value: dict[str, Any]) -> None:
    report.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def _finding(error: FairwayError) -> Finding:
    if isinstance(error, ProjectFileError):
        place = (error.file, error.line, error.column)
        return Finding(
            severity="error",
            rule="cost/error",
            message=error.problem,
            file=place[0],
            line=place[1],
            column=place[2],
            hint=error.hint,
        )
    return Finding(severity="error", rule="cost/error", message=error.message, hint=error.hint)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What the stage judges.

    Attributes:
        whole: Whether the instrument's digest is of every suite that was read.
        examined: ``None``: the project names no call log.
        before: What the prompts of the last release took.
    """

    project: Project
    measured: Loads
    largest: LargestInput
    whole: bool
    examined: Examined | None
    before: dict[str, Any]


def _is_projected(examined: Examined | None) -> bool:
    return examined is not None and examined.projection.verdict is not Verdict.NO_DATA


def _of_logs(found: _Found) -> Iterator[Finding]:
    if found.examined is not None:
        yield from log_findings(found.examined, required=found.project.costs.required)


def _measure(context: DeliveryContext, tree: Path, settings: CostGateSection) -> _Found:
    project = load_project(tree)
    bundle = context.bundle
    suites = load_suites([file.path for file in bundle.files], bundle.read, project.evals.suites)
    measured = prompt_loads(project, suites)
    return _Found(
        project=project,
        measured=measured,
        largest=largest_input(suites),
        whole=suites_in_instrument(project.evals.suites),
        examined=examine_calls(context, project, settings.requests_per_day, settings.calls_per_request),
        before=against_last_release(
            bundle, measured.loads, suites, context.workdir / "before", calls=settings.calls_per_request
        ),
    )


def suites_in_instrument(patterns: Iterable[str]) -> bool:
    """Whether all suites, those there may be one day too, are part of the instrument; others are part of the code."""
    return all(component_of(pattern) is None for pattern in patterns)


def judge_costs(
    loads: Sequence[PromptLoad], budgets: BudgetsSection, settings: CostGateSection, *, projected: bool = False
) -> Iterator[Finding]:
    """What is over a budget (``error``), near one (``warning``), or cannot be told (``cost/unknown``).

    A cost budget that is declared and cannot be checked is an error: unknown is never within a budget. A window that is
    not declared is a note: nobody asked for it to be compared. Where call logs are ``projected``, the volume is theirs.
    """
    for load in loads:
        yield from _tokens(load, budgets)
        yield from _window(load)
        yield from _cost(load, budgets, settings)
    if budgets.cost_per_day is not None and loads and settings.requests_per_day is None and not projected:
        yield Finding(
            severity="error",
            rule=_UNKNOWN,
            message="budgets.cost_per_day is declared and the volume is not, so it cannot be compared",
            file="fairway.yaml",
            hint="set pipeline.stages.cost_gate.requests_per_day, or costs.logs to observe it",
        )


def _unresolved(measured: Loads) -> Iterator[Finding]:
    """A warning: nothing can be deployed there. When nothing could be counted at all, nothing is known: no pass."""
    for environment, why in measured.unresolved.items():
        message = f"environment {environment} cannot be resolved, so its prompts are not counted: {why}"
        severity, rule = ("warning", "cost/unresolved") if measured.loads else ("error", _UNKNOWN)
        yield Finding(severity=severity, rule=rule, message=message, file="fairway.yaml")


def _tokens(load: PromptLoad, budgets: BudgetsSection) -> Iterator[Finding]:
    limit = budgets.tokens_of(load.name)
    told = f"{_named(load)}: a request takes about {load.request_tokens} tokens"
    parts = f"prompt {load.prompt_tokens}, largest input {load.input_tokens}"
    if load.request_tokens > limit.fail:
        message = f"{told}, over the budget of {limit.fail}"
        hint = f"{parts}; shorten it, or raise budgets"
        yield Finding(severity="error", rule="cost/over-budget", message=message, file=load.path, hint=hint)
    elif load.request_tokens > limit.warn:
        message = f"{told}, near the budget of {limit.fail}"
        yield Finding(severity="warning", rule="cost/near-budget", message=message, file=load.path, hint=parts)


def _window(load: PromptLoad) -> Iterator[Finding]:
    if load.window is None:
        model = f"model alias {load.alias}" if load.alias else "the prompt's model"
        message = f"{_named(load)}: the context window of {model} is not declared, so it is not compared"
        yield Finding(severity="note", rule="cost/window-unknown", message=message, file=load.path)
    elif load.window_tokens > load.window:
        parts = (
            f"prompt {load.prompt_tokens}, input {load.input_tokens}, tools {load.tool_tokens}, "
            f"answer {load.output_tokens}"
        )
        message = (
            f"{_named(load)}: about {load.window_tokens} tokens do not fit the window of {load.alias} ({load.window})"
        )
        yield Finding(severity="error", rule="cost/over-window", message=message, file=load.path, hint=parts)


def _cost(load: PromptLoad, budgets: BudgetsSection, settings: CostGateSection) -> Iterator[Finding]:
    cost = load.cost_at_most(settings.calls_per_request)
    if cost is None:
        wanted = budgets.cost_per_request is not None or budgets.cost_per_day is not None
        model = f"model alias {load.alias}" if load.alias else "its model, which the prompt does not name,"
        message = f"{_named(load)}: the price of {model} is not declared, so its cost is unknown"
        yield Finding(
            severity="error" if wanted else "note",
            rule=_UNKNOWN,
            message=message,
            file=load.path,
            hint="declare price: {input: …, output: …} in models.yaml" if wanted else None,
        )
        return
    per_day = None if settings.requests_per_day is None else cost * settings.requests_per_day
    for name, found, limit in (
        ("request", cost, budgets.cost_per_request),
        ("day", per_day, budgets.cost_per_day),
    ):
        if limit is not None and found is not None and found > Decimal(str(limit)):
            message = f"{_named(load)}: costs at most {found} USD a {name}, over the budget of {limit:g} USD"
            yield Finding(severity="error", rule="cost/over-budget", message=message, file=load.path)


def _named(load: PromptLoad) -> str:
    return f"{load.name} {load.version} ({', '.join(load.environments)})"


def _verdict(findings: Sequence[Finding]) -> Verdict:
    """FAIL when a budget is broken, NO_DATA when one could not be compared, else PASS."""
    errors = {finding.rule for finding in findings if finding.severity == "error"}
    if not errors:
        return Verdict.PASS
    return Verdict.NO_DATA if errors == {_UNKNOWN} else Verdict.FAIL


def _summary(loads: Sequence[PromptLoad], findings: Sequence[Finding], largest: int, budgets: BudgetsSection) -> str:
    errors = [finding.message for finding in findings if finding.severity == "error"]
    if errors:
        return errors[0] + (f" and {len(errors) - 1} more" if len(errors) > 1 else "")
    if not loads:
        return "the bundle has no prompts"
    count = len({(load.name, load.version) for load in loads})
    prompts = "1 prompt version" if count == 1 else f"{count} prompt versions"
    return f"{prompts}, the largest request about {largest} of {budgets.prompt_tokens.fail} tokens"


def cost_report(
    loads: Sequence[PromptLoad],
    budgets: BudgetsSection,
    settings: CostGateSection,
    largest: LargestInput,
    verdict: Verdict,
) -> dict[str, Any]:
    """The report as a file carries it; what is not known is the word ``unknown``, never a number."""
    return {
        "version": 1,
        "verdict": verdict.value,
        "largest_input": {"case": largest.case, "tokens": largest.tokens},
        "assumptions": {
            "calls_per_request": settings.calls_per_request,
            "requests_per_day": settings.requests_per_day or "unknown",
            "output_tokens": "each answer is as long as the environment allows",
        },
        "prompts": [_load_json(load, budgets, settings) for load in loads],
        "projection": _projection(loads, settings),
    }


def _load_json(load: PromptLoad, budgets: BudgetsSection, settings: CostGateSection) -> dict[str, Any]:
    limit = budgets.tokens_of(load.name)
    cost = load.cost_at_most(settings.calls_per_request)
    return {
        "prompt": load.name,
        "version": load.version,
        "environments": list(load.environments),
        "model": load.alias or "unknown",
        "tokens": {
            "prompt": load.prompt_tokens,
            "input": load.input_tokens,
            "tools": load.tool_tokens,
            "output_at_most": load.output_tokens,
            "request": load.request_tokens,
        },
        "budget": {"warn": limit.warn, "fail": limit.fail},
        "window": load.window or "unknown",
        "usd_per_request_at_most": "unknown" if cost is None else str(cost),
    }


def _projection(loads: Sequence[PromptLoad], settings: CostGateSection) -> dict[str, Any]:
    """USD a day at most, by prompt; only with a declared volume and declared prices."""
    if settings.requests_per_day is None:
        return {"outcome": "unknown", "reason": "pipeline.stages.cost_gate.requests_per_day is not declared"}
    costs = {
        f"{load.name} {load.version} {load.alias}": load.cost_at_most(settings.calls_per_request) for load in loads
    }
    unknown = sorted(name for name, cost in costs.items() if cost is None)
    if unknown:
        return {"outcome": "unknown", "reason": f"no price is declared for {', '.join(unknown)}"}
    daily = {name: str(cost * settings.requests_per_day) for name, cost in costs.items() if cost is not None}
    return {"outcome": "known", "usd_per_day_at_most": daily}
