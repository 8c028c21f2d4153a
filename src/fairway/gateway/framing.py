r"""Where one HTTP/1.1 message ends and the next begins: strict, because an ambiguous message is refused, never guessed.

One regular expression accepts a whole head (bytes a lenient parser could read two ways do not match: bare LF,
obs-fold, space before the colon, NUL and other control characters), then the framing headers are checked. Bodies are
counted or de-chunked here, so that what goes on to the other side is always framed by the gateway's own reading.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
_FIELDS = rb"((?:" + _TOKEN + rb"++:[\t\x20-\x7e\x80-\xff]*+\r\n)*+)\r\n"

_request = re.compile(rb"(" + _TOKEN + rb"{1,32}+) ([\x21-\x7e]++) HTTP/1\.([01])\r\n" + _FIELDS).match
_answer = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9][0-9])(?: [\t\x20-\x7e\x80-\xff]*+)?\r\n" + _FIELDS).match
_fields = re.compile(rb"([^:\r\n]++):[ \t]*+([^\r\n]*)\r\n").findall
_request_line = re.compile(rb"(" + _TOKEN + rb"{1,32}) ([\x21-\x7e]+) HTTP/([0-9])\.([0-9])\r\n").match
_bare_lf = re.compile(rb"(?<!\r)\n").search
_bare_cr = re.compile(rb"\r(?!\n|\Z)").search
_starts_like_request = re.compile(_TOKEN).match
_host = re.compile(rb"[A-Za-z0-9._~!$&'()*+;=%:\[\]\-]{1,255}").fullmatch
_length = re.compile(rb"[0-9]{1,15}").fullmatch
_inbound_fairway = re.compile(rb"\r\nx-fairway-", re.IGNORECASE).search

CHUNKED = -1
"""Body length of a message whose body is chunked."""

UNTIL_CLOSE = -2
"""Body length of an answer that ends when the connection does."""

HOP_BY_HOP = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"upgrade", b"expect", b"proxy-authenticate",
     b"proxy-authorization", b"transfer-encoding", b"http2-settings")
)  # fmt: skip
_NEVER_NOMINATED = frozenset((b"host", b"content-length", b"transfer-encoding", b"cookie", b"authorization"))
_SINGLE = (b"host", b"content-length", b"transfer-encoding", b"expect", b"content-type", b"authorization")
_ANSWER_STRIP = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"upgrade", b"transfer-encoding",
     b"fairway-outcome")
)  # fmt: skip


class RefusalError(Exception):
    """A message that is not passed on.

    Attributes:
        status: What the client is told.
        code: Stable code in the JSON body.
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


class RequestHead:
    """A request's head that is well formed and has exactly one framing.

    Attributes:
        raw: The head as it came, through the blank line.
        headers: By lower-case name; of a repeated one the last (the repeated ones that matter were refused, a
            repeated ``connection`` is joined).
        length: Bytes of the body, or :data:`CHUNKED`.
        http10: An HTTP/1.0 client: no chunks, no keep-alive.
        close: The client wants, or must have, the connection closed after the answer.
    """

    __slots__ = ("close", "headers", "http10", "length", "method", "raw", "target")

    def __init__(self, raw: bytes, method: bytes, target: bytes, http10: bool, headers: dict[bytes, bytes]) -> None:
        self.raw = raw
        self.method = method
        self.target = target
        self.http10 = http10
        self.headers = headers
        self.length = 0
        self.close = http10


def parse_request(data: bytes, limit: int) -> RequestHead | None:
    """The head at the start of ``data``; ``None`` when it has not all arrived.

    Args:
        data: What the client sent since the last message's end.
        limit: Bytes a head may have.

    Raises:
        RefusalError: When it is malformed, ambiguous or too large; the connection must be closed after the answer.
    """
    match = _request(data)
    if match is None:
        _why_not_request(data, limit)
        return None
    end = match.end()
    if end > limit:
        raise RefusalError(431, "head_too_large", f"the request head is larger than {limit} bytes")
    method, target, minor, block = match.groups()
    pairs = _fields(block)
    headers = {name.lower(): value for name, value in pairs}
    head = RequestHead(data[:end], method, target, minor == b"0", headers)
    if len(headers) != len(pairs):
        _check_repeated(pairs, headers)
    if target[0] != 47 and not (target == b"*" and method == b"OPTIONS"):  # 47 is "/"
        raise RefusalError(400, "target", "only origin-form targets (starting with /) are served")
    host = headers.get(b"host")
    if host is None:
        if not head.http10:
            raise RefusalError(400, "host", "the Host header is missing")
    elif not _host(host.rstrip(b" \t")):
        raise RefusalError(400, "host", "the Host header is malformed")
    if b"content-length" in headers or b"transfer-encoding" in headers:
        head.length = _request_length(headers, head.http10)
    connection = headers.get(b"connection")
    if connection is not None:
        _request_connection(head, connection)
    return head


