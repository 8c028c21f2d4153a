"""Metrics as text: the Prometheus format 0.0.4, and OpenMetrics 1.0 for who asks for it.

Source: https://prometheus.io/docs/instrumenting/exposition_formats, https://prometheus.io/docs/specs/om/open_metrics_spec
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"

_MAX_EXEMPLAR = 128
"""Characters of an exemplar's labels together, as OpenMetrics allows."""


class Exemplar(NamedTuple):
    """One request that stands for those a counter counted.

    Attributes:
        labels: Such as ``trace_id``.
        at: Epoch seconds.
    """

    labels: Mapping[str, str]
    at: float


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


class Exposition:
    """Lines of an exposition, family by family."""

    def __init__(self, route: str, *, openmetrics: bool = False) -> None:
        """Begin; ``route`` is a label of every sample."""
        self._lines: list[str] = []
        self._route = f'route="{_escaped(route)}"'
        self._openmetrics = openmetrics

    def family(self, name: str, kind: str, text: str) -> None:
        """Announce a family; a counter's name ends with ``_total``."""
        if self._openmetrics and kind == "counter":
            name = name.removesuffix("_total")
        text = text.replace("\\", "\\\\").replace("\n", "\\n")
        if self._openmetrics:
            self._lines += [f"# TYPE {name} {kind}", f"# HELP {name} {text.replace(chr(34), chr(92) + chr(34))}"]
        else:
            self._lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]

    def sample(self, name: str, labels: Mapping[str, str], value: float, exemplar: Exemplar | None = None) -> None:
        """One sample of the family announced last; an exemplar is only told to who understands them."""
        inside = ",".join((self._route, *(f'{key}="{_escaped(text)}"' for key, text in labels.items())))
        line = f"{name}{{{inside}}} {_number(value)}"
        if exemplar is not None and self._openmetrics:
            line += _told(exemplar)
        self._lines.append(line)

    def histogram(self, name: str, labels: Mapping[str, str], bounds: tuple[float, ...], found: Buckets) -> None:
        """A histogram's samples; ``bounds``: the upper ones, in the family's unit."""
        below = 0
        for bound, count in zip(bounds, found.counts, strict=True):
            below += count
            self.sample(f"{name}_bucket", {**labels, "le": _bound(bound)}, below)
        self.sample(f"{name}_bucket", {**labels, "le": "+Inf"}, found.count)
        self.sample(f"{name}_sum", labels, found.total)
        self.sample(f"{name}_count", labels, found.count)

    def text(self) -> str:
        """All of it."""
        end = ["# EOF"] if self._openmetrics else []
        return "\n".join([*self._lines, *end]) + "\n"


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


def _bound(bound: float) -> str:
    """A bound as both formats write it: the shortest form of a float."""
    return repr(float(bound))


def _number(value: float) -> str:
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
    return repr(value)


def _told(exemplar: Exemplar) -> str:
    """An exemplar behind its sample; left out when its labels are longer than they may be."""
    if sum(len(name) + len(text) for name, text in exemplar.labels.items()) > _MAX_EXEMPLAR:
        return ""
    inside = ",".join(f'{name}="{_escaped(text)}"' for name, text in exemplar.labels.items())
    return f" # {{{inside}}} 1.0 {exemplar.at:.3f}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
