"""Prometheus exposition of what the gateway counts; bounded cardinality: route, version, role, outcome."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from fairway.observe.blocks import Batch, bin_value
from fairway.traffic.table import Role

BOUNDS_MS = (5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000)
MAX_SERIES = 16
"""Pairs of version and role kept; the one longest without a request is dropped for a new one."""


@dataclass(slots=True)
class _Series:
    """Totals of one version in one role."""

    ok: int = 0
    failed: int = 0
    unknown: int = 0
    assigned: int = 0
    served: int = 0
    by: dict[str, int] = field(default_factory=dict)
    sums: dict[str, float] = field(default_factory=dict)
    buckets: list[int] = field(default_factory=lambda: [0] * len(BOUNDS_MS))
    timed: int = 0
    seconds: float = 0.0


class MetricsBook:
    """Totals since the start of this gateway process, over all its workers."""

    def __init__(self) -> None:
        self._series: dict[tuple[str, str], _Series] = {}

    def add(self, batch: Batch, versions: Mapping[str, str]) -> None:
        """Count a batch; ``versions`` names releases for people."""
        for increment in batch.increments:
            key = (versions.get(increment.release, increment.release[-12:]), increment.role.value)
            series = self._series.pop(key, None) or _Series()
            self._series[key] = series  # the most recent last
            if len(self._series) > MAX_SERIES:
                del self._series[next(iter(self._series))]
            series.assigned += increment.assigned
            series.served += increment.served
            series.failed += increment.failed
            series.unknown += increment.unknown
            series.ok += increment.finished - increment.failed - increment.unknown
            for by, requests in increment.by.items():
                series.by[by] = series.by.get(by, 0) + requests
            for kind, total in increment.sums.items():
                series.sums[kind] = series.sums.get(kind, 0) + total
            for index, count in increment.histograms.get("latency_ms", {}).items():
                value = bin_value(index)
                series.timed += count
                series.seconds += count * value / 1000
                for place, bound in enumerate(BOUNDS_MS):
                    if value <= bound:
                        series.buckets[place] += count

    def render(self, route: str, gauges: Iterable[tuple[str, str, str, Mapping[str, str], float]]) -> str:
        """The exposition text.

        Args:
            route: Label of every sample.
            gauges: ``(name, type, help, labels, value)`` of what is not counted from batches, grouped by name.
        """
        out = _Text(route)
        self._users(out)
        self._shadows(out)
        last = ""
        for name, kind, text, own_labels, figure in gauges:
            if name != last:
                out.family(name, kind, text)
                last = name
            out.sample(name, own_labels, figure)
        return out.text()

    def _users(self, out: _Text) -> None:
        """What users' requests came to: everything but what went to a shadow."""
        users = {key: series for key, series in self._series.items() if key[1] != Role.SHADOW.value}
        out.family("fairway_gateway_requests_total", "counter", "Requests finished, by outcome.")
        for (version, role), series in users.items():
            for outcome in ("ok", "failed", "unknown"):
                labels = {"release": version, "role": role, "outcome": outcome}
                out.sample("fairway_gateway_requests_total", labels, getattr(series, outcome))
        out.family("fairway_gateway_assigned_total", "counter", "Requests assigned, by why.")
        for (version, role), series in users.items():
            for by, value in sorted(series.by.items()):
                out.sample("fairway_gateway_assigned_total", {"release": version, "role": role, "by": by}, value)
        out.family("fairway_gateway_reported_total", "counter", "What agents reported: tokens, tools, iterations, …")
        for (version, role), series in users.items():
            for kind, total in sorted(series.sums.items()):
                if kind in _RERUNS:
                    continue
                out.sample("fairway_gateway_reported_total", {"release": version, "role": role, "kind": kind}, total)
        self._reruns(out, users)
        name = "fairway_gateway_request_duration_seconds"
        out.family(name, "histogram", "Time from a request's head to the last byte of its answer.")
        for (version, role), series in users.items():
            labels = {"release": version, "role": role}
            for bound, count in zip(BOUNDS_MS, series.buckets, strict=True):
                out.sample(f"{name}_bucket", {**labels, "le": f"{bound / 1000:g}"}, count)
            out.sample(f"{name}_bucket", {**labels, "le": "+Inf"}, series.timed)
            out.sample(f"{name}_sum", labels, series.seconds)
            out.sample(f"{name}_count", labels, series.timed)

    def _reruns(self, out: _Text, users: Mapping[tuple[str, str], _Series]) -> None:
        """Requests that failed on a release and were run again on stable; each is a failure of that release too."""
        rerun = {key: series.sums for key, series in users.items() if series.sums.get("reruns")}
        if not rerun:
            return
        name = "fairway_gateway_reruns_total"
        out.family(name, "counter", "Requests that failed on a release and ended on stable, by what came of that.")
        for (version, role), sums in rerun.items():
            bad = {result: sums.get(f"reruns_{result}", 0) for result in ("failed", "unknown")}
            for result, total in {"ok": max(0, sums["reruns"] - sum(bad.values())), **bad}.items():
                out.sample(name, {"release": version, "role": role, "result": result}, total)

    def _shadows(self, out: _Text) -> None:
        """What mirrored requests came to."""
        shadows = {
            version: series.sums for (version, role), series in self._series.items() if role == Role.SHADOW.value
        }
        if not shadows:
            return
        for name, text, label, kinds in _SHADOW_FAMILIES:
            out.family(name, "counter", text)
            for version, sums in shadows.items():
                for kind, (said, unit) in kinds.items():
                    out.sample(name, {"release": version, label: said}, sums.get(kind, 0) * unit)


