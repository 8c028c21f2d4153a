"""The short way of a usual request: one expression, no objects in between.

Most traffic is a whole request with the key in a header, answered in one piece. Those take this way, at a third of the
cost; whatever is unusual in any respect is left untouched for the general way in :mod:`client` and :mod:`exchange`,
which alone decides what is refused. Every line here is paid by every request: measure before adding one.
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

from fairway.gateway.placing import begin_met, meet
from fairway.gateway.quick_exchange import QuickExchange
from fairway.gateway.serving import remember, seen_with
from fairway.gateway.upstream import IDLE_SECONDS

if TYPE_CHECKING:
    from fairway.gateway.client import ClientConnection

_new = object.__new__


def quick_request(client: ClientConnection, data: bytes) -> bool:  # noqa: C901 - a call more is paid by all traffic
    """Send a usual request on its way; ``False``, with nothing done, when it is not usual."""
    worker = client.worker
    serving = worker.serving
    match = serving.usual(data)
    if match is None:
        return False
    host, length, key, cookie = match.groups()
    if key is None or host is None or len(data) > serving.quick_bytes or worker.in_flight >= serving.in_flight:
        return False
    end = match.end()
    if len(data) - end != (int(length) if length is not None else 0):
        return False
    started = perf_counter()
    now = started + worker.epoch
    known = serving.known.get(key) if cookie is None else serving.with_cookie.get(seen_with(key, cookie))
    met = None
    if known is None or now >= known.expires:
        if cookie is not None:
            return False
        met = meet(serving, worker, key, now)
        if met is None:
            return False
        known = met[0]
    cell = known.cell
    if cell is None or not cell.t0 <= now < cell.end:
        cell = known.cell = serving.cells.get(known.release) if known.release is not None else None
        if cell is None or not cell.t0 <= now < cell.end:
            return False
    if not known.direct:
        return False
    idle = (known.pool or known.served.turn()).idle
    if not idle:
        return False
    upstream = idle[-1]
    if upstream.closed or started - upstream.idle_since > IDLE_SECONDS:
        return False
    del idle[-1]
    upstream.reused = True
    client.exchange = upstream.exchange = exchange = _new(QuickExchange)
    exchange.client = client
    exchange.upstream = upstream
    exchange.serving = serving
    exchange.known = known
    exchange.cell = cell
    exchange.started = started
    exchange.sent = data
    exchange.cookie = b""
    if met is None:
        cell.quick += 1
    else:
        _, start, unit = met
        remember(serving.known, key, known)
        if start is None:
            cell.quick += 1
        else:
            exchange.cookie = begin_met(start, worker, unit)
            cell.begun += 1
    cell.open += 1
    if known.counts:
        exchange.unit = key
        if key not in cell.active:
            cell.mark("active", key, None if met is None else met[2])
    else:
        exchange.unit = None
    client.close_after = False
    worker.in_flight += 1
    exchange.number = number = next(worker.count)
    end -= 2  # before the empty line
    upstream.transport.write(b"%b%b%x\r\n%b" % (data[:end], client.lines, number, data[end:]))
    return True
