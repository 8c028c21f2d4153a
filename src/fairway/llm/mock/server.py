"""The model server: routes, counts, and the switches for faults at run time."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from fairway.errors import ProjectFileError
from fairway.llm.mock import wire
from fairway.llm.mock.behaviour import Completion, Refusal, respond
from fairway.llm.mock.http import HttpAnswer, HttpRequest, ModelProtocol
from fairway.llm.mock.requests import BadRequest, read_chat_request
from fairway.llm.mock.scenario import CompiledFault, Scenario, parse_faults

DRAIN_SECONDS = 5.0
_RATE_LIMIT_HEADERS = (("x-ratelimit-limit-requests", "60"), ("x-ratelimit-remaining-requests", "0"))


class MockModel:
    """Answers requests by a scenario; holds what is not a function of the request: counts and switched-on faults.

    Args:
        scenario: What the model does.
        monotonic: Seconds on a clock that only moves forward; windows of faults are measured on it.
    """

    def __init__(self, scenario: Scenario, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.scenario = scenario
        self._monotonic = monotonic
        self._started = monotonic()
        self._switched: tuple[CompiledFault, ...] = ()
        self._switched_at = self._started
        self.by_rule: Counter[str] = Counter()
        self.by_status: Counter[int] = Counter()

    def handle(self, request: HttpRequest) -> HttpAnswer:
        """The answer to one HTTP request; never raises."""
        route = self._ROUTES.get(request.path)
        if route is None:
            return _error(404, f"Invalid URL ({request.method} {request.path})", code="unknown_url")
        method = route.get(request.method)
        if method is None:
            return _error(405, f"Not allowed to {request.method} {request.path}", code="method_not_supported")
        answer = method(self, request)
        self.by_status[answer.status] += 1
        return answer

    def _chat(self, request: HttpRequest) -> HttpAnswer:
        attempt = request.headers.get("x-stainless-retry-count", "0")
        try:
            chat = read_chat_request(request.body, attempt=int(attempt) if attempt.isdigit() else 0)
        except BadRequest as error:
            refusal = Refusal(status=400, message=error.message, kind="invalid_request_error", code=error.code)
            return HttpAnswer(status=400, body=wire.error_body(refusal, param=error.param))
        said = respond(self.scenario, chat, self._faults())
        self.by_rule[said.rule or "(no rule)"] += 1
        if isinstance(said, Refusal):
            return _refused(said)
        headers = (("x-request-id", said.id), ("x-mock-rule", said.rule.encode("ascii", "replace").decode()))
        if chat.stream:
            return _streamed(said, headers, include_usage=chat.include_usage)
        return HttpAnswer(
            body=wire.completion_body(said),
            headers=headers,
            delay=said.delay + said.per_token * said.completion_tokens,
            cut_after=said.cut_after,
        )

    def _faults(self) -> list[tuple[CompiledFault, float]]:
        if not self.scenario.faults and not self._switched:
            return []
        now = self._monotonic()
        return [(fault, now - self._started) for fault in self.scenario.faults] + [
            (fault, now - self._switched_at) for fault in self._switched
        ]

    def _models(self, request: HttpRequest) -> HttpAnswer:
        return HttpAnswer(body=wire.models_body(self.scenario.models))

    def _health(self, request: HttpRequest) -> HttpAnswer:
        return HttpAnswer(body=_dump({"status": "ok", "scenario": self.scenario.name}))

    def _stats(self, request: HttpRequest) -> HttpAnswer:
        by_status = {str(status): count for status, count in sorted(self.by_status.items())}
        return HttpAnswer(body=_dump({"by_rule": dict(self.by_rule.most_common()), "by_status": by_status}))

    def _show_faults(self, request: HttpRequest) -> HttpAnswer:
        return HttpAnswer(body=_dump({"faults": [fault.name for fault in self._switched]}))

    def _switch_faults(self, request: HttpRequest) -> HttpAnswer:
        try:
            self._switched = parse_faults(request.body, self.scenario)
        except ProjectFileError as error:
            hint = error.hint or 'for example {"faults": [{"kind": "rate_limit", "until": "60s"}]}'
            return _error(400, f"{error.message}; {hint}", code="faults")
        self._switched_at = self._monotonic()
        return self._show_faults(request)

    def _clear_faults(self, request: HttpRequest) -> HttpAnswer:
        self._switched = ()
        return self._show_faults(request)

    _ROUTES: dict[str, dict[str, Callable[[MockModel, HttpRequest], HttpAnswer]]] = {
        "/v1/chat/completions": {"POST": _chat},
        "/v1/models": {"GET": _models},
        "/healthz": {"GET": _health},
        "/admin/faults": {"GET": _show_faults, "POST": _switch_faults, "DELETE": _clear_faults},
        "/admin/stats": {"GET": _stats},
    }


def _refused(refusal: Refusal) -> HttpAnswer:
    headers: tuple[tuple[str, str], ...] = ()
    if refusal.retry_after is not None:
        headers = (("Retry-After", f"{refusal.retry_after:g}"), *_RATE_LIMIT_HEADERS)
    return HttpAnswer(status=refusal.status, body=wire.error_body(refusal), headers=headers, delay=refusal.delay)


def _streamed(said: Completion, headers: tuple[tuple[str, str], ...], *, include_usage: bool) -> HttpAnswer:
    return HttpAnswer(
        events=wire.stream_events(said, include_usage=include_usage),
        content_type="text/event-stream; charset=utf-8",
        headers=(*headers, ("Cache-Control", "no-cache")),
        delay=said.delay,
        pace=said.per_token * 4,
        cut_after=said.cut_after,
    )


def _error(status: int, message: str, *, code: str) -> HttpAnswer:
    refusal = Refusal(status=status, message=message, kind="invalid_request_error", code=code)
    return HttpAnswer(status=status, body=wire.error_body(refusal))


def _dump(value: Any) -> bytes:
    return json.dumps(value).encode()


class MockModelServer:
    """A `MockModel` that listens.

    Example::

        async with MockModelServer(load_scenario(path)) as server:
            client = AsyncOpenAI(base_url=server.url, api_key="none")
    """

    def __init__(self, scenario: Scenario, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self.model = MockModel(scenario)
        self._host = host
        self._port = port
        self._server: asyncio.Server | None = None
        self._connections: set[ModelProtocol] = set()

    @property
    def port(self) -> int:
        """The port it listens on; known once started."""
        assert self._server is not None, "start it first"
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def url(self) -> str:
        """Base URL for an OpenAI client, ``http://host:port/v1``."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self.port}/v1"

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: The port is taken or may not be used.
        """
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: ModelProtocol(self.model.handle, self._connections), self._host, self._port, backlog=1024
        )

    async def stop(self) -> None:
        """Take no more connections, let running answers end (up to `DRAIN_SECONDS`), close."""
        if self._server is None:
            return
        self._server.close()
        for connection in list(self._connections):
            connection.drain()
        deadline = time.monotonic() + DRAIN_SECONDS
        while self._connections and time.monotonic() < deadline:  # noqa: ASYNC110 - seconds at most, at the end
            await asyncio.sleep(0.01)
        for connection in list(self._connections):
            connection.abort()
        self._server = None

    async def __aenter__(self) -> MockModelServer:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()


async def serve(scenario: Scenario, *, host: str, port: int, ready: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM.

    Args:
        scenario: What the model does.
        host: Address to listen on.
        port: 0 picks a free one.
        ready: Called once with the base URL.
    """
    server = MockModelServer(scenario, host=host, port=port)
    await server.start()
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    ready(server.url)
    try:
        await stopped.wait()
    finally:
        await server.stop()
