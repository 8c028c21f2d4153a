"""From the ``rollout`` section of the project to a plan, with its error budget split over the gates. Pure."""

from __future__ import annotations

from fairway.canonical import value_digest
from fairway.rollout.approvals import with_points
from fairway.rollout.choose import Choice, choose
from fairway.rollout.config import AUTO, RolloutSection, StepSection
from fairway.rollout.evidence import MirrorGate
from fairway.rollout.people_config import ApprovalSection
from fairway.rollout.values import Exposure, Plan, Step, Strategy
from fairway.traffic.table import NO_SHARE
from fairway.units import WHOLE, Digest, Parts
from fairway.verdict.values import GateKind, GateSpec

BOUND_SHARE = 0.1
"""What the failures gate spends beside its test, on the bounds of stable's rate (``verdict.gates``)."""


def compile_plan(
    policy: RolloutSection, *, replicas: int = 1, approval: bool = False, choice: Choice | None = None
) -> Plan:
    """The plan a rollout started under ``policy`` follows: one tuple of steps, whatever the strategy.

    FAIL of any gate at any step rolls back, so ``alpha_fail`` is divided over the gates and the soak, and for latency,
    whose margin is in what counts as slow, over the steps as well. Towards FAIL the failures gate uses the last margin
    at every step: one process over the whole rollout, and a candidate shown to be worse than that can never be
    finished. PASS of
    every gate is needed (an intersection), so each gets ``alpha_pass`` whole
    (Berger 1982). Absolute success must not FAIL at any step and must PASS before the last one is left.

    Args:
        policy: The section, validated.
        replicas: Instances of the candidate, when the policy does not say.
        approval: Whether the environment asks for one, when the policy does not say.
        choice: What ``auto`` chose; ``None``: what changed is not known. Heeded under ``strategy: auto`` alone.
    """
    automatic = policy.strategy == AUTO
    chosen = (choice or choose(None)) if automatic else _as_written(policy)
    instances = policy.replicas or replicas
    steps = _steps(policy, chosen, instances)
    blue_green = chosen.strategy is Strategy.BLUE_GREEN
    compared = any(step.split for step in steps)
    rule = ApprovalSection(required=approval) if policy.approval is None else policy.approval
    plan = Plan(
        strategy=chosen.strategy if steps else Strategy.DIRECT,
        steps=steps,
        policy_digest=_digest(policy, chosen),
        soak_gates=_success(policy, must_pass=not compared),
        replicas=instances,
        quorum=rule.to_quorum(),
        prepare_timeout=_ready_timeout(policy, blue_green=blue_green),
        soak=policy.soak,
        warm=policy.warm,
        instrument_budget=policy.instrument_budget,
        why=chosen.why if automatic else "",
        warm_replicas=policy.blue_green.warm_replicas if blue_green else None,
        mixed=policy.rolling.mixed,
    )
    return with_points(plan, rule.points()) if rule.required else plan


def _as_written(policy: RolloutSection) -> Choice:
    strategy = Strategy(policy.strategy)
    return Choice(strategy=strategy, shadow_first=strategy is Strategy.SHADOW, why="")


def _digest(policy: RolloutSection, chosen: Choice) -> Digest:
    """Of the policy, and under ``auto`` of what it chose: who approves a canary has not approved a switch."""
    written = policy.model_dump(mode="json")
    if policy.strategy != AUTO:
        return value_digest(written)
    picked = {"strategy": chosen.strategy.value, "shadow_first": chosen.shadow_first}
    return value_digest({"policy": written, "chosen": picked})


def _ready_timeout(policy: RolloutSection, *, blue_green: bool) -> float:
    if policy.ready_timeout is not None:
        return policy.ready_timeout
    return policy.blue_green.ready_timeout if blue_green else 60.0


def _steps(policy: RolloutSection, chosen: Choice, instances: int) -> tuple[Step, ...]:
    first = (_mirrored(policy),) if chosen.shadow_first else ()
    match chosen.strategy:
        case Strategy.BLUE_GREEN:
            return (*first, *_blue_green(policy))
        case Strategy.ROLLING:
            return (*first, *_rolling(policy, instances))
        case _:
            return (*first, *_canary(policy))


def _canary(policy: RolloutSection) -> tuple[Step, ...]:
    compared = [step for step in policy.steps if step.split < WHOLE]
    return tuple(
        _step(policy, section, index, last=index == len(compared) - 1) for index, section in enumerate(compared)
    )


