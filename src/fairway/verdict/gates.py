# ruff: noqa: RUF002 - Greek letters and minus signs stand as in the papers
"""Gates as pure folds over blocks: the evidence so far, one more block, what it says now.

The unit of analysis is the unit of assignment, counted once, for its first bad event; the statistics are those of
:mod:`fairway.stats`. Per gate kind:

``failures`` - null of FAIL: candidate ≤ stable + margin (``fail_margin``, where it differs); null of PASS: candidate
≥ stable + margin. Two tests bet together:
    T1 (``stats.logrank``) with ``M = 1 + margin / p̄``, p̄ the previous bound of a confidence sequence of stable's
    rate (lower for FAIL, upper for PASS; each errs with a tenth of the gate's α, which adds to it), and T2
    (``stats.paired``) on units first seen in the same block, scored ``settle_blocks`` later. T1 is fast and sees units
    of any age, T2 needs neither p̄ nor a constant rate. FAIL is half and half. T1 compares units alike in age
    (``verdict.ages``) in every gate.

    T1 towards FAIL at rates near 0: the lower bound is 0 and M infinite, so that it could never find anything. p̄
    therefore has a *floor* f = margin / 4, and as long as the lower bound is below it the absolute e-value against
    "candidate ≤ margin + f" must agree (the smaller of the two counts): if stable's rate is ≥ f, T1 is valid; if it is
    < f, the null implies candidate < margin + f and the absolute one is. For two equal arms T1 alone is valid at any
    M ≥ 1, whatever drifts or breaks for both.

    PASS when hardly anything fails: candidate ≥ stable + margin implies candidate ≥ margin, so the absolute e-value
    against that is evidence too. All wealth is on it until a stable unit has failed (known before the next block),
    then a quarter stays, a quarter moves to T1 and half to T2; any such predictable split of the wealth is an
    e-process.
``latency_p95`` - T1 with M = 1 on units with a slow request; the margin is in the thresholds the table carries.
``success`` - absolute: the share of units without a failure is below (FAIL) or above (PASS) the limit.
``stable_fails_too`` says
    that stable breaks it as well: by its own e-value, or because the candidate would break it at stable's rate in the
    same blocks.

Unknown is never a success: a unit whose requests in a block ended unknown is not counted in it, requests whose worker
vanished count as failed units of the candidate for PASS and as nothing for FAIL, and a share of unknown requests
above 1 % is an ERROR. Source of the design and its simulations: ``docs/explanation/verdicts.md``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from fairway.observe.fold import ArmBlock, Block
from fairway.observe.quantile import merged, quantile
from fairway.stats.bernoulli import log_e_above, log_e_below
from fairway.stats.intervals import rate_lower, rate_upper
from fairway.stats.logrank import ERRORS, QUANTILES, Direction, Grid, log_e_value, nothing_yet, with_events
from fairway.stats.logspace import log_sum_exp
from fairway.stats.paired import differences, with_differences
from fairway.units import Digest, Verdict
from fairway.verdict.ages import Ages, Units, bands, newborn, with_block
from fairway.verdict.needed import clean_weight, units_still_needed
from fairway.verdict.reasons import reason_for
from fairway.verdict.tally import ArmTally, Cohort, GateState, Latch
from fairway.verdict.values import GateFinding, GateKind, GateSpec, Scope

__all__ = ["GateState", "find", "observe", "start"]

UNKNOWN_SHARE = 0.01
"""Requests with an unknown outcome above this share make the gate an ERROR."""

FLOOR = 0.25
"""Floor of stable's rate in T1 towards FAIL, as a multiple of the margin."""

_BOUND_SHARE = 0.1
_SMALLEST_RATE = 1e-9
_LN_HALF = math.log(0.5)


