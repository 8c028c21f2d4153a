"""Finds and reads a project: ``fairway.yaml``, ``models.yaml``, ``tools.yaml`` and prompts, with their references."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import BaseModel, Field

from fairway.bundle.config import BudgetsSection
from fairway.bundle.environment import EVERY, ApprovalMode, Environment
from fairway.bundle.models import MODELS_FILE, ModelsFile, read_models
from fairway.bundle.overlay import Overlay, resolve
from fairway.bundle.prompts import PromptRegistry
from fairway.bundle.tools import TOOLS_FILE, ToolsFile, read_tools
from fairway.costs.config import CostsSection
from fairway.errors import NotFoundError, ProjectFileError
from fairway.evals.config import EvalsSection
from fairway.flags.config import FlagSection, FlagsSection
from fairway.flags.values import FlagSpec
from fairway.incident.config import RollbackSection, SlaSection
from fairway.llm.config import LlmSection
from fairway.pipeline.config import SEED_STAGES, PipelineSection, UserStageSection
from fairway.project.environments import EnvironmentSection, read_environments
from fairway.release.ladder import laxer
from fairway.rollout.config import RolloutSection
from fairway.rollout.people_config import PeopleSection
from fairway.section import Name, Section, Text
from fairway.state_dir import StateDir
from fairway.targets.config import ServiceSection
from fairway.traffic.config import GatewaySection
from fairway.units import WHOLE, AgentName, EnvironmentName, RouteId
from fairway.validate import collect, nearest, raise_all, suggest, validate
from fairway.yaml_file import KeyPath, YamlDocument, dotted, read_yaml, value_at

PROJECT_FILE = "fairway.yaml"
M = TypeVar("M", bound=BaseModel)


class AgentSection(Section):
    """Who the agent is; the name stands in hosts, paths and labels."""

    name: Name
    description: Text = ""
    owner: Text | None = None


class ProjectFile(Section):
    """The whole of ``fairway.yaml``. Keys that begin with ``x-`` are left alone: a place for anchors."""

    version: Annotated[int, Field(strict=True, ge=1, le=1)]
    agent: AgentSection
    service: ServiceSection
    llm: LlmSection = LlmSection()
    gateway: GatewaySection = GatewaySection()
    environments: Mapping[str, EnvironmentSection | None] = {}
    pipeline: PipelineSection = PipelineSection()
    evals: EvalsSection = EvalsSection()
    budgets: BudgetsSection = BudgetsSection()
    costs: CostsSection = CostsSection()
    rollout: RolloutSection = RolloutSection()
    people: PeopleSection = PeopleSection()
    rollback: RollbackSection = RollbackSection()
    sla: SlaSection = SlaSection()
    flags: FlagsSection = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A project, read and checked.

    Attributes:
        root: Folder of ``fairway.yaml``, absolute.
        document: ``fairway.yaml`` as it was written, with positions.
        environments: By name; dev, test, staging and production are always there.
        prompts: Parsed when asked for.
        state: ``.fairway/``.
    """

    root: Path
    document: YamlDocument = field(repr=False)
    agent: AgentSection
    service: ServiceSection
    llm: LlmSection
    gateway: GatewaySection
    environments: Mapping[EnvironmentName, Environment]
    pipeline: PipelineSection
    evals: EvalsSection
    budgets: BudgetsSection
    rollout: RolloutSection
    people: PeopleSection
    rollback: RollbackSection
    sla: SlaSection
    costs: CostsSection = field(default_factory=CostsSection)
    flags: Mapping[str, FlagSection] = field(default_factory=dict)
    models: ModelsFile
    tools: ToolsFile
    models_document: YamlDocument | None = field(default=None, repr=False)
    tools_document: YamlDocument | None = field(default=None, repr=False)
    prompts: PromptRegistry
    state: StateDir

    @property
    def name(self) -> AgentName:
        """Name of the agent."""
        return AgentName(self.agent.name)

    def environment(self, name: str) -> Environment:
        """One environment.

        Raises:
            NotFoundError: Naming the nearest one.
        """
        found = self.environments.get(EnvironmentName(name))
        if found is None:
            hint = suggest(name, self.environments, what="environments")
            raise NotFoundError(f"there is no environment {name!r}", code="environment_not_found", hint=hint)
        return found

    def route(self, environment: str) -> RouteId:
        """The route of the agent in an environment.

        Raises:
            NotFoundError: Naming the nearest environment.
        """
        return RouteId(agent=self.name, environment=self.environment(environment).name)

    def overlay(self, environment: str) -> Overlay:
        """What becomes effective in an environment; see :func:`fairway.bundle.overlay.resolve`."""
        return resolve(self, environment)

    def approval_required(self, environment: str) -> bool:
        """Whether a person must say yes before a release is exposed: the rollout's rule, else the environment's."""
        if self.rollout.approval is not None:
            return self.rollout.approval.required
        return self.environment(environment).approval is ApprovalMode.REQUIRED

    def flag_specs(self) -> tuple[FlagSpec, ...]:
        """The declared feature flags, by name."""
        return tuple(section.spec(name) for name, section in sorted(self.flags.items()))

    def stage_config(self, stage: str, model: type[M]) -> M:
        """A stage's settings, checked by the stage's own model.

        Raises:
            ProjectFileError: With file, line, column and key of each mistake.
        """
        path: KeyPath = ("pipeline", "stages", stage)
        if self.document.has(path):
            return validate(model, self.document, path)
        return model.model_validate({})

    def user_stages(self) -> Mapping[str, UserStageSection]:
        """Stages of the project's own, by id, in the order of the file."""
        own = [stage for stage in self.pipeline.stages if stage not in SEED_STAGES]
        return {stage: self.stage_config(stage, UserStageSection) for stage in own}


