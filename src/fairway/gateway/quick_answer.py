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
    from fairway.gateway.upstream import Upstream

_BEFORE = (len(b"connection:"), len(b"fairway-outcome:"))


@lru_cache(maxsize=4096)
def read_outcome(raw: bytes) -> Outcome | None:
    """The outcome in a header's or comment's value, as it came; ``None`` when it is malformed."""
    return parse_outcome(raw.strip().decode("latin-1"))


def quick_answer(upstream: Upstream, exchange: Exchange, data: bytes) -> bool:
    """Pass a usual answer on and count it; ``False``, with nothing done, when it is not usual."""
    match = match_answer(data)
    if match is None:
        return False
    end = match.end()
    length = match.group(2)
    client = exchange.client
    known = exchange.known
    if (
        length is None
        or known is None
        or len(data) - end != int(length)
        or client.close_after
        or client.worker.draining
    ):
        return False
    served = known.served
    said = match.group(4)
    outcome = None
    if said is not None:
        outcome = read_outcome(said)
        if outcome is None or outcome.status is not OutcomeStatus.OK or not served.attested:
            return False
    elif served.attested:
        return False
    head = data[: end - 2] if said is None and match.start(3) < 0 else _without(data[: end - 2], match)
    answer = (head, served.version_line, exchange.cookie, exchange.request_id, data[end:])
    client.transport.write(b"%b%b%bx-fairway-request: %b\r\n\r\n%b" % answer)
    now = perf_counter()
    upstream.release(now)
    cell = exchange.cell
    assert cell is not None
    cell.open -= 1
    exchange.done = True
    taken = now - exchange.started
    cell.whole_us.append(int(taken * 1e6))
    if outcome is not None:
        cell.add(outcome)
    if taken > known.slow_above and known.unit is not None:
        cell.mark("slow", known.unit)
    client.exchange = exchange.upstream = None
    client.worker.in_flight -= 1
    client.since = now
    if client.waits:
        client.go_on()
    return True


def _without(head: bytes, match: re.Match[bytes]) -> bytes:
    """The head without the connection and outcome lines that were found."""
    lines = [(match.start(group) - name, match.end(group) + 2) for group, name in zip((3, 4), _BEFORE, strict=True)]
    for start, end in sorted(lines, reverse=True):
        if start >= 0:
            head = head[:start] + head[end:]
    return head
