"""What a connection said last, so that saying it again costs a comparison instead of a reading.

Clients send one head after another that differ in the key of the conversation and the length of the body alone, and
arms in haste answer with the very same head. What the expressions of :mod:`fairway.gateway.shapes` once accepted is
accepted again, byte for byte; anything else is read anew.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

from fairway.gateway.shapes import Matcher

if TYPE_CHECKING:
    from fairway.gateway.serving import ArmServing
    from fairway.traffic.outcome import Outcome

RequestRepeat = tuple[Matcher | None, bytes, int, bytes, bytes, Literal["", "length", "key"], bytes, bytes]
"""A request head on one client connection, with two gaps: for the key and, with a body, for the length of that.

The expression that accepted it (of a table); its bytes up to the first gap; how many these are; its bytes between the
gaps; those after them; which gap comes first (none when there is no length); what the arm gets up to the request's
number; and between that and the first gap.
"""

AnswerRepeat = tuple["ArmServing | None", bytes, int, bytes, "Outcome | None", bool]
"""An answer head on one arm connection.

The arm; the head; bytes of head and body; what the client gets of the head; the outcome it reports; whether one was
expected of the arm.
"""

NO_REQUEST: RequestRepeat = (None, b"", 0, b"", b"", "", b"", b"")
NO_ANSWER: AnswerRepeat = (None, b"", 0, b"", None, False)

_PLAIN_MARKS = b"-_."


def is_plain(key: bytes) -> bool:
    """Whether a key is of letters, digits, hyphens, underscores and dots, which need no look at where they stand."""
    return key.translate(None, _PLAIN_MARKS).isalnum()


def request_repeat(usual: Matcher, data: bytes, match: re.Match[bytes], lines: bytes) -> RequestRepeat:
    """The head of a usual request without a cookie, to know it by when it comes again with another key and length.

    Args:
        usual: The expression that accepted it.
        data: The request.
        match: Of its head.
        lines: What it gains on its way, up to its number.
    """
    order: Literal["", "length", "key"] = ""
    start, end = match.span(3)
    first, second = (start, end), (end, end)
    if match.start(2) >= 0:
        order = "key" if start < match.start(2) else "length"
        first, second = sorted((match.span(2), match.span(3)))
    if match.start(5) > first[0]:
        return NO_REQUEST  # a line to take out amid what is passed on as it came
    line = data.rfind(b"\r\n", 0, first[0])
    front = data[: line + 2]
    if match.start(5) >= 0:
        front = without(front, match, 5, CONNECTION)
    before, middle, after = data[: first[0]], data[first[1] : second[0]], data[second[1] : match.end()]
    return usual, before, len(before), middle, after, order, front + lines, data[line : first[0]]


CONNECTION = len(b"connection:")


def without(head: bytes, match: re.Match[bytes], group: int, name: int) -> bytes:
    """A head without the line whose value a group found, after a name of so many bytes."""
    return head[: match.start(group) - name] + head[match.end(group) + 2 :]
