"""How many more units a gate needs, at the rates seen: estimates for people and plans, never part of a verdict."""

from __future__ import annotations

import math
from functools import lru_cache

from fairway.stats.power import bernoulli_divergence, clean_units_mixture, events_to_tell, units_to_pass
from fairway.verdict.kinds import Test, limit_of, recipe_of
from fairway.verdict.tally import ArmTally, GateState
from fairway.verdict.values import GateSpec

WIDE_MARGIN = 0.02
CLEAN_WEIGHT_WIDE, CLEAN_WEIGHT_STRICT = 12 / 13, 0.5
"""Prior weight of "the candidate never fails" towards PASS: a margin of 2 points or more is decided by some 60 units,
most often without a failure; a stricter one takes hundreds, among which a healthy candidate has some."""


def clean_weight(spec: GateSpec) -> float:
    """Prior weight of the alternative "never fails" in the gate's absolute evidence towards PASS."""
    if recipe_of(spec).test is not Test.ADDITIVE:
        return 0.0
    return CLEAN_WEIGHT_WIDE if spec.margin >= WIDE_MARGIN else CLEAN_WEIGHT_STRICT


def clean_units_needed(spec: GateSpec) -> int | None:
    """Candidate units without any bad event until PASS: 60 at 5 points; ``None`` for quantiles and means.

    Quantiles need events, means values. They count ``settle_blocks`` after their first request.
    """
    test = recipe_of(spec).test
    if test not in (Test.ADDITIVE, Test.ABSOLUTE):
        return None
    limit = spec.margin if test is Test.ADDITIVE else limit_of(spec)
    return max(spec.minimum_units, _clean_units(limit, spec.alpha_pass, clean_weight(spec)))


@lru_cache(maxsize=256)
def _clean_units(limit: float, alpha: float, weight: float) -> int:
    return clean_units_mixture(limit, alpha, clean_weight=weight)


def units_still_needed(spec: GateSpec, state: GateState) -> int | None:
    """About how many more candidate units until PASS, at the rates seen; ``None`` when those would not pass.

    0: those seen are enough, once the newest of them count as good (``GateSpec.settle_blocks``).
    """
    missing = max(0, spec.minimum_units - state.candidate.count)
    total = _units_to_pass(spec, state)
    if total is None:
        return missing or None
    if total > state.candidate.settled:
        return max(missing, total - state.candidate.count, 0)
    return max(missing, 1)


def _units_to_pass(spec: GateSpec, state: GateState) -> int | None:
    arm = state.candidate
    test = recipe_of(spec).test
    if test is Test.RELATIVE:
        return _quantile(spec, state)
    if arm.bad == 0:
        return clean_units_needed(spec)
    if test is Test.ABSOLUTE:
        return _absolute(limit_of(spec), arm.bad, arm.count, spec.alpha_pass)
    return _additive(spec, arm, state.stable)


def _additive(spec: GateSpec, candidate: ArmTally, stable: ArmTally) -> int | None:
    """T2 grows about as fast as the test that knows both rates; half the wealth is on it."""
    limit = _rate(stable) + spec.margin
    if limit >= 1 or _rate(candidate) >= limit:
        return None
    price = -math.log(spec.alpha_pass) + math.log(2) + 1.0
    return math.ceil(price / max(bernoulli_divergence(_rate(candidate), limit), 1e-9))


@lru_cache(maxsize=1024)
def _absolute(limit: float, bad: int, units: int, alpha: float) -> int | None:
    return units_to_pass(limit, bad / max(1, units), alpha)


def _quantile(spec: GateSpec, state: GateState) -> int | None:
    """Events T1 needs, at the ratio and the frequency of bad units seen so far, as candidate units."""
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
