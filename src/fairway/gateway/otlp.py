"""Metrics as OpenTelemetry's protocol writes them in JSON, without its SDK. Pure.

Source: https://opentelemetry.io/docs/specs/otlp (JSON Protobuf encoding: 64-bit whole numbers are texts, ids are hex),
opentelemetry-proto ``metrics/v1/metrics.proto``; the settings are those of the specification's page on OTLP exporters.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from fairway.errors import UserError
from fairway.gateway.metric_values import Family, Kind, Point

_CUMULATIVE = 2
_PREFIX = "fairway_gateway_"
_UNITS = (("_seconds", "s"), ("_bytes", "By"), ("_dollars", "{dollar}"), ("_tokens", "{token}"))
_MOST_SECONDS = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class OtlpSettings:
    """Where metrics are pushed to, as the environment says.

    Attributes:
        url: Of the collector's metrics.
        headers: Of every request.
        interval, timeout: Seconds.
        compressed: Bodies are gzipped.
        resource: Attributes of who pushes.
    """

    url: str
    headers: Mapping[str, str]
    interval: float
    timeout: float
    compressed: bool
    resource: Mapping[str, str]


def otlp_settings(environment: Mapping[str, str]) -> OtlpSettings | None:
    """What the ``OTEL_…`` variables ask for; ``None``: nothing is to be pushed.

    Raises:
        UserError: One of them cannot be read, or asks for what is not spoken here (gRPC).
    """

    def of_metrics(name: str) -> str:
        ours = environment.get(f"OTEL_EXPORTER_OTLP_METRICS_{name}")
        return ours or environment.get(f"OTEL_EXPORTER_OTLP_{name}", "")

    url = environment.get("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "")
    base = environment.get("OTEL_EXPORTER_OTLP_ENDPOINT", "")
    if not url and base:
        url = base.rstrip("/") + "/v1/metrics"
    disabled = environment.get("OTEL_SDK_DISABLED", "").lower() == "true"
    if not url or disabled or environment.get("OTEL_METRICS_EXPORTER", "otlp") == "none":
        return None
    protocol = of_metrics("PROTOCOL") or "http/json"
    if protocol not in ("http/json", "http/protobuf"):
        text = f"metrics are not pushed by {protocol}"
        raise UserError(text, code="otlp", hint="OTEL_EXPORTER_OTLP_PROTOCOL=http/json, and the collector's HTTP port")
    resource = {"service.name": "fairway-gateway"}
    resource |= _pairs(environment.get("OTEL_RESOURCE_ATTRIBUTES", ""), "OTEL_RESOURCE_ATTRIBUTES")
    if name := environment.get("OTEL_SERVICE_NAME"):
        resource["service.name"] = name
    return OtlpSettings(
        url=url,
        headers=_pairs(of_metrics("HEADERS"), "OTEL_EXPORTER_OTLP_HEADERS"),
        interval=_seconds(environment, "OTEL_METRIC_EXPORT_INTERVAL", "60000"),
        timeout=_milliseconds(of_metrics("TIMEOUT") or "10000", "OTEL_EXPORTER_OTLP_TIMEOUT"),
        compressed=of_metrics("COMPRESSION") == "gzip",
        resource=resource,
    )


def _pairs(text: str, name: str) -> dict[str, str]:
    """``key=value,…``, percent-encoded."""
    found: dict[str, str] = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        key, equals, value = part.partition("=")
        if not equals or not key.strip():
            raise UserError(f"{name} is not key=value,…", code="otlp", hint="for example: api-key=abc,tenant=acme")
        found[unquote(key.strip())] = unquote(value.strip())
    return found


def _seconds(environment: Mapping[str, str], name: str, default: str) -> float:
    return _milliseconds(environment.get(name) or default, name)


def _milliseconds(text: str, name: str) -> float:
    if not text.isascii() or not text.isdigit() or not 0 < int(text) <= _MOST_SECONDS * 1000:
        raise UserError(f"{name}={text} is no time", code="otlp", hint="whole milliseconds, up to an hour")
    return int(text) / 1000


def export_request(
    families: Iterable[Family], *, resource: Mapping[str, str], route: str, version: str, started: float, now: float
) -> dict[str, Any]:
    """An ``ExportMetricsServiceRequest``.

    Args:
        families: To be told.
        resource: Who tells.
        route: Attribute of every point.
        version: Of Fairway.
        started: Since when counters count, epoch seconds.
        now: When they were read.
    """
    times = {"startTimeUnixNano": str(int(started * 1e9)), "timeUnixNano": str(int(now * 1e9))}
    metrics = [_metric(family, times, route) for family in families]
    scope = {"name": "fairway.gateway", "version": version}
    return {
        "resourceMetrics": [
            {
                "resource": {"attributes": _attributes(resource)},
                "scopeMetrics": [{"scope": scope, "metrics": metrics}],
            }
        ]
    }


def _metric(family: Family, times: Mapping[str, str], route: str) -> dict[str, Any]:
    name = family.name.removesuffix("_total")
    unit = "1"
    for suffix, told in _UNITS:
        if name.endswith(suffix):
            unit = told
            name = name.removesuffix(suffix) if told == "s" and family.kind is not Kind.GAUGE else name
    metric: dict[str, Any] = {
        "name": "fairway.gateway." + name.removeprefix(_PREFIX), "unit": unit, "description": family.text,
    }  # fmt: skip
    points = [_point(point, family, times, route) for point in family.points]
    if family.kind is Kind.HISTOGRAM:
        metric["histogram"] = {"dataPoints": points, "aggregationTemporality": _CUMULATIVE}
    elif family.kind is Kind.COUNTER:
        metric["sum"] = {"dataPoints": points, "aggregationTemporality": _CUMULATIVE, "isMonotonic": True}
    else:
        metric["gauge"] = {"dataPoints": points}
    return metric


def _point(point: Point, family: Family, times: Mapping[str, str], route: str) -> dict[str, Any]:
    told: dict[str, Any] = {"attributes": _attributes({"route": route, **point.labels}), **times}
    if point.buckets is not None:
        found = point.buckets
        beyond = found.count - sum(found.counts)
        told |= {
            "count": str(found.count),
            "sum": found.total,
            "bucketCounts": [str(count) for count in (*found.counts, beyond)],
            "explicitBounds": [float(bound) for bound in family.bounds],
        }
        return told
    told |= {"asInt": str(point.value)} if isinstance(point.value, int) else {"asDouble": point.value}
    if (exemplar := point.exemplar) is not None:
        at = str(int(exemplar.at * 1e9))
        ours = _attributes({"request_id": exemplar.request})
        told["exemplars"] = [{"timeUnixNano": at, "asInt": "1", "traceId": exemplar.trace, "filteredAttributes": ours}]
    return told


def _attributes(values: Mapping[str, str]) -> list[dict[str, Any]]:
    return [{"key": key, "value": {"stringValue": text}} for key, text in values.items()]
