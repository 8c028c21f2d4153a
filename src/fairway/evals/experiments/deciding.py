"""Every variant against the control, so that all verdicts together err as rarely as one would. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from fairway.evals.gating.decide import decide
from fairway.evals.gating.decision import EvalDecision
from fairway.evals.gating.matching import pair_sides
from fairway.evals.gating.policy import EvalPolicy
from fairway.evals.gating.quality import compare_quality
from fairway.evals.trials import Side
from fairway.units import Verdict


def decide_variants(control: Side, variants: Mapping[str, Side], policy: EvalPolicy) -> dict[str, EvalDecision]:
    """The decision about each variant, with Holm's correction over them.

    "Worse" and "not worse by the margin" are a family of hypotheses each. All variants are first tested at ``alpha /
    m``; whenever some are decided, the rest are tested at ``alpha`` over those that are left. The probability that any
    variant is called worse without being so, and that any is passed that is worse by the margin, is at most ``alpha``.

    Source: Holm 1979; with tests that only say whether they reject at a level, which is all his procedure asks of them.

    Args:
        control: What every variant is compared with.
        variants: By name.
        policy: ``alpha`` is that of the whole family.
    """
    worse = _levels(control, variants, policy, Verdict.FAIL)
    within = _levels(control, variants, policy, Verdict.PASS)
    return {name: _decided(control, side, policy, worse[name], within[name]) for name, side in variants.items()}


def _levels(control: Side, variants: Mapping[str, Side], policy: EvalPolicy, wanted: Verdict) -> dict[str, float]:
    """The level at which each variant's hypothesis was tested last."""
    left = list(variants)
    levels: dict[str, float] = {}
    while left:
        level = policy.alpha / len(left)
        levels |= dict.fromkeys(left, level)
        rejected = [name for name in left if _quality(control, variants[name], policy, level) is wanted]
        if not rejected:
            break
        left = [name for name in left if name not in rejected]
    return levels


def _quality(control: Side, side: Side, policy: EvalPolicy, level: float) -> Verdict:
    if side.instrument != control.instrument:
        return Verdict.INCONCLUSIVE
    pairing = pair_sides(side, control, max_repeat=policy.max_repeat)
    if not (pairing.looks and pairing.theirs):
        return Verdict.INCONCLUSIVE
    return compare_quality(pairing, replace(policy, alpha=level))[0]


def _decided(control: Side, side: Side, policy: EvalPolicy, worse: float, within: float) -> EvalDecision:
    """The gate's decision at the level that is due: it may not call worse at the one for passing, nor the reverse."""
    if _quality(control, side, policy, worse) is Verdict.FAIL:
        return decide(side, control, replace(policy, alpha=worse))
    if _quality(control, side, policy, within) is Verdict.PASS:
        return decide(side, control, replace(policy, alpha=within))
    return decide(side, control, replace(policy, alpha=min(worse, within)))
