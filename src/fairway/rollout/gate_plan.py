"""The gates of a step, with the error budget of a rollout split over them. Pure.

FAIL of any gate rolls back: a union, so the gates' alphas add up to ``alpha_fail`` (.04), beside .005 for the triggers
and .005 for the sample ratio. They are not split over the steps: each gate is one process over the whole rollout. What
most rollouts fail by has the larger part. PASS of every gate that must is needed: an intersection, so each has
``alpha_pass`` whole (Berger 1982). A gate in points bounds stable's rate beside its test, and what the bound may err
with comes out of its own budget, towards FAIL and towards PASS.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from fairway.errors import PermanentError
from fairway.rollout.config import AUTO, RolloutSection
from fairway.rollout.mean_plan import MEAN_NAMES, declared, mean_gates_of
from fairway.rollout.values import Plan, Step, Strategy
from fairway.units import WHOLE
from fairway.verdict.evidence import BOUND_SHARE
from fairway.verdict.kinds import Test, recipe_of
from fairway.verdict.values import GateKind, GateSpec

SOAK, MIRROR = "soak", "mirror"
LAST = "p95_last"
_PARTS = {"failures": 4, "p95": 4, "success": 2, SOAK: 2, MIRROR: 2}
"""Parts of the budget; one for every other gate."""
_PARTS_BESIDE_LAST = {**_PARTS, "p95": 1, LAST: 3}
"""The same where the P95 has a last margin stricter than others: most of its part goes to that."""

_P99, _FIRST_BYTE, _TOKENS = (3.0, 2.0, 1.5, 1.25), (2.0, 1.5, 1.25, 1.2), (2.0, 1.5, 1.5, 1.5)
"""Margins by exposure: up to 5, 10, 30 % and above."""

_ROUNDING = 1e-9


def gates_of(policy: RolloutSection, index: int, *, last: bool, stages: int) -> tuple[GateSpec, ...]:
    """The gates of one step.

    Args:
        policy: The section, validated.
        index: Which of the policy's margins hold.
        last: Whether everybody comes after it: absolute success has to be proved until then.
        stages: Splits of the plan.
    """
    success = success_of(policy, must_pass=policy.gates.success.must_pass or last, stages=stages)
    return (
        *_in_points(policy, index, stages),
        *_quantiles(policy, index, stages),
        *success,
        *_absolute(policy, stages),
        *mean_gates_of(policy, index, stages=stages, alphas={name: alpha_of(policy, name) for name in MEAN_NAMES}),
    )


def success_of(
    policy: RolloutSection, *, must_pass: bool, stages: int = 1, part: str = "success"
) -> tuple[GateSpec, ...]:
    """The absolute success gate, when the policy has it; ``part``: of the budget (the soak has its own)."""
    if not policy.gates.success.enabled:
        return ()
    return (
        GateSpec(
            name="success",
            kind=GateKind.SUCCESS,
            margin=policy.success_minimum(),
            alpha_fail=alpha_of(policy, part),
            alpha_pass=policy.alpha_pass,
            must_pass=must_pass,
            minimum_units=policy.gates.minimum_units,
            stages=stages,
        ),
    )


def _in_points(policy: RolloutSection, index: int, stages: int) -> Iterable[GateSpec]:
    gates, margins = policy.gates, policy.failure_margins()
    asked = (
        ("failures", GateKind.FAILURES, gates.failures.enabled, gates.failures.must_pass, margins[index], margins[-1]),
        (
            "guardrail",
            GateKind.GUARDRAIL,
            gates.guardrail.enabled,
            gates.guardrail.must_pass,
            gates.guardrail.margin,
            None,
        ),
        ("unknown", GateKind.UNKNOWN, gates.unknown.enabled, gates.unknown.must_pass, gates.unknown.margin, None),
    )
    for name, kind, enabled, must_pass, margin, fail_margin in asked:
        if enabled:
            yield GateSpec(
                name=name,
                kind=kind,
                margin=margin,
                fail_margin=fail_margin,
                alpha_fail=alpha_of(policy, name) / (1 + BOUND_SHARE),
                alpha_pass=policy.alpha_pass / (1 + BOUND_SHARE),
                must_pass=must_pass,
                minimum_units=gates.minimum_units,
                stages=stages,
            )


def _quantiles(policy: RolloutSection, index: int, stages: int) -> Iterable[GateSpec]:
    gates, latency = policy.gates, policy.latency_margins()
    # Who widens the margin of the P95 means time: what is not said of the P99 and the first byte follows.
    p99 = gates.p99.margins or [
        max(m, 2 * p95 - 1) for m, p95 in zip(policy.margins_of(None, _P99), latency, strict=True)
    ]
    first = gates.first_byte.margins or [
        max(m, p95) for m, p95 in zip(policy.margins_of(None, _FIRST_BYTE), latency, strict=True)
    ]
    asked = (
        ("p95", GateKind.LATENCY_P95, gates.p95, latency),
        ("p99", GateKind.LATENCY_P99, gates.p99, policy.margins_of(tuple(p99), _P99)),
        ("first_byte", GateKind.FIRST_BYTE_P95, gates.first_byte, policy.margins_of(tuple(first), _FIRST_BYTE)),
        ("tokens", GateKind.TOKENS_P95, gates.tokens, policy.margins_of(gates.tokens.margins, _TOKENS)),
    )
    yield from _last_margin(policy, latency, stages)
    for name, kind, gate, margins in asked:
        if gate.enabled:
            yield GateSpec(
                name=name,
                kind=kind,
                margin=margins[index],
                alpha_fail=alpha_of(policy, name),
                alpha_pass=policy.alpha_pass,
                must_pass=gate.must_pass,
                minimum_units=gates.minimum_units,
                from_step=True,
                stages=stages,
            )


def _last_margin(policy: RolloutSection, margins: Sequence[float], stages: int) -> Iterable[GateSpec]:
    """The P95 against the plan's last margin, at every step: what is slower than that can never be finished.

    It goes by a threshold of its own; failures need none, their margin is in the test (``fail_margin``).
    """
    if _has_last(policy):
        yield GateSpec(
            name=LAST,
            kind=GateKind.LATENCY_P95_LAST,
            margin=margins[-1],
            alpha_fail=alpha_of(policy, LAST),
            alpha_pass=policy.alpha_pass,
            must_pass=False,
            minimum_units=policy.gates.minimum_units,
            stages=stages,
        )


def _absolute(policy: RolloutSection, stages: int) -> Iterable[GateSpec]:
    gates = policy.gates
    asked = (
        ("tool_errors", GateKind.TOOL_ERRORS, gates.tool_errors, gates.tool_errors.maximum, None),
        (
            "callback_failures",
            GateKind.CALLBACK_FAILURES,
            gates.callback_failures,
            gates.callback_failures.maximum,
            None,
        ),
        ("loops", GateKind.LOOPS, gates.loops, WHOLE - gates.loops.contained, float(gates.loops.iterations)),
    )
    for name, kind, gate, most, threshold in asked:
        if gate.enabled:
            yield GateSpec(
                name=name,
                kind=kind,
                margin=most / WHOLE,
                alpha_fail=alpha_of(policy, name),
                alpha_pass=policy.alpha_pass,
                must_pass=gate.must_pass,
                minimum_units=gates.minimum_units,
                stages=stages,
                threshold=threshold,
            )


def alpha_of(policy: RolloutSection, part: str) -> float:
    """What a gate, the soak or the mirror may err with towards FAIL, out of ``alpha_fail``."""
    gates = policy.gates
    enabled = [name for name in GATE_NAMES if getattr(gates, name).enabled]
    enabled += [name for name, _ in declared(gates)]
    if _has_last(policy):
        enabled.append(LAST)
    parts = _PARTS_BESIDE_LAST if _has_last(policy) else _PARTS
    if gates.success.enabled and (policy.soak > 0 or _proved_in_soak(policy)):
        enabled.append(SOAK)
    if policy.strategy in (AUTO, Strategy.SHADOW.value):
        enabled.append(MIRROR)
    whole = sum(parts.get(name, 1) for name in {*enabled, part})
    return policy.alpha_fail * parts.get(part, 1) / whole


def _proved_in_soak(policy: RolloutSection) -> bool:
    """Whether success may have to be proved after everybody moved, because nothing is compared before."""
    return policy.blue_green.gray is None and policy.strategy in (AUTO, Strategy.BLUE_GREEN.value)


def _has_last(policy: RolloutSection) -> bool:
    """Whether the P95's margin grows stricter, so that its last one is a gate of its own."""
    return policy.gates.p95.enabled and len(set(policy.latency_margins())) > 1


