"""Calls the model through OpenAI's client, plain or streamed; both give the same reply."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from openai import AsyncOpenAI

from support.bundle import ModelSettings

MAX_RETRIES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A call the model asks for; ``arguments`` is the JSON text it wrote."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What the model said: text, or calls of tools."""

    text: str
    calls: tuple[ToolCall, ...]
    tokens_in: int
    tokens_out: int


class Model:
    """One client for the life of the process: it keeps its connections."""

    def __init__(self, settings: ModelSettings) -> None:
        self.settings = settings
        self._client = AsyncOpenAI(
            base_url=settings.base_url,
            api_key=settings.api_key,
            timeout=settings.timeout_seconds,
            max_retries=MAX_RETRIES,
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def ask(
        self,
        messages: list[dict[str, Any]],
        tools: list[dict[str, Any]],
        on_text: Callable[[str], None] | None = None,
    ) -> Reply:
        """One completion; with ``on_text`` it is streamed and each piece of text is handed over as it comes.

        Raises:
            openai.OpenAIError: The provider did not answer, also after retries.
        """
        request: dict[str, Any] = {"model": self.settings.model, "messages": messages, **self.settings.parameters}
        if tools:
            request["tools"] = tools
        if on_text is not None:
            return await self._streamed(request, on_text)
        completion = await self._client.chat.completions.create(**request)
        message, usage = completion.choices[0].message, completion.usage
        calls = [
            ToolCall(id=call.id, name=call.function.name, arguments=call.function.arguments)
            for call in message.tool_calls or []
            if call.type == "function"
        ]
        return Reply(
            text=message.content or "",
            calls=tuple(calls),
            tokens_in=usage.prompt_tokens if usage else 0,
            tokens_out=usage.completion_tokens if usage else 0,
        )

    async def _streamed(self, request: dict[str, Any], on_text: Callable[[str], None]) -> Reply:
        text: list[str] = []
        calls: dict[int, dict[str, str]] = {}
        tokens_in = tokens_out = 0
        stream = await self._client.chat.completions.create(
            **request, stream=True, stream_options={"include_usage": True}
        )
        async for chunk in stream:
            if chunk.usage:
                tokens_in, tokens_out = chunk.usage.prompt_tokens, chunk.usage.completion_tokens
            for choice in chunk.choices:
                if choice.delta.content:
                    text.append(choice.delta.content)
                    on_text(choice.delta.content)
                for part in choice.delta.tool_calls or []:
                    call = calls.setdefault(part.index, {"id": "", "name": "", "arguments": ""})
                    call["id"] += part.id or ""
                    if part.function:
                        call["name"] += part.function.name or ""
                        call["arguments"] += part.function.arguments or ""
        found = tuple(ToolCall(**call) for _, call in sorted(calls.items()))
        return Reply(text="".join(text), calls=found, tokens_in=tokens_in, tokens_out=tokens_out)
