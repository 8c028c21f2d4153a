"""What an environment makes of a bundle: models, prompts, tools and settings, resolved, and their digest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from fairway.bundle.components import is_dev, mark_dev, without_dev
from fairway.bundle.environment import EVERY, Environment, EnvironmentKind
from fairway.bundle.models import MOCK_PROVIDER, ModelsFile
from fairway.bundle.prompts import PromptRegistry
from fairway.bundle.tools import Risk, ToolsFile
from fairway.canonical import value_digest
from fairway.errors import NotFoundError, RefusedError
from fairway.units import Digest, EnvironmentName
from fairway.validate import suggest


class OverlaySource(Protocol):
    """What resolving needs of a project."""

    @property
    def environments(self) -> Mapping[EnvironmentName, Environment]:
        """Every environment by name."""
        ...

    @property
    def models(self) -> ModelsFile:
        """``models.yaml``."""
        ...

    @property
    def tools(self) -> ToolsFile:
        """``tools.yaml``."""
        ...

    @property
    def prompts(self) -> PromptRegistry:
        """The prompts."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedModel:
    """A model as an arm uses it; ``api_key`` and ``base_url`` may be references (``env:NAME``)."""

    provider: str
    model: str
    base_url: str | None
    api_key: str | None
    parameters: Mapping[str, Any]
    fallback: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PinnedPrompt:
    """The version of a prompt that is served; ``path`` inside the bundle."""

    version: str
    path: str
    sha256: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedTool:
    """A tool as an arm may use it."""

    enabled: bool
    risk: Risk
    mock: bool
    timeout_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlay:
    """The resolved configuration of an environment.

    Attributes:
        variables: Environment variables the environment adds to the service's.
    """

    environment: EnvironmentName
    models: Mapping[str, ResolvedModel]
    roles: Mapping[str, str]
    prompts: Mapping[str, PinnedPrompt]
    tools: Mapping[str, ResolvedTool]
    temperature: float
    max_tokens: int
    timeout_seconds: float
    log_level: str
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def uses_mock_models(self) -> bool:
        """Whether an arm here needs Fairway's mock model server."""
        return any(model.provider == MOCK_PROVIDER for model in self.models.values())

    def behaviour(self) -> dict[str, Any]:
        """What the effective digest covers: everything that changes behaviour.

        Not the environment's name, the log level, or which secret opens a provider: two environments that behave the
        same have the same effective digest.
        """
        return {
            "models": {
                alias: {
                    "provider": model.provider,
                    "model": model.model,
                    "base_url": model.base_url,
                    "parameters": dict(model.parameters),
                    "fallback": list(model.fallback),
                }
                for alias, model in self.models.items()
            },
            "roles": dict(self.roles),
            "prompts": {name: {"version": p.version, "sha256": p.sha256} for name, p in self.prompts.items()},
            "tools": {name: _tool_wire(tool) for name, tool in self.tools.items()},
            "settings": {
                "temperature": self.temperature,
                "max_tokens": self.max_tokens,
                "timeout_seconds": self.timeout_seconds,
            },
            "variables": dict(self.variables),
        }


def resolve(project: OverlaySource, environment: EnvironmentName | str) -> Overlay:
    """What becomes effective in an environment.

    Raises:
        NotFoundError: Naming the nearest environment, prompt version or model alias.
        RefusedError: For a floating model or prompt outside dev.
    """
    found = project.environments.get(EnvironmentName(environment))
    if found is None:
        raise NotFoundError(
            f"there is no environment {environment!r}",
            code="environment_not_found",
            hint=suggest(environment, project.environments, what="environments"),
        )
    targets = _model_targets(project.models, found)
    return Overlay(
        environment=found.name,
        models={alias: _resolve_model(project.models, targets[alias], found) for alias in project.models.models},
        roles={role: found.models.get(role, alias) for role, alias in project.models.roles.items()},
        prompts={name: _pin(project.prompts, name, found) for name in project.prompts.names()},
        tools={name: _resolve_tool(project.tools, name, found) for name in project.tools.tools},
        temperature=found.temperature,
        max_tokens=found.max_tokens,
        timeout_seconds=found.timeout_seconds,
        log_level=found.log_level.value,
        variables=dict(found.variables),
    )


