"""Which instances a step of a rollout needs, and whether they are there. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from fairway.rollout.values import Phase, Plan, RolloutState, RouteState, Scaling, Step, Warm
from fairway.targets.port import InstanceState, ObservedArm
from fairway.targets.shadow import shadow_configuration
from fairway.traffic.table import Role
from fairway.units import Digest, Verdict
from fairway.verdict.values import GateFinding


@dataclass(frozen=True, slots=True, kw_only=True)
class Instances:
    """What a stretch of a rollout runs beside stable.

    Attributes:
        role, effective, candidate: How the candidate runs, in which configuration, and in how many instances.
        stable: Instances of stable; ``None``: all.
    """

    role: Role
    effective: Digest
    candidate: int
    stable: int | None


def step_now(rollout: RolloutState) -> Step | None:
    """The step the rollout is in, or prepares for; ``None`` at 100 % and for a plan without steps."""
    steps = rollout.plan.steps
    if rollout.phase is Phase.PREPARING and steps:
        return steps[0]
    return steps[rollout.step] if rollout.phase is Phase.STEPPING else None


def is_shadow(step: Step | None) -> bool:
    """Whether the candidate is only shown copies of requests in this step."""
    return step is not None and step.mirroring is not None


def instances_of(rollout: RolloutState, step: Step | None) -> Instances:
    """What ``step`` needs; ``None``: all traffic on the candidate."""
    candidate = rollout.candidate
    if step is None:
        return Instances(
            role=Role.CANDIDATE,
            effective=candidate.effective,
            candidate=candidate.replicas,
            stable=last_stable(rollout),
        )
    replicas = candidate.replicas if step.candidate_replicas is None else step.candidate_replicas
    if is_shadow(step):
        effective = shadow_configuration(candidate.effective)
        return Instances(role=Role.SHADOW, effective=effective, candidate=replicas, stable=step.stable_replicas)
    return Instances(
        role=Role.CANDIDATE, effective=candidate.effective, candidate=replicas, stable=step.stable_replicas
    )


def last_stable(rollout: RolloutState) -> int | None:
    """Instances stable keeps beyond the last step: all but where it was replaced one by one."""
    return rollout.plan.steps[-1].stable_replicas if rollout.plan.steps else None


def scaling_towards(rollout: RolloutState, following: int | None) -> Scaling:
    """How a step begins: with its share at once, or only once its instances are ready.

    Args:
        rollout: Before it moves.
        following: Index of the step it moves to; ``None``: all traffic.
    """
    if rollout.stable is None:
        return Scaling.EXPOSED
    here = step_now(rollout)
    there = None if following is None else rollout.plan.steps[following]
    if here is None or (here is there):
        return Scaling.EXPOSED
    has, needs = instances_of(rollout, here), instances_of(rollout, there)
    same = has.effective == needs.effective and needs.candidate <= has.candidate
    return Scaling.EXPOSED if same and rollout.scaling is not Scaling.STARTING else Scaling.STARTING


def before(rollout: RolloutState) -> Step | None:
    """The step whose traffic is served while the instances of the present one start; ``None``: none yet."""
    if rollout.phase is Phase.PROMOTING:
        return rollout.plan.steps[rollout.step]
    return rollout.plan.steps[rollout.step - 1] if rollout.step else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Lack:
    """What a plan needs that is not there: a stable code, and a sentence."""

    code: str
    text: str


def why_not_followed(plan: Plan, *, sticky: bool, mirror: bool, probe: bool) -> Lack | None:
    """What of the router and the controller a plan needs and they cannot; ``None`` when nothing is missing."""
    if not mirror and any(step.mirroring is not None for step in plan.steps):
        text = "its plan shows requests to a shadow first, and this router cannot copy requests"
        return Lack(code="cannot_mirror", text=text)
    if not probe and any(step.probe for step in plan.steps):
        text = "its plan probes the idle colour before any traffic, and this controller cannot"
        return Lack(code="cannot_probe", text=text)
    if not (sticky or plan.mixed) and any(step.stable_replicas is not None for step in plan.steps):
        text = "this router does not keep a conversation on its release; rolling.mixed: true says that it need not"
        return Lack(code="not_sticky", text=text)
    return None


def surplus(arm: ObservedArm, replicas: int) -> bool:
    """Whether an arm has more instances than it needs, and those that will stay all serve."""
    there = [instance for instance in arm.instances if instance.state is not InstanceState.DRAINING]
    return len(there) > replicas and all(one.state is InstanceState.READY for one in there[:replicas])


def serving_endpoints(arm: ObservedArm, replicas: int) -> tuple[str, ...]:
    """Endpoints that shall serve of an arm, sorted.

    A target ends what is too many from the end of the list it reports, so the first ones stay; as long as one of
    those is not ready, every ready one serves.
    """
    ready = arm.ready()
    serving = ready[:replicas] if surplus(arm, replicas) else ready
    return tuple(sorted(instance.endpoint for instance in serving))


def soak_lacks(rollout: RolloutState, findings: Iterable[GateFinding]) -> tuple[str, ...]:
    """Gates of the soak that must pass and have not: the only proof where no step below 100 % compared anything."""
    passed = {finding.gate for finding in findings if finding.verdict is Verdict.PASS}
    if rollout.stable is None:
        return ()
    return tuple(gate.name for gate in rollout.plan.soak_gates if gate.must_pass and gate.name not in passed)


def goes_back_whole(rollout: RolloutState) -> bool:
    """Whether it returns to what was stable here as a whole; a mix of former parts has gates in its soak to pass."""
    return rollout.going_back and not rollout.plan.soak_gates and not rollout.candidate.unverified


def scaled_down(state: RouteState, rollout: RolloutState) -> tuple[Warm, ...]:
    """What stays warm after the soak: of the former stable only as many instances as the plan says."""
    replicas = rollout.plan.warm_replicas
    if replicas is None or rollout.stable is None:
        return state.warm
    former = rollout.stable.release
    return tuple(
        replace(warm, arm=replace(warm.arm, replicas=min(replicas, warm.arm.replicas)))
        if warm.arm.release == former
        else warm
        for warm in state.warm
    )
