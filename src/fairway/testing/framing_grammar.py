"""HTTP/1.1 messages bent at the places where parsers disagree: a grammar with a mutator, seeded and cheap.

A message is a list of tokens (line ends, spaces, colons, numbers, words), so that a mutation hits what has a meaning
instead of any byte: another line end, a sign before a length, a second framing header, a chunk size that is off by
one, a follower that looks like a request. About 10 microseconds a message.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

_tokens = re.compile(rb"\r\n|[A-Za-z][A-Za-z-]*|[0-9]+|[ \t]+|[^\r]", re.DOTALL).findall

LINE_ENDS = (
    b"\n", b"\r", b"\r\r\n", b"\n\r", b"\n\n", b"\r\n\r\n", b"\r\n ", b"\r\n\t", b" \r\n", b"\t\r\n", b"\0\r\n",
    b"\x0b\r\n",
    b"\x85\r\n", b"\xa0\r\n", b"\r\n\0", b"", b"\x0c\r\n", b"\r\n:", b";\r\n", b"\r\n\r",
)  # fmt: skip
SPACES = (b"", b"  ", b"\t", b" \t", b"\x0b", b"\x0c", b"\xa0", b"\0", b"\r", b"\n", b"+", b"\r\n ", b"\x85")
COLONS = (b" :", b"\t:", b"::", b": :", b"", b";", b"=", b":\0", b":\r", b":\n", b":\r\n ", b":\x0b", b":,")
NUMBERS = (
    b"0", b"1", b"2", b"3", b"4", b"5", b"6", b"7", b"10", b"a", b"A", b"f", b"00", b"03", b"0005", b"0" * 14 + b"5",
    b"0" * 20 + b"5", b"+5", b"-5", b"-0", b"+0", b"0x5", b"5_0", b"5 5", b"5,5", b"5, 5", b"5;", b"5.0", b"5e0",
    b'"5"', b"5\0",
    b"\xb2", b"\xd9\xa5", b"4294967296", b"4294967301", b"18446744073709551616", b"18446744073709551621", b"9" * 30,
    b"ffffffffffffffff", b"10000000000000005", b"fffffffe", b"80000000", b"5\t", b"5\x0b", b"\x005", b"5h",
)  # fmt: skip
WORDS = {
    b"chunked": (
        b"Chunked", b"CHUNKED", b"chunked,", b",chunked", b"chunked, chunked", b"chunked,identity",
        b"identity, chunked",
        b"identity", b"gzip, chunked", b"chunked, gzip", b"chunked;q=1", b"chunked ;", b'"chunked"', b"xchunked",
        b"chunkedx",
        b"\x0bchunked", b"chunked\x0b", b"chun ked", b"chunked\0", b"\xa0chunked", b"chunked\t", b"chunked ",
        b"cow", b"", b"chunKed",
        b" \tchunked \t", b"tchunked", b"chunked\r\n chunked",
    ),
    b"Transfer-Encoding": (
        b"transfer-encoding", b"TRANSFER-ENCODING", b"Transfer_Encoding", b"Transfer-Encoding ",
        b"Transfer-Encoding\t",
        b"Transfer-Encodin", b"Transfer-Encoding\0", b" Transfer-Encoding", b"\x00Transfer-Encoding",
        b"X-Transfer-Encoding",
        b"Transfer-Encoding\x0b", b"TE", b"Trailer", b"Transfer Encoding", b"Transfer-\xc3\x8bncoding",
    ),
    b"Content-Length": (
        b"content-length", b"CONTENT-LENGTH", b"Content_Length", b"Content-Length ", b"Content-Length\t",
        b"Content-Lengt",
        b"Content-Length\0", b" Content-Length", b"X-Content-Length", b"Content-Length\x0b", b"Content-length",
        b"Content--Length",
        b"\xefContent-Length",
    ),
    b"Host": (b"host", b"HOST", b"Hos", b"Host ", b"X-Host"),
    b"HTTP": (b"http", b"HTTP ", b"HTT", b"ICY", b"HTTP/", b"XHTTP"),
    b"POST": (b"GET", b"HEAD", b"PUT", b"OPTIONS", b"CONNECT", b"PRI", b"post", b"P\tOST", b"DELETE", b"POST\t",
    b"TRACE", b"\r\nPOST"),
    b"GET": (b"POST", b"HEAD", b"PUT", b"OPTIONS", b"CONNECT", b"PRI", b"get", b"PATCH", b"QUERY", b"GET\0"),
    b"Connection": (b"connection", b"CONNECTION", b"Connection ", b"Keep-Alive", b"Proxy-Connection"),
    b"close": (b"Close", b"keep-alive", b"keep-alive, close", b"close,", b"upgrade", b"content-length",
    b"transfer-encoding", b"te",
               b"x-conversation-id", b"host", b"Upgrade, close", b"closed", b"c lose", b",", b"close\t, x"),
}  # fmt: skip
"""What a word may become, by the word."""

LINES = (
    b"Content-Length: 5\r\n", b"Content-Length: 0\r\n", b"content-length:5\r\n", b"Content-Length: 6\r\n",
    b"Content-Length:\t5 \r\n",
    b"Content-Length : 5\r\n", b"Content-Length\r\n", b"Content_Length: 3\r\n", b"Content-Length:\r\n",
    b"Content-Length: 5\n",
    b"Transfer-Encoding: chunked\r\n", b"transfer-encoding:chunked\r\n", b"Transfer-Encoding: identity\r\n",
    b"Transfer-Encoding:\x0bchunked\r\n", b"Transfer-Encoding : chunked\r\n", b"Transfer-Encoding:\r\n chunked\r\n",
    b"Transfer-Encoding: x\r\nTransfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n",
    b" Transfer-Encoding: chunked\r\n", b"X: y\rTransfer-Encoding: chunked\r\n",
    b"X: y\nTransfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", b"Transfer_Encoding: chunked\r\n",
    b"Transfer-Encoding: , chunked\r\n",
    b"Connection: close\r\n", b"Connection: keep-alive\r\n", b"Connection: upgrade\r\nUpgrade: h2c\r\n",
    b"Connection: Upgrade\r\nUpgrade: websocket\r\n", b"Upgrade: websocket\r\n", b"Connection: content-length\r\n",
    b"Connection: close\r\nConnection: keep-alive\r\n", b"Connection: x-a\r\nX-A: 1\r\n",
    b"Proxy-Connection: close\r\n",
    b"Expect: 100-continue\r\n", b"Expect: x\r\n", b"TE: trailers\r\n", b"TE: chunked\r\n", b"Trailer: X-Sum\r\n",
    b"Host: b\r\n",
    b"Host: \r\n", b"Cookie: a=b\r\n", b"Cookie: c=d; fairway_pin=x\r\n", b"X-Conversation-Id: c-2\r\n",
    b"X-Fairway-Pin: p\r\n",
    b"X_Fairway_Release: p\r\n", b"X-A:\r\n", b"X-A: \xff\xfe\r\n", b"X-A: a\0b\r\n", b"X-A: \x7f\r\n", b": x\r\n",
    b"\r\n", b"x\r\n",
    b"X-A: b\r\n c\r\n", b"Accept: */*\r\n", b"User-Agent: t/1\r\n", b"Content-Type: application/json\r\n",
    b"Keep-Alive: 5\r\n",
    b"Fairway-Outcome: status=ok\r\n", b"Content-Type: text/event-stream\r\n", b"Content-Encoding: gzip\r\n",
)  # fmt: skip
"""Lines put between others."""

TRAILERS = (
    b"", b"", b"", b"X-Sum: 1\r\n", b"Fairway-Outcome: status=ok\r\n", b"X-A: 1\r\nX-B: 2\r\n",
    b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n", b"Host: b\r\n", b"X\r\n", b" X: y\r\n", b"X: y\n", b"X : y\r\n",
    b"X: \0\r\n", b"0\r\n",
    b"Trailer: X\r\n", b"Connection: close\r\n",
)  # fmt: skip
EXTENSIONS = (
    b";a", b";a=b", b';a="b"', b';a="b c;\\"d"', b";a=b;c=d", b" ;a", b"; a", b";a =b", b";", b";a=", b";a=b ",
    b' ; a = "x"',
    b";a=\n", b";a=\r", b";a=\0", b";\xff", b';a="\r\n0\r\n\r\n', b";a=b\r", b" ", b"\t", b"\x0b", b";;", b"=",
    b";a,b", b';a="\xff"',
    b';a="\t"', b";a=b=c", b';a"b"', b';a=b"c"', b';"a"', b';a="\\', b';a="b"c', b';a="\x7f"', b';a=""',
)  # fmt: skip
FOLLOWERS = (
    b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n", b"POST /next HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi",
    b"\r\n", b"\n", b"0\r\n\r\n",
    b"GPOST / HTTP/1.1\r\nHost: a\r\n\r\n", b"\r\nGET /next HTTP/1.1\r\nHost: a\r\n\r\n", b" ", b"\0", b"x",
    b"5\r\nhello\r\n0\r\n\r\n",
    b"GET /next HTTP/1.1\r\nHost: a\r\nX: ", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    b"POST /next HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
)  # fmt: skip
PIECES = (
    b"\r\n", b"\n", b"\r", b" ", b"\t", b":", b",", b"\0", b"\x0b", b"\x0c", b"\x7f", b"\x80", b"\xff", b"\xa0",
    b"0", b"5", b";", b"_",
    b"-", b"+", b"\r\n\r\n", b"0\r\n\r\n", b"chunked", b"HTTP/1.0", b"HTTP/1.1", b"HTTP/2.0", b"HTTP/1.2",
    b"HTTP/0.9", b"//", b"http://b/",
    b"*", b"#", b"%00", b"?a=b", b'"', b"\\", b"\xe5\x98\x8d", b"\xef\xbf\xbf",
)  # fmt: skip
BODIES = (b"hello", b"", b"a", b"\r\n", b"0\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"\n\n", b"x" * 17, b"\0\xff",
          b"data: 1\n\n", b"data: x\n: fairway-outcome status=ok\n\n",
          b'{"text": "hello", "id": "c-1"}')  # fmt: skip

_REQUEST_HEADS = (
    b"POST /chat HTTP/1.1\r\nHost: agent\r\n",
    b"POST /chat HTTP/1.1\r\nHost: agent\r\nX-Conversation-Id: c-1\r\n",
    b"POST /chat HTTP/1.1\r\nHost: agent\r\nContent-Type: application/json\r\n"
    b"X-Conversation-Id: c-1\r\nAccept: */*\r\n",
    b"POST /chat HTTP/1.1\r\nHost: agent\r\nContent-Type: application/json\r\n",
    b"POST /v1/a?b=c HTTP/1.1\r\nhost: agent:80\r\nx-conversation-id: c-1\r\nUser-Agent: t/1\r\nCookie: a=b\r\n",
    b"GET /a/b?c=d HTTP/1.1\r\nHost: agent\r\nX-Conversation-Id: c-1\r\nConnection: keep-alive\r\n",
    b"POST / HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n",
    b"POST / HTTP/1.1\r\nHost: agent\r\nExpect: 100-continue\r\nTE: trailers\r\n",
    b"POST / HTTP/1.0\r\nHost: agent\r\nConnection: keep-alive\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: [::1]:8080\r\nAuthorization: Bearer x\r\n",
)
_USUAL_HEADS = (
    b"POST /chat HTTP/1.1\r\nHost: agent\r\nX-Conversation-Id: %(key)b\r\nContent-Length: %(size)d\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: agent\r\nContent-Length: %(size)d\r\nAccept: */*\r\nx-conversation-id: %(key)b\r\n\r\n",
    b"POST /c HTTP/1.1\r\nConnection: keep-alive\r\nHost: a\r\nX-Conversation-Id: %(key)b\r\n"
    b"Content-Length: %(size)d\r\nB: c\r\n\r\n",
    b"POST /c HTTP/1.1\r\nHost: a\r\nX-Conversation-Id: %(key)b\r\nCookie: a=b\r\nContent-Length: %(size)d\r\n\r\n",
)
KEYS = (
    (b"c-1", b"c-2", b"c-3", b"key.with_plain-marks", b"c 4", b"c\xff", b"", b"5"),
    (b"c-123456789", b"c-987654321", b"c-1\r\nX-A: b", b"c-1\r\n\r\n\r\n12"),
    (b"c-12345678901234567890", b"c-09876543210987654321", b"c-1\r\nContent-Length: 3"),
)
"""Keys that meet on one connection; what is injected has the length of one that is not."""

_ANSWER_HEADS = (
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 200 OK\r\nServer: x\r\nContent-Type: application/json\r\nFairway-Outcome: status=ok\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n",
    b"HTTP/1.1 404 Not Found\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n",
    b"HTTP/1.1 503 \r\nRetry-After: 1\r\n",
    b"HTTP/1.1 204 No Content\r\nDate: x\r\n",
    b"HTTP/1.1 304 Not Modified\r\nETag: x\r\n",
    b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n",
    b"HTTP/1.1 200 OK\r\nConnection: close\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nTrailer: X-Sum\r\n",
)


class Mutator:
    """Makes messages, most of them slightly wrong, some of them right; the same seed makes the same messages."""

    def __init__(self, seed: int) -> None:
        """Begin the sequence of this seed."""
        self._random = random.Random(seed)  # noqa: S311 - for tests
        self._requests = tuple(_tokens(head) for head in _REQUEST_HEADS)
        self._answers = tuple(_tokens(head) for head in _ANSWER_HEADS)

    def request(self) -> bytes:
        """What a client sends: a request, bent or not, often with something after it."""
        return self._message(self._requests)

    def answer(self) -> bytes:
        """What an arm sends."""
        return self._message(self._answers)

    def canonical_request(self) -> tuple[bytes, bytes]:
        """A request nobody could call ambiguous, and its body."""
        return self._canonical(self._requests)

    def conversation(self) -> list[bytes]:
        """Requests on one connection, alike but for key and body, some of them bent: what the short way learns from."""
        rnd = self._random.random
        head = self._pick(_USUAL_HEADS)
        keys = KEYS[int(rnd() * len(KEYS))]
        found: list[bytes] = []
        for _ in range(2 + int(rnd() * 4)):
            body = self._pick(BODIES)
            request = head % {b"key": self._pick(keys), b"size": len(body)} + body
            if rnd() < 0.25:
                tokens = _tokens(request)
                self._bend(tokens)
                request = b"".join(tokens)
            found.append(request)
        return found

    def pieces(self, data: bytes) -> list[bytes]:
        """The same bytes as they may come off a socket: whole, in a few pieces, or one by one."""
        draw = self._random.random()
        if draw < 0.4 or len(data) < 2:
            return [data]
        if draw < 0.5:
            return [data[at : at + 1] for at in range(len(data))]
        cuts = sorted({self._random.randrange(1, len(data)) for _ in range(1 + int(draw * 4))})
        return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]

    def _pick(self, among: Sequence[bytes]) -> bytes:
        return among[int(self._random.random() * len(among))]

    def _message(self, heads: Sequence[list[bytes]]) -> bytes:
        rnd = self._random.random
        tokens = list(heads[int(rnd() * len(heads))])
        draw = rnd()
        if draw < 0.45:
            body = self._pick(BODIES)
            tokens += (b"Content-Length", b":", b" ", b"%d" % len(body), b"\r\n", b"\r\n", body)
        elif draw < 0.9:
            tokens += (b"Transfer-Encoding", b":", b" ", b"chunked", b"\r\n", b"\r\n")
            self._chunks(tokens, bent=rnd() < 0.4)
        else:
            tokens.append(b"\r\n")
        draw = rnd()
        times = 0 if draw < 0.25 else 1 if draw < 0.75 else 2 if draw < 0.93 else 4
        for _ in range(times):
            self._bend(tokens)
        if rnd() < 0.35:
            tokens.append(self._pick(FOLLOWERS))
        return b"".join(tokens)

    def _canonical(self, heads: Sequence[list[bytes]]) -> tuple[bytes, bytes]:
        tokens = list(heads[int(self._random.random() * (len(heads) - 2))])  # not the HTTP/1.0 one: it knows no chunks
        body = self._pick(BODIES)
        if self._random.random() < 0.5:
            return b"%bContent-Length: %d\r\n\r\n%b" % (b"".join(tokens), len(body), body), body
        tokens.append(b"Transfer-Encoding: chunked\r\n\r\n")
        body = self._chunks(tokens, bent=False)
        return b"".join(tokens), body

    def _chunks(self, tokens: list[bytes], *, bent: bool) -> bytes:
        """A body in chunks; ``bent``: with extensions, trailers and sizes that may be wrong. Returns its payload."""
        rnd = self._random.random
        whole = b""
        for _ in range(int(rnd() * 4)):
            body = self._pick(BODIES)
            if not body:
                continue
            whole += body
            draw = rnd()
            size = b"%x" if draw < 0.6 else b"%X" if draw < 0.8 else b"%04x"
            tokens.append(size % (len(body) + (1 if bent and draw < 0.05 else 0)))
            if bent and rnd() < 0.4:
                tokens.append(self._pick(EXTENSIONS))
            tokens += (b"\r\n", body, b"\r\n")
        tokens += (b"0", b"\r\n")
        if bent:
            tokens.append(self._pick(TRAILERS))
        tokens.append(b"\r\n")
        return whole

    def _bend(self, tokens: list[bytes]) -> None:
        rnd = self._random.random
        if not tokens:
            return
        at = int(rnd() * len(tokens))
        draw = rnd()
        if draw < 0.40:
            tokens[at] = self._other(tokens[at])
        elif draw < 0.62:
            starts = [place + 1 for place, token in enumerate(tokens) if token == b"\r\n"]
            tokens.insert(starts[int(rnd() * len(starts))] if starts else at, self._pick(LINES))
        elif draw < 0.72:
            tokens.insert(at, self._pick(PIECES))
        elif draw < 0.80:
            del tokens[at : at + 1 + int(rnd() * 3)]
        elif draw < 0.86:
            tokens[at:at] = tokens[at : at + 5]
        elif draw < 0.93:
            token = tokens[at]
            place = int(rnd() * (len(token) + 1))
            tokens[at] = b"%b%c%b" % (token[:place], int(rnd() * 256), token[place + int(rnd() * 2) :])
        elif draw < 0.97:
            other = int(rnd() * len(tokens))
            tokens[at], tokens[other] = tokens[other], tokens[at]
        else:
            del tokens[at:]

    def _other(self, token: bytes) -> bytes:
        """Something else in the place of a token."""
        if token == b"\r\n":
            return self._pick(LINE_ENDS)
        if token == b":":
            return self._pick(COLONS)
        if token.isdigit():
            return self._pick(NUMBERS)
        if token.isspace():
            return self._pick(SPACES)
        known = WORDS.get(token)
        if known is not None:
            return self._pick(known)
        return token.swapcase() if self._random.random() < 0.3 else self._pick(PIECES)
