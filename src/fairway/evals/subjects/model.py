"""A bare model as a system under test: an endpoint as it is, or with a prompt of the project before it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from fairway.clock import Clock
from fairway.evals.plain_text import writable
from fairway.evals.running.spend import Pricing
from fairway.evals.subjects.mapping import tool_calls
from fairway.evals.trials import Question, SubjectInfo
from fairway.evals.values import Reply
from fairway.http_client.client import HttpClient
from fairway.llm.client import HttpModelClient
from fairway.llm.formats import WireFormat
from fairway.llm.values import ChatMessage, Completion, CompletionRequest, Endpoint

_MESSAGE_TOKENS = 16
"""More than any provider adds around a message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """How a bare model is asked.

    Attributes:
        system: Said before the conversation, by the case's variables; ``None``: nothing.
        rendered_is_message: What ``system`` gives holds what the user says now, and is said by the user instead.
        identity: What ``system`` depends on besides the variables (a prompt's digest), for the cache.
        tools: It may call, as :class:`fairway.llm.values.CompletionRequest` takes them. Nothing is ever executed: a
            call is part of the reply.
    """

    temperature: float = 0.0
    max_tokens: int = 1024
    system: Callable[[Question], str] | None = None
    rendered_is_message: bool = False
    identity: Mapping[str, Any] | None = None
    tools: tuple[Mapping[str, Any], ...] = field(default=())


class ModelSubject:
    """Asks a model with the whole conversation each time; an async context manager that closes its connections."""

    def __init__(
        self,
        wire: WireFormat,
        endpoint: Endpoint,
        asking: Asking,
        *,
        clock: Clock,
        name: str | None = None,
        kind: str | None = None,
        address: str | None = None,
        prices: Pricing | None = None,
        http: HttpClient | None = None,
    ) -> None:
        """Prepare to ask.

        Args:
            wire: How the provider is spoken to.
            endpoint: Where; it is asked once for each call, since the run tries again by itself.
            asking: What goes along.
            clock: For the client.
            name: As a report shows it; ``None``: the model and its address.
            kind: ``None``: that of the wire format.
            address: As its identity has it; ``None``: the endpoint's.
            prices: To say what a call costs, also at most before it is made.
            http: ``None``: its own.
        """
        self._asking = asking
        self._endpoint = endpoint
        self._prices = prices
        once = Endpoint(
            base_url=endpoint.base_url,
            model=endpoint.model,
            api_key=endpoint.api_key,
            timeout_seconds=endpoint.timeout_seconds,
            attempts=1,
            parameters=endpoint.parameters,
        )
        self._client = HttpModelClient(once, wire, clock=clock, http=http)
        self._info = SubjectInfo(
            kind=kind or wire.name,
            name=name or f"{endpoint.model} at {endpoint.base_url}",
            identity={
                "wire": wire.name,
                "base_url": address or endpoint.base_url,
                "model": endpoint.model,
                "parameters": dict(endpoint.parameters),
                "temperature": asking.temperature,
                "max_tokens": asking.max_tokens,
                "tools": [dict(tool) for tool in asking.tools],
                "prompt": None if asking.identity is None else dict(asking.identity),
            },
            stateless=True,
        )

    @property
    def info(self) -> SubjectInfo:
        """Who it is."""
        return self._info

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._client.__aexit__(kind, error, traceback)

    async def ask(self, question: Question) -> Reply:
        """The model's answer to the conversation so far; raises as the client does."""
        started = time.monotonic()
        completion = await self._client.complete(self._request(question))
        return Reply(
            text=writable(completion.text),
            tools=tool_calls(completion.tool_calls),
            tokens_in=completion.tokens_in,
            tokens_out=completion.tokens_out,
            cost_micros=completion_cost(completion, self._endpoint.model, self._prices),
            latency_seconds=time.monotonic() - started,
            finish_reason=completion.finish_reason,
            model=completion.model or self._endpoint.model,
        )

    def cost_at_most(self, question: Question) -> int | None:
        """What asking costs at most, in millionths of a US dollar; ``None``: the price is not known."""
        return request_cost_at_most(self._request(question), self._endpoint.model, self._prices)

    def _request(self, question: Question) -> CompletionRequest:
        asking = self._asking
        return CompletionRequest(
            messages=tuple(_messages(question, asking)),
            temperature=asking.temperature,
            max_tokens=asking.max_tokens,
            tools=asking.tools,
        )


def _messages(question: Question, asking: Asking) -> Sequence[ChatMessage]:
    """The conversation as a model reads it.

    Calls are told in words: nobody executes them, and a provider refuses a call without its result.
    """
    text = None if asking.system is None else asking.system(question)
    found = []
    if text is not None and not asking.rendered_is_message:
        found.append(ChatMessage(role="system", content=text))
    for turn, reply in zip(question.turns, question.replies, strict=False):
        found.append(ChatMessage(role="user", content=turn))
        found.append(ChatMessage(role="assistant", content=_retold(reply)))
    now = text if text is not None and asking.rendered_is_message else question.message
    found.append(ChatMessage(role="user", content=now))
    return found


def _retold(reply: Reply) -> str:
    if reply.text or not reply.tools:
        return reply.text or "(no answer)"
    calls = [f"{call.name}({json.dumps(dict(call.arguments), ensure_ascii=False)})" for call in reply.tools]
    return f"(called {'; '.join(calls)})"


def completion_cost(completion: Completion, model: str, prices: Pricing | None) -> int | None:
    """What a completion cost, in millionths of a US dollar; ``None``: not known.

    The price of what the provider says it ran counts, else that of what was asked for.
    """
    if prices is None or completion.tokens_in is None or completion.tokens_out is None:
        return None
    sent, answered = completion.tokens_in, completion.tokens_out
    for name in (completion.model, model):
        if name is None:
            continue
        cost = prices.cost_micros(name, sent, answered, completion.tokens_cached, completion.tokens_written)
        if cost is not None:
            return cost
    return None


def request_cost_at_most(request: CompletionRequest, model: str, prices: Pricing | None) -> int | None:
    """What a request costs at most, in millionths of a US dollar; ``None``: the price is not known.

    A token stands for one byte of UTF-8 at least, in every tokenizer that falls back to bytes; the answer is bounded by
    ``max_tokens``.
    """
    if prices is None:
        return None
    size = sum(len(message.content.encode("utf-8", "replace")) + _MESSAGE_TOKENS for message in request.messages)
    size += sum(len(json.dumps(tool, ensure_ascii=False).encode("utf-8", "replace")) for tool in request.tools)
    if request.response_schema is not None:
        size += len(json.dumps(request.response_schema).encode())
    return prices.cost_micros(model, size, request.max_tokens)
