"""The short way back: a usual answer is passed on in one piece and counted; see :mod:`quick_request`."""

from __future__ import annotations

import re
from functools import lru_cache
from time import perf_counter
from typing import TYPE_CHECKING

from fairway.gateway.shapes import match_answer
from fairway.traffic.outcome import Outcome, OutcomeStatus, parse_outcome

if TYPE_CHECKING:
    from fairway.gateway.exchange import Exchange
    from fairway.gateway.quick_exchange import QuickExchange
    from fairway.gateway.upstream import Upstream

_CONNECTION = len(b"connection:")
_OUTCOME = len(b"fairway-outcome:")


@lru_cache(maxsize=4096)
def read_outcome(raw: bytes) -> Outcome | None:
    """The outcome in a header's or comment's value, as it came; ``None`` when it is malformed."""
    return parse_outcome(raw.strip().decode("latin-1"))


def quick_answer(upstream: Upstream, exchange: Exchange | QuickExchange, data: bytes) -> bool:
    """Pass a usual answer on and count it; ``False``, with nothing done, when it is not usual."""
    match = match_answer(data)
    if match is None:
        return False
    _, length, kept, said = match.groups()
    end = match.end()
    client = exchange.client
    known = exchange.known
    worker = client.worker
    if length is None or known is None or len(data) - end != int(length) or client.close_after or worker.draining:
        return False
    served = known.served
    end -= 2  # before the empty line
    if said is not None:
        outcome = read_outcome(said)
        if outcome is None or outcome.status is not OutcomeStatus.OK or not served.attested:
            return False
        head = _without_both(data[:end], match) if kept is not None else _without(data, match, 4, _OUTCOME, end)
    elif served.attested:
        return False
    else:
        outcome = None
        head = data[:end] if kept is None else _without(data, match, 3, _CONNECTION, end)
    answer = (head, served.version_line, exchange.cookie, worker.prefix, exchange.number, data[end:])
    client.transport.write(b"%b%b%bx-fairway-request: %b%x\r\n%b" % answer)
    now = perf_counter()
    upstream.release(now)
    cell = exchange.cell
    assert cell is not None
    cell.open -= 1
    taken = now - exchange.started
    cell.whole.append(taken)
    if outcome is not None:
        cell.add(outcome)
    if taken > known.slow_above and exchange.unit is not None:
        cell.mark("slow", exchange.unit)
    client.exchange = exchange.upstream = None
    worker.in_flight -= 1
    client.since = now
    if client.waits:
        client.go_on()
    return True


def _without(data: bytes, match: re.Match[bytes], group: int, name: int, end: int) -> bytes:
    """The head up to ``end`` without the line whose value a group found, after a name of so many bytes."""
    return data[: match.start(group) - name] + data[match.end(group) + 2 : end]


def _without_both(head: bytes, match: re.Match[bytes]) -> bytes:
    """The head without the connection and outcome lines."""
    lines = [(match.start(group) - name, match.end(group) + 2) for group, name in ((3, _CONNECTION), (4, _OUTCOME))]
    for start, end in sorted(lines, reverse=True):
        head = head[:start] + head[end:]
    return head
