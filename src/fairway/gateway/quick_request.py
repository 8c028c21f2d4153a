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

from fairway.gateway.access_log import who_asked
from fairway.gateway.meeting import begun, meet
from fairway.gateway.quick_exchange import QuickExchange
from fairway.gateway.quick_pieces import PiecedExchange
from fairway.gateway.repeats import CONNECTION, is_plain, request_repeat, shared, without
from fairway.gateway.serving import Unit, cookie_told, remember
from fairway.gateway.upstream import IDLE_SECONDS

if TYPE_CHECKING:
    import re

    from fairway.gateway.client import ClientConnection
    from fairway.gateway.serving import Serving
    from fairway.gateway.upstream import Upstream

LARGE_BYTES = 16_384
"""Of a body: more is not copied to be sent together with its head."""

TRACE_HEADER = "traceparent"

LEARN_EVERY = 8
"""A client whose heads differ each time is not learned from more often than at one request in so many."""


def quick_request(client: ClientConnection, data: bytes) -> bool:  # noqa: C901 - a call more is paid by all traffic
    """Send a usual request on its way; ``False``, with nothing done, when it is not usual."""
    worker = client.worker
    serving = worker.serving
    usual, cut, end, before, between, after, key_first, no_length, units, cookie, front, at, who = client.repeat
    key = match = None
    missing = size = 0
    if usual is serving.usual:
        try:
            head, one, middle, two, rest = cut(data)
        except CutError:
            head = b""
        if head == before and middle == between and rest == after:
            if not key_first:
                one, two = two, one
            size = len(data) - end
            if two != (b"%d" % size if size else no_length):
                missing = missing_of(two, size)
                size += missing
            if size <= serving.body_bytes and missing >= 0:
                unit = units.get(one)
                if unit is not None or is_plain(one):
                    key = one
    if key is None:
        read = read_head(serving, data)
        if read is None:
            return False
        match, missing = read
        end = match.end()
        key, cookie = match.group(3, 4)
        who, size = b"", 0
        units = serving.known
        if cookie is not None:
            cookie = cookie_told(cookie)
            units = serving.with_cookie
        unit = units.get(key)
    if worker.in_flight >= serving.in_flight:
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
    cell = known.cell
    exchange = upstream.quick
    if missing or exchange is None:
        exchange = one_more(upstream, missing)
    client.exchange = upstream.exchange = exchange
    if met is None:
        cell.quick += 1
        lines = b""
    else:
        remember(serving.known, key, unit)
        lines = begun(met, cell, worker)
    if not known.counts:
        key = None
    elif unit.marked is not cell:
        unit.marked = cell
        cell.units.append(unit.digest)
    worker.in_flight += 1
    number = next(worker.numbers)
    exchange.going = client, known, cell, started, data, lines, key, number, serving, who, size
    if match is None:
        client.unlike = 0
        if missing:
            send_first(exchange, b"".join((front, number, data[at:end])), data, end, missing)
        else:
            upstream.transport.write(b"".join((front, number, data[at:])))
    else:
        send_first(exchange, as_sent(client, data[:end], match, number), data, end, missing)
        learn(client, serving, data, match, units, cookie)
    return True


def missing_of(said: bytes, size: int) -> int:
    """Bytes of a body that are not here yet, below 0 when there are too many; its length is said, and so many are."""
    return int(said) - size if said.isdigit() and len(said) <= 15 else -1


def read_head(serving: Serving, data: bytes) -> tuple[re.Match[bytes], int] | None:
    """The match of a usual request's head, and how many bytes of the body are not here yet."""
    match = serving.usual(data)
    if match is None:
        return None
    host, length, key = match.group(1, 2, 3)
    end = match.end()
    missing = missing_of(length or b"0", len(data) - end)
    limits = serving.table.limits
    if key is None or host is None or missing < 0 or end > limits.head_bytes or int(length or 0) > limits.body_bytes:
        return None
    return match, missing


def one_more(upstream: Upstream, missing: int) -> QuickExchange:
    """What carries a request that comes in pieces, or the connection's first one on the short way."""
    upstream.reused = True
    if missing:
        return PiecedExchange(upstream)
    exchange = upstream.quick = QuickExchange(upstream)
    return exchange


def send_first(exchange: QuickExchange, head: bytes, data: bytes, end: int, missing: int) -> None:
    """Send a head, as the arm gets it, and what there is of the body, which begins at ``end`` of ``data``."""
    if isinstance(exchange, PiecedExchange):
        exchange.expect(data[:end], missing)
    if len(data) - end > LARGE_BYTES:
        exchange.upstream.transport.writelines((head, memoryview(data)[end:]))
    else:
        exchange.upstream.transport.write(head + data[end:])


def as_sent(client: ClientConnection, data: bytes, match: re.Match[bytes], number: bytes) -> bytes:
    """What the arm gets of a head that is not known from the connection's last ones."""
    head = data[:-2]  # before the empty line
    if match.start(5) >= 0:
        head = without(head, match, 5, CONNECTION)
    return b"".join((head, client.lines, number, b"\r\n\r\n"))


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
        log = client.worker.access_log
        each_another = log is None or serving.key_header == TRACE_HEADER  # a line tells the trace it belongs to
        logged = b"" if each_another else who_asked(data[: match.end()], client)
        repeat = request_repeat(serving.usual, data, match, client.lines, units, cookie, logged)
        client.repeat = shared(serving.heads, repeat, client.address)
    client.unlike += 1
