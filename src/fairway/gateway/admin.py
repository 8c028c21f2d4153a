"""The admin API of a gateway, on its unix socket and on loopback: telemetry, status, pin, metrics, health."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from fairway import __version__
from fairway.errors import ConflictError, FairwayError
from fairway.gateway.chronicle import actor_in
from fairway.gateway.exposition import OPENMETRICS, PROMETHEUS, wants_openmetrics
from fairway.gateway.routing_api import RoutingApi
from fairway.gateway.shadow_api import pairs_answer
from fairway.traffic.fence import ZERO_FENCE
from fairway.traffic.local_http import LocalAnswer, LocalRequest
from fairway.units import format_share

if TYPE_CHECKING:
    from fairway.gateway.parent import Gateway

Gauge = tuple[str, str, str, Mapping[str, str], float]


class AdminApi:
    """Answers for one gateway."""

    def __init__(self, gateway: Gateway) -> None:
        """Take the gateway whose state is shown."""
        self._gateway = gateway
        self._routing = RoutingApi(gateway)

    async def handle(self, request: LocalRequest) -> LocalAnswer:
        """Answer one request."""
        if (answer := await self._routing.handle(request)) is not None:
            return answer
        if (request.method, request.path) == ("POST", "/v1/pin"):
            return await self._pin(request)
        if (request.method, request.path) == ("POST", "/v1/trip"):
            return await self._trip(request)
        if (request.method, request.path) == ("POST", "/v1/restart"):
            return await self._restart(request)
        if request.method != "GET":
            return LocalAnswer.problem(405, "method", f"{request.method} is not served at {request.path}")
        if request.path == "/v1/deltas":
            return self._deltas(request)
        if request.path == "/v1/pairs":
            return pairs_answer(self._gateway, request)
        if request.path == "/v1/decisions":
            return LocalAnswer.of({"gateway": self._gateway.gateway_id, "events": self._gateway.chronicle.events})
        if request.path == "/v1/status":
            return LocalAnswer.of(self.status())
        if request.path == "/metrics":
            return self._metrics(openmetrics=wants_openmetrics(request.accept))
        if request.path == "/healthz":
            ready = any(worker.ready for worker in self._gateway.workers.values())
            return LocalAnswer.of({"ready": ready}, status=200 if ready else 503)
        return LocalAnswer.problem(404, "not_found", f"nothing at {request.path}")

    def _deltas(self, request: LocalRequest) -> LocalAnswer:
        gateway = self._gateway
        if gateway.ring is None:
            return LocalAnswer.problem(503, "not_yet", "another gateway process still holds the telemetry")
        route = request.query.get("route")
        if route is not None and gateway.table is not None and route != str(gateway.table.route):
            return LocalAnswer.problem(404, "other_route", f"this gateway serves {gateway.table.route}")
        lines, cursor = gateway.ring.read(request.query.get("after") or None)
        body = b'{"batches":[' + b",".join(lines) + b'],"cursor":"' + cursor.encode() + b'"}'
        return LocalAnswer(body=body)

    async def _pin(self, request: LocalRequest) -> LocalAnswer:
        wanted = request.json()
        if not isinstance(wanted, dict) or set(wanted) != {"to"} or wanted["to"] not in ("stable", None):
            return LocalAnswer.problem(400, "pin", 'expected {"to": "stable"} or {"to": null}')
        everywhere = await self._gateway.pin_stable(wanted["to"] == "stable", actor=actor_in(request))
        return LocalAnswer.of({"pinned": wanted["to"], "applied": everywhere, "kept": not self._gateway.keeper.missing})

    async def _trip(self, request: LocalRequest) -> LocalAnswer:
        if request.json() != {"release": None}:
            return LocalAnswer.problem(400, "trip", 'expected {"release": null}: a trip can only be ended')
        everywhere = await self._gateway.clear_trip(actor=actor_in(request))
        return LocalAnswer.of({"tripped": None, "applied": everywhere, "kept": not self._gateway.keeper.missing})

    async def _restart(self, request: LocalRequest) -> LocalAnswer:
        wanted = request.json()
        if not isinstance(wanted, dict) or set(wanted) != {"what"} or wanted["what"] not in ("gateway", "workers"):
            return LocalAnswer.problem(400, "restart", 'expected {"what": "gateway"} or {"what": "workers"}')
        try:
            if wanted["what"] == "gateway":
                await self._gateway.renewal.begin()
            else:
                self._gateway.renew_workers()
        except FairwayError as error:
            status = 409 if isinstance(error, ConflictError) else 500
            return LocalAnswer.problem(status, error.code, error.message)
        return LocalAnswer.of({"restarting": self._gateway.renewal.phase})

    def status(self) -> dict[str, Any]:
        """What the gateway is and does, for people and the controller."""
        gateway = self._gateway
        table = gateway.table
        seen = gateway.controller_seen
        return {
            "gateway": gateway.state.gateway_id,
            "boot": gateway.boot,
            "port": gateway.port,
            "uptime_seconds": round(time.time() - gateway.started, 1),
            "draining": gateway.draining,
            "version": __version__,
            "pid": os.getpid(),
            "restarting": gateway.renewal.phase,
            "restart_error": gateway.renewal.error,
            "table": None
            if table is None
            else {
                "route": str(table.route),
                "fence": str(table.fence),
                "split": format_share(table.split),
                "mirror": format_share(table.mirror),
                "salt": table.salt,
                "arms": [
                    {
                        "role": arm.role.value,
                        "release": arm.release,
                        "version": arm.version,
                        "ready": len(arm.endpoints),
                        "waiting": gateway.overseer.waiting(arm),
                        "endpoints": gateway.overseer.of_arm(arm),
                    }
                    for arm in table.arms
                ],
                "masks": list(table.masks),
            },
            "confirmed": str(gateway.acknowledged()),
            "table_error": _refused(gateway),
            "pinned": "stable" if gateway.decisions.pinned else None,
            "pinned_to": gateway.decisions.pinned_to,
            "tripped": gateway.decisions.tripped,
            "tripped_to": gateway.decisions.tripped_to,
            "masked": list(gateway.decisions.masked),
            "not_kept": {"what": list(gateway.keeper.missing), "error": gateway.keeper.error}
            if gateway.keeper.missing
            else None,
            "tls": None if gateway.tls is None else gateway.tls.status(),
            "controller": {
                "socket": gateway.settings.controller_socket is not None,
                "seen_seconds_ago": None if seen is None else round(time.time() - seen, 1),
            },
            "workers": [
                {
                    "worker": worker.number,
                    "pid": worker.process.pid,
                    "ready": worker.ready,
                    "fence": str(worker.fence) if worker.fence else None,
                    "in_flight": worker.stats.get("in_flight", 0),
                    "connections": worker.stats.get("connections", 0),
                }
                for worker in gateway.workers.values()
            ],
            "restarts": gateway.restarts,
        }

    def _metrics(self, *, openmetrics: bool) -> LocalAnswer:
        gateway = self._gateway
        route = str(gateway.table.route) if gateway.table is not None else ""
        text = gateway.metrics.render(route, self.gauges(), openmetrics=openmetrics)
        return LocalAnswer(
            body=text.encode("utf-8", "replace"), content_type=OPENMETRICS if openmetrics else PROMETHEUS
        )

    def gauges(self) -> Iterator[Gauge]:
        """What is told beside what workers count in batches."""
        gateway = self._gateway
        if gateway.exporter is not None:
            yield from gateway.exporter.gauges()
        none: dict[str, str] = {}
        workers = gateway.workers.values()
        fence = gateway.table.fence if gateway.table is not None else ZERO_FENCE
        yield from gateway.totals.gauges(worker.stats for worker in workers)
        yield "fairway_gateway_start_time_seconds", "gauge", "When this gateway began.", none, gateway.started
        in_flight = sum(worker.stats.get("in_flight", 0) for worker in workers)
        connections = sum(worker.stats.get("connections", 0) for worker in workers)
        ready = sum(worker.ready for worker in workers)
        yield from gateway.overseer.gauges(gateway.table, gateway.versions)
        yield "fairway_gateway_in_flight", "gauge", "Requests running.", none, in_flight
        yield "fairway_gateway_connections", "gauge", "Client connections open.", none, connections
        copies = sum(worker.stats.get("mirror", {}).get("in_flight", 0) for worker in workers)
        yield "fairway_gateway_shadow_in_flight", "gauge", "Copies for a shadow under way or waiting.", none, copies
        yield "fairway_gateway_workers", "gauge", "Workers serving.", none, ready
        yield "fairway_gateway_worker_restarts_total", "counter", "Workers replaced.", none, gateway.restarts
        yield "fairway_gateway_table_term", "gauge", "Term of the table in force.", none, fence.term
        yield "fairway_gateway_table_seq", "gauge", "Sequence number of the table in force.", none, fence.seq
        yield "fairway_gateway_pinned", "gauge", "1 while a person pins stable.", none, int(gateway.decisions.pinned)
        tripped = int(gateway.decisions.tripped is not None)
        yield (
            "fairway_gateway_tripped",
            "gauge",
            "1 while the gateway keeps the candidate out by itself.",
            none,
            tripped,
        )
        masked = len(gateway.decisions.masked)
        yield "fairway_gateway_masked", "gauge", "Releases a person keeps from traffic here.", none, masked
        if gateway.tls is not None:
            yield from gateway.tls.gauges()
        not_kept = int(bool(gateway.keeper.missing))
        yield (
            "fairway_gateway_not_kept",
            "gauge",
            "1 while the disk does not take the table or the gateway's own decisions.",
            none,
            not_kept,
        )
        refused = int(bool(_refused(gateway)))
        text = "1 while the last table, of the controller or the file, is refused and an older one stays in force."
        yield "fairway_gateway_table_refused", "gauge", text, none, refused


def _refused(gateway: Gateway) -> str | None:
    """Why the last table is not in force, if so; a file that the controller's tables follow is only to begin with."""
    file = gateway.table_file if gateway.settings.controller_socket is None else None
    return gateway.table_error or (None if file is None else file.error)
