"""What a gate on a mean says now, with one sentence for people."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from fairway.stats.power import pair_growth
from fairway.units import Verdict
from fairway.verdict.kinds import Test, recipe_of
from fairway.verdict.means import (
    CAP_UNITS,
    MeanState,
    MeanTally,
    lacks_units,
    log_e_fail_mean,
    log_e_pass_mean,
    verdict_of_mean,
)
from fairway.verdict.reasons import against_threshold, e_value_text, threshold_text
from fairway.verdict.values import GateFinding, GateKind, GateSpec


def find_mean(spec: GateSpec, state: MeanState) -> GateFinding:
    """The finding, with everything a person needs to check it."""
    verdict = verdict_of_mean(spec, state)
    undecided = verdict in (Verdict.NO_DATA, Verdict.INCONCLUSIVE)
    needed = _needed(spec, state) if undecided else None
    return GateFinding(
        gate=spec.name,
        kind=spec.kind,
        verdict=verdict,
        margin=spec.margin,
        reason=_reason(spec, state, verdict, needed),
        log_e_fail=log_e_fail_mean(spec, state),
        log_e_pass=log_e_pass_mean(state),
        units_candidate=state.ours.count,
        units_stable=state.theirs.count,
        estimate_candidate=state.ours.mean,
        estimate_stable=state.theirs.mean,
        units_needed=needed,
    )


def amount(kind: GateKind, value: float) -> str:
    """A mean as people write it: ``$0.0123``, ``1,204``, ``0.874``."""
    match kind:
        case GateKind.COST_MEAN:
            return f"${value:.3g}" if 0 < value < 0.1 else f"${value:,.2f}"
        case GateKind.TOKENS_MEAN:
            return f"{value:,.0f}"
        case _:
            return f"{value:.3f}"


def present_means(finding: Mapping[str, Any]) -> str:
    """Where a finding, as status has it, stands now: ``$0.02 in 312 against $0.01 in 4,000 on stable``; or nothing."""
    ours, theirs = finding.get("estimate_candidate"), finding.get("estimate_stable")
    if ours is None or theirs is None:
        return ""
    kind = GateKind(finding["kind"])
    units = finding.get("units_candidate", 0), finding.get("units_stable", 0)
    return f"{amount(kind, ours)} in {units[0]:,} against {amount(kind, theirs)} in {units[1]:,} on stable"


def margin_words(spec: GateSpec, margin: float) -> str:
    """A margin as a policy has it: ``+10%``, ``2 points``."""
    if recipe_of(spec).test is Test.MEAN_RATIO:
        return f"{(margin - 1) * 100:+.3g}%"
    points = f"{margin * 100:g}"
    return f"{points} point" if points == "1" else f"{points} points"


def _reason(spec: GateSpec, state: MeanState, verdict: Verdict, needed: int | None) -> str:
    if verdict is Verdict.FAIL and state.failed is not None:
        shown, log_e = state.failed, against_threshold(state.failed.log_e, spec.alpha_fail)
        told = _means(spec, shown.candidate, shown.stable)
        return f"{told}, worse by more than {margin_words(spec, spec.margin_to_fail)}{_capped(spec, state)} ({log_e})"
    if verdict is Verdict.PASS and state.passed is not None:
        shown, log_e = state.passed, against_threshold(state.passed.log_e, spec.alpha_pass)
        told = _means(spec, shown.candidate, shown.stable)
        return f"{told}, not worse by {margin_words(spec, spec.margin)}{_capped(spec, state)} ({log_e})"
    if verdict is Verdict.ERROR:
        return f"{_reports(spec, state)}; what is not reported cannot be compared"
    if verdict is Verdict.NO_DATA:
        return _missing(spec, state)
    sentence = (
        f"{_means(spec, state.ours, state.theirs)}; not decided"
        f" (e-value {e_value_text(log_e_fail_mean(spec, state))} of {threshold_text(spec.alpha_fail)} for FAIL,"
        f" {e_value_text(log_e_pass_mean(state))} of {threshold_text(spec.alpha_pass)} for PASS)"
    )
    return sentence if needed is None else f"{sentence}; needs about {needed:,} more candidate {spec.unit}"


def _means(spec: GateSpec, ours: MeanTally, theirs: MeanTally) -> str:
    return (
        f"the mean {recipe_of(spec).did} is {amount(spec.kind, ours.mean or 0.0)} in {ours.count:,} candidate"
        f" {spec.unit} against {amount(spec.kind, theirs.mean or 0.0)} in {theirs.count:,} on stable"
    )


def _capped(spec: GateSpec, state: MeanState) -> str:
    if recipe_of(spec).test is not Test.MEAN_RATIO or state.cap.value is None:
        return ""
    return f" when a request of stable counts {amount(spec.kind, state.cap.value)} at most"


def _reports(spec: GateSpec, state: MeanState) -> str:
    value = recipe_of(spec).value
    return (
        f"{state.ours.said:,} of the candidate's {len(state.ours.seen):,} {spec.unit} reported {value},"
        f" {state.theirs.said:,} of {len(state.theirs.seen):,} on stable"
    )


def _missing(spec: GateSpec, state: MeanState) -> str:
    """Why there is no verdict: nobody reports, the cap is not known, too few units."""
    value, least = recipe_of(spec).value, max(1, spec.minimum_units)
    if state.ours.seen and not state.valued and not state.cap.values:
        return f"neither release reports {value} in its outcome, so this cannot be measured"
    if state.cap.value is None:
        known = len(state.cap.values)
        if known >= CAP_UNITS:
            return (
                f"{value} of stable is 0 in all of {known} {spec.unit}, of which no ratio can be taken; give it a cap"
            )
        return f"{known} {spec.unit} of stable reported {value}, its P99 needs {CAP_UNITS}; none is counted before"
    return f"{_reports(spec, state)}; at least {least} of each are needed"


def _needed(spec: GateSpec, state: MeanState) -> int | None:
    """About how many more candidate units until PASS, at the differences seen; ``None`` when those would not pass.

    Not all of them come to a value: few users give feedback.
    """
    missing = max(0, spec.minimum_units - state.ours.count)
    paired = state.to_pass
    if paired.count < 2 or lacks_units(spec, state):
        return _with_silent(state, missing) or None
    margin = 0.0 if recipe_of(spec).test is Test.MEAN_RATIO else spec.margin
    mean = paired.total / paired.count
    growth = pair_growth(margin - mean, max(paired.squares / paired.count - mean * mean, 0.0))
    if growth < 1e-9:
        return _with_silent(state, missing) or None
    pairs = max(0.0, -math.log(spec.alpha_pass) - paired.log_e_pass) / growth
    return max(_with_silent(state, max(missing, pairs * state.ours.count / paired.count)), 1)


def _with_silent(state: MeanState, units: float) -> int:
    """So many units with a value, with those that come without one, at the share seen so far."""
    seen, said = len(state.ours.seen), state.ours.said
    return math.ceil(units * seen / said) if said else math.ceil(units)
