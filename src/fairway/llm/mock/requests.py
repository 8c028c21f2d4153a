"""A chat completion request, read strictly: what OpenAI refuses is refused here, in its words."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

CHARACTERS_PER_TOKEN = 4
"""Tokens are counted as characters / 4, rounded up: deterministic, and close to what tokenizers give for English."""

_ROLES = frozenset({"system", "developer", "user", "assistant", "tool"})


class BadRequest(Exception):  # noqa: N818 - an answer, not an error of ours
    """A request that OpenAI would refuse with 400."""

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolResult:
    """What a tool answered since the last user message."""

    tool: str
    content: str

    def parsed(self) -> Any:
        """The JSON inside, or ``None`` when it is not JSON."""
        try:
            return json.loads(self.content)
        except ValueError:
            return None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    """All that the behaviour is a function of.

    Attributes:
        system: System and developer messages, joined.
        users: User messages, oldest first.
        results: Tool results since the last user message, oldest first.
        called: Names of the tools the model called since the last user message, oldest first.
        offered: Names of the tools offered; empty with ``tool_choice: none``.
        attempt: The client's retry count, so that a retried request is drawn anew.
        digest: Of model, messages, tools and attempt: the source of every random draw.
        max_tokens: Cap of the completion, ``None`` when not given.
    """

    model: str
    system: str
    users: tuple[str, ...]
    results: tuple[ToolResult, ...]
    called: tuple[str, ...]
    offered: frozenset[str]
    prompt_tokens: int
    digest: bytes
    stream: bool = False
    include_usage: bool = False
    max_tokens: int | None = None
    attempt: int = 0

    @property
    def user(self) -> str:
        """The last user message, empty when there is none."""
        return self.users[-1] if self.users else ""


def tokens_in(text: str) -> int:
    """Tokens of a text, by the rule above."""
    return -(-len(text) // CHARACTERS_PER_TOKEN)


def read_chat_request(body: bytes, *, attempt: int = 0) -> ChatRequest:
    """Read the body of ``POST /v1/chat/completions``.

    Raises:
        BadRequest: Not JSON, no model or messages, a role or tool message where none may be.
    """
    try:
        data = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadRequest("We could not parse the JSON body of your request.") from error
    if not isinstance(data, dict):
        raise BadRequest("The body must be a JSON object.")
    model = data.get("model")
    if not isinstance(model, str) or not model:
        raise BadRequest("you must provide a model parameter", param="model")
    messages = data.get("messages")
    if not isinstance(messages, list) or not messages:
        raise BadRequest("'messages' must be a non-empty array.", param="messages")
    if data.get("n") not in (None, 1):
        raise BadRequest("This server answers with one choice only.", param="n", code="unsupported_value")
    tools = data.get("tools") or []
    offered = frozenset() if data.get("tool_choice") == "none" else frozenset(_tool_names(tools))
    conversation = _Conversation()
    for index, message in enumerate(messages):
        conversation.add(index, message)
    conversation.close(len(messages))
    canonical = json.dumps([model, messages, tools, attempt], sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    options = data.get("stream_options")
    limit = data.get("max_completion_tokens", data.get("max_tokens"))
    return ChatRequest(
        model=model,
        system="\n".join(conversation.system),
        users=tuple(conversation.users),
        results=tuple(conversation.results),
        called=tuple(conversation.called),
        offered=offered,
        prompt_tokens=tokens_in(canonical),
        digest=hashlib.blake2b(canonical.encode("utf-8", "surrogatepass"), digest_size=16).digest(),
        stream=data.get("stream") is True,
        include_usage=isinstance(options, dict) and options.get("include_usage") is True,
        max_tokens=limit if isinstance(limit, int) and not isinstance(limit, bool) and limit > 0 else None,
        attempt=attempt,
    )


def _tool_names(tools: Any) -> list[str]:
    if not isinstance(tools, list):
        raise BadRequest("'tools' must be an array.", param="tools")
    names = []
    for index, tool in enumerate(tools):
        function = tool.get("function") if isinstance(tool, dict) else None
        name = function.get("name") if isinstance(function, dict) else None
        if not isinstance(name, str):
            raise BadRequest("Missing required parameter.", param=f"tools[{index}].function.name")
        names.append(name)
    return names


class _Conversation:
    """Walks the messages once, checking what OpenAI checks: every tool call answered, every answer asked for."""

    def __init__(self) -> None:
        self.system: list[str] = []
        self.users: list[str] = []
        self.results: list[ToolResult] = []
        self.called: list[str] = []
        self.open: dict[str, str] = {}

    def add(self, index: int, message: Any) -> None:
        role = message.get("role") if isinstance(message, dict) else None
        if not isinstance(role, str) or role not in _ROLES:
            raise BadRequest(f"Invalid value: {role!r}.", param=f"messages[{index}].role", code="invalid_value")
        if role == "tool":
            self._tool(index, message)
            return
        self.close(index)
        if role in ("system", "developer"):
            self.system.append(_text(message.get("content"), index))
        elif role == "user":
            self.users.append(_text(message.get("content"), index))
            self.results.clear()
            self.called.clear()
        else:
            self._assistant(index, message)

    def close(self, index: int) -> None:
        if self.open:
            raise BadRequest(
                "An assistant message with 'tool_calls' must be followed by tool messages responding to each "
                f"'tool_call_id'. No response: {', '.join(sorted(self.open))}",
                param=f"messages[{index}].role" if index else "messages",
            )

    def _tool(self, index: int, message: dict[str, Any]) -> None:
        name = self.open.pop(str(message.get("tool_call_id")), None)
        if name is None:
            raise BadRequest(
                "messages with role 'tool' must be a response to a preceding message with 'tool_calls'.",
                param=f"messages[{index}].role",
            )
        self.results.append(ToolResult(tool=name, content=_text(message.get("content"), index)))

    def _assistant(self, index: int, message: dict[str, Any]) -> None:
        calls = message.get("tool_calls") or []
        if not isinstance(calls, list):
            raise BadRequest("'tool_calls' must be an array.", param=f"messages[{index}].tool_calls")
        for call in calls:
            function = call.get("function") if isinstance(call, dict) else None
            if not isinstance(function, dict) or not isinstance(function.get("name"), str) or not call.get("id"):
                raise BadRequest("Missing required parameter.", param=f"messages[{index}].tool_calls")
            self.open[str(call["id"])] = function["name"]
            self.called.append(function["name"])


def _text(content: Any, index: int) -> str:
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    raise BadRequest("Invalid type for 'content'.", param=f"messages[{index}].content")