def _blue_green(policy: RolloutSection) -> tuple[Step, ...]:
    """Nobody but rules and probes at first, then a gray share where the policy has one, then everybody at once."""
    told = policy.blue_green
    smoke = Step(
        split=NO_SHARE,
        gates=_success(policy, must_pass=False),
        dwell=told.smoke,
        cap=max(policy.cap, told.smoke),
        exposure=Exposure.RULES_ONLY,
        name="smoke",
        probe=True,
    )
    if told.gray is None:
        return (smoke,)
    gates = _gates(policy, _margins_at(policy, told.gray), last=True, steps=1)
    gray = Step(split=Parts(told.gray), gates=gates, dwell=policy.dwell, cap=policy.cap, name="gray")
    return smoke, gray


def _rolling(policy: RolloutSection, instances: int) -> tuple[Step, ...]:
    """One instance more each step, with its part of the traffic; stable keeps at least one for its conversations.

    A single instance is replaced by way of one step with half of the traffic each: else nothing would be compared.
    """
    shares = [WHOLE * number // instances for number in range(1, instances)] or [WHOLE // 2]
    return tuple(
        Step(
            split=Parts(share),
            gates=_gates(policy, _margins_at(policy, share), last=number == len(shares), steps=len(shares)),
            dwell=policy.rolling.dwell,
            cap=max(policy.cap, policy.rolling.dwell),
            name=f"{number} of {instances} instances" if instances > 1 else "the new instance beside the old",
            candidate_replicas=number,
            stable_replicas=max(1, instances - number),
        )
        for number, share in enumerate(shares, start=1)
    )


def _mirrored(policy: RolloutSection) -> Step:
    told = policy.shadow
    gate = MirrorGate(
        margin=told.margin,
        alpha_fail=_alpha_fail_of_a_gate(policy),
        alpha_pass=policy.alpha_pass,
        minimum_pairs=told.minimum_pairs,
        max_diverged=told.max_diverged / WHOLE,
    )
    return Step(
        split=NO_SHARE,
        gates=(),
        dwell=told.dwell,
        cap=max(policy.cap, told.dwell),
        exposure=Exposure.RULES_ONLY,
        mirror=Parts(told.mirror),
        name="mirror",
        mirroring=gate,
        candidate_replicas=told.replicas,
    )


def _margins_at(policy: RolloutSection, share: int) -> int:
    """Which of the policy's margins hold at a share: those of its largest step that is not larger."""
    splits = policy.comparative_splits()
    return max(0, sum(split <= share for split in splits) - 1)


def _step(policy: RolloutSection, section: StepSection, index: int, *, last: bool) -> Step:
    return Step(
        split=Parts(section.split),
        gates=_gates(policy, index, last=last),
        dwell=policy.dwell if section.dwell is None else section.dwell,
        cap=policy.cap if section.cap is None else section.cap,
        approval=section.approval,
    )


def _gates(policy: RolloutSection, index: int, *, last: bool, steps: int | None = None) -> tuple[GateSpec, ...]:
    gates = policy.gates
    share = _alpha_fail_of_a_gate(policy)
    steps = len(policy.comparative_splits()) if steps is None else steps
    found: list[GateSpec] = []
    if gates.failures.enabled:
        found.append(
            GateSpec(
                name="failures",
                kind=GateKind.FAILURES,
                margin=policy.failure_margins()[index],
                fail_margin=policy.failure_margins()[-1],
                alpha_fail=share / (1 + BOUND_SHARE),
                alpha_pass=policy.alpha_pass,
                must_pass=gates.failures.must_pass,
                minimum_units=gates.minimum_units,
            )
        )
    if gates.p95.enabled:
        found.append(
            GateSpec(
                name="p95",
                kind=GateKind.LATENCY_P95,
                margin=policy.latency_margins()[index],
                alpha_fail=share / steps,
                alpha_pass=policy.alpha_pass,
                must_pass=gates.p95.must_pass,
                minimum_units=gates.minimum_units,
                from_step=True,
            )
        )
    return (*found, *_success(policy, must_pass=gates.success.must_pass or last))


def _success(policy: RolloutSection, *, must_pass: bool) -> tuple[GateSpec, ...]:
    if not policy.gates.success.enabled:
        return ()
    return (
        GateSpec(
            name="success",
            kind=GateKind.SUCCESS,
            margin=policy.success_minimum(),
            alpha_fail=_alpha_fail_of_a_gate(policy),
            alpha_pass=policy.alpha_pass,
            must_pass=must_pass,
            minimum_units=policy.gates.minimum_units,
        ),
    )


def _alpha_fail_of_a_gate(policy: RolloutSection) -> float:
    gates = policy.gates
    enabled = sum((gates.failures.enabled, gates.p95.enabled, gates.success.enabled))
    soaks = gates.success.enabled and policy.soak > 0
    mirrors = policy.strategy in (AUTO, Strategy.SHADOW.value)
    return policy.alpha_fail / max(1, enabled + soaks + mirrors)