def start(spec: GateSpec, *, since: float | None = None) -> GateState:
    """The state of a gate before any block; a gate whose spec changes starts anew.

    Args:
        spec: The gate.
        since: Epoch seconds from which blocks count. Earlier blocks shown to :func:`observe` only teach it which
            units are old: a minute or two of them keep a gate from taking running conversations for new ones.
    """
    if spec.kind is GateKind.SUCCESS:
        return GateState(since=since)
    grid = _grid(spec)
    return GateState(since=since, fail_ratios=nothing_yet(grid), pass_ratios=nothing_yet(grid))


def observe(spec: GateSpec, state: GateState, block: Block, *, candidate: Digest, stable: Digest | None) -> GateState:
    """The state with one more mature block; a block not newer than the newest one changes nothing.

    Args:
        spec: The gate; the same as the state was started with.
        state: So far.
        block: The next block, in order of ``t0``.
        candidate: Release on trial.
        stable: Release it is compared with; ``None`` for a first release.
    """
    if state.last_t0 is not None and block.t0 <= state.last_t0:
        return state
    arms = (block.arms.get(candidate), block.arms.get(stable) if stable else None)
    state = replace(state, last_t0=block.t0, ages=_aged(spec, state, block, arms))
    if state.since is not None and block.t0 < state.since:
        return state
    if not block.comparable:
        return replace(state, skipped=state.skipped + 1)
    look = _look(spec, state, *arms)
    if spec.scope is Scope.CONCURRENT and not (look.candidate.active and look.stable.active):
        return state
    if not (look.candidate.requests or look.stable.requests):
        return state
    state = _with_ratios(spec, state, look, block)
    state = replace(
        state,
        candidate=_with_arm(spec, state.candidate, look.candidate),
        stable=_with_arm(spec, state.stable, look.stable),
        spent=state.spent | look.candidate.bad | look.stable.bad,
        expected_bad=state.expected_bad + look.expected_bad,
        blocks=state.blocks + 1,
        seconds=state.seconds + block.seconds,
    )
    if spec.kind is GateKind.FAILURES:
        state = _with_cohort(spec, state, look, block)
    return _latched(spec, state)


def find(spec: GateSpec, state: GateState) -> GateFinding:
    """What the gate says now. FAIL is latched and wins; then ERROR, NO_DATA, a latched PASS, INCONCLUSIVE."""
    log_e_fail, log_e_pass = log_e_values(spec, state)
    verdict = _verdict(spec, state)
    unknown = _unknown_share(state.candidate)
    return GateFinding(
        gate=spec.name,
        kind=spec.kind,
        verdict=verdict,
        margin=spec.margin,
        reason=reason_for(spec, state, verdict, log_e_fail=log_e_fail, log_e_pass=log_e_pass, unknown=unknown),
        log_e_fail=log_e_fail,
        log_e_pass=log_e_pass,
        units_candidate=state.candidate.count,
        units_stable=state.stable.count,
        bad_candidate=state.candidate.bad,
        bad_stable=state.stable.bad,
        estimate_candidate=_estimate(spec, state.candidate),
        estimate_stable=_estimate(spec, state.stable),
        stable_fails_too=spec.kind is GateKind.SUCCESS and _stable_fails_too(spec, state),
        units_needed=units_still_needed(spec, state) if verdict in (Verdict.NO_DATA, Verdict.INCONCLUSIVE) else None,
    )


def log_e_values(spec: GateSpec, state: GateState) -> tuple[float, float]:
    """Natural logs of the gate's two e-values, towards FAIL and towards PASS."""
    arm = state.candidate
    if spec.kind is GateKind.SUCCESS:
        limit = 1.0 - spec.margin
        return log_e_above(arm.bad, arm.count, limit), log_e_below(*_pessimistic(arm), limit)
    grid = _grid(spec)
    if spec.kind is GateKind.LATENCY_P95:
        return log_e_value(state.fail_ratios, grid), log_e_value(state.pass_ratios, grid)
    return _log_e_fail_additive(spec, state, grid), _log_e_pass_additive(spec, state, grid)


