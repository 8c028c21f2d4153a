"""What workers count by themselves, over all of them and over those that are gone: a counter never falls."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

MAX_LABELS = 64
"""Different label values of one counter; what is beyond counts as ``other``."""

_FAMILIES = {
    "refused": ("fairway_gateway_refused_total", "Messages refused before they reached an arm.", "reason"),
    "access_log": (
        "fairway_gateway_access_log_lines_total",
        "Lines of the access log, by whether they were written.",
        "result",
    ),
}
"""By name in what a worker tells beside its batches: metric, help and label."""


class WorkerTotals:
    """Counts of workers that are gone, to which those that live are added."""

    def __init__(self) -> None:
        self._gone: dict[str, dict[str, float]] = {}

    def bury(self, stats: Mapping[str, Any]) -> None:
        """A worker is gone; ``stats``: what it told last."""
        self._gone = self._with((stats,))

    def gauges(self, living: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, str, str, Mapping[str, str], float]]:
        """What ``/metrics`` says; ``living``: what each worker that lives told last."""
        found = self._with(living)
        for name, (metric, text, label) in _FAMILIES.items():
            for said, count in sorted(found.get(name, {}).items()):
                yield metric, "counter", text, {label: said}, count

    def refused(self, living: Iterable[Mapping[str, Any]]) -> Mapping[str, float]:
        """Messages refused, by reason."""
        return self._with(living).get("refused", {})

    def _with(self, stats: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
        total = {name: dict(counts) for name, counts in self._gone.items()}
        for told in stats:
            for name in _FAMILIES:
                counts = total.setdefault(name, {})
                for said, count in told.get(name, {}).items():
                    known = said if said in counts or len(counts) < MAX_LABELS else "other"
                    counts[known] = counts.get(known, 0) + count
        return total