_RERUNS = frozenset({"reruns", "reruns_failed", "reruns_unknown"})

_SHADOW_FAMILIES: tuple[tuple[str, str, str, Mapping[str, tuple[str, float]]], ...] = (
    (
        "fairway_gateway_shadow_requests_total",
        "Requests of mirrored conversations, by what became of their copy.",
        "result",
        {
            "shadow_pairs": ("compared", 1),
            "shadow_diverged": ("diverged", 1),
            "shadow_unknown": ("unknown", 1),
            "shadow_client_left": ("client_left", 1),
            "shadow_unattested": ("unattested", 1),
            "shadow_both_failed": ("both_failed", 1),
            "shadow_dropped": ("dropped", 1),
            "shadow_skipped": ("skipped", 1),
        },
    ),
    (
        "fairway_gateway_shadow_findings_total",
        "Compared pairs in which only one side failed, the shadow was slower, or the bodies differ.",
        "finding",
        {
            "shadow_failed": ("failed", 1),
            "shadow_primary_failed": ("primary_failed", 1),
            "shadow_slower": ("slower", 1),
            "shadow_changed": ("changed", 1),
        },
    ),
    (
        "fairway_gateway_shadow_seconds_total",
        "Time both sides of compared pairs took.",
        "side",
        {"shadow_ms": ("shadow", 0.001), "shadow_primary_ms": ("primary", 0.001)},
    ),
    (
        "fairway_gateway_shadow_bytes_total",
        "Bytes both sides of compared pairs answered.",
        "side",
        {"shadow_bytes": ("shadow", 1), "shadow_primary_bytes": ("primary", 1)},
    ),
)
"""Name, help, label, and for each sum of the telemetry its label's value and unit."""


class _Text:
    """Lines of an exposition."""

    def __init__(self, route: str) -> None:
        self._lines: list[str] = []
        self._route = route

    def family(self, name: str, kind: str, text: str) -> None:
        self._lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]

    def sample(self, name: str, labels: Mapping[str, str], value: float) -> None:
        inside = ",".join(f'{key}="{_escaped(text)}"' for key, text in {"route": self._route, **labels}.items())
        self._lines.append(f"{name}{{{inside}}} {value!r}")

    def text(self) -> str:
        return "\n".join(self._lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
