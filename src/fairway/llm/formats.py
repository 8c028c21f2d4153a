"""Requests and answers as providers spell them: OpenAI's chat completions and Anthropic's messages."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fairway.errors import PermanentError
from fairway.llm.values import ChatMessage, Completion, CompletionRequest

_ANTHROPIC_VERSION = "2023-06-01"
_FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
"""Anthropic's words for why an answer ended, in OpenAI's."""


@dataclass(frozen=True, slots=True)
class WireFormat:
    """How one family of providers is spoken to.

    Attributes:
        name: As an alias or a target names it.
        path: Below the base URL.
        base_url: The provider's own.
        key_variable: Environment variable its tools keep the key in.
        headers: Of every request, by the key (``None``: none).
        body: A request as JSON, for a model.
        read: An answer's JSON; raises PermanentError for what is no completion.
    """

    name: str
    path: str
    base_url: str
    key_variable: str
    headers: Callable[[str | None], Mapping[str, str]]
    body: Callable[[str, CompletionRequest], dict[str, Any]]
    read: Callable[[Any], Completion]


def _openai_headers(key: str | None) -> Mapping[str, str]:
    return {"authorization": f"Bearer {key}"} if key else {}


def _openai_body(model: str, request: CompletionRequest) -> dict[str, Any]:
    body: dict[str, Any] = {
        "model": model,
        "messages": [{"role": message.role, "content": message.content} for message in request.messages],
        "temperature": request.temperature,
        "max_tokens": request.max_tokens,
    }
    if request.response_schema is not None:
        schema = {"name": "answer", "strict": True, "schema": dict(request.response_schema)}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    if request.tools:
        body["tools"] = [{"type": "function", "function": _openai_tool(tool)} for tool in request.tools]
    return body


def _openai_tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": tool["name"], "description": tool.get("description", ""), "parameters": tool.get("parameters", {})}


def _read_openai(body: Any) -> Completion:
    try:
        choice = body["choices"][0]
        message = choice["message"]
        text, refusal, calls = message.get("content"), message.get("refusal"), message.get("tool_calls")
        finish = choice.get("finish_reason")
        usage, model = body.get("usage"), body.get("model")
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise _no_completion() from error
    called = tuple(calls) if isinstance(calls, list) else ()
    if isinstance(refusal, str) and refusal:  # also beside a text: a refusal is no answer
        text, finish = refusal if text is None else text, "content_filter"
    if text is None and called:
        text = ""
    if not isinstance(text, str):
        raise PermanentError("the model's answer has no text", code="model_answer")
    usage = usage if isinstance(usage, Mapping) else {}
    details = usage.get("prompt_tokens_details")
    return Completion(
        text=text,
        finish_reason=finish if isinstance(finish, str) else None,
        tokens_in=_count(usage.get("prompt_tokens")),
        tokens_out=_count(usage.get("completion_tokens")),
        tokens_cached=_count(details.get("cached_tokens")) or 0 if isinstance(details, Mapping) else 0,
        model=model if isinstance(model, str) else None,
        tool_calls=called,
    )


def _anthropic_headers(key: str | None) -> Mapping[str, str]:
    return {"anthropic-version": _ANTHROPIC_VERSION, **({"x-api-key": key} if key else {})}


def _anthropic_body(model: str, request: CompletionRequest) -> dict[str, Any]:
    """Its messages change turns between user and assistant; what the system says stands apart.

    A schema is not sent: servers that are compatible mostly refuse the field, and the answer is read as strictly
    without it.
    """
    system = "\n\n".join(message.content for message in request.messages if message.role == "system")
    body: dict[str, Any] = {
        "model": model,
        "messages": _alternating([message for message in request.messages if message.role != "system"]),
        "temperature": request.temperature,
        "max_tokens": request.max_tokens,
    }
    if system:
        body["system"] = system
    if request.tools:
        body["tools"] = [_anthropic_tool(tool) for tool in request.tools]
    return body


def _alternating(messages: Sequence[ChatMessage]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for message in messages:
        if found and found[-1]["role"] == message.role:
            found[-1]["content"] += "\n\n" + message.content
        else:
            found.append({"role": message.role, "content": message.content})
    return found


def _anthropic_tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    schema = tool.get("parameters") or {"type": "object"}
    return {"name": tool["name"], "description": tool.get("description", ""), "input_schema": schema}


def _read_anthropic(body: Any) -> Completion:
    blocks = body.get("content") if isinstance(body, Mapping) else None
    if not isinstance(blocks, list) or not all(isinstance(block, Mapping) for block in blocks):
        raise _no_completion()
    texts = [block.get("text") for block in blocks if block.get("type") == "text"]
    calls = [_tool_use(block) for block in blocks if block.get("type") == "tool_use"]
    if not all(isinstance(text, str) for text in texts):
        raise _no_completion()
    stop, model, usage = body.get("stop_reason"), body.get("model"), body.get("usage")
    if not texts and not calls and stop not in ("refusal", "end_turn", "max_tokens"):
        raise PermanentError("the model's answer has no text", code="model_answer")
    usage = usage if isinstance(usage, Mapping) else {}
    cached = _count(usage.get("cache_read_input_tokens")) or 0
    written = _count(usage.get("cache_creation_input_tokens")) or 0
    fresh = _count(usage.get("input_tokens"))
    return Completion(
        text="".join(texts),
        finish_reason=_FINISH.get(stop, stop) if isinstance(stop, str) else None,
        # its own count leaves out what was cached
        tokens_in=None if fresh is None else fresh + cached + written,
        tokens_out=_count(usage.get("output_tokens")),
        tokens_cached=cached,
        tokens_written=written,
        model=model if isinstance(model, str) else None,
        tool_calls=tuple(calls),
    )


def _tool_use(block: Mapping[str, Any]) -> Mapping[str, Any]:
    """A call as everybody else spells it; an input that is no object is kept, so that it is seen to be malformed."""
    given = block.get("input")
    return {"name": block.get("name"), "arguments": given if given is not None else {}}


def _no_completion() -> PermanentError:
    return PermanentError("the model's answer is not a chat completion", code="model_answer")


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def read_json(body: bytes) -> Any:
    """JSON of an answer.

    Raises:
        PermanentError: It is none.
    """
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise _no_completion() from error


OPENAI = WireFormat(
    name="openai",
    path="/chat/completions",
    base_url="https://api.openai.com/v1",
    key_variable="OPENAI_API_KEY",
    headers=_openai_headers,
    body=_openai_body,
    read=_read_openai,
)
ANTHROPIC = WireFormat(
    name="anthropic",
    path="/messages",
    base_url="https://api.anthropic.com/v1",
    key_variable="ANTHROPIC_API_KEY",
    headers=_anthropic_headers,
    body=_anthropic_body,
    read=_read_anthropic,
)
FORMATS: Mapping[str, WireFormat] = {one.name: one for one in (OPENAI, ANTHROPIC)}
"""By name."""
