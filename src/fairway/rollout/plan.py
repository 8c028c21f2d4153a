"""From the ``rollout`` section of the project to a plan, with its error budget split over the gates. Pure."""

from __future__ import annotations

from fairway.canonical import value_digest
from fairway.rollout.approvals import with_points
from fairway.rollout.config import RolloutSection, StepSection
from fairway.rollout.people_config import ApprovalSection
from fairway.rollout.values import Plan, Step, Strategy
from fairway.units import WHOLE, Parts
from fairway.verdict.values import GateKind, GateSpec

BOUND_SHARE = 0.1
"""What the failures gate spends beside its test, on the bounds of stable's rate (``verdict.gates``)."""


def compile_plan(policy: RolloutSection, *, replicas: int = 1, approval: bool = False) -> Plan:
    """The plan a rollout started under ``policy`` follows.

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
    """
    compared = [step for step in policy.steps if step.split < WHOLE]
    steps = tuple(
        _step(policy, section, index, last=index == len(compared) - 1) for index, section in enumerate(compared)
    )
    rule = ApprovalSection(required=approval) if policy.approval is None else policy.approval
    plan = Plan(
        strategy=Strategy.CANARY if steps else Strategy.DIRECT,
        steps=steps,
        policy_digest=value_digest(policy.model_dump(mode="json")),
        soak_gates=_success(policy, must_pass=False),
        replicas=policy.replicas or replicas,
        quorum=rule.to_quorum(),
        prepare_timeout=60.0 if policy.ready_timeout is None else policy.ready_timeout,
        soak=policy.soak,
        warm=policy.warm,
        instrument_budget=policy.instrument_budget,
    )
    return with_points(plan, rule.points()) if rule.required else plan


def _step(policy: RolloutSection, section: StepSection, index: int, *, last: bool) -> Step:
    return Step(
        split=Parts(section.split),
        gates=_gates(policy, index, last=last),
        dwell=policy.dwell if section.dwell is None else section.dwell,
        cap=policy.cap if section.cap is None else section.cap,
        approval=section.approval,
    )


def _gates(policy: RolloutSection, index: int, *, last: bool) -> tuple[GateSpec, ...]:
    gates = policy.gates
    share = _alpha_fail_of_a_gate(policy)
    steps = len(policy.comparative_splits())
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
    return policy.alpha_fail / max(1, enabled + soaks)
