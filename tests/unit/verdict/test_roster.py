"""Values that grow share memory and never change."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fairway.observe.fold import ArmBlock
from fairway.observe.quantile import merged, quantile
from fairway.traffic.table import Role
from fairway.units import UnitHash
from fairway.verdict.roster import NO_UNITS, NOBODY, NOTHING, Roster, Spread

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
            assert seen.among(group) == group & expected
            assert seen.count(group) == len(group & expected)
            assert all((unit in seen) == (unit in expected) for unit in group)
    assert len(NOBODY) == 0
    assert known[-1][0] == Roster(known[-1][1])


def test_growing_by_what_is_there_gives_the_same_object() -> None:
    roster = Roster([UnitHash("a"), UnitHash("b")])
    assert roster.grown(frozenset([UnitHash("b")])) is roster


@given(HISTOGRAMS, st.sampled_from([0.5, 0.95, 0.99, 1.0]), st.randoms(use_true_random=False))
def test_a_spread_knows_the_quantile_of_the_sum_whoever_else_grew_from_it(histograms, share: float, rng) -> None:
    known: list[tuple[Spread, list[dict[int, int]]]] = [(NOTHING, [])]
    for histogram in histograms:
        spread, parts = rng.choice(known[-3:])
        arm = ArmBlock(role=Role.STABLE, latency_ms=histogram)
        known.append((spread.grown(arm), [*parts, histogram]))
        for seen, expected in known if rng.random() < 0.5 else ():
            assert seen.quantile("latency_ms", share) == quantile(merged(expected), share)
    for seen, expected in known:
        assert seen.quantile("latency_ms", share) == quantile(merged(expected), share)
        assert seen.quantile("tokens", share) is None
    assert NOTHING.quantile("latency_ms", share) is None


@given(GROUPS, st.randoms(use_true_random=False))
def test_a_count_without_those_that_never_counted_is_that_of_the_units_that_did(groups, rng) -> None:
    count, counted = NO_UNITS, set()
    for group in groups:
        ours = frozenset(unit for unit in sorted(group) if rng.random() < 0.7)
        if rng.random() < 0.3:
            ours = group
        count = count.grown(group, ours, lambda roster, units: roster.grown(units))
        counted |= ours
        assert len(count) == len(counted)
