"""The Outcome of a request, as an agent reports it: ``Fairway-Outcome`` header, or an SSE comment at a stream's end.

Strict on purpose: what cannot be read whole is *unknown*, never ok. Written with the stdlib alone, because the data
plane and the agent's process both import it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from decimal import ROUND_HALF_EVEN, Decimal
from enum import StrEnum
from typing import Any

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
        shadow: 1: it was answered as a shadow, and reached no real tool.
        model: Model that answered, ``""`` when not said.
        cost: US dollars of the request, all calls together; ``None``: not said, which is not nothing.
        score: What a judge, or the agent itself, gives its answer, in [0, 1].
        feedback: What the user says of the conversation, in [0, 1]: 1 for a thumb up. The call that brings it is a
            request of the conversation, so that it reaches the arm it is about.
        counted: Whether tokens were said: true of ``tokens_in=0``, an answer that took none.
        tokens: All of them.
        marks: What a unit is marked with by it: ``tool_error``, ``guardrail``, ``callback_failed``.
        values: ``(kind, value)`` of ``cost``, ``score`` and ``feedback``, of which means are taken, as whole
            millionths: they add up the same in any order.
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
    shadow: int = 0
    model: str = ""
    cost: Decimal | None = None
    score: Decimal | None = None
    feedback: Decimal | None = None
    counted: bool = False
    tokens: int = field(init=False, compare=False, default=0)
    marks: tuple[str, ...] = field(init=False, compare=False, default=())
    values: tuple[tuple[str, int], ...] = field(init=False, compare=False, default=())

    def __post_init__(self) -> None:
        """Work out once what every request with this outcome is asked for."""
        object.__setattr__(self, "tokens", self.tokens_in + self.tokens_out)
        object.__setattr__(self, "marks", tuple(mark for name, mark in _MARKS if getattr(self, name)))
        if self.tokens and not self.counted:
            object.__setattr__(self, "counted", True)
        if self.cost is not None or self.score is not None or self.feedback is not None:
            said = [(name, _millionths(value)) for name in _DECIMALS if (value := getattr(self, name)) is not None]
            object.__setattr__(self, "values", tuple(said))

    def counts(self) -> dict[str, int]:
        """The figures that are not zero, by the names telemetry sums them under.

        Of a value the sum in millionths, and how often it was said: ``cost_micros``, ``cost_reports``.
        """
        found = self._figures()
        for kind, value in self.values:
            found[f"{kind}_micros"] = value
            found[f"{kind}_reports"] = 1
        return found

    def _figures(self) -> dict[str, int]:
        return {name: value for name in _COUNTS if (value := getattr(self, name))}


VALUE_KINDS = ("tokens", "cost", "score", "feedback")
"""What means are taken of: tokens, and the kinds of :attr:`Outcome.values`."""

_COUNTS = (
    "tokens_in", "tokens_out", "tools", "tool_errors", "iterations", "guardrail", "callback_failed", "diverged",
    "shadow",
)  # fmt: skip
_MARKS = (("tool_errors", "tool_error"), ("guardrail", "guardrail"), ("callback_failed", "callback_failed"))
_COUNT = re.compile(r"[0-9]{1,12}")
_DECIMALS = {
    "cost": re.compile(r"[0-9]{1,6}(\.[0-9]{1,20})?"),
    "score": re.compile(r"0(\.[0-9]{1,20})?|1(\.0{1,20})?"),
    "feedback": re.compile(r"0(\.[0-9]{1,20})?|1(\.0{1,20})?"),
}
"""Values with decimals, as they are written: no sign, no exponent, no word for a number."""
_FORMS = {**dict.fromkeys(_COUNTS, _COUNT), **_DECIMALS}
_MODEL = re.compile(r"[A-Za-z0-9._:/@+-]{0,128}")


def parse_outcome(text: str) -> Outcome | None:
    """Read the value of the header or what follows ``: fairway-outcome`` in the comment.

    Fields are ``name=value`` separated by commas, in any order, each at most once, ``status`` required.

    Returns:
        ``None`` when anything about it is wrong: an unknown name, a repeated name, a count that is not digits, a value
        with an exponent or a sign or beyond its range.
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
    if status is None or status not in _STATUSES or not _MODEL.fullmatch(model):
        return None
    numbers: dict[str, Any] = {}
    for name, value in fields.items():
        form = _FORMS.get(name)
        if form is None or not form.fullmatch(value):
            return None
        numbers[name] = int(value) if form is _COUNT else Decimal(value)
    counted = "tokens_in" in fields or "tokens_out" in fields
    return Outcome(status=_STATUSES[status], model=model, counted=counted, **numbers)


def _millionths(value: Decimal) -> int:
    """A value as whole millionths, rounded half to even.

    Raises:
        ValueError: For what is no number.
    """
    if not value.is_finite():
        raise ValueError(f"{value} is no value of an outcome")
    return int((value * 1_000_000).to_integral_value(ROUND_HALF_EVEN))


_STATUSES = {status.value: status for status in OutcomeStatus}


def format_outcome(outcome: Outcome) -> str:
    """The header's value; :func:`parse_outcome` is its inverse. Counts of zero are left out, values of zero are not.

    Raises:
        ValueError: For a model name or a value the wire cannot carry.
    """
    if not _MODEL.fullmatch(outcome.model):
        raise ValueError(f"model {outcome.model!r} cannot be written in an outcome")
    parts = [f"status={outcome.status.value}", *(f"{name}={value}" for name, value in outcome._figures().items())]
    if outcome.counted and not outcome.tokens:
        parts.append("tokens_in=0")
    for name, form in _DECIMALS.items():
        if (value := getattr(outcome, name)) is None:
            continue
        if not form.fullmatch(text := f"{value:f}"):
            raise ValueError(f"{name} {value} cannot be written in an outcome")
        parts.append(f"{name}={text}")
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
