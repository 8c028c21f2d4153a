"""Who answers, told along the trace: agent, version and gray tag as members of W3C ``baggage``.

An agent that passes baggage on, as OpenTelemetry's propagators do, has them on every span and on every call it makes;
a Fairway gateway in front of another agent can route by the gray tag (rules of kind ``gray_tag`` and ``baggage``).
Members are added to the client's own line, since some readers look at one line alone (W3C Baggage, section 3.2, allows
several).
"""

from __future__ import annotations

from urllib.parse import quote

from fairway.traffic.matching import BAGGAGE
from fairway.traffic.table import Arm, RouteTable

_NAME = f"{BAGGAGE}: ".encode()
_LINE = f"\r\n{BAGGAGE}:".encode()


def trace_lines(table: RouteTable, arm: Arm) -> bytes:
    """The header lines that tell an arm who it is; empty when the table does not ask for them."""
    if not table.trace:
        return b""
    told = {"agent_id": str(table.route.agent), "agent_version": arm.version, "gray_tag": arm.role.value}
    return _NAME + ",".join(f"{name}={quote(value, safe='')}" for name, value in told.items()).encode() + b"\r\n"


def traced(message: bytes, lines: bytes) -> bytes:
    """A request, or its beginning with the whole head, that carries an arm's lines.

    Args:
        message: As it would go to the arm.
        lines: Of that arm; empty: nothing is added.
    """
    if not lines:
        return message
    end = message.find(b"\r\n\r\n")
    at = message[: end + 2].lower().find(_LINE)
    if at < 0:
        return b"%b%b%b" % (message[: end + 2], lines, message[end + 2 :])
    at += len(_LINE)
    stop = message.find(b"\r\n", at)
    known, members = message[at:stop].strip(b" \t"), lines[len(_NAME) : -2]
    both = b"%b,%b" % (known, members) if known else members
    return b"%b %b%b" % (message[:at], both, message[stop:])


def retold(message: bytes, before: bytes, after: bytes) -> bytes:
    """The same request for another arm: ``before`` are the lines of the arm it was made for, ``after`` of that one."""
    if before == after:
        return message
    if not before:
        return traced(message, after)
    end = message.find(b"\r\n\r\n") + 2
    head, members = message[:end], before[len(_NAME) : -2]
    if after:
        head = head.replace(members, after[len(_NAME) : -2], 1)
    elif before in head:
        head = head.replace(before, b"", 1)
    else:
        head = head.replace(b",%b" % members, b"", 1)
    return head + message[end:]
