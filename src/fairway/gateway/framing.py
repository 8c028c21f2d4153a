r"""Where one HTTP/1.1 message ends and the next begins: strict, because an ambiguous message is refused, never guessed.

One regular expression accepts a whole head (bytes a lenient parser could read two ways do not match: bare LF,
obs-fold, space before the colon, NUL and other control characters), then the framing headers are checked. Bodies are
counted or de-chunked here, so that what goes on to the other side is always framed by the gateway's own reading.
"""

from __future__ import annotations

import re
from typing import Literal

from fairway.gateway.forwarding import may_speak, speaks_for

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
_FIELDS = rb"(?:" + TOKEN + rb"++:[\t\x20-\x7e\x80-\xff]*+\r\n)*+\r\n"

_request = re.compile(rb"(" + TOKEN + rb"{1,32}+) ([\x21-\x7e]++) HTTP/1\.([01])\r\n" + _FIELDS).match
_answer = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9][0-9])(?: [\t\x20-\x7e\x80-\xff]*+)?\r\n" + _FIELDS).match
_special = re.compile(
    rb"\r\n(?:transfer-encoding|connection|cookie|expect|keep-alive|proxy-connection|te|trailer|upgrade"
    rb"|proxy-authenticate|proxy-authorization|http2-settings|x[-_](?:fairway|forwarded|real)[-_][^:]*|forwarded):"
).search
_special_answer = re.compile(
    rb"\r\n(?:transfer-encoding|connection|keep-alive|proxy-connection|te|trailer|upgrade"
    rb"|fairway-outcome|fairway-release|x[-_]fairway[-_][^:]*|content-type:[ \t]*text/event-stream):?"
).search
_fields = re.compile(rb"([^:\r\n]++):[ \t]*+([^\r\n]*)\r\n").findall
_request_line = re.compile(rb"(" + TOKEN + rb"{1,32}) ([\x21-\x7e]+) HTTP/([0-9])\.([0-9])\r\n").match
bare_lf = re.compile(rb"(?<!\r)\n").search
_bare_cr = re.compile(rb"\r(?!\n|\Z)").search
_starts_like_request = re.compile(TOKEN).match
_host = re.compile(rb"[A-Za-z0-9._~!$&'()*+;=%:\[\]\-]{1,255}").fullmatch

CHUNKED = -1
"""Body length of a message whose body is chunked."""

UNTIL_CLOSE = -2
"""Body length of an answer that ends when the connection does."""

HOP_BY_HOP = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"upgrade", b"expect", b"proxy-authenticate",
     b"proxy-authorization", b"transfer-encoding", b"http2-settings")
)  # fmt: skip
_LISTS = (b"connection", b"upgrade", b"te", b"trailer")
_NEVER_NOMINATED = frozenset((b"host", b"content-length", b"transfer-encoding", b"cookie", b"authorization"))
_ANSWER_STRIP = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"upgrade", b"transfer-encoding",
     b"fairway-outcome", b"fairway-release")
)  # fmt: skip


_OTHER_PROTOCOLS = frozenset((b"CONNECT", b"PRI"))
"""After these an arm that takes them reads no further HTTP/1.1 on its connection: a tunnel, HTTP/2 (RFC 9113, 3.4)."""

_UPGRADE = b"connection: Upgrade\r\nupgrade: websocket\r\n"
_OURS = (b"x-fairway-", b"x_fairway_", b"x-fairway_", b"x_fairway-")


