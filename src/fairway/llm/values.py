"""One question to a model and its answer, as values, and the port that puts it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatMessage:
    """One message of a request."""

    role: str
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionRequest:
    """What is asked of a model.

    Attributes:
        max_tokens: Of the answer.
        response_schema: JSON Schema the answer must follow, when the provider can enforce one; ``None``: free text.
        tools: The model may call, each ``{"name", "description", "parameters"}``, the last a JSON Schema.
    """

    messages: Sequence[ChatMessage]
    temperature: float = 0.0
    max_tokens: int = 1024
    response_schema: Mapping[str, Any] | None = None
    tools: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """What a model answered.

    Attributes:
        finish_reason: ``stop``, ``length``, ``tool_calls``, ``content_filter`` …, in these words; ``None``: not said.
        tokens_in, tokens_out: ``None``: not reported. What came from the provider's cache is among the former.
        tokens_cached, tokens_written: Of ``tokens_in``, those the provider charges as cached, and for keeping.
        model: What the provider says it ran; ``None``: not said.
        attempts: Requests it took.
        tool_calls: As they came, unread.
    """

    text: str
    finish_reason: str | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    model: str | None = None
    attempts: int = 1
    tokens_cached: int = 0
    tokens_written: int = 0
    tool_calls: tuple[Any, ...] = ()


class ModelClient(Protocol):
    """Whatever can answer a completion request."""

    async def complete(self, request: CompletionRequest) -> Completion:
        """Ask once (retries included).

        Raises:
            TransientError: Unreachable, overloaded or too slow, after the retries.
            PermanentError: Refused, or an answer that is no completion.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where a model is and how to ask it.

    Attributes:
        base_url: Up to ``/v1``.
        api_key: Never shown.
        timeout_seconds: Of one attempt.
        attempts: Requests at most, the first included.
        max_wait_seconds: A ``Retry-After`` beyond this is not waited for.
        parameters: Fields of the request's body, over those Fairway sends; ``None`` takes a field out
            (``{"max_tokens": None, "max_completion_tokens": 500}``).
    """

    base_url: str
    model: str
    api_key: str | None = field(default=None, repr=False)
    timeout_seconds: float = 60.0
    attempts: int = 3
    max_wait_seconds: float = 30.0
    parameters: Mapping[str, Any] = field(default_factory=dict)
