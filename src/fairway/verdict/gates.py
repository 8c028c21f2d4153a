# ruff: noqa: RUF002 - Greek letters and minus signs stand as in the papers
"""Gates as pure folds over blocks: the evidence so far, one more block, what it says now.

The unit of analysis is the unit of assignment, counted once, for its first bad event; the statistics are those of
:mod:`fairway.stats`. Which units and which bad event: :mod:`fairway.verdict.kinds`. Per test:

``additive`` (``failures``, ``unknown``, ``guardrail``) - null of FAIL: candidate ≤ stable + margin (``fail_margin``,
where it differs); null of PASS: candidate ≥ stable + margin. Two tests bet together:
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
``relative`` (``latency_p95``, ``latency_p99``, ``first_byte_p95``, ``tokens_p95``) - T1 with M = 1 on units beyond a
    threshold; the margin is in the thresholds the table carries, so PASS begins anew with each step.
``absolute`` (``success``, ``tool_errors``, ``callback_failures``, ``loops``) - the share of bad units is above (FAIL)
    or below (PASS) the limit. An outage breaks a limit for both arms, so T1 at ratio 1 runs beside it on the same bad
    units, at the same α: ``worse_than_stable``. Under a cause that both arms share, whatever it does and however it
    drifts, that is shown with probability α at most. ``success`` fails by its limit alone, and speaks against the
    candidate only with it (``GateFinding.damning``); the others fail only with it: a tool that says no may be the
    custom of the house. Where nothing serves beside the candidate (``GateSpec.alone``, or too few units of stable)
    the limit is all there is; ``stable_fails_too`` then says that stable was shown to break it too.

``mean_ratio``, ``mean_points`` (``cost_mean``, ``tokens_mean``, ``score_mean``, ``feedback_mean``): T2 on values
instead of bad events, :mod:`fairway.verdict.means`.

Towards FAIL a gate also looks at what was shown since each split came into force: :mod:`fairway.verdict.evidence`.

Unknown is never a success: a unit whose requests in a block ended unknown is not counted in it, requests whose worker
vanished count as failed units of the candidate for PASS and as nothing for FAIL, and a share of unknown requests
above 1 % is an ERROR. Source of the design and its simulations: ``docs/explanation/verdicts.md``.
"""

from __future__ import annotations

import math
from dataclasses import replace

from fairway.observe.fold import Block
from fairway.stats.paired import Paired
from fairway.stats.quiet_pairs import quiet_differences, with_quiet_differences
from fairway.units import Digest
from fairway.verdict.evidence import (
    idle_until,
    log_e_fail,
    log_e_fail_at_most,
    log_e_pass,
    log_e_pass_at_most,
    no_evidence,
    stake,
    with_bad,
    with_stage,
)
from fairway.verdict.findings import (
    UNKNOWN_SHARE,
    compared,
    fails_beside_stable,
    lacks,
    lacks_units,
    shown_worse,
    too_many_unknown,
)
from fairway.verdict.kinds import KINDS, Among, Recipe, Test, recipe_of
from fairway.verdict.means import (
    MeanState,
    observe_mean,
    start_mean,
)
from fairway.verdict.reading import cohort_of, left_out, read_on, under_split
from fairway.verdict.roster import Units
from fairway.verdict.sight import Sight, see
from fairway.verdict.tally import EMPTY, Census, Cohort, Evidence, GateState, Latch, Reading, beginning
from fairway.verdict.values import ABSOLUTE_KINDS, MEAN_KINDS, GateSpec


def start(spec: GateSpec, *, since: float | None = None, pass_since: float | None = None) -> GateState:
    """The state of a gate before any block; a gate whose spec changes starts anew.

    Args:
        spec: The gate.
        since: Epoch seconds from which blocks count. Earlier blocks shown to :func:`observe` only teach it which
            units are old: a minute or two of them keep a gate from taking running conversations for new ones.
        pass_since: The same for PASS, when that begins later.
    """
    if spec.kind in MEAN_KINDS:
        return start_mean(spec, since=since)
    return GateState(reading=beginning(since, pass_since), evidence=no_evidence(spec))


