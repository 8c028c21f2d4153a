"""What the evaluation measures with and what it finds: cases, replies, results."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

SCORER_VERSION = "2"
"""Raised whenever the same reply could be scored differently; part of the instrument digest."""

PASS_SCORE = 0.7
"""A case passes with no violation and a score of at least this."""


class ArgumentMatch(StrEnum):
    """How the arguments of a tool call are compared.

    ``subset``: every declared argument is there with its value, others are allowed (recursively inside objects).
    ``exact``: the declared arguments and no others.
    """

    EXACT = "exact"
    SUBSET = "subset"


class ExtraTools(StrEnum):
    """What a tool call that no expectation asked for means: a violation, or only a remark."""

    FORBID = "forbid"
    ALLOW = "allow"


class TokenCount(StrEnum):
    """Which tokens a case's limit counts: everything the turn cost, or only what the model wrote."""

    TOTAL = "total"
    OUTPUT = "output"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedTool:
    """A tool call a case wants to see.

    Attributes:
        arguments: Declared argument values (JSON); ``None``: any arguments.
        tolerance: Numbers may differ by this much, absolutely; 0 is equality.
        count: How many such calls, each matched by its own call.
        relative: Numbers may differ by this share of the declared one; whichever of the two allows more.
        coerce: ``"1"`` is the number 1 and ``"true"`` is true, in both directions.
    """

    name: str
    arguments: Mapping[str, Any] | None = None
    match: ArgumentMatch = ArgumentMatch.SUBSET
    tolerance: float = 0.0
    count: int = 1
    relative: float = 0.0
    coerce: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Assertion:
    """One thing that must hold of a trial, under the name the field knows it by.

    Attributes:
        type: ``equals``, ``contains``, ``is-json``, ``tool-calls``, ``llm-rubric`` …; without ``not-``.
        negated: Written ``not-<type>``. The negation of *unknown* is unknown.
        value: What is expected, as JSON; its shape depends on the type. ``None``: the type needs none.
        threshold: Score that is needed; ``None``: the type's own rule.
        weight: Share in the trial's score, relative to the others; 0: counted in no score and fails nothing.
        metric: Name under which scores are reported together; ``None``: none.
        options: What else the type takes.
        members: For an ``assert-set``: what it consists of.
        line: Where it stands in its suite's file, 1-based; ``None``: not known.
    """

    type: str
    negated: bool = False
    value: Any = None
    threshold: float | None = None
    weight: float = 1.0
    metric: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    members: tuple[Assertion, ...] = ()
    line: int | None = None

    @property
    def name(self) -> str:
        """The type as a suite writes it."""
        return f"not-{self.type}" if self.negated else self.type


