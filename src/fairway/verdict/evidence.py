# ruff: noqa: RUF002 - Greek letters and minus signs stand as in the papers
"""From bad events to e-values: the statistics a gate combines, over values of :mod:`fairway.verdict.tally`.

Late onset: a fault that begins at the third step is diluted by the healthy steps before it. Towards FAIL therefore
``E = ½ E_all + Σ_s E_from_s / 2S`` over the S splits of the plan: a convex mixture of e-processes that begin at
predictable times (one that has not begun stands at 1), hence itself one with the gate's whole α. It costs at most a
factor of two against ``E_all``, and one of 2S against the test that knew when the fault began. Since log likelihood
ratios add up, ``E_from_s`` is ``E`` over what has been added since, and for T1 all of them are one mixture over the
grid with the weights ``π_k (½ + Σ_s e^{−r_k(s)} / 2S)``, fixed while no new split comes into force.
"""

from __future__ import annotations

import math
from dataclasses import replace
from operator import add

from fairway.stats.bernoulli import log_e_above, log_e_below
from fairway.stats.intervals import rate_lower, rate_upper
from fairway.stats.logrank import ERRORS, QUANTILES, Direction, Grid, log_e_value, nothing_yet, with_events
from fairway.stats.logspace import log_mean_exp, log_sum_exp
from fairway.verdict.kinds import Test, limit_of, recipe_of
from fairway.verdict.needed import clean_weight
from fairway.verdict.roster import Units
from fairway.verdict.sight import Band
from fairway.verdict.tally import ArmTally, Evidence, GateState, Stage
from fairway.verdict.values import GateSpec

FLOOR = 0.25
"""Floor of stable's rate in T1 towards FAIL, as a multiple of the margin."""

BOUND_SHARE = 0.1
"""What each bound of stable's rate may err with, as a multiple of the gate's alpha."""

_SMALLEST_RATE = 1e-9
_LN_HALF, _LN_2 = math.log(0.5), math.log(2.0)


def grid_of(spec: GateSpec) -> Grid:
    """The alternatives of T1."""
    return QUANTILES if recipe_of(spec).histogram else ERRORS


def no_evidence(spec: GateSpec) -> Evidence:
    """Before any event."""
    grid = grid_of(spec)
    nothing = nothing_yet(grid)
    return Evidence(fail_ratios=nothing, pass_ratios=nothing, fail_weights=_weights(spec, grid, ()))


def with_stage(spec: GateSpec, evidence: Evidence) -> Evidence:
    """Another split came into force; what the next blocks show is evidence since then, too."""
    if len(evidence.stages) + 1 >= spec.stages:
        return evidence
    lowest = min(evidence.fail_ratios, default=0.0)
    begun = Stage(ratios=evidence.fail_ratios, lowest=lowest, paired=evidence.paired.log_e_fail, bad=evidence.bad)
    stages = (*evidence.stages, begun)
    if not evidence.fail_ratios:
        return replace(evidence, stages=stages)
    weights = _weights(spec, grid_of(spec), stages)
    return replace(evidence, stages=stages, fail_weights=weights)


def _weights(spec: GateSpec, grid: Grid, stages: tuple[Stage, ...]) -> tuple[float, ...]:
    part = -math.log(2 * spec.stages)
    first = log_sum_exp((_LN_HALF, part))
    return tuple(
        weight + log_sum_exp([first, *(part - stage.ratios[k] for stage in stages)])
        for k, weight in enumerate(grid.log_weights)
    )


def _not_begun(spec: GateSpec, evidence: Evidence) -> float:
    """Log of the weight of the stages that have not begun, which stand at 1."""
    idle = spec.stages - 1 - len(evidence.stages)
    return math.log(idle / (2 * spec.stages)) if idle > 0 else -math.inf


def mixed(spec: GateSpec, evidence: Evidence, all_of_it: float, since_stages: list[float]) -> float:
    """``ln(½ E_all + Σ_s E_from_s / 2S)``; the first stage is all of it.

    Args:
        spec: The gate.
        evidence: So far.
        all_of_it: ln E since the beginning.
        since_stages: ln E since each later stage that has begun.
    """
    if spec.stages == 1:
        return all_of_it
    part = -math.log(2 * spec.stages)
    first = log_sum_exp((_LN_HALF, part))
    return log_sum_exp([all_of_it + first, *(log + part for log in since_stages), _not_begun(spec, evidence)])