def next_step_of(state: GateState, *, pass_since: float) -> GateState:
    """The state of a quantile gate at the next step, whose margin is in other thresholds: PASS begins anew."""
    nothing, reading = (0.0,) * len(state.evidence.pass_ratios), state.reading
    evidence = replace(state.evidence, pass_ratios=nothing, pass_top=0.0, passed=None, bad_candidate=0, bad_stable=0)
    again = replace(reading, pass_since=pass_since, census=EMPTY, whole=reading.all_of_it)
    return replace(state, reading=again, evidence=evidence)


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
    return observe_sight(spec, state, see(state.ages, block, candidate=candidate, stable=stable))


def observe_sight(spec: GateSpec, state: GateState, sight: Sight) -> GateState:
    """The same for a block that is made ready once, for all gates of a rollout.

    Most blocks have nothing that is bad in the eyes of a gate: then only what it shares with others is exchanged.
    """
    if isinstance(state, MeanState):
        return observe_mean(spec, state, sight)
    block, reading = sight.block, state.reading
    if reading.last_t0 is not None and block.t0 <= reading.last_t0:
        return state
    early = reading.since is not None and block.t0 < reading.since
    if early or not block.comparable:
        return at_reading(state, left_out(reading, sight, skipped=not early))
    if block.split is not None and block.split != reading.split:
        state = _with_split(spec, state, sight)
        reading = state.reading
    recipe = KINDS[spec.kind]
    ours, theirs = sight.candidate.counted(recipe), sight.stable.counted(recipe)
    if not (ours and theirs) and not _heard(spec, recipe, sight):
        return at_reading(state, left_out(reading, sight, skipped=False))
    after = read_on(reading, sight, ours, theirs, settle_blocks=spec.settle_blocks)
    evidence = state.evidence
    marked, beside = sight.candidate.marked(recipe.mark), sight.stable.marked(recipe.mark)
    if evidence.bad_stable and evidence.pass_start is None and recipe.test is Test.ADDITIVE:
        evidence = stake(spec, state)
        state = GateState(reading=reading, evidence=evidence, cohorts=state.cohorts, idle_units=state.idle_units)
    if marked or beside or sight.candidate.lost:
        passes = reading.pass_since is None or block.t0 >= reading.pass_since
        evidence = _with_events(spec, state, sight, ours, theirs, passes=passes)
    cohorts = state.cohorts
    if recipe.test is Test.ADDITIVE:
        cohorts, evidence = _with_cohort(spec, cohorts, evidence, sight, ours, theirs)
    changed = GateState(reading=after, evidence=evidence, cohorts=cohorts, idle_units=state.idle_units)
    if evidence is state.evidence and not _may_latch(spec, recipe, changed, before=reading):
        return changed
    return _latched(spec, changed, before=state)


def _may_latch(spec: GateSpec, recipe: Recipe, state: GateState, *, before: Reading) -> bool:
    """Whether a block without bad events can decide anything: more units can, as far as they are needed.

    As :func:`_latched` asks, for next to nothing.
    """
    evidence, reading = state.evidence, state.reading
    if evidence.failed is None and lacks(spec, before.all_of_it):
        return True
    if evidence.passed is not None:
        return False
    if lacks(spec, before.census):
        return True
    if recipe.test is not Test.ABSOLUTE:
        return recipe.test is Test.ADDITIVE
    seen = reading.census.candidate
    return state.idle_units <= max(len(seen.units) - sum(seen.fresh), evidence.bad_candidate + seen.unfinished)


def reading_after(spec: GateSpec, reading: Reading, sight: Sight) -> Reading:
    """What gates like this one have read after another block of the same split, when none of them counts more."""
    block = sight.block
    early = reading.since is not None and block.t0 < reading.since
    if early or not block.comparable:
        return left_out(reading, sight, skipped=not early)
    recipe = KINDS[spec.kind]
    ours, theirs = sight.candidate.among(recipe.among), sight.stable.among(recipe.among)
    if not (ours and theirs) and not _heard(spec, recipe, sight):
        return left_out(reading, sight, skipped=False)
    return read_on(reading, sight, ours, theirs, settle_blocks=spec.settle_blocks)


