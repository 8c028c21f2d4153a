"""The gateway's parent asks every endpoint of its table how it is, one process for all workers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from random import random
from time import time
from typing import Literal

from fairway.gateway.bodies import AnswerBody
from fairway.gateway.endpoints.health import Answered, Checked, Fitness, Place, without_unfit
from fairway.gateway.endpoints.verifying import RELEASE_HEADER
from fairway.gateway.framing import RefusalError, parse_answer
from fairway.traffic.endpoints import Health
from fairway.traffic.table import RouteTable

log = logging.getLogger("fairway.gateway")

_MOST_BYTES = 65_536
"""Head and body of an answer that are read; no answer has a reason to say more."""


class Checker:
    """Asks for as long as a table says so; knows nothing of an endpoint it has not asked."""

    def __init__(self, changed: Callable[[], None]) -> None:
        """Take what is called, once for all that changes together, when another set of endpoints should serve."""
        self.known: dict[Place, Checked] = {}
        self._changed = changed
        self.heard: Callable[[Place, Answered, float], None] = _nothing
        """Is told of every answer, and when it came (epoch seconds)."""
        self._policy: Health | None = None
        self._tasks: dict[Place, asyncio.Task[None]] = {}
        self._told = True

    def follow(self, table: RouteTable) -> None:
        """Ask the endpoints of this table from now on, and no others; on the running event loop."""
        if table.health != self._policy:
            self.close()
            self._policy = table.health
        policy = self._policy
        wanted = {(arm.release, endpoint) for arm in table.arms for endpoint in arm.endpoints} if policy else set()
        for place in self._tasks.keys() - wanted:
            self._tasks.pop(place).cancel()
            self.known.pop(place, None)
        for place in wanted - self._tasks.keys():
            assert policy is not None
            self.known[place] = Checked()
            self._tasks[place] = asyncio.create_task(self._ask_forever(place, policy))

    def fit(self, table: RouteTable) -> RouteTable:
        """The table without the endpoints that should get nothing."""
        unfit = {place: checked.fitness for place, checked in self.known.items() if checked.fitness is not Fitness.FIT}
        return without_unfit(table, unfit) if unfit else table

    def close(self) -> None:
        """Ask nobody any more."""
        for task in self._tasks.values():
            task.cancel()
        self._tasks.clear()
        self.known.clear()

    async def _ask_forever(self, place: Place, policy: Health) -> None:
        """Ask one endpoint, at once and then in turn, a little off the beat so that many are not asked together."""
        release, endpoint = place
        checked = self.known[place]
        while True:
            answered = await ask(endpoint, policy.path, policy.timeout)
            self.heard(place, answered, time())
            if checked.take(answered, release, policy):
                log.warning("%s is %s: %s", endpoint, checked.fitness.value, checked.detail or "it answers")
                if self._told:
                    self._told = False
                    asyncio.get_running_loop().call_soon(self._tell)
            await asyncio.sleep(policy.interval * (0.9 + 0.2 * random()))  # noqa: S311 - spreads, no secret

    def _tell(self) -> None:
        self._told = True
        self._changed()


def _nothing(_place: Place, _answered: Answered, _at: float) -> None:
    """Nobody listens."""


async def ask(endpoint: str, path: str, seconds: float, *, method: Literal["GET", "HEAD"] = "GET") -> Answered:
    """Ask for a path of an endpoint on a connection of its own, within so many seconds; total."""
    host, _, port = endpoint.rpartition(":")
    try:
        async with asyncio.timeout(seconds):
            return await _asked(host.strip("[]"), int(port), endpoint, path, method)
    except TimeoutError:
        return Answered(detail=f"no answer within {seconds:g} s")
    except OSError as error:
        return Answered(detail=error.strerror or str(error) or type(error).__name__)
    except (RefusalError, ValueError) as error:
        return Answered(detail=str(error) or type(error).__name__)


async def _asked(host: str, port: int, endpoint: str, path: str, method: str) -> Answered:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        request = (
            f"{method} {path} HTTP/1.1\r\nhost: {endpoint}\r\naccept: application/json\r\nconnection: close\r\n\r\n"
        )
        writer.write(request.encode("ascii"))
        data = b""
        while (
            head := parse_answer(data, limit=_MOST_BYTES, head_request=method == "HEAD")
        ) is None or head.status < 200:
            if head is not None:
                data = data[head.end :]
                continue
            piece = await reader.read(_MOST_BYTES)
            if not piece:
                return Answered(detail="the connection was closed without an answer")
            data += piece
        body, payload = AnswerBody(head.length), b""
        piece = data[head.end :]
        while True:
            payload += body.feed(piece)
            if body.complete or len(payload) >= _MOST_BYTES or not (piece := await reader.read(_MOST_BYTES)):
                break
        return Answered(status=head.status, said=head.headers.get(RELEASE_HEADER), body=payload[:_MOST_BYTES])
    finally:
        writer.transport.abort()