class Found(StrEnum):
    """What became of one assertion. Only HELD is a pass; the last three could not be decided and hold the gate.

    ``unknown``: what it asks for is not reported. ``invalid``: the judge gave no valid answer. ``error``: what should
    have measured it (a judge, a script, a webhook) could not be asked.
    """

    HELD = "held"
    VIOLATED = "violated"
    UNKNOWN = "unknown"
    INVALID = "invalid"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class AssertionResult:
    """What one assertion says about one trial.

    Attributes:
        type: As the suite writes it, ``not-`` included.
        score: 0 to 1; ``None``: undecided.
        message: Why it does not hold, or could not be decided; empty when it holds.
        subject: The keyword, tool or path it is about, to tie a failure to a change of a prompt; empty for the rest.
        reason: In the judge's own words; ``None``: no judge.
        detail: What a report shows besides, as JSON (unmatched pairs, votes, where the texts part).
        cost_micros: What measuring it cost, in millionths of a US dollar; ``None``: not known. 0 without a paid call.
        calls: Paid calls it took.
    """

    type: str
    found: Found
    score: float | None = None
    weight: float = 1.0
    metric: str | None = None
    message: str = ""
    subject: str = ""
    reason: str | None = None
    detail: Mapping[str, Any] | None = None
    cost_micros: int | None = 0
    calls: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One conversation and what must hold of it.

    Attributes:
        turns: What the user says, in order, on one thread; at least one.
        expected_tools: ``None``: tool calls are not checked; an empty tuple with FORBID: no call at all.
        expected_keywords: Each must be in the last reply; compared by ``assertions.case_check.normalise``.
        forbidden_keywords: None may be in any reply.
        max_tokens: Limit of tokens over all turns, counted as ``count_tokens`` says; ``None``: no limit.
        critical: A failure of this case alone fails the gate.
        repeat, at_least: Run so many times; so many must pass.
        rubric: What the judge grades by; ``None``: not judged.
        rubric_required: Without a judge the case is unknown. False for the seed format's ``expected_behavior``, which
            is documentation as long as other checks exist.
        rule: The sentence of a prompt this case protects, for the explanation of a failure.
        prompt_version: Which prompt version the case was written for; informative.
        line: Where it stands in its suite's file, 1-based; ``None``: not known.
        assertions: What must hold besides the keys above; a ``rubric`` is *not* among them.
        threshold: Weighted mean of the assertions' scores at which the trial passes although one is violated; ``None``:
            every assertion must hold.
        variables: For a bare prompt or a templated request; JSON.
        family: Cases made from one template or conversation vary together: one cluster in the gate. ``None``: the case
            stands for itself.
        max_repeat: Adaptive repeats end here; ``None``: as the run says.
    """

    id: str
    name: str
    turns: tuple[str, ...]
    expected_tools: tuple[ExpectedTool, ...] | None = None
    extra_tools: ExtraTools = ExtraTools.FORBID
    forbidden_tools: tuple[str, ...] = ()
    expected_keywords: tuple[str, ...] = ()
    forbidden_keywords: tuple[str, ...] = ()
    max_tokens: int | None = None
    count_tokens: TokenCount = TokenCount.TOTAL
    tags: tuple[str, ...] = ()
    critical: bool = False
    repeat: int = 1
    at_least: int = 1
    rubric: str | None = None
    rubric_required: bool = True
    rule: str | None = None
    prompt_version: str | None = None
    line: int | None = None
    assertions: tuple[Assertion, ...] = ()
    threshold: float | None = None
    variables: Mapping[str, Any] = field(default_factory=dict)
    family: str | None = None
    max_repeat: int | None = None

    @property
    def checks(self) -> tuple[Assertion, ...]:
        """Every assertion; a ``rubric`` is the last of them."""
        if self.rubric is None:
            return self.assertions
        return (*self.assertions, Assertion(type="llm-rubric", value=self.rubric, line=self.line))

    @property
    def has_checks(self) -> bool:
        """Whether anything but the judge looks at the reply."""
        return bool(
            self.expected_keywords
            or self.forbidden_keywords
            or self.forbidden_tools
            or self.expected_tools
            or (self.expected_tools is not None and self.extra_tools is ExtraTools.FORBID)
            or self.max_tokens is not None
            or self.assertions
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """Cases of one file, in the file's order; ``file`` is relative to the project."""

    name: str
    file: str
    cases: tuple[Case, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A call the agent says it made; ``malformed`` says why its arguments could not be read."""

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    malformed: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What the agent answered to one turn.

    Attributes:
        tools: ``None``: the agent does not say which tools it called.
        tokens_in, tokens_out: ``None``: not reported.
        status: The agent's own word (``ok``, ``failed``, ``refused``, ``partial``); ``None``: not reported.
        state: The state the agent left behind after this turn, as JSON, for outcome checks; ``None``: not reported.
        cost_micros: Millionths of a US dollar; ``None``: neither reported nor computable from a price.
        latency_seconds: From the request to the last byte, without waiting for a retry; ``None``: not measured.
        finish_reason: ``stop``, ``length``, ``tool_calls`` …; ``None``: not said.
        model: What the provider says it ran; ``None``: not said.
        context: Passages the agent says it answered from, for groundedness; ``None``: it does not say.
    """

    text: str
    tools: tuple[ToolCall, ...] | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    status: str | None = None
    state: Any = None
    cost_micros: int | None = None
    latency_seconds: float | None = None
    finish_reason: str | None = None
    model: str | None = None
    context: tuple[str, ...] | None = None


class CaseOutcome(StrEnum):
    """How a case ended. Only PASSED is a pass; the last three could not be decided and hold the gate."""

    PASSED = "passed"
    FAILED = "failed"
    UNKNOWN = "unknown"
    INVALID = "invalid"
    ERROR = "error"


def runs_needed(at_least: int, repeat: int, played: int) -> int:
    """How many of a case's runs must pass: ``at_least`` of ``repeat``, of more runs than planned the same share.

    So a failure is never washed out by running again (attempts, adaptive repeats).
    """
    return math.ceil(at_least * max(played, repeat) / repeat - 1e-9)


UNDECIDED = (CaseOutcome.ERROR, CaseOutcome.INVALID, CaseOutcome.UNKNOWN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """Something that does not hold.

    Attributes:
        check: ``keyword/missing``, ``keyword/forbidden``, ``tool/missing``, ``tool/extra``, ``tool/forbidden``,
            ``tool/malformed``, ``tokens/over``, ``response/empty``, ``response/failed``, ``judge/score``, or
            ``assert/<type>`` of an assertion.
        subject: The keyword or tool it is about; empty for the rest.
    """

    check: str
    message: str
    subject: str = ""

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseResult:
    """What was found about one case.

    Attributes:
        token_count: Tokens over all turns as the case counts them; ``None``: not reported.
        score: 0 to 1: the judge's, or without a judge the share of checks that hold; ``None``: undecided.
        undecided: Why it could not be decided, for UNKNOWN, INVALID and ERROR.
        notes: Remarks that decide nothing (an extra call that is allowed).
        runs, runs_passed: How often it ran and passed.
        tools_expected, tools_met: Expected tool calls over all runs that could be checked, and how many were made.
        assertions: What each of the case's assertions says, of the run that is shown.
        cost_micros: Of all runs, judges not included, in millionths of a US dollar; ``None``: not known.
    """

    suite: str
    case_id: str
    name: str
    outcome: CaseOutcome
    critical: bool = False
    rule: str | None = None
    tools_called: tuple[str, ...] = ()
    response_preview: str = ""
    token_count: int | None = None
    violations: tuple[Violation, ...] = ()
    score: float | None = None
    undecided: str | None = None
    notes: tuple[str, ...] = ()
    judge_reason: str | None = None
    duration_seconds: float = 0.0
    runs: int = 1
    runs_passed: int = 0
    tools_expected: int = 0
    tools_met: int = 0
    assertions: tuple[AssertionResult, ...] = ()
    cost_micros: int | None = None

    @property
    def passed(self) -> bool:
        """True only for PASSED."""
        return self.outcome is CaseOutcome.PASSED

    def to_json(self) -> dict[str, Any]:
        """The result as files and reports carry it."""
        return {
            "case_id": self.case_id,
            "suite": self.suite,
            "name": self.name,
            "passed": self.passed,
            "outcome": self.outcome.value,
            "critical": self.critical,
            "tools_called": list(self.tools_called),
            "response_preview": self.response_preview,
            "token_count": self.token_count,
            "violations": [violation.message for violation in self.violations],
            "checks": [violation.check for violation in self.violations],
            "score": self.score,
            "undecided": self.undecided,
            "notes": list(self.notes),
            "judge_reason": self.judge_reason,
            "duration_seconds": round(self.duration_seconds, 3),
            "runs": self.runs,
            "runs_passed": self.runs_passed,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """Every case's result, in the order of the suites' files."""

    details: tuple[CaseResult, ...]

    def count(self, *outcomes: CaseOutcome) -> int:
        """How many cases ended in one of ``outcomes``."""
        return sum(result.outcome in outcomes for result in self.details)

    @property
    def pass_rate(self) -> float | None:
        """Passed over all cases; ``None`` without cases."""
        return self.count(CaseOutcome.PASSED) / len(self.details) if self.details else None

    @property
    def tool_accuracy(self) -> float | None:
        """Share of expected tool calls that were made; ``None`` when none was expected or could be checked."""
        expected = sum(result.tools_expected for result in self.details)
        return sum(result.tools_met for result in self.details) / expected if expected else None

    def to_json(self) -> dict[str, Any]:
        """``{total, passed, failed, errors, pass_rate, details}`` and the two other undecided counts."""
        return {
            "total": len(self.details),
            "passed": self.count(CaseOutcome.PASSED),
            "failed": self.count(CaseOutcome.FAILED),
            "errors": self.count(CaseOutcome.ERROR),
            "invalid": self.count(CaseOutcome.INVALID),
            "unknown": self.count(CaseOutcome.UNKNOWN),
            "pass_rate": self.pass_rate,
            "tool_accuracy": self.tool_accuracy,
            "details": [result.to_json() for result in self.details],
        }
