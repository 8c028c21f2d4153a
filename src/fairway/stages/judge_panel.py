"""The judges of a project: read from the examined content, seated with their models, tried on the calibration set."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace

from fairway.bundle.overlay import Overlay, ResolvedModel
from fairway.clock import Clock
from fairway.evals.config import JudgeSection
from fairway.evals.judges.calibration import Calibration, CalibrationRecord, calibrate, read_record
from fairway.evals.judges.calibration_set import CalibrationItem, calibration_digest, load_calibration
from fairway.evals.judges.client import CountedClient
from fairway.evals.judges.digest import judge_digest
from fairway.evals.judges.judge import JudgeMember, JudgePanel
from fairway.evals.judges.kept import AnswerCache
from fairway.evals.judges.nonces import load_nonces
from fairway.evals.judges.settings import HealthRules, JudgeSettings
from fairway.evals.running.calling import Caller, CallRules
from fairway.evals.running.limiting import AdaptiveLimit
from fairway.evals.running.spend import Pricing, SpendCap
from fairway.evals.trials import JudgeHealth
from fairway.llm.client import HttpModelClient
from fairway.project.load import Project
from fairway.stages.eval_judge import judge_endpoint, judge_format, judge_scale, judge_settings, judged_by, panel_of
from fairway.state_dir import StateDir


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgePlan:
    """What a project says of its judges.

    Attributes:
        models: In the order of ``settings.models``.
        calibration: Labelled items; empty: there is no set.
        recorded: What the judge showed when people last looked; ``None``: no record is asked for, or it is not there.
    """

    section: JudgeSection
    settings: JudgeSettings
    models: tuple[ResolvedModel, ...]
    calibration: tuple[CalibrationItem, ...] = ()
    recorded: CalibrationRecord | None = None

    @property
    def rules(self) -> HealthRules:
        """What the judge must show."""
        return self.settings.health or HealthRules()


def plan_judges(project: Project, overlay: Overlay, read: Callable[[str], bytes | None]) -> JudgePlan | None:
    """The judges of a project.

    Args:
        project: Whose.
        overlay: Models as the examined environment resolves them.
        read: Content of a file of the project; ``None``: it is not there.

    Returns:
        ``None``: it has none, or they are switched off.

    Raises:
        UserError: A model, the rubric, the calibration set or its record is wrong or missing.
    """
    section = project.evals.judge
    if section is None or not section.enabled:
        return None
    models = (judged_by(project, overlay, section), *panel_of(project, overlay, section))
    items: tuple[CalibrationItem, ...] = ()
    recorded: CalibrationRecord | None = None
    asked = section.calibration
    if asked is not None:
        content = _present(project, read, asked.items, "calibration", "items")
        items = load_calibration(content, file=asked.items, settings=judge_scale(section))
        written = read(asked.record) if asked.record is not None else None
        recorded = read_record(written, file=asked.record or "") if written is not None else None
    settings = judge_settings(
        section,
        models[0],
        _present(project, read, section.rubric, "rubric") if section.rubric is not None else None,
        panel=models[1:],
        calibration_set=calibration_digest(items) if asked is not None else None,
    )
    return JudgePlan(section=section, settings=settings, models=models, calibration=items, recorded=recorded)


def _present(project: Project, read: Callable[[str], bytes | None], path: str, *key: str) -> bytes:
    content = read(path)
    if content is None:
        message = f"there is no file {path} among the files of the project"
        raise project.document.error(("evals", "judge", *key), message, hint="write it and `git add` it")
    return content


async def seat_judges(
    plan: JudgePlan,
    stack: AsyncExitStack,
    *,
    clock: Clock,
    state: StateDir,
    prices: Pricing,
    mock_url: str | None,
    concurrency: int,
    spend: SpendCap | None = None,
    cache: AnswerCache | None = None,
    environment: Mapping[str, str] = os.environ,
) -> JudgePanel:
    """The panel, ready to be asked.

    Args:
        plan: Who and how.
        stack: Closes the connections.
        clock: Time.
        state: Where the secret of the nonces is kept.
        prices: Of the project's models.
        mock_url: ``…/v1`` of the mock model server, when one runs.
        concurrency: Calls to each model at a time.
        spend: The run's cap; judges count.
        cache: Grades by question; ``None``: each is asked for.
        environment: Where ``env:NAME`` references are looked up.

    Raises:
        UserError: A key that cannot be resolved, a provider without an address, or a secret others can read.
    """
    members: list[JudgeMember] = []
    for name, model in zip(plan.settings.models, plan.models, strict=True):
        endpoint = judge_endpoint(plan.section, model, mock_url=mock_url, environment=environment)
        # trying again is the caller's, which knows the cap
        once = replace(endpoint, attempts=1)
        client = await stack.enter_async_context(HttpModelClient(once, judge_format(model), clock=clock))
        caller = Caller(limit=AdaptiveLimit(concurrency, clock=clock), rules=CallRules(), clock=clock, spend=spend)
        counted = CountedClient(client, caller, model=name, prices=prices)
        identity = {"base_url": endpoint.base_url, "model": endpoint.model, "parameters": dict(endpoint.parameters)}
        members.append(JudgeMember(model=name, client=counted, cost_micros=counted.cost_of, identity=identity))
    return JudgePanel(members, plan.settings, nonces=load_nonces(state), cache=cache)


async def try_judges(
    plan: JudgePlan, panel: JudgePanel, *, concurrency: int = 8, recording: bool = False
) -> Calibration | None:
    """Try the judges on the calibration set; ``None``: there is none.

    Args:
        plan: Whose set, and what they must show.
        panel: The judges.
        concurrency: Items at a time.
        recording: What they show now is to be recorded, so that nothing recorded before counts.

    Raises:
        FairwayError: The spend cap leaves no room for it.
    """
    if plan.section.calibration is None:
        return None
    digest = judge_digest(plan.settings)
    tried = await calibrate(
        plan.calibration,
        panel,
        plan.rules,
        digest=digest,
        recorded=None if recording else plan.recorded,
        concurrency=concurrency,
    )
    record = plan.section.calibration.record
    if record is None or recording or plan.recorded is not None:
        return tried
    missing = (
        f"nothing is recorded in {record} to see it drift from; run `fairway eval calibrate --record`, and commit it"
    )
    return replace(tried, health=_with(tried.health, missing))


def _with(health: JudgeHealth, problem: str) -> JudgeHealth:
    return replace(health, problem=f"{health.problem}; {problem}" if health.problem else problem)
