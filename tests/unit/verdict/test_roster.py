"""Values that grow share memory and never change."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fairway.observe.quantile import merged, quantile
from fairway.units import UnitHash
from fairway.verdict.roster import NOBODY, NOTHING, Roster, Spread

GROUPS = st.lists(st.frozensets(st.integers(0, 30).map(lambda n: UnitHash(f"{n:016x}")), max_size=6), max_size=12)
HISTOGRAMS = st.lists(st.dictionaries(st.integers(-20, 40), st.integers(1, 9), max_size=5), min_size=1, max_size=25)


@given(GROUPS, st.randoms(use_true_random=False))
def test_a_roster_holds_what_it_was_grown_by_whoever_else_grew_from_it(groups, rng) -> None:
    known: list[tuple[Roster, frozenset[UnitHash]]] = [(NOBODY, frozenset())]
    for group in groups:
        roster, units = rng.choice(known)
        known.append((roster.grown(group), units | group))
        for seen, expected in known:
            assert len(seen) == len(expected)
            assert frozenset(seen) == expected
            assert seen.missing(group) == group - expected
            assert all((unit in seen) == (unit in expected) for unit in group)
    assert len(NOBODY) == 0
    assert known[-1][0] == Roster(known[-1][1])


def test_growing_by_what_is_there_gives_the_same_object() -> None:
    roster = Roster([UnitHash("a"), UnitHash("b")])
    assert roster.grown([UnitHash("b")]) is roster


@given(HISTOGRAMS, st.sampled_from([0.5, 0.95, 0.99, 1.0]), st.randoms(use_true_random=False))
def test_a_spread_knows_the_quantile_of_the_sum_whoever_else_grew_from_it(histograms, share: float, rng) -> None:
    known: list[tuple[Spread, list[dict[int, int]]]] = [(NOTHING, [])]
    for histogram in histograms:
        spread, parts = rng.choice(known[-3:])
        known.append((spread.grown(histogram), [*parts, histogram]))
        for seen, expected in known:
            assert seen.quantile(share) == quantile(merged(expected), share)
    assert NOTHING.quantile(share) is None
