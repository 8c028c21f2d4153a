"""What clients ask and arms answer in a storm (:mod:`fairway.testing.gateway_storm`), mostly as usual.

Each request carries a word of its own in its target, in headers and all over its body, and its arm answers with a word
made of that.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import pairwise
from random import Random

words_in = re.compile(rb"(?:ask|say|cpy)[0-9]{7};").findall
_WORD = 11
_ODD_LINES = (b"Connection: close", b"Cookie: a=b", b"Connection: keep-alive", b"X-Request-Timeout: 5")
_NAMES = (b"X-Forwarded-For", b"X-Forwarded-For", b"Cookie", b"X-Own", b"X-Forwarded-Host")
_EMPTY = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


@dataclass(slots=True, kw_only=True)
class Asked:
    """A request of a client, and what became of it.

    Attributes:
        number: Its own.
        method: GET, HEAD or POST.
        raw: As the client sends it.
        body: What an arm is to read as its body.
        arrived: How often all of it reached an arm.
        said: Bodies that arms answered it with, one an attempt.
    """

    number: int
    method: bytes
    raw: bytes
    body: bytes
    arrived: int = 0
    said: list[bytes] = field(default_factory=list)

    @property
    def asks(self) -> bytes:
        """Its word."""
        return b"ask%07d;" % self.number

    @property
    def says(self) -> bytes:
        """The word of its answers."""
        return b"say%07d;" % self.number

    @property
    def copied(self) -> bytes:
        """The word of what a shadow answers its copy."""
        return b"cpy%07d;" % self.number


@dataclass(slots=True)
class Answer:
    """What an arm answers.

    Attributes:
        pieces: As it sends them.
        ending: What its connection does after them: nothing when empty; ``cut`` and ``reset``; ``silent``: nothing
            more comes, and it reads no further.
    """

    pieces: list[bytes]
    ending: str = ""


class Talk:
    """Makes requests and answers."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._tells = rng.random() < 0.5  # an arm that told of its outcome once is held to that

    def pieces(self, data: bytes) -> list[bytes]:
        """In one piece, cut behind the head, anywhere, or both."""
        rng, way = self._rng, self._rng.random()
        if way < 0.6:
            return [data]
        places = [data.find(b"\r\n\r\n") + 4] if way < 0.9 else []
        if way > 0.8:
            places += [rng.randrange(1, len(data)) for _ in range(rng.randint(1, 4))]
        return [data[start:end] for start, end in pairwise(sorted({0, *places, len(data)}))]

    def request(self, number: int, *, odd: float) -> Asked:
        """The request with that number.

        Args:
            number: Of it.
            odd: How likely it has a header beyond the usual ones.
        """
        rng = self._rng
        method = rng.choices((b"POST", b"GET", b"HEAD"), (6, 3, 1))[0]
        asked = Asked(number=number, method=method, raw=b"", body=b"")
        if method == b"POST":
            like_one = b"GET /%b HTTP/1.1\r\nHost: a\r\n\r\n" % asked.asks
            asked.body = rng.choice((asked.asks, asked.asks, like_one)) * rng.choice((1, 1, 3, 40))
        old = rng.random() < odd / 10
        lines = [b"%b /%b HTTP/1.%d" % (method, asked.asks, not old), b"Host: a"]
        if rng.random() > odd / 10:
            lines.append(b"X-Conversation-Id: c-%d" % (rng.randrange(4) if rng.random() < 0.8 else number % 10))
        if rng.random() < odd / 3:
            lines.append(rng.choice(_ODD_LINES))
        if rng.random() < odd:
            lines.append(b"%b: %b" % (rng.choice(_NAMES), asked.asks))
        head = b"\r\n".join(lines) + b"\r\n"
        if asked.body and not old and rng.random() < odd / 3:
            asked.raw = head + b"Transfer-Encoding: chunked\r\n\r\n" + self._chunks(asked.body)
        else:
            length = b"Content-Length: %d\r\n" % len(asked.body) if asked.body else b""
            asked.raw = head + length + b"\r\n" + asked.body
        return asked

    def _chunks(self, body: bytes) -> bytes:
        size = self._rng.choice((len(body), len(body), 7, 30))
        parts = (body[at : at + size] for at in range(0, len(body), size))
        return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"

    def answer(self, asked: Asked, *, copy: bool) -> Answer:
        """What an arm makes of a request, or a shadow of its copy; where it can be whole, that is noted."""
        rng, word = self._rng, asked.copied if copy else asked.says
        if rng.random() < 0.02:
            return Answer([], rng.choice(("cut", "reset", "silent")))
        lines = [b"HTTP/1.1 %b" % rng.choices((b"200 OK", b"404 No", b"500 No", b"503 No"), (20, 2, 1, 1))[0]]
        if rng.random() < 0.1:
            lines.append(b"X-Word: " + word)
        if self._tells and rng.random() < 0.95:
            lines.append(b"Fairway-Outcome: status=ok, tokens_in=1, tokens_out=1")
        head = b"\r\n".join(lines) + b"\r\n"
        if rng.random() < 0.03:
            head = b"HTTP/1.1 103 Early\r\nX-Word: %b\r\n\r\n%b" % (word, head)
        body, way = word * rng.choice((1, 1, 1, 5, 60)), rng.random()
        if asked.method == b"HEAD":
            return self._of_head(asked, head, body)
        if way > 0.95:
            return self._until_close(asked, head, body)
        if way < 0.75:
            raw = head + b"Content-Length: %d\r\n\r\n" % len(body) + body
        else:
            if way < 0.85:
                head += b"Content-Type: text/event-stream\r\n"
                body = b"data: %b\n\n" % word * (len(body) // _WORD)
            raw = head + b"Transfer-Encoding: chunked\r\n\r\n" + self._chunks(body)
        asked.said.append(body)
        return self._gone_wrong(raw, word)

    def _of_head(self, asked: Asked, head: bytes, body: bytes) -> Answer:
        asked.said.append(b"")
        raw = head + b"Content-Length: %d\r\n\r\n" % len(body)
        if self._rng.random() < 0.3:
            return Answer(self.pieces(raw + body), "silent")  # as it must not
        return Answer(self.pieces(raw))

    def _until_close(self, asked: Asked, head: bytes, body: bytes) -> Answer:
        """Whole when its connection ends well, wherever that is."""
        ending = self._rng.choice(("cut", "cut", "reset"))
        if ending == "cut":
            body = body[: self._rng.choice((len(body), self._rng.randint(0, len(body))))]
            asked.said.append(body)
        return Answer(self.pieces(head + b"\r\n" + body), ending)

    def _gone_wrong(self, raw: bytes, word: bytes) -> Answer:
        """An answer that says where it ends, sometimes cut, too long, or the last one on its connection."""
        rng, pieces, way = self._rng, self.pieces(raw), self._rng.random()
        if way < 0.03:
            return Answer(pieces[: rng.randint(0, len(pieces) - 1)], rng.choice(("cut", "reset", "silent")))
        if way < 0.05:
            pieces[-1] += rng.choice((word, raw, _EMPTY))
            return Answer(pieces, "silent")
        return Answer(pieces, rng.choice(("cut", "reset")) if way < 0.08 else "")


@dataclass(slots=True, frozen=True)
class Whole:
    """A whole answer, as a client reads it.

    Attributes:
        status: Of it.
        head: Without its last line end.
        body: Without its framing.
        framed: It says itself where it ends.
        rest: The bytes after it.
    """

    status: int
    head: bytes
    body: bytes
    framed: bool
    rest: bytes


def read_answer(data: bytes, *, head_only: bool, ended: bool) -> Whole | None:
    """The first answer in these bytes; ``None`` when it is not whole.

    Args:
        data: What a client got.
        head_only: It is one to HEAD.
        ended: The connection is over.

    Raises:
        ValueError: When it is malformed.
    """
    status = 0
    while status < 200:
        head, found, data = data.partition(b"\r\n\r\n")
        if not found:
            return None
        if not head.startswith(b"HTTP/1.1 "):
            raise ValueError(f"no answer begins with {head!r}")
        status = int(head[9:12])
    if head_only or status in (204, 304):
        return Whole(status, head, b"", True, data)
    lower = head.lower()
    if b"\r\ntransfer-encoding: chunked" in lower:
        return _chunks(status, head, data)
    length = re.search(rb"\r\ncontent-length: ?([0-9]+)", lower)
    if length is None:
        return Whole(status, head, data, False, b"") if ended else None
    size = int(length[1])
    return Whole(status, head, data[:size], True, data[size:]) if len(data) >= size else None


def _chunks(status: int, head: bytes, rest: bytes) -> Whole | None:
    parts: list[bytes] = []
    while True:
        line, found, rest = rest.partition(b"\r\n")
        size = int(line, 16) if found else 0
        if not found or len(rest) < size + 2:
            return None
        if rest[size : size + 2] != b"\r\n":
            raise ValueError("a chunk is longer than it says")
        parts.append(rest[:size])
        rest = rest[size + 2 :]
        if not size:
            return Whole(status, head, b"".join(parts), True, rest)
