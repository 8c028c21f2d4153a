"""Metrics as text: the Prometheus format 0.0.4, and OpenMetrics 1.0 for who asks for it.

Source: https://prometheus.io/docs/instrumenting/exposition_formats, https://prometheus.io/docs/specs/om/open_metrics_spec
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from fairway.gateway.metric_values import Exemplar, Family, Kind

PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"

_MAX_EXEMPLAR = 128
"""Characters of an exemplar's labels together, as OpenMetrics allows."""


def wants_openmetrics(accept: str) -> bool:
    """Whether an ``Accept`` header prefers OpenMetrics to plain text; who says nothing gets plain text."""
    weights = {"application/openmetrics-text": 0.0, "text/plain": 0.0}
    for part in accept.split(","):
        kind, *parameters = (piece.strip() for piece in part.split(";"))
        if kind.lower() in weights:
            given = next((piece[2:] for piece in parameters if piece.lower().startswith("q=")), "1")
            try:
                weights[kind.lower()] = float(given)
            except ValueError:
                continue
    asked = weights["application/openmetrics-text"]
    return asked > 0 and asked >= weights["text/plain"]


def exposition(route: str, families: Iterable[Family], *, openmetrics: bool = False) -> str:
    """Families as text.

    Args:
        route: Label of every sample.
        families: Each once.
        openmetrics: In that format, with exemplars.
    """
    out = _Lines(route, openmetrics=openmetrics)
    for family in families:
        out.family(family)
    return out.text()


class _Lines:
    """Lines of an exposition, family by family."""

    def __init__(self, route: str, *, openmetrics: bool) -> None:
        self._lines: list[str] = []
        self._route = f'route="{_escaped(route)}"'
        self._openmetrics = openmetrics

    def family(self, family: Family) -> None:
        """A family with all its samples."""
        self._announce(family)
        for point in family.points:
            if point.buckets is None:
                self._sample(family.name, point.labels, point.value, point.exemplar)
                continue
            below = 0
            for bound, count in zip(family.bounds, point.buckets.counts, strict=True):
                below += count
                self._sample(f"{family.name}_bucket", {**point.labels, "le": repr(float(bound))}, below)
            self._sample(f"{family.name}_bucket", {**point.labels, "le": "+Inf"}, point.buckets.count)
            self._sample(f"{family.name}_sum", point.labels, point.buckets.total)
            self._sample(f"{family.name}_count", point.labels, point.buckets.count)

    def _announce(self, family: Family) -> None:
        name = family.name
        text = family.text.replace("\\", "\\\\").replace("\n", "\\n")
        if self._openmetrics:
            if family.kind is Kind.COUNTER:
                name = name.removesuffix("_total")
            text = text.replace('"', '\\"')
            self._lines += [f"# TYPE {name} {family.kind}", f"# HELP {name} {text}"]
        else:
            self._lines += [f"# HELP {name} {text}", f"# TYPE {name} {family.kind}"]

    def _sample(self, name: str, labels: Mapping[str, str], value: float, exemplar: Exemplar | None = None) -> None:
        inside = ",".join((self._route, *(f'{key}="{_escaped(text)}"' for key, text in labels.items())))
        line = f"{name}{{{inside}}} {_number(value)}"
        if exemplar is not None and self._openmetrics:
            line += _told(exemplar)
        self._lines.append(line)

    def text(self) -> str:
        """All of it."""
        end = ["# EOF"] if self._openmetrics else []
        return "\n".join([*self._lines, *end]) + "\n"


def _number(value: float) -> str:
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
    return repr(value)


def _told(exemplar: Exemplar) -> str:
    """An exemplar behind its sample; left out when its labels are longer than they may be."""
    labels = {"trace_id": exemplar.trace, "request_id": exemplar.request}
    if sum(len(name) + len(text) for name, text in labels.items()) > _MAX_EXEMPLAR:
        return ""
    inside = ",".join(f'{name}="{_escaped(text)}"' for name, text in labels.items())
    return f" # {{{inside}}} 1.0 {exemplar.at:.3f}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
