"""Metrics pushed to an OpenTelemetry collector by the gateway's parent: now and then, bounded, in nobody's way.

What a push tells are totals, so one that fails is made good by the next: nothing is kept to be sent again.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from fairway import __version__
from fairway.errors import FairwayError
from fairway.gateway.admin import AdminApi
from fairway.gateway.metric_values import Gauge
from fairway.gateway.otlp import OtlpSettings, export_request
from fairway.http_client.client import HttpClient

if TYPE_CHECKING:
    from fairway.gateway.parent import Gateway

log = logging.getLogger("fairway.gateway")

_MAX_ANSWER = 65_536
_LAST_SECONDS = 2.0


def push_of(gateway: Gateway, settings: OtlpSettings) -> OtlpPush:
    """A push of what a gateway's ``/metrics`` says."""
    admin = AdminApi(gateway)

    def tell() -> dict[str, Any]:
        table = gateway.table
        route = "" if table is None else str(table.route)
        resource = {"service.instance.id": gateway.gateway_id, "service.version": __version__, **settings.resource}
        if table is not None:
            resource |= {"fairway.agent": table.route.agent, "deployment.environment.name": table.route.environment}
        families = gateway.metrics.families(admin.gauges())
        started, now = gateway.started, time.time()
        return export_request(families, resource=resource, route=route, version=__version__, started=started, now=now)

    return OtlpPush(settings, tell)


class OtlpPush:
    """Pushes what it is given, once an interval."""

    def __init__(self, settings: OtlpSettings, tell: Callable[[], Mapping[str, Any]]) -> None:
        """Take where to, and what gives the request to be pushed."""
        self._settings = settings
        self._tell = tell
        self.counts = {"ok": 0, "failed": 0}
        self.error = ""
        """Why the last push failed; empty when it did not."""

    async def run(self) -> None:
        """Push until cancelled, and once more then: the last counts are told as well."""
        async with HttpClient(timeout_seconds=self._settings.timeout, max_body_bytes=_MAX_ANSWER) as client:
            try:
                while True:
                    await asyncio.sleep(self._settings.interval)
                    await self._push(client, self._settings.timeout)
            finally:
                await self._push(client, min(_LAST_SECONDS, self._settings.timeout))

    async def _push(self, client: HttpClient, within: float) -> None:
        try:
            body = json.dumps(self._tell(), separators=(",", ":"), allow_nan=False).encode()
            headers = {"content-type": "application/json", **self._settings.headers}
            if self._settings.compressed:
                body, headers["content-encoding"] = gzip.compress(body, 6), "gzip"
            answer = await client.post(self._settings.url, body, headers=headers, timeout_seconds=within)
            trouble = _refused(answer.status, answer.body)
        except FairwayError as error:
            trouble = error.message
        except Exception as error:  # the next push may succeed, and nobody waits for this one
            log.exception("metrics could not be told")
            trouble = f"{type(error).__name__}: {error}"
        self.counts["failed" if trouble else "ok"] += 1
        if trouble and trouble != self.error:
            log.warning("metrics were not pushed to %s: %s", self._settings.url, trouble)
        self.error = trouble

    def gauges(self) -> Iterator[Gauge]:
        """What ``/metrics`` says of it."""
        text = "Pushes of metrics to an OpenTelemetry collector, by what came of them."
        for result, count in self.counts.items():
            yield "fairway_gateway_otlp_pushes_total", "counter", text, {"result": result}, count


def _refused(status: int, body: bytes) -> str:
    """Why a collector did not take all of it; empty when it did."""
    if status != 200:
        return f"answered {status}"
    try:
        told = json.loads(body or b"{}").get("partialSuccess") or {}
        rejected = int(told.get("rejectedDataPoints", 0))
    except (ValueError, TypeError, AttributeError):
        return ""
    return f"{rejected} points refused: {str(told.get('errorMessage', ''))[:200]}" if rejected else ""
