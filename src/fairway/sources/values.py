"""Custom gates, what their sources answered, and what was found; part of the ledger's values, version 1."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from fairway.units import Verdict

Guarantee = Literal["none"]
"""What is promised of a custom gate's error rates."""

STALE_TIMES = 3
"""An answer older than this many intervals (and one timeout) says nothing about now."""


class SourceKind(StrEnum):
    """Who is asked."""

    PROMETHEUS = "prometheus"
    HTTP = "http"


class OnFail(StrEnum):
    """What a custom gate that failed asks for."""

    PAUSE = "pause"
    ROLL_BACK = "roll_back"


class Answered(StrEnum):
    """What became of one question. Only :attr:`VALUE` says anything about the candidate."""

    VALUE = "value"
    EMPTY = "empty"
    """No sample: the query selects nothing now, or the figure is ``null``."""
    NOT_A_NUMBER = "not_a_number"
    """NaN: nothing divided by nothing, as a rate has it without traffic."""
    INFINITE = "infinite"
    NOT_COMPARABLE = "not_comparable"
    """Stable's figure is negative: a margin of it means nothing."""
    SEVERAL = "several_series"
    WRONG_TYPE = "wrong_type"
    """A range, a text, a histogram, or nothing at the pointer."""
    MALFORMED = "malformed"
    PARTIAL = "partial"
    """The server answered with a warning: not all of the data may have been read."""
    REFUSED = "refused"
    """A status other than 200."""
    TIMED_OUT = "timed_out"
    UNREACHABLE = "unreachable"
    BAD_CERTIFICATE = "bad_certificate"
    NO_CREDENTIAL = "no_credential"
    """The variable a credential is read from is not set."""


NO_DATA = frozenset({Answered.EMPTY, Answered.NOT_A_NUMBER, Answered.INFINITE, Answered.NOT_COMPARABLE})
"""The source works and knows nothing now; what is in neither this nor ``VALUE`` is an error of the source."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked, and of whom. Placeholders are still in it: see :mod:`fairway.sources.placeholders`.

    Attributes:
        url: Of the Prometheus server, without ``/api/v1/query``; or of the HTTP endpoint, whole.
        query: PromQL; empty for HTTP.
        stable_query: PromQL for stable, where it is not the same with another arm's names.
        pointer: Of HTTP: where in the JSON the figure stands (RFC 6901); empty: the whole of it.
        bearer, password: References (``env:NAME``) to credentials, never the credentials; empty: none.
        user: Of basic authentication.
        headers: Sent with each question; no credentials.
    """

    kind: SourceKind
    url: str
    query: str = ""
    stable_query: str = ""
    pointer: str = ""
    bearer: str = ""
    user: str = ""
    password: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceGate:
    """One custom gate of a plan: a point comparison without any statistics.

    Attributes:
        at_most, at_least: Absolute limits of the candidate's figure; ``None``: none.
        most_of_stable, least_of_stable: Limits as a ratio to stable's figure at the same time (1.1: ten percent above).
        holds_for: Seconds the limit has to hold without interruption for PASS, or to be broken for FAIL.
        every: Seconds between two questions.
        timeout: Seconds an answer may take, all of it.
        errors: Consecutive errors of the source that pause the rollout.
        guarantee: Of its error rates: none.
    """

    name: str
    question: Question
    at_most: float | None = None
    at_least: float | None = None
    most_of_stable: float | None = None
    least_of_stable: float | None = None
    holds_for: float = 60.0
    every: float = 10.0
    timeout: float = 5.0
    errors: int = 5
    on_fail: OnFail = OnFail.PAUSE
    guarantee: Guarantee = "none"

    @property
    def compares(self) -> bool:
        """Whether it needs stable's figure beside the candidate's."""
        return self.most_of_stable is not None or self.least_of_stable is not None

    @property
    def asks_yes_or_no(self) -> bool:
        """Whether the answer has to be ``true`` or ``false``: there is no limit."""
        return not self.compares and self.at_most is None and self.at_least is None

    @property
    def stale_after(self) -> float:
        """Seconds after which an answer says nothing about now."""
        return STALE_TIMES * self.every + self.timeout


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceAnswer:
    """One answer, read.

    Attributes:
        value: The figure, finite; 1 and 0 stand for true and false; ``None`` unless the outcome is ``VALUE``.
        detail: One sentence for people where there is no figure; empty otherwise.
    """

    outcome: Answered
    value: float | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceReading:
    """What the answers to one gate's question came to since its step began: what a decision looks at.

    Attributes:
        gate: Name.
        at: When the last answered question was asked, epoch seconds; ``None``: none was answered yet.
        answer: The last one, about the candidate.
        stable: The same about stable, where the gate compares.
        holds_since: Since when (epoch seconds) every answer kept the limit, without a gap; ``None``: it does not now.
        breaks_since: Since when every answer broke it.
        errors: Consecutive answers that were errors of the source.
    """

    gate: str
    at: float | None = None
    answer: SourceAnswer | None = None
    stable: SourceAnswer | None = None
    holds_since: float | None = None
    breaks_since: float | None = None
    errors: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFinding:
    """What a custom gate says now.

    Attributes:
        verdict: PASS only ever means that it does not hold the rollout.
        outcome: Of the last answer; empty before there is one.
        value, stable: Figures, where there are any.
        age: Seconds since the last answered question was asked; ``None``: none was.
        seconds: For how long the limit has been kept or broken, by the answers.
        stops: Whether its source has failed so often that a person has to look.
        on_fail: What FAIL asks for.
        guarantee: Of its error rates: none.
    """

    gate: str
    verdict: Verdict
    reason: str
    outcome: str = ""
    value: float | None = None
    stable: float | None = None
    age: float | None = None
    seconds: float = 0.0
    errors: int = 0
    stops: bool = False
    on_fail: OnFail = OnFail.PAUSE
    guarantee: Guarantee = "none"
