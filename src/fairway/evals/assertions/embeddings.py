"""How near two texts are in meaning, by an embedding model: the ``similar`` assertion."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from fairway.errors import PermanentError, TransientError
from fairway.evals.assertions.finding import Finding, at_least, broken
from fairway.evals.assertions.json_text import parse_json
from fairway.evals.running.calling import Caller
from fairway.evals.trials import Observed
from fairway.evals.values import Assertion, Found
from fairway.http_client.client import HttpClient

LEAST_SIMILARITY = 0.75
_MOST_KEPT = 10_000
_LARGEST = sys.float_info.max


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedded:
    """Vectors of some texts, in their order.

    Attributes:
        tokens: What the provider counted; ``None``: not reported.
        cost_micros: Millionths of a US dollar; ``None``: not known.
    """

    vectors: tuple[tuple[float, ...], ...]
    tokens: int | None = None
    cost_micros: int | None = None


class Embedder(Protocol):
    """Whatever turns texts into vectors."""

    async def embed(self, texts: Sequence[str]) -> Embedded:
        """One vector a text, all of one length, none of them zero.

        Raises:
            TransientError: Not this time.
            PermanentError: Refused, or an answer that cannot be used.
            FairwayError: The spend cap leaves no room, or a price is not known.
        """
        ...


class EmbeddingEndpoint:
    """`Embedder` over ``POST <base>/embeddings`` as OpenAI has it."""

    def __init__(
        self,
        http: HttpClient,
        base_url: str,
        model: str,
        *,
        key: str | None = None,
        cost: Callable[[int], int | None] | None = None,
        timeout_seconds: float = 30.0,
    ) -> None:
        """Prepare an endpoint.

        Args:
            http: A client, which the caller closes.
            base_url: With its version (``https://api.example.com/v1``).
            model: Name of the model there.
            key: Sent as bearer token; ``None``: none.
            cost: Millionths of a US dollar for so many tokens; ``None``: not known.
            timeout_seconds: Of one request.
        """
        self._http = http
        self._url = base_url.rstrip("/") + "/embeddings"
        self._model = model
        self._headers = {} if key is None else {"authorization": f"Bearer {key}"}
        self._cost = cost
        self._timeout = timeout_seconds

    async def embed(self, texts: Sequence[str]) -> Embedded:
        """Ask once; see `Embedder`."""
        body = json.dumps({"model": self._model, "input": list(texts)}).encode()
        answer = await self._http.post(self._url, body, headers=self._headers, timeout_seconds=self._timeout)
        if answer.status in (408, 425, 429, 500, 502, 503, 504):
            raise TransientError(f"the embedding model answered {answer.status}")
        if answer.status != 200:
            raise PermanentError(f"the embedding model answered {answer.status}")
        parsed = parse_json(answer.body.decode("utf-8", "replace"))
        if parsed.problem is not None or not isinstance(parsed.value, Mapping):
            raise PermanentError("the embedding model's answer is not a JSON object")
        tokens = _tokens(parsed.value)
        cost = self._cost(tokens) if self._cost is not None and tokens is not None else None
        return Embedded(vectors=_vectors(parsed.value, len(texts)), tokens=tokens, cost_micros=cost)


def _tokens(answer: Mapping[str, Any]) -> int | None:
    usage = answer.get("usage")
    found = usage.get("total_tokens", usage.get("prompt_tokens")) if isinstance(usage, Mapping) else None
    return found if isinstance(found, int) and not isinstance(found, bool) and found >= 0 else None


def _vectors(answer: Mapping[str, Any], count: int) -> tuple[tuple[float, ...], ...]:
    """The vectors, put in order by their ``index``.

    Raises:
        PermanentError: There are too few, they differ in length, or one is zero or no vector.
    """
    rows = answer.get("data")
    if not isinstance(rows, list) or len(rows) != count:
        raise PermanentError("the embedding model did not answer one vector a text")
    found: dict[int, tuple[float, ...]] = {}
    for position, row in enumerate(rows):
        vector = row.get("embedding") if isinstance(row, Mapping) else None
        if not isinstance(vector, list) or not vector or not all(_is_finite(one) for one in vector):
            raise PermanentError("the embedding model answered something that is no vector")
        index = row.get("index", position)
        if not isinstance(index, int) or isinstance(index, bool):
            raise PermanentError("the embedding model's vectors do not belong together")
        found[index] = tuple(float(one) for one in vector)
    if set(found) != set(range(count)) or len({len(vector) for vector in found.values()}) != 1:
        raise PermanentError("the embedding model's vectors do not belong together")
    if any(not any(vector) for vector in found.values()):
        raise PermanentError("the embedding model answered a vector of nothing but zeros")
    return tuple(found[index] for index in range(count))


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _LARGEST


def is_similarity(assertion: Assertion) -> bool:
    """Whether it, or a member of it, needs an embedding model."""
    return assertion.type.partition(":")[0] == "similar" or any(map(is_similarity, assertion.members))


class CountedEmbedder:
    """`Embedder` around another, under the run's limits: places, tries, the spend cap."""

    def __init__(self, embedder: Embedder, caller: Caller, *, price: Callable[[int], int | None]) -> None:
        """Wrap one.

        Args:
            embedder: Who is asked.
            caller: The run's.
            price: Millionths of a US dollar for so many tokens; ``None``: not known.
        """
        self._embedder = embedder
        self._caller = caller
        self._price = price

    async def embed(self, texts: Sequence[str]) -> Embedded:
        """Ask, as often as it takes; see `Embedder`."""
        # no token is shorter than a byte
        most = sum(len(text.encode("utf-8", "replace")) for text in texts)
        return await self._caller.call(
            lambda: self._embedder.embed(texts),
            cost_of=lambda found: found.cost_micros,
            at_most=self._price(most),
            repeatable=True,
        )


def cosine(first: Sequence[float], second: Sequence[float]) -> float:
    """Cosine similarity of two vectors that are not zero, -1 to 1; scaled first, so that no length overflows."""
    largest = max(map(abs, first)), max(map(abs, second))
    one, other = [value / largest[0] for value in first], [value / largest[1] for value in second]
    dot = math.fsum(a * b for a, b in zip(one, other, strict=True))
    return max(-1.0, min(1.0, dot / math.sqrt(math.fsum(a * a for a in one) * math.fsum(b * b for b in other))))


class Similarity:
    """Measures ``similar``: the best cosine similarity of the reply with one of the references, at least 0.

    References are embedded once a run. A similarity below 0 counts as 0: scores are 0 to 1.
    """

    def __init__(self, embedder: Embedder) -> None:
        """Take an embedder."""
        self._embedder = embedder
        self._known: dict[str, tuple[float, ...]] = {}

    async def measure(self, assertion: Assertion, observed: Observed) -> tuple[Finding, int | None, int]:
        """The finding, what it cost (``None``: not known) and how many calls it took.

        Raises:
            FairwayError: What is no trouble of the model: no room below the spend cap, a price nobody knows.
        """
        if not observed.text.strip():
            return Finding(Found.VIOLATED, 0.0, "the reply is empty"), 0, 0
        wanted = list(dict.fromkeys(text for text in (*assertion.value, observed.text) if text not in self._known))
        try:
            embedded = await self._embedder.embed(wanted) if wanted else Embedded(vectors=(), cost_micros=0)
        except (TransientError, PermanentError) as error:
            return broken(error.message), None, 1
        calls = int(bool(wanted))
        vectors = dict(zip(wanted, embedded.vectors, strict=True))
        if len(self._known) < _MOST_KEPT:
            self._known |= {text: vectors[text] for text in assertion.value if text in vectors}
        every = self._known | vectors
        own = every[observed.text]
        if any(len(every[text]) != len(own) for text in assertion.value):
            return broken("the embedding model's vectors differ in length"), embedded.cost_micros, calls
        score = max(0.0, *(cosine(own, every[text]) for text in assertion.value))
        return at_least(score, assertion.threshold or LEAST_SIMILARITY, "the similarity"), embedded.cost_micros, calls
