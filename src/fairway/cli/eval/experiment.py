"""``fairway eval experiment``: variants of a project against each other, as suites."""

from __future__ import annotations

import asyncio
import shutil
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fairway.cli.output import emit, output_option, project_option, say

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fairway.evals.experiments.config import ExperimentSection
    from fairway.evals.gating.decision import EvalDecision
    from fairway.evals.trials import EvalRun, Subject
    from fairway.project.load import Project
    from fairway.stages.agent_content import Workplace
    from fairway.stages.examining import Examination

EPILOG = """\b
Examples:
  fairway eval experiment
  fairway eval experiment shorter-prompt
  fairway eval experiment shorter-prompt --assign conversation-81
"""
_CODES = {"PASS": 0, "FAIL": 1, "INCONCLUSIVE": 2}


@click.command("experiment", epilog=EPILOG)
@click.argument("name", required=False)
@click.option(
    "--assign", "key", default=None, help="Only say which variant a key (a user, a conversation) is assigned."
)
@click.option(
    "--repeat", type=click.IntRange(1, 100), default=None, help="Runs of each case that does not say its own."
)
@project_option
@output_option
def command(name: str | None, key: str | None, repeat: int | None, project_dir: str | None, output: str) -> int:
    """Play the suites against every variant of an experiment in turn, and compare each with the control.

    Experiments stand in experiments.yaml; without NAME they are listed. A variant is the project with other prompt
    versions, models, temperature or max_tokens in one environment. The verdicts are those of the gate, with Holm's
    correction over the variants. Exits 0 when every variant PASSes, 1 when one is worse, 2 when one is undecided,
    3 when something broke.
    """
    from fairway.errors import UserError
    from fairway.project.load import load_project
    from fairway.stages.experiments import find_experiment, read_experiments

    project = load_project(None if project_dir is None else Path(project_dir))
    if name is None:
        if key is not None:
            raise UserError("--assign needs the experiment's name", code="eval_option")
        found = {one: _listed(section) for one, section in read_experiments(project).items()}
        emit(found, output=output, text=lambda: "\n".join(_list_text(found)) or "there are no experiments")
        return 0
    experiment = find_experiment(project, name)
    if key is not None:
        return _assign(name, experiment, key, output)
    told = asyncio.run(_run(project, name, experiment, repeat))
    emit(told, output=output, text=lambda: "\n".join(_text(told)))
    return _exit_code([variant["verdict"] for variant in told["variants"].values() if variant["verdict"]])


def _assign(name: str, experiment: ExperimentSection, key: str, output: str) -> int:
    from fairway.evals.experiments.assigning import assigned

    variant = assigned(name, {one: section.share for one, section in experiment.variants.items()}, key)
    emit({"experiment": name, "key": key, "variant": variant}, output=output, text=lambda: variant)
    return 0


def _exit_code(verdicts: list[str]) -> int:
    """What is certain first: a variant that is worse, then what broke, then what is open."""
    for verdict in ("FAIL", "ERROR", "NO_DATA", "INCONCLUSIVE"):
        if verdict in verdicts:
            return _CODES.get(verdict, 3)
    return 0