def _why_not_request(data: bytes, limit: int) -> None:
    """Raise when ``data`` can never become a head; return when more bytes may help."""
    if data and not _starts_like_request(data):
        raise RefusalError(400, "not_http", "this is not an HTTP/1.1 request")
    end = data.find(b"\r\n\r\n")
    seen = data if end < 0 else data[: end + 4]
    line = _request_line(seen)
    if line is not None and line.group(3) != b"1":
        raise RefusalError(505, "version", "only HTTP/1.1 is served here")
    if line is not None and line.group(4) not in (b"0", b"1"):
        raise RefusalError(505, "version", "only HTTP/1.1 is served here")
    if _bare_lf(seen) or _bare_cr(seen) or b"\0" in seen:
        raise RefusalError(400, "malformed", "the request head has a bare line feed, carriage return or NUL")
    if end >= 0:
        raise RefusalError(400, "malformed", "the request head is malformed")
    if len(data) > limit:
        raise RefusalError(431, "head_too_large", f"the request head is larger than {limit} bytes")


def _check_repeated(pairs: list[tuple[bytes, bytes]], headers: dict[bytes, bytes]) -> None:
    names = [name.lower() for name, _ in pairs]
    for name in _SINGLE:
        if names.count(name) > 1:
            raise RefusalError(400, "repeated_header", f"the header {name.decode()} is repeated")
    if names.count(b"connection") > 1:
        headers[b"connection"] = b",".join(value for name, value in pairs if name.lower() == b"connection")


def _request_length(headers: Mapping[bytes, bytes], http10: bool) -> int:
    coding = headers.get(b"transfer-encoding")
    length = headers.get(b"content-length")
    if coding is not None:
        if length is not None:
            raise RefusalError(400, "two_lengths", "both Content-Length and Transfer-Encoding are given")
        if http10:
            raise RefusalError(400, "chunked_http10", "HTTP/1.0 has no Transfer-Encoding")
        if coding.rstrip(b" \t").lower() != b"chunked":
            raise RefusalError(501, "transfer_encoding", "only the transfer coding 'chunked' is known")
        return CHUNKED
    assert length is not None
    text = length.rstrip(b" \t")
    if not _length(text):
        raise RefusalError(400, "content_length", "Content-Length is not a number")
    return int(text)


def _request_connection(head: RequestHead, connection: bytes) -> None:
    tokens = {token.strip(b" \t").lower() for token in connection.split(b",")}
    if not _NEVER_NOMINATED.isdisjoint(tokens):
        raise RefusalError(400, "connection", "Connection names a header that frames or addresses the message")
    if b"upgrade" in tokens and b"websocket" in head.headers.get(b"upgrade", b"").lower():
        raise RefusalError(501, "upgrade", "WebSocket is not passed through by this version of the gateway")
    head.close = b"close" in tokens or (head.http10 and b"keep-alive" not in tokens)