def with_bad(
    spec: GateSpec,
    state: GateState,
    bands: tuple[Band, ...],
    candidate: Units,
    stable: Units,
    *,
    lost: int,
    passes: bool,
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The ratios of T1 towards FAIL and PASS with one block's events; every margin is fixed by the blocks before.

    Args:
        spec: The gate.
        state: Before the block.
        bands: Units of both arms by age.
        candidate: Units at risk with their first bad event in this block, on that arm only.
        stable: The same of stable.
        lost: Requests of the candidate that never ended: events for a claim of health, nothing for one of harm.
        passes: Whether the block counts towards PASS.
    """
    evidence, grid = state.evidence, grid_of(spec)
    margin_fail, margin_pass = 1.0, 1.0
    test = recipe_of(spec).test
    if test is Test.ADDITIVE:
        margin_fail, margin_pass = _ratio_margins(spec, state)
        passes = passes and evidence.pass_start is not None
    passes = passes and test is not Test.ABSOLUTE
    failing, passing = evidence.fail_ratios, evidence.pass_ratios
    spent = evidence.spent
    for band in bands:
        ours = len(candidate & band.candidate) if candidate else 0
        theirs = len(stable & band.stable) if stable else 0
        if not (ours or theirs or lost):
            continue
        at_risk, beside = len(band.candidate), len(band.stable)
        if not band.new:  # who is new has not had an event
            at_risk, beside = at_risk - spent.count(band.candidate), beside - spent.count(band.stable)
        if not (at_risk and beside):
            continue
        weight = at_risk / (at_risk + beside)
        if ours or theirs:
            failing = with_events(
                failing, grid, Direction.WORSE, candidate=ours, stable=theirs, weight=weight, margin=margin_fail
            )
        if passes:
            failed_too = min(lost, at_risk - ours)
            lost -= failed_too
            passing = with_events(
                passing, grid, Direction.BETTER, candidate=ours + failed_too, stable=theirs, weight=weight,
                margin=margin_pass,
            )  # fmt: skip
    return failing, passing


def _since(ratios: tuple[float, ...], stage: Stage, grid: Grid) -> float:
    return log_e_value(tuple([now - then for now, then in zip(ratios, stage.ratios, strict=True)]), grid)


def stake(spec: GateSpec, state: GateState) -> Evidence:
    """Once a stable unit has failed, part of the wealth towards PASS moves from the absolute test to T1 and T2."""
    evidence = state.evidence
    if evidence.pass_start is not None or not evidence.bad_stable:
        return evidence
    start = _log_e_clean(spec, state.candidate)
    return replace(evidence, pass_start=start, paired=replace(evidence.paired, log_e_pass=0.0))


def _ratio_margins(spec: GateSpec, state: GateState) -> tuple[float, float]:
    """The additive margin as a ratio of hazards, towards FAIL and towards PASS."""
    lower, limit = _stable_lower(spec, state), spec.margin_to_fail
    stable = state.stable
    upper = rate_upper(stable.bad, stable.settled, spec.alpha_pass * BOUND_SHARE)
    return 1.0 + limit / max(lower, FLOOR * limit, _SMALLEST_RATE), 1.0 + spec.margin / upper


def _stable_lower(spec: GateSpec, state: GateState) -> float:
    return rate_lower(state.evidence.bad_stable, state.census.stable.count, spec.alpha_fail * BOUND_SHARE)


def log_e_fail(spec: GateSpec, state: GateState) -> float:
    """Natural log of the e-value towards FAIL."""
    test = recipe_of(spec).test
    if test is Test.RELATIVE:
        return log_e_worse(spec, state.evidence)
    return _absolute_fail(spec, state) if test is Test.ABSOLUTE else _additive_fail(spec, state)


def log_e_worse(spec: GateSpec, evidence: Evidence) -> float:
    """Natural log of T1's e-value against "no worse than stable by more than the margin"; an absolute gate has none."""
    return log_sum_exp((log_mean_exp(evidence.fail_ratios, evidence.fail_weights), _not_begun(spec, evidence)))


def log_e_worse_at_most(spec: GateSpec, evidence: Evidence) -> float:
    """An upper bound of :func:`log_e_worse`: a sum is not above so many times its largest part."""
    largest: float = max(map(add, evidence.fail_ratios, evidence.fail_weights))
    return max(largest + math.log(len(evidence.fail_ratios)), _not_begun(spec, evidence)) + _LN_2


def log_e_fail_at_most(spec: GateSpec, state: GateState) -> float:
    """An upper bound of :func:`log_e_fail`, for next to nothing: a mixture is below the largest of its parts."""
    evidence = state.evidence
    if not evidence.bad:
        return 0.0
    if recipe_of(spec).test is Test.ABSOLUTE:
        return math.inf
    if recipe_of(spec).test is Test.RELATIVE:
        return log_e_worse_at_most(spec, evidence)
    paired, top = evidence.paired.log_e_fail, max(evidence.fail_ratios)
    since = [max(top - stage.lowest, paired - stage.paired) for stage in evidence.stages]
    return max(0.0, paired, top, *since)


def _absolute_fail(spec: GateSpec, state: GateState) -> float:
    limit, evidence = limit_of(spec), state.evidence
    whole = log_e_above(evidence.bad, state.all_of_it.candidate.count, limit)
    if not evidence.bad or spec.stages == 1:
        return whole
    return mixed(spec, evidence, whole, _excess_since(state, limit))


def _excess_since(state: GateState, limit: float) -> list[float]:
    """Absolute evidence of harm since each split; nothing, the least there is, where nothing bad happened since."""
    evidence = state.evidence
    return [
        log_e_above(evidence.bad - stage.bad, len(units), limit) if evidence.bad > stage.bad else -math.inf
        for stage, units in zip(evidence.stages, state.reading.stage_units, strict=True)
    ]


def _additive_fail(spec: GateSpec, state: GateState) -> float:
    evidence, grid = state.evidence, grid_of(spec)
    relative = log_e_value(evidence.fail_ratios, grid)
    paired = evidence.paired.log_e_fail
    if not evidence.bad:  # nothing to show, and nothing to agree on
        return log_sum_exp((relative + _LN_HALF, paired + _LN_HALF))
    logs = [relative, *(_since(evidence.fail_ratios, stage, grid) for stage in evidence.stages)]
    limit = spec.margin_to_fail * (1.0 + FLOOR)
    if _stable_lower(spec, state) < FLOOR * spec.margin_to_fail:
        # So near to zero T1 is not valid alone: the smaller of the two is.
        agreed = [-math.inf] * len(logs)
        if limit < 1:
            agreed = [log_e_above(evidence.bad, state.all_of_it.candidate.count, limit), *_excess_since(state, limit)]
        logs = [min(pair) for pair in zip(logs, agreed, strict=True)]
    wealth = [paired, *(paired - stage.paired for stage in evidence.stages)]
    logs = [log_sum_exp((one + _LN_HALF, other + _LN_HALF)) for one, other in zip(logs, wealth, strict=True)]
    return mixed(spec, evidence, logs[0], logs[1:])


def log_e_pass_at_most(spec: GateSpec, state: GateState) -> float:
    """An upper bound of :func:`log_e_pass`, for next to nothing."""
    evidence, test = state.evidence, recipe_of(spec).test
    if test is Test.RELATIVE:
        return evidence.pass_top
    if state.idle_units <= _pessimistic(state.candidate)[1]:
        return math.inf
    if evidence.pass_start is None:
        return 0.0
    return evidence.pass_start + max(evidence.pass_top, evidence.paired.log_e_pass)


def idle_until(spec: GateSpec, state: GateState) -> int:
    """Settled units below which the absolute e-value towards PASS stays too small: a good unit adds so much at most."""
    absolute = recipe_of(spec).test is Test.ABSOLUTE
    bad, units = _pessimistic(state.candidate)
    limit = limit_of(spec) if absolute else spec.margin
    log_e = log_e_below(bad, units, limit, clean_weight=clean_weight(spec))
    missing = -math.log(spec.alpha_pass) - log_e
    most = -math.log1p(-min(max(limit, 1e-9), 1 - 1e-9))
    return units + math.floor(missing / most * (1 - 1e-9)) if missing > 0 else 0


def log_e_pass(spec: GateSpec, state: GateState) -> float:
    """Natural log of the e-value towards PASS."""
    test, evidence = recipe_of(spec).test, state.evidence
    if test is Test.RELATIVE:
        return log_e_value(evidence.pass_ratios, grid_of(spec))
    if test is Test.ABSOLUTE:
        return log_e_below(*_pessimistic(state.candidate), limit_of(spec))
    clean = _log_e_clean(spec, state.candidate)
    if evidence.pass_start is None:
        return clean
    relative = evidence.pass_start + log_e_value(evidence.pass_ratios, grid_of(spec))
    paired = evidence.pass_start + evidence.paired.log_e_pass
    return log_sum_exp([clean + 2 * _LN_HALF, relative + 2 * _LN_HALF, paired + _LN_HALF])


def _log_e_clean(spec: GateSpec, arm: ArmTally) -> float:
    return log_e_below(*_pessimistic(arm), spec.margin, clean_weight=clean_weight(spec))


def _pessimistic(arm: ArmTally) -> tuple[int, int]:
    """Bad and counted units for a claim of health: what has no end has failed, new units do not count yet."""
    bad = min(arm.bad + arm.seen.unfinished, max(arm.count, arm.bad))
    return bad, max(arm.settled, bad)
