"""The pipeline of a project: Fairway's stages in their places, then the project's own.

Explicit, and made of names: a stage's module is imported when the stage runs, so that a cached run imports none.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta
from fnmatch import fnmatch
from typing import Any

from fairway.bundle.files import Bundle
from fairway.canonical import value_digest
from fairway.evals.config import BaselineKind
from fairway.pipeline.cache import stage_key
from fairway.pipeline.config import SEED_STAGES, UserStageSection
from fairway.pipeline.dag import build_graph
from fairway.pipeline.port import Stage, StageNode
from fairway.project.load import Project
from fairway.release.required import CHECKS, REHEARSALS, Required, for_production, for_release
from fairway.security.waivers import WAIVERS_FILE
from fairway.stages.command import CommandStage
from fairway.stages.config import (
    ApprovalGateSection,
    BuildImageSection,
    DeployStagingSection,
    E2eTestSection,
    PrepareSection,
    RolloutStageSection,
    SlaSnapshotSection,
    SmokeTestSection,
    StageSection,
    StaticAnalysisSection,
    ToolIntegrationSection,
    UnitTestSection,
)
from fairway.stages.context import DeliveryContext

Node = StageNode[DeliveryContext]
Key = Callable[[DeliveryContext], str | None]

GATES_RELEASE = "build_image"
GATES_ROLLOUT = "approval_gate"
HOLDS_SERVICE = "deploy_staging"
NEEDS_RELEASE = "this is a development run: tag the commit, or pass --version, to release it"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    """One of Fairway's stages.

    Attributes:
        stage: ``module:Class`` below ``fairway.stages``.
        section: Its settings; by name where its module is heavy: then loaded only when something is set.
        cached: Whether the same inputs give the same result; else it reads what others may have changed.
        releases: It acts on a release, so a development run ends before it.
    """

    id: str
    title: str
    after: tuple[str, ...]
    stage: str
    section: type[StageSection] | str = StageSection
    uses: tuple[str, ...] = ()
    holds: bool = False
    cached: bool = True
    releases: bool = False


_BEFORE_RELEASE = ("unit_test", "prompt_regression", "tool_integration", "security_scan", "cost_gate")

_ENTRIES = (
    _Entry(id="prepare", title="Prepare", after=(), stage="prepare:Prepare", section=PrepareSection),
    _Entry(
        id="static_analysis",
        title="Static analysis",
        after=("prepare",),
        stage="static_analysis:StaticAnalysis",
        section=StaticAnalysisSection,
    ),
    _Entry(id="unit_test", title="Unit tests", after=("prepare",), stage="unit_test:UnitTest", section=UnitTestSection),
    _Entry(
        id="prompt_regression",
        title="Prompt regression",
        after=("static_analysis",),
        stage="prompt_regression:PromptRegression",
    ),
    _Entry(
        id="tool_integration",
        title="Tool integration",
        after=("static_analysis",),
        stage="tool_integration:ToolIntegration",
        section=ToolIntegrationSection,
    ),
    _Entry(
        id="security_scan",
        title="Security scan",
        after=("prepare",),
        stage="security_scan:SecurityScan",
        section="security_scan:SecurityScanSection",
    ),
    _Entry(
        id="cost_gate",
        title="Cost gate",
        after=("prepare",),
        stage="cost_gate:CostGate",
        section="cost_gate:CostGateSection",
    ),
    _Entry(
        id="build_image",
        title="Package",
        after=_BEFORE_RELEASE,
        stage="build_image:BuildImage",
        section=BuildImageSection,
        cached=False,
    ),
    _Entry(
        id="deploy_staging",
        title="Deploy to staging",
        after=("build_image",),
        stage="deploy_staging:DeployStaging",
        section=DeployStagingSection,
        holds=True,
    ),
    _Entry(
        id="smoke_test",
        title="Smoke test",
        after=("deploy_staging",),
        stage="smoke_test:SmokeTest",
        section=SmokeTestSection,
        uses=("deploy_staging",),
    ),
    _Entry(
        id="e2e_test",
        title="End-to-end test",
        after=("smoke_test",),
        stage="e2e_test:E2eTest",
        section=E2eTestSection,
        uses=("deploy_staging",),
    ),
    _Entry(
        id="approval_gate",
        title="Approval",
        after=("e2e_test",),
        stage="approval_gate:ApprovalGate",
        section=ApprovalGateSection,
        cached=False,
        releases=True,
    ),
    _Entry(
        id="canary_deploy",
        title="Canary",
        after=("approval_gate",),
        stage="canary_deploy:CanaryDeploy",
        section=RolloutStageSection,
        cached=False,
        releases=True,
    ),
    _Entry(
        id="production_deploy",
        title="Production",
        after=("canary_deploy",),
        stage="production_deploy:ProductionDeploy",
        section=RolloutStageSection,
        cached=False,
        releases=True,
    ),
    _Entry(
        id="sla_snapshot",
        title="SLA snapshot",
        after=("production_deploy",),
        stage="sla_snapshot:SlaSnapshot",
        section=SlaSnapshotSection,
        cached=False,
        releases=True,
    ),
)
assert tuple(entry.id for entry in _ENTRIES) == SEED_STAGES


def build_pipeline(project: Project, *, releasing: bool) -> tuple[Node, ...]:
    """Every stage of a project, in order.

    Args:
        project: Whose pipeline.
        releasing: Whether the run is to release a version; otherwise the stages that act on one are skipped.

    Raises:
        ProjectFileError: When a stage's settings are wrong.
        UserError: When stages wait for each other.
    """
    own = project.user_stages()
    nodes = [_seed_node(entry, project, releasing=releasing) for entry in _ENTRIES]
    nodes += [_own_node(stage, section) for stage, section in own.items()]
    return _gated(nodes, own)


def required_for_release(project: Project) -> Required:
    """What a release of this project must have been found to be before it is cut.

    Every check that is switched on, stages of the project's own before the release, and what ``build_image.evidence``
    adds: it never takes one away.

    Raises:
        ProjectFileError: When a stage's settings are wrong.
    """
    nodes = build_pipeline(project, releasing=True)
    also = (*_own_before(GATES_RELEASE, nodes, project), *_added(project))
    return for_release(also=also, off=_switched_off(nodes, project, CHECKS))


def required_for_production(project: Project) -> Required:
    """What a release of this project must have been found to be before it takes production traffic.

    As for the release, and what is tried on the release in staging. The project is the release's own: what is edited
    later takes nothing away.

    Raises:
        ProjectFileError: When a stage's settings are wrong.
    """
    nodes = build_pipeline(project, releasing=True)
    also = (*_own_before(GATES_ROLLOUT, nodes, project), *_added(project))
    return for_production(also=also, off=_switched_off(nodes, project, (*CHECKS, *REHEARSALS)))


def vouching(project: Project) -> frozenset[str]:
    """Stages without whose findings nothing goes to production."""
    return frozenset((*required_for_production(project).kinds, HOLDS_SERVICE))


def _own_before(gate: str, nodes: Sequence[Node], project: Project) -> tuple[str, ...]:
    own = project.user_stages()
    before = build_graph({node.id: node.after for node in nodes}).ancestors([gate])
    return tuple(node.id for node in nodes if node.id in own and node.id in before and node.disabled is None)


def _added(project: Project) -> tuple[str, ...]:
    return project.stage_config(GATES_RELEASE, BuildImageSection).evidence or ()


def _switched_off(nodes: Iterable[Node], project: Project, kinds: Collection[str]) -> dict[str, str]:
    off = [node.id for node in nodes if node.id in kinds and node.disabled is not None]
    return {kind: str((project.pipeline.stages.get(kind) or {}).get("reason") or "") for kind in off}


def _seed_node(entry: _Entry, project: Project, *, releasing: bool) -> Node:
    section = _section(entry, project)
    disabled = None if section.enabled else f"disabled: {section.reason}"
    if disabled is None and entry.releases and not releasing:
        disabled = NEEDS_RELEASE
    cached = entry.cached or (entry.id == GATES_RELEASE and not releasing)
    return StageNode(
        id=entry.id,
        title=entry.title,
        after=tuple(dict.fromkeys((*entry.after, *section.after))),
        factory=_lazily(entry.stage),
        key=_KEYS.get(entry.id, _content_key) if cached else _never,
        uses=entry.uses,
        holds=entry.holds,
        rereads=not cached,
        disabled=disabled,
    )


def _section(entry: _Entry, project: Project) -> StageSection:
    """The stage's settings, checked.

    Raises:
        ProjectFileError: With file, line, column and key of each mistake.
    """
    if not project.pipeline.stages.get(entry.id):
        return StageSection()
    if not isinstance(entry.section, str):
        return project.stage_config(entry.id, entry.section)
    section: type[StageSection] = _load(entry.section)
    return project.stage_config(entry.id, section)


def _load(name: str) -> Any:
    """``module:Name`` of this package."""
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(f"fairway.stages.{module}"), attribute)


def _lazily(stage: str) -> Callable[[], Stage[DeliveryContext]]:
    def make() -> Stage[DeliveryContext]:
        made: Stage[DeliveryContext] = _load(stage)()
        return made

    return make


def _content_key(context: DeliveryContext) -> str:
    """The same content, instrument, interpreter and settings give the same result."""
    delivery = context.delivery
    return stage_key(context.stage, code=delivery.engine, config=context.config, inputs=delivery.inputs)


def counts_until(bundle: Bundle, now: datetime) -> datetime | None:
    """When a result of these files stops counting by time alone: at the end of the day (UTC) when waivers are used."""
    if bundle.find(WAIVERS_FILE) is None:
        return None
    return datetime.combine(now.astimezone(UTC).date() + timedelta(days=1), time(), tzinfo=UTC)


def _security_key(context: DeliveryContext) -> str:
    """As the others', and of one day where there are waivers: they count by date."""
    delivery = context.delivery
    until = counts_until(context.bundle, context.clock.now())
    inputs = delivery.inputs if until is None else {**delivery.inputs, "until": until.isoformat()}
    return stage_key(context.stage, code=delivery.engine, config=context.config, inputs=inputs)


