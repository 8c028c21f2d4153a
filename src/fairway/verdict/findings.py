"""What a gate says of its evidence: the verdict, and what it goes by. Pure, over one state.

How evidence becomes that state: :mod:`fairway.verdict.gates`.
"""

from __future__ import annotations

import math

from fairway.stats.bernoulli import log_e_above
from fairway.units import Verdict
from fairway.verdict.evidence import log_e_fail, log_e_pass, log_e_worse, log_e_worse_at_most
from fairway.verdict.kinds import Among, limit_of, recipe_of
from fairway.verdict.mean_findings import find_mean
from fairway.verdict.means import MeanState, verdict_of_mean
from fairway.verdict.needed import units_still_needed
from fairway.verdict.reasons import e_value_text, reason_for, threshold_text
from fairway.verdict.tally import ArmTally, Census, GateState
from fairway.verdict.values import ABSOLUTE_KINDS, GateFinding, GateKind, GateSpec, Scope

UNKNOWN_SHARE = 0.01
"""No gate about outcomes passes while a larger share of the candidate's requests ended unknown."""

ALPHA_SHARED = 0.05
"""Error bound of "stable breaks the limit too": then a person is asked, unless the candidate is shown to be worse."""

_ALPHA_UNKNOWN = 0.005
"""Error bound of calling that share, and so the instrument, broken (one lost answer of eighty is an accident)."""


def find(spec: GateSpec, state: GateState) -> GateFinding:
    """What the gate says now. FAIL is latched and wins; then ERROR, NO_DATA, a latched PASS, INCONCLUSIVE."""
    if isinstance(state, MeanState):
        return find_mean(spec, state)
    to_fail, to_pass = log_e_fail(spec, state), log_e_pass(spec, state)
    verdict = verdict_of(spec, state)
    ours, theirs = state.candidate, state.stable
    undecided = verdict in (Verdict.NO_DATA, Verdict.INCONCLUSIVE)
    needed = units_still_needed(spec, state) if undecided and not _unreported(spec, state) else None
    return GateFinding(
        gate=spec.name,
        kind=spec.kind,
        verdict=verdict,
        margin=spec.margin,
        reason=_reason(spec, state, verdict, to_fail, to_pass, needed),
        log_e_fail=to_fail,
        log_e_pass=to_pass,
        units_candidate=ours.count,
        units_stable=theirs.count,
        bad_candidate=ours.bad,
        bad_stable=theirs.bad,
        estimate_candidate=_estimate(spec, ours),
        estimate_stable=_estimate(spec, theirs),
        stable_fails_too=_stable_fails_too(spec, state),
        worse_than_stable=state.evidence.worse if verdict is Verdict.FAIL and compared(spec, state) else None,
        units_needed=needed,
    )


def _reason(
    spec: GateSpec, state: GateState, verdict: Verdict, to_fail: float, to_pass: float, needed: int | None
) -> str:
    if verdict is Verdict.INCONCLUSIVE and _unreported(spec, state):
        return "neither release says what became of its requests, so this cannot be measured"
    told = reason_for(spec, state, verdict, log_e_fail=to_fail, log_e_pass=to_pass, needed=needed)
    if not compared(spec, state) or state.evidence.worse:
        return told
    if verdict is Verdict.INCONCLUSIVE and log_e_fail(spec, state) >= -math.log(spec.alpha_fail):
        return f"{told}; beyond the limit, but not shown to be worse than stable ({_beside(spec, state)})"
    return f"{told}; not shown to be worse than stable ({_beside(spec, state)})" if verdict is Verdict.FAIL else told


def _beside(spec: GateSpec, state: GateState) -> str:
    """What T1 at ratio 1 says now, and what it goes by."""
    stable, e_value = state.stable, e_value_text(log_e_worse(spec, state.evidence))
    counted = f"{stable.bad:,} of {stable.count:,} there"
    return f"{counted}, e-value {e_value} of {threshold_text(spec.alpha_fail)}"


