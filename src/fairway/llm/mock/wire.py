"""OpenAI's forms on the wire: the completion, its chunks, errors, the list of models."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from fairway.llm.mock.behaviour import Completion, Refusal

CREATED = 1_767_225_600
"""Every object says it was made at 2026-01-01T00:00:00Z: equal requests get equal bytes."""

FINGERPRINT = "fp_fairway_mock"
_PIECE = 16  # characters in a chunk of a stream: about four tokens


def completion_body(completion: Completion) -> bytes:
    """The plain answer."""
    message: dict[str, Any] = {"role": "assistant", "content": completion.content, "refusal": None}
    if completion.calls:
        message["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in completion.calls
        ]
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": completion.finish_reason}
    return _dump(_envelope(completion, "chat.completion") | {"choices": [choice], "usage": usage(completion)})


def usage(completion: Completion) -> dict[str, int]:
    """Token counts as OpenAI names them."""
    return {
        "prompt_tokens": completion.prompt_tokens,
        "completion_tokens": completion.completion_tokens,
        "total_tokens": completion.prompt_tokens + completion.completion_tokens,
    }


def stream_events(completion: Completion, *, include_usage: bool) -> Iterator[bytes]:
    """The events of a streamed answer, each a whole ``data:`` block, ``[DONE]`` last."""
    head = _envelope(completion, "chat.completion.chunk")
    if include_usage:
        head["usage"] = None

    def event(delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return b"data: " + _dump(head | {"choices": [choice]}) + b"\n\n"

    yield event({"role": "assistant", "content": None if completion.calls else "", "refusal": None})
    for piece in _pieces(completion.content or ""):
        yield event({"content": piece})
    for index, call in enumerate(completion.calls):
        function = {"name": call.name, "arguments": ""}
        yield event({"tool_calls": [{"index": index, "id": call.id, "type": "function", "function": function}]})
        for piece in _pieces(call.arguments):
            yield event({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
    yield event({}, completion.finish_reason)
    if include_usage:
        yield b"data: " + _dump(head | {"choices": [], "usage": usage(completion)}) + b"\n\n"
    yield b"data: [DONE]\n\n"


def error_body(refusal: Refusal, *, param: str | None = None) -> bytes:
    """An error in OpenAI's form."""
    error = {"message": refusal.message, "type": refusal.kind, "param": param, "code": refusal.code}
    return _dump({"error": error})


def models_body(models: tuple[str, ...]) -> bytes:
    """``GET /v1/models``."""
    data = [{"id": name, "object": "model", "created": CREATED, "owned_by": "fairway"} for name in models]
    return _dump({"object": "list", "data": data})


def _envelope(completion: Completion, kind: str) -> dict[str, Any]:
    return {
        "id": completion.id,
        "object": kind,
        "created": CREATED,
        "model": completion.model,
        "service_tier": "default",
        "system_fingerprint": FINGERPRINT,
    }


def _pieces(text: str) -> Iterator[str]:
    for start in range(0, len(text), _PIECE):
        yield text[start : start + _PIECE]


def _dump(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=True, separators=(",", ":")).encode("ascii")