def _prepare_key(context: DeliveryContext) -> str | None:
    """As the others', but an environment that is not there any more has to be made again."""
    interpreter = context.delivery.interpreter
    if interpreter.made_from is not None and not interpreter.is_made:
        return None
    return _content_key(context)


def _cost_key(context: DeliveryContext) -> str | None:
    """As the others', but what the call logs say is never the same for long."""
    return None if context.project.costs.logs else _content_key(context)


def _regression_key(context: DeliveryContext) -> str:
    """As the others', and of what the candidate is compared with."""
    delivery = context.delivery
    if context.project.evals.compare.baseline is BaselineKind.NONE:
        return _content_key(context)
    inputs = {**delivery.inputs, "baseline": str(_load("eval_baseline:baseline_key")(context))}
    return stage_key(context.stage, code=delivery.engine, config=context.config, inputs=inputs)


_KEYS: Mapping[str, Key] = {
    "prepare": _prepare_key,
    "prompt_regression": _regression_key,
    "security_scan": _security_key,
    "cost_gate": _cost_key,
}


def _never(_: DeliveryContext) -> None:
    return None


def _own_node(stage: str, section: UserStageSection) -> Node:
    def key(context: DeliveryContext) -> str | None:
        if not section.cache:
            return None
        delivery = context.delivery
        inputs = delivery.inputs
        if section.inputs:
            chosen = [f for f in context.bundle.files if any(fnmatch(f.path, glob) for glob in section.inputs)]
            files = value_digest([[file.path, file.mode, file.digest] for file in chosen])
            inputs = {"files": files, "interpreter": delivery.interpreter_digest}
        return stage_key(stage, code=delivery.engine, config=context.config, inputs=inputs)

    return StageNode(
        id=stage,
        title=section.title or stage,
        after=section.after,
        factory=lambda: CommandStage(stage, section),
        key=key,
        disabled=None if section.enabled else "disabled in fairway.yaml",
    )


def _gated(nodes: list[Node], own: Mapping[str, UserStageSection]) -> tuple[Node, ...]:
    """Make stages of one's own count: one before the release gates it, one after it gates the rollout.

    Raises:
        UserError: When stages wait for each other.
    """
    graph = build_graph({node.id: node.after for node in nodes})
    after_release = graph.descendants([GATES_RELEASE])
    after_rollout = graph.descendants([GATES_ROLLOUT])
    gates: dict[str, list[str]] = {GATES_RELEASE: [], GATES_ROLLOUT: []}
    for stage in own:
        if stage not in after_release:
            gates[GATES_RELEASE].append(stage)
        elif stage not in after_rollout:
            gates[GATES_ROLLOUT].append(stage)
    placed = [
        replace(
            node,
            after=(*node.after, *gates.get(node.id, ())),
            uses=(HOLDS_SERVICE,) if node.id in own and HOLDS_SERVICE in graph.ancestors([node.id]) else node.uses,
        )
        for node in nodes
    ]
    order = build_graph({node.id: node.after for node in placed}).order
    by_id = {node.id: node for node in placed}
    return tuple(by_id[stage] for stage in order)
