"""What pairs of mirrored requests prove about a candidate that nobody has met. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable

from fairway.observe.fold import Block
from fairway.rollout.evidence import MirrorGate, MirrorPairs
from fairway.stats.bernoulli import log_e_above, log_e_below
from fairway.traffic.table import Role
from fairway.units import Digest, Verdict

MAX_UNKNOWN = 0.01
"""Share of all pairs whose outcome may be unknown; above it nothing passes: what is not known may be what failed."""

_EVEN = 0.5
"""Of the pairs in which one side alone failed, the share that is the shadow's when it is no worse."""


def pairs_of(blocks: Iterable[Block], candidate: Digest) -> MirrorPairs | None:
    """The pairs of a candidate's shadow in mature blocks; ``None`` when none of them knows a shadow of it.

    Args:
        blocks: Of the mirrored step; those with a gap or of two tables are left out.
        candidate: Release digest of the candidate.
    """
    found = [
        block.arms[candidate].sums
        for block in blocks
        if block.comparable and candidate in block.arms and block.arms[candidate].role is Role.SHADOW
    ]
    if not found:
        return None

    def total(name: str) -> int:
        return round(sum(sums.get(name, 0) for sums in found))

    return MirrorPairs(
        compared=total("shadow_pairs"),
        shadow_failed=total("shadow_failed"),
        stable_failed=total("shadow_primary_failed"),
        diverged=total("shadow_diverged"),
        unknown=total("shadow_unknown"),
        both_failed=total("shadow_both_failed"),
        client_left=total("shadow_client_left"),
        unattested=total("shadow_unattested"),
        dropped=total("shadow_dropped") + total("shadow_skipped"),
    )


def judge_pairs(gate: MirrorGate, pairs: MirrorPairs | None) -> tuple[Verdict, str]:
    """Whether the shadow failed, where stable did not, in less than ``gate.margin`` of the compared pairs.

    PASS when an e-value against "in the margin or more" reaches 1/alpha_pass; what stable failed in turn is not set off
    against it. FAIL when two e-values reach 1/alpha_fail, one against "in the margin or less" and one against "of
    the pairs in which one side alone failed, at most half are the shadow's" (the sign test), so that an agent that
    fails now and then by itself is not blamed. Pairs that diverged, that are unknown or in which both failed are in
    neither; when they are too many, more than :data:`MAX_UNKNOWN` are unknown, or those that count too few, nothing
    passes. Those whose client left are in nothing at all: a client knows stable alone.

    Returns:
        The verdict and one sentence with the figures; NO_DATA without enough pairs.

    Source: the mixtures of :mod:`fairway.stats.bernoulli`; error of PASS at most ``alpha_pass``, of FAIL at most
    ``alpha_fail``, however often one looks, as long as each pair, given those before it, is on one side of the margin.
    Pairs are requests, not conversations: where few conversations make most of them, ask for more ``minimum_pairs``.
    """
    if pairs is None:
        return Verdict.NO_DATA, "no mirrored request has been compared yet"
    told = _told(pairs)
    if pairs.compared < gate.minimum_pairs:
        return Verdict.NO_DATA, f"{told}; at least {gate.minimum_pairs} pairs are needed"
    fail, win = math.log(1 / gate.alpha_fail), math.log(1 / gate.alpha_pass)
    one_sided = pairs.shadow_failed + pairs.stable_failed
    against = min(
        log_e_above(pairs.shadow_failed, pairs.compared, gate.margin),
        log_e_above(pairs.shadow_failed, one_sided, _EVEN),
    )
    if against >= fail:
        return Verdict.FAIL, told
    excluded = pairs.diverged + pairs.unknown + pairs.both_failed
    if pairs.unknown > MAX_UNKNOWN * (pairs.compared + excluded):
        return Verdict.INCONCLUSIVE, f"{told}; more than {MAX_UNKNOWN:.0%} are unknown, and unknown is no pass"
    if excluded > gate.max_diverged * (pairs.compared + excluded):
        return Verdict.INCONCLUSIVE, f"{told}; more than {gate.max_diverged:.0%} cannot be compared"
    if log_e_below(pairs.shadow_failed, pairs.compared, gate.margin, clean_weight=_EVEN) >= win:
        return Verdict.PASS, told
    return Verdict.INCONCLUSIVE, f"{told}; not decided"


def _told(pairs: MirrorPairs) -> str:
    aside = f", {pairs.diverged:,} diverged and are left out" if pairs.diverged else ""
    aside += f", {pairs.unknown:,} are of unknown outcome" if pairs.unknown else ""
    aside += f", in {pairs.both_failed:,} both failed" if pairs.both_failed else ""
    aside += f", in {pairs.client_left:,} the client left" if pairs.client_left else ""
    dropped = f", {pairs.dropped:,} were not copied" if pairs.dropped else ""
    return (
        f"of {pairs.compared:,} compared pairs the shadow alone failed in {pairs.shadow_failed:,}"
        f" and stable alone in {pairs.stable_failed:,}{aside}{dropped}"
    )
