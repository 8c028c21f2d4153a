"""Fields after a chunked answer: the outcome is counted, what may be passed on goes to a client that asked for it.

An arm need not know whether anybody reads trailers to end its answer with ``Fairway-Outcome``: the gateway always
does. To the client they go only when it said ``TE: trailers`` (RFC 9110, 6.5.1 and 10.1.4), because a recipient that
merges them unasked into the head is how trailers become an attack.
"""

from __future__ import annotations

from collections.abc import Iterable

from fairway.gateway.bodies import AnswerBody
from fairway.gateway.framing import HOP_BY_HOP, AnswerHead, is_ours

_OUTCOME = b"fairway-outcome"

_NEVER = HOP_BY_HOP | frozenset(
    (b"content-length", b"host", b"cache-control", b"max-forwards", b"pragma", b"range", b"authorization", b"cookie",
     b"set-cookie", b"www-authenticate", b"age", b"expires", b"date", b"location", b"retry-after", b"vary", b"warning",
     b"content-encoding", b"content-type", b"content-range", b"accept-ranges", b"allow", b"status", _OUTCOME,
     b"fairway-release")
)  # fmt: skip
"""Framing, routing, request modifiers, authentication, control data, and how content is to be processed: none of it may
come after the content (RFC 9110, 6.5.1)."""


def _may_pass(name: bytes) -> bool:
    return name not in _NEVER and not name.startswith((b"if-", b"access-control-")) and not is_ours(name)


def _named(trailers: Iterable[bytes]) -> list[tuple[bytes, bytes]]:
    pairs = (line.partition(b":") for line in trailers)
    return [(name.lower(), value.strip(b" \t\r\n")) for name, _, value in pairs]


def note_trailers(answer: AnswerHead, body: AnswerBody) -> None:
    """Once a body is complete: an outcome in its trailers is the answer's, unless its head had one.

    Two in the trailers are none that could be read.
    """
    said = [value for name, value in _named(body.trailers) if name == _OUTCOME]
    if said:
        answer.headers.setdefault(_OUTCOME, said[0] if len(said) == 1 else b"repeated")


def passed_trailers(trailers: Iterable[bytes]) -> bytes:
    """The lines that go on to a client that reads trailers."""
    return b"".join(b"%b: %b\r\n" % pair for pair in _named(trailers) if _may_pass(pair[0]))


def announced(value: bytes) -> bytes:
    """What is left of a ``Trailer`` header's list; empty when nothing of it goes on."""
    names = (name.strip(b" \t") for name in value.split(b","))
    return b", ".join(name for name in names if name and _may_pass(name.lower()))
