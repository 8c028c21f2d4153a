"""From a route's state to what shall be true of it, and to the table gateways serve. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from fairway.canonical import value_digest
from fairway.rollout.requests import HoldKind
from fairway.rollout.values import ArmRef, Desired, DesiredArm, Exposure, Hold, Phase, RolloutState, RouteState
from fairway.targets.port import ArmSpec, ObservedArm
from fairway.traffic.fence import ZERO_FENCE, Fence
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


def _arm(role: Role, ref: ArmRef) -> DesiredArm:
    spec = ArmSpec(role=role, release_digest=ref.release, effective_digest=ref.effective, replicas=ref.replicas)
    return DesiredArm(spec=spec, version=ref.version)


def desired_of(state: RouteState, now: datetime) -> Desired:
    """What shall be true of the route in this state.

    While promoting, the candidate already has the role of stable, so that traffic without a key and pins of finished
    conversations land on it; the former stable stays as ``baseline`` for conversations that began on it.
    """
    rollout = state.rollout
    if rollout is None or not rollout.live or rollout.phase is Phase.SOAKING:
        settled = () if state.stable is None else (_arm(Role.STABLE, state.stable),)
        return Desired(arms=(*settled, *_warm(state, settled, now)), salt=rollout.bucket_salt if rollout else "")
    if rollout.phase is Phase.PROMOTING:
        arms: tuple[DesiredArm, ...] = (_arm(Role.STABLE, rollout.candidate),)
        if rollout.stable is not None:
            arms = (*arms, _arm(Role.BASELINE, rollout.stable))
        return Desired(arms=(*arms, *_warm(state, arms, now)), salt=rollout.bucket_salt)
    if rollout.phase is Phase.ROLLING_BACK:
        back = () if rollout.stable is None else (_arm(Role.STABLE, rollout.stable),)
        arms = (*back, *_warm(state, back, now))
        return Desired(arms=arms, masks=(rollout.candidate.release,), salt=rollout.bucket_salt)
    if rollout.phase is Phase.PREPARING and rollout.candidate.release in {warm.arm.release for warm in state.warm}:
        return _preparing_a_warm_one(state, rollout, now)
    pair: tuple[DesiredArm, ...] = (_arm(Role.CANDIDATE, rollout.candidate),)
    if rollout.stable is not None:
        pair = (_arm(Role.STABLE, rollout.stable), *pair)
    arms = (*pair, *_warm(state, pair, now))
    if rollout.phase is Phase.STEPPING:
        return _exposed(rollout, arms)
    masked = (rollout.candidate.release,)
    return Desired(arms=arms, exposure=Exposure.RULES_ONLY, masks=masked, salt=rollout.bucket_salt)


def _preparing_a_warm_one(state: RouteState, rollout: RolloutState, now: datetime) -> Desired:
    """The candidate still serves conversations that began on it: it keeps them, and gets no new ones."""
    stable = () if rollout.stable is None else (_arm(Role.STABLE, rollout.stable),)
    arms = (*stable, _arm(Role.BASELINE, rollout.candidate))
    return Desired(arms=(*arms, *_warm(state, arms, now)), exposure=Exposure.RULES_ONLY, salt=rollout.bucket_salt)


def _exposed(rollout: RolloutState, arms: tuple[DesiredArm, ...]) -> Desired:
    step = rollout.plan.steps[rollout.step]
    theta: dict[str, float] = {}
    if rollout.theta is not None:
        margin = next((gate.margin for gate in step.gates if gate.kind is GateKind.LATENCY_P95), 1.0)
        theta = {Role.STABLE.value: rollout.theta, Role.CANDIDATE.value: rollout.theta * margin}
    split = step.split if step.exposure is Exposure.HASH else NO_SHARE
    salt = rollout.bucket_salt
    return Desired(arms=arms, split=split, exposure=step.exposure, mirror=step.mirror, salt=salt, theta=theta)


def _warm(state: RouteState, arms: tuple[DesiredArm, ...], now: datetime) -> tuple[DesiredArm, ...]:
    """Former stables whose time is not over; under a freeze nothing ends."""
    there = {arm.spec.release_digest for arm in arms}
    still = is_frozen(state, now)
    return tuple(
        _arm(Role.BASELINE, warm.arm)
        for warm in state.warm
        if (still or now < warm.until) and warm.arm.release not in there
    )


def active_hold(state: RouteState, now: datetime) -> Hold | None:
    """The hold in force, or ``None`` when there is none or it has expired."""
    hold = state.hold
    return None if hold is None or (hold.until is not None and now >= hold.until) else hold


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
        theta={"latency_ms": {Role(role): limit for role, limit in desired.theta.items()}} if desired.theta else {},
        block_seconds=policy.block_seconds,
        pin_seconds=policy.pin_seconds,
    )


def _endpoints(desired: Desired, observed: tuple[ObservedArm, ...]) -> dict[tuple[Digest, Digest], tuple[str, ...]]:
    """Ready endpoints by arm; none for a masked release, so that its restarts change no table."""
    return {
        (arm.release_digest, arm.effective_digest): tuple(sorted(instance.endpoint for instance in arm.ready()))
        for arm in observed
        if arm.release_digest not in desired.masks
    }


def policy_digest(policy: RoutePolicy) -> Digest:
    """Digest of the project's part of the table."""
    nothing = Desired(arms=())
    route = RouteId(agent=AgentName("-"), environment=EnvironmentName("-"))
    table = table_of(RouteState(route=route), nothing, (), policy, ZERO_FENCE)
    return value_digest(table.to_wire())


def served_digest(desired: Desired, observed: tuple[ObservedArm, ...], route_policy: str) -> Digest:
    """Digest of what the table says, without its fence: when it changes, a new table has to go out."""
    ready = {(arm.release_digest, arm.effective_digest): sorted(i.endpoint for i in arm.ready()) for arm in observed}
    return value_digest(
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
        }
    )


def serves_nobody(desired: Desired, observed: tuple[ObservedArm, ...]) -> bool:
    """Whether applying would take traffic from an arm that is ready to one that is not.

    A rollback waits with the table until stable is back, rather than turning a bad answer into no answer.
    """
    ready = {arm.release_digest for arm in observed if arm.ready()}
    stable = next((arm.spec for arm in desired.arms if arm.spec.role is Role.STABLE), None)
    return stable is not None and stable.release_digest not in ready and bool(ready)
