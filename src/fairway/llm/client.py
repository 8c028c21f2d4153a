"""One question to a model over HTTP: the port, and the client for anything that speaks OpenAI's chat completions."""

from __future__ import annotations

import email.utils
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC
from types import TracebackType
from typing import Any, Protocol

import httpx

from fairway.clock import Clock
from fairway.errors import FairwayError, PermanentError, TransientError

_BACKOFF_SECONDS = 0.5
_LONGEST_BACKOFF_SECONDS = 20.0
_SHOWN = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatMessage:
    """One message of a request."""

    role: str
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionRequest:
    """What is asked of a model.

    Attributes:
        max_tokens: Of the answer.
        response_schema: JSON Schema the answer must follow, when the provider can enforce one; ``None``: free text.
    """

    messages: Sequence[ChatMessage]
    temperature: float = 0.0
    max_tokens: int = 1024
    response_schema: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """What a model answered.

    Attributes:
        finish_reason: ``stop``, ``length`` …; ``None``: not said.
        tokens_in, tokens_out: ``None``: not reported.
        model: What the provider says it ran; ``None``: not said.
        attempts: Requests it took.
    """

    text: str
    finish_reason: str | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    model: str | None = None
    attempts: int = 1


class ModelClient(Protocol):
    """Whatever can answer a completion request."""

    async def complete(self, request: CompletionRequest) -> Completion:
        """Ask once (retries included).

        Raises:
            TransientError: Unreachable, overloaded or too slow, after the retries.
            PermanentError: Refused, or an answer that is no completion.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where a model is and how to ask it.

    Attributes:
        base_url: Up to ``/v1``.
        api_key: Sent as a bearer token; never shown.
        timeout_seconds: Of one attempt.
        attempts: Requests at most, the first included.
        max_wait_seconds: A ``Retry-After`` beyond this is not waited for.
    """

    base_url: str
    model: str
    api_key: str | None = field(default=None, repr=False)
    timeout_seconds: float = 60.0
    attempts: int = 3
    max_wait_seconds: float = 30.0


class OpenAIModelClient:
    """`ModelClient` for OpenAI-compatible servers; an async context manager that closes its connections."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        clock: Clock,
        rng: random.Random | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._clock = clock
        self._rng = rng or random.Random()  # noqa: S311 - jitter, not a secret
        headers = {"Authorization": f"Bearer {endpoint.api_key}"} if endpoint.api_key else {}
        # one client for all calls: a new TLS context costs more CPU than a completion
        self._http = httpx.AsyncClient(timeout=endpoint.timeout_seconds, headers=headers, transport=transport)

    async def __aenter__(self) -> OpenAIModelClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def complete(self, request: CompletionRequest) -> Completion:
        """Ask, waiting out 429, 5xx and dropped connections within the endpoint's limits.

        Raises:
            TransientError: After the last attempt; ``retry_after`` as the provider said.
            PermanentError: 4xx other than 408 and 429, or a body that is no completion.
        """
        body = _body(self._endpoint.model, request)
        for attempt in range(1, self._endpoint.attempts + 1):
            try:
                return await self._attempt(body, attempt)
            except TransientError as error:
                wait = self._wait(attempt, error.retry_after)
                if attempt == self._endpoint.attempts or wait is None:
                    raise
                await self._clock.sleep(wait)
        raise AssertionError("attempts is at least 1")

    def _wait(self, attempt: int, retry_after: float | None) -> float | None:
        """Seconds before the next attempt; ``None``: the provider wants longer than we wait."""
        if retry_after is not None:
            if retry_after > self._endpoint.max_wait_seconds:
                return None
            # many clients are told the same second: spread them after it, never before
            return retry_after + self._rng.uniform(0.0, min(1.0, 0.1 + retry_after * 0.1))
        return self._rng.uniform(0.0, min(_LONGEST_BACKOFF_SECONDS, _BACKOFF_SECONDS * 2.0**attempt))

    async def _attempt(self, body: Mapping[str, Any], attempt: int) -> Completion:
        url = self._endpoint.base_url.rstrip("/") + "/chat/completions"
        try:
            response = await self._http.post(url, json=body)
        except httpx.TimeoutException as error:
            message = f"the model did not answer within {self._endpoint.timeout_seconds:g} s"
            raise TransientError(message, code="model_timeout") from error
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise TransientError(f"the model cannot be reached: {_named(error)}", code="model_unreachable") from error
        except (httpx.InvalidURL, httpx.HTTPError, ValueError) as error:
            raise PermanentError(f"not a model address: {_named(error)}", code="model_address") from error
        if response.status_code != httpx.codes.OK:
            raise status_error(response, now=self._clock.now().astimezone(UTC).timestamp())
        return _completion(response, attempt)


def _named(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".removesuffix(": ")[:_SHOWN]


def _body(model: str, request: CompletionRequest) -> dict[str, Any]:
    body: dict[str, Any] = {
        "model": model,
        "messages": [{"role": message.role, "content": message.content} for message in request.messages],
        "temperature": request.temperature,
        "max_tokens": request.max_tokens,
    }
    if request.response_schema is not None:
        schema = {"name": "answer", "strict": True, "schema": dict(request.response_schema)}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    return body


def status_error(response: httpx.Response, *, now: float) -> FairwayError:
    """The error of a status other than 200. The body is not quoted: providers repeat keys in it."""
    status = response.status_code
    retry_after = parse_retry_after(response.headers.get("retry-after"), now=now)
    if status == httpx.codes.TOO_MANY_REQUESTS:
        return TransientError("the model is rate limited (429)", code="model_rate_limited", retry_after=retry_after)
    if status >= 500 or status == httpx.codes.REQUEST_TIMEOUT:
        return TransientError(f"the model answered {status}", code="model_unavailable", retry_after=retry_after)
    hints = {
        401: "check the API key the model's alias names",
        403: "the key may not use this model",
        404: "check base_url and model",
    }
    return PermanentError(f"the model refused the request ({status})", code="model_refused", hint=hints.get(status))


def parse_retry_after(value: str | None, *, now: float) -> float | None:
    """Seconds of a ``Retry-After`` header, given as seconds or as a date; ``None`` when absent or unreadable."""
    if value is None:
        return None
    text = value.strip()
    try:
        seconds = float(text) if text.replace(".", "", 1).isdecimal() else None
    except ValueError:
        seconds = None
    if seconds is None:
        try:
            seconds = email.utils.parsedate_to_datetime(text).timestamp() - now
        except (ValueError, TypeError, OverflowError, IndexError):
            return None
    return max(0.0, seconds) if seconds < float("inf") else None


def _completion(response: httpx.Response, attempt: int) -> Completion:
    try:
        body = response.json()
        choice = body["choices"][0]
        text = choice["message"]["content"]
        finish = choice.get("finish_reason")
        usage, model = body.get("usage"), body.get("model")
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError) as error:
        raise PermanentError("the model's answer is not a chat completion", code="model_answer") from error
    if not isinstance(text, str):
        raise PermanentError("the model's answer has no text", code="model_answer")
    usage = usage if isinstance(usage, Mapping) else {}
    return Completion(
        text=text,
        finish_reason=finish if isinstance(finish, str) else None,
        tokens_in=_count(usage.get("prompt_tokens")),
        tokens_out=_count(usage.get("completion_tokens")),
        model=model if isinstance(model, str) else None,
        attempts=attempt,
    )


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