def find_root(start: Path | None = None) -> Path:
    """The nearest folder at or above ``start`` (by default the current one) that holds ``fairway.yaml``.

    Raises:
        NotFoundError: With what to run instead.
    """
    folder = (start or Path.cwd()).resolve()
    for candidate in (folder, *folder.parents):
        if (candidate / PROJECT_FILE).is_file():
            return candidate
    raise NotFoundError(
        f"there is no {PROJECT_FILE} in {folder} or above",
        code="no_project",
        hint="run fairway init here, or name the project with --project",
    )


def load_project(start: Path | None = None) -> Project:
    """Read the nearest project at or above ``start``.

    Raises:
        NotFoundError: When there is none.
        ProjectFileError: Naming every mistake in ``fairway.yaml``, ``models.yaml`` and ``tools.yaml``; prompt files are
            read when they are asked for.
    """
    root = find_root(start)
    errors: list[ProjectFileError] = []
    document = read_yaml(root / PROJECT_FILE, root=root)
    models_document = _read_optional(root, MODELS_FILE, errors)
    tools_document = _read_optional(root, TOOLS_FILE, errors)
    file = _read_project_file(document, errors)
    models = collect(errors, lambda: read_models(models_document)) if models_document else ModelsFile()
    tools = collect(errors, lambda: read_tools(tools_document)) if tools_document else ToolsFile()
    try:
        environments = read_environments(document)
    except ProjectFileError as error:
        errors.append(error)
        environments = {}
    raise_all(errors)
    assert file is not None
    assert models is not None
    assert tools is not None
    project = Project(
        root=root,
        document=document,
        agent=file.agent,
        service=file.service,
        llm=file.llm,
        gateway=file.gateway,
        environments=environments,
        pipeline=file.pipeline,
        evals=file.evals,
        budgets=file.budgets,
        rollout=file.rollout,
        people=file.people,
        rollback=file.rollback,
        sla=file.sla,
        costs=file.costs,
        flags=file.flags,
        models=models,
        tools=tools,
        models_document=models_document,
        tools_document=tools_document,
        prompts=PromptRegistry(root),
        state=StateDir(root / ".fairway"),
    )
    raise_all(_reference_errors(project))
    return project


def _read_optional(root: Path, name: str, errors: list[ProjectFileError]) -> YamlDocument | None:
    """A file that may be missing; an empty one counts as missing."""
    try:
        document = read_yaml(root / name, root=root)
    except NotFoundError:
        return None
    except ProjectFileError as error:
        errors.append(error)
        return None
    return None if document.value is None else document


def _read_project_file(document: YamlDocument, errors: list[ProjectFileError]) -> ProjectFile | None:
    if not isinstance(document.value, dict):
        hint = "it begins with version: 1, agent: and service:"
        raise document.error((), "expected a mapping (key: value)", hint=hint)
    file = collect(errors, lambda: validate(ProjectFile, _without_environments(document)))
    if file is not None:
        errors.extend(_stage_errors(document, file))
        errors.extend(_gate_errors(document, file))
    return file


def _without_environments(document: YamlDocument) -> YamlDocument:
    """The document without what is checked apart (environments) or not at all (``x-`` keys)."""
    value = {
        key: section
        for key, section in document.value.items()
        if key != "environments" and not key.startswith("x-") and section is not None
    }
    return YamlDocument(
        file=document.file, value=value, values=document.values, keys=document.keys, blocks=document.blocks
    )


# -- references -------------------------------------------------------------------------------------------------------


def _stage_errors(document: YamlDocument, file: ProjectFile) -> Iterator[ProjectFileError]:
    stages = file.pipeline.stages
    for stage, config in stages.items():
        path: KeyPath = ("pipeline", "stages", stage)
        if stage in SEED_STAGES:
            yield from _after_errors(document, path, config or {}, stages)
        elif "command" not in (config or {}):
            near = nearest(stage, SEED_STAGES)
            hint = f"did you mean {near!r}?" if near else "give it a command: the exit code is its verdict"
            yield document.error(path, "is not one of Fairway's stages and has no command", of_key=True, hint=hint)
        else:
            failed: list[ProjectFileError] = []
            collect(failed, lambda path=path: validate(UserStageSection, document, path))  # type: ignore[misc]
            yield from failed
            yield from _after_errors(document, path, config or {}, stages)