def sleeps_through(spec: GateSpec, state: GateState, sight: Sight, *, before: Reading, after: Reading) -> bool:
    """Whether a block leaves a gate as it is, but for its reading: nothing bad, nothing that more units decide.

    Args:
        spec: The gate.
        state: Of the gate; its reading may be an older one.
        sight: The block.
        before: Its reading before the block.
        after: The one after it, from :func:`reading_after`.
    """
    if not sight.block.comparable:
        return True
    recipe, evidence, split = KINDS[spec.kind], state.evidence, sight.block.split
    if split is not None and split != before.split:
        return False
    bad = sight.has(recipe.mark)
    if after.census is before.census and after.whole is before.whole:  # left out
        return not bad or (not sight.candidate.active and not sight.candidate.has(recipe.mark))
    if bad or (recipe.test is not Test.RELATIVE and recipe.test is not Test.ABSOLUTE):
        return False
    if recipe.among is not Among.ACTIVE and not _outcomes_alike(recipe, before.census, after.census):
        return False
    absolute = recipe.test is Test.ABSOLUTE
    if evidence.failed is not None:
        return not absolute  # whether stable fails too may change
    if lacks(spec, before.all_of_it) and not lacks(spec, after.all_of_it):
        return False
    if evidence.passed is None and lacks(spec, before.census):
        return lacks(spec, after.census)
    if evidence.passed is not None or not absolute:
        return True
    seen = after.census.candidate
    return state.idle_units > max(len(seen.units) - sum(seen.fresh), evidence.bad_candidate + seen.unfinished)


def _outcomes_alike(recipe: Recipe, before: Census, after: Census) -> bool:
    """Whether as little was unknown before as after, and reports came in: no verdict changes by that."""
    known, seen = before.candidate, after.candidate
    if seen.unknown != known.unknown or known.unknown > UNKNOWN_SHARE * known.finished:
        return False
    return recipe.among is not Among.REPORTED or known.reported > 0 or before.stable.reported > 0


def at_reading(state: GateState, reading: Reading) -> GateState:
    """The state with nothing but another reading; ``dataclasses.replace`` would cost thrice as much."""
    return GateState(reading=reading, evidence=state.evidence, cohorts=state.cohorts, idle_units=state.idle_units)


def _heard(spec: GateSpec, recipe: Recipe, sight: Sight) -> bool:
    """Whether a block without units to compare says something all the same."""
    ours, theirs = sight.candidate.block, sight.stable.block
    if spec.kind in ABSOLUTE_KINDS:
        return (ours is not None and ours.assigned > 0) or (theirs is not None and theirs.assigned > 0)
    if recipe.among is not Among.REPORTED or ours is None or theirs is None:
        return False
    return ours.assigned > 0 and theirs.assigned > 0


def _with_split(spec: GateSpec, state: GateState, sight: Sight) -> GateState:
    """A new split is the beginning of a stage; the first one is that of the rollout."""
    reading, evidence = state.reading, state.evidence
    begun = 0
    if reading.split is not None:
        evidence = with_stage(spec, state.evidence)
        begun = len(evidence.stages) - len(state.evidence.stages)
    return GateState(
        reading=under_split(reading, sight, begun=begun),
        evidence=evidence,
        cohorts=state.cohorts,
        idle_units=state.idle_units,
    )


def _with_events(
    spec: GateSpec, state: GateState, sight: Sight, ours: Units, theirs: Units, *, passes: bool
) -> Evidence:
    """The evidence with this block's first bad events."""
    recipe, evidence = recipe_of(spec), state.evidence
    marked, beside = sight.candidate.marked(recipe.mark), sight.stable.marked(recipe.mark)
    bad = evidence.spent.missing(marked) if marked else marked
    bad_stable = evidence.spent.missing(beside) if beside else beside
    lost = sight.candidate.lost
    if not (bad or bad_stable or lost):
        return evidence
    failing, passing = evidence.fail_ratios, evidence.pass_ratios
    both = bad & bad_stable  # says nothing about which arm is worse
    failing, passing = with_bad(
        spec,
        state,
        sight.by_age(ours, theirs),
        bad - both if both else bad,
        bad_stable - both if both else bad_stable,
        lost=lost,
        passes=passes,
    )
    expected = 0.0
    if bad_stable and recipe.test is Test.RELATIVE and not recipe.histogram:
        at_risk = len(ours) - evidence.spent.count(ours)
        expected = at_risk * len(bad_stable) / max(1, len(theirs) - evidence.spent.count(theirs))
    return Evidence(
        spent=evidence.spent.grown(bad | bad_stable),
        bad=evidence.bad + len(bad),
        bad_candidate=evidence.bad_candidate + (len(bad) if passes else 0),
        bad_stable=evidence.bad_stable + (len(bad_stable) if passes else 0),
        fail_ratios=failing,
        pass_ratios=passing,
        pass_top=evidence.pass_top if passing is evidence.pass_ratios else max(passing),
        fail_weights=evidence.fail_weights,
        paired=evidence.paired,
        pass_start=evidence.pass_start,
        expected_bad=evidence.expected_bad + expected,
        stages=evidence.stages,
        worse=evidence.worse,
        failed=evidence.failed,
        passed=evidence.passed,
    )


