"""Models that answer as a test says: given texts in order, or an obedient judge."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from fairway.errors import FairwayError
from fairway.llm.values import Completion, CompletionRequest

Said = str | Completion | FairwayError
"""A whole answer, or the trouble that is met instead."""

_ID = re.compile(r"its id is ([0-9a-f]+)\Z")


class ScriptedModel:
    """`ModelClient` that gives its answers in order, or asks a function for each; it remembers what it was asked."""

    def __init__(self, *answers: Said, by: Callable[[CompletionRequest], Said] | None = None) -> None:
        """Take the answers.

        Args:
            answers: In order; a text is a finished completion.
            by: Asked once the answers are used up.
        """
        self._answers = list(answers)
        self._by = by
        self.asked: list[CompletionRequest] = []

    async def complete(self, request: CompletionRequest) -> Completion:
        """The next answer.

        Raises:
            AssertionError: There is none.
            FairwayError: The trouble it was given.
        """
        self.asked.append(request)
        if self._answers:
            said = self._answers.pop(0)
        elif self._by is not None:
            said = self._by(request)
        else:
            raise AssertionError("nobody scripted a further answer")
        if isinstance(said, FairwayError):
            raise said
        return said if isinstance(said, Completion) else Completion(text=said, finish_reason="stop")


def asked_id(request: CompletionRequest) -> str:
    """The nonce a question to a judge wants repeated.

    Raises:
        ValueError: It is no question to a judge.
    """
    found = _ID.search(request.messages[-1].content)
    if found is None:
        raise ValueError("the request ends with no id")
    return found.group(1)


def grade_answer(request: CompletionRequest, verdict: str, reason: str = "As it is written.") -> str:
    """What a judge that keeps to the form answers to a question for a grade."""
    return json.dumps({"id": asked_id(request), "reason": reason, "verdict": verdict})


def claims_answer(request: CompletionRequest, *claims: tuple[str, str, str]) -> str:
    """The same for a question about claims: each a claim, its source and its verdict."""
    listed: list[dict[str, Any]] = [
        {"claim": claim, "reason": "As it is written.", "source": source, "verdict": verdict}
        for claim, source, verdict in claims
    ]
    return json.dumps({"id": asked_id(request), "claims": listed})


def obedient(verdict: str) -> ScriptedModel:
    """A judge that always gives one grade, in the right form."""
    return ScriptedModel(by=lambda request: grade_answer(request, verdict))
