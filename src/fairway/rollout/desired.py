"""From a route's state to what shall be true of it, and to the table gateways serve. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fairway.canonical import sha256_digest, value_digest
from fairway.rollout.instances import (
    Instances,
    before,
    goes_back_whole,
    instances_of,
    is_shadow,
    last_stable,
    serving_endpoints,
    step_now,
)
from fairway.rollout.people import same_person
from fairway.rollout.requests import HoldKind
from fairway.rollout.thresholds import thresholds_of
from fairway.rollout.values import (
    ArmRef,
    Desired,
    DesiredArm,
    Exposure,
    Hold,
    Phase,
    RolloutState,
    RouteState,
    Scaling,
    Step,
)
from fairway.targets.port import ArmSpec, ObservedArm
from fairway.traffic.endpoints import DEFAULT_EJECTION, Ejection, Health
from fairway.traffic.fence import ZERO_FENCE, Fence
from fairway.traffic.flags import TableFlag
from fairway.traffic.reading import DEFAULT_READING, Reading
from fairway.traffic.rerun import DEFAULT_RERUN, Rerun
from fairway.traffic.sampling import Sampling
from fairway.traffic.table import NO_SHARE, Arm, KeyExtractor, Limits, Role, RouteTable, Rule, Timeouts, Trip
from fairway.units import AgentName, Digest, EnvironmentName, Parts, RouteId
from fairway.verdict.values import GateKind

DEFAULT_TIMEOUTS = Timeouts()
DEFAULT_LIMITS = Limits()


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutePolicy:
    """The parts of a table that come from the project and not from a rollout."""

    rules: tuple[Rule, ...] = ()
    keys: tuple[KeyExtractor, ...] = ()
    timeouts: Timeouts = DEFAULT_TIMEOUTS
    limits: Limits = DEFAULT_LIMITS
    trip: Trip | None = None
    block_seconds: float = 10.0
    pin_seconds: float = 3600.0
    flags: tuple[TableFlag, ...] = ()
    rerun: Rerun = DEFAULT_RERUN
    sample: Sampling | None = None
    reading: Reading = DEFAULT_READING
    health: Health | None = None
    ejection: Ejection = DEFAULT_EJECTION
    trace: bool = False


def _arm(role: Role, ref: ArmRef, *, replicas: int | None = None, effective: Digest | None = None) -> DesiredArm:
    spec = ArmSpec(
        role=role,
        release_digest=ref.release,
        effective_digest=ref.effective if effective is None else effective,
        replicas=ref.replicas if replicas is None else min(replicas, ref.replicas),
    )
    return DesiredArm(spec=spec, version=ref.version)


def desired_of(state: RouteState, now: datetime) -> Desired:
    """What shall be true of the route in this state.

    While promoting, the candidate already has the role of stable, so that traffic without a key and pins of finished
    conversations land on it; the former stable stays as ``baseline`` for conversations that began on it.
    """
    rollout = state.rollout
    if rollout is None or not rollout.live or rollout.phase is Phase.SOAKING:
        settled = () if state.stable is None else (_arm(Role.STABLE, state.stable),)
        return Desired(arms=(*settled, *_warm(state, settled, now)), salt=rollout.id if rollout else "")
    if rollout.phase is Phase.PROMOTING and rollout.scaling is not Scaling.STARTING:
        return _whole(state, rollout, now)
    if rollout.phase is Phase.ROLLING_BACK:
        back = () if rollout.stable is None else (_arm(Role.STABLE, rollout.stable),)
        arms = (*back, *_warm(state, back, now))
        return Desired(arms=arms, masks=(rollout.candidate.release,), salt=rollout.bucket_salt)
    if rollout.phase is Phase.PREPARING and serves_old_conversations(state, rollout, now):
        return _preparing_a_warm_one(state, rollout, now)
    if rollout.scaling is Scaling.STARTING or rollout.phase is Phase.PREPARING:
        return _starting(state, rollout, now)
    step = rollout.plan.steps[rollout.step]
    shrunk = rollout.scaling is Scaling.SHRUNK
    arms = _pair(
        rollout, instances_of(rollout, step), stable=step.stable_replicas if shrunk else _stable_before(rollout)
    )
    return _exposed(rollout, (*arms, *_warm(state, arms, now)), step)


def _whole(state: RouteState, rollout: RolloutState, now: datetime) -> Desired:
    arms: tuple[DesiredArm, ...] = (_arm(Role.STABLE, rollout.candidate),)
    if rollout.stable is not None:
        arms = (*arms, _arm(Role.BASELINE, rollout.stable, replicas=last_stable(rollout)))
    return Desired(arms=(*arms, *_warm(state, arms, now)), salt=rollout.bucket_salt)


def _starting(state: RouteState, rollout: RolloutState, now: datetime) -> Desired:
    """The instances of the coming step start beside what serves; traffic stays as it is."""
    needs = instances_of(rollout, step_now(rollout))
    arms = _pair(rollout, needs, stable=_stable_before(rollout))
    arms = (*arms, *_warm(state, arms, now))
    served = None if rollout.phase is Phase.PREPARING else before(rollout)
    if served is not None and not is_shadow(served):
        return _exposed(rollout, arms, served)
    masked = (rollout.candidate.release,)
    return Desired(arms=arms, exposure=Exposure.RULES_ONLY, masks=masked, salt=rollout.bucket_salt)


def _pair(rollout: RolloutState, needs: Instances, *, stable: int | None) -> tuple[DesiredArm, ...]:
    candidate = _arm(needs.role, rollout.candidate, replicas=needs.candidate, effective=needs.effective)
    if rollout.stable is None:
        return (candidate,)
    return _arm(Role.STABLE, rollout.stable, replicas=stable), candidate


def _stable_before(rollout: RolloutState) -> int | None:
    """Instances stable has until the split of the present step is in force."""
    served = None if rollout.phase is Phase.PREPARING else before(rollout)
    return None if served is None else served.stable_replicas


def serves_old_conversations(state: RouteState, rollout: RolloutState, now: datetime) -> bool:
    """Whether the candidate is still kept warm for conversations that began when it was stable."""
    still = is_frozen(state, now)
    return any(warm.arm.release == rollout.candidate.release and (still or now < warm.until) for warm in state.warm)


def _preparing_a_warm_one(state: RouteState, rollout: RolloutState, now: datetime) -> Desired:
    """The candidate still serves conversations that began on it: it keeps them, and gets no new ones."""
    stable = () if rollout.stable is None else (_arm(Role.STABLE, rollout.stable),)
    arms = (*stable, _arm(Role.BASELINE, rollout.candidate))
    return Desired(arms=(*arms, *_warm(state, arms, now)), exposure=Exposure.RULES_ONLY, salt=rollout.bucket_salt)


def _exposed(rollout: RolloutState, arms: tuple[DesiredArm, ...], step: Step) -> Desired:
    theta: dict[str, float] = {}
    if rollout.theta is not None:
        margin = next((gate.margin for gate in step.gates if gate.kind is GateKind.LATENCY_P95), 1.0)
        theta = {Role.STABLE.value: rollout.theta, Role.CANDIDATE.value: rollout.theta * margin}
    split = step.split if step.exposure is Exposure.HASH else NO_SHARE
    salt = rollout.bucket_salt
    return Desired(arms=arms, split=split, exposure=step.exposure, mirror=step.mirror, salt=salt, theta=theta,
        thresholds=thresholds_of(rollout, step),
        shadow_says=step.mirroring is not None and step.mirroring.says,
    )  # fmt: skip


def _warm(state: RouteState, arms: tuple[DesiredArm, ...], now: datetime) -> tuple[DesiredArm, ...]:
    """Former stables whose time is not over; under a freeze nothing ends, nor in the soak what it would return to."""
    there = {arm.spec.release_digest for arm in arms}
    still = is_frozen(state, now)
    back = _returns_to(state)
    return tuple(
        _arm(Role.BASELINE, warm.arm)
        for warm in state.warm
        if (still or now < warm.until or warm.arm.release == back) and warm.arm.release not in there
    )


def _returns_to(state: RouteState) -> Digest | None:
    """The release a soak that fails goes back to."""
    rollout = state.rollout
    soaking = rollout is not None and rollout.phase is Phase.SOAKING and not goes_back_whole(rollout)
    return rollout.stable.release if soaking and rollout is not None and rollout.stable is not None else None


def active_holds(state: RouteState, now: datetime) -> tuple[Hold, ...]:
    """Every hold in force, one a person: freezes first, then the oldest."""
    every = (*(() if state.hold is None else (state.hold,)), *state.holds_beside)
    held = [hold for hold in every if hold.until is None or now < hold.until]
    return tuple(sorted(held, key=lambda hold: hold.kind is not HoldKind.FREEZE))


def active_hold(state: RouteState, now: datetime) -> Hold | None:
    """The hold in force that stops most, or ``None`` when there is none or every one has expired."""
    return next(iter(active_holds(state, now)), None)


def hold_of_another(state: RouteState, now: datetime, actor: str) -> Hold | None:
    """The hold of somebody else that stops most; ``None`` when only ``actor`` holds, or nobody."""
    return next((hold for hold in active_holds(state, now) if not same_person(hold.actor, actor)), None)


def is_frozen(state: RouteState, now: datetime) -> bool:
    """Whether a freeze is in force."""
    hold = active_hold(state, now)
    return hold is not None and hold.kind is HoldKind.FREEZE


def table_of(
    state: RouteState, desired: Desired, observed: tuple[ObservedArm, ...], policy: RoutePolicy, fence: Fence
) -> RouteTable:
    """The table gateways shall serve: desired arms with the endpoints of their ready instances."""
    ready = _endpoints(desired, observed)
    arms = tuple(
        Arm(
            role=arm.spec.role,
            release=arm.spec.release_digest,
            version=arm.version,
            endpoints=ready.get((arm.spec.release_digest, arm.spec.effective_digest), ()),
        )
        for arm in desired.arms
    )
    return RouteTable(
        route=state.route,
        fence=fence,
        arms=arms,
        rules=policy.rules,
        split=Parts(desired.split),
        salt=desired.salt,
        keys=policy.keys,
        mirror=desired.mirror,
        masks=desired.masks,
        timeouts=policy.timeouts,
        limits=policy.limits,
        trip=policy.trip,
        theta={
            metric: {Role(role): limit for role, limit in limits.items()}
            for metric, limits in (("latency_ms", desired.theta), *desired.thresholds.items())
            if limits
        },
        block_seconds=policy.block_seconds,
        pin_seconds=policy.pin_seconds,
        flags=policy.flags,
        rerun=policy.rerun,
        shadow_says=desired.shadow_says,
        sample=policy.sample,
        reading=policy.reading,
        health=policy.health,
        ejection=policy.ejection,
        trace=policy.trace,
    )


def _endpoints(desired: Desired, observed: tuple[ObservedArm, ...]) -> dict[tuple[Digest, Digest], tuple[str, ...]]:
    """Ready endpoints by arm; none for a masked release, so that its restarts change no table."""
    found = _serving(desired, observed)
    return {identity: endpoints for identity, endpoints in found.items() if identity[0] not in desired.masks}


def _serving(desired: Desired, observed: tuple[ObservedArm, ...]) -> dict[tuple[Digest, Digest], tuple[str, ...]]:
    """Endpoints that shall serve, by arm: of one with too many instances only those that stay."""
    wanted = {(arm.spec.release_digest, arm.spec.effective_digest): arm.spec.replicas for arm in desired.arms}
    return {
        identity: serving_endpoints(arm, wanted[identity])
        for arm in observed
        if (identity := (arm.release_digest, arm.effective_digest)) in wanted
    }


def policy_digest(policy: RoutePolicy) -> Digest:
    """Digest of the project's part of the table."""
    nothing = Desired(arms=())
    route = RouteId(agent=AgentName("-"), environment=EnvironmentName("-"))
    table = table_of(RouteState(route=route), nothing, (), policy, ZERO_FENCE)
    return value_digest(table.to_wire())