def forwarded_head(head: RequestHead, extra: bytes) -> bytes:
    """The head as it goes to the arm: hop-by-hop and ``x-fairway-*`` headers gone, ``extra`` lines added.

    Args:
        head: Of the client's request.
        extra: Header lines, each ended by CRLF.
    """
    raw = head.raw
    plain = HOP_BY_HOP.isdisjoint(head.headers) and not _inbound_fairway(raw)
    if plain and not head.http10:
        return b"%b%b\r\n" % (raw[:-2], extra)
    nominated = {token.strip(b" \t").lower() for token in head.headers.get(b"connection", b"").split(b",")}
    drop = HOP_BY_HOP | nominated
    lines = [b"%b %b HTTP/1.1\r\n" % (head.method, head.target)]
    start = raw.find(b"\r\n") + 2
    for name, value in _fields(raw, start):
        lower = name.lower()
        if lower not in drop and not lower.startswith(b"x-fairway-"):
            lines.append(b"%b: %b\r\n" % (name, value))
    if b"host" not in head.headers:
        lines.append(b"host: localhost\r\n")  # HTTP/1.0 may leave it out, the arm speaks 1.1
    if head.length == CHUNKED:
        lines.append(b"transfer-encoding: chunked\r\n")
    lines.append(extra)
    lines.append(b"\r\n")
    return b"".join(lines)


class AnswerHead:
    """An arm's answer head.

    Attributes:
        length: Bytes of the body, :data:`CHUNKED` or :data:`UNTIL_CLOSE`.
        reusable: Whether the arm keeps the connection open after the body.
        end: Where the head ends in the data it was read from.
    """

    __slots__ = ("end", "headers", "http10", "length", "raw", "reusable", "status")

    def __init__(self, raw: bytes, end: int, status: int, http10: bool, headers: dict[bytes, bytes]) -> None:
        self.raw = raw
        self.end = end
        self.status = status
        self.http10 = http10
        self.headers = headers
        self.length = 0
        self.reusable = not http10


def parse_answer(data: bytes, *, limit: int, head_request: bool) -> AnswerHead | None:
    """The answer head at the start of ``data``; ``None`` when it has not all arrived.

    Raises:
        RefusalError: 502, when the arm does not speak HTTP/1.1 as it should.
    """
    match = _answer(data)
    if match is None:
        if data.find(b"\r\n\r\n") >= 0 or len(data) > limit or _bare_lf(data) or not b"HTTP/1.".startswith(data[:7]):
            raise RefusalError(502, "malformed_answer", "the arm's answer head is malformed")
        return None
    minor, status_text, block = match.groups()
    pairs = _fields(block)
    headers = {name.lower(): value for name, value in pairs}
    status = int(status_text)
    end = match.end()
    answer = AnswerHead(data[:end], end, status, minor == b"0", headers)
    if len(headers) != len(pairs):
        names = [name.lower() for name, _ in pairs]
        if names.count(b"content-length") > 1 or names.count(b"transfer-encoding") > 1:
            raise RefusalError(502, "malformed_answer", "the arm's answer gives its length twice")
        if names.count(b"fairway-outcome") > 1:
            headers[b"fairway-outcome"] = b"repeated"  # malformed on purpose: two outcomes are no outcome
    connection = headers.get(b"connection")
    if connection is not None:
        answer.reusable = b"close" not in connection.lower() and not answer.http10
    answer.length = _answer_length(answer, head_request)
    return answer


def _answer_length(answer: AnswerHead, head_request: bool) -> int:
    coding = answer.headers.get(b"transfer-encoding")
    length = answer.headers.get(b"content-length")
    if coding is not None and (length is not None or coding.rstrip(b" \t").lower() != b"chunked" or answer.http10):
        raise RefusalError(502, "malformed_answer", "the arm's answer has an ambiguous length")
    if length is not None and not _length(length.rstrip(b" \t")):
        raise RefusalError(502, "malformed_answer", "the arm's Content-Length is not a number")
    if head_request or answer.status < 200 or answer.status in (204, 304):
        return 0
    if coding is not None:
        return CHUNKED
    if length is not None:
        return int(length)
    answer.reusable = False
    return UNTIL_CLOSE


