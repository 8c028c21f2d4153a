"""The short way takes only what the general way accepts unchanged."""

from __future__ import annotations

import random
import re

import pytest

from fairway.gateway.framing import RefusalError, forwarded_head, parse_answer, parse_request
from fairway.gateway.repeats import CONNECTION, without
from fairway.gateway.shapes import match_answer, request_matcher

MATCH = request_matcher("x-conversation-id", ("x-tenant",))

REQUEST = (
    b"POST /chat HTTP/1.1\r\nHost: agent\r\nContent-Type: application/json\r\nX-Conversation-Id: c-1\r\n"
    b"Content-Length: 5\r\n\r\nhello"
)
ANSWER = (
    b"HTTP/1.1 200 OK\r\nServer: x\r\nContent-Type: application/json\r\nFairway-Outcome: status=ok\r\n"
    b"Connection: keep-alive\r\nContent-Length: 2\r\n\r\nok"
)
PIECES = [
    b"\r\n", b"\n", b" ", b"\t", b":", b"\0", b"5", b"Content-Length: 6\r\n", b"Cookie: a=b\r\n",
    b"content-length:5\r\n",
    b"Transfer-Encoding: chunked\r\n", b"Host: b\r\n", b"x-conversation-id: c-2\r\n", b"X-Tenant: a\r\n", b"\x80", b",",
    b"Connection: close\r\n", b"Connection: keep-alive\r\n", b"X-Fairway-Pin: p\r\n", b"X_fairway-a: p\r\n",
    b"HTTP/1.0",
    b"Fairway-Outcome: a\r\n", b"Fairway-Release: r\r\n", b"FAIRWAY-release: r\r\n",
    b"Content-Type: text/event-stream\r\n", b"TE: x\r\n", b"Date: x\r\n", b"204", b"HEAD ", b"_", b"X-A: b\r\n",
]  # fmt: skip


def usual(data: bytes) -> re.Match[bytes] | None:
    """As the gateway asks: without a host nothing is usual."""
    match = MATCH(data)
    return None if match is None or match.group(1) is None else match


def mutated(rng: random.Random, seed: bytes) -> bytes:
    data = bytearray(seed)
    for _ in range(rng.randint(0, 3)):
        if rng.random() < 0.6:
            starts = [at + 2 for at in range(len(data)) if data[at : at + 2] == b"\r\n"]
            place = rng.choice(starts) if starts else 0
            data[place:place] = rng.choice(PIECES)
        else:
            place = rng.randrange(len(data) + 1)
            data[place : place + rng.randint(0, 2)] = rng.choice([b"", bytes([rng.randrange(256)])])
    return bytes(data)


def test_a_usual_request_is_one_the_general_way_forwards_as_it_is() -> None:
    rng = random.Random(1)
    taken = 0
    for _ in range(8_000):
        data = mutated(rng, REQUEST)
        match = usual(data)
        if match is None:
            continue
        taken += 1
        head = parse_request(data, 65_536)  # must not refuse
        assert head is not None, data
        host, length, key, cookie, kept = match.groups()
        assert head.plain == (cookie is None and kept is None), data
        ours = data if kept is None else without(data, match, 5, CONNECTION)
        forwarded = parse_request(forwarded_head(head, b""), 65_536)
        assert parse_request(ours, 65_536).headers == forwarded.headers, data  # type: ignore[union-attr]
        assert head.value(b"cookie") == (None if cookie is None else cookie.strip(b" \t")), data
        assert not head.close, data
        assert head.method not in (b"HEAD", b"CONNECT", b"PRI"), data
        assert match.end() == len(head.raw), data
        assert head.length == int(length or 0), data
        assert head.value(b"x-tenant") is None, data
        assert (key or b"").strip(b" \t") == (head.value(b"x-conversation-id") or b""), data
        assert host is None or host == head.value(b"host"), data
    assert taken > 500


def test_a_usual_answer_is_one_the_general_way_passes_on_whole() -> None:
    rng = random.Random(2)
    taken = 0
    for _ in range(8_000):
        data = mutated(rng, ANSWER)
        match = match_answer(data)
        if match is None or match.group(2) is None:
            continue
        taken += 1
        head = parse_answer(data, limit=65_536, head_request=False)
        assert head is not None, data
        assert head.reusable, data
        assert head.length == int(match.group(2)), data
        assert match.end() == head.end, data
        assert head.headers.get(b"fairway-outcome", b"").strip() == (match.group(4) or b"").strip(), data
        assert head.headers.get(b"fairway-release", b"").strip() == (match.group(5) or b"").strip(), data
        assert not head.headers.get(b"content-type", b"").lower().startswith(b"text/event-stream"), data
        assert not any(name.replace(b"_", b"-").startswith(b"x-fairway-") for name in head.headers), data
        assert head.headers.keys().isdisjoint({b"transfer-encoding", b"te", b"upgrade"}), data
        assert 200 <= head.status < 500, data
        assert head.status not in (204, 304), data
    assert taken > 500


@pytest.mark.parametrize(
    "line",
    [b"Connection: close", b"X-Fairway-Pin: x", b"X_Fairway_Pin: x", b"x-fairway_pin: x",
     b"X-Forwarded-For: 1.2.3.4", b"x_forwarded_proto: https", b"Forwarded: for=1.2.3.4", b"X-Real-IP: 1.2.3.4",
     b"X-Request-Timeout: 5", b"x-envoy-expected-rq-timeout-ms: 5000",
     b"Expect: 100-continue", b"X-Tenant: a", b"HOST: b",
     b"Content-Length: 5", b"Transfer-Encoding: chunked", b"X-Conversation-ID: c-2", b"TE: trailers"],
)  # fmt: skip
def test_an_unusual_line_leaves_the_short_way(line: bytes) -> None:
    assert MATCH(REQUEST) is not None
    assert MATCH(REQUEST.replace(b"\r\n\r\n", b"\r\n" + line + b"\r\n\r\n")) is None
    assert MATCH(REQUEST.replace(b"HTTP/1.1\r\n", b"HTTP/1.1\r\n" + line + b"\r\n")) is None


def test_a_cookie_stays_on_the_short_way_unless_it_decides_something_or_comes_twice() -> None:
    once = REQUEST.replace(b"\r\n\r\n", b"\r\nCookie: a=b; c=d\r\n\r\n")
    match = MATCH(once)
    assert match is not None
    assert match.groups() == (b"agent", b"5", b"c-1", b" a=b; c=d", None)
    assert MATCH(once.replace(b"\r\n\r\n", b"\r\ncookie: e=f\r\n\r\n")) is None
    assert request_matcher("x-conversation-id", ("cookie",))(once) is None
    assert request_matcher("x-conversation-id", ("cookie",))(REQUEST) is not None


def test_a_connection_to_be_kept_stays_on_the_short_way_unless_it_is_said_twice() -> None:
    once = REQUEST.replace(b"\r\n\r\n", b"\r\nConnection: keep-alive\r\n\r\n")
    match = MATCH(once)
    assert match is not None
    assert without(once, match, 5, CONNECTION) == REQUEST
    assert MATCH(once.replace(b"\r\n\r\n", b"\r\nConnection: keep-alive\r\n\r\n")) is None
    assert MATCH(once.replace(b"keep-alive", b"keep-alive, upgrade")) is None


def test_what_the_general_way_refuses_never_takes_the_short_one() -> None:
    rng = random.Random(3)
    refused = 0
    for _ in range(6_000):
        data = mutated(rng, REQUEST)
        try:
            parse_request(data, 65_536)
        except RefusalError:
            refused += 1
            assert usual(data) is None, data
    assert refused > 1_000
