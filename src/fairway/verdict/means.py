# ruff: noqa: RUF002 - Greek letters and minus signs stand as in the papers
"""Gates on the mean of what agents say of a request: cost, tokens, a judge's score, a user's feedback. Pure folds.

A unit counts once: its mean over the first block in which it has a value, whatever it does later, because what a
sticky unit repeats is no new evidence. Candidate units are paired with their own disjoint groups of stable units that
had their first value in the same block and are alike in age (``verdict.ages``), in the order of their hashes, which
knows no value. T2 (:mod:`fairway.stats.paired`) bets on the differences:

``mean_ratio`` (cost, tokens; M the margin as a ratio) - null of FAIL: candidate ≤ M x stable, null of PASS: ≥, for
    means of values winsorised at a cap c, the candidate's at M x c: ``D = min(x, Mc)/Mc − mean(min(y, c))/c`` in
    [−1, 1], tested against 0. A candidate that costs M times as much in every request has differences of mean 0
    exactly, whatever the cap. The cap is the policy's, or the P99 of the first hundred stable units with a value that
    the gate was shown; units of the blocks until then are not counted, so that it is known before every pair.
``mean_points`` (score, feedback, in [0, 1]; m the margin) - ``D = mean(y) − x``, tested against m: the candidate may be
    so much worse.

FAIL uses the plan's last margin and late onset as other gates do: ``E = ½ E_all + Σ_s E_from_s / 2S``. PASS uses the
margin of the step, over the whole rollout.

Error bound: that of T2, for each gate and direction, at any number of looks, as long as units of one block and age are
alike but for their release. Nothing is said of raw means beyond the cap: a fault in less than a hundredth of requests
is for ``guardrail`` or ``failures`` to see.

Unknown is never a pass. Without values the gate says so and holds. A candidate whose units come to a value less than
half as often as concurrent ones of stable is an ERROR: T1 (:mod:`fairway.stats.logrank`) with "has a value" as its
event and M = ½, error .005; what is not reported cannot be compared.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from fairway.stats.logrank import ERRORS, Direction, log_e_value, nothing_yet, with_events
from fairway.stats.logspace import log_sum_exp
from fairway.stats.paired import Paired, differences, with_differences
from fairway.units import UnitHash, Verdict
from fairway.verdict.kinds import Test, recipe_of
from fairway.verdict.roster import NOBODY, Roster, Units
from fairway.verdict.sight import ArmSight, Band, Sight
from fairway.verdict.tally import GateState, beginning
from fairway.verdict.values import GateSpec

CAP_UNITS, CAP_SHARE = 100, 0.99
"""Stable units a cap is taken from, and the quantile."""

PRIOR = 0.25
"""Size of the pseudo-difference T2's variance starts with: about that of a pair."""

SILENT, ALPHA_SILENT = 0.5, 0.005
"""A candidate is silent when its units have a value less than so many times as often as stable's; error bound."""

