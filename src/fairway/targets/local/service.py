"""How a service is started: its command, its paths, its environment."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fairway.errors import UserError
from fairway.targets.local.log import looks_secret
from fairway.targets.local.path import agent_path as agent_path
from fairway.targets.local.process import LOOPBACK, MARKER
from fairway.units import Digest, EnvironmentName

LEASH_VARIABLE = "FAIRWAY_LEASH_FD"
"""What ties a child of ``fairway up`` to it; not an arm's business."""

_INNER = (LEASH_VARIABLE, MARKER)


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalService:
    """The service section of a project as the local target needs it.

    Attributes:
        command: Program and arguments; ``{port}`` and ``{host}`` are substituted.
        ready, health: Paths that answer 200 when it can serve, and while it lives.
        ready_timeout: Seconds from its start until it is reported as never ready.
        drain: Seconds that running work is given before it is killed.
        environment: Variables of its own; those named ``FAIRWAY_…`` that Fairway sets win.
        secrets: Names of the variables that look like secrets and that the process may have; ``None``: any. What is
            inherited and what is the service's own are treated alike.
    """

    command: tuple[str, ...]
    ready: str = "/ready"
    health: str = "/health"
    ready_timeout: float = 60.0
    drain: float = 30.0
    environment: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """What is started where: a release with its configuration, and the folders that hold both."""

    environment: EnvironmentName
    release: Digest
    effective: Digest
    release_version: str
    tree: Path
    bundle: Path


def split_command(command: str | tuple[str, ...] | list[str]) -> tuple[str, ...]:
    """A command as program and arguments; a string is split as a shell would, without running one.

    Raises:
        UserError: When it is empty or its quotes do not match.
    """
    try:
        words = tuple(shlex.split(command)) if isinstance(command, str) else tuple(command)
    except ValueError as error:
        raise UserError(f"service.command cannot be read: {error}", code="service_command") from error
    if not words:
        raise UserError("service.command is empty", code="service_command", hint="say how to start your service")
    return words


def command_line(service: LocalService, *, port: int, host: str = LOOPBACK) -> tuple[str, ...]:
    """The command with ``{port}`` and ``{host}`` filled in; other braces stay as they are."""
    return tuple(word.replace("{port}", str(port)).replace("{host}", host) for word in service.command)


def service_environment(
    service: LocalService, placement: Placement, *, port: int, inherited: Mapping[str, str], host: str = LOOPBACK
) -> dict[str, str]:
    """Everything the process finds in its environment."""
    environment = {name: value for name, value in inherited.items() if name not in _INNER}
    environment["PATH"] = agent_path(inherited.get("PATH", os.defpath))
    environment.setdefault("PYTHONUNBUFFERED", "1")  # or the last words of a crash never reach the log
    environment.update(service.environment)
    if service.secrets is not None:
        environment = {
            name: value
            for name, value in environment.items()
            if name in service.secrets or not looks_secret(name, value)
        }
    environment.update(
        FAIRWAY_BUNDLE=str(placement.bundle),
        FAIRWAY_PORT=str(port),
        FAIRWAY_HOST=host,
        FAIRWAY_ENVIRONMENT=placement.environment,
        FAIRWAY_RELEASE=placement.release,
        FAIRWAY_VERSION=placement.release_version,
        FAIRWAY_EFFECTIVE=placement.effective,
    )
    return environment
