"""Small complete values of a rollout, to say in a test only what matters to it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from fairway.rollout.deciding import Measured, ReleaseFacts, Snapshot
from fairway.rollout.desired import desired_of, served_digest
from fairway.rollout.evidence import Abilities, MirrorGate
from fairway.rollout.requests import Request, Verb
from fairway.rollout.values import ArmRef, Exposure, Phase, Plan, RolloutState, RouteState, Step, Strategy, Warm
from fairway.targets.port import AttestedBy, InstanceState, ObservedArm, ObservedInstance
from fairway.testing.virtual_clock import EPOCH
from fairway.traffic.fence import Fence
from fairway.traffic.port import RouterObserved
from fairway.traffic.table import NO_SHARE
from fairway.units import AgentName, Digest, EnvironmentName, Parts, RolloutId, RouteId, Verdict
from fairway.verdict.values import GateFinding, GateKind, GateSpec

ROUTE = RouteId(agent=AgentName("support"), environment=EnvironmentName("production"))
T0 = EPOCH + timedelta(hours=1)
POLICY = Digest("sha256:" + "9" * 64)


def digest_of(letter: str) -> Digest:
    """A digest made of one hex digit."""
    return Digest("sha256:" + letter * 64)


def arm_ref(letter: str, version: str) -> ArmRef:
    """A release as it serves; the effective digest is the release's with the first digit changed."""
    return ArmRef(release=digest_of(letter), effective=Digest("sha256:0" + letter * 63), version=version)


OLDEST = arm_ref("a", "0.9.0")
STABLE = arm_ref("b", "1.0.0")
CANDIDATE = arm_ref("c", "1.1.0")
NEXT = arm_ref("d", "1.2.0")

GATES = (
    GateSpec(name="failures", kind=GateKind.FAILURES, margin=0.05, alpha_fail=0.01, alpha_pass=0.05),
    GateSpec(name="p95", kind=GateKind.LATENCY_P95, margin=1.5, alpha_fail=0.01, alpha_pass=0.05, from_step=True),
    GateSpec(name="success", kind=GateKind.SUCCESS, margin=0.95, alpha_fail=0.01, alpha_pass=0.05, must_pass=False),
)


def canary_plan(*shares: int, **changes: Any) -> Plan:
    """A canary over ``shares`` (parts of 100,000; 5, 10, 30 and 50 % when none is given)."""
    splits = shares or (5_000, 10_000, 30_000, 50_000)
    plan = Plan(
        strategy=Strategy.CANARY,
        steps=tuple(Step(split=Parts(split), gates=GATES, dwell=20.0, cap=600.0) for split in splits),
        policy_digest=POLICY,
        soak_gates=(GATES[2],),
        prepare_timeout=30.0,
        soak=20.0,
        warm=120.0,
        instrument_budget=30.0,
    )
    return replace(plan, **changes)


MIRRORING = MirrorGate(margin=0.02, alpha_fail=0.01, alpha_pass=0.05, minimum_pairs=50)
SMOKE = Step(
    split=NO_SHARE,
    gates=(replace(GATES[2], must_pass=False),),
    dwell=5.0,
    cap=600.0,
    exposure=Exposure.RULES_ONLY,
    name="smoke",
    probe=True,
)
MIRROR = Step(
    split=NO_SHARE,
    gates=(),
    dwell=10.0,
    cap=600.0,
    exposure=Exposure.RULES_ONLY,
    mirror=Parts(20_000),
    name="mirror",
    mirroring=MIRRORING,
    candidate_replicas=1,
)


def _compared(share: int, **changes: Any) -> Step:
    return replace(Step(split=Parts(share), gates=GATES, dwell=20.0, cap=600.0), **changes)


