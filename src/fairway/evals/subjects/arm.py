"""A running service over HTTP: an arm Fairway started, or any address."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import fields, replace
from types import TracebackType
from typing import Any, Self

from fairway.bundle.secret_shapes import find_secret
from fairway.clock import Clock
from fairway.errors import BusyError, FairwayError, PermanentError, TransientError
from fairway.evals.plain_text import plain
from fairway.evals.running.calling import Caller, CallRules
from fairway.evals.running.limiting import AdaptiveLimit
from fairway.evals.subjects.mapping import ChatMapping, chat_mapping, parse_outcome, read_reply, readable, request_body
from fairway.evals.trials import Question, SubjectInfo
from fairway.evals.values import Reply
from fairway.http_client.address import parse_address
from fairway.http_client.client import HttpClient
from fairway.http_client.connection import HttpResponse
from fairway.http_client.errors import HttpAddressError, HttpAnswerError, HttpTimeoutError, HttpTroubleError
from fairway.http_client.retry_after import parse_retry_after

__all__ = ["ArmSubject", "ChatMapping", "HttpAgent", "UrlSubject", "chat_mapping"]

_OUTCOME_HEADER = "fairway-outcome"
_LONGEST_WAIT_SECONDS = 5.0
_SHOWN, _SHOWN_BYTES = 200, 2_000


class ArmSubject:
    """Asks a running service, once for each question; an async context manager that closes its connections."""

    def __init__(
        self,
        url: str,
        mapping: ChatMapping,
        info: SubjectInfo,
        *,
        timeout_seconds: float = 60.0,
        headers: Mapping[str, str] | None = None,
        http: HttpClient | None = None,
    ) -> None:
        """Prepare to ask.

        Args:
            url: Of the service; the mapping's path is below it.
            mapping: How it is talked to.
            info: Who it is.
            timeout_seconds: Of one turn.
            headers: Of every request (an authorization).
            http: ``None``: its own; this machine and what the addresses name are asked directly, never by a proxy.
        """
        self._base = url.rstrip("/")
        self._url = self._base + "/" + mapping.path.lstrip("/") if mapping.path else url
        self._mapping = mapping
        self._info = info
        self._http = http or HttpClient(timeout_seconds=timeout_seconds)
        self._timeout = timeout_seconds
        self._headers = dict(headers or {})

    @property
    def info(self) -> SubjectInfo:
        """Who it is."""
        return self._info

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def ask(self, question: Question) -> Reply:
        """The reply to the last turn; the service remembers the ones before by the conversation's id.

        Raises:
            BusyError: 429 or 503: the service says that it did nothing.
            TransientError: Unreachable, too slow, or another 5xx.
            PermanentError: Another status, or an answer the mapping does not fit.
        """
        mapping = self._mapping
        headers = self._headers
        if mapping.thread_header is not None:
            headers = {**headers, mapping.thread_header: question.thread}
        started = time.monotonic()
        response = await self._sent(request_body(question, mapping), headers)
        latency = time.monotonic() - started
        _check_status(response)
        try:
            body = json.loads(response.body)
        except (ValueError, RecursionError) as error:
            raise PermanentError("the agent's answer is not JSON", code="agent_answer") from error
        outcome = parse_outcome(response.headers.get(_OUTCOME_HEADER))
        reply = read_reply(body, mapping, outcome, latency_seconds=latency)
        return reply if mapping.state_path is None else await self._with_state(reply, mapping.state_path, question)

    async def _sent(self, body: dict[str, Any], headers: Mapping[str, str]) -> HttpResponse:
        data = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
        try:
            return await self._http.post(self._url, data, headers=headers, timeout_seconds=self._timeout)
        except FairwayError as error:
            raise _agent_error(error) from error

    async def _with_state(self, reply: Reply, path: str, question: Question) -> Reply:
        """The reply with what the service says it left behind; a state that cannot be had is unknown."""
        url = self._base + "/" + path.replace("{thread}", question.thread).lstrip("/")
        try:
            response = await self._http.get(url, headers=self._headers, timeout_seconds=self._timeout)
            state = readable(json.loads(response.body)) if response.status == 200 else None
        except (FairwayError, ValueError, RecursionError):
            state = None
        return replace(reply, state=state)


def _plain(mapping: ChatMapping) -> dict[str, Any]:
    return {field.name: getattr(mapping, field.name) for field in fields(mapping)}


def _without_path(mapping: ChatMapping) -> ChatMapping:
    return replace(mapping, path="")


def _agent_error(error: FairwayError) -> FairwayError:
    if isinstance(error, HttpTimeoutError):
        return TransientError("the agent did not answer in time", code="agent_timeout")
    if isinstance(error, HttpTroubleError):
        return TransientError(f"the agent cannot be reached ({error.message})", code="agent_unreachable")
    if isinstance(error, HttpAddressError | HttpAnswerError):
        return PermanentError(error.message, code="agent_answer")
    return error


def _check_status(response: HttpResponse) -> None:
    status = response.status
    if status in (429, 503):
        wait = parse_retry_after(response.headers.get("retry-after"), now=time.time())
        raise BusyError(f"the agent answered {status}", code="agent_unavailable", retry_after=wait)
    if status >= 500:
        raise TransientError(f"the agent answered {status}{_why(response.body)}", code="agent_unavailable")
    if status != 200:
        near = "check the address of --target, or service.chat, and evals.request in fairway.yaml"
        hint = near if status in (400, 404, 405, 415, 422) else None
        raise PermanentError(f"the agent answered {status}{_why(response.body)}", code="agent_status", hint=hint)


def _why(body: bytes) -> str:
    """What it says of its trouble, shortened; nothing that holds what looks like a secret."""
    said = " ".join(plain(body[:_SHOWN_BYTES].decode("utf-8", "replace")).split())
    if not said or find_secret(body) is not None:
        return ""
    return ": " + (said if len(said) <= _SHOWN else said[: _SHOWN - 1] + "…")


class UrlSubject(ArmSubject):
    """Asks one address, just as it is written."""

    def __init__(
        self,
        url: str,
        mapping: ChatMapping,
        *,
        version: str | None = None,
        timeout_seconds: float = 60.0,
        headers: Mapping[str, str] | None = None,
        http: HttpClient | None = None,
    ) -> None:
        """Prepare to ask; arguments as of :class:`ArmSubject`.

        Args:
            url: Whole, with its path.
            mapping: Its path is not looked at.
            version: What the person says is behind it: answers of one version may come from the cache. ``None``: nobody
                knows, so none ever does.
            timeout_seconds: Of one turn.
            headers: Of every request.
            http: ``None``: its own, through the proxies the environment names.
        """
        identity = None if version is None else {"url": url, "version": version, "mapping": _plain(mapping)}
        info = SubjectInfo(kind="url", name=url, identity=identity)
        super().__init__(
            url,
            _without_path(mapping),
            info,
            timeout_seconds=timeout_seconds,
            headers=headers,
            http=http or HttpClient(timeout_seconds=timeout_seconds, proxies=True),
        )
        origin = parse_address(url).origin
        self._base = f"{origin.scheme}://{origin.authority}"  # of the state, beside the chat and not below it


class HttpAgent:
    """A chat with a service outside a run: waits out 429 and 503 as a run does, up to 5 s a time."""

    def __init__(
        self, url: str, mapping: ChatMapping, *, clock: Clock, timeout_seconds: float = 60.0, retries: int = 2
    ) -> None:
        self._subject = ArmSubject(url, mapping, SubjectInfo(kind="arm", name=url), timeout_seconds=timeout_seconds)
        rules = CallRules(retries=0, busy_retries=retries, max_wait_seconds=_LONGEST_WAIT_SECONDS)
        self._caller = Caller(limit=AdaptiveLimit(1_000, clock=clock), rules=rules, clock=clock)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._subject.__aexit__(kind, error, traceback)

    async def ask(self, message: str, *, thread: str) -> Reply:
        """One turn of a conversation; raises as :meth:`ArmSubject.ask` does."""
        question = Question(suite="", case_id="", turns=(message,), thread=thread)
        return await self._caller.call(lambda: self._subject.ask(question), cost_of=lambda reply: reply.cost_micros)
