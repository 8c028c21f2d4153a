"""The agent under test over HTTP: any service with a chat endpoint, mapped by JSON pointers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import httpx

from fairway.clock import Clock
from fairway.errors import PermanentError, TransientError
from fairway.evals.assertions.tool_match import parse_tool_call
from fairway.evals.config import EvalsSection
from fairway.evals.plain_text import writable
from fairway.evals.values import Reply, ToolCall
from fairway.llm.client import parse_retry_after

_MISSING = object()
_OUTCOME_HEADER = "fairway-outcome"
_PAIR = re.compile(r"\s*([a-z_]+)\s*=\s*([^,;\s]*)\s*")
_LONGEST_WAIT_SECONDS = 5.0
_MOST_CALLS = 1000
_MOST_KEYS = 8
_LONGEST_KEY = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatMapping:
    """How a message becomes a request and a response becomes a reply; pointers are RFC 6901.

    Attributes:
        path: Chat endpoint, below the service's address.
        message, thread: Where the message and the conversation's id go in the request's JSON; ``thread`` ``None``: only
            in the header.
        thread_header: Header that carries the conversation's id; ``None``: none.
        extra: Top-level fields every request has besides.
        text: Where the reply's text is.
        tools: Where the list of tool calls is; when it is absent the calls are unknown.
        tokens_in, tokens_out: Where token counts are, for a service without the ``Fairway-Outcome`` header.
    """

    path: str = "/chat"
    message: str = "/message"
    thread: str | None = "/thread_id"
    thread_header: str | None = "x-conversation-id"
    extra: Mapping[str, Any] = field(default_factory=dict)
    text: str = "/response"
    tools: str | None = "/tools"
    tokens_in: str | None = None
    tokens_out: str | None = None


def chat_mapping(section: EvalsSection, *, path: str) -> ChatMapping:
    """The mapping a project declares; ``path`` is its service's chat path."""
    request, response = section.request, section.response
    return ChatMapping(
        path=path,
        message=request.message,
        thread=request.thread,
        thread_header=request.header,
        extra=dict(request.extra),
        text=response.text,
        tools=response.tools,
        tokens_in=response.tokens_in,
        tokens_out=response.tokens_out,
    )


