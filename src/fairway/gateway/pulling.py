"""Tables pulled from the controller: a long poll that also says what this gateway serves and what it decided."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import Protocol
from urllib.parse import urlencode

from fairway.errors import TransientError
from fairway.gateway.endpoints.overseeing import Overseer
from fairway.gateway.keeping import RETRY_SECONDS, Keeper
from fairway.gateway.state import LocalDecisions
from fairway.traffic.fence import ZERO_FENCE, Fence
from fairway.traffic.local_http import LocalAnswer, LocalClient
from fairway.traffic.table import RouteTable

log = logging.getLogger("fairway.gateway")

POLL_SECONDS = 1.0
"""What a gateway decides by itself travels with its next question, so it is told within so long."""


class Puller(Protocol):
    """A gateway as its controller sees it."""

    table: RouteTable | None
    table_error: str | None
    controller_seen: float | None
    decisions: LocalDecisions
    keeper: Keeper
    overseer: Overseer
    boot: str

    @property
    def gateway_id(self) -> str:
        """Its name, for good."""
        ...

    def acknowledged(self) -> Fence:
        """What it serves and will not forget."""
        ...

    def install(self, table: RouteTable) -> Awaitable[None]:
        """Put a newer table in force."""
        ...


async def pull_forever(gateway: Puller, path: Path) -> None:
    """Ask the controller for newer tables, whatever happens.

    Args:
        gateway: That serves them.
        path: Unix socket of the controller.
    """
    client = LocalClient(path)
    try:
        while True:
            try:
                await _pull(gateway, client)
            except TransientError:
                await asyncio.sleep(0.25)  # goes on with the last table; the controller may come back
            except Exception as error:  # nothing may cut the gateway off from its controller
                log.exception("pulling a table failed")
                gateway.table_error = f"{type(error).__name__}: {error}"
                client.close()
                await asyncio.sleep(0.5)
    finally:
        client.close()


async def _pull(gateway: Puller, client: LocalClient) -> None:
    answer = await client.ask("GET", "/v1/table?" + urlencode(_question(gateway)), within=POLL_SECONDS + 3)
    gateway.controller_seen = time.time()
    if answer.status == 204:
        return
    try:
        table = _read(answer, gateway.table)
    except ValueError as error:
        gateway.table_error = str(error)
        log.error("a table was refused: %s", error)
        await asyncio.sleep(0.5)
        return
    await gateway.install(table)


def _question(gateway: Puller) -> dict[str, str]:
    fence = gateway.table.fence if gateway.table is not None else ZERO_FENCE
    confirmed = gateway.acknowledged()
    decisions = gateway.decisions
    hurry = RETRY_SECONDS if gateway.keeper.missing else 0.1
    return {
        "after": str(fence),
        "wait": str(POLL_SECONDS if confirmed == fence else hurry),
        "gateway": gateway.gateway_id,
        "boot": gateway.boot,
        "confirmed": str(confirmed),
        "tripped": decisions.tripped or "",
        "pinned": (decisions.pinned_to or "") if decisions.pinned else "",
        "masked": ",".join(decisions.masked),
        "left_out": ",".join(gateway.overseer.left_out(gateway.table)),
        **({"route": str(gateway.table.route)} if gateway.table is not None else {}),
    }


def _read(answer: LocalAnswer, known: RouteTable | None) -> RouteTable:
    """The table in an answer.

    Raises:
        ValueError: When there is none, it cannot be served, or it is not newer than ``known``.
    """
    if answer.status != 200:
        raise ValueError(f"the controller answered {answer.status}")
    table = RouteTable.from_wire(answer.json())
    check_table(table)
    if known is not None and table.fence <= known.fence:
        raise ValueError(f"table {table.fence} is not newer than {known.fence}: refused")
    return table


def check_table(table: RouteTable) -> None:
    """Refuse a table that is well formed but cannot be served.

    Raises:
        ValueError: For an endpoint that is not ``host:port``, or a salt with NUL.
    """
    for arm in table.arms:
        for endpoint in arm.endpoints:
            host, _, port = endpoint.rpartition(":")
            if not host or not port.isdecimal() or not 0 < int(port) < 65536:
                raise ValueError(f"endpoint {endpoint!r} of the {arm.role} arm is not host:port")
    if "\0" in table.salt:
        raise ValueError("the salt contains NUL")