_LN_HALF = math.log(0.5)
_NOBODY: Units = frozenset()
_ValuesOfUnits = Mapping[UnitHash, tuple[int, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanTally:
    """One arm: units seen, units whose value was counted, and the sum of these values.

    Attributes:
        seen: Units that were active in blocks that count.
        said: Of them, units with a value.
        count: Of them, units with a value that could be paired.
        total: Sum of their values as people are told them (dollars, tokens, shares), not winsorised.
    """

    seen: Roster = NOBODY
    said: int = 0
    count: int = 0
    total: float = 0.0

    @property
    def mean(self) -> float | None:
        """Of the units counted; ``None`` without any."""
        return self.total / self.count if self.count else None

    def with_values(self, values: Sequence[float]) -> MeanTally:
        """It with units that could be paired."""
        return MeanTally(
            seen=self.seen, said=self.said, count=self.count + len(values), total=self.total + math.fsum(values)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanLatch:
    """The moment a verdict was reached, kept as its evidence: start of the block, log e-value, both arms then."""

    t0: float
    log_e: float
    candidate: MeanTally
    stable: MeanTally


@dataclass(frozen=True, slots=True, kw_only=True)
class Cap:
    """How much a value counts at most, or what is known towards it.

    Attributes:
        value: ``None`` until it is known.
        values: Of the stable units met so far, while it is not.
        units: These units.
    """

    value: float | None = None
    values: tuple[float, ...] = ()
    units: Roster = NOBODY


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanState(GateState):
    """What a gate on a mean remembers, beside what every gate does.

    Attributes:
        ours, theirs: The candidate and stable.
        valued: Units that had a value in a block that counts: not looked at again.
        cap: Of values without a bound.
        to_fail, to_pass: T2 at the margin towards each.
        begun: Where the log wealth towards FAIL stood when each split after the first came into force.
        silence: T1 towards "the candidate says less".
        failed, passed: Set once, never taken back.
    """

    ours: MeanTally = MeanTally()
    theirs: MeanTally = MeanTally()
    valued: Roster = NOBODY
    cap: Cap = Cap()
    to_fail: Paired = Paired()  # noqa: RUF009 - frozen
    to_pass: Paired = Paired()  # noqa: RUF009 - frozen
    begun: tuple[float, ...] = ()
    silence: tuple[float, ...] = ()
    failed: MeanLatch | None = None
    passed: MeanLatch | None = None


def start_mean(spec: GateSpec, *, since: float | None) -> MeanState:
    """The state before any block; see :func:`fairway.verdict.gates.start`."""
    cap = spec.cap if recipe_of(spec).test is Test.MEAN_RATIO else 1.0
    return MeanState(reading=beginning(since, None), cap=Cap(value=cap), silence=nothing_yet(ERRORS))


def observe_mean(spec: GateSpec, state: MeanState, sight: Sight) -> MeanState:
    """The state with one more mature block; one not newer than the newest changes nothing."""
    block = sight.block
    if state.last_t0 is not None and block.t0 <= state.last_t0:
        return state
    before = replace(state, reading=replace(state.reading, ages=sight.ages, last_t0=block.t0))
    early = state.since is not None and block.t0 < state.since
    if early or not block.comparable:
        return _with_cap(spec, _skipping(before, not early), sight)
    after = _with_block(spec, _with_split(spec, before, block.split), sight)
    return _with_cap(spec, _latched(spec, after), sight)


def _skipping(state: MeanState, skipped: bool) -> MeanState:
    return replace(state, reading=replace(state.reading, skipped=state.skipped + skipped))


def _with_split(spec: GateSpec, state: MeanState, split: int | None) -> MeanState:
    """A new split is the beginning of a stage; the first one is that of the rollout."""
    if split is None or split == state.split:
        return state
    reading = replace(state.reading, split=split)
    if state.split is None or len(state.begun) + 1 >= spec.stages:
        return replace(state, reading=reading)
    return replace(state, reading=reading, begun=(*state.begun, state.to_fail.log_e_fail))


def _with_block(spec: GateSpec, state: MeanState, sight: Sight) -> MeanState:
    """The pairs of one block, and what it says of who is silent."""
    said, beside = _said(spec, sight.candidate), _said(spec, sight.stable)
    ours, theirs = sight.candidate.active, sight.stable.active
    new = new_beside = _NOBODY
    if said or beside:  # at risk are units that have had no value before this block
        ours, theirs = state.valued.missing(ours), state.valued.missing(theirs)
        new, new_beside = ours.intersection(said), theirs.intersection(beside)
    state = replace(
        state,
        ours=_met(state.ours, sight, sight.candidate, len(new)),
        theirs=_met(state.theirs, sight, sight.stable, len(new_beside)),
    )
    if not new and not new_beside:
        return state
    if both := ours & theirs:  # whoever is active on both arms says nothing about either
        ours, theirs = ours - both, theirs - both
    for band in sight.by_age(ours, theirs):
        state = _with_band(spec, state, band, said, beside)
    return replace(state, valued=state.valued.grown(new | new_beside))


def _said(spec: GateSpec, arm: ArmSight) -> _ValuesOfUnits:
    return {} if arm.block is None else arm.block.values.get(recipe_of(spec).value, {})


def _met(tally: MeanTally, sight: Sight, arm: ArmSight, new: int) -> MeanTally:
    """An arm with the units of one more block, of which so many have their first value."""
    seen = sight.grown(tally.seen, arm.active)
    return MeanTally(seen=seen, said=tally.said + new, count=tally.count, total=tally.total)


def _with_band(spec: GateSpec, state: MeanState, band: Band, said: _ValuesOfUnits, beside: _ValuesOfUnits) -> MeanState:
    """The units of one age that have their first value now, in the order of their hashes."""
    ours = _means(spec, said, sorted(band.candidate.intersection(said)))
    theirs = _means(spec, beside, sorted(band.stable.intersection(beside)))
    if not ours and not theirs:
        return state
    weight = len(band.candidate) / (len(band.candidate) + len(band.stable))
    silence = with_events(
        state.silence, ERRORS, Direction.BETTER, candidate=len(ours), stable=len(theirs), weight=weight, margin=SILENT
    )
    state = replace(state, silence=silence)
    if state.cap.value is None or not (ours and theirs):
        return state
    return replace(
        state,
        ours=state.ours.with_values(ours),
        theirs=state.theirs.with_values(theirs),
        to_fail=_bet(spec, state.to_fail, ours, theirs, spec.margin_to_fail, state.cap.value),
        to_pass=_bet(spec, state.to_pass, ours, theirs, spec.margin, state.cap.value),
    )


def _means(spec: GateSpec, values: _ValuesOfUnits, units: Iterable[UnitHash]) -> list[float]:
    per_unit = recipe_of(spec).per_unit
    return [values[unit][0] / (values[unit][1] * per_unit) for unit in units]


def _bet(
    spec: GateSpec, paired: Paired, ours: Sequence[float], theirs: Sequence[float], margin: float, cap: float
) -> Paired:
    if recipe_of(spec).test is Test.MEAN_RATIO:
        most = cap * margin
        scaled = [min(x, most) / most for x in ours], [min(y, cap) / cap for y in theirs]
        return with_differences(paired, differences(*scaled), margin=0.0, prior=PRIOR)
    worse = [-d for d in differences([min(x, 1.0) for x in ours], [min(y, 1.0) for y in theirs])]
    return with_differences(paired, worse, margin=margin, prior=PRIOR)


def _with_cap(spec: GateSpec, state: MeanState, sight: Sight) -> MeanState:
    """What stable's units of this block say of the cap, for the blocks after it."""
    cap = state.cap
    if cap.value is not None or sight.block.gap:
        return state
    said = _said(spec, sight.stable)
    new = sorted(cap.units.missing(frozenset(said)))
    if not new:
        return state
    values = (*cap.values, *_means(spec, said, new))
    known = cap_of(values) if len(values) >= CAP_UNITS else None
    if known is not None:
        return replace(state, cap=Cap(value=known))
    # All of them nothing, or too few: the newest are kept, so that a stable that is free costs no memory.
    return replace(state, cap=Cap(values=values[-CAP_UNITS:], units=cap.units.grown(frozenset(new))))


def cap_of(values: Sequence[float]) -> float | None:
    """The 99th percentile of values, by the nearest rank; the largest where that is 0, ``None`` when all are."""
    ordered = sorted(values)
    return ordered[math.ceil(CAP_SHARE * len(ordered)) - 1] or ordered[-1] or None


def log_e_fail_mean(spec: GateSpec, state: MeanState) -> float:
    """Natural log of the e-value towards FAIL: that of the whole rollout and those since each split, mixed."""
    wealth = state.to_fail.log_e_fail
    if spec.stages == 1:
        return wealth
    part = -math.log(2 * spec.stages)
    logs = [wealth + log_sum_exp((_LN_HALF, part)), *(wealth - begun + part for begun in state.begun)]
    idle = spec.stages - 1 - len(state.begun)
    return log_sum_exp([*logs, math.log(idle) + part] if idle > 0 else logs)


def log_e_pass_mean(state: MeanState) -> float:
    """Natural log of the e-value towards PASS."""
    return state.to_pass.log_e_pass


def is_silent(state: MeanState) -> bool:
    """Whether it is shown that the candidate says less than half as often as stable what is compared."""
    return log_e_value(state.silence, ERRORS) >= -math.log(ALPHA_SILENT)


def lacks_units(spec: GateSpec, state: MeanState) -> bool:
    """Whether either arm has too few units with a value for any verdict."""
    return min(state.ours.count, state.theirs.count) < max(1, spec.minimum_units)


def _latched(spec: GateSpec, state: MeanState) -> MeanState:
    if lacks_units(spec, state):
        return state
    t0 = state.last_t0
    assert t0 is not None
    to_fail, to_pass = log_e_fail_mean(spec, state), log_e_pass_mean(state)
    if state.failed is None and to_fail >= -math.log(spec.alpha_fail):
        latch = MeanLatch(t0=t0, log_e=to_fail, candidate=state.ours, stable=state.theirs)
        state = replace(state, failed=latch)
    if state.passed is None and to_pass >= -math.log(spec.alpha_pass):
        latch = MeanLatch(t0=t0, log_e=to_pass, candidate=state.ours, stable=state.theirs)
        state = replace(state, passed=latch)
    return state


def verdict_of_mean(spec: GateSpec, state: MeanState) -> Verdict:
    """FAIL is latched and wins; then ERROR, NO_DATA, a latched PASS, INCONCLUSIVE."""
    if state.failed is not None:
        return Verdict.FAIL
    if is_silent(state):
        return Verdict.ERROR
    if lacks_units(spec, state):
        return Verdict.NO_DATA
    return Verdict.INCONCLUSIVE if state.passed is None else Verdict.PASS
