"""A live request as an evaluation sees it: what the user said, what the agent replied; redacted first of all."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fairway.errors import PermanentError
from fairway.evals.live.redaction import Redactor
from fairway.evals.plain_text import writable
from fairway.evals.subjects.mapping import ChatMapping, get_pointer, parse_outcome, read_reply
from fairway.evals.values import Reply, ToolCall
from fairway.traffic.sampling import LiveSample
from fairway.units import Digest, UnitHash

_MOST_BYTES = 1 << 20
"""Of a body, once it is unpacked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveTurn:
    """One request of a conversation and its answer, redacted.

    Attributes:
        request: Id of the request.
        unit: Hash of the conversation's key.
        release: Digest; ``version`` is its name.
        role: Of the arm: ``stable``, ``candidate`` …
        at: Epoch seconds of its start.
        t0: Of its block.
        verdict: What the gateway made of it: ``ok``, ``failed``, ``unknown``.
        reason: Why it failed; empty otherwise.
        message: What the user said.
        reply: ``None``: there is none that can be read.
        trace: Id of the trace it is part of; empty: of none.
    """

    request: str
    unit: UnitHash
    release: Digest
    version: str
    role: str
    at: float
    t0: float
    verdict: str
    reason: str
    message: str
    reply: Reply | None
    trace: str = ""

    def to_json(self) -> dict[str, Any]:
        """As it is kept; :meth:`from_json` is its inverse."""
        reply = self.reply
        return {
            "request": self.request, "unit": self.unit, "release": self.release, "version": self.version,
            "role": self.role, "at": self.at, "t0": self.t0, "verdict": self.verdict, "reason": self.reason,
            "message": self.message, "trace": self.trace,
            "reply": None if reply is None else {
                "text": reply.text,
                "tools": None if reply.tools is None else [
                    {"name": call.name, "arguments": dict(call.arguments), "malformed": call.malformed}
                    for call in reply.tools
                ],
                "tokens_in": reply.tokens_in, "tokens_out": reply.tokens_out, "status": reply.status,
                "cost_micros": reply.cost_micros, "latency_seconds": reply.latency_seconds, "model": reply.model,
                "finish_reason": reply.finish_reason,
                "context": None if reply.context is None else list(reply.context),
            },
        }  # fmt: skip

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> LiveTurn:
        """Read a kept turn.

        Raises:
            ValueError: It is none.
        """
        try:
            reply = value["reply"]
            return cls(
                **{name: str(value[name]) for name in ("request", "version", "role", "verdict", "reason", "message")},
                unit=UnitHash(str(value["unit"])),
                release=Digest(str(value["release"])),
                at=float(value["at"]),
                t0=float(value["t0"]),
                reply=None if reply is None else _reply(reply),
                trace=str(value.get("trace", "")),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"is no turn: {type(error).__name__}") from error


def _reply(value: Mapping[str, Any]) -> Reply:
    tools, context = value["tools"], value.get("context")
    return Reply(
        **{**value, "context": None if context is None else tuple(context)}
        | {"tools": None if tools is None else tuple(ToolCall(**call) for call in tools)}
    )


class UnreadableSampleError(ValueError):
    """A sample that is no turn of a conversation."""


def read_turn(sample: LiveSample, mapping: ChatMapping, redactor: Redactor) -> LiveTurn:
    """What a sample says, redacted.

    Args:
        sample: As a gateway told it.
        mapping: Where the message and the reply are; only requests to its path are turns.
        redactor: What must not stay.

    Raises:
        UnreadableSampleError: Not a message to the agent, or one that was too large or cannot be read.
    """
    facts = sample.facts
    message = _message(sample.request, mapping)
    reply = None if sample.answer is None else _reply_of(sample.answer, facts, mapping)
    try:
        return LiveTurn(
            request=str(facts["request"]),
            unit=UnitHash(str(facts["unit"])),
            release=Digest(str(facts["release"])),
            version=str(facts["version"]),
            role=str(facts["role"]),
            at=float(facts["at"]),
            t0=float(facts["t0"]),
            verdict=str(facts["verdict"]),
            reason=str(facts["reason"]),
            message=redactor.text(writable(message)),
            reply=None if reply is None else _redacted(reply, redactor),
            trace=str(facts.get("trace", "")),
        )
    except (KeyError, TypeError) as error:
        raise UnreadableSampleError(f"lacks {error}") from error


def _message(request: bytes | None, mapping: ChatMapping) -> str:
    if request is None:
        raise UnreadableSampleError("the request was too large")
    head, _, body = request.partition(b"\r\n\r\n")
    method, _, rest = head.partition(b" ")
    path = rest.split(b" ", 1)[0].split(b"?", 1)[0].decode("latin-1")
    if method != b"POST" or path != mapping.path:
        raise UnreadableSampleError(f"not a message to {mapping.path}")
    if b"\r\ntransfer-encoding:" in head.lower():
        body = _joined(body)
    value = get_pointer(_json(body), mapping.message)
    if not isinstance(value, str) or not value.strip():
        raise UnreadableSampleError(f"no message at {mapping.message}")
    return value


def _joined(body: bytes) -> bytes:
    """The chunks of a body as one."""
    found = bytearray()
    while True:
        size, _, rest = body.partition(b"\r\n")
        try:
            length = int(size.split(b";", 1)[0], 16)
        except ValueError as error:
            raise UnreadableSampleError("the request's chunks cannot be read") from error
        if not length:
            return bytes(found)
        found += rest[:length]
        body = rest[length + 2 :]


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise UnreadableSampleError("is no JSON") from error


def _reply_of(answer: bytes, facts: Mapping[str, Any], mapping: ChatMapping) -> Reply | None:
    """The reply; ``None`` when the answer has none: unknown, and whoever scores it says so."""
    if facts.get("verdict") == "failed":
        return None
    try:
        body = _json(_unpacked(answer))
        outcome = parse_outcome(str(facts.get("outcome") or ""))
        return read_reply(body, mapping, outcome, latency_seconds=float(facts.get("seconds", 0.0)))
    except (UnreadableSampleError, PermanentError, ValueError, zlib.error):
        return None


def _unpacked(answer: bytes) -> bytes:
    """A gzip-coded body as what it was, up to a bound."""
    if not answer.startswith(b"\x1f\x8b"):
        return answer
    return zlib.decompressobj(wbits=31).decompress(answer, _MOST_BYTES)


def _redacted(reply: Reply, redactor: Redactor) -> Reply:
    """A reply without anything that must not stay; its state is not kept at all."""
    tools = reply.tools
    return Reply(
        text=redactor.text(reply.text),
        tools=None
        if tools is None
        else tuple(
            ToolCall(
                name=redactor.text(call.name),
                arguments=redactor.value(call.arguments),
                malformed=None if call.malformed is None else redactor.text(call.malformed),
            )
            for call in tools
        ),
        tokens_in=reply.tokens_in,
        tokens_out=reply.tokens_out,
        status=reply.status,
        cost_micros=reply.cost_micros,
        latency_seconds=reply.latency_seconds,
        finish_reason=None if reply.finish_reason is None else redactor.text(reply.finish_reason),
        model=None if reply.model is None else redactor.text(reply.model),
        context=None if reply.context is None else tuple(redactor.text(passage) for passage in reply.context),
    )
