"""Adaptive repeats go where the outcome is in doubt, in a way the tests of the gate stay valid for."""

from __future__ import annotations

import itertools
import math
import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairway.evals.gating.adaptive import inclusion_chances, next_wave
from fairway.evals.gating.decide import decide
from fairway.evals.gating.matching import difference_at, pair_sides
from fairway.evals.gating.policy import WAVES, EvalPolicy
from fairway.evals.trials import CaseTrials, Side
from fairway.evals.values import CaseOutcome
from fairway.testing.modelled_suites import Played, World, tau_bench
from fairway.units import Digest, Verdict

P, F, E = CaseOutcome.PASSED, CaseOutcome.FAILED, CaseOutcome.ERROR
ADAPTIVE = EvalPolicy(adaptive=True)


def side(*rows: list[CaseOutcome], **more) -> Side:
    return Side(
        name="x",
        instrument=Digest("sha256:" + "1" * 64),
        cases=tuple(
            CaseTrials(
                suite="s",
                case_id=f"c{index}",
                cluster=f"c{index}",
                outcomes=tuple(row),
                tokens=(None,) * len(row),
                cost_micros=(None,) * len(row),
                **more,
            )
            for index, row in enumerate(rows)
        ),
    )


MIXED = [[P]] * 45 + [[F]] * 45 + [[P], [F]] * 5
OTHERS = [[P]] * 45 + [[F]] * 45 + [[F], [P]] * 5
NARROW = EvalPolicy(adaptive=True, margin=0.03)
"""A margin that a suite of a hundred cannot exclude in the first wave."""


def test_a_wave_plays_both_sides_alike_and_goes_on_counting():
    wave = next_wave(side(*MIXED), side(*OTHERS), NARROW, wave=1, seed=1)
    assert wave
    assert {one.index for one in wave} == {1}
    assert {one.wave for one in wave} == {1}
    assert {one.inclusion for one in wave} <= {1.0, 0.5, 0.25}
    assert len({(one.suite, one.case_id) for one in wave}) == len(wave)


def test_cases_whose_sides_disagree_are_always_played_and_agreeing_ones_less():
    chances = inclusion_chances([(2, 2)] * 45 + [(0, 2)] * 45 + [(1, 2)] * 10)
    assert set(chances[90:]) == {1.0}
    assert max(chances[:90]) < 1.0
    assert min(chances) >= 0.25


def test_two_equal_outcomes_say_more_where_cases_hardly_ever_disagree_with_themselves():
    steady, flaky = inclusion_chances([(2, 2)] * 95 + [(1, 2)] * 5), inclusion_chances([(2, 2)] * 20 + [(1, 2)] * 80)
    assert steady[0] < flaky[0]


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), max_size=30))
def test_every_case_can_be_played_whatever_was_seen(counts):
    chances = inclusion_chances([(min(pair), max(pair)) for pair in counts])
    assert all(0.25 <= one <= 1.0 for one in chances)


def test_swapping_the_sides_chooses_the_same_trials():
    one = next_wave(side(*MIXED), side(*OTHERS), NARROW, wave=1, seed=5)
    other = next_wave(side(*OTHERS), side(*MIXED), NARROW, wave=1, seed=5)
    assert one == other


def test_swapping_the_sides_of_single_cases_chooses_the_same_trials():
    swapped = [
        (theirs, mine) if index % 3 == 0 else (mine, theirs)
        for index, (mine, theirs) in enumerate(zip(MIXED, OTHERS, strict=True))
    ]
    one = next_wave(side(*MIXED), side(*OTHERS), NARROW, wave=1, seed=5)
    other = next_wave(side(*(a for a, _ in swapped)), side(*(b for _, b in swapped)), ADAPTIVE, wave=1, seed=5)
    assert one == other


def test_the_seed_decides_and_nothing_else():
    waves = {next_wave(side(*MIXED), side(*OTHERS), NARROW, wave=1, seed=seed) for seed in (1, 1, 2)}
    assert len(waves) == 2


def test_an_adaptive_run_is_judged_by_the_alpha_of_its_waves_whoever_asks():
    played = next(one for one in map(_played, range(20)) if one.trials > 80)
    mine, theirs = played.sides()
    asked, other = decide(mine, theirs, ADAPTIVE), decide(mine, theirs, EvalPolicy())
    assert (asked.verdict, asked.quality) == (other.verdict, other.quality)


def test_what_is_decided_is_played_no_more():
    same = side(*[[P]] * 200)
    assert next_wave(same, same, ADAPTIVE, wave=1, seed=1) == ()


@pytest.mark.parametrize("wave", [WAVES, WAVES + 3])
def test_after_the_last_wave_there_is_none(wave):
    assert next_wave(side(*MIXED), side(*OTHERS), NARROW, wave=wave, seed=1) == ()


