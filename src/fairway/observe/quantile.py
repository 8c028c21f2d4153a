"""Quantiles and counts of the fixed logarithmic histograms."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from fairway.observe.blocks import bin_value


def merged(histograms: Iterable[Mapping[int, int]]) -> dict[int, int]:
    """The sum of histograms ``{bin: count}``."""
    total: dict[int, int] = {}
    for histogram in histograms:
        for index, count in histogram.items():
            total[index] = total.get(index, 0) + count
    return total


def size(histogram: Mapping[int, int]) -> int:
    """How many values it holds."""
    return sum(histogram.values())


def quantile(histogram: Mapping[int, int], share: float) -> float | None:
    """The value below which ``share`` of the values lie, within 0.5 %; ``None`` for an empty histogram.

    Args:
        histogram: ``{bin: count}`` on the grid of ``observe.blocks``.
        share: In (0, 1]; .95 for P95. The smallest bin with at least that share at or below it.
    """
    total = size(histogram)
    if total == 0:
        return None
    below = 0
    index = 0
    for index in sorted(histogram):
        below += histogram[index]
        if below >= share * total - 1e-9:
            break
    return bin_value(index)
