"""What a check of ``fairway doctor`` found."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class CheckStatus(StrEnum):
    """How a check ended. A warning is no reason to stop; a failure is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: Stable id.
        detail: What was found.
        hint: What to do; ``None`` when there is nothing to do.
    """

    name: str
    status: CheckStatus
    detail: str
    hint: str | None = None


def ok(name: str, detail: str) -> Check:
    """Nothing to do."""
    return Check(name=name, status=CheckStatus.OK, detail=detail)


def warn(name: str, detail: str, hint: str) -> Check:
    """Worth knowing."""
    return Check(name=name, status=CheckStatus.WARN, detail=detail, hint=hint)


def fail(name: str, detail: str, hint: str | None) -> Check:
    """In the way."""
    return Check(name=name, status=CheckStatus.FAIL, detail=detail, hint=hint)
