# ruff: noqa: RUF002 - Greek letters and minus signs stand as in the papers
"""Where more repeats are worth their calls: the next wave of an adaptive evaluation."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

from fairway.evals.gating.decide import decide
from fairway.evals.gating.matching import WAVE_REPEATS, Matched, pair_sides
from fairway.evals.gating.policy import WAVES, EvalPolicy
from fairway.evals.trials import Side
from fairway.evals.values import CaseOutcome
from fairway.units import Verdict

_CHANCES = (1.0, 0.5, 0.25)
"""Probabilities a case can be played with: their inverses are whole, and none is near 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A trial to be played on both sides.

    Attributes:
        index: Which repeat of the case, from 0.
        inclusion: Probability with which its case was chosen for this wave.
        wave: To be kept with the trial, like ``inclusion``.
    """

    suite: str
    case_id: str
    index: int
    inclusion: float
    wave: int


def next_wave(
    candidate: Side, baseline: Side | None, policy: EvalPolicy, *, wave: int, seed: int
) -> tuple[Planned, ...]:
    """The trials to play next, on both sides alike; none when it is decided, or no wave is left.

    Each case is played with a probability in proportion to the spread its trials still have (Neyman 1934), in steps of
    a half, at least a quarter. Which cases are in doubt is read from both sides' trials together, so that swapping the
    sides changes nothing: the randomisation test of the gate stays exact. A wave plays 1, 2 and 4 repeats of a case.

    Args:
        candidate: With every trial of the attempts so far.
        baseline: The same cases, played as often; ``None``: there is nothing to add to.
        policy: Must be ``adaptive``; its ``max_repeat`` and the cases' own end the waves.
        wave: The number of the wave to plan, from 1; 0 is what the suites plan and is not asked for here.
        seed: The same one gives the same choice.

    Raises:
        ValueError: ``wave`` below 1, or a policy that does not spend its alpha over waves.
    """
    if wave < 1 or not policy.adaptive:
        raise ValueError("waves are planned from 1 on, for an adaptive policy")
    if baseline is None or wave >= WAVES or not _in_doubt(candidate, baseline, policy):
        return ()
    cases = [case for case in pair_sides(candidate, baseline, max_repeat=policy.max_repeat).cases if case.extra[wave]]
    chances = inclusion_chances([_both(case) for case in cases])
    chosen = [
        (case, chance)
        for case, chance in zip(cases, chances, strict=True)
        if _drawn(case, wave=wave, attempt=_attempt(case), seed=seed) < chance
    ]
    return tuple(
        Planned(
            suite=case.candidate.suite,
            case_id=case.candidate.case_id,
            index=_played(case) + repeat,
            inclusion=chance,
            wave=wave,
        )
        for case, chance in chosen
        for repeat in range(WAVE_REPEATS[wave])
    )


def _in_doubt(candidate: Side, baseline: Side, policy: EvalPolicy) -> bool:
    """Whether it is undecided, and for want of trials."""
    for side in (candidate, baseline):
        if not side.complete or (side.judge and side.judge.problem):
            return False
    return decide(candidate, baseline, policy).verdict is Verdict.INCONCLUSIVE


def inclusion_chances(counts: Sequence[tuple[int, int]]) -> tuple[float, ...]:
    """The probability of each case to be played, from its passed and decided trials on both sides together.

    A case's spread is the mean of ``p(1 − p)`` after its trials, when its rate comes from a beta distribution that has
    the suite's mean and its mean spread: where cases hardly ever disagree with themselves, two equal outcomes say more.
    """
    a, b = _prior(counts)
    spreads = [
        math.sqrt((a + passed) * (b + trials - passed) / ((a + b + trials) * (a + b + trials + 1)))
        for passed, trials in counts
    ]
    most = max(spreads, default=1.0)
    return tuple(next((one for one in reversed(_CHANCES) if one >= spread / most), 1.0) for spread in spreads)


def _prior(counts: Sequence[tuple[int, int]]) -> tuple[float, float]:
    """The beta distribution with the seen mean and the seen disagreement within cases; never sharper than 10 trials."""
    repeated = [(passed, trials) for passed, trials in counts if trials >= 2]
    total = sum(trials for _, trials in repeated)
    if not total:
        return 0.5, 0.5
    mean = (sum(passed for passed, _ in repeated) + 0.5) / (total + 1)
    apart = [passed * (trials - passed) / (trials * (trials - 1)) for passed, trials in repeated]
    share = min((sum(apart) + 0.1) / len(apart) / (mean * (1 - mean)), 0.9)
    strength = min(max(share / (1 - share), 0.1), 10.0)
    return mean * strength, (1 - mean) * strength


def _both(case: Matched) -> tuple[int, int]:
    outcomes = (*case.candidate.outcomes, *case.baseline.outcomes)
    passed = outcomes.count(CaseOutcome.PASSED)
    return passed, passed + outcomes.count(CaseOutcome.FAILED)


def _played(case: Matched) -> int:
    """Repeats of the latest attempt, whose index the next ones continue."""
    attempt = _attempt(case)
    return sum(one.played for (number, _), one in case.mine.items() if number == attempt)


def _attempt(case: Matched) -> int:
    return max((attempt for attempt, _ in case.mine), default=0)


def _drawn(case: Matched, *, wave: int, attempt: int, seed: int) -> float:
    """A number in [0, 1) that depends on the seed and on which case it is, never on what was seen."""
    text = f"{seed}\0{attempt}\0{wave}\0{case.candidate.suite}\0{case.candidate.case_id}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=7).digest()) / 2**56
