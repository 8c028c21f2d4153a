"""A release that asks for less evidence than the one that serves is told apart from one that asks for as much."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fairway.release.asks_less import asks_less
from fairway.release.ladder import Rung
from fairway.release.required import for_production
from fairway.units import EnvironmentName

WHOLE = for_production(also=["audit"])
STAGING = Rung(environment=EnvironmentName("staging"), kinds=(), tool_accuracy=0.9, latency_p95_ms=2000.0)


def test_the_same_or_more_is_not_less() -> None:
    more = for_production(also=["audit", "review"])
    higher = replace(STAGING, tool_accuracy=0.95, latency_p95_ms=1000.0)
    assert asks_less(WHOLE, WHOLE, rungs=[STAGING], rungs_after=[STAGING]) == ()
    assert asks_less(WHOLE, more, rungs=[STAGING], rungs_after=[higher]) == ()


def test_a_kind_that_is_gone_or_switched_off_is_named() -> None:
    assert asks_less(WHOLE, for_production()) == ("evidence: audit is not needed",)
    off = for_production(also=["audit"], off={"unit_test": "flaky"})
    assert asks_less(WHOLE, off) == ("evidence: unit_test is not needed (switched off: flaky)",)


@pytest.mark.parametrize(
    ("after", "words"),
    [
        ([], "evidence: staging need not be passed first"),
        ([replace(STAGING, tool_accuracy=0.5)], "evidence: tool_accuracy of 0.5 instead of 0.9 in staging"),
        ([replace(STAGING, tool_accuracy=None)], "evidence: tool_accuracy of nothing instead of 0.9 in staging"),
        ([replace(STAGING, latency_p95_ms=9000.0)], "evidence: a P95 of 9000 ms instead of 2000 ms in staging"),
        ([replace(STAGING, latency_p95_ms=None)], "evidence: a P95 of anything instead of 2000 ms in staging"),
    ],
)
def test_an_environment_that_asks_less_is_named(after: list[Rung], words: str) -> None:
    assert asks_less(WHOLE, WHOLE, rungs=[STAGING], rungs_after=after) == (words,)
