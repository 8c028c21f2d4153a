"""What the gateway counts, as Prometheus reads it: bounded in number, and never less than it was.

A version that was not heard of for long is not shown any more, and its totals are kept: when it returns, its counters
go on from where they were. A counter that began again would be taken for one that was reset, or be read twice.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from fairway.gateway.exposition import exposition
from fairway.gateway.metric_names import SHADOW_FAMILIES, USER_FAMILIES, SumFamily
from fairway.gateway.metric_values import Buckets, Exemplar, Family, Gauge, Kind, Point
from fairway.observe.blocks import Batch, Increment, bin_value
from fairway.traffic.table import Role

MAX_SERIES = 16
"""Pairs of version and role shown; the one longest without a request makes room for a new one."""

MAX_KEPT = 512
"""Pairs whose totals are kept while they are not shown."""

MAX_REASONS = 24
"""Different values of ``by`` of one of them; what is beyond counts as ``other``."""

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_GAPS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_TOKENS = (16, 64, 256, 1024, 4096, 16_384, 65_536, 262_144, 1_048_576)

_HISTOGRAMS: tuple[tuple[str, str, str, tuple[float, ...], float], ...] = (
    (
        "latency_ms",
        "fairway_gateway_request_duration_seconds",
        "Time from a request's head to the last byte of its answer.",
        _SECONDS,
        0.001,
    ),
    (
        "first_byte_ms",
        "fairway_gateway_first_byte_seconds",
        "Time from a request's head to the first byte of its answer's body.",
        _SECONDS,
        0.001,
    ),
    (
        "first_token_ms",
        "fairway_gateway_first_token_seconds",
        "Time from a request's head to the first event of its stream with something for the user in it.",
        _SECONDS,
        0.001,
    ),
    (
        "gap_ms",
        "fairway_gateway_stream_gap_seconds",
        "Time between two pieces of a stream of events that brought data, after the first token.",
        _GAPS,
        0.001,
    ),
    ("tokens", "fairway_gateway_request_tokens", "Model tokens of a request of which somebody said them.", _TOKENS, 1),
)
"""Histogram of the telemetry, name, help, upper bounds in the family's unit, and the telemetry's unit in that."""

_RERUNS = ("ok", "failed", "unknown")


@dataclass(slots=True)
class _Series:
    """Totals of one version in one role."""

    ok: int = 0
    failed: int = 0
    unknown: int = 0
    served: int = 0
    by: dict[str, int] = field(default_factory=dict)
    sums: dict[str, float] = field(default_factory=dict)
    histograms: dict[str, Buckets] = field(default_factory=dict)
    failing: Exemplar | None = None

    def add(self, increment: Increment, at: float) -> None:
        """Count an increment."""
        self.served += increment.served
        self.failed += increment.failed
        self.unknown += increment.unknown
        self.ok += increment.finished - increment.failed - increment.unknown
        for by, requests in increment.by.items():
            name = by if by in self.by or len(self.by) < MAX_REASONS else "other"
            self.by[name] = self.by.get(name, 0) + requests
        for kind, total in increment.sums.items():
            if kind in _KNOWN_SUMS:
                self.sums[kind] = self.sums.get(kind, 0) + total
        for kind, _, _, bounds, unit in _HISTOGRAMS:
            bins = increment.histograms.get(kind)
            if bins:
                buckets = self.histograms.get(kind)
                if buckets is None:
                    buckets = self.histograms[kind] = Buckets(len(bounds))
                for index, count in bins.items():
                    value = bin_value(index) * unit
                    buckets.add(bisect_left(bounds, value), value, count)
        for exemplar in increment.exemplars:
            if trace := exemplar.get("trace"):
                self.failing = Exemplar(trace, exemplar.get("request", ""), at)


_KNOWN_SUMS = frozenset(
    (*(kind for _, _, _, kinds in (*USER_FAMILIES, *SHADOW_FAMILIES) for kind in kinds),
     "reruns", *(f"reruns_{result}" for result in _RERUNS))
)  # fmt: skip


class MetricsBook:
    """Totals since the start of this gateway process, over all its workers."""

    def __init__(self) -> None:
        self._series: dict[tuple[str, str], _Series] = {}
        self._kept: dict[tuple[str, str], _Series] = {}
        """Not shown; the one that was left longest ago first."""

    def add(self, batch: Batch, versions: Mapping[str, str]) -> None:
        """Count a batch; ``versions`` names releases for people."""
        for increment in batch.increments:
            key = (versions.get(increment.release, increment.release[-12:]), increment.role.value)
            series = self._series.pop(key, None) or self._kept.pop(key, None) or _Series()
            self._series[key] = series  # the most recent last
            if len(self._series) > MAX_SERIES:
                oldest = next(iter(self._series))
                self._kept[oldest] = self._series.pop(oldest)
                if len(self._kept) > MAX_KEPT:
                    del self._kept[next(iter(self._kept))]
            series.add(increment, batch.at)

    def shown(self) -> dict[tuple[str, str], _Series]:
        """Totals by version and role, in a stable order."""
        return dict(sorted(self._series.items()))

    def render(self, route: str, gauges: Iterable[Gauge], *, openmetrics: bool = False) -> str:
        """The exposition text.

        Args:
            route: Label of every sample.
            gauges: What is not counted from batches; values of the same name and labels are added up, as two releases
                may have one version.
            openmetrics: In that format, with exemplars.
        """
        return exposition(route, self.families(gauges), openmetrics=openmetrics)

    def families(self, gauges: Iterable[Gauge]) -> list[Family]:
        """Everything there is, each family once; ``gauges`` as of :meth:`render`."""
        shown = self.shown()
        users = {key: series for key, series in shown.items() if key[1] != Role.SHADOW.value}
        shadows = [({"release": key[0]}, series.sums) for key, series in shown.items() if key[1] == Role.SHADOW.value]
        said = [(_labels(key), series.sums) for key, series in users.items()]
        found = [
            *_requests(users),
            *(_sums(family, said, sparse=True) for family in USER_FAMILIES),
            _reruns(said),
            *(_histogram(family, users) for family in _HISTOGRAMS),
            *(_sums(family, shadows, sparse=False) for family in SHADOW_FAMILIES),
            *_others(gauges),
        ]
        return [family for family in found if family.points]


def _requests(users: Mapping[tuple[str, str], _Series]) -> Iterator[Family]:
    points = []
    for key, series in users.items():
        for outcome, count in (("ok", series.ok), ("failed", series.failed), ("unknown", series.unknown)):
            exemplar = series.failing if outcome == "failed" else None
            points.append(Point({**_labels(key), "outcome": outcome}, count, exemplar=exemplar))
    yield Family("fairway_gateway_requests_total", Kind.COUNTER, "Requests finished, by outcome.", points)
    points = [
        Point({**_labels(key), "by": by}, count)
        for key, series in users.items()
        for by, count in sorted(series.by.items())
    ]
    yield Family("fairway_gateway_assigned_total", Kind.COUNTER, "Requests assigned, by why.", points)
    text = "Requests assigned that the release itself served."
    points = [Point(_labels(key), series.served) for key, series in users.items()]
    yield Family("fairway_gateway_served_total", Kind.COUNTER, text, points)


def _reruns(said: Iterable[tuple[Mapping[str, str], Mapping[str, float]]]) -> Family:
    """Requests that failed on a release and were run again on stable; each is a failure of that release too."""
    points = [
        Point({**labels, "result": result}, sums.get(f"reruns_{result}", 0))
        for labels, sums in said
        if sums.get("reruns")
        for result in _RERUNS
    ]
    text = "Requests that failed on a release and ended on stable, by what came of that."
    return Family("fairway_gateway_reruns_total", Kind.COUNTER, text, points)


def _histogram(
    family: tuple[str, str, str, tuple[float, ...], float], users: Mapping[tuple[str, str], _Series]
) -> Family:
    kind, name, text, bounds, _ = family
    points = [
        Point(_labels(key), buckets=found)
        for key, series in users.items()
        if (found := series.histograms.get(kind)) is not None
    ]
    return Family(name, Kind.HISTOGRAM, text, points, bounds)


def _others(gauges: Iterable[Gauge]) -> Iterator[Family]:
    """Families of what is not counted from batches, each once."""
    families: dict[str, tuple[str, str, dict[tuple[tuple[str, str], ...], float]]] = {}
    for name, kind, text, labels, value in gauges:
        _, _, samples = families.setdefault(name, (kind, text, {}))
        told = tuple(labels.items())
        samples[told] = samples.get(told, 0) + value
    for name, (kind, text, samples) in families.items():
        yield Family(name, Kind(kind), text, [Point(dict(told), value) for told, value in samples.items()])


def _labels(key: tuple[str, str]) -> dict[str, str]:
    return {"release": key[0], "role": key[1]}


def _sums(family: SumFamily, found: Iterable[tuple[Mapping[str, str], Mapping[str, float]]], *, sparse: bool) -> Family:
    """A family of sums; ``sparse``: what was never said is left out instead of 0."""
    name, text, label, kinds = family
    points = [
        Point({**labels, label: said} if label else labels, sums.get(kind, 0) * unit)
        for labels, sums in found
        for kind, (said, unit) in kinds.items()
        if kind in sums or not sparse
    ]
    return Family(name, Kind.COUNTER, text, points)