def test_a_case_is_never_played_more_often_than_its_limit():
    assert next_wave(side(*MIXED, max_repeat=1), side(*OTHERS, max_repeat=1), ADAPTIVE, wave=1, seed=1) == ()
    assert next_wave(side(*MIXED), side(*OTHERS), replace(ADAPTIVE, max_repeat=1), wave=1, seed=1) == ()
    played = _played(seed=4, policy=replace(ADAPTIVE, max_repeat=4))
    assert max(len(rows) for rows in played.mine) <= 4


def test_without_a_baseline_or_with_a_run_that_broke_nothing_is_added():
    assert next_wave(side(*MIXED), None, ADAPTIVE, wave=1, seed=1) == ()
    assert next_wave(replace(side(*MIXED), complete=False), side(*OTHERS), NARROW, wave=1, seed=1) == ()
    assert next_wave(side([E], *MIXED[1:]), side(*OTHERS), NARROW, wave=1, seed=1) == ()


@pytest.mark.parametrize(("wave", "policy"), [(0, ADAPTIVE), (1, EvalPolicy())])
def test_a_wave_nobody_spends_alpha_on_is_refused(wave, policy):
    with pytest.raises(ValueError, match="waves are planned"):
        next_wave(side(*MIXED), side(*OTHERS), policy, wave=wave, seed=1)


def _played(seed: int, policy: EvalPolicy = ADAPTIVE, cases: int = 80) -> Played:
    dice = random.Random(seed)
    rates = tau_bench(cases, dice)
    played = Played(World(baseline=rates, candidate=rates), dice)
    played.attempt(policy, seed=seed)
    return played


def test_an_adaptive_attempt_spends_its_calls_on_cases_in_doubt():
    dice = random.Random(8)
    rates = (0.5,) * 30 + (1.0,) * 170
    played = Played(World(baseline=rates, candidate=rates), dice)
    played.attempt(replace(ADAPTIVE, margin=0.015), seed=8)
    doubtful = sum(len(rows) for rows in played.mine[:30]) / 30
    sure = sum(len(rows) for rows in played.mine[30:]) / 170
    assert doubtful > 1.7 * sure


@given(st.floats(0, 1), st.floats(0, 1))
def test_weighted_by_their_chance_adaptive_trials_give_an_unbiased_difference(mine, theirs):
    """Over all that can happen: a trial a side, then another, always where they disagreed and else by chance."""
    expected = 0.0
    for first in itertools.product((P, F), repeat=2):
        chance = 1.0 if first[0] is not first[1] else 0.25
        start = _likely(first, mine, theirs)
        expected += start * (1 - chance) * _difference(first, None, chance)
        for second in itertools.product((P, F), repeat=2):
            expected += start * chance * _likely(second, mine, theirs) * _difference(first, second, chance)
    assert expected == pytest.approx(mine - theirs, abs=1e-9)


def _likely(outcomes: tuple[CaseOutcome, CaseOutcome], mine: float, theirs: float) -> float:
    rates = zip(outcomes, (mine, theirs), strict=True)
    return math.prod(rate if outcome is P else 1 - rate for outcome, rate in rates)


def _difference(
    first: tuple[CaseOutcome, CaseOutcome], second: tuple[CaseOutcome, CaseOutcome] | None, chance: float
) -> float:
    """What the gate makes of one case after the second wave; a neighbour was played, so that there was one."""
    sides = []
    for index in range(2):
        rows = [first[index], *([second[index]] if second else [])]
        both = {"inclusion": (1.0, chance), "waves": (0, 1)}
        case = side(rows, **{key: values[: len(rows)] for key, values in both.items()}).cases[0]
        neighbour = replace(side([P, P], **both).cases[0], case_id="neighbour", cluster="neighbour")
        sides.append(replace(side(), cases=(case, neighbour)))
    pairing = pair_sides(*sides, max_repeat=8)
    value = difference_at(pairing.cases[0], *pairing.upto((0, 1)))
    assert value is not None
    return value


@settings(max_examples=5)
@given(st.integers(0, 1000))
def test_the_same_seed_gives_the_same_course(seed):
    one, other = _played(seed, cases=30), _played(seed, cases=30)
    assert (one.mine, one.theirs) == (other.mine, other.theirs)


def test_the_lead_it_had_in_the_first_wave_is_no_pass_of_its_own():
    """With the alpha of the first of four waves 63 clean cases are too few, with that of the only look enough."""
    clean = side(*[[P]] * 63)
    assert decide(clean, clean, EvalPolicy()).verdict is Verdict.PASS
    assert decide(clean, clean, ADAPTIVE).verdict is Verdict.INCONCLUSIVE