def is_ours(lower: bytes) -> bool:
    """Whether a header name is the gateway's own; to WSGI and CGI ``_`` and ``-`` spell the same variable."""
    return lower.startswith(_OURS)


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
        lower: The same in lower case, for looking names up.
        length: Bytes of the body, or :data:`CHUNKED`.
        http10: An HTTP/1.0 client: no chunks, no keep-alive.
        close: The client wants, or must have, the connection closed after the answer.
        plain: Nothing in it has to be taken out before it goes to the arm, and it has no cookie.
        upgrade: It asks to go on as a WebSocket.
    """

    __slots__ = ("_headers", "close", "http10", "length", "lower", "method", "plain", "raw", "target", "upgrade")

    def __init__(self, raw: bytes, lower: bytes, method: bytes, target: bytes, http10: bool) -> None:
        self.raw = raw
        self.lower = lower
        self.method = method
        self.target = target
        self.http10 = http10
        self.length = 0
        self.close = http10
        self.plain = False
        self.upgrade = False
        self._headers: dict[bytes, bytes] | None = None

    @property
    def headers(self) -> dict[bytes, bytes]:
        """By lower-case name; of a repeated one the last, but what is a list about the connection is joined."""
        if self._headers is None:
            self._headers = _by_name(_fields(self.raw, self.raw.find(b"\r\n") + 2))
        return self._headers

    @property
    def takes_trailers(self) -> bool:
        """Whether the client reads trailers (``TE: trailers``)."""
        return not self.plain and not self.http10 and b"trailers" in tokens_of(self.headers.get(b"te", b""))

    @property
    def expects_continue(self) -> bool:
        """Whether the client waits to be told to send the body; one of HTTP/1.0 is not heard (RFC 9110, 10.1.1)."""
        return not self.plain and not self.http10 and b"100-continue" in tokens_of(self.headers.get(b"expect", b""))

    def value(self, name: bytes) -> bytes | None:
        """Value of the first header of that lower-case name, without the white space around it."""
        at = self.lower.find(b"\r\n%b:" % name)
        if at < 0:
            return None
        at += len(name) + 3
        return self.raw[at : self.raw.find(b"\r\n", at)].strip(b" \t")


def tokens_of(value: bytes) -> set[bytes]:
    """The members of a comma-separated list, in lower case."""
    return {token.strip(b" \t").lower() for token in value.split(b",")}


def _by_name(pairs: list[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    for name, value in pairs:
        lower = name.lower()
        found[lower] = b"%b,%b" % (found[lower], value) if lower in found and lower in _LISTS else value
    return found


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
    raw = data[:end]
    method, target, minor = match.groups()
    head = RequestHead(raw, raw.lower(), method, target, minor == b"0")
    if target[0] != 47 and not (target == b"*" and method == b"OPTIONS"):  # 47 is "/"
        raise RefusalError(400, "target", "only origin-form targets (starting with /) are served")
    if method in _OTHER_PROTOCOLS:
        raise RefusalError(501, "method", f"{method.decode()} is not served")
    _check_host(head)
    at = head.lower.find(b"\r\ncontent-length:")
    if at >= 0:
        head.length = _content_length(head.lower, at)
    if _special(head.lower) is None:
        head.plain = not head.http10
    else:
        _special_request(head, has_length=at >= 0)
    return head


def _check_host(head: RequestHead) -> None:
    lower = head.lower
    at = lower.find(b"\r\nhost:")
    if at < 0:
        if not head.http10:
            raise RefusalError(400, "host", "the Host header is missing")
        return
    host = lower[at + 7 : lower.find(b"\r\n", at + 7)]
    if host not in _good_hosts:
        if not _host(host.strip(b" \t")):
            raise RefusalError(400, "host", "the Host header is malformed")
        if len(_good_hosts) < _MAX_GOOD_HOSTS:
            _good_hosts.add(host)
    if lower.find(b"\r\nhost:", at + 7) >= 0:
        raise RefusalError(400, "repeated_header", "the header host is repeated")


_MAX_GOOD_HOSTS = 1024
_good_hosts: set[bytes] = set()
"""Host values seen and found good; saves matching the same few again."""


def _content_length(lower: bytes, at: int) -> int:
    at += 17
    if lower.find(b"\r\ncontent-length:", at) >= 0:
        raise RefusalError(400, "repeated_header", "the header content-length is repeated")
    text = lower[at : lower.find(b"\r\n", at)].strip(b" \t")
    if not text.isdigit() or len(text) > 15:
        raise RefusalError(400, "content_length", "Content-Length is not a number")
    return int(text)


def _special_request(head: RequestHead, *, has_length: bool) -> None:
    """The head has headers that are about the connection, the framing, or the gateway itself."""
    headers = head.headers
    for name in (b"transfer-encoding", b"expect"):
        if head.lower.count(b"\r\n%b:" % name) > 1:
            raise RefusalError(400, "repeated_header", f"the header {name.decode()} is repeated")
    coding = headers.get(b"transfer-encoding")
    if coding is not None:
        if has_length:
            raise RefusalError(400, "two_lengths", "both Content-Length and Transfer-Encoding are given")
        if head.http10:
            raise RefusalError(400, "chunked_http10", "HTTP/1.0 has no Transfer-Encoding")
        if coding.rstrip(b" ").lower() != b"chunked":  # not a tab: llhttp would not read it as chunked
            raise RefusalError(501, "transfer_encoding", "only the transfer coding 'chunked' is known")
        head.length = CHUNKED
    connection = headers.get(b"connection")
    if connection is not None:
        _request_connection(head, connection)


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
    if line is None and b"\r\n" in seen:
        raise RefusalError(400, "malformed", "the request line is malformed")
    if bare_lf(seen) or _bare_cr(seen) or b"\0" in seen:
        raise RefusalError(400, "malformed", "the request head has a bare line feed, carriage return or NUL")
    if end >= 0:
        raise RefusalError(400, "malformed", "the request head is malformed")
    if len(data) > limit:
        raise RefusalError(431, "head_too_large", f"the request head is larger than {limit} bytes")


def _request_connection(head: RequestHead, connection: bytes) -> None:
    tokens = tokens_of(connection)
    if not _NEVER_NOMINATED.isdisjoint(tokens):
        raise RefusalError(400, "connection", "Connection names a header that frames or addresses the message")
    head.close = b"close" in tokens or (head.http10 and b"keep-alive" not in tokens)
    if b"upgrade" in tokens and not head.http10 and b"websocket" in tokens_of(head.headers.get(b"upgrade", b"")):
        if head.method != b"GET" or head.length:
            raise RefusalError(400, "upgrade", "a WebSocket begins with a GET that has no body")
        head.upgrade = True  # any other protocol is ignored, as RFC 9110, 7.8 allows: the answer comes in HTTP/1.1


def forwarded_head(head: RequestHead, extra: bytes, *, trusted: bool = False) -> bytes:
    """The head as it goes to the arm: hop-by-hop and ``x-fairway-*`` headers gone, ``extra`` lines added.

    Args:
        head: Of the client's request.
        extra: Header lines, each ended by CRLF.
        trusted: Whether what the client says of others, as ``forwarded`` does, is passed on.
    """
    raw = head.raw
    if head.plain:
        return b"%b%b\r\n" % (raw[:-2], extra)
    drop = HOP_BY_HOP | tokens_of(head.headers.get(b"connection", b""))
    lines = [b"%b %b HTTP/1.1\r\n" % (head.method, head.target)]
    start = raw.find(b"\r\n") + 2
    for name, value in _fields(raw, start):
        lower = name.lower()
        if lower not in drop and not is_ours(lower) and (not speaks_for(lower) or may_speak(lower, trusted=trusted)):
            lines.append(b"%b: %b\r\n" % (name, value))
    if b"host" not in head.headers:
        lines.append(b"host: localhost\r\n")  # HTTP/1.0 may leave it out, the arm speaks 1.1
    if head.length == CHUNKED:
        lines.append(b"transfer-encoding: chunked\r\n")
    if head.upgrade:
        lines.append(_UPGRADE)
    elif head.takes_trailers:
        lines.append(b"te: trailers\r\nconnection: te\r\n")
    lines.append(extra)
    lines.append(b"\r\n")
    return b"".join(lines)


class AnswerHead:
    """An arm's answer head.

    Attributes:
        raw: The head through the blank line; without a ``Connection: keep-alive``, which says nothing.
        end: Where the head ends in the data it was read from.
        length: Bytes of the body, :data:`CHUNKED` or :data:`UNTIL_CLOSE`.
        reusable: Whether the arm keeps the connection open after the body.
        plain: Nothing in it has to be looked at or taken out before it goes to the client.
    """

    __slots__ = ("_headers", "end", "http10", "length", "plain", "raw", "reusable", "status")

    def __init__(self, raw: bytes, end: int, status: int, http10: bool) -> None:
        self.raw = raw
        self.end = end
        self.status = status
        self.http10 = http10
        self.length = 0
        self.reusable = not http10
        self.plain = False
        self._headers: dict[bytes, bytes] | None = None

    @property
    def headers(self) -> dict[bytes, bytes]:
        """By lower-case name; of a repeated one the last, but what is a list about the connection is joined."""
        if self._headers is None:
            self._headers = _by_name(_fields(self.raw, self.raw.find(b"\r\n") + 2))
        return self._headers

    @property
    def switches(self) -> bool:
        """Whether the connection goes on as a WebSocket."""
        upgrade = self.status == 101 and b"upgrade" in tokens_of(self.headers.get(b"connection", b""))
        return upgrade and tokens_of(self.headers.get(b"upgrade", b"")) == {b"websocket"}

    @property
    def bodyless(self) -> bool:
        """Whether its status says that it has no body, and so no length (RFC 9110, 8.6)."""
        return self.status < 200 or self.status == 204


def parse_answer(data: bytes, *, limit: int, head_request: bool) -> AnswerHead | None:
    """The answer head at the start of ``data``; ``None`` when it has not all arrived.

    Raises:
        RefusalError: 502, when the arm does not speak HTTP/1.1 as it should.
    """
    match = _answer(data)
    if match is None:
        if data.find(b"\r\n\r\n") >= 0 or len(data) > limit or bare_lf(data) or not b"HTTP/1.".startswith(data[:7]):
            raise RefusalError(502, "malformed_answer", "the arm's answer head is malformed")
        return None
    minor, status = match.groups()
    end = match.end()
    raw = data[:end]
    lower = raw.lower()
    at = lower.find(b"\r\nconnection: keep-alive\r\n")
    if at >= 0:
        raw = raw[:at] + raw[at + 24 :]
        lower = lower[:at] + lower[at + 24 :]
    answer = AnswerHead(raw, end, int(status), minor == b"0")
    at = lower.find(b"\r\ncontent-length:")
    has_length = at >= 0
    if has_length:
        try:
            answer.length = _content_length(lower, at)
        except RefusalError as refused:
            raise RefusalError(502, "malformed_answer", f"the arm's answer: {refused.message}") from refused
    answer.plain = _special_answer(lower) is None and minor == b"1" and not (has_length and answer.bodyless)
    chunked = False if answer.plain else _special_headers(answer, lower, has_length)
    if head_request or answer.bodyless or answer.status == 304:
        answer.length = 0
    elif chunked:
        answer.length = CHUNKED
    elif not has_length:
        answer.length = UNTIL_CLOSE
        answer.reusable = False
    return answer


def _special_headers(answer: AnswerHead, lower: bytes, has_length: bool) -> bool:
    """Read the headers about connection and framing; whether the body is chunked."""
    headers = answer.headers
    if lower.count(b"\r\nfairway-outcome:") > 1:
        headers[b"fairway-outcome"] = b"repeated"  # malformed on purpose: two outcomes are no outcome
    if lower.count(b"\r\nfairway-release:") > 1:
        headers[b"fairway-release"] = b"repeated"  # an arm that says two releases is neither
    if b"close" in tokens_of(headers.get(b"connection", b"")):
        answer.reusable = False
    coding = headers.get(b"transfer-encoding")
    if coding is None:
        return False
    repeated = lower.count(b"\r\ntransfer-encoding:") > 1
    if has_length or repeated or answer.http10 or coding.rstrip(b" ").lower() != b"chunked":
        raise RefusalError(502, "malformed_answer", "the arm's answer has an ambiguous length")
    return True


def returned_head(answer: AnswerHead, extra: bytes, *, length: Literal["kept", "chunked", "close"]) -> bytes:
    """The head as it goes to the client: hop-by-hop, ``x-fairway-*`` and the outcome gone, ``extra`` lines added.

    Args:
        answer: Of the arm.
        extra: Header lines, each ended by CRLF.
        length: How the body is framed to the client: as the arm said, in our chunks, or by closing.
    """
    if answer.plain and length == "kept":
        return b"%b%b\r\n" % (answer.raw[:-2], extra)
    start = answer.raw.find(b"\r\n") + 2
    lines = [b"HTTP/1.1" + answer.raw[8:start]]
    drop = _ANSWER_STRIP
    if connection := answer.headers.get(b"connection"):
        drop = drop | (tokens_of(connection) - _NEVER_NOMINATED)
    keeps_length = length == "kept" and not answer.bodyless
    for name, value in _fields(answer.raw, start):
        lower = name.lower()
        if lower in drop or is_ours(lower):
            continue
        if lower == b"content-length" and not keeps_length:
            continue
        lines.append(b"%b: %b\r\n" % (name, value))
    if length == "chunked":
        lines.append(b"transfer-encoding: chunked\r\n")
    if answer.switches:
        lines.append(_UPGRADE)
    lines.append(extra)
    lines.append(b"\r\n")
    return b"".join(lines)
