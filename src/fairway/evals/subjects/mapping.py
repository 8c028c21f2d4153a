"""How a question becomes a request of a service, and its answer a reply: JSON pointers (RFC 6901)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from fairway.errors import PermanentError
from fairway.evals.assertions.tool_match import parse_tool_call
from fairway.evals.plain_text import writable, writable_value
from fairway.evals.trials import Question
from fairway.evals.values import Reply, ToolCall

if TYPE_CHECKING:  # pydantic takes 100 ms to import, and a run outside a project needs none of it
    from fairway.evals.config import EvalsSection

_MISSING = object()
_PAIR = re.compile(r"\s*([a-z_]+)\s*=\s*([^,;\s]*)\s*")
_MOST_CALLS = 1000
_MOST_PASSAGES = 1000
_MOST_KEYS = 8
_LONGEST_KEY = 40
_MOST_USD = Decimal(1_000_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatMapping:
    """How a message becomes a request and a response becomes a reply.

    Attributes:
        path: Chat endpoint, below the service's address.
        message, thread: Where the message and the conversation's id go in the request's JSON; ``thread`` ``None``: only
            in the header.
        thread_header: Header that carries the conversation's id; ``None``: none.
        variables: Where the case's variables go; ``None``: nowhere.
        extra: Top-level fields every request has besides.
        text: Where the reply's text is.
        tools: Where the list of tool calls is; when it is absent the calls are unknown.
        tokens_in, tokens_out: Where token counts are, for a service without the ``Fairway-Outcome`` header.
        cost: Where the request's cost in US dollars is, for a service that does not say it in that header.
        state: Where the state the agent left behind is.
        context: Where the passages are that the agent answered from: a list of texts, or of objects with a text in
            ``text``, ``content`` or ``page_content``.
        finish_reason, model: Where it says why it ended and which model it ran.
        state_path: Asked by GET after each turn, ``{thread}`` replaced, for a state that is not in the answer.
    """

    path: str = "/chat"
    message: str = "/message"
    thread: str | None = "/thread_id"
    thread_header: str | None = "x-conversation-id"
    variables: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    text: str = "/response"
    tools: str | None = "/tools"
    tokens_in: str | None = None
    tokens_out: str | None = None
    cost: str | None = None
    state: str | None = None
    context: str | None = None
    finish_reason: str | None = None
    model: str | None = None
    state_path: str | None = None


def chat_mapping(section: EvalsSection, *, path: str) -> ChatMapping:
    """The mapping a project declares; ``path`` is its service's chat path."""
    request, response = section.request, section.response
    return ChatMapping(
        path=path,
        message=request.message,
        thread=request.thread,
        thread_header=request.header,
        variables=request.variables,
        extra=dict(request.extra),
        text=response.text,
        tools=response.tools,
        tokens_in=response.tokens_in,
        tokens_out=response.tokens_out,
        cost=response.cost,
        state=response.state,
        context=response.context,
        finish_reason=response.finish_reason,
        model=response.model,
        state_path=response.state_path,
    )


def request_body(question: Question, mapping: ChatMapping) -> dict[str, Any]:
    """The JSON of a request.

    Raises:
        PermanentError: A pointer leads through a value.
    """
    body: dict[str, Any] = dict(mapping.extra)
    set_pointer(body, mapping.message, question.message)
    if mapping.thread is not None:
        set_pointer(body, mapping.thread, question.thread)
    if mapping.variables is not None:
        set_pointer(body, mapping.variables, dict(question.variables))
    return body


def read_reply(body: Any, mapping: ChatMapping, outcome: Mapping[str, str], *, latency_seconds: float) -> Reply:
    """The reply in an answer's JSON.

    Args:
        body: The answer.
        mapping: Where what is.
        outcome: Fields of its ``Fairway-Outcome`` header, which win.
        latency_seconds: From the request to the last byte.

    Raises:
        PermanentError: There is no text where it should be.
    """
    text = get_pointer(body, mapping.text)
    if not isinstance(text, str):
        hint = "set evals.response.text to the JSON pointer of the reply's text"
        message = f"the agent's answer has no text at {mapping.text} ({_shape(body)})"
        raise PermanentError(message, code="agent_answer", hint=hint)
    state = None if mapping.state is None else get_pointer(body, mapping.state)
    return Reply(
        text=writable(text),
        tools=_tools(body, mapping.tools),
        tokens_in=_tokens(outcome, "tokens_in", body, mapping.tokens_in),
        tokens_out=_tokens(outcome, "tokens_out", body, mapping.tokens_out),
        status=outcome.get("status"),
        state=None if state is _MISSING else readable(state),
        cost_micros=_cost(outcome, body, mapping.cost),
        latency_seconds=latency_seconds,
        finish_reason=_word(body, mapping.finish_reason),
        model=_word(body, mapping.model) or outcome.get("model"),
        context=None if mapping.context is None else passages(get_pointer(body, mapping.context)),
    )


