"""Asks Prometheus and HTTP endpoints; whatever happens on the way is an answer with a name, never an exception."""

from __future__ import annotations

import asyncio
import os
import ssl
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field

import httpx

from fairway.sources.answers import plain, read_answer, unknown
from fairway.sources.placeholders import Names, fill
from fairway.sources.values import Answered, Question, SourceAnswer, SourceGate, SourceKind

LARGEST_ANSWER = 1_048_576
"""Bytes of an answer that are read; one number needs far less."""
_ENV = "env:"


@dataclass(slots=True, kw_only=True)
class HttpAsker:
    """Implements :class:`fairway.sources.port.Asker` with HTTP: no redirects, no retries, answers of bounded size.

    Attributes:
        environ: Where ``env:NAME`` references are looked up, at each question.
    """

    environ: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)
    _tls: ssl.SSLContext | None = field(init=False, default=None, repr=False)

    async def ask(self, gate: SourceGate, names: Names, *, role: str) -> SourceAnswer:
        """Ask once."""
        question = gate.question
        filled = fill(question, names, role=role)
        if filled is None:
            return unknown(Answered.EMPTY, "there is no stable release to ask about")
        secret = _secret(question, self.environ)
        if secret is None:
            return unknown(Answered.NO_CREDENTIAL, f"{_wanted(question)} is not set where the controller runs")
        if not (secret.isascii() and secret.isprintable()):
            return unknown(Answered.NO_CREDENTIAL, f"{_wanted(question)} holds more than one line of plain characters")
        headers = {**filled.headers, **_authorization(question, secret), "Accept-Encoding": "identity"}
        url, params = filled.url, {}
        if question.kind is SourceKind.PROMETHEUS:
            url = f"{filled.url.rstrip('/')}/api/v1/query"
            params = {"query": filled.query, "timeout": f"{max(1, round(gate.timeout * 1000))}ms"}
        try:
            async with asyncio.timeout(gate.timeout):
                status, body = await self._get(url, params, headers, gate.timeout)
        except TimeoutError:
            return unknown(Answered.TIMED_OUT, f"no answer within {gate.timeout:g}s")
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            return _failed(error, secret)
        if body is None:
            return unknown(Answered.MALFORMED, f"an answer of more than {LARGEST_ANSWER:,} bytes")
        read = read_answer(
            question.kind, status=status, body=body, pointer=question.pointer, yes_or_no=gate.asks_yes_or_no
        )
        return SourceAnswer(outcome=read.outcome, value=read.value, detail=_without(read.detail, secret))

    async def _context(self, url: str) -> ssl.SSLContext:
        """With the certificates of this machine where they are needed; else one that would trust nobody."""
        if not url.lower().startswith("https:"):
            return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if self._tls is None:  # reading the certificates takes tens of milliseconds: never on the loop
            self._tls = await asyncio.to_thread(httpx.create_ssl_context)
        return self._tls

    async def _get(
        self, url: str, params: Mapping[str, str], headers: Mapping[str, str], seconds: float
    ) -> tuple[int, bytes | None]:
        tls = await self._context(url)
        # A connection a question: questions are seconds apart, and nothing is left open when the controller ends.
        async with (
            httpx.AsyncClient(verify=tls, timeout=seconds, follow_redirects=False) as client,
            client.stream("GET", url, params=params or None, headers=headers) as response,
        ):
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > LARGEST_ANSWER:
                    return response.status_code, None
            return response.status_code, bytes(body)


def _secret(question: Question, environ: Mapping[str, str]) -> str | None:
    """The credential; empty when none is needed, ``None`` when it is not there."""
    reference = question.bearer or question.password
    if not reference:
        return ""
    return environ.get(reference.removeprefix(_ENV), "").strip() or None


def _wanted(question: Question) -> str:
    return (question.bearer or question.password).removeprefix(_ENV)


def _authorization(question: Question, secret: str) -> dict[str, str]:
    if question.bearer:
        return {"Authorization": f"Bearer {secret}"}
    if question.password:
        return {"Authorization": f"Basic {b64encode(f'{question.user}:{secret}'.encode()).decode()}"}
    return {}


def _failed(error: Exception, secret: str) -> SourceAnswer:
    if isinstance(error, httpx.TimeoutException):
        return unknown(Answered.TIMED_OUT, "no answer in time")
    cause: BaseException | None = error
    seen = 0
    while cause is not None and seen < 10:
        if isinstance(cause, ssl.SSLError):
            return unknown(Answered.BAD_CERTIFICATE, _without(f"TLS failed: {plain(str(cause))}", secret))
        cause, seen = cause.__cause__ or cause.__context__, seen + 1
    # What a refused header says is not repeated: the credential stands in it.
    told = f": {error}" if isinstance(error, httpx.NetworkError | OSError) else ""
    named = plain(f"{type(error).__name__}{told}".removesuffix(": "))
    return unknown(Answered.UNREACHABLE, _without(f"it cannot be reached: {named}", secret))


def _without(text: str, secret: str) -> str:
    """A text that does not repeat a credential, whoever put it there."""
    return text.replace(secret, "[redacted]") if secret else text
