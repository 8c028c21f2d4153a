"""An ambiguous message is refused, never guessed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.gateway.chunks import LAST_CHUNK, Dechunker, as_chunk
from fairway.gateway.framing import (
    CHUNKED,
    UNTIL_CLOSE,
    RefusalError,
    RequestHead,
    forwarded_head,
    parse_answer,
    parse_request,
    returned_head,
)

LIMIT = 4096


def head(*lines: bytes, start: bytes = b"POST /chat HTTP/1.1", host: bytes | None = b"Host: agent") -> bytes:
    return b"\r\n".join([start, *([host] if host else []), *lines, b"", b""])


def read(data: bytes) -> RequestHead:
    found = parse_request(data, LIMIT)
    assert found is not None
    return found


REFUSED = {
    "two equal lengths": (head(b"Content-Length: 3", b"Content-Length: 3"), 400),
    "two lengths": (head(b"Content-Length: 3", b"content-length: 4"), 400),
    "a list of lengths": (head(b"Content-Length: 3, 3"), 400),
    "a signed length": (head(b"Content-Length: +3"), 400),
    "a negative length": (head(b"Content-Length: -3"), 400),
    "a hexadecimal length": (head(b"Content-Length: 0x3"), 400),
    "a length with an underscore": (head(b"Content-Length: 1_0"), 400),
    "a length with a space inside": (head(b"Content-Length: 1 0"), 400),
    "an empty length": (head(b"Content-Length: "), 400),
    "an endless length": (head(b"Content-Length: 1234567890123456"), 400),
    "a length and chunks": (head(b"Content-Length: 3", b"Transfer-Encoding: chunked"), 400),
    "chunks and a length": (head(b"Transfer-Encoding: chunked", b"Content-Length: 3"), 400),
    "two transfer codings": (head(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"), 400),
    "an unknown coding": (head(b"Transfer-Encoding: gzip, chunked"), 501),
    "a coding like chunked": (head(b"Transfer-Encoding: xchunked"), 501),
    "a quoted coding": (head(b'Transfer-Encoding: "chunked"'), 501),
    "chunks of HTTP/1.0": (head(b"Transfer-Encoding: chunked", start=b"POST / HTTP/1.0"), 400),
    "a bare line feed": (b"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", 400),
    "only line feeds": (b"GET / HTTP/1.1\nHost: a\n\n", 400),
    "a bare carriage return": (head(b"X: a\rb"), 400),
    "obs-fold with a space": (head(b"X: a", b" b"), 400),
    "obs-fold with a tab": (head(b"X: a", b"\tb"), 400),
    "a space before the colon": (head(b"Content-Length : 3"), 400),
    "a tab before the colon": (head(b"Transfer-Encoding\t: chunked"), 400),
    "a header without a name": (head(b": a"), 400),
    "a line without a colon": (head(b"nonsense"), 400),
    "NUL in a value": (head(b"X: a\0b"), 400),
    "NUL in a name": (head(b"X\0: a"), 400),
    "a control character": (head(b"X: a\x01b"), 400),
    "DEL": (head(b"X: a\x7fb"), 400),
    "a byte over 127 in a name": (head(b"X\xff: a"), 400),
    "a missing host": (head(host=None), 400),
    "two hosts": (head(b"Host: other"), 400),
    "an empty host": (head(host=b"Host: "), 400),
    "a host with a space": (head(host=b"Host: a b"), 400),
    "a host with a path": (head(host=b"Host: a/b"), 400),
    "a host with user data": (head(host=b"Host: a@b"), 400),
    "a list of hosts": (head(host=b"Host: a,b"), 400),
    "an absolute target": (head(start=b"GET http://other/ HTTP/1.1"), 400),
    "an authority target": (head(start=b"CONNECT other:443 HTTP/1.1"), 400),
    "a star target": (head(start=b"GET * HTTP/1.1"), 400),
    "two spaces in the request line": (head(start=b"GET  / HTTP/1.1"), 400),
    "a tab in the request line": (head(start=b"GET\t/ HTTP/1.1"), 400),
    "a space in the target": (head(start=b"GET /a b HTTP/1.1"), 400),
    "a space after the version": (head(start=b"GET / HTTP/1.1 "), 400),
    "a byte over 127 in the target": (head(start=b"GET /\xc3\xbc HTTP/1.1"), 400),
    "a lower-case protocol": (head(start=b"GET / http/1.1"), 400),
    "no version": (b"GET /\r\nHost: a\r\n\r\n", 400),
    "HTTP/1.2": (head(start=b"GET / HTTP/1.2"), 505),
    "HTTP/2.0": (head(start=b"GET / HTTP/2.0"), 505),
    "the HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    "a TLS hello": (b"\x16\x03\x01\x02\x00\x01\x00", 400),
    "an empty line first": (b"\r\n" + head(), 400),
    "a head over the limit": (head(b"X: " + b"a" * LIMIT), 431),
    "an unfinished head over the limit": (b"GET / HTTP/1.1\r\nX: " + b"a" * LIMIT, 431),
    "a connection header that drops the length": (head(b"Connection: content-length", b"Content-Length: 3"), 400),
    "a connection header that drops the host": (head(b"Connection: close", b"connection: Host"), 400),
    "two expectations": (head(b"Expect: 100-continue", b"Expect: 100-continue"), 400),
    "a WebSocket with a body": (head(b"Connection: Upgrade", b"Upgrade: websocket", b"Content-Length: 1"), 400),
    "a WebSocket with chunks": (
        head(b"Connection: Upgrade", b"Upgrade: websocket", b"Transfer-Encoding: chunked", start=b"GET / HTTP/1.1"),
        400,
    ),
    "a WebSocket by POST": (head(b"Connection: Upgrade", b"Upgrade: websocket"), 400),
    "PRI for a path": (head(start=b"PRI / HTTP/1.1"), 501),
    "CONNECT to a path": (head(start=b"CONNECT / HTTP/1.1"), 501),
    "a tab after the coding": (head(b"Transfer-Encoding: chunked\t"), 501),
}


@pytest.mark.parametrize(("data", "status"), REFUSED.values(), ids=REFUSED)
def test_an_ambiguous_request_is_refused(data: bytes, status: int) -> None:
    with pytest.raises(RefusalError) as refused:
        parse_request(data, LIMIT)
    assert refused.value.status == status


@pytest.mark.parametrize("end", range(1, len(head(b"Content-Length: 3"))))
def test_a_head_that_has_not_all_arrived_is_waited_for(end: int) -> None:
    assert parse_request(head(b"Content-Length: 3")[:end], LIMIT) is None


def test_what_follows_the_head_is_left_alone() -> None:
    found = read(head(b"Content-Length: 3") + b"abcGET / HTTP/1.1\r\n")
    assert found.raw == head(b"Content-Length: 3")
    assert found.length == 3


@pytest.mark.parametrize(
    ("lines", "start", "close"),
    [
        ((), b"GET / HTTP/1.1", False),
        ((b"Connection: close",), b"GET / HTTP/1.1", True),
        ((b"Connection: keep-alive", b"connection: Close"), b"GET / HTTP/1.1", True),
        ((), b"GET / HTTP/1.0", True),
        ((b"Connection: Keep-Alive",), b"GET / HTTP/1.0", False),
    ],
)
def test_the_connection_is_kept_as_the_client_asks(lines: tuple[bytes, ...], start: bytes, close: bool) -> None:
    assert read(head(*lines, start=start)).close is close


def test_the_arm_gets_the_head_as_it_was_and_our_lines() -> None:
    data = head(b"X-Conversation-Id:  c 1 ", b"Accept: */*")
    assert forwarded_head(read(data), b"x-a: b\r\n") == data[:-2] + b"x-a: b\r\n\r\n"


def test_hop_by_hop_and_fairway_headers_do_not_reach_the_arm() -> None:
    data = head(
        b"Connection: keep-alive, X-Secret", b"X-Secret: 1", b"Keep-Alive: 5", b"TE: trailers", b"X-Fairway-Pin: p",
        b"x-fairway-RELEASE: r", b"X_Fairway_Pin: p", b"x_fairway-release: r",
        b"Transfer-Encoding: Chunked", b"Expect: 100-continue", b"X-Kept: 1",
        b"Cookie: a=b; fairway_pin=c",
    )  # fmt: skip
    sent = forwarded_head(read(data), b"x-a: b\r\n").split(b"\r\n")
    assert sent[1:] == [
        b"Host: agent", b"X-Kept: 1", b"Cookie: a=b; fairway_pin=c", b"transfer-encoding: chunked",
        b"te: trailers", b"connection: te", b"x-a: b", b"", b"",
    ]  # fmt: skip


@pytest.mark.parametrize("name", [b"X_Fairway_Pin", b"x-fairway_pin", b"X_FAIRWAY-RELEASE"])
def test_a_fairway_header_in_the_spelling_of_wsgi_does_not_reach_the_arm_either(name: bytes) -> None:
    found = read(head(name + b": p"))
    assert not found.plain, "or it would be passed on as it is"
    assert b"fairway" not in forwarded_head(found, b"").lower()


def test_an_http_1_0_request_goes_on_as_http_1_1() -> None:
    sent = forwarded_head(read(head(start=b"GET /a HTTP/1.0", host=None)), b"")
    assert sent == b"GET /a HTTP/1.1\r\nhost: localhost\r\n\r\n"


ANSWERS = {
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    "a length and chunks": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    "an unknown coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
    "chunks of HTTP/1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    "obs-fold": b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
    "a bare line feed": b"HTTP/1.1 200 OK\nA: b\n\n",
    "another protocol": b"SSH-2.0-OpenSSH\r\n",
    "a strange status": b"HTTP/1.1 20 OK\r\n\r\n",
    "a head over the limit": b"HTTP/1.1 200 OK\r\nA: " + b"b" * LIMIT,
}


@pytest.mark.parametrize("data", ANSWERS.values(), ids=ANSWERS)
def test_an_ambiguous_answer_is_a_bad_gateway(data: bytes) -> None:
    with pytest.raises(RefusalError) as refused:
        parse_answer(data, limit=LIMIT, head_request=False)
    assert refused.value.status == 502


@pytest.mark.parametrize(
    ("status", "lines", "asked_head", "length"),
    [
        (b"200", b"Content-Length: 5\r\n", False, 5),
        (b"200", b"Content-Length: 5\r\n", True, 0),
        (b"200", b"Transfer-Encoding: chunked\r\n", False, CHUNKED),
        (b"200", b"Transfer-Encoding: chunked\r\n", True, 0),
        (b"204", b"", False, 0),
        (b"304", b"Content-Length: 5\r\n", False, 0),
        (b"100", b"", False, 0),
        (b"200", b"", False, UNTIL_CLOSE),
    ],
)
def test_where_an_answer_ends(status: bytes, lines: bytes, asked_head: bool, length: int) -> None:
    data = b"HTTP/1.1 " + status + b" X\r\n" + lines + b"\r\n"
    found = parse_answer(data, limit=LIMIT, head_request=asked_head)
    assert found is not None
    assert found.length == length


def test_the_client_gets_no_outcome_no_hop_by_hop_and_no_forged_fairway_header() -> None:
    data = (
        b"HTTP/1.1 200 OK\r\nServer: x\r\nConnection: keep-alive\r\nFairway-Outcome: status=ok\r\n"
        b"X-Fairway-Release: forged\r\nX_Fairway_Release: forged\r\n"
        b"Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 2\r\n\r\n"
    )
    found = parse_answer(data, limit=LIMIT, head_request=False)
    assert found is not None
    assert returned_head(found, b"x-fairway-release: 1\r\n", length="kept") == (
        b"HTTP/1.1 200 OK\r\nServer: x\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 2\r\n"
        b"x-fairway-release: 1\r\n\r\n"
    )


def test_two_outcomes_are_no_outcome() -> None:
    data = b"HTTP/1.1 200 OK\r\nFairway-Outcome: status=ok\r\nFairway-Outcome: status=ok\r\nContent-Length: 0\r\n\r\n"
    found = parse_answer(data, limit=LIMIT, head_request=False)
    assert found is not None
    assert found.headers[b"fairway-outcome"] == b"repeated"


# --- chunks ----------------------------------------------------------------------------------------------------


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=6), st.lists(st.integers(1, 20), min_size=1), st.binary())
def test_chunks_are_read_however_they_are_cut(parts: list[bytes], cuts: list[int], after: bytes) -> None:
    wire = b"".join(as_chunk(part) for part in parts) + LAST_CHUNK + after
    reader = Dechunker()
    payload, rest, at, turn = b"", b"", 0, 0
    while not reader.done:
        size = cuts[turn % len(cuts)]
        found, rest = reader.feed(wire[at : at + size])
        payload += found
        at += size
        turn += 1
    assert payload == b"".join(parts)
    assert rest + wire[at:] == after


BAD_CHUNKS = {
    "a size that is no number": b"x\r\n",
    "an empty size": b"\r\n",
    "a size with a sign": b"+3\r\nabc\r\n0\r\n\r\n",
    "a size with a prefix": b"0x3\r\nabc\r\n0\r\n\r\n",
    "a size with spaces": b"3 \r\nabc\r\n0\r\n\r\n",
    "an endless size": b"fffffffff\r\n",
    "a bare line feed": b"3\nabc\r\n0\r\n\r\n",
    "a chunk longer than its size": b"3\r\nabcd\r\n0\r\n\r\n",
    "a chunk without its end": b"3\r\nabc0\r\n\r\n",
    "an extension with a bare carriage return": b"3;a=b\rc\r\nabc\r\n0\r\n\r\n",
    "an extension over two lines": b'3;a="b\r\nc"\r\nabc\r\n0\r\n\r\n',
    "an extension after a space": b"3 ;a=b\r\nabc\r\n0\r\n\r\n",
    "an extension without a name": b"3;\r\nabc\r\n0\r\n\r\n",
    "a trailer that is a length": b"0\r\nContent-length: 3\r\n\r\n",
    "a trailer that is a coding": b"0\r\nTransfer-Encoding: chunked\r\n\r\n",
    "a folded trailer": b"0\r\nX: y\r\n z\r\n\r\n",
    "a trailer without a colon": b"0\r\nX\r\n\r\n",
    "a trailer with a bare line feed": b"0\r\nX: y\n\r\n",
    "endless extensions": b"1;a=%b\r\nx\r\n" % (b"b" * 3000) * 6,
    "endless trailers": b"0\r\n" + b"X: y\r\n" * 3000,
    "a bare line feed at the end": b"0\r\n\n",
}


@pytest.mark.parametrize("data", BAD_CHUNKS.values(), ids=BAD_CHUNKS)
@pytest.mark.parametrize("whole", [True, False], ids=["in one piece", "byte by byte"])
def test_a_bad_chunk_in_a_request_is_refused(data: bytes, whole: bool) -> None:
    reader = Dechunker()
    with pytest.raises(RefusalError):  # noqa: PT012 - any of the pieces may be the one
        for piece in [data] if whole else [data[i : i + 1] for i in range(len(data))]:
            reader.feed(piece)


def test_extensions_are_ignored_and_trailers_kept() -> None:
    reader = Dechunker()
    assert reader.feed(b'3;x="y";z\r\nabc\r\n0;q\r\nX-Sum: 1\r\n\r\nrest') == (b"abc", b"rest")
    assert reader.trailers == [b"X-Sum: 1\r\n"]


def test_an_endless_chunk_line_is_refused() -> None:
    reader = Dechunker()
    with pytest.raises(RefusalError):
        reader.feed(b"3;" + b"a" * 5000)


# --- WebSocket, Expect, TE --------------------------------------------------------------------------------------


def test_a_websocket_upgrade_goes_on_and_nothing_else_of_it_is_lost() -> None:
    data = head(
        b"Connection: keep-alive, Upgrade", b"Upgrade: WebSocket", b"Sec-WebSocket-Key: abc",
        b"Sec-WebSocket-Version: 13",
        start=b"GET /chat/ws HTTP/1.1",
    )  # fmt: skip
    found = read(data)
    assert found.upgrade
    assert forwarded_head(found, b"").split(b"\r\n")[1:] == [
        b"Host: agent", b"Sec-WebSocket-Key: abc", b"Sec-WebSocket-Version: 13", b"connection: Upgrade",
        b"upgrade: websocket", b"", b"",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("lines", "start"),
    [
        ((b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQ"), b"GET / HTTP/1.1"),
        ((b"Connection: Upgrade", b"Upgrade: TLS/1.3"), b"GET / HTTP/1.1"),
        ((b"Upgrade: websocket",), b"GET / HTTP/1.1"),
        ((b"Connection: Upgrade", b"Upgrade: websocket"), b"GET / HTTP/1.0"),
    ],
    ids=["h2c", "tls", "not nominated", "HTTP/1.0"],
)
def test_any_other_upgrade_is_answered_in_http_1_1_and_never_reaches_the_arm(
    lines: tuple[bytes, ...], start: bytes
) -> None:
    found = read(head(*lines, start=start))
    assert not found.upgrade
    sent = forwarded_head(found, b"").lower()
    assert b"upgrade" not in sent
    assert b"http2-settings" not in sent


@pytest.mark.parametrize(
    ("lines", "switches"),
    [
        (b"Connection: Upgrade\r\nUpgrade: websocket\r\n", True),
        (b"connection: keep-alive, upgrade\r\nupgrade: WebSocket\r\n", True),
        (b"Upgrade: websocket\r\n", False),
        (b"Connection: Upgrade\r\nUpgrade: h2c\r\n", False),
        (b"Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n", False),
        (b"", False),
    ],
)
def test_only_a_101_to_websocket_switches(lines: bytes, switches: bool) -> None:
    found = parse_answer(b"HTTP/1.1 101 X\r\n" + lines + b"\r\n", limit=LIMIT, head_request=False)
    assert found is not None
    assert found.switches is switches


def test_what_an_answers_connection_header_names_ends_here() -> None:
    data = b"HTTP/1.1 200 OK\r\nConnection: x-hop, content-length\r\nX-Hop: 1\r\nX-Own: 1\r\nContent-Length: 0\r\n\r\n"
    found = parse_answer(data, limit=LIMIT, head_request=False)
    assert found is not None
    assert returned_head(found, b"", length="kept") == b"HTTP/1.1 200 OK\r\nX-Own: 1\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize("status", [b"103 Early Hints", b"204 No Content"])
def test_a_status_without_a_body_has_no_length(status: bytes) -> None:
    data = b"HTTP/1.1 %b\r\nContent-Length: 5\r\n\r\n" % status
    found = parse_answer(data, limit=LIMIT, head_request=False)
    assert found is not None
    assert (found.length, found.plain) == (0, False)
    assert returned_head(found, b"", length="kept") == b"HTTP/1.1 %b\r\n\r\n" % status


@pytest.mark.parametrize(
    ("lines", "start", "waits"),
    [
        ((b"Expect: 100-continue",), b"POST / HTTP/1.1", True),
        ((b"Expect: 100-Continue",), b"POST / HTTP/1.1", True),
        ((b"Expect: 100-continue",), b"POST / HTTP/1.0", False),
        ((b"Expect: 200-ok",), b"POST / HTTP/1.1", False),
        ((), b"POST / HTTP/1.1", False),
    ],
)
def test_who_waits_to_be_told_to_go_on(lines: tuple[bytes, ...], start: bytes, waits: bool) -> None:
    assert read(head(*lines, start=start)).expects_continue is waits
