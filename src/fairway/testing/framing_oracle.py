"""What the gateway makes of bytes, held against what llhttp makes of them: the property that nothing can be smuggled.

Whatever the gateway accepts, llhttp (strict, as Node.js ships it) must read as the same message with the same end; and
what the gateway sends on must be read by llhttp as exactly that one message. What the gateway refuses needs no
agreement. Each message is given to a parser of its own, byte for byte as it stood in the stream: that it completes
with its last byte, and not before, is the agreement about boundaries.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import httptools

from fairway.gateway.bodies import RequestBody
from fairway.gateway.framing import (
    CHUNKED,
    UNTIL_CLOSE,
    RefusalError,
    RequestHead,
    forwarded_head,
    parse_answer,
    parse_request,
)
from fairway.gateway.returning import Returning

LIMIT = 65_536
_ADDED = b"x-fairway-request: b-0-1\r\n"
_upgrade = re.compile(rb"\r\nupgrade(?=:)", re.IGNORECASE)
_KNOWN_METHODS = frozenset(
    b"DELETE GET HEAD POST PUT CONNECT OPTIONS TRACE COPY LOCK MKCOL MOVE PROPFIND PROPPATCH SEARCH UNLOCK BIND"
    b" REBIND UNBIND ACL REPORT MKACTIVITY CHECKOUT MERGE M-SEARCH NOTIFY SUBSCRIBE UNSUBSCRIBE PATCH PURGE MKCALENDAR"
    b" LINK UNLINK SOURCE QUERY".split()
)


class DisagreementError(AssertionError):
    """The gateway and llhttp read a message differently."""


class Heard:
    """What llhttp reads of one message."""

    __slots__ = ("begun", "body", "headers", "in_head", "messages", "target")

    def __init__(self) -> None:
        self.target = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = b""
        self.begun = 0
        self.messages = 0
        self.in_head = True

    def on_message_begin(self) -> None:
        """Called by the parser."""
        self.begun += 1

    def on_url(self, url: bytes) -> None:
        """Called by the parser."""
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by the parser; of trailers too, which are left out."""
        if self.in_head:
            self.headers.append((name.lower(), value.strip(b" \t")))

    def on_headers_complete(self) -> None:
        """Called by the parser."""
        self.in_head = False

    def on_body(self, body: bytes) -> None:
        """Called by the parser."""
        self.body += body

    def on_message_complete(self) -> None:
        """Called by the parser."""
        self.messages += 1


def read_request(data: bytes) -> tuple[Heard, bytes]:
    """The one request that ``data`` is to llhttp, and its method.

    Raises:
        DisagreementError: When llhttp refuses it, when it is complete before its last byte, or not with it.
    """
    heard = Heard()
    parser = httptools.HttpRequestParser(heard)
    _feed(parser, heard, data)
    return heard, parser.get_method()


def _feed(parser: httptools.HttpRequestParser | httptools.HttpResponseParser, heard: Heard, data: bytes) -> None:
    early = -1
    try:
        parser.feed_data(data[:-1])
        early = heard.messages
        parser.feed_data(data[-1:])
    except httptools.HttpParserUpgrade as upgrade:
        if early == 0 and heard.messages == 1 and upgrade.args == (1,):
            return  # what follows is another protocol's
        raise DisagreementError(f"llhttp takes it for an upgrade: {data!r}") from upgrade
    except httptools.HttpParserError as error:
        raise DisagreementError(f"llhttp refuses it ({error}): {data!r}") from error
    if early or (heard.messages, heard.begun) != (1, 1):
        raise DisagreementError(f"not complete with its last byte: {data!r}")


@dataclass(frozen=True, slots=True)
class Passed:
    """A request the gateway accepted.

    Attributes:
        head: Its head.
        body: Its payload.
        came: Its bytes as they came.
        sent: Its bytes as they go to the arm.
    """

    head: RequestHead
    body: bytes
    came: bytes
    sent: bytes


def accepted_requests(data: bytes) -> list[Passed]:
    """The whole requests the gateway takes of what a client sent, up to one that it refuses or that is not all here."""
    found: list[Passed] = []
    while data:
        try:
            head = parse_request(data, LIMIT)
            if head is None:
                return found
            body = RequestBody(head.length, limit=LIMIT)
            framed, rest = body.take(data[len(head.raw) :])
        except RefusalError:
            return found
        if not body.sent:
            return found
        came = data[: len(data) - len(rest)]
        payload = _payload(framed) if head.length == CHUNKED else framed
        found.append(Passed(head, payload, came, forwarded_head(head, _ADDED) + framed))
        if head.close or head.upgrade:
            return found
        data = rest
    return found


def _payload(framed: bytes) -> bytes:
    """The payload of the gateway's own chunks: one at most, and the last."""
    size, _, rest = framed.partition(b"\r\n")
    length = int(size, 16)
    payload = rest[:length] if length else b""
    expected = b"%x\r\n%b\r\n0\r\n\r\n" % (length, payload) if length else b"0\r\n\r\n"
    if framed != expected:
        raise DisagreementError(f"the gateway's own chunks: {framed!r}")
    return payload


