"""What one check found, before weight, metric and ``not-`` are applied."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fairway.evals.values import Found


@dataclass(frozen=True, slots=True)
class Finding:
    """Outcome of one check.

    Attributes:
        score: 0 to 1; ``None``: undecided.
        message: Why it does not hold, or could not be decided; empty when it holds.
        subject: The keyword, tool or path it is about; empty for the rest.
        detail: What a report shows besides, as JSON.
        unreadable: Part of what it is about cannot be read: a violation of ``not-`` as well.
    """

    found: Found
    score: float | None = None
    message: str = ""
    subject: str = ""
    detail: Mapping[str, Any] | None = None
    unreadable: bool = False


_HELD = Finding(Found.HELD, 1.0)


def held(score: float = 1.0, *, detail: Mapping[str, Any] | None = None) -> Finding:
    """It holds."""
    return _HELD if score == 1.0 and detail is None else Finding(Found.HELD, score, detail=detail)


def violated(
    message: str, *, score: float = 0.0, subject: str = "", detail: Mapping[str, Any] | None = None
) -> Finding:
    """It does not hold; the message says why."""
    return Finding(Found.VIOLATED, score, message, subject, detail)


def unknown(message: str) -> Finding:
    """What it asks for is not reported."""
    return Finding(Found.UNKNOWN, None, message)


def broken(message: str) -> Finding:
    """What should have measured it could not be asked, or the assertion itself cannot be used."""
    return Finding(Found.ERROR, None, message)


def at_least(score: float, needed: float, what: str, *, detail: Mapping[str, Any] | None = None) -> Finding:
    """Holds when a score reaches what is needed.

    A hair of binary fractions below counts as reached: 2/3 computed by another order of operations is still 2/3.
    """
    if score >= needed - 1e-12:
        return held(score, detail=detail)
    return violated(f"{what} is {score:.3g}, at least {needed:g} is needed", score=score, detail=detail)
