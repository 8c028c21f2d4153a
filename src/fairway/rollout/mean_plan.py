"""The gates on means of a step. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from fairway.rollout.config import RolloutSection
from fairway.rollout.gate_config import GatesSection
from fairway.rollout.mean_config import MeanPointsGate, MeanRatioGate
from fairway.verdict.values import GateKind, GateSpec

MEAN_NAMES = ("cost_mean", "tokens_mean", "score_mean", "feedback_mean")
"""In the project's file; the kinds have the same."""

_RATIOS, _POINTS = (2.0, 1.5, 1.2, 1.1), (0.1, 0.05, 0.03, 0.02)
"""Margins by exposure: up to 5, 10, 30 % and above."""


def declared(gates: GatesSection) -> Iterator[tuple[str, MeanRatioGate | MeanPointsGate]]:
    """The gates on means that are asked for."""
    for name in MEAN_NAMES:
        gate: MeanRatioGate | MeanPointsGate | None = getattr(gates, name)
        if gate is not None and gate.enabled:
            yield name, gate


def mean_gates_of(policy: RolloutSection, index: int, *, stages: int, alphas: dict[str, float]) -> Iterator[GateSpec]:
    """The gates of one step.

    Args:
        policy: The section, validated.
        index: Which of the policy's margins hold.
        stages: Splits of the plan.
        alphas: Of each gate towards FAIL.
    """
    for name, gate in declared(policy.gates):
        margins = policy.margins_of(gate.margins, _RATIOS if isinstance(gate, MeanRatioGate) else _POINTS)
        yield GateSpec(
            name=name,
            kind=GateKind(name),
            margin=margins[index],
            fail_margin=margins[-1],
            alpha_fail=alphas[name],
            alpha_pass=policy.alpha_pass,
            must_pass=gate.must_pass,
            minimum_units=policy.gates.minimum_units,
            stages=stages,
            cap=gate.cap if isinstance(gate, MeanRatioGate) else None,
        )
