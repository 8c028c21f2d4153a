"""A model that says what it is told to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from support.model import Reply, ToolCall


def says(text: str) -> Reply:
    """A reply in words."""
    return Reply(text=text, calls=(), tokens_in=10, tokens_out=2)


def calls(name: str, arguments: str) -> Reply:
    """A reply that calls one tool with JSON arguments, as the model wrote them."""
    return Reply(text="", calls=(ToolCall(id="call-1", name=name, arguments=arguments),), tokens_in=10, tokens_out=5)


class ScriptedModel:
    """Says the replies in turn, the last one again and again; keeps what it was asked."""

    def __init__(self, *replies: Reply | Exception) -> None:
        self.replies = list(replies)
        self.asked: list[list[dict[str, Any]]] = []

    async def ask(
        self,
        messages: list[dict[str, Any]],
        tools: list[dict[str, Any]],
        on_text: Callable[[str], None] | None = None,
    ) -> Reply:
        self.asked.append(list(messages))
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        if isinstance(reply, Exception):
            raise reply
        if on_text:
            on_text(reply.text)
        return reply