class HttpAgent:
    """Asks a running service; an async context manager that closes its connections."""

    def __init__(
        self,
        url: str,
        mapping: ChatMapping,
        *,
        clock: Clock,
        timeout_seconds: float = 60.0,
        retries: int = 2,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._url = url.rstrip("/") + "/" + mapping.path.lstrip("/")
        self._mapping = mapping
        self._clock = clock
        self._retries = retries
        self._http = httpx.AsyncClient(timeout=timeout_seconds, transport=transport, trust_env=False)

    async def __aenter__(self) -> HttpAgent:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def ask(self, message: str, *, thread: str) -> Reply:
        """One turn of a conversation.

        Raises:
            TransientError: Unreachable, too slow, 429 or 5xx, after the retries. Only 429 and 503 are tried again: the
                agent said that it did nothing, so no turn is played twice.
            PermanentError: Another status, or an answer the mapping does not fit.
        """
        for attempt in range(self._retries + 1):
            response = await self._post(message, thread)
            wait = _wait(response, attempt, now=self._clock.now().timestamp())
            if wait is None or attempt == self._retries:
                return _reply(response, self._mapping)
            await self._clock.sleep(wait)
        raise AssertionError("there is at least one attempt")

    async def _post(self, message: str, thread: str) -> httpx.Response:
        body: dict[str, Any] = dict(self._mapping.extra)
        set_pointer(body, self._mapping.message, message)
        if self._mapping.thread is not None:
            set_pointer(body, self._mapping.thread, thread)
        headers = {self._mapping.thread_header: thread} if self._mapping.thread_header else {}
        try:
            return await self._http.post(self._url, json=body, headers=headers)
        except httpx.TimeoutException as error:
            raise TransientError("the agent did not answer in time", code="agent_timeout") from error
        except httpx.HTTPError as error:
            name = type(error).__name__
            raise TransientError(f"the agent cannot be reached ({name})", code="agent_unreachable") from error


def _wait(response: httpx.Response, attempt: int, *, now: float) -> float | None:
    if response.status_code not in (429, 503):
        return None
    asked = parse_retry_after(response.headers.get("retry-after"), now=now)
    wait = 0.2 * 2.0**attempt if asked is None else asked
    return wait if wait <= _LONGEST_WAIT_SECONDS else None


def _reply(response: httpx.Response, mapping: ChatMapping) -> Reply:
    status = response.status_code
    if status == 429 or status >= 500:
        raise TransientError(f"the agent answered {status}", code="agent_unavailable")
    if status != 200:
        hint = "check service.chat and the evals request mapping" if status in (400, 404, 405, 415, 422) else None
        raise PermanentError(f"the agent answered {status}", code="agent_status", hint=hint)
    try:
        body = response.json()
    except (ValueError, RecursionError) as error:
        raise PermanentError("the agent's answer is not JSON", code="agent_answer") from error
    text = get_pointer(body, mapping.text)
    if not isinstance(text, str):
        hint = "set evals.response.text to the JSON pointer of the reply's text"
        message = f"the agent's answer has no text at {mapping.text} ({_shape(body)})"
        raise PermanentError(message, code="agent_answer", hint=hint)
    outcome = parse_outcome(response.headers.get(_OUTCOME_HEADER))
    return Reply(
        text=writable(text),
        tools=_tools(body, mapping.tools),
        tokens_in=_tokens(outcome, "tokens_in", body, mapping.tokens_in),
        tokens_out=_tokens(outcome, "tokens_out", body, mapping.tokens_out),
        status=outcome.get("status"),
    )


def _shape(body: Any) -> str:
    """What an answer is instead, without its content."""
    if not isinstance(body, dict):
        return "it is a list" if isinstance(body, list) else "it is no object"
    if not body:
        return "it is an empty object"
    named = ", ".join(writable(key)[:_LONGEST_KEY] for key in list(body)[:_MOST_KEYS])
    return f"its keys are: {named}{', …' if len(body) > _MOST_KEYS else ''}"


def _tools(body: Any, pointer: str | None) -> tuple[ToolCall, ...] | None:
    found = _MISSING if pointer is None else get_pointer(body, pointer)
    # more calls than anyone expects would only make the matching slow: say unknown rather than cut
    if not isinstance(found, list) or len(found) > _MOST_CALLS:
        return None
    return tuple(parse_tool_call(call) for call in found)


def _tokens(outcome: Mapping[str, str], name: str, body: Any, pointer: str | None) -> int | None:
    text = outcome.get(name)
    if text is not None:
        return int(text) if text.isascii() and text.isdecimal() and len(text) < 16 else None
    value = None if pointer is None else get_pointer(body, pointer)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def parse_outcome(header: str | None) -> dict[str, str]:
    """Fields of a ``Fairway-Outcome`` header; empty when there is none. A field written twice is unknown."""
    matches = [_PAIR.fullmatch(part) for part in (header or "").split(",")]
    pairs = [(match.group(1), match.group(2)) for match in matches if match and match.group(2)]
    names = [name for name, _ in pairs]
    return {name: value for name, value in pairs if names.count(name) == 1}


def get_pointer(document: Any, pointer: str) -> Any:
    """The value at an RFC 6901 pointer; a private sentinel that is no JSON value when there is none."""
    for part in _parts(pointer):
        if isinstance(document, dict) and part in document:
            document = document[part]
        elif (
            isinstance(document, list)
            and part.isascii()
            and part.isdecimal()
            and len(part) < 10
            and int(part) < len(document)
        ):
            document = document[int(part)]
        else:
            return _MISSING
    return document


def set_pointer(document: dict[str, Any], pointer: str, value: Any) -> None:
    """Put a value at a pointer of object keys, making the objects on the way.

    Raises:
        PermanentError: The pointer is empty or leads through something that is no object.
    """
    parts = _parts(pointer)
    if not parts:
        raise PermanentError("a request pointer must name a key", code="agent_mapping")
    for part in parts[:-1]:
        document = document.setdefault(part, {})
        if not isinstance(document, dict):
            raise PermanentError(f"request pointer {pointer} leads through a value", code="agent_mapping")
    document[parts[-1]] = value


def _parts(pointer: str) -> list[str]:
    if not pointer:
        return []
    return [part.replace("~1", "/").replace("~0", "~") for part in pointer.removeprefix("/").split("/")]