def returned_head(answer: AnswerHead, extra: bytes, *, length: Literal["kept", "chunked", "close"]) -> bytes:
    """The head as it goes to the client: hop-by-hop, ``x-fairway-*`` and the outcome gone, ``extra`` lines added.

    Args:
        answer: Of the arm.
        extra: Header lines, each ended by CRLF.
        length: How the body is framed to the client: as the arm said, in our chunks, or by closing.
    """
    raw = answer.raw
    if answer.headers.get(b"connection") == b"keep-alive":
        raw = raw.replace(b"\r\nConnection: keep-alive\r\n", b"\r\n", 1)
        plain = len(raw) != len(answer.raw) and _only_connection(answer.headers)
    else:
        plain = _ANSWER_STRIP.isdisjoint(answer.headers)
    if plain and length == "kept" and not answer.http10 and not _inbound_fairway(raw):
        return b"%b%b\r\n" % (raw[:-2], extra)
    start = answer.raw.find(b"\r\n") + 2
    lines = [b"HTTP/1.1" + answer.raw[8:start]]
    for name, value in _fields(answer.raw, start):
        lower = name.lower()
        if lower in _ANSWER_STRIP or lower.startswith(b"x-fairway-"):
            continue
        if lower == b"content-length" and length != "kept":
            continue
        lines.append(b"%b: %b\r\n" % (name, value))
    if length == "chunked":
        lines.append(b"transfer-encoding: chunked\r\n")
    lines.append(extra)
    lines.append(b"\r\n")
    return b"".join(lines)


_OTHER_STRIP = _ANSWER_STRIP - {b"connection"}


def _only_connection(headers: Mapping[bytes, bytes]) -> bool:
    return _OTHER_STRIP.isdisjoint(headers)


class Dechunker:
    """Reads a chunked body piece by piece.

    Strict (requests): no chunk extensions, no trailers. Otherwise (answers) both are read and dropped.
    """

    __slots__ = ("_buffer", "_left", "_state", "_strict", "done", "total")

    _SIZE, _DATA, _DATA_END, _TRAILER = range(4)
    _MAX_LINE = 4096

    def __init__(self, *, strict: bool) -> None:
        self._strict = strict
        self._state = self._SIZE
        self._left = 0
        self._buffer = b""
        self.total = 0
        self.done = False

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Payload found in ``data``, and the bytes after the body's end (empty until :attr:`done`).

        Raises:
            RefusalError: 400, when a chunk is malformed.
        """
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        payload: list[bytes] = []
        at = 0
        while not self.done and at < len(data):
            if self._state == self._DATA:
                piece = data[at : at + self._left]
                payload.append(piece)
                at += len(piece)
                self._left -= len(piece)
                self.total += len(piece)
                if not self._left:
                    self._state = self._DATA_END
                continue
            end = data.find(b"\n", at)
            if end < 0:
                self._hold(data[at:])
                return b"".join(payload), b""
            self._line(data[at : end + 1])
            at = end + 1
        return b"".join(payload), data[at:] if self.done else b""

    def _hold(self, part: bytes) -> None:
        """Keep an incomplete line, unless it can no longer become a good one."""
        if len(part) > self._MAX_LINE or (self._state == self._DATA_END and part != b"\r"):
            raise RefusalError(400, "chunk", "a chunk is malformed")
        self._buffer = part

    def _line(self, line: bytes) -> None:
        if not line.endswith(b"\r\n") or len(line) > self._MAX_LINE:
            raise RefusalError(400, "chunk", "a line of the chunked body does not end in CRLF")
        if self._state == self._SIZE:
            match = (_strict_size if self._strict else _lenient_size)(line)
            if match is None:
                raise RefusalError(400, "chunk", "a chunk size is malformed")
            self._left = int(match.group(1), 16)
            self._state = self._DATA if self._left else self._TRAILER
        elif self._state == self._DATA_END:
            if line != b"\r\n":
                raise RefusalError(400, "chunk", "a chunk is longer than its size")
            self._state = self._SIZE
        elif line == b"\r\n":
            self.done = True
        elif self._strict or not _trailer(line):
            raise RefusalError(400, "trailer", "trailers are not accepted")


_strict_size = re.compile(rb"([0-9A-Fa-f]{1,8})\r\n").fullmatch
_lenient_size = re.compile(rb"([0-9A-Fa-f]{1,8})(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?[ \t]*\r\n").fullmatch
_trailer = re.compile(_TOKEN + rb"+:[\t\x20-\x7e\x80-\xff]*\r\n").fullmatch


def as_chunk(payload: bytes) -> bytes:
    """One chunk; nothing for no payload (an empty chunk would end the body)."""
    return b"%x\r\n%b\r\n" % (len(payload), payload) if payload else b""


LAST_CHUNK = b"0\r\n\r\n"