@dataclass(frozen=True, slots=True, kw_only=True)
class _ArmLook:
    """One arm of one block, as a gate sees it: units only; ``bad`` are those at risk with their first bad event."""

    block: ArmBlock | None
    active: Units
    bad: Units
    at_risk: Units

    @property
    def requests(self) -> int:
        return 0 if self.block is None else self.block.assigned

    @property
    def unfinished(self) -> int:
        return 0 if self.block is None else self.block.unfinished


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    """Both arms of one block. A unit that is bad on both at once says nothing about which is worse: no event of T1."""

    candidate: _ArmLook
    stable: _ArmLook

    @property
    def expected_bad(self) -> float:
        return len(self.candidate.at_risk) * len(self.stable.bad) / max(1, len(self.stable.at_risk))


def _look(spec: GateSpec, state: GateState, candidate: ArmBlock | None, stable: ArmBlock | None) -> _Look:
    return _Look(candidate=_arm_look(spec, state, candidate), stable=_arm_look(spec, state, stable))


def _arm_look(spec: GateSpec, state: GateState, arm: ArmBlock | None) -> _ArmLook:
    if arm is None:
        return _ArmLook(block=None, active=frozenset(), bad=frozenset(), at_risk=frozenset())
    if spec.kind is GateKind.LATENCY_P95:
        marked = frozenset(arm.slow_units)
        active = frozenset(arm.active) | marked
    else:
        marked = frozenset(arm.failed_units)
        active = (frozenset(arm.active) - frozenset(arm.unknown_units)) | marked
    return _ArmLook(block=arm, active=active, bad=marked - state.spent, at_risk=active - state.spent)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stratum:
    """Units of one age in one block: events and units at risk by arm."""

    candidate: int
    stable: int
    candidate_at_risk: int
    stable_at_risk: int

    @property
    def weight(self) -> float:
        return self.candidate_at_risk / max(1, self.candidate_at_risk + self.stable_at_risk)


def _strata(state: GateState, look: _Look, block: Block) -> list[_Stratum]:
    """The block by age, where there are events. A unit that is bad on both arms at once does not say which is worse."""
    both = look.candidate.bad & look.stable.bad
    candidate, stable = look.candidate.bad - both, look.stable.bad - both
    found = []
    for units, inside in bands(state.ages, t0=block.t0, seconds=block.seconds):
        pick = frozenset.intersection if inside else frozenset.difference
        stratum = _Stratum(
            candidate=len(pick(candidate, units)),
            stable=len(pick(stable, units)),
            candidate_at_risk=len(pick(look.candidate.at_risk, units)),
            stable_at_risk=len(pick(look.stable.at_risk, units)),
        )
        if stratum.candidate_at_risk and stratum.stable_at_risk:
            found.append(stratum)
    return found


def _with_ratios(spec: GateSpec, state: GateState, look: _Look, block: Block) -> GateState:
    """T1 with this block's events; every margin is fixed by the blocks before."""
    if spec.kind is GateKind.SUCCESS:
        return state
    margin_fail, margin_pass = 1.0, 1.0
    if spec.kind is GateKind.FAILURES:
        margin_fail, margin_pass = _ratio_margins(spec, state)
        if state.pass_start is None and state.stable.bad:
            start_log = _log_e_clean(spec, state.candidate)
            state = replace(state, pass_start=start_log, paired=replace(state.paired, log_e_pass=0.0))
    strata = _strata(state, look, block)
    failing, passing = state.fail_ratios, state.pass_ratios
    passing_counts = spec.kind is GateKind.LATENCY_P95 or state.pass_start is not None
    lost = look.candidate.unfinished
    for stratum in strata:
        failing = _with_stratum(spec, failing, Direction.WORSE, stratum, margin=margin_fail, lost=0)
        if passing_counts:
            failed_too = min(lost, stratum.candidate_at_risk - stratum.candidate)
            passing = _with_stratum(spec, passing, Direction.BETTER, stratum, margin=margin_pass, lost=failed_too)
            lost -= failed_too
    return replace(state, fail_ratios=failing, pass_ratios=passing)


