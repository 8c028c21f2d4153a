"""Reads what a judge answered, strictly: what is not exactly the asked form is *invalid*, never pass or fail."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from fairway.evals.plain_text import plain
from fairway.llm.values import Completion

GRADE_KEYS = ("id", "reason", "verdict")
CLAIMS_KEYS = ("id", "claims")
CLAIM_KEYS = ("claim", "reason", "source", "verdict")
NO_SOURCE = "none"

_FENCE = re.compile(r"\A```(?:json)?[ \t]*\n(.*)\n```\Z", re.DOTALL)
_SPACE = " \t\r\n"
_LONGEST_REASON = 4000
_LONGEST_CLAIM = 1000
_LONGEST_ANSWER = 1_000_000
_MOST_CLAIMS = 500
_FINISHED = "stop"


class ClaimVerdict(StrEnum):
    """Whether the passages say what a claim says, say otherwise, or do not say."""

    SUPPORTED = "supported"
    CONTRADICTED = "contradicted"
    NOT_FOUND = "not_found"


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One statement of the text under test.

    Attributes:
        source: Label of the passage that decides it (``P1``); ``none`` when no passage does.
    """

    claim: str
    reason: str
    source: str
    verdict: ClaimVerdict

    def to_json(self) -> dict[str, str]:
        """As a report lists it."""
        return {"claim": self.claim, "verdict": self.verdict.value, "source": self.source, "reason": self.reason}


@dataclass(frozen=True, slots=True, kw_only=True)
class Graded:
    """A valid grade.

    Attributes:
        claims: What the score was counted from, where the judge was asked for claims.
    """

    score: float
    grade: str
    reason: str
    attempts: int = 1
    claims: tuple[Claim, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Invalid:
    """The judge did not grade; ``problem`` says what was wrong with its answer."""

    problem: str
    attempts: int = 1


def completion_problem(completion: Completion) -> str | None:
    """Why an answer is none, whatever its text: cut off, filtered, a refusal, a tool call; ``None``: it is one."""
    finish = completion.finish_reason
    if completion.tool_calls:
        return "the judge called a tool instead of answering"
    if finish is None:
        return "the provider does not say whether the answer was finished"
    if finish != _FINISHED:
        return f"the answer ended early ({plain(finish)[:40]})"
    if not completion.text.strip():
        return "the answer is empty"
    return None


def read_grade(text: str, *, answer_id: str, scale: Mapping[str, float]) -> Graded | Invalid:
    """Read a judge's answer, strictly.

    Args:
        text: The whole answer. One Markdown fence around the whole of it is taken off; anything else is invalid.
        answer_id: The nonce the answer must repeat.
        scale: Grade words and their scores.
    """
    values = _values(text, GRADE_KEYS, answer_id)
    if isinstance(values, Invalid):
        return values
    reason, grade = values
    if not isinstance(reason, str) or not reason.strip():
        return Invalid(problem="the answer gives no reason")
    if not isinstance(grade, str) or grade not in scale:
        return Invalid(problem="the verdict is none of the scale's grades")
    return Graded(score=float(scale[grade]), grade=grade, reason=_shown(reason, _LONGEST_REASON))


def read_claims(text: str, *, answer_id: str, passages: Collection[str]) -> Graded | Invalid | None:
    """Read a list of claims, strictly; the score is the share that is supported.

    Args:
        text: The whole answer.
        answer_id: The nonce the answer must repeat.
        passages: Labels of the passages; a claim that is supported or contradicted must name one, another none.

    Returns:
        ``None``: a valid answer that lists no claim at all, so that there is nothing to count.
    """
    values = _values(text, CLAIMS_KEYS, answer_id)
    if isinstance(values, Invalid):
        return values
    listed = values[0]
    if not isinstance(listed, list) or isinstance(listed, _Pairs) or len(listed) > _MOST_CLAIMS:
        return Invalid(problem="the claims are not a list")
    claims: list[Claim] = []
    for number, entry in enumerate(listed, start=1):
        claim = _claim(entry, passages)
        if isinstance(claim, str):
            return Invalid(problem=f"claim {number}: {claim}")
        claims.append(claim)
    if not claims:
        return None
    wrong = [claim for claim in claims if claim.verdict is not ClaimVerdict.SUPPORTED]
    grade = f"{len(claims) - len(wrong)} of {len(claims)} claims supported"
    reason = "; ".join(f"{claim.verdict.value}: {claim.claim}" for claim in wrong[:5]) or grade
    return Graded(
        score=(len(claims) - len(wrong)) / len(claims),
        grade=grade,
        reason=_shown(reason, _LONGEST_REASON),
        claims=tuple(claims),
    )


def _claim(entry: object, passages: Collection[str]) -> Claim | str:
    """A claim, or what is wrong with it."""
    if not isinstance(entry, _Pairs) or tuple(key for key, _ in entry) != CLAIM_KEYS:
        return f"its keys are not exactly {', '.join(CLAIM_KEYS)} in this order"
    claim, reason, source, verdict = (value for _, value in entry)
    if not isinstance(claim, str) or not claim.strip() or not isinstance(reason, str) or not reason.strip():
        return "the claim or its reason is missing"
    if not isinstance(verdict, str) or verdict not in [word.value for word in ClaimVerdict]:
        return "its verdict is none of those asked for"
    found = ClaimVerdict(verdict)
    if not isinstance(source, str) or (found is ClaimVerdict.NOT_FOUND) != (source == NO_SOURCE):
        return "its source and its verdict contradict each other"
    if source != NO_SOURCE and source not in passages:
        return "its source is none of the passages"
    return Claim(
        claim=_shown(claim, _LONGEST_CLAIM), reason=_shown(reason, _LONGEST_CLAIM), source=source, verdict=found
    )


def _values(text: str, keys: tuple[str, ...], answer_id: str) -> tuple[Any, ...] | Invalid:
    """The values behind the nonce, when the answer is one object with exactly these keys in this order."""
    if len(text) > _LONGEST_ANSWER:
        return Invalid(problem="the answer is too long")
    stripped = text.strip(_SPACE)
    fenced = _FENCE.match(stripped)
    try:
        pairs = json.loads(fenced.group(1) if fenced else stripped, object_pairs_hook=_Pairs, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return Invalid(problem="the answer is not one JSON object")
    if not isinstance(pairs, _Pairs):
        return Invalid(problem="the answer is not a JSON object")
    if tuple(key for key, _ in pairs) != keys:
        return Invalid(problem=f"the answer's keys are not exactly {', '.join(keys)} in this order")
    given, *values = (value for _, value in pairs)
    if not isinstance(given, str) or not secrets.compare_digest(given.encode("utf-8", "replace"), answer_id.encode()):
        return Invalid(problem="the answer does not repeat its id")
    return tuple(values)


def _shown(text: str, most: int) -> str:
    return plain(text.strip())[:most]


class _Pairs(list[tuple[str, Any]]):
    """A JSON object with its order and its duplicate keys, told apart from an array."""


def _refuse(name: str) -> Any:
    raise ValueError(name)
