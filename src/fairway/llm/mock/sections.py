"""The keys of a scenario file; pydantic, because it is an edge. `scenario.py` compiles them."""

from __future__ import annotations

import re
import warnings
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from fairway.section import Duration, Section

PATTERN_FLAGS = re.IGNORECASE | re.DOTALL


def _pattern(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # what Python will one day read differently ([[ for instance) is a mistake
            re.compile(value, PATTERN_FLAGS)
    except (re.error, OverflowError, RecursionError, Warning) as error:
        raise ValueError(f"not a regular expression: {error}") from error
    return value


def _several(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Pattern = Annotated[str, Field(min_length=1), BeforeValidator(_pattern)]
Several = Annotated[list[str], BeforeValidator(_several)]
Probability = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class FaultKind(StrEnum):
    """What can go wrong with a model provider."""

    LATENCY = "latency"
    RATE_LIMIT = "rate_limit"
    SERVER_ERROR = "server_error"
    TRUNCATED_STREAM = "truncated_stream"
    MALFORMED_TOOL_CALL = "malformed_tool_call"


class ToolResultWhen(Section):
    """Conditions on one tool result since the last user message."""

    tool: str | None = None
    contains: str | None = None
    matches: Pattern | None = None


class When(Section):
    """All that must hold for a rule or fault to apply; what is left out is not asked.

    Attributes:
        user, user_contains: Of the last user message; one of the texts of ``user_contains`` is enough.
        conversation: Of any user message, the newest that matches gives the captures.
        tool_result: Of the newest tool result since the last user message; ``any_tool_result``: of one of them.
        called, not_called: Tools the model called since the last user message.
        offers: Tools the request must offer.
    """

    user: Pattern | None = None
    user_contains: Several = []
    conversation: Pattern | None = None
    system: Pattern | None = None
    model: Pattern | None = None
    has_tool_result: bool | None = None
    tool_result: ToolResultWhen | None = None
    any_tool_result: ToolResultWhen | None = None
    called: Several = []
    not_called: Several = []
    offers: Several = []
    requires_directive: Several = []
    missing_directive: Several = []


class ToolCall(Section):
    """One call the model asks for; texts in ``arguments`` may hold ``${references}``."""

    name: str
    arguments: dict[str, Any] = {}


class Rule(Section):
    """One behaviour: when it applies, and exactly one thing the model then does."""

    name: str | None = None
    when: When = When()
    reply: str | None = None
    tool_call: ToolCall | None = None
    tool_calls: Annotated[list[ToolCall], Field(min_length=1)] | None = None
    answer: Annotated[dict[str, Any] | None, Field(alias="json")] = None
    fault: FaultKind | None = None

    @model_validator(mode="after")
    def _one_behaviour(self) -> Rule:
        given = [
            name for name in ("reply", "tool_call", "tool_calls", "answer", "fault") if getattr(self, name) is not None
        ]
        if len(given) != 1:
            raise ValueError("a rule does exactly one of: reply, tool_call, tool_calls, json, fault")
        return self


class Latency(Section):
    """How long the model thinks before the first token, and a token."""

    median: Duration = 0.0
    p95: Duration | None = None
    per_token: Duration = 0.0

    @model_validator(mode="after")
    def _ordered(self) -> Latency:
        if self.p95 is not None and (self.p95 < self.median or self.median == 0):
            raise ValueError("p95 must not be below median, and median must be above 0 to have a spread")
        return self


class Fault(Section):
    """Something that goes wrong, with a probability, inside a window of time since the start."""

    kind: FaultKind
    name: str | None = None
    probability: Probability = 1.0
    since: Annotated[Duration, Field(alias="from")] = 0.0
    until: Duration | None = None
    when: When = When()
    retry_after: Duration = 1.0
    delay: Latency = Latency(median=1.0)
    after_chunks: Annotated[int, Field(ge=0)] = 3

    @model_validator(mode="after")
    def _window(self) -> Fault:
        if self.until is not None and self.until <= self.since:
            raise ValueError("'until' must be after 'from'")
        return self


class ScenarioFile(Section):
    """The whole file."""

    version: Literal[1]
    name: str = "scenario"
    seed: int = 0
    models: Several = ["mock"]
    latency: Latency = Latency()
    directives: dict[str, Pattern] = {}
    rules: Annotated[list[Rule], Field(min_length=1)]
    faults: list[Fault] = []


class FaultsBody(Section):
    """Body of ``POST /admin/faults``: replaces the faults switched on at run time."""

    faults: list[Fault]