def verdict_of(spec: GateSpec, state: GateState) -> Verdict:
    """The verdict alone: FAIL is latched and wins; then ERROR, NO_DATA, a latched PASS, INCONCLUSIVE."""
    if isinstance(state, MeanState):
        return verdict_of_mean(spec, state)
    if state.evidence.failed is not None:
        return Verdict.FAIL
    if too_many_unknown(spec, state):
        return Verdict.ERROR if _instrument_broken(state) else Verdict.NO_DATA
    if _unreported(spec, state):
        return Verdict.INCONCLUSIVE
    if lacks_units(spec, state):
        return Verdict.NO_DATA
    return Verdict.INCONCLUSIVE if state.evidence.passed is None else Verdict.PASS


def lacks_units(spec: GateSpec, state: GateState) -> bool:
    """Whether there are too few units for PASS."""
    return lacks(spec, state.census)


def lacks(spec: GateSpec, census: Census) -> bool:
    """Whether too few units were counted for any verdict but NO_DATA."""
    seen = len(census.candidate.units) if spec.kind in ABSOLUTE_KINDS else census.least
    return seen < spec.minimum_units or seen < 1


def _unreported(spec: GateSpec, state: GateState) -> bool:
    """Whether the gate is about what agents report, and neither of the two does: nothing to measure, and no defect."""
    if recipe_of(spec).among is not Among.REPORTED:
        return False
    ours, theirs = state.census.candidate, state.census.stable
    return ours.finished + theirs.finished >= spec.minimum_units and not ours.reported and not theirs.reported


def too_many_unknown(spec: GateSpec, state: GateState) -> bool:
    """Whether too many outcomes are unknown to conclude anything good; a latency is known without an outcome."""
    seen = state.census.candidate
    if recipe_of(spec).among is Among.ACTIVE or seen.finished < max(1, spec.minimum_units):
        return False
    return seen.unknown > UNKNOWN_SHARE * seen.finished


def _instrument_broken(state: GateState) -> bool:
    """Whether that is more than chance: the e-value against "the share is as allowed" says so, at any look."""
    seen = state.census.candidate
    return log_e_above(seen.unknown, seen.finished, UNKNOWN_SHARE) >= -math.log(_ALPHA_UNKNOWN)


def _estimate(spec: GateSpec, arm: ArmTally) -> float | None:
    if arm.count == 0:
        return None
    recipe = recipe_of(spec)
    if recipe.histogram:
        return arm.seen.spread.quantile(recipe.histogram, recipe.share)
    rate = arm.bad / arm.count
    return 1.0 - rate if spec.kind is GateKind.SUCCESS else rate


def fails_beside_stable(spec: GateSpec) -> bool:
    """Whether a limit is about something that may be so by habit, unlike failures: it fails only beside stable."""
    return spec.scope is Scope.ABSOLUTE and spec.kind is not GateKind.SUCCESS


def compared(spec: GateSpec, state: GateState) -> bool:
    """Whether an absolute limit has concurrent stable beside it."""
    if spec.scope is not Scope.ABSOLUTE or spec.alone:
        return False
    return len(state.reading.all_of_it.stable.units) >= max(1, spec.minimum_units)


def shown_worse(spec: GateSpec, state: GateState) -> bool:
    """Whether T1 at ratio 1 has reached the threshold of FAIL: concurrent stable is better."""
    threshold = -math.log(spec.alpha_fail)
    return log_e_worse_at_most(spec, state.evidence) >= threshold and log_e_worse(spec, state.evidence) >= threshold


def _stable_fails_too(spec: GateSpec, state: GateState) -> bool:
    """Whether stable was shown to break the limit as well by the time the candidate was: never taken back."""
    failed = state.evidence.failed
    if spec.scope is not Scope.ABSOLUTE or failed is None or not failed.bad_stable:
        return False
    return log_e_above(failed.bad_stable, failed.units_stable, limit_of(spec)) >= -math.log(ALPHA_SHARED)
