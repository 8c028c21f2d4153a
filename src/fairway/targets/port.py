"""What a rollout needs from the place where releases run."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from fairway.traffic.table import Role
from fairway.units import Digest, RouteId


class InstanceState(StrEnum):
    """Where one instance of an arm is in its life."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    BACKING_OFF = "backing_off"
    CRASH_LOOP = "crash_loop"
    NEVER_READY = "never_ready"
    STOPPED = "stopped"


class AttestedBy(StrEnum):
    """Who says which release an instance serves."""

    ARM = "arm"
    SUPERVISOR = "supervisor"


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmSpec:
    """One arm as it should be; its identity is ``(route, release_digest, effective_digest)``, the role may change."""

    role: Role
    release_digest: Digest
    effective_digest: Digest
    replicas: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedInstance:
    """One running instance.

    Attributes:
        endpoint: ``host:port`` of its service.
        reported: The release digest read back at its ready path, else ``None``.
        restarts: Since the arm was started.
        detail: For people: the last exit code or readiness error, and where the log is.
    """

    id: str
    endpoint: str
    state: InstanceState
    attested_by: AttestedBy
    reported: Digest | None = None
    restarts: int = 0
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedArm:
    """What the target says about one arm; an arm that is not there is not reported."""

    release_digest: Digest
    effective_digest: Digest
    instances: tuple[ObservedInstance, ...]

    def ready(self) -> tuple[ObservedInstance, ...]:
        """Instances that serve."""
        return tuple(instance for instance in self.instances if instance.state is InstanceState.READY)


class Target(Protocol):
    """Runs arms. Each verb is idempotent by the arm's digests, returns at once, and is done when observed."""

    async def ensure(self, route: RouteId, spec: ArmSpec) -> None:
        """Start what is missing of an arm, drain what is too many: the last of those that :meth:`observe` reports.

        So whoever takes traffic away first knows from which instances.

        Raises:
            RefusedError: When the release's signature or files do not verify.
        """
        ...

    async def observe(self, route: RouteId) -> tuple[ObservedArm, ...]:
        """Every arm of the route, in any state but stopped."""
        ...

    async def drain(self, route: RouteId, release: Digest, effective: Digest | None = None) -> None:
        """Take the arm out of service: no new work, SIGTERM, wait for its grace, then stop. A no-op when gone.

        Args:
            route: Of the arm.
            release: Whose arm.
            effective: In which configuration; ``None``: in every one (a release's shadow has its own).
        """
        ...

    async def stop(self, route: RouteId, release: Digest) -> None:
        """Stop the arm now. A no-op when gone."""
        ...
