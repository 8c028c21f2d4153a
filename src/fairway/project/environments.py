"""The ``environments`` section of ``fairway.yaml``: four environments that are there without a word, and overrides.

Also tells how two environments differ, and whether somebody meant it (parity).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from fairway.bundle.environment import (
    DEFAULTS,
    EVERY,
    ApprovalMode,
    Environment,
    EnvironmentKind,
    LogLevel,
    Resources,
    ToolSetting,
)
from fairway.bundle.overlay import OverlaySource, resolve
from fairway.bundle.prompts import is_channel
from fairway.errors import NotFoundError, ProjectFileError
from fairway.section import (
    Duration,
    Flag,
    Fraction,
    Name,
    Positive,
    SecretReference,
    Section,
    Text,
    Variables,
)
from fairway.units import EnvironmentName
from fairway.validate import raise_all, suggest, validate
from fairway.yaml_file import KeyPath, YamlDocument, value_at

PARITY_LIMIT = 0.001
"""Undeclared differences must be below this share of all settings."""

_LADDER: Mapping[EnvironmentKind, tuple[EnvironmentKind, ...]] = {
    EnvironmentKind.DEV: (),
    EnvironmentKind.TEST: (EnvironmentKind.DEV,),
    EnvironmentKind.STAGING: (EnvironmentKind.TEST,),
    EnvironmentKind.PRODUCTION: (EnvironmentKind.STAGING,),
}


# -- the section ------------------------------------------------------------------------------------------------------


def _models(value: object) -> object:
    """``models: small`` is short for every alias."""
    return {EVERY: value} if isinstance(value, str) else value


def _channels(value: object) -> object:
    """``prompts: staging-1.2.3`` is short for every prompt."""
    return {EVERY: value} if isinstance(value, str) else value


def _channel(text: str) -> str:
    if not is_channel(text):
        raise ValueError(f"{text!r} is not a channel; write a version such as 1.2.3, staging-1.2.3, locked or latest")
    return text


def _tools(value: object) -> object:
    """``tools: [search]`` enables these and no others."""
    if isinstance(value, list):
        return {EVERY: {"enabled": False}} | {name: {"enabled": True} for name in value if isinstance(name, str)}
    return value


def _tool(value: object) -> object:
    """``search: false`` is short for ``search: {enabled: false}``."""
    return {"enabled": value} if isinstance(value, bool) else value


class ToolOverride(Section):
    """What an environment says about one tool."""

    enabled: Flag | None = None
    mock: Flag | None = None
    timeout: Duration | None = None


class MockFlags(Section):
    """Whether models and tools are mocked here."""

    models: Flag | None = None
    tools: Flag | None = None


def _mock(value: object) -> object:
    """``mock: true`` is short for both."""
    return {"models": value, "tools": value} if isinstance(value, bool) else value


def _quantity(value: object) -> object:
    """``cpu: 2`` is short for ``cpu: "2"``."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


class ResourcesSection(Section):
    """What one instance may use."""

    cpu: Annotated[str, BeforeValidator(_quantity), Field(pattern=r"^\d+(\.\d+)?m?$")] | None = None
    memory: Annotated[str, Field(strict=True, pattern=r"^\d+(\.\d+)?(Ki|Mi|Gi|Ti|K|M|G|T)?$")] | None = None
    gpu: Annotated[int, Field(strict=True, ge=0, le=64)] | None = None


_TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}