def served_digest(desired: Desired, observed: tuple[ObservedArm, ...], route_policy: str) -> Digest:
    """Digest of what the table says, without its fence: when it changes, a new table has to go out."""
    ready = _serving(desired, observed)
    return _digest(
        {
            "policy": route_policy,
            "arms": [
                [
                    arm.spec.role.value,
                    arm.spec.release_digest,
                    list(ready.get((arm.spec.release_digest, arm.spec.effective_digest), ())),
                ]
                for arm in desired.arms
            ],
            "split": desired.split,
            "mirror": desired.mirror,
            "masks": sorted(desired.masks),
            "salt": desired.salt,
            "theta": dict(desired.theta),
            **(
                {"thresholds": {m: dict(limits) for m, limits in desired.thresholds.items()}}
                if desired.thresholds
                else {}
            ),
            **({"shadow_says": True} if desired.shadow_says else {}),
        }
    )


def _digest(value: dict[str, Any]) -> Digest:
    """:func:`fairway.canonical.value_digest`, faster where it is the same: each tick of each route asks for one.

    Without floating-point numbers (limits of the gateways' marks) sorted compact JSON is canonical already.
    """
    if value["theta"] or value.get("thresholds"):
        return value_digest(value)
    return sha256_digest(json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode())


def serves_nobody(desired: Desired, observed: tuple[ObservedArm, ...]) -> bool:
    """Whether applying would take traffic from an arm that is ready to one that is not.

    A rollback waits with the table until stable is back, rather than turning a bad answer into no answer.
    """
    ready = {arm.release_digest for arm in observed if arm.ready()}
    stable = next((arm.spec for arm in desired.arms if arm.spec.role is Role.STABLE), None)
    return stable is not None and stable.release_digest not in ready and bool(ready)
