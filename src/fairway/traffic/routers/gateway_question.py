"""What a gateway decided by itself, asked on its admin socket."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fairway.errors import TransientError
from fairway.traffic.local_http import LocalClient


class GatewayQuestion:
    """Asks one gateway."""

    def __init__(self, socket_path: Path, *, timeout: float = 3.0) -> None:
        """Take its admin socket, and the seconds an answer may take."""
        self._client = LocalClient(socket_path)
        self._timeout = timeout

    async def decided(self) -> list[dict[str, Any]]:
        """Trips, pins and masks, oldest first.

        Raises:
            TransientError: It cannot be reached, or what it says cannot be read.
        """
        answer = await self._client.ask("GET", "/v1/decisions", within=self._timeout)
        try:
            events = answer.json()["events"] if answer.status == 200 else None
        except (ValueError, KeyError, TypeError):
            events = None
        if not isinstance(events, list) or not all(isinstance(event, dict) for event in events):
            raise TransientError(f"the gateway does not say what it decided: {answer.status}", code="gateway_decisions")
        return events
