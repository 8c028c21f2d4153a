"""The Outcome of a request, as an agent reports it: ``Fairway-Outcome`` header, or an SSE comment at a stream's end.

Strict on purpose: what cannot be read whole is *unknown*, never ok. Written with the stdlib alone, because the data
plane and the agent's process both import it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum

HEADER = "Fairway-Outcome"
COMMENT_PREFIX = b": fairway-outcome"

MAX_LENGTH = 1024
"""Characters; a longer outcome is malformed."""


class OutcomeStatus(StrEnum):
    """What the agent says became of the request; only ``ok`` is success."""

    OK = "ok"
    FAILED = "failed"
    REFUSED = "refused"
    PARTIAL = "partial"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One request as its agent saw it.

    Attributes:
        status: Success is ``ok`` on a transport that was ok and complete.
        tokens_in, tokens_out: Model tokens, all calls of the request together.
        tools, tool_errors: Tool calls, and those that failed.
        iterations: Rounds of the agent's loop.
        guardrail: Guardrail hits.
        callback_failed: Callbacks that could not be delivered.
        diverged: Tool calls of a mirrored request that could not be replayed: what followed says nothing.
        model: Model that answered, ``""`` when not said.
        tokens: All of them.
        marks: What a unit is marked with by it: ``tool_error``, ``guardrail``, ``callback_failed``.
    """

    status: OutcomeStatus
    tokens_in: int = 0
    tokens_out: int = 0
    tools: int = 0
    tool_errors: int = 0
    iterations: int = 0
    guardrail: int = 0
    callback_failed: int = 0
    diverged: int = 0
    model: str = ""
    tokens: int = field(init=False, compare=False, default=0)
    marks: tuple[str, ...] = field(init=False, compare=False, default=())

    def __post_init__(self) -> None:
        """Work out once what every request with this outcome is asked for."""
        object.__setattr__(self, "tokens", self.tokens_in + self.tokens_out)
        object.__setattr__(self, "marks", tuple(mark for name, mark in _MARKS if getattr(self, name)))

    def counts(self) -> dict[str, int]:
        """The figures that are not zero, by the names telemetry sums them under."""
        return {name: value for name in _COUNTS if (value := getattr(self, name))}


_COUNTS = ("tokens_in", "tokens_out", "tools", "tool_errors", "iterations", "guardrail", "callback_failed", "diverged")
_MARKS = (("tool_errors", "tool_error"), ("guardrail", "guardrail"), ("callback_failed", "callback_failed"))
_COUNT = re.compile(r"[0-9]{1,12}")
_MODEL = re.compile(r"[A-Za-z0-9._:/@+-]{0,128}")


def parse_outcome(text: str) -> Outcome | None:
    """Read the value of the header or what follows ``: fairway-outcome`` in the comment.

    Fields are ``name=value`` separated by commas, in any order, each at most once, ``status`` required.

    Returns:
        ``None`` when anything about it is wrong: an unknown name, a repeated name, a count that is not digits.
    """
    if len(text) > MAX_LENGTH:
        return None
    fields: dict[str, str] = {}
    for part in text.split(","):
        name, equals, value = part.strip(" \t").partition("=")
        if not equals or name in fields:
            return None
        fields[name] = value
    status = fields.pop("status", None)
    model = fields.pop("model", "")
    if status not in _STATUSES or not _MODEL.fullmatch(model):
        return None
    if any(name not in _COUNTS or not _COUNT.fullmatch(value) for name, value in fields.items()):
        return None
    return Outcome(status=OutcomeStatus(status), model=model, **{name: int(value) for name, value in fields.items()})


_STATUSES = frozenset(status.value for status in OutcomeStatus)


def format_outcome(outcome: Outcome) -> str:
    """The header's value; :func:`parse_outcome` is its inverse. Zero figures are left out.

    Raises:
        ValueError: For a model name the wire cannot carry.
    """
    if not _MODEL.fullmatch(outcome.model):
        raise ValueError(f"model {outcome.model!r} cannot be written in an outcome")
    parts = [f"status={outcome.status.value}", *(f"{name}={value}" for name, value in outcome.counts().items())]
    if outcome.model:
        parts.append(f"model={outcome.model}")
    return ", ".join(parts)


def format_outcome_comment(outcome: Outcome) -> str:
    r"""The SSE comment line without its newline.

    Write it *inside* the last event's block (``data: …\n: fairway-outcome …\n\n``): a comment followed by a blank
    line of its own crashes a popular client's decoder.
    """
    return f"{COMMENT_PREFIX.decode()} {format_outcome(outcome)}"


def parse_outcome_comment(line: bytes) -> Outcome | None:
    """Read a comment line; ``None`` when it is not a well-formed outcome comment."""
    if not line.startswith(COMMENT_PREFIX + b" "):
        return None
    return parse_outcome(line[len(COMMENT_PREFIX) + 1 :].strip().decode("latin-1"))
