"""The short way of the usual request and answer: one expression each, no objects in between.

Most traffic is a whole request of a known conversation, answered in one piece. Those take this way, at a third of the
cost; whatever is unusual in any respect is left untouched for the general way in :mod:`client` and :mod:`exchange`,
which alone decides what is refused. The expressions accept only messages that the general way accepts unchanged: the
tests compare the two.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from time import perf_counter
from typing import TYPE_CHECKING

from fairway.traffic.outcome import Outcome, OutcomeStatus, parse_outcome

if TYPE_CHECKING:
    from fairway.gateway.client import ClientConnection
    from fairway.gateway.exchange import Exchange
    from fairway.gateway.upstream import Upstream

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
_VALUE = rb"[\t\x20-\x7e\x80-\xff]*+"
_HOST = rb"[A-Za-z0-9._~!$&'()*+;=%:\[\]\-]{1,255}+"

_REQUEST_SPECIAL = (
    "transfer-encoding", "connection", "cookie", "expect", "keep-alive", "proxy-connection", "te", "trailer", "upgrade",
    "proxy-authenticate", "proxy-authorization", "http2-settings",
)  # fmt: skip
_ANSWER_SPECIAL = (
    "transfer-encoding", "connection", "keep-alive", "proxy-connection", "te", "trailer", "upgrade", "fairway-outcome",
)  # fmt: skip

Matcher = Callable[[bytes], re.Match[bytes] | None]


def _any_case(name: str) -> bytes:
    """A pattern for a header name; classes instead of a flag let the matcher skip by the first letter."""
    parts = (f"[{char.lower()}{char.upper()}]" if char.isalpha() else re.escape(char) for char in name)
    return "".join(parts).encode("latin-1", "replace")


def _other(names: tuple[str, ...]) -> bytes:
    """A header line with none of these names, and not one of the gateway's own."""
    listed = b"|".join(_any_case(name) for name in names)
    return rb"(?!(?:" + listed + rb"|" + _any_case("x-fairway-") + rb"[^:]*+):)" + _TOKEN + rb"++:" + _VALUE + rb"\r\n"


def request_matcher(key_header: str, rule_headers: tuple[str, ...]) -> Matcher:
    """Matches the head of a usual request; groups: host, length, key. Repeated ones of these do not match.

    Args:
        key_header: Where the key of a unit is read from.
        rule_headers: Headers a rule of the table looks at; a request that has one is not usual.
    """
    names = (*_REQUEST_SPECIAL, *rule_headers, "host", "content-length", key_header)
    space = rb"[ \t]*+"
    return re.compile(
        rb"(?!HEAD )" + _TOKEN + rb"{1,32}+ /[\x21-\x7e]*+ HTTP/1\.1\r\n(?:"
        + _any_case("host") + rb":(?(1)(?!))" + space + rb"(" + _HOST + rb")" + space + rb"\r\n|"
        + _any_case("content-length") + rb":(?(2)(?!))" + space + rb"([0-9]{1,15}+)" + space + rb"\r\n|"
        + _any_case(key_header) + rb":(?(3)(?!))(" + _VALUE + rb")\r\n|"
        + _other(names) + rb")*+\r\n"
    ).match  # fmt: skip


_answer = re.compile(
    rb"HTTP/1\.1 (2(?!04)[0-9][0-9]|4[0-9][0-9])(?: " + _VALUE + rb")?\r\n(?:"
    + _any_case("content-length") + rb":(?(2)(?!))[ \t]*+([0-9]{1,15}+)[ \t]*+\r\n|"
    + _any_case("content-type") + rb":(?![ \t]*+[tT][eE][xX][tT]/[eE])" + _VALUE + rb"\r\n|"
    + _any_case("connection") + rb":(?(3)(?!))( [kK]eep-[aA]live)\r\n|"
    + _any_case("fairway-outcome") + rb":(?(4)(?!))(" + _VALUE + rb")\r\n|"
    + _other((*_ANSWER_SPECIAL, "content-length", "content-type")) + rb")*+\r\n"
).match  # fmt: skip
"""Matches the head of a usual answer; groups: status, length, a Connection that says nothing, outcome."""

_BEFORE = (len(b"connection:"), len(b"fairway-outcome:"))


@lru_cache(maxsize=4096)
def read_outcome(raw: bytes) -> Outcome | None:
    """The outcome in a header's or comment's value, as it came; ``None`` when it is malformed."""
    return parse_outcome(raw.strip().decode("latin-1"))


def quick_request(client: ClientConnection, data: bytes) -> bool:
    """Send a usual request on its way; ``False``, with nothing done, when it is not usual."""
    worker = client.worker
    serving = worker.serving
    match = serving.usual(data)
    if match is None:
        return False
    end = match.end()
    host, length, key = match.groups()
    known = serving.known.get(key)
    if known is None or host is None or len(data) > serving.quick_bytes:
        return False
    if len(data) - end != (int(length) if length is not None else 0) or worker.in_flight >= serving.in_flight:
        return False
    started = perf_counter()
    now = started + worker.epoch
    cell = serving.cells.get(known.role)
    if cell is None or not cell.t0 <= now < cell.end or now >= known.expires:
        return False
    upstream = known.pool.get(started) if known.pool is not None else None
    if upstream is None:
        return False
    client.exchange = upstream.exchange = exchange = client.new_exchange(client, serving, known, cell, started)
    exchange.upstream = upstream
    exchange.sent = data
    exchange.request_id = request_id = b"%b%x" % (worker.prefix, next(worker.count))
    client.close_after = False
    worker.in_flight += 1
    cell.quick += 1
    cell.open += 1
    unit = known.unit
    if unit is not None and unit not in cell.active:
        cell.mark("active", unit)
    sent = (data[: end - 2], client.forwarded_line, request_id, data[end:])
    upstream.transport.write(b"%b%bx-fairway-request: %b\r\n\r\n%b" % sent)
    return True


def quick_answer(upstream: Upstream, exchange: Exchange, data: bytes) -> bool:
    """Pass a usual answer on and count it; ``False``, with nothing done, when it is not usual."""
    match = _answer(data)
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
