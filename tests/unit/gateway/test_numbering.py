"""Every request has a number of its own."""

from __future__ import annotations

from itertools import islice

from fairway.gateway.numbering import numbers


def test_requests_are_numbered_from_one_on_without_a_gap_or_leading_zeros() -> None:
    made = list(islice(numbers(), 70_000))
    assert made == [b"%x" % number for number in range(1, 70_001)]
