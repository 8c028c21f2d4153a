"""Grades that need not be asked for again: what a cache keeps of a judge's answer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Protocol

from fairway.evals.judges.settings import JUDGE_VERSION
from fairway.llm.values import Completion, CompletionRequest


class AnswerCache(Protocol):
    """Where answers are kept; `CallCache` is one."""

    def get(self, key: bytes) -> Any:
        """The JSON value; ``None``: a miss."""
        ...

    def put(self, key: bytes, value: Any) -> None:
        """Keep a JSON value."""
        ...


def answer_key(identity: Mapping[str, Any], request: CompletionRequest) -> bytes:
    """SHA-256 of everything an answer depends on; the nonces make it another for each repeat."""
    asked = [[message.role, message.content] for message in request.messages]
    how = [request.temperature, request.max_tokens, request.response_schema]
    wire = json.dumps(["judge", JUDGE_VERSION, dict(identity), asked, how], sort_keys=True)
    return hashlib.sha256(wire.encode()).digest()


def kept_answer(value: Any) -> Completion | None:
    """An answer from a cache; ``None``: it is none. It is read as strictly as one that was just given."""
    if not isinstance(value, dict):
        return None
    text, finish = value.get("text"), value.get("finish_reason")
    if not isinstance(text, str) or not isinstance(finish, str):
        return None
    return Completion(text=text, finish_reason=finish)


def answer_to_keep(completion: Completion) -> dict[str, Any]:
    """What a cache keeps of an answer."""
    return {"text": completion.text, "finish_reason": completion.finish_reason}
