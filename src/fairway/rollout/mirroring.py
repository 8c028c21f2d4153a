"""What pairs of mirrored requests prove about a candidate that nobody has met. Pure."""

from __future__ import annotations

import math

from fairway.rollout.evidence import MirrorGate, MirrorPairs
from fairway.stats.bernoulli import log_e_above, log_e_below
from fairway.units import Verdict

_EVEN = 0.5
"""Of the pairs in which one side alone failed, the share that is the shadow's when it is no worse."""


def judge_pairs(gate: MirrorGate, pairs: MirrorPairs | None) -> tuple[Verdict, str]:
    """Whether the shadow failed, where stable did not, in less than ``gate.margin`` of the compared pairs.

    PASS when an e-value against "in the margin or more" reaches 1/alpha_pass; what stable failed in turn is not set off
    against it. FAIL when two e-values reach 1/alpha_fail, one against "in the margin or less" and one against "of
    the pairs in which one side alone failed, at most half are the shadow's" (the sign test), so that an agent that
    fails now and then by itself is not blamed. Pairs that diverged are in neither; when they are too many, or those
    that count too few, nothing is decided.

    Returns:
        The verdict and one sentence with the figures; NO_DATA without enough pairs.

    Source: the mixtures of :mod:`fairway.stats.bernoulli`; error of PASS at most ``alpha_pass``, of FAIL at most
    ``alpha_fail``, however often one looks.
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
    if pairs.diverged > gate.max_diverged * (pairs.compared + pairs.diverged):
        return Verdict.INCONCLUSIVE, f"{told}; more than {gate.max_diverged:.0%} diverged, too few can be compared"
    if log_e_below(pairs.shadow_failed, pairs.compared, gate.margin, clean_weight=_EVEN) >= win:
        return Verdict.PASS, told
    return Verdict.INCONCLUSIVE, f"{told}; not decided"


def _told(pairs: MirrorPairs) -> str:
    aside = f", {pairs.diverged:,} diverged and are left out" if pairs.diverged else ""
    dropped = f", {pairs.dropped:,} were not mirrored for want of room" if pairs.dropped else ""
    return (
        f"of {pairs.compared:,} compared pairs the shadow alone failed in {pairs.shadow_failed:,}"
        f" and stable alone in {pairs.stable_failed:,}{aside}{dropped}"
    )