GATE_NAMES = (
    "success", "failures", "p95", "p99", "first_byte", "tokens", "tool_errors", "callback_failures", "loops",
    "guardrail", "unknown",
)  # fmt: skip


def alpha_spent(plan: Plan) -> float:
    """What the gates of a plan may err with together: each once, however many steps it has a margin for."""
    spent: dict[str, float] = {}
    for step in plan.steps:
        for gate in step.gates:
            spent[gate.name] = max(spent.get(gate.name, 0.0), fail_spent(gate))
        mirror = 0.0 if step.mirroring is None else step.mirroring.alpha_fail
        spent[MIRROR] = max(spent.get(MIRROR, 0.0), mirror)
    soaks = bool(plan.soak) or any(gate.must_pass for gate in plan.soak_gates)
    soak = [fail_spent(gate) for gate in plan.soak_gates] if soaks else []
    return math.fsum((*spent.values(), *soak))


def fail_spent(gate: GateSpec) -> float:
    """What a gate may err with towards FAIL, in all: of its test and of the bound of stable's rate."""
    return gate.alpha_fail * _beside(gate)


def pass_spent(gate: GateSpec) -> float:
    """The same towards PASS."""
    return gate.alpha_pass * _beside(gate)


def _beside(gate: GateSpec) -> float:
    return 1 + BOUND_SHARE if recipe_of(gate).test is Test.ADDITIVE else 1.0


def within_budget(plan: Plan, alpha_fail: float) -> Plan:
    """The plan, when its gates keep to the budget.

    Raises:
        PermanentError: When they do not: a healthy release would be rolled back more often than promised.
    """
    spent = alpha_spent(plan)
    if spent > alpha_fail + _ROUNDING:
        raise PermanentError(
            f"the gates of the plan may err in {spent:.4f} of rollouts together, {alpha_fail:g} is allowed",
            code="error_budget_exceeded",
            hint="this is a defect of fairway: report it with your rollout section",
        )
    return plan


def stages_of(steps: Iterable[Step]) -> int:
    """Splits a plan goes through, at least one."""
    return max(1, len({step.split for step in steps if step.split}))