def effective_digest(release: Digest, overlay: Overlay) -> Digest:
    """Digest of a release as an environment serves it; ``dev:`` when the release's is."""
    digest = value_digest({"release": without_dev(release), "overlay": overlay.behaviour()})
    return mark_dev(digest) if is_dev(release) else digest


def with_mocked_tools(overlay: Overlay) -> Overlay:
    """The same configuration with every tool mocked: what a shadow runs."""
    return replace(overlay, tools={name: replace(tool, mock=True) for name, tool in overlay.tools.items()})


def effective_value(
    overlay: Overlay, *, agent: str, release: Digest, release_version: str, effective: Digest
) -> dict[str, Any]:
    """The content of ``effective.json``, version 1."""
    return {
        "version": 1,
        "agent": agent,
        "environment": overlay.environment,
        "release": release,
        "release_version": release_version,
        "effective": effective,
        "prompts": {
            name: {"version": prompt.version, "path": prompt.path, "sha256": prompt.sha256}
            for name, prompt in overlay.prompts.items()
        },
        "models": {
            alias: {
                "provider": model.provider,
                "model": model.model,
                "base_url": model.base_url,
                "api_key": model.api_key,
                "parameters": dict(model.parameters),
                "fallback": list(model.fallback),
            }
            for alias, model in overlay.models.items()
        },
        "roles": dict(overlay.roles),
        "tools": {name: _tool_wire(tool) for name, tool in overlay.tools.items()},
        "settings": {
            "temperature": overlay.temperature,
            "max_tokens": overlay.max_tokens,
            "timeout_seconds": overlay.timeout_seconds,
            "log_level": overlay.log_level,
        },
    }


def _tool_wire(tool: ResolvedTool) -> dict[str, Any]:
    return {
        "enabled": tool.enabled,
        "risk": tool.risk.value,
        "mock": tool.mock,
        "timeout_seconds": tool.timeout_seconds,
    }


def _model_targets(models: ModelsFile, environment: Environment) -> dict[str, str]:
    """Which definition each alias has here."""
    every = environment.models.get(EVERY)
    return {alias: environment.models.get(alias, every or alias) for alias in models.models}


def _resolve_model(models: ModelsFile, alias: str, environment: Environment) -> ResolvedModel:
    definition = models.models.get(alias)
    if definition is None:
        raise NotFoundError(
            f"environment {environment.name}: there is no model alias {alias!r}",
            code="model_not_found",
            hint=suggest(alias, models.models, what="aliases"),
        )
    mocked = environment.mock_models or definition.provider == MOCK_PROVIDER
    if definition.floating and not mocked and environment.kind is not EnvironmentKind.DEV:
        raise RefusedError(
            f"environment {environment.name}: the model {definition.model!r} of alias {alias!r} floats",
            code="floating_model",
            hint="pin the model by its full name in models.yaml; latest is for dev only",
        )
    return ResolvedModel(
        provider=MOCK_PROVIDER if mocked else definition.provider,
        model=definition.model,
        base_url=None if mocked else definition.base_url,
        api_key=None if mocked else definition.api_key,
        parameters=dict(definition.parameters),
        fallback=definition.fallback,
    )


def _pin(prompts: PromptRegistry, name: str, environment: Environment) -> PinnedPrompt:
    version = prompts.resolve(name, environment.channel_of(name), environment.kind)
    return PinnedPrompt(version=version, path=prompts.path(name, version), sha256=prompts.sha256(name, version))


def _resolve_tool(tools: ToolsFile, name: str, environment: Environment) -> ResolvedTool:
    tool, setting = tools.tools[name], environment.tool_setting(name)
    return ResolvedTool(
        enabled=tool.enabled if setting.enabled is None else setting.enabled,
        risk=tool.risk_level(),
        mock=environment.mock_tools if setting.mock is None else setting.mock,
        timeout_seconds=tool.timeout if setting.timeout_seconds is None else setting.timeout_seconds,
    )
