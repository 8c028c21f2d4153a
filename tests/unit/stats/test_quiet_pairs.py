"""Pairs that differ by nothing are counted instead of looped over, and the wealths are the same."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.stats.paired import Paired, differences, with_differences
from fairway.stats.quiet_pairs import quiet_differences, with_quiet_differences

COHORTS = st.lists(
    st.tuples(st.lists(st.integers(0, 30), max_size=25), st.lists(st.integers(0, 30), max_size=120)), max_size=12
)


@given(COHORTS, st.sampled_from([0.0005, 0.005, 0.05, 0.4, 0.9]), st.sampled_from([None, 0.005, 0.02]))
def test_the_wealths_are_those_of_the_loop(cohorts, margin: float, limit: float | None) -> None:
    loop = quiet = Paired()
    for ours, theirs in cohorts:
        # A unit is its place; it is bad when its number is 0, so one in thirty is.
        candidate, stable = list(range(len(ours))), list(range(1000, 1000 + len(theirs)))
        bad = {place for place, number in enumerate(ours) if number == 0}
        bad |= {1000 + place for place, number in enumerate(theirs) if number == 0}
        listed = differences([unit in bad for unit in candidate], [unit in bad for unit in stable])
        pairs, differing = quiet_differences(candidate, stable, bad)
        assert pairs == len(listed)
        assert dict(differing) == {place: each for place, each in enumerate(listed) if each}
        loop = with_differences(loop, listed, margin=margin, fail_margin=limit)
        quiet = with_quiet_differences(quiet, pairs, differing, margin=margin, fail_margin=limit)
        assert quiet.count == loop.count
        assert quiet.total == pytest.approx(loop.total, abs=1e-12)
        assert quiet.log_e_fail == pytest.approx(loop.log_e_fail, rel=1e-10, abs=1e-12)
        assert quiet.log_e_pass == pytest.approx(loop.log_e_pass, rel=1e-10, abs=1e-12)


def test_a_long_run_of_zeros_costs_no_loop_and_gains_what_its_bets_gain() -> None:
    after = with_quiet_differences(Paired(), 10**12, (), margin=0.01)
    assert after.log_e_pass == pytest.approx(10**12 * math.log1p(0.75 / 0.99 * 0.01))
    assert after.count == 10**12