def plan_for(strategy: Strategy, *, replicas: int = 3, gray: bool = True) -> Plan:
    """A small plan of each strategy, with as many instances as ``replicas``."""
    canary = canary_plan(replicas=replicas, strategy=strategy)
    match strategy:
        case Strategy.BLUE_GREEN:
            steps: tuple[Step, ...] = (SMOKE, *([_compared(10_000, name="gray")] if gray else []))
            soak = (replace(GATES[2], must_pass=not gray),)
            return replace(canary, steps=steps, soak_gates=soak, warm_replicas=1)
        case Strategy.ROLLING:
            steps = tuple(
                _compared(100_000 * n // replicas, candidate_replicas=n, stable_replicas=replicas - n)
                for n in range(1, replicas)
            )
            return replace(canary, steps=steps)
        case Strategy.SHADOW:
            return replace(canary, steps=(MIRROR, *canary.steps[:2]))
        case _:
            return replace(canary, steps=canary.steps)


def ready_arm(ref: ArmRef, *, state: InstanceState = InstanceState.READY, count: int = 1) -> ObservedArm:
    """An arm whose instances are all in one state."""
    port = 20_000 + int(ref.release[-1], 16) * 10
    instances = tuple(
        ObservedInstance(
            id=f"{ref.version}-{number}",
            endpoint=f"127.0.0.1:{port + number}",
            state=state,
            attested_by=AttestedBy.ARM,
            reported=ref.release,
            detail="" if state is InstanceState.READY else "exit code 1",
        )
        for number in range(count)
    )
    return ObservedArm(release_digest=ref.release, effective_digest=ref.effective, instances=instances)


def finding(gate: GateSpec, verdict: Verdict, **changes: Any) -> GateFinding:
    """What a gate says."""
    base = GateFinding(
        gate=gate.name, kind=gate.kind, verdict=verdict, margin=gate.margin, reason=f"{gate.name} says {verdict.value}"
    )
    return replace(base, **changes)


def measured(*verdicts: Verdict, seconds: float = 1000.0, **changes: Any) -> Measured:
    """Findings of :data:`GATES` in order; with fewer verdicts the last one repeats; none: nothing measured."""
    findings: tuple[GateFinding, ...] = ()
    if verdicts:
        padded = (*verdicts, *(verdicts[-1:] * (len(GATES) - len(verdicts))))
        findings = tuple(finding(gate, verdict) for gate, verdict in zip(GATES, padded, strict=True))
    return Measured(findings=findings, mature_seconds=seconds, **changes)


def rollout_state(phase: Phase, *, step: int = 0, plan: Plan | None = None, **changes: Any) -> RolloutState:
    """A rollout of :data:`CANDIDATE` from :data:`STABLE` that has been in ``phase`` for ten seconds."""
    counting = phase in (Phase.STEPPING, Phase.SOAKING)
    rollout = RolloutState(
        id=RolloutId("1.1.0-r1"),
        plan=plan or canary_plan(),
        candidate=CANDIDATE,
        stable=STABLE,
        phase=phase,
        phase_at=T0 - timedelta(seconds=10),
        started_at=T0 - timedelta(seconds=60),
        requested_by="ada",
        step=step,
        counted_from=0.0 if counting else None,
        step_from=0.0 if counting else None,
        theta=400.0 if phase is Phase.STEPPING else None,
    )
    return replace(rollout, **changes)


def route_state(rollout: RolloutState | None = None, **changes: Any) -> RouteState:
    """A route with a stable release, and the one before it in its history."""
    promoted = rollout is not None and rollout.phase in (Phase.SOAKING, Phase.DONE)
    state = RouteState(
        route=ROUTE,
        stable=CANDIDATE if promoted else STABLE,
        history=(STABLE, OLDEST) if promoted else (OLDEST,),
        warm=(Warm(arm=STABLE, until=T0 + timedelta(seconds=100)),) if promoted else (),
        rollout=rollout,
        changed_by=Fence(term=1, seq=5),
    )
    return replace(state, **changes)


def snapshot(state: RouteState, **changes: Any) -> Snapshot:
    """A quiet moment: stable and candidate ready, one gateway that has confirmed what is desired."""
    now: datetime = changes.pop("now", T0)
    arms = changes.pop("arms", (ready_arm(STABLE), ready_arm(CANDIDATE)))
    table = served_digest(desired_of(state, now), arms, "")
    state = state if state.table else replace(state, table=table)
    base = Snapshot(
        now=now,
        state=state,
        head=max(Fence(term=1, seq=7), state.changed_by),
        term=1,
        plan=canary_plan(),
        releases={ref.release: ReleaseFacts(arm=ref, authors=("ada",)) for ref in (OLDEST, STABLE, CANDIDATE, NEXT)},
        arms=arms,
        router=RouterObserved(confirmed=state.changed_by, gateways=1),
        measured=measured(),
        abilities=Abilities(mirror=True, probe=True),
    )
    return replace(base, **changes)


def request(
    verb: Verb, *, actor: str = "grace", reason: str = "", if_version: int | None = None, **args: Any
) -> Request:
    """A person's verb."""
    number = "-".join(str(value)[-6:] for value in args.values())
    return Request(
        id=f"{verb.value}-{actor}-{number}",
        route=ROUTE,
        verb=verb,
        actor=actor,
        at=T0,
        args=args,
        reason=reason,
        if_version=if_version,
    )
