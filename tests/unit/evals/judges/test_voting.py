from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.evals.judges.answer import Graded
from fairway.evals.judges.settings import PanelRule
from fairway.evals.judges.voting import Vote, tally
from fairway.evals.values import Found

SCORES = (0.0, 0.4, 0.7, 1.0)


def vote(score: float | None, model: str = "m", repeat: int = 0, missing: Found = Found.INVALID) -> Vote:
    if score is None:
        return Vote(model=model, repeat=repeat, missing=missing, problem="it is broken")
    return Vote(model=model, repeat=repeat, grade=Graded(score=score, grade=str(score), reason=f"worth {score}"))


def votes(rows: list[list[float | None]]) -> list[Vote]:
    """One row a model."""
    return [vote(score, f"m{row}", number) for row, scores in enumerate(rows) for number, score in enumerate(scores)]


PANELS = st.integers(1, 3).flatmap(
    lambda repeats: st.lists(
        st.lists(st.sampled_from([*SCORES, None]), min_size=repeats, max_size=repeats), min_size=1, max_size=3
    )
)


@given(rows=PANELS, rule=st.sampled_from(PanelRule), threshold=st.sampled_from([0.1, 0.4, 0.5, 0.7, 1.0]))
def test_an_outcome_stands_exactly_when_no_missing_vote_could_have_turned_it(rows, rule, threshold):
    found = tally(votes(rows), rule=rule, threshold=threshold).found
    places = [(row, number) for row, scores in enumerate(rows) for number, score in enumerate(scores) if score is None]
    possible = set()
    for guess in itertools.product((0.0, 1.0), repeat=len(places)):
        whole = [list(scores) for scores in rows]
        for (row, number), score in zip(places, guess, strict=True):
            whole[row][number] = score
        possible.add(tally(votes(whole), rule=rule, threshold=threshold).found)
    assert found is (possible.pop() if len(possible) == 1 else Found.INVALID)


@given(rows=PANELS, rule=st.sampled_from(PanelRule), threshold=st.sampled_from([0.4, 0.7]))
def test_not_turns_a_decided_outcome_round_and_leaves_an_open_one(rows, rule, threshold):
    plain = tally(votes(rows), rule=rule, threshold=threshold)
    turned = tally(votes(rows), rule=rule, threshold=threshold, negated=True)
    other = {Found.HELD: Found.VIOLATED, Found.VIOLATED: Found.HELD}
    assert turned.found is other.get(plain.found, plain.found)
    assert (plain.score is None) == (turned.score is None)


@given(rows=PANELS, rule=st.sampled_from(PanelRule), threshold=st.sampled_from([0.4, 0.7]))
def test_the_score_is_between_0_and_1_and_none_exactly_when_it_is_open(rows, rule, threshold):
    counted = tally(votes(rows), rule=rule, threshold=threshold)
    decided = counted.found in (Found.HELD, Found.VIOLATED)
    assert (counted.score is not None) == decided
    assert counted.score is None or 0.0 <= counted.score <= 1.0
    if counted.found is Found.HELD:
        assert counted.score is not None
        assert counted.score >= threshold


@given(scores=st.lists(st.sampled_from(SCORES), min_size=1, max_size=9), threshold=st.sampled_from([0.4, 0.7, 1.0]))
def test_the_majority_rule_holds_exactly_when_more_than_half_of_the_votes_do(scores, threshold):
    cast = [vote(score, f"m{number}") for number, score in enumerate(scores)]
    held = tally(cast, rule=PanelRule.MAJORITY, threshold=threshold).found is Found.HELD
    assert held == (2 * sum(score >= threshold for score in scores) > len(scores))


@given(scores=st.lists(st.sampled_from(SCORES), min_size=1, max_size=9), threshold=st.sampled_from([0.4, 0.7, 1.0]))
def test_the_unanimous_rule_holds_exactly_when_all_votes_do(scores, threshold):
    cast = [vote(score, f"m{number}") for number, score in enumerate(scores)]
    held = tally(cast, rule=PanelRule.UNANIMOUS, threshold=threshold).found is Found.HELD
    assert held == all(score >= threshold for score in scores)


@pytest.mark.parametrize("rule", PanelRule)
@pytest.mark.parametrize("threshold", [0.0, 0.7])
@pytest.mark.parametrize("negated", [False, True])
@pytest.mark.parametrize("missing", [Found.INVALID, Found.ERROR, Found.UNKNOWN])
def test_votes_that_were_never_cast_decide_nothing_whatever_the_threshold(rule, threshold, negated, missing):
    cast = [vote(None, f"m{number}", missing=missing) for number in range(3)]
    assert tally(cast, rule=rule, threshold=threshold, negated=negated).found is missing


def test_an_error_is_told_before_an_invalid_answer_and_that_before_an_unknown_one():
    for several, told in (
        ((Found.UNKNOWN, Found.INVALID, Found.ERROR), Found.ERROR),
        ((Found.UNKNOWN, Found.INVALID), Found.INVALID),
    ):
        cast = [vote(None, f"m{number}", missing=one) for number, one in enumerate(several)]
        assert tally(cast, rule=PanelRule.MAJORITY, threshold=0.7).found is told


def test_one_model_that_repeats_often_has_one_vote():
    cast = [*(vote(1.0, "a", number) for number in range(5)), vote(0.0, "b"), vote(0.0, "c")]
    assert tally(cast, rule=PanelRule.MAJORITY, threshold=0.7).found is Found.VIOLATED


def test_the_reason_shown_is_that_of_a_vote_that_decided():
    cast = [vote(1.0, "a"), vote(0.4, "b"), vote(0.0, "c")]
    shown = tally(cast, rule=PanelRule.MAJORITY, threshold=0.7).shown
    assert shown is not None
    assert shown.model == "b"


def test_agreement_is_the_share_of_the_most_frequent_vote():
    cast = [vote(1.0, "a"), vote(1.0, "b"), vote(None, "c")]
    assert tally(cast, rule=PanelRule.MAJORITY, threshold=0.7).agreement == pytest.approx(2 / 3)
