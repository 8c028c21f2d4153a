"""Metrics for an OpenTelemetry collector: of the protocol's shape, pushed in nobody's way."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
from collections.abc import Mapping
from typing import Any

import pytest

from fairway.errors import UserError
from fairway.gateway.metrics import MetricsBook
from fairway.gateway.otlp import OtlpSettings, export_request, otlp_settings
from fairway.gateway.otlp_push import OtlpPush
from fairway.observe.blocks import Batch, Increment
from fairway.traffic.fence import Fence
from fairway.traffic.table import Role
from fairway.units import Digest

TRACE = "0af7651916cd43dd8448eb211c80319c"


def is_count(text: Any) -> None:
    """A 64-bit whole number, which JSON carries as a text."""
    assert isinstance(text, str)
    assert re.fullmatch(r"-?[0-9]{1,20}", text)
    assert -(2**63) <= int(text) < 2**64


def is_double(value: Any) -> None:
    assert type(value) in (int, float)


def only(value: Any, required: set[str], optional: frozenset[str] = frozenset()) -> None:
    assert isinstance(value, dict)
    assert required <= set(value) <= required | optional, sorted(value)


def check_attributes(attributes: Any) -> dict[str, str]:
    assert isinstance(attributes, list)
    for attribute in attributes:
        only(attribute, {"key", "value"})
        only(attribute["value"], {"stringValue"})
        assert isinstance(attribute["value"]["stringValue"], str)
    found = {attribute["key"]: attribute["value"]["stringValue"] for attribute in attributes}
    assert len(found) == len(attributes), "an attribute is there twice"
    return found


def check_number(point: Any) -> None:
    only(point, {"attributes", "startTimeUnixNano", "timeUnixNano"}, frozenset({"asInt", "asDouble", "exemplars"}))
    assert ("asInt" in point) != ("asDouble" in point)
    if "asInt" in point:
        is_count(point["asInt"])
    else:
        is_double(point["asDouble"])
    for exemplar in point.get("exemplars", ()):
        only(exemplar, {"timeUnixNano", "asInt", "traceId", "filteredAttributes"})
        is_count(exemplar["timeUnixNano"])
        assert re.fullmatch("[0-9a-f]{32}", exemplar["traceId"]), "ids are hex in the JSON form"
        check_attributes(exemplar["filteredAttributes"])


def check_histogram(point: Any) -> None:
    only(point, {"attributes", "startTimeUnixNano", "timeUnixNano", "count", "sum", "bucketCounts", "explicitBounds"})
    is_count(point["count"])
    is_double(point["sum"])
    bounds = point["explicitBounds"]
    assert bounds == sorted(set(bounds))
    assert len(point["bucketCounts"]) == len(bounds) + 1
    for count in point["bucketCounts"]:
        is_count(count)
    assert sum(map(int, point["bucketCounts"])) == int(point["count"])


def check(request: Any) -> dict[str, Any]:
    """An ExportMetricsServiceRequest of opentelemetry-proto 1.x in JSON; its metrics by name."""
    only(request, {"resourceMetrics"})
    (of_resource,) = request["resourceMetrics"]
    only(of_resource, {"resource", "scopeMetrics"})
    only(of_resource["resource"], {"attributes"})
    assert check_attributes(of_resource["resource"]["attributes"])["service.name"]
    (of_scope,) = of_resource["scopeMetrics"]
    only(of_scope, {"scope", "metrics"})
    only(of_scope["scope"], {"name", "version"})
    found: dict[str, Any] = {}
    for metric in of_scope["metrics"]:
        kinds = {"sum", "gauge", "histogram"} & set(metric)
        assert len(kinds) == 1
        (kind,) = kinds
        only(metric, {"name", "unit", "description", kind})
        assert re.fullmatch(r"[A-Za-z][A-Za-z0-9_./-]{0,254}", metric["name"])
        assert metric["name"] not in found
        found[metric["name"]] = metric
        shape = {"dataPoints"} | (set() if kind == "gauge" else {"aggregationTemporality"})
        only(metric[kind], shape | ({"isMonotonic"} if kind == "sum" else set()))
        assert metric[kind].get("aggregationTemporality", 2) == 2
        points = metric[kind]["dataPoints"]
        assert points
        assert len({tuple(sorted(check_attributes(p["attributes"]).items())) for p in points}) == len(points)
        for point in points:
            is_count(point["startTimeUnixNano"])
            is_count(point["timeUnixNano"])
            assert 0 < int(point["startTimeUnixNano"]) <= int(point["timeUnixNano"])
            (check_histogram if kind == "histogram" else check_number)(point)
    return found


def a_book() -> MetricsBook:
    book = MetricsBook()
    increment = Increment(
        t0=0.0, release=Digest("d"), role=Role.CANDIDATE, fence=Fence(term=1, seq=1), assigned=7, finished=7, failed=2,
        by={"hash": 7}, sums={"tokens_in": 30, "tokens_out": 12, "cost_micros": 12_500, "tool_errors": 1, "stalls": 1},
        histograms={"latency_ms": {48: 3, 2000: 4}, "first_token_ms": {10: 1}, "tokens": {30: 7}},
        exemplars=({"request": "b-0-1", "status": "500", "reason": "x", "trace": TRACE},),
    )  # fmt: skip
    book.add(
        Batch(gateway="g", boot="b", worker=0, seq=1, at=1.7e9, block_seconds=1, timeout=1, increments=(increment,)),
        {Digest("d"): "1.1.0"},
    )
    return book


def told() -> dict[str, Any]:
    gauges = [("fairway_gateway_in_flight", "gauge", "Requests running.", {}, 3)]
    return export_request(
        a_book().families(gauges), resource={"service.name": "fairway-gateway"}, route="shop/production",
        version="1", started=1_700_000_000.0, now=1_700_000_060.5,
    )  # fmt: skip


def test_what_is_pushed_has_the_protocols_shape_and_the_books_figures() -> None:
    found = check(json.loads(json.dumps(told(), allow_nan=False)))
    requests = found["fairway.gateway.requests"]["sum"]
    assert requests["isMonotonic"] is True
    by_outcome = {check_attributes(point["attributes"])["outcome"]: point for point in requests["dataPoints"]}
    assert {outcome: point["asInt"] for outcome, point in by_outcome.items()} == {
        "ok": "5",
        "failed": "2",
        "unknown": "0",
    }
    assert by_outcome["failed"]["exemplars"][0]["traceId"] == TRACE
    assert check_attributes(by_outcome["ok"]["attributes"]) == {
        "route": "shop/production", "release": "1.1.0", "role": "candidate", "outcome": "ok",
    }  # fmt: skip
    assert by_outcome["ok"]["startTimeUnixNano"] == "1700000000000000000"
    assert by_outcome["ok"]["timeUnixNano"] == "1700000060500000000"
    duration = found["fairway.gateway.request_duration"]
    assert duration["unit"] == "s"
    assert duration["histogram"]["dataPoints"][0]["count"] == "7"
    assert found["fairway.gateway.cost_dollars"]["sum"]["dataPoints"][0]["asDouble"] == pytest.approx(0.0125)
    assert found["fairway.gateway.tokens"]["unit"] == "{token}"
    assert found["fairway.gateway.in_flight"]["gauge"]["dataPoints"][0]["asInt"] == "3"


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ({}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, "http://c:4318/v1/metrics"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318/base/"}, "http://c:4318/base/v1/metrics"),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://c:4318/mine"}, "http://c:4318/mine"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_SDK_DISABLED": "true"}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_METRICS_EXPORTER": "none"}, None),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"},
            "http://c/v1/metrics",
        ),
    ],
)
def test_the_environment_says_where_to_as_the_specification_has_it(given: Mapping[str, str], url: str | None) -> None:
    found = otlp_settings(given)
    assert (None if found is None else found.url) == url


def test_headers_times_and_attributes_are_read_from_the_environment() -> None:
    found = otlp_settings({
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_EXPORTER_OTLP_HEADERS": "api-key=a%20b, x = y",
        "OTEL_METRIC_EXPORT_INTERVAL": "1500", "OTEL_EXPORTER_OTLP_TIMEOUT": "250",
        "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip", "OTEL_SERVICE_NAME": "mine", "OTEL_RESOURCE_ATTRIBUTES": "team=core",
    })  # fmt: skip
    assert found == OtlpSettings(
        url="http://c/v1/metrics", headers={"api-key": "a b", "x": "y"}, interval=1.5, timeout=0.25, compressed=True,
        resource={"service.name": "mine", "team": "core"},
    )  # fmt: skip


@pytest.mark.parametrize(
    "wrong",
    [
        {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
        {"OTEL_METRIC_EXPORT_INTERVAL": "0"},
        {"OTEL_METRIC_EXPORT_INTERVAL": "soon"},
        {"OTEL_METRIC_EXPORT_INTERVAL": "99999999999"},
        {"OTEL_EXPORTER_OTLP_TIMEOUT": "-1"},
        {"OTEL_EXPORTER_OTLP_HEADERS": "nonsense"},
    ],
)
def test_what_cannot_be_read_is_said_at_the_start(wrong: Mapping[str, str]) -> None:
    with pytest.raises(UserError) as caught:
        otlp_settings({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", **wrong})
    assert caught.value.hint


class Collector:
    """Takes pushes; answers as it is told, or not at all."""

    def __init__(self) -> None:
        self.answer: bytes | None = b'{"partialSuccess":{}}'
        self.status = 200
        self.bodies: list[Any] = []
        self.headers: list[dict[str, str]] = []
        self.asked = 0

    async def __aenter__(self) -> Collector:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1/metrics"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                assert head[0] == "POST /v1/metrics HTTP/1.1"
                headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
                body = await reader.readexactly(int(headers["content-length"]))
                self.asked += 1
                if self.answer is None:
                    continue
                self.headers.append(headers)
                plain = gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body
                self.bodies.append(check(json.loads(plain)))
                told = b"HTTP/1.1 %d x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
                writer.write(told % (self.status, len(self.answer), self.answer))
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def until(self, pushes: int) -> None:
        async with asyncio.timeout(10):
            while self.asked < pushes:
                await asyncio.sleep(0.005)


def a_push(collector: Collector, **settings: Any) -> OtlpPush:
    return OtlpPush(OtlpSettings(**{
        "url": collector.url, "headers": {"api-key": "k"}, "interval": 0.02, "timeout": 0.1, "compressed": False,
        "resource": {}, **settings,
    }), told)  # fmt: skip


async def ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize("compressed", [False, True])
async def test_a_collector_gets_the_figures_again_and_again_and_once_more_at_the_end(compressed: bool) -> None:
    async with Collector() as collector:
        push = a_push(collector, compressed=compressed)
        task = asyncio.create_task(push.run())
        await collector.until(3)
        before = collector.asked
        await ended(task)
        assert collector.asked > before
        assert push.counts["ok"] >= before
        assert push.error == ""
        assert {(h["content-type"], h["api-key"]) for h in collector.headers} == {("application/json", "k")}


async def test_a_push_that_fails_is_counted_and_said_once_and_the_next_makes_it_good(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with Collector() as collector:
        push = a_push(collector)
        collector.status = 503
        task = asyncio.create_task(push.run())
        await collector.until(3)
        assert push.error == "answered 503"
        collector.status, failed = 200, push.counts["failed"]
        assert failed >= 2
        await collector.until(collector.asked + 2)
        assert push.counts["ok"] >= 1
        assert push.error == ""
        assert sum("answered 503" in record.message for record in caplog.records) == 1
        collector.answer = b'{"partialSuccess":{"rejectedDataPoints":"3","errorMessage":"too old"}}'
        await collector.until(collector.asked + 2)
        assert push.error == "3 points refused: too old"
        await ended(task)


async def test_a_collector_that_hangs_or_is_not_there_holds_nothing_up() -> None:
    async with Collector() as collector:
        collector.answer = None
        push = a_push(collector, timeout=0.05)
        task = asyncio.create_task(push.run())
        await collector.until(2)
        assert push.counts["failed"] >= 1
        assert "within 0.05 s" in push.error
        async with asyncio.timeout(3):
            await ended(task)
    gone = a_push(collector, timeout=0.5)
    task = asyncio.create_task(gone.run())
    async with asyncio.timeout(5):
        while gone.counts["failed"] < 2:
            await asyncio.sleep(0.01)
    await ended(task)
    assert gone.counts["ok"] == 0
    said = {labels["result"]: count for _, _, _, labels, count in gone.gauges()}
    assert said == gone.counts