async def _run(project: Project, name: str, experiment: ExperimentSection, repeat: int | None) -> dict[str, Any]:
    from fairway.bundle.files import scan
    from fairway.clock import SystemClock
    from fairway.evals.running.journal import Journal
    from fairway.evals.running.options import RunOptions
    from fairway.evals.running.runner import EvalRunner
    from fairway.evals.running.spend import SpendCap
    from fairway.stages.eval_subjects import case_seconds, measuring_of
    from fairway.stages.tree import write_tree

    now = datetime.now(UTC)
    run_id = f"{now:%Y%m%d-%H%M%S}-{name}"
    folder = project.state.root / "experiments" / run_id
    clock = SystemClock()
    bundle = await asyncio.to_thread(scan, project.root)
    async with AsyncExitStack() as stack:
        work = folder / "work"
        stack.callback(shutil.rmtree, work, ignore_errors=True)
        tree = await asyncio.to_thread(write_tree, bundle, work / "tree")
        examined = await asyncio.to_thread(_examined, tree, bundle, experiment, repeat)
        evals = examined.evals
        place = _workplace(project, bundle, work, tree, examined)
        sides, mock_url = await _subjects(project, bundle, experiment, examined, place, stack)
        spend = None if evals.spend is None else SpendCap(round(evals.spend * 1_000_000))
        by = await measuring_of(
            examined,
            examined.suites,
            stack,
            clock=clock,
            state=project.state,
            spend=spend,
            mock_url=mock_url,
            folder=tree,
        )
        health = await by.health() if by.health is not None else None
        options = RunOptions(
            concurrency=evals.concurrency,
            case_timeout_seconds=case_seconds(evals, examined.suites),
            retries=evals.retries,
            run_id=run_id,
            conversations_kept=False,
        )
        with Journal(folder) as journal:
            runner = EvalRunner(
                sides,
                examined.suites,
                options,
                clock=clock,
                measuring=by.measuring,
                journal=journal,
                spend=spend,
                prices=by.prices,
            )
            trials = await runner.run()
    runs = _runs(examined, sides, trials, run_id=run_id, created_at=now, complete=runner.complete, health=health)
    return {"experiment": name, "run": run_id, **_decisions(experiment, examined, runs)}


def _examined(tree: Path, bundle: Any, experiment: ExperimentSection, repeat: int | None) -> Examination:
    from fairway.evals.suites.load import load_suites
    from fairway.stages.examining import examine

    chosen = None
    if experiment.suites:
        paths = [file.path for file in bundle.files]
        chosen = lambda: load_suites(paths, bundle.read, experiment.suites)  # noqa: E731
    return examine(tree, bundle, environment=experiment.environment, suites=chosen, repeat=repeat)


def _workplace(project: Project, bundle: Any, work: Path, tree: Path, examined: Examination) -> Workplace:
    from fairway.clock import SystemClock
    from fairway.errors import UserError
    from fairway.stages.agent_content import Workplace
    from fairway.stages.delivery import interpreter_of

    interpreter = interpreter_of(project, bundle)
    if interpreter.made_from is not None and not interpreter.is_made:
        raise UserError(
            "the environment of the lock file is not made", code="no_environment", hint="fairway run --only prepare"
        )
    return Workplace(
        folder=work,
        environment=interpreter.environment(),
        scenario=tree / examined.project.llm.mock.scenario,
        clock=SystemClock(),
        progress=say,
    )


async def _subjects(
    project: Project,
    bundle: Any,
    experiment: ExperimentSection,
    examined: Examination,
    place: Workplace,
    stack: AsyncExitStack,
) -> tuple[list[tuple[str, Subject]], str | None]:
    """Each variant started, control first, and where the mock model of the first is."""
    from dataclasses import replace

    from fairway.stages.agent_content import started
    from fairway.stages.eval_subjects import agent_subject
    from fairway.stages.experiments import variant_content

    control = experiment.compared_with
    order = [control, *(name for name in experiment.variants if name != control)]
    sides: list[tuple[str, Subject]] = []
    mock_url: str | None = None
    for name in order:
        variant = experiment.variants[name]
        content = await asyncio.to_thread(
            variant_content, project, bundle, experiment.environment, name, variant, place.folder / f"files-{name}"
        )
        own = replace(place, folder=place.folder / f"runs-{name}")
        served = await stack.enter_async_context(started(content, experiment.environment, own))
        mock_url = mock_url or served.mock_llm_url
        sides.append((name, await agent_subject(served, examined.evals, stack, version=name)))
    return sides, mock_url


