"""The short way of a running stream: chunks that hold whole lines of events pass as they came.

Agents write one event at a time, each as a chunk of its own. Such a piece needs no reading: it begins with the very
size it has, ends a line, and no line of it begins with a colon, so that no outcome is in it. So do several at once.
Everything else (a cut chunk, comments, the end) goes the general way, after which this one is open again once the
stream stands between two chunks and between two lines.
"""

from __future__ import annotations

import re
from time import perf_counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncio import WriteTransport

    from fairway.gateway.exchange import Exchange
    from fairway.gateway.reading import StreamReading
    from fairway.gateway.returning import Returning

MAX_PIECE = 2048
"""Bytes of a piece that may pass unread."""


def _sizes() -> list[bytes]:
    """By the bytes of a whole chunk, how it begins: its size in hexadecimal digits, and the end of that line."""
    found = [bytes(MAX_PIECE)] * MAX_PIECE  # longer than any piece: where no chunk is of so many bytes
    for size in range(1, MAX_PIECE):
        line = b"%x\r\n" % size
        if len(line) + size + 2 < MAX_PIECE:
            found[len(line) + size + 2] = line
    return found


_BEGINS = _sizes()
_plain_size = re.compile(rb"([0-9A-Fa-f]{1,8})\r\n").match


class QuickStream:
    """A stream between two pieces.

    Attributes:
        open: Whether it stands between two chunks and two lines, so that a whole chunk of whole lines may pass.
    """

    __slots__ = ("_reading", "_returning", "_write", "open")

    def __init__(self, transport: WriteTransport, returning: Returning, reading: StreamReading) -> None:
        """Follow a stream of events that reaches the client in chunks, and is read while it does."""
        self._returning = returning
        self._reading = reading
        self._write = transport.write
        self.look()

    def look(self) -> None:
        """A piece went the general way: see where the stream stands, and whether anybody looks at all of it."""
        returning = self._returning
        heard = returning.overheard is not None or self._reading.first_token is None
        self.open = returning.between and not heard

    def passed(self, exchange: Exchange, data: bytes) -> bool:
        """Pass a piece on as it came; ``False``, with nothing done, when it is not whole chunks of whole lines.

        It does not know its ``exchange`` by itself: who knows each other has to be found by the garbage collector.
        """
        size = len(data)
        if size >= MAX_PIECE or not data.endswith(b"\n\r\n") or data.find(b"\n:") >= 0 or data.find(b"\r:") >= 0:
            return False  # ``find`` costs half of ``in``, which first takes what it looks for for a number
        begin = _BEGINS[size]
        if data.startswith(begin):
            payload = data[len(begin) : -2]
        elif not (payload := whole_chunks(data)):
            return False
        self._write(data)
        exchange.touched = now = perf_counter()
        exchange.bytes_out += len(payload)
        self._reading.went_on(payload, now)
        return True


def whole_chunks(data: bytes) -> bytes:
    """The payload of data that is nothing but whole chunks, in plain notation; empty when it is anything else."""
    payload: list[bytes] = []
    at = 0
    while at < len(data):
        line = _plain_size(data, at)
        if line is None:
            return b""
        begin = line.end()
        at = begin + int(line.group(1), 16)
        if at == begin or data[at : at + 2] != b"\r\n":
            return b""
        payload.append(data[begin:at])
        at += 2
    return b"".join(payload)
