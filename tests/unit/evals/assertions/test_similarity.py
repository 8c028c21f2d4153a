from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.evals.assertions.similarity import bleu, distance, rouge_l, rouge_n, tokens

WORDS = st.lists(st.sampled_from(["the", "cat", "sat", "on", "mat"]), max_size=7).map(" ".join)
SHORT = st.text("abc", max_size=7)


def plain_distance(first: str, second: str) -> int:
    """The textbook recurrence over the whole table."""
    row = list(range(len(second) + 1))
    for at, char in enumerate(first, start=1):
        diagonal, row[0] = row[0], at
        for column, other in enumerate(second, start=1):
            diagonal, row[column] = row[column], min(row[column] + 1, row[column - 1] + 1, diagonal + (char != other))
    return row[-1]


@given(SHORT, SHORT, st.integers(0, 8))
def test_the_bounded_distance_is_the_distance_or_says_it_is_more(first, second, most):
    whole = plain_distance(first, second)
    assert distance(first, second, most) == (whole if whole <= most else None)


def test_a_small_limit_stays_cheap_on_long_texts():
    text = "refund " * 20_000
    assert distance(text, text[:-1] + "x", 5) == 1
    assert distance(text, "x" * len(text), 5) is None


@given(WORDS, WORDS)
def test_likeness_is_between_0_and_1_symmetric_and_1_for_the_same_words(first, second):
    for score in (rouge_n(first, second), rouge_n(first, second, 2), rouge_l(first, second)):
        assert 0 <= score <= 1
    assert rouge_n(first, second) == rouge_n(second, first)
    assert rouge_l(first, second) == rouge_l(second, first)
    assert rouge_l(first, second) <= rouge_n(first, second) + 1e-12
    assert 0 <= bleu(first, [second]) <= 1
    if first:
        assert rouge_n(first, first) == rouge_l(first, first) == 1
        assert bleu(first, [second, first]) == pytest.approx(1)


def test_published_examples():
    # Lin 2004, section 3.1: "police killed the gunman" against S2 and S3
    reference = "police killed the gunman"
    assert rouge_l("police kill the gunman", reference) == pytest.approx(0.75)
    assert rouge_l("the gunman kill police", reference) == pytest.approx(0.5)
    # Papineni et al. 2002, section 2.1: clipped unigrams, "the" counts twice of seven
    clipped = rouge_n("the the the the the the the", "the cat is on the mat")
    assert clipped == pytest.approx(2 * 2 / (7 + 6))


def test_words_are_split_much_as_the_treebank_does():
    assert tokens("Don't, it's 3.5!") == ["do", "n't", ",", "it", "'s", "3.5", "!"]
