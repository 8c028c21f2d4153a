"""One sentence for people about what a gate found, and how many more units would decide."""

from __future__ import annotations

import math

from fairway.stats.power import clean_units_mixture, events_to_tell, units_to_pass
from fairway.units import Verdict
from fairway.verdict.tally import ArmTally, GateState, Latch
from fairway.verdict.values import GateKind, GateSpec, Scope


def reason_for(
    spec: GateSpec, state: GateState, verdict: Verdict, *, log_e_fail: float, log_e_pass: float, unknown: float
) -> str:
    """The sentence of a finding, without a full stop."""
    if verdict is Verdict.FAIL and state.failed is not None:
        return f"{_counts(spec, state.failed)} ({_against(state.failed.log_e, spec.alpha_fail)})"
    if verdict is Verdict.PASS and state.passed is not None:
        return f"{_counts(spec, state.passed)} ({_against(state.passed.log_e, spec.alpha_pass)})"
    if verdict is Verdict.ERROR:
        return (
            f"the outcome of {state.candidate.unknown} of the candidate's {state.candidate.finished} requests"
            f" ({unknown:.1%}) is unknown, above 1%"
        )
    if verdict is Verdict.NO_DATA:
        return _missing(spec, state)
    sentence = (
        f"{_counts(spec, _now(state))}; not decided"
        f" (e-value {_number(log_e_fail)} of {_threshold(spec.alpha_fail)} for FAIL,"
        f" {_number(log_e_pass)} of {_threshold(spec.alpha_pass)} for PASS)"
    )
    needed = units_still_needed(spec, state)
    return sentence if needed is None else f"{sentence}; needs about {needed:,} more candidate {spec.unit}"


def units_still_needed(spec: GateSpec, state: GateState) -> int | None:
    """About how many more candidate units until PASS, at the rates seen; ``None`` when those would not pass."""
    missing = max(0, spec.minimum_units - state.candidate.count)
    total = _units_to_pass(spec, state)
    if total is None:
        return missing or None
    return max(missing, total - state.candidate.settled, 1)


def _units_to_pass(spec: GateSpec, state: GateState) -> int | None:
    arm = state.candidate
    if spec.kind is GateKind.SUCCESS:
        return _absolute(arm, 1.0 - spec.margin, spec.alpha_pass)
    if arm.count == 0:
        return None
    relative = _relative(spec, state)
    if spec.kind is GateKind.LATENCY_P95:
        return relative
    absolute = _absolute(arm, spec.margin, spec.alpha_pass)
    routes = [units for units in (absolute, relative) if units is not None]
    return min(routes, default=None)


def _absolute(arm: ArmTally, limit: float, alpha: float) -> int | None:
    if arm.bad == 0:
        return clean_units_mixture(limit, alpha)
    return units_to_pass(limit, arm.bad / max(1, arm.count), alpha)


def _relative(spec: GateSpec, state: GateState) -> int | None:
    """Events T1 needs, at the ratio and the frequency of events seen so far, as candidate units."""
    candidate, stable = state.candidate, state.stable
    events = candidate.bad + stable.bad
    if events == 0 or stable.count == 0:
        return None
    rate_candidate = (candidate.bad + 0.5) / (candidate.count + 1)
    rate_stable = (stable.bad + 0.5) / (stable.count + 1)
    margin = 1.0 if spec.kind is GateKind.LATENCY_P95 else 1.0 + spec.margin / rate_stable
    ratio = rate_candidate / rate_stable
    if ratio >= margin:
        return None
    weight = candidate.count / (candidate.count + stable.count)
    needed = events_to_tell(ratio, margin, weight, spec.alpha_pass)
    return None if needed is None else math.ceil(needed * candidate.count / events)


def _now(state: GateState) -> Latch:
    return Latch(
        t0=0.0,
        log_e=0.0,
        bad_candidate=state.candidate.bad,
        units_candidate=state.candidate.count,
        bad_stable=state.stable.bad,
        units_stable=state.stable.count,
    )


def _counts(spec: GateSpec, counts: Latch) -> str:
    did = "had a slow request" if spec.kind is GateKind.LATENCY_P95 else "failed"
    text = f"{counts.bad_candidate:,} of {counts.units_candidate:,} candidate {spec.unit} {did}"
    if spec.scope is Scope.CONCURRENT:
        return f"{text} against {counts.bad_stable:,} of {counts.units_stable:,} on stable"
    return f"{text}, the limit is {1.0 - spec.margin:.3%}".replace(".000%", "%")


def _missing(spec: GateSpec, state: GateState) -> str:
    if spec.scope is Scope.CONCURRENT and state.stable.count < spec.minimum_units <= state.candidate.count:
        return f"{state.stable.count} stable {spec.unit} beside the candidate, at least {spec.minimum_units} are needed"
    return f"{state.candidate.count} candidate {spec.unit}, at least {max(1, spec.minimum_units)} are needed"


def _against(log_e: float, alpha: float) -> str:
    return f"e-value {_number(log_e)} ≥ {_threshold(alpha)}"


def _threshold(alpha: float) -> str:
    return f"{1 / alpha:.3g}"


def _number(log_e: float) -> str:
    if log_e > 13:
        return f"10^{log_e / math.log(10):.0f}"
    value = math.exp(log_e)
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"