def _runs(
    examined: Examination, sides: Any, trials: Any, *, run_id: str, created_at: datetime, complete: bool, health: Any
) -> dict[str, EvalRun]:
    from fairway.evals.evaluation import scored
    from fairway.evals.playing_out import Measured, Outcome
    from fairway.evals.values import PASS_SCORE

    judges = examined.judges
    measured = Measured(
        suites=examined.suites,
        plan=tuple((suite.name, case.id) for suite in examined.suites for case in suite.cases),
        instrument=examined.instrument(),
        threshold=PASS_SCORE if judges is None else judges.settings.threshold,
    )
    outcome = Outcome(trials=trials, judge=health, complete=complete)
    return {
        name: scored(measured, subject.info, trials[name], run_id=run_id, created_at=created_at, outcome=outcome)
        for name, subject in sides
    }


def _decisions(experiment: ExperimentSection, examined: Examination, runs: Mapping[str, EvalRun]) -> dict[str, Any]:
    from dataclasses import replace

    from fairway.evals.experiments.deciding import decide_variants
    from fairway.evals.trials import side_of
    from fairway.stages.examining import policy_of

    control = experiment.compared_with
    policy = replace(
        policy_of(examined.evals, compared=True, interleaved=True),
        margin=experiment.margin,
        alpha=experiment.alpha,
        adaptive=False,
    )
    sides = {name: side_of([run]) for name, run in runs.items()}
    others = {name: side for name, side in sides.items() if name != control}
    decisions = decide_variants(sides[control], others, policy)
    return {
        "control": control,
        "cases": len(runs[control].cases),
        "variants": {name: _variant(run, decisions.get(name), experiment, name) for name, run in runs.items()},
    }


def _variant(run: EvalRun, decision: EvalDecision | None, experiment: ExperimentSection, name: str) -> dict[str, Any]:
    from fairway.evals.values import CaseOutcome

    passed = sum(result.outcome is CaseOutcome.PASSED for result in run.results)
    failed = sum(result.outcome is CaseOutcome.FAILED for result in run.results)
    return {
        "differs": experiment.variants[name].overrides(),
        "release": run.subject.release,
        "effective": run.subject.effective,
        "passed": passed,
        "failed": failed,
        "undecided": len(run.results) - passed - failed,
        "verdict": None if decision is None else decision.verdict.value,
        "reasons": [] if decision is None else list(decision.reasons),
    }


def _text(told: dict[str, Any]) -> list[str]:
    lines = [f"{told['experiment']}: {told['cases']} cases, control {told['control']} (run {told['run']})"]
    width = max(len(name) for name in told["variants"])
    for name, one in told["variants"].items():
        counts = f"{one['passed']} passed, {one['failed']} failed, {one['undecided']} undecided"
        lines.append(f"  {name:<{width}}  {one['verdict'] or 'control':<12}  {counts}")
        lines += [f"  {'':<{width}}  {reason}" for reason in one["reasons"][:3]]
    return lines


def _listed(experiment: ExperimentSection) -> dict[str, Any]:
    return {
        "control": experiment.compared_with,
        "environment": experiment.environment,
        "variants": {name: {"share": one.share, **one.overrides()} for name, one in experiment.variants.items()},
    }


def _list_text(found: Mapping[str, dict[str, Any]]) -> list[str]:
    lines = []
    for name, one in found.items():
        lines.append(f"{name} ({one['environment']}, control {one['control']})")
        for variant, said in one["variants"].items():
            differs = ", ".join(_differs({key: value for key, value in said.items() if key != "share"}))
            lines.append(f"  {variant:<16} {said['share']:g}%  {differs or 'as the project is'}")
    return lines


def _differs(overrides: Mapping[str, Any]) -> list[str]:
    """``prompt support 1.1.0``, ``temperature 0.2``."""
    found = []
    for key, value in overrides.items():
        inner = value.items() if isinstance(value, dict) else ()
        found += [f"{key.removesuffix('s')} {name} {one}" for name, one in inner] or [f"{key} {value}"]
    return found
