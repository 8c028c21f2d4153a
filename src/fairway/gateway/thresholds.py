"""Beyond what a unit is marked: the route table's thresholds, made ready for one role.

Most requests pass the least of them and say nothing remarkable, and then nothing here is called.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from fairway.gateway.telemetry import Cell
from fairway.traffic.outcome import Outcome
from fairway.traffic.table import Role

_TIMES = (
    ("latency_ms", "slow"), ("latency_last_ms", "slow_last"), ("latency_p99_ms", "slow_p99"),
    ("latency_limit_ms", "too_slow"),
)  # fmt: skip
TOKENS_BY_UNIT = "tokens_mean"
"""Threshold in the table that asks for the tokens of every request by its unit, whatever it says: others are few, and
marks; this is for a mean."""
_FIRST_BYTE, _TOKENS, _ITERATIONS = "first_byte_ms", "tokens", "iterations"


class Thresholds(NamedTuple):
    """What one role's requests are held against.

    Attributes:
        soonest: Seconds; a request that took no longer is within every limit of time.
        times: ``(mark, seconds)`` for the whole answer.
        first_byte: Seconds for the first byte of its body.
        tokens: Model tokens of a request.
        iterations: Rounds of the agent's loop a request may take.
    """

    soonest: float = math.inf
    times: tuple[tuple[str, float], ...] = ()
    first_byte: float = math.inf
    tokens: float = math.inf
    iterations: float = math.inf

    def mark_times(self, cell: Cell, unit: bytes, whole: float, first_byte: float) -> None:
        """Mark a unit by how long its request took, in seconds."""
        for mark, limit in self.times:
            if whole > limit:
                cell.mark(mark, unit)
        if first_byte > self.first_byte:
            cell.mark("first_byte_slow", unit)

    def mark_outcome(self, cell: Cell, unit: bytes, outcome: Outcome) -> None:
        """Mark a unit by what its agent said."""
        for mark in outcome.marks:
            cell.mark(mark, unit)
        if outcome.tokens > self.tokens:
            cell.mark("tokens_high", unit)
        if outcome.iterations > self.iterations:
            cell.mark("looped", unit)


NO_THRESHOLDS = Thresholds()


def thresholds_for(theta: Mapping[str, Mapping[Role, float]], role: Role) -> Thresholds:
    """A table's thresholds for one role; a metric nobody here knows is no error, it marks nobody."""
    times = tuple((mark, theta[name][role] / 1000) for name, mark in _TIMES if role in theta.get(name, {}))
    first_byte = theta.get(_FIRST_BYTE, {}).get(role, math.inf) / 1000
    return Thresholds(
        soonest=min([*(limit for _, limit in times), first_byte]),
        times=times,
        first_byte=first_byte,
        tokens=theta.get(_TOKENS, {}).get(role, math.inf),
        iterations=theta.get(_ITERATIONS, {}).get(role, math.inf),
    )
