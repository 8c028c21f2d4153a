"""What a metric is, whatever it is written as."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple


class Kind(StrEnum):
    """Of a family of metrics."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Exemplar(NamedTuple):
    """One request that stands for those a counter counted; with its ids, and nothing of its content.

    Attributes:
        trace: Id of the trace it is part of.
        request: Its own id.
        at: Epoch seconds.
    """

    trace: str
    request: str
    at: float


class Buckets:
    """A histogram with fixed bounds.

    Attributes:
        counts: In each bucket alone, by its bound; beyond the last one nowhere but in ``count``.
        count: All.
        total: Sum of the values.
    """

    __slots__ = ("count", "counts", "total")

    def __init__(self, bounds: int) -> None:
        self.counts = [0] * bounds
        self.count = 0
        self.total = 0.0

    def add(self, place: int, value: float, count: int) -> None:
        """Count a value so many times; ``place``: of its bucket, past the end when it is beyond all bounds."""
        if place < len(self.counts):
            self.counts[place] += count
        self.count += count
        self.total += value * count


class Point(NamedTuple):
    """One time series at this moment.

    Attributes:
        labels: By name.
        value: Of a counter or gauge.
        buckets: Of a histogram.
        exemplar: Of a counter.
    """

    labels: Mapping[str, str]
    value: float = 0.0
    buckets: Buckets | None = None
    exemplar: Exemplar | None = None


class Family(NamedTuple):
    """Series of one name.

    Attributes:
        name: By Prometheus' conventions: a counter's ends with ``_total``.
        kind: What they are.
        text: For people.
        points: Each with labels of its own.
        bounds: Upper bounds of a histogram's buckets, in the family's unit.
    """

    name: str
    kind: Kind
    text: str
    points: Sequence[Point]
    bounds: tuple[float, ...] = ()


Gauge = tuple[str, str, str, Mapping[str, str], float]
"""What is not counted from batches: name, kind, help, labels, value."""
