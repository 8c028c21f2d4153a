# ruff: noqa: RUF002 - minus signs and Greek letters stand as in the papers
"""Is the candidate worse than the baseline, or not worse by the margin? Every look of every attempt, at its alpha.

REGRESSION is a randomisation test (:mod:`fairway.stats.swaps`). PASS is a score test against a fall by the margin in
the first attempt (:mod:`fairway.stats.paired_score`; Tango's, with one trial a case), and from the second attempt on a
bet over all attempts (:mod:`fairway.stats.suite_bets`). The last look that decided counts; since the looks' alphas sum
to the policy's, a verdict that is wrong anywhere on the way has at most its chance.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

from fairway.evals.gating.decision import Interval, Quality
from fairway.evals.gating.matching import Look, Matched, Pairing, Tally, Upto, decided_at, difference_at, played_at
from fairway.evals.gating.policy import EvalPolicy
from fairway.stats.paired_score import lower_bound, score_above
from fairway.stats.suite_bets import Round, log_wealth, mean_bound
from fairway.stats.swaps import arms_p, swap_p
from fairway.units import Verdict

_NORMAL = NormalDist()

_FRESH_SHARE = 0.75
"""Share of the alpha of later attempts for those that ask both sides anew; the rest is for a reused baseline."""

_DIGITS = 9
"""Differences that agree to so many digits are one value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """The differences at a look.

    Attributes:
        plain: Of each case, ``None`` where one side decided nothing.
        worst: Of each case, what could not be decided counting against the candidate.
    """

    mine: Upto
    theirs: Upto
    plain: tuple[float | None, ...]
    worst: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """What one look found; ``verdict`` is INCONCLUSIVE when it decided nothing."""

    look: Look
    p_value: float
    alpha: float
    within: bool
    verdict: Verdict


def compare_quality(pairing: Pairing, policy: EvalPolicy) -> tuple[Verdict, Quality]:
    """The verdict over all looks, PASS, FAIL or INCONCLUSIVE, and the figures of the last one.

    Args:
        pairing: With at least one case, and a trial of it on the candidate.
        policy: The same at every look.
    """
    played = _wave_rounds(pairing)
    decided: Looked | None = None
    for look in pairing.looks:
        seen = see(pairing, look)
        looked = _look(pairing, seen, look, policy, rounds(pairing, seen, played))
        if looked.verdict is not Verdict.INCONCLUSIVE:
            decided = looked
    verdict = decided.verdict if decided else Verdict.INCONCLUSIVE
    interval = _interval(pairing, seen, looked, policy, rounds(pairing, seen, played))
    return verdict, _figures(pairing, seen, looked, interval, decided.look if decided else None)


def see(pairing: Pairing, look: Look) -> Seen:
    """The differences of all cases from the trials up to a look."""
    mine, theirs = pairing.upto(look)
    plain = tuple(difference_at(case, mine, theirs) for case in pairing.cases)
    worst = tuple(
        value if value is not None and case.all_decided else _worst(case, mine, theirs)
        for case, value in zip(pairing.cases, plain, strict=True)
    )
    return Seen(mine=mine, theirs=theirs, plain=plain, worst=worst)


def cluster_means(pairing: Pairing, values: Sequence[float | None]) -> list[float]:
    """One value a cluster, scaled so that their mean is the mean over cases."""
    scale = len(pairing.clusters) / len(pairing.cases)
    return [scale * sum(values[index] or 0.0 for index in members) for members in pairing.clusters]


def floor_holds(pairing: Pairing, margin: float, alpha: float) -> bool:
    """Whether there are enough clusters that a suite without one failure excludes a fall by ``margin``.

    ``(1 − m)^n ≤ α``; for clusters of different sizes as if the broken ones were the largest.
    """
    count = len(pairing.clusters)
    broken = margin * len(pairing.cases) / (count * pairing.widest)
    return alpha > 0 and count * math.log1p(-broken) <= math.log(alpha) + 1e-9


def _look(pairing: Pairing, seen: Seen, look: Look, policy: EvalPolicy, played: Sequence[Round]) -> Looked:
    alpha = policy.worse_alpha(*look)
    p_value = _p_value(pairing, seen)
    if look[0] == 0:
        spent = policy.within_alpha(look[1])
        within = floor_holds(pairing, policy.margin, spent) and _by_score(pairing, seen, policy.margin, spent)
    else:
        within = log_wealth(played, policy.margin) >= log_needed(pairing, look, policy)
    worse = p_value <= alpha
    verdict = Verdict.PASS if within else Verdict.FAIL if worse else Verdict.INCONCLUSIVE
    return Looked(look=look, p_value=p_value, alpha=alpha, within=within, verdict=verdict)


def _p_value(pairing: Pairing, seen: Seen) -> float:
    """By swapping whole clusters; by dealing trials where the arms ran differently often and no cluster binds cases."""
    alone = len(pairing.clusters) == len(pairing.cases) and not any(seen.mine.values())
    if alone and not all(_equally_often(case, seen) for case in pairing.cases):
        counts = [
            (*decided_at(case.mine, seen.mine), *decided_at(case.theirs, seen.theirs))
            for case, value in zip(pairing.cases, seen.plain, strict=True)
            if value is not None
        ]
        return arms_p(counts)
    return swap_p(cluster_means(pairing, seen.plain) if len(pairing.clusters) < len(pairing.cases) else _known(seen))


def _known(seen: Seen) -> list[float]:
    return [value for value in seen.plain if value is not None]


