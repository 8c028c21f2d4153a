"""From what is desired and what is observed to the operations that are missing. Pure and level-triggered.

Every operation is safe to repeat: arms are idempotent by digest, tables are fenced, and an arm is drained only once
every live gateway has confirmed a table that sends it nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fairway.rollout.desired import served_digest
from fairway.rollout.instances import surplus
from fairway.rollout.values import Desired, RouteState
from fairway.targets.port import ArmSpec, InstanceState, ObservedArm
from fairway.traffic.fence import Fence
from fairway.traffic.port import RouterObserved
from fairway.units import Digest

# A crash-looping instance is there: the target goes on trying by itself, slowly.
_RUNNING = frozenset({InstanceState.STARTING, InstanceState.READY, InstanceState.BACKING_OFF, InstanceState.CRASH_LOOP})


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsureArm:
    """Start what is missing of an arm."""

    spec: ArmSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyTable:
    """Publish the desired table under ``fence``."""

    fence: Fence


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainArm:
    """Take an arm out of service, in one configuration, that nothing desires and no gateway uses."""

    release: Digest
    effective: Digest


Operation = EnsureArm | ApplyTable | DrainArm


def reconcile(
    *,
    state: RouteState,
    desired: Desired,
    observed: tuple[ObservedArm, ...],
    router: RouterObserved,
    published: Fence | None,
    route_policy: str,
) -> tuple[Operation, ...]:
    """Operations still missing, in an order that never takes traffic to an arm that is not there.

    Args:
        state: Of the last journaled event.
        desired: What that state desires now.
        observed: Arms as the target sees them.
        router: What gateways have confirmed.
        route_policy: Digest of the project's part of the table, as the state was decided under.
        published: Fence of the table this controller last published; ``None`` after a restart.
    """
    current = state.table == served_digest(desired, observed, route_policy)
    seen = {(arm.release_digest, arm.effective_digest): arm for arm in observed}
    operations: list[Operation] = [EnsureArm(spec=arm.spec) for arm in desired.arms if not _complete(arm.spec, seen)]
    if current and (published is None or published < state.changed_by):
        operations.append(ApplyTable(fence=state.changed_by))
    confirmed = router.gateways > 0 and router.confirmed == state.changed_by
    if current and confirmed:
        wanted = {_identity(arm.spec) for arm in desired.arms}
        # Gateways have left the instances that are too many: their endpoints are in no table any more.
        operations.extend(EnsureArm(spec=arm.spec) for arm in desired.arms if _too_many(arm.spec, seen))
        operations.extend(
            DrainArm(release=arm.release_digest, effective=arm.effective_digest)
            for arm in observed
            if _idle(arm, wanted)
        )
    return tuple(operations)


_Identity = tuple[Digest, Digest]


def _identity(spec: ArmSpec) -> _Identity:
    return spec.release_digest, spec.effective_digest


def _complete(spec: ArmSpec, seen: Mapping[_Identity, ObservedArm]) -> bool:
    arm = seen.get(_identity(spec))
    return arm is not None and sum(instance.state in _RUNNING for instance in arm.instances) >= spec.replicas


def _too_many(spec: ArmSpec, seen: Mapping[_Identity, ObservedArm]) -> bool:
    arm = seen.get(_identity(spec))
    return arm is not None and surplus(arm, spec.replicas)


def _idle(arm: ObservedArm, wanted: set[_Identity]) -> bool:
    """Nothing desires it, and it is not draining already."""
    if (arm.release_digest, arm.effective_digest) in wanted:
        return False
    return any(instance.state is not InstanceState.DRAINING for instance in arm.instances)
