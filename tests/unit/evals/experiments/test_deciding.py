"""Several variants against one control: together the verdicts err as rarely as one would, and no more is given up."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from dataclasses import replace

from fairway.evals.experiments.deciding import decide_variants
from fairway.evals.gating.decide import decide
from fairway.evals.gating.policy import EvalPolicy
from fairway.evals.trials import CaseTrials, Side
from fairway.evals.values import CaseOutcome
from fairway.stats.intervals import clopper_pearson
from fairway.units import Digest, Verdict

INSTRUMENT = Digest("sha256:" + "1" * 64)
POLICY = EvalPolicy(margin=0.05, alpha=0.05)


def side(name: str, outcomes: Sequence[bool], *, instrument: Digest = INSTRUMENT) -> Side:
    cases = tuple(
        CaseTrials(
            suite="s", case_id=str(n), cluster=str(n), outcomes=(CaseOutcome.PASSED if passed else CaseOutcome.FAILED,),
            scores=(None,), tokens=(100,), cost_micros=(50,), inclusion=(1.0,), attempts=(0,), waves=(0,),
        )
        for n, passed in enumerate(outcomes)
    )  # fmt: skip
    return Side(name=name, instrument=instrument, cases=cases)


def failing(cases: int, *fails: int) -> list[bool]:
    return [n not in fails for n in range(cases)]


def test_one_variant_is_decided_as_the_gate_decides():
    control, other = side("control", failing(200)), side("other", failing(200, *range(30)))
    assert decide_variants(control, {"other": other}, POLICY)["other"] == decide(other, control, POLICY)


def test_a_clear_loser_is_called_worse_among_many_and_the_others_are_not():
    control = side("control", failing(300, 1, 2))
    variants = {"bad": side("bad", failing(300, *range(60)))} | {
        f"same-{n}": side(f"same-{n}", failing(300, 1, 2)) for n in range(4)
    }
    found = decide_variants(control, variants, POLICY)
    assert found["bad"].verdict is Verdict.FAIL
    assert {found[f"same-{n}"].verdict for n in range(4)} == {Verdict.PASS}


def test_what_one_comparison_would_call_worse_is_not_enough_among_twenty():
    control = side("control", failing(200))
    worse = next(
        count
        for count in range(1, 40)
        if decide(side("x", failing(200, *range(count))), control, POLICY).verdict is Verdict.FAIL
    )
    borderline = side("borderline", failing(200, *range(worse)))
    variants = {"borderline": borderline} | {f"v{n}": side(f"v{n}", failing(200, n)) for n in range(19)}
    assert decide_variants(control, {"borderline": borderline}, POLICY)["borderline"].verdict is Verdict.FAIL
    assert decide_variants(control, variants, POLICY)["borderline"].verdict is not Verdict.FAIL


def test_holm_gives_back_what_a_decided_variant_no_longer_needs():
    control = side("control", failing(200))

    def verdict(count: int, level: float) -> Verdict:
        one = side("x", failing(200, *range(count)))
        return decide(one, control, replace(POLICY, alpha=level)).verdict

    count = next(n for n in range(1, 40) if verdict(n, 0.05) is Verdict.FAIL and verdict(n, 0.025) is not Verdict.FAIL)
    borderline = side("borderline", failing(200, *range(count)))
    with_a_loser = {"borderline": borderline, "bad": side("bad", failing(200, *range(80)))}
    with_another = {"borderline": borderline, "same": side("same", failing(200))}
    assert decide_variants(control, with_a_loser, POLICY)["borderline"].verdict is Verdict.FAIL
    assert decide_variants(control, with_another, POLICY)["borderline"].verdict is not Verdict.FAIL


def test_a_side_that_cannot_be_compared_is_an_error_and_never_a_pass():
    control = side("control", failing(300))
    odd = side("odd", failing(300), instrument=Digest("sha256:" + "2" * 64))
    assert decide_variants(control, {"odd": odd}, POLICY)["odd"].verdict is Verdict.ERROR


RUNS = int(os.environ.get("FAIRWAY_EVAL_EXPERIMENT_RUNS", "16"))
"""Experiments played; 400 take about 40 s."""


def test_without_a_difference_any_variant_is_called_worse_in_at_most_five_percent_of_experiments():
    dice = random.Random(11)
    wrong = 0
    for _ in range(RUNS):
        rates = [dice.betavariate(4, 1) for _ in range(60)]
        sides = [side(str(n), [dice.random() < rate for rate in rates]) for n in range(5)]
        found = decide_variants(sides[0], {one.name: one for one in sides[1:]}, POLICY)
        wrong += any(one.verdict is Verdict.FAIL for one in found.values())
    lower, _ = clopper_pearson(wrong, RUNS, confidence=0.98)
    print(f"{wrong} of {RUNS}")
    assert lower <= 0.05