def check_requests(data: bytes) -> int:
    """Hold what a client sent against llhttp; how many requests were accepted and compared.

    Raises:
        DisagreementError: Something could be smuggled.
    """
    compared = 0
    for passed in accepted_requests(data):
        head = passed.head
        if head.method not in _KNOWN_METHODS:
            continue  # llhttp knows no other
        size = len(head.raw)
        came = passed.came
        if not head.upgrade:  # one to another protocol is ignored, and never goes on
            came = _upgrade.sub(b"\r\nXpgrade", came[:size]) + came[size:]
        heard, method = read_request(came)
        pairs = [(name.lower(), value.strip(b" \t")) for name, _, value in map(_partition, _lines(came[: size - 4]))]
        if (method, heard.target, heard.body) != (head.method, head.target, passed.body) or heard.headers != pairs:
            raise DisagreementError(f"read differently: {data!r}")
        _check_sent(passed)
        compared += 1
    return compared


def _check_sent(passed: Passed) -> None:
    heard, method = read_request(passed.sent)
    head = passed.head
    if (method, heard.target, heard.body) != (head.method, head.target, passed.body):
        raise DisagreementError(f"sent on as another message: {passed.came!r} became {passed.sent!r}")
    names = [name for name, _ in heard.headers]
    framing = names.count(b"content-length") + names.count(b"transfer-encoding")
    if framing > 1 or names.count(b"host") != 1 or (head.length and framing != 1):
        raise DisagreementError(f"sent on with another framing: {passed.sent!r}")
    ours = [name for name in names if name.replace(b"_", b"-").startswith(b"x-fairway-")]
    if ours != [b"x-fairway-request"]:
        raise DisagreementError(f"a forged header went on: {passed.sent!r}")


def _lines(head: bytes) -> list[bytes]:
    return head.split(b"\r\n")[1:]


def _partition(line: bytes) -> tuple[bytes, bytes, bytes]:
    return line.partition(b":")


def check_answer(data: bytes, *, http10: bool = False) -> int:
    """Hold what an arm sent against llhttp, and what the client gets of it; whether an answer was accepted.

    Args:
        data: The bytes of one answer, perhaps with interim ones before it and more after it.
        http10: The client knows no chunks.

    Raises:
        DisagreementError: The client, or another reader of the arm's bytes, would see another answer.
    """
    try:
        answer = parse_answer(data, limit=LIMIT, head_request=False)
        while answer is not None and answer.status < 200 and answer.status != 101:
            _hear_answer(data[: answer.end], b"", answer.status)
            data = data[answer.end :]
            answer = parse_answer(data, limit=LIMIT, head_request=False)
        if answer is None or answer.status == 101:
            return 0
        returning = Returning(answer, http10=http10, trailers=not http10)
        sent = returning.head(_ADDED)
        payload = returning.body.feed(data[answer.end :])
    except RefusalError:
        return 0
    until_close = answer.length == UNTIL_CLOSE
    if not returning.body.complete and not until_close and answer.length:
        return 0
    sent += returning.passed(payload) + (returning.rest() if until_close else b"")
    came = data if until_close else data[: len(data) - returning.body.overlong]
    _hear_answer(came, payload, answer.status, until_close=until_close)
    visible = payload if returning.filter is None else None
    _hear_answer(sent, visible, answer.status, until_close=returning.framing == "close")
    return 1


def _hear_answer(data: bytes, body: bytes | None, status: int, *, until_close: bool = False) -> None:
    heard = Heard()
    parser = httptools.HttpResponseParser(heard)
    if until_close:
        try:
            parser.feed_data(data)
        except httptools.HttpParserError as error:
            raise DisagreementError(f"llhttp refuses it ({error}): {data!r}") from error
        if heard.messages:
            raise DisagreementError(f"complete before its end: {data!r}")
    else:
        _feed(parser, heard, data)
    if parser.get_status_code() != status or (body is not None and heard.body != body):
        raise DisagreementError(f"read differently: {data!r}")


def comparable(found: list[Passed]) -> bool:
    """Whether llhttp knows the methods of all of these requests."""
    return all(passed.head.method in _KNOWN_METHODS for passed in found)


def answers_in(data: bytes) -> list[int]:
    """The statuses of the whole answers llhttp reads in what a client got.

    Raises:
        DisagreementError: When it cannot read it.
    """
    statuses: list[int] = []

    class Answers(Heard):
        def on_message_complete(self) -> None:
            statuses.append(parser.get_status_code())

    parser = httptools.HttpResponseParser(Answers())
    try:
        parser.feed_data(data)
    except httptools.HttpParserError as error:
        raise DisagreementError(f"the client cannot read it ({error}): {data!r}") from error
    return statuses