def _with_cohort(
    spec: GateSpec, cohorts: tuple[Cohort, ...], evidence: Evidence, sight: Sight, ours: Units, theirs: Units
) -> tuple[tuple[Cohort, ...], Evidence]:
    """T2 over the cohort whose time is up; the evidence already holds this block's bad units."""
    cohorts = (*cohorts, cohort_of(sight, ours, theirs))
    if len(cohorts) <= spec.settle_blocks:
        return cohorts, evidence
    due, spent = cohorts[0], evidence.spent
    if due.candidate and due.stable:
        pairs, differing = quiet_differences(due.candidate, due.stable, spent.among(due.members))
        paired = with_quiet_differences(
            evidence.paired, pairs, differing, margin=spec.margin, fail_margin=spec.fail_margin
        )
        if paired is not evidence.paired:
            evidence = _betting(evidence, paired)
    return cohorts[1:], evidence


def _betting(evidence: Evidence, paired: Paired) -> Evidence:
    """The evidence with another T2; ``dataclasses.replace`` would cost twice as much."""
    return Evidence(
        spent=evidence.spent,
        bad=evidence.bad,
        bad_candidate=evidence.bad_candidate,
        bad_stable=evidence.bad_stable,
        fail_ratios=evidence.fail_ratios,
        pass_ratios=evidence.pass_ratios,
        pass_top=evidence.pass_top,
        fail_weights=evidence.fail_weights,
        paired=paired,
        pass_start=evidence.pass_start,
        expected_bad=evidence.expected_bad,
        stages=evidence.stages,
        worse=evidence.worse,
        failed=evidence.failed,
        passed=evidence.passed,
    )


def _latched(spec: GateSpec, state: GateState, *, before: GateState) -> GateState:
    evidence, known = state.evidence, before.evidence
    test = KINDS[spec.kind].test
    # Towards FAIL evidence rises with bad events of the candidate; T2 with a cohort, and the agreement of the two
    # tests with what raises the bound of stable's rate. Towards PASS T1 rises with bad events of stable.
    may_fail = evidence.bad != known.bad or lacks(spec, before.reading.all_of_it)
    if test is Test.ADDITIVE:
        stable_too = evidence.bad_stable != known.bad_stable
        may_fail = may_fail or stable_too or evidence.paired.log_e_fail > known.paired.log_e_fail
    failed, worse = evidence.failed, evidence.worse
    if test is Test.ABSOLUTE and not worse and evidence.bad != known.bad:
        worse = shown_worse(spec, state)
    if may_fail and failed is None and not lacks(spec, state.reading.all_of_it):
        threshold = -math.log(spec.alpha_fail)
        possible = log_e_fail_at_most(spec, state) >= threshold
        if fails_beside_stable(spec) and compared(spec, state):
            possible = possible and worse
        if possible and (log_e := log_e_fail(spec, state)) >= threshold:
            failed = _latch(state, log_e)
    may_pass = test is not Test.RELATIVE or evidence.bad_stable != known.bad_stable or lacks(spec, before.census)
    passed, idle = evidence.passed, state.idle_units
    if may_pass and passed is None and not lacks_units(spec, state):
        threshold = -math.log(spec.alpha_pass)
        if log_e_pass_at_most(spec, state) >= threshold and not too_many_unknown(spec, state):
            if (log_e := log_e_pass(spec, state)) >= threshold:
                passed = _latch(state, log_e)
            elif test is not Test.RELATIVE:
                idle = idle_until(spec, state)
    if failed is evidence.failed and passed is evidence.passed and worse is evidence.worse and idle == state.idle_units:
        return state
    return replace(state, evidence=replace(evidence, failed=failed, passed=passed, worse=worse), idle_units=idle)


def _latch(state: GateState, log_e: float) -> Latch:
    assert state.last_t0 is not None
    return Latch(
        t0=state.last_t0,
        log_e=log_e,
        bad_candidate=state.evidence.bad_candidate,
        units_candidate=state.census.candidate.count,
        bad_stable=state.evidence.bad_stable,
        units_stable=state.census.stable.count,
    )
