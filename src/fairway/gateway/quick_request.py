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
from fairway.gateway.repeats import CONNECTION, is_plain, request_repeat, without
from fairway.gateway.serving import remember, seen_with
from fairway.gateway.upstream import IDLE_SECONDS

if TYPE_CHECKING:
    from fairway.gateway.client import ClientConnection

_new = object.__new__
LEARN_EVERY = 8
"""A client whose heads differ each time is not looked at more often than one request in so many."""


def quick_request(client: ClientConnection, data: bytes) -> bool:  # noqa: C901 - a call more is paid by all traffic
    """Send a usual request on its way; ``False``, with nothing done, when it is not usual."""
    worker = client.worker
    serving = worker.serving
    usual, before, at, middle, after, order, front, named = client.repeat
    match = cookie = key = known = None
    if usual is serving.usual and (end := data.find(b"\r\n\r\n", at) + 4) > 3:
        size = len(data) - end
        if order == "length":
            before = b"%b%d%b" % (before, size, middle)
        elif order == "key":
            after = b"%b%d%b" % (middle, size, after)
        stop = end - len(after)
        if data.startswith(before) and data.startswith(after, stop) and (order or not size):
            key = data[len(before) : stop]
            known = serving.known.get(key)
            if known is None and not is_plain(key):
                key = None
    if key is None:
        match = serving.usual(data)
        if match is None:
            return False
        host, length, key, cookie, kept = match.groups()
        if key is None or host is None:
            return False
        if len(data) - match.end() != (int(length) if length is not None else 0):
            return False
        known = serving.known.get(key) if cookie is None else serving.with_cookie.get(seen_with(key, cookie))
    if len(data) > serving.quick_bytes or worker.in_flight >= serving.in_flight:
        return False
    started = perf_counter()
    now = started + worker.epoch
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
    if met is None:
        cell.quick += 1
        exchange.cookie = b""
    else:
        _, start, unit = met
        remember(serving.known, key, known)
        if start is None:
            cell.quick += 1
            exchange.cookie = b""
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
    if match is None:
        upstream.transport.write(b"%b%x%b%b" % (front, number, named, data[at:]))
        return True
    end = match.end() - 2  # before the empty line
    head = data[:end] if kept is None else without(data[:end], match, 5, CONNECTION)
    upstream.transport.write(b"%b%b%x\r\n%b" % (head, client.lines, number, data[end:]))
    if cookie is None:
        if client.unlike % LEARN_EVERY == 0:
            client.repeat = request_repeat(serving.usual, data, match, client.lines)
        client.unlike += 1
    return True
