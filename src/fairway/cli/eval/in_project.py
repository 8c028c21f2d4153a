"""An evaluation of a project: its agent as one environment would run it, its suites, its judges, its limits."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from fairway.bundle.files import Bundle, scan
from fairway.cli.eval.arranging import (
    STABLE,
    Limits,
    answer_cache,
    header_of,
    is_target,
    measured_of,
    options_of,
    spend_cap,
    stored_baseline,
)
from fairway.cli.eval.policy import gate_policy
from fairway.cli.eval.suites import named_suites, passed_over, smoke_cases
from fairway.clock import SystemClock
from fairway.costs.prices import price_table
from fairway.errors import NotFoundError, UserError
from fairway.evals.playing_out import Measured, Playing
from fairway.evals.subjects.mapping import chat_mapping
from fairway.evals.subjects.open import open_subject
from fairway.evals.values import PASS_SCORE
from fairway.ledger import open_ledger
from fairway.release.store import FileContentStore
from fairway.stages.agent_content import AgentContent, Workplace, checked_out_content, started
from fairway.stages.delivery import interpreter_of, version_of
from fairway.stages.eval_baseline import stable_content
from fairway.stages.eval_subjects import agent_subject, case_seconds, measuring_of
from fairway.stages.examining import Examination, examine
from fairway.stages.mock_model import mock_model
from fairway.stages.process import PREFIX
from fairway.stages.prompt_subject import prompt_source
from fairway.stages.tree import write_tree
from fairway.targets.local.owned import reap_orphans

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AsyncExitStack

    from fairway.cli.eval.asked import Asked
    from fairway.cli.eval.place import EvalPlace
    from fairway.evals.history.folders import RunHeader
    from fairway.evals.trials import Subject
    from fairway.evals.values import Suite

_WORK = "work"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Setting:
    """What an evaluation of a project works with."""

    place: EvalPlace
    asked: Asked
    examined: Examination
    content: AgentContent
    tree: Path
    work: Workplace
    stack: AsyncExitStack


async def project_playing(
    place: EvalPlace, asked: Asked, header: RunHeader, stack: AsyncExitStack, say: Callable[[str], None]
) -> tuple[RunHeader, Playing]:
    """What is asked of whom.

    Args:
        place: The project.
        asked: What a person asked for.
        header: Of the run.
        stack: Stops the agents and removes their files.
        say: Told what goes on.

    Raises:
        FairwayError: A file of the project is wrong, or an agent does not start.
    """
    project = place.project
    await asyncio.to_thread(reap_orphans, PREFIX)  # a mock model of a run that was killed
    if asked.judge:
        raise UserError(
            "--judge is for a run outside a project",
            code="eval_option",
            hint="evals.judge of fairway.yaml says who grades",
        )
    bundle = await asyncio.to_thread(scan, place.root)
    work = place.history.folder(header.run_id) / _WORK
    shutil.rmtree(work, ignore_errors=True)
    stack.callback(shutil.rmtree, work, ignore_errors=True)
    tree = await asyncio.to_thread(write_tree, bundle, work / "tree")
    examined = await asyncio.to_thread(_examined, tree, bundle, asked)
    content = checked_out_content(
        bundle, agent=project.name, version=version_of(project, bundle, None)[1], folder=work / "release"
    )
    interpreter = interpreter_of(project, bundle)
    if asked.target is None and interpreter.made_from is not None and not interpreter.is_made:
        raise UserError(
            "the environment of the lock file is not made", code="no_environment", hint="fairway run --only prepare"
        )
    if not asked.paths:
        for path in passed_over((file.path for file in bundle.files), examined.evals.suites):
            say(f"{path} is not played: evals.suites in fairway.yaml does not name it")
    own = asked.target is None or asked.target.startswith("prompt:")
    if asked.layer == "smoke" and own and examined.overlay.uses_mock_models:
        say(
            f"no real model is asked: environment {examined.environment} serves with the mock model; "
            "evals.layers.smoke.environment names another"
        )
    setting = _Setting(
        place=place,
        asked=asked,
        examined=examined,
        content=content,
        tree=tree,
        work=Workplace(
            folder=work / "candidate",
            environment=interpreter.environment(),
            scenario=tree / examined.project.llm.mock.scenario,
            clock=SystemClock(),
            progress=say,
        ),
        stack=stack,
    )
    return await _arranged(setting, header)


def _examined(tree: Path, bundle: Bundle, asked: Asked) -> Examination:
    suites: Callable[[], tuple[Suite, ...]] | None = None
    if asked.paths:
        suites = partial(named_suites, asked.paths, Path.cwd())
    environment = asked.environment
    if asked.layer == "smoke" and environment is None:
        from fairway.project.load import load_project

        environment = load_project(tree).evals.layers.smoke.environment
    return examine(tree, bundle, environment=environment, suites=suites, repeat=asked.repeat)


def measured_today(place: EvalPlace, asked: Asked, environment: str) -> Measured:
    """What is played of the project's suites as they are now.

    Raises:
        UserError: A suite is wrong or missing, or nothing is left to play.
    """
    examined = _examined(place.root, scan(place.root), replace(asked, environment=environment))
    return _measured(examined, asked)


def _measured(examined: Examination, asked: Asked) -> Measured:
    suites = examined.suites
    if asked.layer == "smoke":
        smoke = examined.evals.layers.smoke
        suites = smoke_cases(suites, calls=smoke.calls, tag=smoke.tag)
    judges = examined.judges
    threshold = PASS_SCORE if judges is None else judges.settings.threshold
    return measured_of(suites, asked, examined.instrument, threshold=threshold)


async def _arranged(setting: _Setting, header: RunHeader) -> tuple[RunHeader, Playing]:
    asked, examined = setting.asked, setting.examined
    evals = examined.evals
    measured = _measured(examined, asked)
    limits = Limits(
        concurrency=evals.concurrency,
        timeout=case_seconds(evals, measured.suites),
        retries=evals.retries,
        spend=evals.spend,
    )
    spend = spend_cap(asked, limits)
    cache = answer_cache(setting.place, asked, setting.stack)
    candidate, mock_url = await _candidate(setting)
    other = await _baseline(setting, mock_url)
    stored = stored_baseline(setting.place, asked, header, measured.instrument, environment=examined.environment)
    by = await measuring_of(
        examined,
        measured.suites,
        setting.stack,
        clock=setting.work.clock,
        state=setting.place.state,
        spend=spend,
        mock_url=mock_url,
        folder=setting.tree,
        cache=cache,
    )
    playing = Playing(
        measured=measured,
        candidate=candidate,
        baseline=other,
        stored=stored,
        options=options_of(asked, header, limits),
        policy=gate_policy(
            setting.place, asked, compared=other is not None or stored is not None, interleaved=other is not None
        ),
        measuring=by.measuring,
        health=by.health,
        spend=spend,
        prices=by.prices,
        cache=cache,
    )
    version = setting.content.version if asked.target is None else None
    agent = setting.content.agent
    return header_of(header, playing, agent=agent, environment=examined.environment, release=version), playing


async def _candidate(setting: _Setting) -> tuple[Subject, str | None]:
    """Who is examined, and where the mock model is, if one runs."""
    if setting.asked.target is not None:
        mock_url = await _mock(setting)
        return await _target(setting, setting.asked.target, mock_url), mock_url
    served = await setting.stack.enter_async_context(
        started(setting.content, setting.examined.environment, setting.work)
    )
    subject = await agent_subject(served, setting.examined.evals, setting.stack, version=setting.content.version)
    return subject, served.mock_llm_url


async def _target(setting: _Setting, text: str, mock_url: str | None) -> Subject:
    """Somebody else than the project's agent, asked with the project's words and prices.

    Raises:
        UserError: The text names nobody.
    """
    evals, project = setting.examined.evals, setting.examined.project
    subject = open_subject(
        text,
        root=setting.place.root,
        mapping=chat_mapping(evals, path=project.service.chat),
        timeout_seconds=setting.asked.timeout or evals.timeout,
        concurrency=setting.asked.concurrency or evals.concurrency,
        version=setting.asked.target_version,
        prompts=prompt_source(project, setting.examined.overlay, mock_url=mock_url, scenario=setting.examined.scenario),
        prices=price_table(project.models, project.costs.prices),
    )
    return await setting.stack.enter_async_context(subject)


async def _mock(setting: _Setting) -> str | None:
    """The mock model, for prompts and judges that are served with it; no agent is started that would bring one."""
    work = setting.work
    if not setting.examined.overlay.uses_mock_models:
        return None
    folder = work.folder.parent / "mock-model"
    folder.mkdir(parents=True, exist_ok=True)
    mock = mock_model(work.scenario, folder=folder, environment=work.environment, clock=work.clock)
    return await setting.stack.enter_async_context(mock)


async def _baseline(setting: _Setting, mock_url: str | None) -> Subject | None:
    """Who is asked in turn with the candidate; ``None``: nobody.

    Raises:
        NotFoundError: ``eval_no_baseline``: stable was asked for, and there is no release.
    """
    wanted = setting.asked.baseline
    if wanted is not None and is_target(wanted):
        return await _target(setting, wanted, mock_url)
    if wanted != STABLE:
        return None
    project = setting.place.project
    ledger = open_ledger(setting.place.state.ledger)
    try:
        other = await asyncio.to_thread(
            stable_content,
            project,
            ledger,
            FileContentStore(setting.place.state.blobs),
            but=setting.content.release,
            folder=setting.work.folder.parent / "stable-release",
        )
    finally:
        ledger.close()
    if other is None:
        raise NotFoundError(
            "there is no other release to compare with yet",
            code="eval_no_baseline",
            hint="leave --baseline out: the simple rule decides then",
        )
    place = Workplace(
        folder=setting.work.folder.parent / "stable",
        environment=setting.work.environment,
        scenario=setting.work.scenario,
        clock=setting.work.clock,
        progress=setting.work.progress,
    )
    served = await setting.stack.enter_async_context(started(other, setting.examined.environment, place))
    return await agent_subject(served, other.project.evals, setting.stack, version=other.version)
