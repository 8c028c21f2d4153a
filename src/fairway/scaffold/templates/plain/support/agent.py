"""The loop: ask the model, run the tools it wants, until it answers."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from openai import OpenAIError

from support.memory import Memory
from support.model import Reply
from support.tools import Toolbox, ToolUse

MAX_ITERATIONS = 6
APOLOGY = "I am sorry, I could not finish this. A colleague will get back to you."
UNAVAILABLE = "I am sorry, I cannot answer at the moment. Please try again in a minute."

log = logging.getLogger("support.agent")


class AsksModel(Protocol):
    """What the loop needs of a model."""

    async def ask(
        self,
        messages: list[dict[str, Any]],
        tools: list[dict[str, Any]],
        on_text: Callable[[str], None] | None = None,
    ) -> Reply:
        """One completion."""


@dataclass(slots=True, kw_only=True)
class Turn:
    """One answer and what it took.

    ``status`` is ``ok`` or ``failed``: a tool call could not be read, the loop did not end, or the provider is down.
    """

    response: str = ""
    status: str = "ok"
    tools: list[ToolUse] = field(default_factory=list)
    iterations: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    provider_down: bool = False
    shadow: bool = False  # answered as a shadow: no tool was real

    def outcome(self, model: str) -> str:
        """The outcome of the request as Fairway reads it, from a header or the last event of a stream."""
        errors = sum(not use.ok for use in self.tools)
        diverged = sum(use.diverged for use in self.tools)
        return (
            f"status={self.status}, tokens_in={self.tokens_in}, tokens_out={self.tokens_out}, "
            f"tools={len(self.tools)}, tool_errors={errors}, iterations={self.iterations}, model={model}"
            + (f", diverged={diverged}" if diverged else "")
            + (", shadow=1" if self.shadow else "")
        )


class Agent:
    """Answers messages; one agent serves every conversation of the process."""

    def __init__(self, *, system_prompt: str, model: AsksModel, tools: Toolbox, memory: Memory) -> None:
        self._system_prompt = system_prompt
        self._model = model
        self._tools = tools
        self._definitions = tools.definitions()
        self._memory = memory

    async def answer(self, thread_id: str, message: str, on_text: Callable[[str], None] | None = None) -> Turn:
        """Answer one message of a conversation; never raises for what a model does.

        Args:
            thread_id: Which conversation.
            message: What the user says.
            on_text: Gets each piece of text as the model writes it.
        """
        turn = Turn(shadow=self._tools.replay)
        messages = [
            {"role": "system", "content": self._system_prompt},
            *self._memory.history(thread_id),
            {"role": "user", "content": message},
        ]
        try:
            await self._loop(turn, messages, on_text)
        except OpenAIError as error:
            log.warning("the model did not answer: %s", error)
            turn.status, turn.response, turn.provider_down = "failed", UNAVAILABLE, True
        except ValueError as error:
            log.warning("a tool call could not be read: %s", error)
            turn.status, turn.response = "failed", APOLOGY
        if turn.status == "ok":
            self._memory.remember(thread_id, message, turn.response)
        return turn

    async def _loop(self, turn: Turn, messages: list[dict[str, Any]], on_text: Callable[[str], None] | None) -> None:
        while turn.iterations < MAX_ITERATIONS:
            turn.iterations += 1
            reply = await self._model.ask(messages, self._definitions, on_text)
            turn.tokens_in += reply.tokens_in
            turn.tokens_out += reply.tokens_out
            if not reply.calls:
                turn.response = reply.text
                return
            messages.append(_as_message(reply))
            for call in reply.calls:
                use = await self._tools.call(call.name, call.arguments)
                turn.tools.append(use)
                messages.append({"role": "tool", "tool_call_id": call.id, "content": json.dumps(use.result)})
        log.warning("the model was still calling tools after %d iterations", MAX_ITERATIONS)
        turn.status, turn.response = "failed", APOLOGY


def _as_message(reply: Reply) -> dict[str, Any]:
    calls = [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call in reply.calls
    ]
    return {"role": "assistant", "content": reply.text or None, "tool_calls": calls}