def _with_stratum(
    spec: GateSpec,
    ratios: tuple[float, ...],
    direction: Direction,
    stratum: _Stratum,
    *,
    margin: float,
    lost: int,
) -> tuple[float, ...]:
    return with_events(
        ratios,
        _grid(spec),
        direction,
        candidate=stratum.candidate + lost,
        stable=stratum.stable,
        weight=stratum.weight,
        margin=margin,
    )


def _aged(spec: GateSpec, state: GateState, block: Block, arms: Iterable[ArmBlock | None]) -> Ages:
    if spec.scope is Scope.ABSOLUTE:
        return state.ages
    units = frozenset(unit for arm in arms if arm is not None for unit in arm.active)
    return with_block(state.ages, units, t0=block.t0, seconds=block.seconds)


def _with_cohort(spec: GateSpec, state: GateState, look: _Look, block: Block) -> GateState:
    """T2 over the cohort whose time is up; ``state`` already holds this block's bad units.

    A cohort is who began in one block; a unit that is active on both arms belongs to neither.
    """
    new = newborn(state.ages, t0=block.t0)
    candidate, stable = look.candidate.active & new, look.stable.active & new
    cohorts = (*state.cohorts, Cohort(candidate=candidate - stable, stable=stable - candidate))
    if len(cohorts) <= spec.settle_blocks:
        return replace(state, cohorts=cohorts)
    due = cohorts[0]
    pairs = differences(
        [unit in state.spent for unit in sorted(due.candidate)], [unit in state.spent for unit in sorted(due.stable)]
    )
    return replace(
        state,
        cohorts=cohorts[1:],
        paired=with_differences(state.paired, pairs, margin=spec.margin, fail_margin=spec.fail_margin),
    )


def _ratio_margins(spec: GateSpec, state: GateState) -> tuple[float, float]:
    """The additive margin as a ratio of hazards, towards FAIL and towards PASS."""
    lower, limit = _stable_lower(spec, state), spec.margin_to_fail
    upper = rate_upper(state.stable.bad, state.stable.settled, spec.alpha_pass * _BOUND_SHARE)
    return 1.0 + limit / max(lower, FLOOR * limit, _SMALLEST_RATE), 1.0 + spec.margin / upper


def _stable_lower(spec: GateSpec, state: GateState) -> float:
    return rate_lower(state.stable.bad, state.stable.count, spec.alpha_fail * _BOUND_SHARE)


def _log_e_fail_additive(spec: GateSpec, state: GateState, grid: Grid) -> float:
    relative = log_e_value(state.fail_ratios, grid)
    limit = spec.margin_to_fail * (1.0 + FLOOR)
    if _stable_lower(spec, state) < FLOOR * spec.margin_to_fail:
        agree = log_e_above(state.candidate.bad, state.candidate.count, limit) if limit < 1 else -math.inf
        relative = min(relative, agree)
    return log_sum_exp([relative + _LN_HALF, state.paired.log_e_fail + _LN_HALF])


def _log_e_pass_additive(spec: GateSpec, state: GateState, grid: Grid) -> float:
    clean = _log_e_clean(spec, state.candidate)
    if state.pass_start is None:
        return clean
    relative = state.pass_start + log_e_value(state.pass_ratios, grid)
    paired = state.pass_start + state.paired.log_e_pass
    return log_sum_exp([clean + 2 * _LN_HALF, relative + 2 * _LN_HALF, paired + _LN_HALF])


def _log_e_clean(spec: GateSpec, arm: ArmTally) -> float:
    return log_e_below(*_pessimistic(arm), spec.margin, clean_weight=clean_weight(spec))


