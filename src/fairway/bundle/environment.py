"""An environment as the rest of Fairway sees it, and the defaults of its kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from fairway.units import EnvironmentName

EVERY = "*"
"""Key of a setting that holds for every model, prompt or tool without one of its own."""


class EnvironmentKind(StrEnum):
    """What an environment is for, from the desk to the users."""

    DEV = "dev"
    TEST = "test"
    STAGING = "staging"
    PRODUCTION = "production"


class ApprovalMode(StrEnum):
    """Whether a person says yes before a release is exposed."""

    AUTOMATIC = "automatic"
    REQUIRED = "required"


class LogLevel(StrEnum):
    """As Python's logging has them."""

    DEBUG = "DEBUG"
    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What one instance may use, in Kubernetes' notation; ``None``: no limit."""

    cpu: str | None = None
    memory: str | None = None
    gpu: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolSetting:
    """What an environment says about a tool; ``None``: nothing."""

    enabled: bool | None = None
    mock: bool | None = None
    timeout_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """One environment, resolved: what the project says over the defaults of its kind.

    Attributes:
        after: Environments a release must have passed before.
        models: ``{role or alias: alias}``; ``*`` holds for every alias.
        channels: ``{prompt: channel}``; ``*`` holds for every prompt without its own.
        tools: ``{tool: setting}``; ``*`` holds for every tool without its own.
        mock_models, mock_tools: Whether calls go to Fairway's mock server, and tools answer with their mock.
        secrets: ``{environment variable: reference}``.
        variables: Environment variables of the service.
        latency_p95_seconds, tool_accuracy: What must hold here; ``None``: nothing is asked.
        differs: Settings declared to differ from other environments; ``models.*`` is a pattern.
        declared: Settings written in ``fairway.yaml``, the rest are defaults.
    """

    name: EnvironmentName
    kind: EnvironmentKind
    after: tuple[EnvironmentName, ...]
    temperature: float
    max_tokens: int
    timeout_seconds: float
    log_level: LogLevel
    replicas: int
    approval: ApprovalMode
    mock_models: bool
    mock_tools: bool
    models: Mapping[str, str] = field(default_factory=dict)
    channels: Mapping[str, str] = field(default_factory=dict)
    tools: Mapping[str, ToolSetting] = field(default_factory=dict)
    resources: Resources = Resources()
    secrets: Mapping[str, str] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)
    clusters: tuple[str, ...] = ()
    latency_p95_seconds: float | None = None
    tool_accuracy: float | None = None
    differs: tuple[str, ...] = ()
    declared: frozenset[str] = frozenset()

    def channel_of(self, prompt: str) -> str:
        """The channel a prompt is pinned by here."""
        return self.channels.get(prompt) or self.channels[EVERY]

    def tool_setting(self, tool: str) -> ToolSetting:
        """What is said about one tool here."""
        return self.tools.get(tool) or self.tools.get(EVERY) or ToolSetting()


@dataclass(frozen=True, slots=True, kw_only=True)
class KindDefaults:
    """What an environment of a kind is unless the project says otherwise."""

    temperature: float
    max_tokens: int
    timeout_seconds: float
    log_level: LogLevel
    replicas: int
    approval: ApprovalMode
    mock_models: bool
    mock_tools: bool
    channel: str


DEFAULTS: Mapping[EnvironmentKind, KindDefaults] = {
    EnvironmentKind.DEV: KindDefaults(
        temperature=0.3, max_tokens=1024, timeout_seconds=30, log_level=LogLevel.DEBUG, replicas=1,
        approval=ApprovalMode.AUTOMATIC, mock_models=True, mock_tools=True, channel="latest",
    ),
    EnvironmentKind.TEST: KindDefaults(
        temperature=0.3, max_tokens=1024, timeout_seconds=30, log_level=LogLevel.DEBUG, replicas=1,
        approval=ApprovalMode.AUTOMATIC, mock_models=True, mock_tools=True, channel="locked",
    ),
    EnvironmentKind.STAGING: KindDefaults(
        temperature=0.1, max_tokens=2048, timeout_seconds=45, log_level=LogLevel.INFO, replicas=1,
        approval=ApprovalMode.AUTOMATIC, mock_models=False, mock_tools=True, channel="locked",
    ),
    EnvironmentKind.PRODUCTION: KindDefaults(
        temperature=0.0, max_tokens=4096, timeout_seconds=60, log_level=LogLevel.WARNING, replicas=3,
        approval=ApprovalMode.REQUIRED, mock_models=False, mock_tools=False, channel="locked",
    ),
}  # fmt: skip
"""By kind; ``locked`` is the highest version in ``prompts.lock``, so it is pinned by what is committed."""
