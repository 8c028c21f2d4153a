"""W3C Trace Context: whose trace a request is part of, and what a copy for a shadow is part of instead.

``traceparent``, ``tracestate`` and ``baggage`` go to the arm as they came, malformed ones too: what they mean is its
business. A copy is another matter: its spans must not stand in the user's trace as if they had served somebody.
Source: https://www.w3.org/TR/trace-context, sections 3.2 and 3.3.
"""

from __future__ import annotations

import re
from hashlib import blake2b


def _any_case(name: str) -> bytes:
    return "".join(f"[{char}{char.upper()}]" for char in name).encode()


_TRACEPARENT = (
    rb"(?!ff)(?!00-[0-9a-f\-]{52}-)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
    rb"(?:-[^\r\n]*|[ \t]*)(?=\r)"
)
"""A well-formed value: no version ``ff``, nothing behind version ``00``, no id of zeros."""

trace_or_end = re.compile(
    rb"\r\n(?:(\r\n)|" + _any_case("traceparent") + rb":[ \t]*(?:" + _TRACEPARENT + rb")?)"
).search
"""Finds ``traceparent`` in a head, or the end of that (group 1); group 2: the trace id, when it is well formed."""

_lines = re.compile(rb"\r\n(?:" + _any_case("traceparent") + rb"|" + _any_case("tracestate") + rb"):[^\r\n]*").sub

SHADOW_OF = b"x-fairway-shadow-of: "
"""Header that tells a shadow the trace its request was copied from."""


def trace_id(head: bytes) -> str | None:
    """Id of the trace a request is part of, 32 hex digits; ``None``: of none, or ``traceparent`` is malformed."""
    found = trace_or_end(head)
    return None if found is None or found.lastindex != 2 else found[2].decode()


def shadow_trace(trace: str) -> str:
    """The trace that copies of a trace's requests are part of: always the same, so that it can be looked up."""
    return blake2b(trace.encode(), digest_size=16, person=b"fairway-shadow").hexdigest()


def apart(request: bytes) -> bytes:
    """A request as its copy is sent: in a trace of its own, which says whose copy it is.

    ``tracestate`` belongs to the trace that is left, so it is left out. Without a well-formed ``traceparent`` there is
    no trace to stay out of, and nothing is changed.

    Args:
        request: Head and body.
    """
    trace = trace_id(request)
    if trace is None:
        return request
    end = request.find(b"\r\n\r\n")
    head = _lines(b"", request[:end])
    flags = b"01" if _sampled(request) else b"00"
    other = shadow_trace(trace)
    line = b"\r\ntraceparent: 00-%b-%b-%b\r\n%b%b" % (
        other.encode(), other[:16].encode(), flags, SHADOW_OF, trace.encode(),
    )  # fmt: skip
    return b"%b%b%b" % (head, line, request[end:])


def _sampled(request: bytes) -> bool:
    """Whether the trace is recorded (the last bit of its flags)."""
    found = trace_or_end(request)
    assert found is not None
    at = found.start(2) + 32 + 1 + 16 + 1
    return bool(int(request[at : at + 2], 16) & 1)