def _gate_errors(document: YamlDocument, file: ProjectFile) -> Iterator[ProjectFileError]:
    """A gate that nothing could ever pass."""
    gate = file.rollout.gates.success
    if not gate.enabled or gate.minimum < WHOLE:
        return
    path: KeyPath = ("rollout", "gates", "success")
    yield document.error(
        (*path, "minimum") if document.has((*path, "minimum")) else path,
        "100% can never be shown: however much traffic there was, the next request could fail",
        hint="ask for less than all, for example 99.9%; each further nine takes ten times the traffic",
    )


def _after_errors(
    document: YamlDocument, path: KeyPath, config: Mapping[str, object], stages: Mapping[str, object]
) -> Iterator[ProjectFileError]:
    after = config.get("after")
    known = dict.fromkeys((*SEED_STAGES, *stages))
    for index, name in enumerate(after) if isinstance(after, list) else ():
        if isinstance(name, str) and name not in known:
            hint = suggest(name, known, what="stages")
            yield document.error((*path, "after", index), f"there is no stage {name!r}", hint=hint)


def _reference_errors(project: Project) -> Iterator[ProjectFileError]:
    """What one file says of another that is not so."""
    for environment in project.environments.values():
        if project.document.has(("environments", environment.name)):
            yield from _environment_errors(project, environment)
    yield from _ladder_errors(project)
    yield from _online_errors(project)
    yield from _judge_errors(project)
    document = project.document
    asked: tuple[tuple[KeyPath, str | None], ...] = (
        (("evals", "environment"), project.evals.environment),
        (("evals", "layers", "smoke", "environment"), project.evals.layers.smoke.environment),
    )
    for place, wanted in asked:
        if wanted is not None and wanted not in project.environments:
            yield _unknown(document, place, "environment", wanted, project.environments)
    for flag, section in project.flags.items():
        for index, where in enumerate(section.environments):
            if where not in project.environments:
                path: KeyPath = ("flags", flag, "environments", index)
                yield _unknown(document, path, "environment", where, project.environments)
    for name in project.budgets.prompts:
        if name not in project.prompts.names():
            yield _unknown(document, ("budgets", "prompts", name), "prompt", name, project.prompts.names(), of_key=True)


def _judge_errors(project: Project) -> Iterator[ProjectFileError]:
    """Judges that are no models of the project."""
    judge = project.evals.judge
    if judge is None:
        return
    asked: list[tuple[KeyPath, str]] = [(("evals", "judge", "model"), judge.model)]
    asked += [(("evals", "judge", "panel", index), name) for index, name in enumerate(judge.panel)]
    for path, name in asked:
        if project.models.alias_of(name) is None:
            yield _unknown(project.document, path, "model alias", name, project.models.names())


def _online_errors(project: Project) -> Iterator[ProjectFileError]:
    """Live traffic that was to be scored and never could be."""
    online, judge = project.evals.online, project.evals.judge
    if online is None:
        return
    path: KeyPath = ("evals", "online")
    if project.gateway.capture is None:
        hint = "add capture: {share: 5%} to gateway"
        yield project.document.error(path, "scores sampled requests, and nothing is sampled", hint=hint)
    if online.rubric and (judge is None or not judge.enabled):
        yield project.document.error((*path, "rubric"), "a rubric needs a judge", hint="set evals.judge")


def _ladder_errors(project: Project) -> Iterator[ProjectFileError]:
    """An environment never asks less of a candidate than the one before it."""
    for one in laxer(project.environments):
        hint = f"ask at least as much as {one.before}, or leave it out: then what {one.before} asks holds"
        path: KeyPath = ("environments", one.environment, one.setting)
        yield project.document.error(path, one.message, hint=hint)


def _environment_errors(project: Project, environment: Environment) -> Iterator[ProjectFileError]:
    document, base = project.document, ("environments", environment.name)
    names = project.models.names()
    for key, alias in environment.models.items():
        path = (*base, "models", key)
        if key not in (EVERY, *names):
            yield _unknown(document, path, "model alias or role", key, names, of_key=True)
        if alias not in project.models.models:
            yield _unknown(document, path, "model alias", alias, project.models.models)
    for name in environment.channels:
        if name not in (EVERY, *project.prompts.names()):
            yield _unknown(document, (*base, "prompts", name), "prompt", name, project.prompts.names(), of_key=True)
    written = value_at(document, (*base, "tools"))
    for name in environment.tools:
        if name not in (EVERY, *project.tools.tools):
            last = written.index(name) if isinstance(written, list) else name
            yield _unknown(document, (*base, "tools", last), "tool", name, project.tools.tools, of_key=True)


def _unknown(
    document: YamlDocument, path: KeyPath, what: str, name: str, known: object, *, of_key: bool = False
) -> ProjectFileError:
    names = [str(one) for one in known] if isinstance(known, Mapping | tuple) else []
    several = f"{what}es" if what.endswith("s") else f"{what}s"
    return document.error(path, f"there is no {what} {name!r}", of_key=of_key, hint=suggest(name, names, what=several))


__all__ = ["AgentSection", "Project", "ProjectFile", "dotted", "find_root", "load_project"]
