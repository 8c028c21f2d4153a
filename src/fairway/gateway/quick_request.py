"""The short way of a usual request: no expression, no objects in between.

Most traffic is a whole request with the key in a header, answered in one piece. Those take this way, at a fraction of
the cost; whatever is unusual in any respect is left untouched for the general way in :mod:`client` and
:mod:`exchange`, which alone decides what is refused. Every line here is paid by every request: measure before adding
one.
"""

from __future__ import annotations

from struct import error as CutError  # noqa: N812 - of a request shorter than the head it is held against
from time import perf_counter
from typing import TYPE_CHECKING

from fairway.gateway.meeting import begun, meet
from fairway.gateway.quick_exchange import QuickExchange
from fairway.gateway.repeats import CONNECTION, is_plain, request_repeat, without
from fairway.gateway.serving import Unit, cookie_told, remember
from fairway.gateway.upstream import IDLE_SECONDS

if TYPE_CHECKING:
    import re

    from fairway.gateway.client import ClientConnection
    from fairway.gateway.serving import Serving

LEARN_EVERY = 8
"""A client whose heads differ each time is not learned from more often than at one request in so many."""


def quick_request(client: ClientConnection, data: bytes) -> bool:  # noqa: C901 - a call more is paid by all traffic
    """Send a usual request on its way; ``False``, with nothing done, when it is not usual."""
    worker = client.worker
    serving = worker.serving
    usual, cut, end, before, between, after, key_first, no_length, units, cookie, front, at = client.repeat
    key = match = None
    if usual is serving.usual:
        try:
            head, one, middle, two, rest = cut(data)
        except CutError:
            head = b""
        if head == before and middle == between and rest == after:
            if not key_first:
                one, two = two, one
            size = len(data) - end
            if two == (b"%d" % size if size else no_length):
                unit = units.get(one)
                if unit is not None or is_plain(one):
                    key = one
    if key is None:
        match = usual_head(serving, data)
        if match is None:
            return False
        key, cookie = match.group(3, 4)
        units = serving.known
        if cookie is not None:
            cookie = cookie_told(cookie)
            units = serving.with_cookie
        unit = units.get(key)
    if len(data) > serving.quick_bytes or worker.in_flight >= serving.in_flight:
        return False
    started = perf_counter()
    met = None
    if unit is None or unit.cookie != cookie:
        if cookie is not None:
            return False
        met = meet(serving, worker, key, started)
        if met is None:
            return False
        unit = met[0]
    known = unit.known
    if started >= known.until and not known.go_on(serving, started, worker.epoch):
        return False
    idle = (known.pool or known.served.turn()).idle
    if not idle:
        return False
    upstream = idle[-1]
    if upstream.closed or started - upstream.idle_since > IDLE_SECONDS:
        return False
    del idle[-1]
    upstream.reused = True
    cell = known.cell
    exchange = upstream.quick
    if exchange is None:
        exchange = upstream.quick = QuickExchange()
    client.exchange = upstream.exchange = exchange
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
        remember(serving.known, key, unit)
        exchange.cookie = begun(met, cell, worker)
    if known.counts:
        exchange.unit = key
        if unit.marked is not cell:
            unit.marked = cell
            cell.units.append(unit.digest)
    else:
        exchange.unit = None
    worker.in_flight += 1
    exchange.number = number = next(worker.count)
    exchange.tail = tail = b"%x\r\n" % number
    if match is None:
        client.unlike = 0
        upstream.transport.write(b"".join((front, tail, data[at:])))
    else:
        upstream.transport.write(as_sent(client, data, match, tail))
        learn(client, serving, data, match, units, cookie)
    return True


def usual_head(serving: Serving, data: bytes) -> re.Match[bytes] | None:
    """The match of a usual request that is here whole."""
    match = serving.usual(data)
    if match is None:
        return None
    host, length, key = match.group(1, 2, 3)
    if key is None or host is None or len(data) - match.end() != (int(length) if length is not None else 0):
        return None
    return match


def as_sent(client: ClientConnection, data: bytes, match: re.Match[bytes], tail: bytes) -> bytes:
    """What the arm gets of a request whose head is not known from the connection's last ones."""
    end = match.end() - 2  # before the empty line
    head = data[:end] if match.start(5) < 0 else without(data[:end], match, 5, CONNECTION)
    return b"".join((head, client.lines, tail, data[end:]))


def learn(
    client: ClientConnection,
    serving: Serving,
    data: bytes,
    match: re.Match[bytes],
    units: dict[bytes, Unit],
    cookie: bytes | None,
) -> None:
    """Note the head of a second request in a row that is not like the last one known; an odd one out passes by."""
    if (client.unlike - 1) % LEARN_EVERY == 0:
        client.repeat = request_repeat(serving.usual, data, match, client.lines, units, cookie)
    client.unlike += 1
