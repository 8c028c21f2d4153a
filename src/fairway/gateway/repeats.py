"""What a connection said last, so that saying it again costs a comparison instead of a reading.

Clients send one head after another that differ in the key of the conversation and the length of the body alone, and
arms in haste answer with the very same head. What the expressions of :mod:`fairway.gateway.shapes` once accepted is
accepted again, byte for byte; anything else is read anew.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from struct import Struct
from typing import TYPE_CHECKING

from fairway.gateway.shapes import Matcher

if TYPE_CHECKING:
    from fairway.gateway.serving import Unit
    from fairway.traffic.outcome import Outcome

RequestRepeat = tuple[
    Matcher | None, Callable[[bytes], tuple[bytes, ...]], int, bytes, bytes, bytes, bool, bytes, "dict[bytes, Unit]",
    bytes | None, bytes, int, bytes,
]  # fmt: skip
"""A request head on one client connection, with two gaps of fixed size: for the key and for the length of the body.

The expression that accepted it (of a table); what cuts a request into before, gap, between, gap and after; bytes of all
these; before; between; after; whether the key is in the first gap; what stands in the length's gap when there is no
body; the units that requests with this head may be of; what tells the cookie among its bytes (see :func:`cookie_told`,
``None`` without); what the arm gets up to the request's number; where the rest of what it gets begins in the request;
what the access log says of it.
"""

AnswerRepeat = tuple["object | None", bytes, int, int, bytes, int, "Outcome | None", bytes]
"""An answer head on one arm connection.

How the arm's answers are read; the head; its bytes; those of head and body; what the client gets up to the request's
number; where the rest of what it gets begins in the answer; the outcome the head reports; its status.
"""


def _uncut(_: bytes) -> tuple[bytes, ...]:
    return ()


SHARED_BYTES = 2_048
"""Of a head: one that is longer is kept by its own connection alone."""

MAX_SHARED = 64
"""Heads that connections may have in common."""

NO_REQUEST: RequestRepeat = (None, _uncut, 0, b"", b"", b"", False, b"", {}, None, b"", 0, b"")
NO_ANSWER: AnswerRepeat = (None, b"", 0, 0, b"", 0, None, b"")

_PLAIN_MARKS = b"-_."


def is_plain(key: bytes) -> bool:
    """Whether a key is of letters, digits, hyphens, underscores and dots, which need no look at where they stand."""
    return key.translate(None, _PLAIN_MARKS).isalnum()


def request_repeat(
    usual: Matcher,
    data: bytes,
    match: re.Match[bytes],
    lines: bytes,
    units: dict[bytes, Unit],
    cookie: bytes | None,
    logged: bytes,
) -> RequestRepeat:
    """The head of a usual request, to know it by when it comes again with another key and length.

    Args:
        usual: The expression that accepted it.
        data: The request.
        match: Of its head.
        lines: What it gains on its way, up to its number.
        units: Where those that send such heads are found by their key.
        cookie: What tells its cookie.
        logged: What the access log says of it.
    """
    end = match.end()
    start, stop = match.span(3)
    key_first, first, second = True, (start, stop), (stop, stop)
    no_length = b""
    if match.start(2) >= 0:
        no_length = b"0"
        key_first = start < match.start(2)
        first, second = sorted((match.span(2), match.span(3)))
    if match.start(5) > first[0]:
        return NO_REQUEST  # a line to take out amid what is passed on as it came
    line = data.rfind(b"\r\n", 0, first[0]) + 2
    front = data[:line]  # up to a line's end, which also ends that of the number
    if match.start(5) >= 0:
        front = without(front, match, 5, CONNECTION)
    places = (0, *first, *second, end)
    cut = Struct("".join(f"{after - before}s" for before, after in pairwise(places)))
    before, between, after = data[: first[0]], data[first[1] : second[0]], data[second[1] : end]
    return (
        usual, cut.unpack_from, end, before, between, after, key_first, no_length, units, cookie, front + lines,
        line - 2, logged,
    )  # fmt: skip


def shared(kept: dict[tuple[object, ...], RequestRepeat], repeat: RequestRepeat, address: str) -> RequestRepeat:
    """The same head as another connection from that address knows it, or this one, for the next that has it.

    Hundreds of connections of one kind of client then keep one head among them, instead of a kilobyte each.

    Args:
        kept: Heads without a cookie, of one table; gains this one.
        repeat: The head.
        address: Of the client.
    """
    usual, cut, end, before, between, after, _, no_length, _, cookie, front, _, _ = repeat
    if end > SHARED_BYTES or cookie is not None:
        return repeat
    gaps: Struct | None = getattr(cut, "__self__", None)
    if gaps is None:
        return repeat
    known_by = (usual, gaps.format, before, between, after, no_length, front, address)
    known = kept.get(known_by)
    if known is None:
        if len(kept) >= MAX_SHARED:
            kept.clear()
        known = kept[known_by] = repeat
    return known


CONNECTION = len(b"connection:")


def without(head: bytes, match: re.Match[bytes], group: int, name: int) -> bytes:
    """A head without the line whose value a group found, after a name of so many bytes."""
    return head[: match.start(group) - name] + head[match.end(group) + 2 :]
