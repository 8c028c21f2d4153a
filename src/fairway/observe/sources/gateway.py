"""Telemetry from Fairway's own gateway: batches by cursor from its admin socket."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from fairway.errors import TransientError
from fairway.observe.blocks import Batch
from fairway.observe.port import Pulled
from fairway.traffic.local_http import LocalClient
from fairway.units import RouteId


class GatewaySource:
    """Pulls ``GET /v1/deltas`` of one gateway."""

    def __init__(self, socket_path: Path, *, timeout: float = 3.0) -> None:
        """Take the gateway's admin socket and the seconds an answer may take."""
        self._client = LocalClient(socket_path)
        self._timeout = timeout

    async def pull(self, route: RouteId, *, after: str | None) -> Pulled:
        """Batches after the cursor; may bring some again, readers drop what they have.

        Raises:
            TransientError: When the gateway cannot be reached, or what it says cannot be read.
        """
        target = "/v1/deltas?route=" + quote(str(route), safe="") + ("" if after is None else "&after=" + quote(after))
        answer = await self._client.ask("GET", target, within=self._timeout)
        if answer.status != 200:
            raise TransientError(f"the gateway answered {answer.status} to a pull of telemetry", code="telemetry")
        try:
            wire = answer.json()
            return Pulled(batches=tuple(Batch.from_wire(item) for item in wire["batches"]), cursor=str(wire["cursor"]))
        except (ValueError, KeyError, TypeError) as error:
            raise TransientError(f"the gateway's telemetry cannot be read: {error}", code="telemetry") from error

    def close(self) -> None:
        """Drop the connection."""
        self._client.close()