def _by_score(pairing: Pairing, seen: Seen, margin: float, alpha: float) -> bool:
    values, lowest = _grouped(pairing, seen.worst)
    return score_above(values, -margin, lowest) >= _NORMAL.inv_cdf(1 - alpha)


def _grouped(pairing: Pairing, differences: Sequence[float]) -> tuple[Counter[float], float]:
    values = Counter(round(value, _DIGITS) for value in cluster_means(pairing, differences))
    lowest = -pairing.widest * len(pairing.clusters) / len(pairing.cases)
    return values, min(lowest, *values)


def log_needed(pairing: Pairing, look: Look, policy: EvalPolicy) -> float:
    """What the log wealth must reach after the first attempt: for good with a fresh baseline, else at each look."""
    if pairing.fresh:
        return -math.log(policy.later_within_alpha * _FRESH_SHARE)
    attempt = look[0]
    return -math.log(policy.later_within_alpha * (1 - _FRESH_SHARE) / (attempt * (attempt + 1)))


def rounds(pairing: Pairing, seen: Seen, played: Mapping[Look, Round]) -> tuple[Round, ...]:
    """The rounds to bet on: each wave that both sides played fresh, else one over all planned trials."""
    if pairing.fresh or len(pairing.looks) == 1:
        return tuple(one for (attempt, wave), one in played.items() if wave <= seen.mine.get(attempt, -1))
    mine, theirs = dict.fromkeys(seen.mine, 0), dict.fromkeys(seen.theirs, 0)
    return (_round(pairing, [_worst(case, mine, theirs) for case in pairing.cases], -1.0),)


def _wave_rounds(pairing: Pairing) -> Mapping[Look, Round]:
    """The waves that every case could be chosen for; none while nobody bets, in the first attempt."""
    if len(pairing.theirs) == 1 or not pairing.fresh:
        return {}
    whole = [key for key in pairing.looks if key[1] == 0 or all(case.extra[key[1]] for case in pairing.cases)]
    return {key: _wave_round(pairing, key) for key in whole}


def _wave_round(pairing: Pairing, key: Look) -> Round:
    """What one wave showed; a case it did not choose counts as 0 (see :mod:`fairway.stats.suite_bets`)."""
    chance = min(one[key].inclusion for case in pairing.cases for one in (case.mine, case.theirs) if key in one)
    differences = [_weighted(case.mine.get(key), 0.0) - _weighted(case.theirs.get(key), 1.0) for case in pairing.cases]
    return _round(pairing, differences, -1.0 / chance)


def _weighted(one: Tally | None, undecided: float) -> float:
    return 0.0 if one is None else (one.rate(undecided) or 0.0) / one.inclusion


def _round(pairing: Pairing, differences: Sequence[float], lowest: float) -> Round:
    sums = [
        (round(sum(differences[index] for index in members), _DIGITS), len(members)) for members in pairing.clusters
    ]
    return Round(clusters=Counter(sums), lowest=lowest)


def _figures(pairing: Pairing, seen: Seen, looked: Looked, interval: Interval, decided: Look | None) -> Quality:
    mine = [decided_at(case.mine, seen.mine) for case in pairing.cases]
    theirs = [decided_at(case.theirs, seen.theirs) for case in pairing.cases]
    once = all(trials <= 1 for _, trials in (*mine, *theirs))
    return Quality(
        cases=len(pairing.cases),
        clusters=len(pairing.clusters),
        trials=(sum(trials for _, trials in mine), sum(trials for _, trials in theirs)),
        candidate=_mean_rate(mine),
        baseline=_mean_rate(theirs),
        difference=interval,
        p_regression=looked.p_value,
        alpha=looked.alpha,
        within_margin=looked.within,
        rule="betting" if looked.look[0] else "tango" if once else "score",
        attempt=looked.look[0],
        wave=looked.look[1],
        decided=decided,
    )


def _interval(pairing: Pairing, seen: Seen, looked: Looked, policy: EvalPolicy, played: Sequence[Round]) -> Interval:
    """Bounds by the rule that decides: the lower one is above −margin when the look passes, but for the floor."""
    known = _known(seen)
    estimate = sum(known) / len(known) if known else 0.0
    if looked.look[0]:
        needed = log_needed(pairing, looked.look, policy)
        low, high = mean_bound(played, needed), -mean_bound([_mirrored(one) for one in played], needed)
        return Interval(estimate=estimate, low=low, high=high, confidence=1 - 2 * math.exp(-needed))
    alpha = max(policy.within_alpha(looked.look[1]), 1e-6)
    z = _NORMAL.inv_cdf(1 - alpha)
    values, lowest = _grouped(pairing, seen.worst)
    others, lowest_other = _grouped(pairing, [-(value or 0.0) for value in seen.plain])
    low, high = lower_bound(values, z, lowest), -lower_bound(others, z, lowest_other)
    return Interval(estimate=estimate, low=max(-1.0, low), high=min(1.0, high), confidence=1 - 2 * alpha)


def _mirrored(one: Round) -> Round:
    return Round(clusters={(-total, cases): often for (total, cases), often in one.clusters.items()}, lowest=one.lowest)


def _mean_rate(counts: Sequence[tuple[int, int]]) -> float:
    """Mean over cases of the share that passed, of those with a decided trial."""
    rates = [passed / trials for passed, trials in counts if trials]
    return sum(rates) / len(rates) if rates else 0.0


def _equally_often(case: Matched, seen: Seen) -> bool:
    return played_at(case.mine, seen.mine) == played_at(case.theirs, seen.theirs)


def _worst(case: Matched, mine: Upto, theirs: Upto) -> float:
    value = difference_at(case, mine, theirs, worst=True)
    return -1.0 if value is None else value
