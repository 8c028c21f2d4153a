"""What a block adds to what gates share: made once for all gates that count the same units, and kept for later ones."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from fairway.verdict.roster import NO_UNITS, Units
from fairway.verdict.sight import ArmSight, Sight
from fairway.verdict.tally import EMPTY, ArmCount, Census, Cohort, Reading


def left_out(reading: Reading, sight: Sight, *, skipped: bool) -> Reading:
    """After a block that counts for nothing but ages; ``skipped``: because it was a gap or mixed."""
    key = (id(reading), skipped)
    found = sight.for_good(key)
    if found is None:
        more = reading.skipped + skipped
        after = replace(reading, ages=sight.ages, skipped=more, last_t0=sight.block.t0)
        return sight.keep(key, reading, after)
    return cast("Reading", found)


def under_split(reading: Reading, sight: Sight, *, begun: int) -> Reading:
    """The reading under the block's split; ``begun``: stages that begin with it."""
    stages = (*reading.stage_units, *((NO_UNITS,) * begun))
    key, split = (id(reading), "split", begun), sight.block.split
    found = sight.for_good(key)
    if found is None:
        return sight.keep(key, reading, replace(reading, split=split, stage_units=stages))
    return cast("Reading", found)


def read_on(reading: Reading, sight: Sight, ours: Units, theirs: Units, *, settle_blocks: int) -> Reading:
    """After a block that counts.

    Args:
        reading: Before it.
        sight: The block.
        ours: Units of the candidate that count.
        theirs: The same of stable.
        settle_blocks: See :class:`fairway.verdict.values.GateSpec`.
    """
    key = (id(reading), id(ours), id(theirs), settle_blocks)
    found = sight.for_good(key)
    if found is not None:
        return cast("Reading", found)
    passes = reading.pass_since is None or sight.block.t0 >= reading.pass_since
    census, whole = reading.census, reading.whole
    if passes:
        census = _with_block(census, sight, ours, theirs, settle_blocks)
    if reading.pass_since is not None:
        whole = _with_block(whole or EMPTY, sight, ours, theirs, settle_blocks)
    stages = reading.stage_units
    if stages:
        active = sight.candidate.active
        stages = tuple([stage.grown(active, ours, sight.grown) for stage in stages])
    after = Reading(
        since=reading.since,
        pass_since=reading.pass_since,
        ages=sight.ages,
        census=census,
        whole=whole,
        stage_units=stages,
        split=reading.split,
        skipped=reading.skipped,
        last_t0=sight.block.t0,
    )
    return sight.keep(key, (reading, ours, theirs), after)


def _with_block(census: Census, sight: Sight, ours: Units, theirs: Units, settle_blocks: int) -> Census:
    """The census with a block; one object for all readings that count alike."""
    return sight.once(
        (id(census), id(ours), id(theirs), settle_blocks),
        (census, ours, theirs),
        lambda: _censused(census, sight, ours, theirs, settle_blocks),
    )


def _censused(census: Census, sight: Sight, ours: Units, theirs: Units, settle_blocks: int) -> Census:
    candidate = _with_arm(census.candidate, sight, sight.candidate, ours, settle_blocks)
    stable = _with_arm(census.stable, sight, sight.stable, theirs, settle_blocks)
    return Census(
        candidate=candidate,
        stable=stable,
        blocks=census.blocks + 1,
        seconds=census.seconds + sight.block.seconds,
        least=min(len(candidate.units), len(stable.units)),
    )


def _with_arm(count: ArmCount, sight: Sight, arm: ArmSight, units: Units, settle_blocks: int) -> ArmCount:
    block, known = arm.block, count.units
    counted = known.grown(arm.active, units, sight.grown)
    fresh = (*count.fresh, len(counted) - len(known))[-settle_blocks:] if settle_blocks > 0 else ()
    if block is None:
        return replace(count, units=counted, fresh=fresh)
    return ArmCount(
        units=counted,
        fresh=fresh,
        finished=count.finished + block.finished,
        unknown=count.unknown + block.unknown,
        unfinished=count.unfinished + block.unfinished,
        reported=count.reported + block.reported,
        spread=sight.once((id(count.spread), id(block)), count.spread, lambda: count.spread.grown(block)),
    )


def cohort_of(sight: Sight, ours: Units, theirs: Units) -> Cohort:
    """Who began in the block; a unit that is active on both arms belongs to neither."""
    return sight.once((id(ours), id(theirs), "cohort"), (ours, theirs), lambda: _cohort(sight, ours, theirs))


def _cohort(sight: Sight, ours: Units, theirs: Units) -> Cohort:
    candidate, stable = sight.born(sight.candidate, ours), sight.born(sight.stable, theirs)
    if candidate and not ours.isdisjoint(theirs):
        candidate = tuple(unit for unit in candidate if unit not in theirs)
        stable = tuple(unit for unit in stable if unit not in ours)
    members = frozenset((*candidate, *stable)) if candidate and stable else frozenset()
    return Cohort(candidate=candidate, stable=stable, members=members)
