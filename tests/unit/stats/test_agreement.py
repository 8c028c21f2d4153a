from __future__ import annotations

from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.stats.agreement import cohen_kappa, sign_test


@pytest.mark.parametrize(
    ("table", "kappa"),
    [
        # the grant proposals of https://en.wikipedia.org/wiki/Cohen%27s_kappa, "Simple example" and "Same percentages"
        ([[20, 5], [10, 15]], 0.4),
        ([[45, 15], [25, 15]], 0.1304),
        ([[25, 35], [5, 35]], 0.2593),
        # Cohen 1960, table 1, as proportions of 200: p_o = .70, p_e = .41
        ([[88, 14, 18], [10, 40, 10], [2, 6, 12]], 0.4915),
        # Fleiss, Cohen and Everitt 1969, table 1: kappa .429
        ([[106, 10, 4], [22, 28, 10], [2, 12, 6]], 0.429),
    ],
)
def test_kappa_is_that_of_published_examples(table, kappa):
    assert cohen_kappa(table) == pytest.approx(kappa, abs=6e-4)


def test_kappa_of_full_agreement_is_1_and_of_chance_0():
    assert cohen_kappa([[7, 0], [0, 3]]) == 1
    assert cohen_kappa([[16, 4], [4, 1]]) == 0


@pytest.mark.parametrize("table", [[], [[0, 0], [0, 0]], [[9, 0], [0, 0]]])
def test_kappa_is_unknown_where_no_agreement_beyond_chance_could_be_seen(table):
    assert cohen_kappa(table) is None


def test_kappa_of_raters_with_different_categories_is_refused():
    with pytest.raises(ValueError, match="same categories"):
        cohen_kappa([[1, 2]])


TABLES = st.lists(st.lists(st.integers(0, 40), min_size=3, max_size=3), min_size=3, max_size=3)


@given(TABLES)
def test_kappa_is_at_most_1_and_the_same_with_the_raters_exchanged(table):
    kappa = cohen_kappa(table)
    turned = cohen_kappa([list(row) for row in zip(*table, strict=True)])
    assert kappa == turned
    assert kappa is None or kappa <= 1


def test_the_sign_test_is_the_binomial_tail():
    assert sign_test(0, 0) == 1
    assert sign_test(5, 0) == pytest.approx(1 / 32)
    assert sign_test(8, 2) == pytest.approx((comb(10, 8) + comb(10, 9) + 1) / 1024)
    assert sign_test(0, 6) == 1
