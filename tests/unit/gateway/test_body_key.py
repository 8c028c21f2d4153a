"""How long a request waits for the key in its body: no longer than it takes to know, and at no more cost."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.gateway import body_key
from fairway.gateway.body_key import BodyKey, waits_for_key
from fairway.gateway.framing import CHUNKED, parse_request
from fairway.traffic.fence import Fence
from fairway.traffic.json_pointer import MAX_BYTES, look
from fairway.traffic.table import KeyExtractor, KeyKind, Limits, RouteTable
from fairway.units import AgentName, EnvironmentName, RouteId

TABLE = RouteTable(
    route=RouteId(agent=AgentName("support"), environment=EnvironmentName("production")),
    fence=Fence(term=1, seq=1),
    arms=(),
    keys=(
        KeyExtractor(kind=KeyKind.HEADER, name="x-key"),
        KeyExtractor(kind=KeyKind.JSON_POINTER, name="/conversation/id"),
        KeyExtractor(kind=KeyKind.COOKIE, name="key"),
        KeyExtractor(kind=KeyKind.JSON_POINTER, name="/user"),
    ),
)
POINTERS = ("/conversation/id", "/user")


def pointers(table: RouteTable, *lines: str, length: int = 10) -> tuple[str, ...] | None:
    """Which pointers a request waits for; ``None``: it does not wait."""
    lines = (*lines, f"content-length: {length}")
    head = parse_request("\r\n".join(("POST /a HTTP/1.1", "host: a", *lines, "", "")).encode(), 65_536)
    assert head is not None
    found = waits_for_key(head, table)
    return None if found is None else found._pointers


@pytest.mark.parametrize(
    ("lines", "waits"),
    [
        (("content-type: application/json",), POINTERS),
        (("Content-Type: Application/Problem+JSON;charset=utf-8",), POINTERS),
        (("content-type: application/json", "x-key: k"), None),
        (("content-type: application/json", "x-key: "), POINTERS),
        (("content-type: application/json", "cookie: key=k"), ("/conversation/id",)),
        (("content-type: application/json", "content-encoding: identity"), POINTERS),
        (("content-type: application/json", "content-encoding: gzip"), None),
        (("content-type: application/jsonl",), None),
        (("content-type: text/plain",), None),
        ((), None),
    ],
)
def test_only_what_needs_its_body_waits_for_it(lines: tuple[str, ...], waits: tuple[str, ...] | None) -> None:
    assert pointers(TABLE, *lines) == waits


def test_what_has_no_body_or_is_refused_for_its_size_does_not_wait() -> None:
    kind = "content-type: application/json"
    assert pointers(TABLE, kind, length=0) is None
    assert pointers(replace(TABLE, limits=Limits(body_bytes=9)), kind) is None
    assert pointers(replace(TABLE, keys=TABLE.keys[:1]), kind) is None


def fed(body: bytes, pieces: list[int], *, length: int | None = None) -> tuple[BodyKey, int]:
    """A wait over, and after how many bytes."""
    waits, at = BodyKey(POINTERS, len(body) if length is None else length), 0
    for size in pieces:
        piece = body[at : at + size]
        at += len(piece)
        if waits.feed(piece):
            return waits, at
    assert waits.feed(body[at:]) or length is not None
    return waits, len(body)


@given(st.lists(st.integers(1, 30), max_size=20), st.booleans())
def test_the_wait_ends_with_the_key_and_nothing_that_came_is_lost(pieces: list[int], chunked: bool) -> None:
    text = json.dumps({"a": 1, "conversation": {"id": "c-1"}, "more": "x" * 400, "user": "u"}).encode()
    body = b"".join(b"%x\r\n%b\r\n" % (len(text[n : n + 9]), text[n : n + 9]) for n in range(0, len(text), 9))
    body = body + b"0\r\n\r\nGET / next" if chunked else text
    waits, at = fed(body, pieces, length=CHUNKED if chunked else None)
    assert waits.raw == body[:at]
    assert text.startswith(waits.beginning)
    assert at == len(body) or (b'"c-1"' in waits.beginning and at < len(body))


@pytest.mark.parametrize(
    ("pointer", "text"),
    [
        ("/user", b'{"x": 1, "user": null, "z": ['),
        ("/user", b'{"x": {"user": "u"}} and more'),
        ("/user", b'"text"'),
        ("/user", b"7 "),
        ("/user", b"[1, 2"),
        ("/2", b'["a", "b"]'),
    ],
)
def test_the_wait_ends_when_no_key_can_come_any_more(pointer: str, text: bytes) -> None:
    waits = BodyKey((pointer,), 1_000_000)
    assert waits.feed(text)


def test_a_chunk_that_is_none_ends_the_wait_for_others_to_refuse() -> None:
    waits = BodyKey(POINTERS, CHUNKED)
    assert waits.feed(b"zz\r\n")
    assert waits.raw == b"zz\r\n"


def test_no_more_than_the_first_64_kib_are_waited_for_however_they_are_framed() -> None:
    waits = BodyKey(POINTERS, CHUNKED)
    pieces = 0
    while not waits.feed(b"1\r\n \r\n" * 1000):
        pieces += 1
    assert pieces < 30
    whole = BodyKey(POINTERS, 10**9)
    assert whole.feed(b'{"a": "' + b"x" * 70_000)
    assert len(whole.beginning) == MAX_BYTES


def test_a_client_that_sends_byte_by_byte_has_its_body_looked_at_a_few_times(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []

    def counted(data: bytes, pointer: str) -> tuple[str | None, bool]:
        looks.append(len(data))
        return look(data, pointer)

    monkeypatch.setattr(body_key, "look", counted)
    waits = BodyKey(("/user",), MAX_BYTES + 10)
    begun = time.process_time()
    for byte in b'{"a": "' + b"x" * MAX_BYTES:
        if waits.feed(bytes((byte,))):
            break
    assert sum(looks) <= 2 * MAX_BYTES
    assert len(looks) < 20
    assert time.process_time() - begun < 5.0
