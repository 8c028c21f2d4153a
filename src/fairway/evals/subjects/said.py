"""What a command or a function is told, and what it says back: JSON, or just text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from fairway.errors import PermanentError
from fairway.evals.plain_text import plain, writable
from fairway.evals.subjects.mapping import count, micros, passages, readable, tool_calls
from fairway.evals.trials import Question
from fairway.evals.values import Reply

_TEXTS = ("text", "response", "output")
KNOWN = (*_TEXTS, "tools", "tokens_in", "tokens_out", "cost", "state", "context", "status", "finish_reason", "model")
"""Keys of a reply."""


def told(question: Question) -> dict[str, Any]:
    """A question as JSON."""
    return {
        "message": question.message,
        "turns": list(question.turns),
        "replies": [reply.text for reply in question.replies],
        "thread": question.thread,
        "variables": dict(question.variables),
        "suite": question.suite,
        "case": question.case_id,
        "index": question.index,
    }


def said(value: Any, *, latency_seconds: float) -> Reply:
    """The reply in what was said: text, or an object with ``text`` (or ``response``, ``output``) and what else it says.

    Raises:
        PermanentError: It is neither.
    """
    if isinstance(value, Reply):
        return value
    if isinstance(value, str):
        return Reply(text=writable(value), latency_seconds=latency_seconds)
    if not isinstance(value, Mapping):
        raise PermanentError(f"it said {type(value).__name__}, not text or an object", code="agent_answer")
    text = next((value[name] for name in _TEXTS if name in value), None)
    if not isinstance(text, str):
        raise PermanentError(f"what it said has no text in {', '.join(_TEXTS)}", code="agent_answer")
    problem = _json_problem(value)
    if problem is not None:
        raise PermanentError(f"what it said is no JSON: {problem}", code="agent_answer")
    return Reply(
        text=writable(text),
        tools=tool_calls(value.get("tools")),
        tokens_in=count(value.get("tokens_in")),
        tokens_out=count(value.get("tokens_out")),
        cost_micros=micros(value.get("cost")),
        state=readable(value.get("state")),
        context=passages(value.get("context")),
        status=_word(value.get("status")),
        finish_reason=_word(value.get("finish_reason")),
        model=_word(value.get("model")),
        latency_seconds=latency_seconds,
    )


def said_as_text(text: str, *, latency_seconds: float) -> Reply:
    """The reply in what a command wrote: an object with a text when it is one, else the text itself."""
    stripped = text.strip()
    if stripped.startswith("{"):
        try:
            value = json.loads(stripped)
        except (ValueError, RecursionError):
            value = None
        if isinstance(value, dict) and any(isinstance(value.get(name), str) for name in _TEXTS):
            return said(value, latency_seconds=latency_seconds)
    return said(stripped, latency_seconds=latency_seconds)


def _json_problem(value: Mapping[str, Any]) -> str | None:
    """Why what was said could not be kept; ``None``: it can, or is nested too deeply, which its readers say."""
    try:
        json.dumps(value, allow_nan=False, default=_plain_mapping)
    except (TypeError, ValueError) as error:
        return plain(str(error))[:200]
    except RecursionError:
        return None
    return None


def _plain_mapping(value: Any) -> dict[Any, Any]:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is no value of JSON")


def _word(value: Any) -> str | None:
    return writable(value)[:200] if isinstance(value, str) and value else None
