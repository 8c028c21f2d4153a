"""Times in microseconds fall into the bins of milliseconds that everybody else computes."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from fairway.gateway.telemetry import _FIRST_BIN, _LAST_OF_BINS, bin_of_us
from fairway.observe.blocks import bin_of


@given(st.integers(0, 10**9))
def test_a_time_is_in_the_bin_of_its_milliseconds(time_us: int) -> None:
    assert bin_of_us(time_us) == bin_of(time_us / 1000)


def test_so_is_every_short_time_and_every_time_at_the_border_of_two_bins() -> None:
    around = {last + step for last in _LAST_OF_BINS for step in (-1, 0, 1)}
    draw = random.Random(7)
    some = {draw.randrange(1, 10**8) for _ in range(20_000)}
    for time_us in sorted(around | some | set(range(5_000))):
        assert bin_of_us(time_us) == bin_of(time_us / 1000), time_us


def test_the_table_is_small_and_grows() -> None:
    assert len(_LAST_OF_BINS) < 2_500
    assert list(_LAST_OF_BINS) == sorted(_LAST_OF_BINS)
    assert bin_of(0.001) == _FIRST_BIN
