"""One sentence for people about what a gate found."""

from __future__ import annotations

import math

from fairway.units import Verdict
from fairway.verdict.kinds import Among, limit_of, recipe_of
from fairway.verdict.tally import GateState, Latch
from fairway.verdict.values import GateSpec, Scope


def reason_for(
    spec: GateSpec, state: GateState, verdict: Verdict, *, log_e_fail: float, log_e_pass: float, needed: int | None
) -> str:
    """The sentence of a finding, without a full stop; ``needed``: candidate units until PASS, where that is known."""
    failed, passed = state.evidence.failed, state.evidence.passed
    if verdict is Verdict.FAIL and failed is not None:
        return f"{_counts(spec, failed)} ({against_threshold(failed.log_e, spec.alpha_fail)})"
    if verdict is Verdict.PASS and passed is not None:
        return f"{_counts(spec, passed)} ({against_threshold(passed.log_e, spec.alpha_pass)})"
    if verdict is Verdict.ERROR:
        return _unknown(state)
    if verdict is Verdict.NO_DATA:
        return _missing(spec, state)
    sentence = (
        f"{_counts(spec, _now(state))}; not decided"
        f" (e-value {e_value_text(log_e_fail)} of {threshold_text(spec.alpha_fail)} for FAIL,"
        f" {e_value_text(log_e_pass)} of {threshold_text(spec.alpha_pass)} for PASS)"
    )
    if needed is None:
        return sentence
    if needed == 0:
        young = state.candidate.count - state.candidate.settled
        return f"{sentence}; the {young:,} newest of them count as good once they have settled"
    return f"{sentence}; needs about {needed:,} more candidate {spec.unit}"


def _now(state: GateState) -> Latch:
    return Latch(
        t0=0.0,
        log_e=0.0,
        bad_candidate=state.evidence.bad_candidate,
        units_candidate=state.census.candidate.count,
        bad_stable=state.evidence.bad_stable,
        units_stable=state.census.stable.count,
    )


def _counts(spec: GateSpec, counts: Latch) -> str:
    did = recipe_of(spec).did
    text = f"{counts.bad_candidate:,} of {counts.units_candidate:,} candidate {spec.unit} {did}"
    if spec.scope is Scope.CONCURRENT:
        return f"{text} against {counts.bad_stable:,} of {counts.units_stable:,} on stable"
    return f"{text}, the limit is {limit_of(spec):.3%}".replace(".000%", "%")


def _unknown(state: GateState) -> str:
    seen = state.census.candidate
    share = seen.unknown / max(1, seen.finished)
    return (
        f"the outcome of {seen.unknown} of the candidate's {seen.finished} requests ({share:.1%}) is unknown, above 1%"
    )


def _missing(spec: GateSpec, state: GateState) -> str:
    least = max(1, spec.minimum_units)
    ours, theirs = state.census.candidate, state.census.stable
    if recipe_of(spec).among is Among.REPORTED and ours.finished >= least and not ours.reported and theirs.reported:
        return f"the candidate says of none of its {ours.finished:,} requests what became of it, stable does"
    if state.candidate.count >= least and (spec.scope is Scope.ABSOLUTE or state.stable.count >= least):
        return f"{_unknown(state)}; that may be chance, more requests will tell"
    if spec.scope is Scope.CONCURRENT and state.stable.count < spec.minimum_units <= state.candidate.count:
        return f"{state.stable.count} stable {spec.unit} beside the candidate, at least {spec.minimum_units} are needed"
    return f"{state.candidate.count} candidate {spec.unit}, at least {max(1, spec.minimum_units)} are needed"


def against_threshold(log_e: float, alpha: float) -> str:
    """An e-value that reached its threshold, with that."""
    return f"e-value {e_value_text(log_e)} ≥ {threshold_text(alpha)}"


def threshold_text(alpha: float) -> str:
    """What an e-value has to reach for an error of ``alpha``."""
    return f"{1 / alpha:.3g}"


def e_value_text(log_e: float) -> str:
    """An e-value, given by its natural log, in three figures at most."""
    if log_e > 13:
        return f"10^{log_e / math.log(10):.0f}"
    value = math.exp(log_e)
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"