class EnvironmentSection(Section):
    """What a project says about an environment; all of it optional.

    Attributes:
        kind: By default the name's: ``production-eu`` is production.
        after: Environments a release must have passed before.
        models: ``{role or alias: alias}``, or one alias for all.
        prompts: ``{prompt: channel}``, or one channel for all.
        tools: A list of the enabled ones, or ``{tool: true | false | {enabled, mock, timeout}}``; ``*`` is the rest.
        environment: Environment variables added to the service's.
        latency_sla: P95 of a request, seconds; ``tool_accuracy`` a share: what must hold here.
        differs: Settings meant to differ from other environments, ``models.*`` is a pattern.
    """

    kind: EnvironmentKind | None = None
    after: tuple[Name, ...] | None = None
    models: Annotated[
        Mapping[str, Text], BeforeValidator(_models), WithJsonSchema({"anyOf": [{"type": "string"}, _TEXTS]})
    ] = {}
    prompts: Annotated[
        Mapping[str, Annotated[Text, AfterValidator(_channel)]],
        BeforeValidator(_channels),
        WithJsonSchema({"anyOf": [{"type": "string"}, _TEXTS]}),
    ] = {}
    tools: Annotated[
        Mapping[str, Annotated[ToolOverride, BeforeValidator(_tool), WithJsonSchema({"type": ["boolean", "object"]})]],
        BeforeValidator(_tools),
        WithJsonSchema(
            {
                "anyOf": [
                    {"type": "array", "items": {"type": "string"}},
                    {"type": "object", "additionalProperties": {"type": ["boolean", "object"]}},
                ]
            }
        ),
    ] = {}
    mock: Annotated[MockFlags, BeforeValidator(_mock), WithJsonSchema({"type": ["boolean", "object"]})] = MockFlags()
    temperature: Annotated[float, Field(strict=True, ge=0, le=2)] | None = None
    max_tokens: Positive | None = None
    timeout: Duration | None = None
    log_level: LogLevel | None = None
    replicas: Positive | None = None
    resources: ResourcesSection = ResourcesSection()
    environment: Variables = {}
    secrets: Mapping[str, SecretReference] = {}
    approval: ApprovalMode | None = None
    clusters: tuple[Text, ...] = ()
    latency_sla: Duration | None = None
    tool_accuracy: Fraction | None = None
    differs: tuple[Text, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> EnvironmentSection:
        reserved = sorted(name for name in self.environment if name.startswith("FAIRWAY_"))
        if reserved:
            raise ValueError(f"Fairway sets {reserved[0]} itself; choose another name")
        if self.timeout == 0:
            raise ValueError("timeout must be above 0")
        return self


# -- sections to environments -----------------------------------------------------------------------------------------


def read_environments(document: YamlDocument) -> Mapping[EnvironmentName, Environment]:
    """Every environment: dev, test, staging and production, and what the project declares.

    Raises:
        ProjectFileError: Naming each mistake: an unknown kind, an ``after`` that is not there or goes in a circle.
    """
    written = value_at(document, ("environments",))
    if written is not None and not isinstance(written, dict):
        raise document.error(("environments",), "expected a mapping of environments by name")
    errors: list[ProjectFileError] = []
    sections: dict[str, EnvironmentSection] = {kind.value: EnvironmentSection() for kind in EnvironmentKind}
    for name in written or {}:
        path: KeyPath = ("environments", name)
        try:
            sections[name] = _section(document, name, path)
        except ProjectFileError as error:
            errors.append(error)
    raise_all(errors)
    kinds = {name: _kind_of(name, section) for name, section in sections.items()}
    environments = {
        EnvironmentName(name): _resolve(name, section, kinds, written) for name, section in sections.items()
    }
    raise_all(_order_errors(document, environments))
    return environments


def _section(document: YamlDocument, name: str, path: KeyPath) -> EnvironmentSection:
    if name == "canary" or name.startswith("canary-"):
        hint = "set its share with rollout.steps"
        raise document.error(path, "canary is production's first steps, not an environment", of_key=True, hint=hint)
    try:
        _NameOnly.model_validate({"name": name})
    except ValueError:
        message = "the name must be lower-case letters, digits and dashes, start with a letter, at most 63 long"
        raise document.error(path, message, of_key=True) from None
    section = validate(EnvironmentSection, document, path)
    if section.kind is None and _kind_by_name(name) is None:
        kinds = ", ".join(EnvironmentKind)
        near = suggest(name, list(EnvironmentKind), what="kinds")
        raise document.error(path, f"needs a kind: one of {kinds}", of_key=True, hint=near)
    return section


class _NameOnly(Section):
    name: Name


def _kind_by_name(name: str) -> EnvironmentKind | None:
    words = {"dev": EnvironmentKind.DEV, "prod": EnvironmentKind.PRODUCTION} | {k.value: k for k in EnvironmentKind}
    return words.get(name.split("-")[0])


def _kind_of(name: str, section: EnvironmentSection) -> EnvironmentKind:
    kind = section.kind or _kind_by_name(name)
    assert kind is not None
    return kind


def _resolve(
    name: str, section: EnvironmentSection, kinds: Mapping[str, EnvironmentKind], written: Mapping[str, Any] | None
) -> Environment:
    kind = kinds[name]
    default = DEFAULTS[kind]
    after = section.after
    if after is None:
        after = tuple(below.value for below in _LADDER[kind] if below.value in kinds)
    return Environment(
        name=EnvironmentName(name),
        kind=kind,
        after=tuple(EnvironmentName(one) for one in after),
        temperature=default.temperature if section.temperature is None else float(section.temperature),
        max_tokens=section.max_tokens or default.max_tokens,
        timeout_seconds=section.timeout or default.timeout_seconds,
        log_level=section.log_level or default.log_level,
        replicas=section.replicas or default.replicas,
        approval=section.approval or default.approval,
        mock_models=default.mock_models if section.mock.models is None else section.mock.models,
        mock_tools=default.mock_tools if section.mock.tools is None else section.mock.tools,
        models=dict(section.models),
        channels={EVERY: default.channel} | dict(section.prompts),
        tools={
            tool: ToolSetting(enabled=said.enabled, mock=said.mock, timeout_seconds=said.timeout)
            for tool, said in section.tools.items()
        },
        resources=Resources(cpu=section.resources.cpu, memory=section.resources.memory, gpu=section.resources.gpu),
        secrets=dict(section.secrets),
        variables=dict(section.environment),
        clusters=section.clusters,
        latency_p95_seconds=section.latency_sla,
        tool_accuracy=section.tool_accuracy,
        differs=section.differs,
        declared=frozenset((written or {}).get(name) or {}),
    )


def _order_errors(
    document: YamlDocument, environments: Mapping[EnvironmentName, Environment]
) -> list[ProjectFileError]:
    errors = []
    for environment in environments.values():
        for index, before in enumerate(environment.after):
            path: KeyPath = ("environments", environment.name, "after", index)
            if before not in environments:
                hint = suggest(before, environments, what="environments")
                errors.append(document.error(path, f"there is no environment {before!r}", hint=hint))
            elif environment.name in _all_before(before, environments):
                errors.append(document.error(path, f"{environment.name} and {before} wait for each other"))
    return errors


def _all_before(
    name: EnvironmentName, environments: Mapping[EnvironmentName, Environment]
) -> frozenset[EnvironmentName]:
    """``name`` and every environment that comes before it."""
    found: set[EnvironmentName] = set()
    waiting = [name]
    while waiting:
        current = waiting.pop()
        if current not in found and current in environments:
            found.add(current)
            waiting.extend(environments[current].after)
    return frozenset(found)


# -- differences ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One setting in two environments.

    Attributes:
        a, b: The values, as people read them; ``""``: not there.
        declared: Somebody meant it: the setting is in ``differs``, or both have the default of their kind.
        reason: Why it counts as declared, or ``""``.
    """

    setting: str
    a: str
    b: str
    declared: bool
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentDiff:
    """How two environments differ.

    Attributes:
        settings: How many settings were compared.
    """

    a: EnvironmentName
    b: EnvironmentName
    differences: tuple[Difference, ...]
    settings: int

    @property
    def undeclared(self) -> tuple[Difference, ...]:
        """Differences nobody declared."""
        return tuple(one for one in self.differences if not one.declared)

    @property
    def parity(self) -> float:
        """Undeclared differences / all settings: 0 is the same but for what was meant."""
        return len(self.undeclared) / self.settings if self.settings else 0.0


_OF_KIND = {
    "settings.temperature": "temperature",
    "settings.max_tokens": "max_tokens",
    "settings.timeout_seconds": "timeout_seconds",
    "settings.log_level": "log_level",
    "replicas": "replicas",
    "approval": "approval",
    "mock.models": "mock_models",
    "mock.tools": "mock_tools",
}
"""Settings with a default by kind, and the attribute that holds them."""


_OBJECTIVES = frozenset({"latency_sla", "tool_accuracy"})


def diff_environments(project: OverlaySource, a: str, b: str) -> EnvironmentDiff:
    """Every difference between two environments, and whether it was declared.

    A difference is declared when the setting is named in ``differs`` of either, when both environments have the
    documented default of their kinds, when both write the setting down, or when it follows from a declared difference
    (mocked models and tools). What one environment changed and the other never heard of is undeclared.

    Raises:
        NotFoundError: Naming the nearest environment.
    """
    one, other = _find(project, a), _find(project, b)
    left, right = _settings(project, one), _settings(project, other)
    differences = []
    for setting in sorted(left.keys() | right.keys()):
        x, y = left.get(setting, ""), right.get(setting, "")
        if x != y:
            reason = _declared(setting, one, other)
            differences.append(Difference(setting=setting, a=x, b=y, declared=bool(reason), reason=reason))
    return EnvironmentDiff(
        a=one.name, b=other.name, differences=tuple(differences), settings=len(left.keys() | right.keys())
    )


def _find(project: OverlaySource, name: str) -> Environment:
    found = project.environments.get(EnvironmentName(name))
    if found is None:
        hint = suggest(name, project.environments, what="environments")
        raise NotFoundError(f"there is no environment {name!r}", code="environment_not_found", hint=hint)
    return found


def _settings(project: OverlaySource, environment: Environment) -> dict[str, str]:
    overlay = resolve(project, environment.name)
    settings: dict[str, Any] = {
        "mock.models": environment.mock_models,
        "mock.tools": environment.mock_tools,
        "settings.temperature": overlay.temperature,
        "settings.max_tokens": overlay.max_tokens,
        "settings.timeout_seconds": overlay.timeout_seconds,
        "settings.log_level": overlay.log_level,
        "replicas": environment.replicas,
        "approval": environment.approval,
        "resources.cpu": environment.resources.cpu,
        "resources.memory": environment.resources.memory,
        "resources.gpu": environment.resources.gpu,
        "clusters": ", ".join(environment.clusters),
        "latency_sla": environment.latency_p95_seconds,
        "tool_accuracy": environment.tool_accuracy,
    }
    for alias, model in overlay.models.items():
        settings[f"models.{alias}.provider"] = model.provider
        settings[f"models.{alias}.model"] = model.model
        settings[f"models.{alias}.base_url"] = model.base_url
        settings[f"models.{alias}.parameters"] = dict(model.parameters) or None
    for role, alias in overlay.roles.items():
        settings[f"roles.{role}"] = alias
    for name, prompt in overlay.prompts.items():
        settings[f"prompts.{name}"] = prompt.version
    for name, tool in overlay.tools.items():
        settings[f"tools.{name}.enabled"] = tool.enabled
        settings[f"tools.{name}.mock"] = tool.mock
        settings[f"tools.{name}.timeout_seconds"] = tool.timeout_seconds
    for name, value in environment.variables.items():
        settings[f"environment.{name}"] = value
    for name in environment.secrets:
        settings[f"secrets.{name}"] = "set"  # that it is there; where from differs by nature
    return {setting: "" if value is None else str(value) for setting, value in settings.items()}


def _declared(setting: str, one: Environment, other: Environment) -> str:
    """Why a difference counts as meant; ``""`` when nothing says so."""
    for environment in (one, other):
        for pattern in environment.differs:
            if fnmatchcase(setting, pattern) or setting.startswith(f"{pattern}."):
                return f"differs of {environment.name}"
    attribute = _OF_KIND.get(setting)
    if attribute is not None and all(
        getattr(environment, attribute) == getattr(DEFAULTS[environment.kind], attribute)
        for environment in (one, other)
    ):
        return f"defaults of {one.kind} and {other.kind}"
    if setting in _OBJECTIVES and one.kind is not other.kind:
        return "an objective, not a setting of the service"
    if _is_written(setting, one) and _is_written(setting, other):
        return "written in both"
    return _follows_from_mock(setting, one, other)


def _is_written(setting: str, environment: Environment) -> bool:
    """Whether ``fairway.yaml`` says in the environment's own section what the setting is."""
    section, _, name = setting.partition(".")
    if section in ("roles", "models"):
        return name.split(".")[0] in environment.models or EVERY in environment.models
    if section == "prompts":
        return name in environment.channels or environment.channels[EVERY] != DEFAULTS[environment.kind].channel
    if section == "tools":
        return name.rsplit(".", 1)[0] in environment.tools or EVERY in environment.tools
    if section == "environment":
        return name in environment.variables
    if section == "settings":
        return name.removesuffix("_seconds") in environment.declared
    return section in environment.declared


def _follows_from_mock(setting: str, one: Environment, other: Environment) -> str:
    """A mocked model has another provider, a mocked tool another ``mock``: meant if the mocking is."""
    if one.mock_models != other.mock_models and setting.startswith("models."):
        following, cause = setting.endswith((".provider", ".base_url")), "mock.models"
    else:
        following, cause = one.mock_tools != other.mock_tools and setting.endswith(".mock"), "mock.tools"
    return f"follows from {cause}" if following and _declared(cause, one, other) else ""
