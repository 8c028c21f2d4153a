"""Which live conversations are sampled, and how a sample travels: stdlib alone, because the data plane imports it.

A conversation is sampled whole or not at all, by a hash of its key that knows neither split nor arm: the same share of
every arm's conversations. A sample is one datagram: a length, what is known of the request as JSON, and both bodies.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, NamedTuple

from fairway.traffic.bucket import highest_below
from fairway.units import WHOLE, Parts

SOCKET = "samples"
"""Name of the socket samples are sent to, in the project's state folder."""

SCORES, STATUS = "live/scores", "live/status.json"
"""Where scores of samples are kept, and how far whoever scores has come, below the project's state folder."""

MOST_BODY_BYTES = 65_536
"""Of each body, so that a sample fits a datagram."""

_SALTED = b"fairway-sample\0"
_LENGTHS = struct.Struct("!II")
_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """What a route's gateways sample.

    Attributes:
        share: Of conversations, parts of 100,000.
        body_bytes: A request or answer with a larger body is sampled without it.
    """

    share: Parts
    body_bytes: int = 16_384

    def __post_init__(self) -> None:
        """Refuse what a datagram cannot carry.

        Raises:
            ValueError: Out of range.
        """
        if not 0 < self.share <= WHOLE or not 0 < self.body_bytes <= MOST_BODY_BYTES:
            raise ValueError(f"a share of {self.share} and bodies of {self.body_bytes} bytes cannot be sampled")

    def to_wire(self) -> dict[str, int]:
        """A JSON-able value; :meth:`from_wire` is its inverse."""
        return {"share": int(self.share), "body_bytes": self.body_bytes}

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> Sampling:
        """Read it.

        Raises:
            KeyError: When a key is missing.
            ValueError: On a value out of range.
        """
        return cls(share=Parts(int(wire["share"])), body_bytes=int(wire["body_bytes"]))

    @property
    def below(self) -> bytes:
        """Hashes of :func:`sample_hash` below this are sampled."""
        return highest_below(self.share)


def sample_hash(key: bytes) -> bytes:
    """Where a conversation stands among all, by its key alone: eight bytes, to compare with :attr:`Sampling.below`."""
    return blake2b(_SALTED + key, digest_size=8).digest()


class LiveSample(NamedTuple):
    """One request of a sampled conversation and its answer, as a gateway saw them.

    Attributes:
        facts: ``request`` (its id), ``unit`` (hash), ``release``, ``version``, ``role``, ``at`` (epoch seconds of its
            start), ``t0`` (of its block), ``status``, ``verdict``, ``reason``, ``seconds``, ``outcome`` (as a header;
            empty: none), and ``trace`` (its id) when it is part of one.
        request: As the arm got it, head and body; ``None``: too large.
        answer: Body; ``None``: too large.
    """

    facts: dict[str, Any]
    request: bytes | None
    answer: bytes | None


def pack(sample: LiveSample) -> bytes:
    """A sample as one datagram; :func:`unpack` is its inverse."""
    facts = {**sample.facts, "v": _VERSION, "no_request": sample.request is None, "no_answer": sample.answer is None}
    head = json.dumps(facts, separators=(",", ":")).encode()
    request = sample.request or b""
    return b"%b%b%b%b" % (_LENGTHS.pack(len(head), len(request)), head, request, sample.answer or b"")


def unpack(data: bytes) -> LiveSample:
    """Read a datagram.

    Raises:
        ValueError: It is no sample of this version.
    """
    try:
        head, request = _LENGTHS.unpack_from(data)
        at = _LENGTHS.size
        facts = json.loads(data[at : at + head])
        if facts.pop("v") != _VERSION or len(data) < at + head + request:
            raise ValueError("another version, or cut")
        no_request, no_answer = facts.pop("no_request"), facts.pop("no_answer")
    except (struct.error, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"is no sample: {type(error).__name__}") from error
    at += head
    return LiveSample(
        facts, None if no_request else data[at : at + request], None if no_answer else data[at + request :]
    )
