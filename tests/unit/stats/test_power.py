"""What a test can see."""

from __future__ import annotations

import math

import pytest

from fairway.stats.power import bernoulli_divergence, detectable_ratio, events_to_tell, share_of_events


def test_the_detectable_ratio_solves_its_equation_and_is_what_the_events_tell() -> None:
    for events, margin, weight in ((50, 1.0, 0.5), (400, 1.0, 0.05), (120, 3.0, 0.3)):
        ratio = detectable_ratio(events, margin, weight, 0.01)
        assert ratio is not None
        assert ratio > margin
        divergence = bernoulli_divergence(share_of_events(ratio, weight), share_of_events(margin, weight))
        assert events * divergence == pytest.approx(math.log(100) + 0.5 * math.log(events) + 1, rel=1e-6)
        assert events_to_tell(ratio, margin, weight, 0.01) == pytest.approx(events, abs=1)


def test_more_events_see_smaller_effects_and_too_few_see_none() -> None:
    seen = [detectable_ratio(events, 1.0, 0.05, 0.01) for events in (10, 30, 100, 1000)]
    assert None not in seen
    assert seen == sorted(seen, reverse=True)
    assert detectable_ratio(3, 1.0, 0.5, 0.01) is None
    assert detectable_ratio(0, 1.0, 0.5, 0.01) is None
    assert detectable_ratio(100, 1.0, 0.0, 0.01) is None
    assert events_to_tell(2.0, 2.0, 0.3, 0.01) is None


def test_divergence_is_zero_only_between_equals_and_infinite_where_the_other_is_certain() -> None:
    assert bernoulli_divergence(0.3, 0.3) == 0
    assert bernoulli_divergence(0.0, 0.25) == pytest.approx(-math.log(0.75))
    assert bernoulli_divergence(0.1, 0.0) == math.inf
