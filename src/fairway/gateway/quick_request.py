"""The short way of a usual request: one expression, no objects in between.

Most traffic is a whole request with the key in a header, answered in one piece. Those take this way, at a third of the
cost; whatever is unusual in any respect is left untouched for the general way in :mod:`client` and :mod:`exchange`,
which alone decides what is refused.
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

from fairway.gateway.placing import begin_met, meet

if TYPE_CHECKING:
    from fairway.gateway.client import ClientConnection


def quick_request(client: ClientConnection, data: bytes) -> bool:
    """Send a usual request on its way; ``False``, with nothing done, when it is not usual."""
    worker = client.worker
    serving = worker.serving
    match = serving.usual(data)
    if match is None:
        return False
    end = match.end()
    host, length, key = match.groups()
    if key is None or host is None or len(data) > serving.quick_bytes:
        return False
    if len(data) - end != (int(length) if length is not None else 0) or worker.in_flight >= serving.in_flight:
        return False
    started = perf_counter()
    now = started + worker.epoch
    known = serving.known.get(key)
    assigned = None
    if known is None or now >= known.expires:
        met = meet(serving, worker, key, now)
        if met is None:
            return False
        assigned, known = met
    cell = serving.cells.get(known.release) if known.release is not None else None
    if cell is None or not cell.t0 <= now < cell.end:
        return False
    upstream = known.pool.get(started) if known.pool is not None else None
    if upstream is None:
        return False
    client.exchange = upstream.exchange = exchange = client.new_exchange(client, serving, known, cell, started)
    if assigned is None:
        cell.quick += 1
        cell.open += 1
    else:
        exchange.cookie = begin_met(assigned, known, serving, worker, key, now)
        cell.start(assigned.decision.by)
        cell.served += 1
    unit = known.unit
    if unit is not None and unit not in cell.active:
        cell.mark("active", unit)
    exchange.upstream = upstream
    exchange.sent = data
    exchange.request_id = request_id = b"%b%x" % (worker.prefix, next(worker.count))
    client.close_after = False
    worker.in_flight += 1
    sent = (data[: end - 2], client.forwarded_line, request_id, data[end:])
    upstream.transport.write(b"%b%bx-fairway-request: %b\r\n\r\n%b" % sent)
    return True
