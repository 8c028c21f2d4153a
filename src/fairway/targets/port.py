"""What a rollout needs from the place where releases run."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from fairway.errors import ConflictError
from fairway.traffic.fence import ZERO_FENCE, Fence
from fairway.traffic.table import Role
from fairway.units import Digest, RouteId


def newest_fence(route: RouteId, known: Fence | None, fence: Fence) -> Fence:
    """What a target remembers after a verb under ``fence``, when ``known`` is the newest it has heard of.

    Raises:
        ConflictError: ``stale_fence`` when ``fence`` is older.
    """
    newest = known or ZERO_FENCE
    if fence < newest:
        raise ConflictError(
            f"{route} is led under fence {newest}; {fence} is behind it",
            code="stale_fence",
            hint="another controller has taken over; nothing is left to do here",
        )
    return fence


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
    """Runs arms. Each verb is idempotent by the arm's digests, returns at once, and is done when observed.

    A verb may carry a fence. The target remembers the newest it has heard of for each route, as long as the route's
    arms may live, and refuses an older one: a controller that was stopped in the middle of a verb and wakes after
    another has taken over takes nothing out of service. A verb without a fence is nobody's controller's, and is not
    refused.
    """

    async def follow(self, route: RouteId, fence: Fence) -> Fence:
        """From now on refuse whoever has an older fence.

        Returns:
            The newest fence it has heard of; a newer one than ``fence``: another controller came after this one.
        """
        ...

    async def ensure(self, route: RouteId, spec: ArmSpec, *, fence: Fence | None = None) -> None:
        """Start what is missing of an arm, drain what is too many: the last of those that :meth:`observe` reports.

        So whoever takes traffic away first knows from which instances.

        Raises:
            RefusedError: When the release's signature or files do not verify.
            ConflictError: ``stale_fence`` when a newer fence was heard of; nothing was done.
        """
        ...

    async def observe(self, route: RouteId) -> tuple[ObservedArm, ...]:
        """Every arm of the route, in any state but stopped."""
        ...

    async def drain(
        self, route: RouteId, release: Digest, effective: Digest | None = None, *, fence: Fence | None = None
    ) -> None:
        """Take the arm out of service: no new work, SIGTERM, wait for its grace, then stop. A no-op when gone.

        Args:
            route: Of the arm.
            release: Whose arm.
            effective: In which configuration; ``None``: in every one (a release's shadow has its own).
            fence: Of whoever asks.

        Raises:
            ConflictError: ``stale_fence`` when a newer fence was heard of; nothing was done.
        """
        ...

    async def stop(self, route: RouteId, release: Digest) -> None:
        """Stop the arm now. A no-op when gone."""
        ...