def _pessimistic(arm: ArmTally) -> tuple[int, int]:
    """Bad and counted units for a claim of health: what has no end has failed, new units do not count yet."""
    bad = min(arm.bad + arm.unfinished, max(arm.count, arm.bad))
    return bad, max(arm.settled, bad)


def _with_arm(spec: GateSpec, tally: ArmTally, look: _ArmLook) -> ArmTally:
    new = look.active - tally.units
    block = look.block
    fresh = (*tally.fresh, len(new) - len(new & look.bad))
    tally = replace(
        tally,
        units=tally.units | new if new else tally.units,
        fresh=fresh[-spec.settle_blocks :] if spec.settle_blocks > 0 else (),
        bad=tally.bad + len(look.bad),
    )
    if block is None:
        return tally
    return replace(
        tally,
        finished=tally.finished + block.finished,
        unknown=tally.unknown + block.unknown,
        unfinished=tally.unfinished + block.unfinished,
        latency_ms=merged((tally.latency_ms, block.latency_ms))
        if spec.kind is GateKind.LATENCY_P95
        else tally.latency_ms,
    )


def _latched(spec: GateSpec, state: GateState) -> GateState:
    if _lacks_units(spec, state):
        return state
    log_e_fail, log_e_pass = log_e_values(spec, state)
    if state.failed is None and log_e_fail >= -math.log(spec.alpha_fail):
        state = replace(state, failed=_latch(state, log_e_fail))
    broken = _instrument_broken(spec, state)
    if state.passed is None and not broken and log_e_pass >= -math.log(spec.alpha_pass):
        state = replace(state, passed=_latch(state, log_e_pass))
    return state


def _latch(state: GateState, log_e: float) -> Latch:
    assert state.last_t0 is not None
    return Latch(
        t0=state.last_t0,
        log_e=log_e,
        bad_candidate=state.candidate.bad,
        units_candidate=state.candidate.count,
        bad_stable=state.stable.bad,
        units_stable=state.stable.count,
    )


def _verdict(spec: GateSpec, state: GateState) -> Verdict:
    if state.failed is not None:
        return Verdict.FAIL
    if _instrument_broken(spec, state):
        return Verdict.ERROR
    if _lacks_units(spec, state):
        return Verdict.NO_DATA
    return Verdict.INCONCLUSIVE if state.passed is None else Verdict.PASS


def _lacks_units(spec: GateSpec, state: GateState) -> bool:
    arms = (state.candidate, state.stable) if spec.scope is Scope.CONCURRENT else (state.candidate,)
    return any(arm.count < spec.minimum_units or arm.count == 0 for arm in arms)


def _instrument_broken(spec: GateSpec, state: GateState) -> bool:
    """Whether too many outcomes are unknown; a latency is known without an outcome."""
    if spec.kind is GateKind.LATENCY_P95 or state.candidate.finished < max(1, spec.minimum_units):
        return False
    return _unknown_share(state.candidate) > UNKNOWN_SHARE


def _unknown_share(arm: ArmTally) -> float:
    return arm.unknown / arm.finished if arm.finished else 0.0


def _estimate(spec: GateSpec, arm: ArmTally) -> float | None:
    if arm.count == 0:
        return None
    if spec.kind is GateKind.LATENCY_P95:
        return quantile(arm.latency_ms, 0.95)
    rate = arm.bad / arm.count
    return 1.0 - rate if spec.kind is GateKind.SUCCESS else rate


def _stable_fails_too(spec: GateSpec, state: GateState) -> bool:
    limit = 1.0 - spec.margin
    if log_e_above(state.stable.bad, state.stable.count, limit) >= -math.log(spec.alpha_fail):
        return True
    return state.candidate.count > 0 and state.expected_bad > limit * state.candidate.count


def _grid(spec: GateSpec) -> Grid:
    return QUANTILES if spec.kind is GateKind.LATENCY_P95 else ERRORS
