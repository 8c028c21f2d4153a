"""Asks a model over HTTP: anything that speaks OpenAI's chat completions or Anthropic's messages."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC
from types import TracebackType
from typing import Any, Self

from fairway.clock import Clock
from fairway.errors import BusyError, FairwayError, PermanentError, TransientError
from fairway.http_client.client import HttpClient
from fairway.http_client.connection import HttpResponse
from fairway.http_client.errors import HttpAddressError, HttpAnswerError, HttpTimeoutError, HttpTroubleError
from fairway.http_client.retry_after import parse_retry_after
from fairway.llm.formats import ANTHROPIC, OPENAI, WireFormat, read_json
from fairway.llm.values import ChatMessage, Completion, CompletionRequest, Endpoint, ModelClient

__all__ = [
    "AnthropicModelClient",
    "ChatMessage",
    "Completion",
    "CompletionRequest",
    "Endpoint",
    "HttpModelClient",
    "ModelClient",
    "OpenAIModelClient",
    "parse_retry_after",
    "status_error",
]

_BACKOFF_SECONDS = 0.5
_LONGEST_BACKOFF_SECONDS = 20.0
_OK = 200
_BUSY = (429, 503, 529)
"""It did nothing; 529 is Anthropic's word for overloaded."""


class HttpModelClient:
    """`ModelClient` over HTTP; an async context manager that closes its connections."""

    def __init__(
        self,
        endpoint: Endpoint,
        wire: WireFormat,
        *,
        clock: Clock,
        rng: random.Random | None = None,
        http: HttpClient | None = None,
    ) -> None:
        """Prepare a client.

        Args:
            endpoint: Where and what.
            wire: How its provider is spoken to.
            clock: For waits.
            rng: For jitter.
            http: Shared with others, who close it; ``None``: its own, through the proxies the environment names.
        """
        self._endpoint = endpoint
        self._wire = wire
        self._clock = clock
        self._rng = rng or random.Random()  # noqa: S311 - jitter, not a secret
        self._own = http is None
        self._http = http or HttpClient(proxies=True)
        self._headers = wire.headers(endpoint.api_key)
        self._url = endpoint.base_url.rstrip("/") + wire.path

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._own:
            await self._http.aclose()

    async def complete(self, request: CompletionRequest) -> Completion:
        """Ask, waiting out 429, 5xx and dropped connections within the endpoint's limits.

        Raises:
            BusyError: Refused because there are too many requests, also the last time; ``retry_after`` as it said.
            TransientError: In trouble, also the last time.
            PermanentError: 4xx other than 408 and 429, or a body that is no completion.
        """
        body = json.dumps(self.body(request), ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
        for attempt in range(1, self._endpoint.attempts + 1):
            try:
                return await self._attempt(body, attempt)
            except TransientError as error:
                wait = self._wait(attempt, error.retry_after)
                if attempt == self._endpoint.attempts or wait is None:
                    raise
                await self._clock.sleep(wait)
        raise AssertionError("attempts is at least 1")

    def body(self, request: CompletionRequest) -> dict[str, Any]:
        """What is sent, as JSON."""
        body = self._wire.body(self._endpoint.model, request) | dict(self._endpoint.parameters)
        return {name: value for name, value in body.items() if value is not None}

    def _wait(self, attempt: int, retry_after: float | None) -> float | None:
        """Seconds before the next attempt; ``None``: the provider wants longer than we wait."""
        if retry_after is not None:
            if retry_after > self._endpoint.max_wait_seconds:
                return None
            # many clients are told the same second: spread them after it, never before
            return retry_after + self._rng.uniform(0.0, min(1.0, 0.1 + retry_after * 0.1))
        return self._rng.uniform(0.0, min(_LONGEST_BACKOFF_SECONDS, _BACKOFF_SECONDS * 2.0**attempt))

    async def _attempt(self, body: bytes, attempt: int) -> Completion:
        limit = self._endpoint.timeout_seconds
        try:
            response = await self._http.post(self._url, body, headers=self._headers, timeout_seconds=limit)
        except HttpTimeoutError as error:
            raise TransientError(f"the model did not answer within {limit:g} s", code="model_timeout") from error
        except HttpTroubleError as error:
            raise TransientError(f"the model cannot be reached: {error.message}", code="model_unreachable") from error
        except HttpAddressError as error:
            raise PermanentError(f"not a model address: {error.message}", code="model_address") from error
        except HttpAnswerError as error:
            raise PermanentError(f"the model's answer: {error.message}", code="model_answer") from error
        if response.status != _OK:
            raise status_error(response, now=self._clock.now().astimezone(UTC).timestamp())
        completion = self._wire.read(read_json(response.body))
        return completion if attempt == 1 else replace(completion, attempts=attempt)


class OpenAIModelClient(HttpModelClient):
    """For OpenAI-compatible servers."""

    def __init__(
        self, endpoint: Endpoint, *, clock: Clock, rng: random.Random | None = None, http: HttpClient | None = None
    ) -> None:
        super().__init__(endpoint, OPENAI, clock=clock, rng=rng, http=http)


class AnthropicModelClient(HttpModelClient):
    """For Anthropic-compatible servers."""

    def __init__(
        self, endpoint: Endpoint, *, clock: Clock, rng: random.Random | None = None, http: HttpClient | None = None
    ) -> None:
        super().__init__(endpoint, ANTHROPIC, clock=clock, rng=rng, http=http)


def status_error(response: HttpResponse, *, now: float) -> FairwayError:
    """The error of a status other than 200. The body is not quoted: providers repeat keys in it."""
    status = response.status
    retry_after = parse_retry_after(response.headers.get("retry-after"), now=now)
    if status in _BUSY:
        told = "the model is rate limited (429)" if status == 429 else f"the model is overloaded ({status})"
        return BusyError(told, code="model_rate_limited", retry_after=retry_after)
    if status >= 500 or status == 408:
        return TransientError(f"the model answered {status}", code="model_unavailable", retry_after=retry_after)
    hints: Mapping[int, str] = {
        400: "it may not take a parameter: parameters of the model's alias set or drop one (max_tokens: null)",
        401: "check the API key the model's alias names",
        403: "the key may not use this model",
        404: "check base_url and model",
    }
    return PermanentError(f"the model refused the request ({status})", code="model_refused", hint=hints.get(status))