def readable(value: Any) -> Any:
    """A JSON value with every text in it writable; ``None`` for one nested too deep."""
    try:
        return writable_value(value)
    except RecursionError:
        return None


def passages(found: Any) -> tuple[str, ...] | None:
    """The passages an agent says it answered from; ``None``: it does not say, or not in a form that can be read."""
    if not isinstance(found, list) or len(found) > _MOST_PASSAGES:
        return None
    texts = [_passage(one) for one in found]
    return None if None in texts else tuple(writable(text) for text in texts if text is not None)


def _passage(one: Any) -> str | None:
    if isinstance(one, Mapping):
        one = next((one[name] for name in ("text", "content", "page_content") if name in one), None)
    return one if isinstance(one, str) else None


def _shape(body: Any) -> str:
    """What an answer is instead, without its content."""
    if not isinstance(body, dict):
        return "it is a list" if isinstance(body, list) else "it is no object"
    if not body:
        return "it is an empty object"
    named = ", ".join(writable(key)[:_LONGEST_KEY] for key in list(body)[:_MOST_KEYS])
    return f"its keys are: {named}{', …' if len(body) > _MOST_KEYS else ''}"


def _tools(body: Any, pointer: str | None) -> tuple[ToolCall, ...] | None:
    return tool_calls(_MISSING if pointer is None else get_pointer(body, pointer))


def tool_calls(found: Any) -> tuple[ToolCall, ...] | None:
    """Calls of a list; ``None``: it is none, or has more calls than anyone expects (which would only slow matching)."""
    if not isinstance(found, list | tuple) or len(found) > _MOST_CALLS:
        return None
    return tuple(parse_tool_call(call) for call in found)


def _tokens(outcome: Mapping[str, str], name: str, body: Any, pointer: str | None) -> int | None:
    text = outcome.get(name)
    if text is not None:
        return int(text) if text.isascii() and text.isdecimal() and len(text) < 16 else None
    return count(None if pointer is None else get_pointer(body, pointer))


def count(value: Any) -> int | None:
    """A number of tokens; ``None``: it is none."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _cost(outcome: Mapping[str, str], body: Any, pointer: str | None) -> int | None:
    said = outcome.get("cost")
    return micros(said if said is not None else None if pointer is None else get_pointer(body, pointer))


def micros(usd: Any) -> int | None:
    """US dollars as whole millionths, rounded up; ``None``: it is no amount of money."""
    if isinstance(usd, bool) or not isinstance(usd, int | float | str):
        return None
    try:
        amount = Decimal(str(usd))
    except InvalidOperation:
        return None
    if not amount.is_finite() or not 0 <= amount <= _MOST_USD:
        return None
    return int((amount * 1_000_000).to_integral_value(ROUND_CEILING))


def _word(body: Any, pointer: str | None) -> str | None:
    value = None if pointer is None else get_pointer(body, pointer)
    return writable(value)[:200] if isinstance(value, str) and value else None


def parse_outcome(header: str | None) -> dict[str, str]:
    """Fields of a ``Fairway-Outcome`` header; empty when there is none. A field written twice is unknown."""
    if not header:
        return {}
    matches = [_PAIR.fullmatch(part) for part in header.split(",")]
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
    """Put a value at a pointer of object keys, making the objects on the way; nothing that was there is changed.

    Raises:
        PermanentError: The pointer is empty or leads through something that is no object.
    """
    parts = _parts(pointer)
    if not parts:
        raise PermanentError("a request pointer must name a key", code="agent_mapping")
    for part in parts[:-1]:
        inner = document.get(part, {})
        if not isinstance(inner, Mapping):
            raise PermanentError(f"request pointer {pointer} leads through a value", code="agent_mapping")
        document[part] = document = dict(inner)
    document[parts[-1]] = value


def _parts(pointer: str) -> list[str]:
    if not pointer:
        return []
    return [part.replace("~1", "/").replace("~0", "~") for part in pointer.removeprefix("/").split("/")]
