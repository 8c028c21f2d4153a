"""Beyond what a gateway marks a unit: stable's yardsticks stretched by the margins of a step, and limits. Pure."""

from __future__ import annotations

from fairway.rollout.values import RolloutState, Step
from fairway.traffic.table import Role
from fairway.verdict.kinds import KINDS, Test
from fairway.verdict.values import GateKind

LATENCY_LIMIT = KINDS[GateKind.EXCESS_SLOW].yardstick
_P95 = KINDS[GateKind.LATENCY_P95].yardstick


def thresholds_of(rollout: RolloutState, step: Step) -> dict[str, dict[str, float]]:
    """``{metric: {role: limit}}`` of the step's gates and of the latency trigger, without the P95 (``Desired.theta``).

    A gate whose yardstick is not known yet marks nobody.
    """
    found: dict[str, dict[str, float]] = {}
    for gate in step.gates:
        recipe = KINDS[gate.kind]
        known = rollout.yardsticks.get(recipe.yardstick)
        if recipe.test is Test.RELATIVE and recipe.yardstick != _P95 and known is not None:
            found[recipe.yardstick] = _limits(known, known * gate.margin)
        elif gate.kind is GateKind.TOKENS_MEAN:
            found[recipe.yardstick] = _limits(0.0, 0.0)  # asks for them by conversation: most agents report tokens
        elif gate.threshold is not None and recipe.yardstick:
            found[recipe.yardstick] = _limits(gate.threshold, gate.threshold)
    alarms = rollout.plan.alarms
    if alarms is not None and alarms.latency_ms is not None:
        found[LATENCY_LIMIT] = _limits(alarms.latency_ms, alarms.latency_ms)
    return found


def _limits(stable: float, candidate: float) -> dict[str, float]:
    return {Role.STABLE.value: stable, Role.CANDIDATE.value: candidate}
