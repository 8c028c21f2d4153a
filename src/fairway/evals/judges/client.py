"""A model asked under the run's limits: places at the endpoint, the spend cap, another try where that is right."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Protocol

from fairway.canonical import canonical_json
from fairway.evals.judges.settings import JUDGE_VERSION
from fairway.evals.running.calling import Caller
from fairway.evals.running.spend import Pricing
from fairway.llm.client import Completion, CompletionRequest, ModelClient

_OVERHEAD_TOKENS = 256
"""What a provider adds to a request: roles, and the schema it is told."""


class AnswerCache(Protocol):
    """Where answers are kept; `CallCache` is one."""

    def get(self, key: bytes) -> Any:
        """The JSON value; ``None``: a miss."""
        ...

    def put(self, key: bytes, value: Any) -> None:
        """Keep a JSON value."""
        ...


class CountedClient:
    """`ModelClient` around another, for one model of a panel; asking leaves nothing behind, so it may be repeated."""

    def __init__(self, client: ModelClient, caller: Caller, *, cost: JudgeCost) -> None:
        self._client = client
        self._caller = caller
        self._cost = cost

    async def complete(self, request: CompletionRequest) -> Completion:
        """Ask.

        Raises:
            TransientError: After the last try.
            PermanentError: Refused for good.
            SpendError: The cap leaves no room.
            PriceError: There is a cap, and a price is not known.
        """
        return await self._caller.call(
            lambda: self._client.complete(request),
            cost_of=self._cost.of,
            at_most=self._cost.at_most(request),
            repeatable=True,
        )


class JudgeCost:
    """What a model's answers cost, in millionths of a US dollar."""

    def __init__(self, prices: Pricing, model: str) -> None:
        """Take the price.

        Args:
            prices: Of the project.
            model: A name the model goes by there.
        """
        self._prices = prices
        self._model = model

    def of(self, completion: Completion) -> int | None:
        """Of an answer; ``None``: its tokens or its price are not known."""
        if completion.tokens_in is None or completion.tokens_out is None:
            return None
        return self._prices.cost_micros(self._model, completion.tokens_in, completion.tokens_out)

    def at_most(self, request: CompletionRequest) -> int | None:
        """Of any answer to a request: no token is shorter than a byte. ``None``: the price is not known."""
        sent = sum(len(message.content.encode("utf-8", "replace")) for message in request.messages)
        sent += len(str(request.response_schema or ""))
        return self._prices.cost_micros(self._model, sent + _OVERHEAD_TOKENS, request.max_tokens)


def answer_key(identity: Mapping[str, Any], request: CompletionRequest) -> bytes:
    """SHA-256 of everything an answer depends on; the nonces make it another for each repeat."""
    wire = asdict(request)
    return hashlib.sha256(canonical_json(["judge", JUDGE_VERSION, dict(identity), wire])).digest()


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
