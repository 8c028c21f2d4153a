"""From the ``rollout`` section of the project to a plan, with its error budget split over the gates. Pure."""

from __future__ import annotations

from fairway.canonical import value_digest
from fairway.rollout.approvals import with_points
from fairway.rollout.choose import NOT_COMPARED, Choice
from fairway.rollout.config import AUTO, RolloutSection, StepSection
from fairway.rollout.evidence import MirrorGate
from fairway.rollout.gate_plan import MIRROR, SOAK, alpha_of, gates_of, stages_of, success_of, within_budget
from fairway.rollout.people_config import ApprovalSection
from fairway.rollout.values import Exposure, Plan, Step, Strategy
from fairway.traffic.table import NO_SHARE
from fairway.units import WHOLE, Digest, Parts


def compile_plan(
    policy: RolloutSection, *, replicas: int = 1, approval: bool = False, choice: Choice | None = None
) -> Plan:
    """The plan a rollout started under ``policy`` follows: one tuple of steps, whatever the strategy.

    FAIL of any gate at any step rolls back, so ``alpha_fail`` is divided over the gates and the soak
    (:mod:`fairway.rollout.gate_plan`). Towards FAIL the failures gate uses the last margin at every step: a candidate
    shown to be worse than that can never be finished. PASS of every gate that must is needed (an intersection), so each
    gets ``alpha_pass`` whole (Berger 1982). Absolute success must not FAIL at any step and must PASS before the last
    one is left.

    Args:
        policy: The section, validated.
        replicas: Instances of the candidate, when the policy does not say.
        approval: Whether the environment asks for one, when the policy does not say.
        choice: What ``auto`` chose; ``None``: what changed has not been looked at. Heeded under ``strategy: auto``
            alone.

    Raises:
        PermanentError: When the gates would err more often than ``alpha_fail`` allows; a defect of Fairway.
    """
    automatic = policy.strategy == AUTO
    chosen = (choice or NOT_COMPARED) if automatic else _as_written(policy)
    instances = policy.replicas or replicas
    steps = _steps(policy, chosen, instances)
    blue_green = chosen.strategy is Strategy.BLUE_GREEN
    compared = any(step.split for step in steps)
    rule = ApprovalSection(required=approval) if policy.approval is None else policy.approval
    if chosen.approval:
        rule = rule.model_copy(update={"required": True})
    plan = Plan(
        strategy=chosen.strategy if steps else Strategy.DIRECT,
        steps=steps,
        policy_digest=_digest(policy, chosen),
        soak_gates=success_of(policy, must_pass=not compared, part=SOAK),
        replicas=instances,
        quorum=rule.to_quorum(),
        prepare_timeout=_ready_timeout(policy, blue_green=blue_green),
        soak=policy.soak,
        warm=policy.warm,
        instrument_budget=policy.instrument_budget,
        why=chosen.why if automatic else "",
        warm_replicas=policy.blue_green.warm_replicas if blue_green else None,
        mixed=policy.rolling.mixed,
        alarms=policy.triggers.to_policy(minimum_units=policy.gates.minimum_units, stages=stages_of(steps)),
        mix_expires=policy.mix.expires,
        mix_goes_back=policy.mix.then == "roll_back",
        sources=tuple(section.to_gate() for section in policy.gates.custom),
    )
    plan = within_budget(plan, policy.alpha_fail)
    return with_points(plan, rule.points()) if rule.required else plan


def _as_written(policy: RolloutSection) -> Choice:
    strategy = Strategy(policy.strategy)
    return Choice(strategy=strategy, shadow_first=strategy is Strategy.SHADOW, why="")


def _digest(policy: RolloutSection, chosen: Choice) -> Digest:
    """Of the policy, and under ``auto`` of what it chose: who approves a canary has not approved a switch."""
    written = policy.model_dump(mode="json")
    if policy.strategy != AUTO:
        return value_digest(written)
    picked = {"strategy": chosen.strategy.value, "shadow_first": chosen.shadow_first, "approval": chosen.approval}
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
        gates=success_of(policy, must_pass=False),
        dwell=told.smoke,
        cap=max(policy.cap, told.smoke),
        exposure=Exposure.RULES_ONLY,
        name="smoke",
        probe=True,
        back_on_error=told.on_smoke_error == "roll_back",
    )
    if told.gray is None:
        return (smoke,)
    gates = gates_of(policy, _margins_at(policy, told.gray), last=True, stages=1)
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
            gates=gates_of(policy, _margins_at(policy, share), last=number == len(shares), stages=len(shares)),
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
        alpha_fail=alpha_of(policy, MIRROR),
        alpha_pass=policy.alpha_pass,
        minimum_pairs=told.minimum_pairs,
        max_diverged=told.max_diverged / WHOLE,
        says=told.heeded,
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
        gates=gates_of(policy, index, last=last, stages=len(policy.comparative_splits())),
        dwell=policy.dwell if section.dwell is None else section.dwell,
        cap=policy.cap if section.cap is None else section.cap,
        approval=section.approval,
    )
