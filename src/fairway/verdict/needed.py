"""How many more units a gate needs, at the rates seen: estimates for people and plans, never part of a verdict."""

from __future__ import annotations

import math

from fairway.stats.power import bernoulli_divergence, clean_units_mixture, events_to_tell, units_to_pass
from fairway.verdict.tally import ArmTally, GateState
from fairway.verdict.values import GateKind, GateSpec

WIDE_MARGIN = 0.02
CLEAN_WEIGHT_WIDE, CLEAN_WEIGHT_STRICT = 12 / 13, 0.5
"""Prior weight of "the candidate never fails" towards PASS: a margin of 2 points or more is decided by some 60 units,
most often without a failure; a stricter one takes hundreds, among which a healthy candidate has some."""


def clean_weight(spec: GateSpec) -> float:
    """Prior weight of the alternative "never fails" in the gate's absolute evidence towards PASS."""
    if spec.kind is not GateKind.FAILURES:
        return 0.0
    return CLEAN_WEIGHT_WIDE if spec.margin >= WIDE_MARGIN else CLEAN_WEIGHT_STRICT


def clean_units_needed(spec: GateSpec) -> int | None:
    """Candidate units without any failure until PASS: 60 at 5 points; ``None`` for latency, which needs slow units.

    They count ``settle_blocks`` after their first request.
    """
    if spec.kind is GateKind.LATENCY_P95:
        return None
    limit = spec.margin if spec.kind is GateKind.FAILURES else 1.0 - spec.margin
    return max(spec.minimum_units, clean_units_mixture(limit, spec.alpha_pass, clean_weight=clean_weight(spec)))


def units_still_needed(spec: GateSpec, state: GateState) -> int | None:
    """About how many more candidate units until PASS, at the rates seen; ``None`` when those would not pass."""
    missing = max(0, spec.minimum_units - state.candidate.count)
    total = _units_to_pass(spec, state)
    if total is None:
        return missing or None
    return max(missing, total - state.candidate.settled, 1)


def _units_to_pass(spec: GateSpec, state: GateState) -> int | None:
    arm = state.candidate
    if spec.kind is GateKind.LATENCY_P95:
        return _latency(spec, state)
    if arm.bad == 0:
        return clean_units_needed(spec)
    if spec.kind is GateKind.SUCCESS:
        return units_to_pass(1.0 - spec.margin, arm.bad / max(1, arm.count), spec.alpha_pass)
    return _additive(spec, arm, state.stable)


def _additive(spec: GateSpec, candidate: ArmTally, stable: ArmTally) -> int | None:
    """T2 grows about as fast as the test that knows both rates; half the wealth is on it."""
    limit = _rate(stable) + spec.margin
    if limit >= 1 or _rate(candidate) >= limit:
        return None
    price = -math.log(spec.alpha_pass) + math.log(2) + 1.0
    return math.ceil(price / max(bernoulli_divergence(_rate(candidate), limit), 1e-9))


def _latency(spec: GateSpec, state: GateState) -> int | None:
    """Events T1 needs, at the ratio and the frequency of slow units seen so far, as candidate units."""
    candidate, stable = state.candidate, state.stable
    events = candidate.bad + stable.bad
    ratio = _rate(candidate) / _rate(stable)
    if events == 0 or ratio >= 1:
        return None
    weight = candidate.count / (candidate.count + stable.count)
    needed = events_to_tell(ratio, 1.0, weight, spec.alpha_pass)
    return None if needed is None else math.ceil(needed * candidate.count / events)


def _rate(arm: ArmTally) -> float:
    return (arm.bad + 0.5) / (arm.count + 1)
