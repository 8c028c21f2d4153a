"""Ids, quantities and their parsers; stdlib only, imported by every layer."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import NewType

Digest = NewType("Digest", str)
"""``sha256:`` and 64 lower-case hex digits; ``dev:`` in front when it was taken from a dirty tree."""

AgentName = NewType("AgentName", str)
EnvironmentName = NewType("EnvironmentName", str)
RolloutId = NewType("RolloutId", str)
UnitHash = NewType("UnitHash", str)
"""A unit of assignment (conversation, user, tenant) as 16 hex digits of blake2b; the raw key is never kept."""

Parts = NewType("Parts", int)
"""A share in whole parts of 100,000, so that sums are exact."""

WHOLE = Parts(100_000)

_NAME = re.compile(r"^[a-z][a-z0-9-]{0,62}$")
_DIGEST = re.compile(r"^(dev:)?sha256:[0-9a-f]{64}$")
_DURATION = re.compile(r"^(?:(\d+(?:\.\d+)?)\s*(ms|s|m|h|d))(?:\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d))*$")
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PERCENT = re.compile(r"^(\d+(?:\.\d+)?)\s*%$")


class Verdict(StrEnum):
    """What a gate or a stage found. Only PASS ever opens a gate; only FAIL rolls back."""

    PASS = "PASS"  # noqa: S105 - a verdict, not a password
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"
    NO_DATA = "NO_DATA"
    ERROR = "ERROR"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class RouteId:
    """What one controller writes and one split belongs to: an agent in an environment."""

    agent: AgentName
    environment: EnvironmentName

    def __str__(self) -> str:
        return f"{self.agent}/{self.environment}"


def parse_name(text: str, *, what: str = "name") -> str:
    """Return ``text`` when it is a name Fairway can use in hosts, paths and labels.

    Raises:
        ValueError: When it is not lower-case letters, digits and dashes, starting with a letter, up to 63.
    """
    if not _NAME.match(text):
        raise ValueError(
            f"{what} {text!r} must be lower-case letters, digits and dashes, start with a letter, ≤ 63 long"
        )
    return text


def parse_digest(text: str) -> Digest:
    """Return ``text`` as a digest.

    Raises:
        ValueError: When it is not ``sha256:<64 hex>`` or ``dev:sha256:<64 hex>``.
    """
    if not _DIGEST.match(text):
        raise ValueError(f"{text!r} is not a digest (sha256: and 64 hex digits)")
    return Digest(text)


def parse_duration(text: str | float) -> float:
    """Seconds of ``"10m"``, ``"1h30m"``, ``"250ms"`` or a bare number of seconds.

    Raises:
        ValueError: On anything else, naming the units that exist.
    """
    if isinstance(text, bool):
        raise ValueError("expected a duration such as 30s, 10m or 1h30m")
    if isinstance(text, int | float):
        if text < 0 or text != text or text in (float("inf"), float("-inf")):
            raise ValueError("a duration must be a finite number of seconds, 0 or more")
        return float(text)
    stripped = text.strip()
    if not _DURATION.match(stripped):
        raise ValueError(f"{text!r} is not a duration; write for example 250ms, 30s, 10m, 1h30m or 2d")
    return sum(float(number) * _SECONDS[unit] for number, unit in _DURATION_PART.findall(stripped))


def parse_share(text: str | float) -> Parts:
    """Parts of 100,000 of ``"5%"`` or of a fraction such as ``0.05``.

    Raises:
        ValueError: Outside 0-100 %, finer than 0.001 %, or a bare number above 1 (5 is ambiguous: write 5%).
    """
    if isinstance(text, bool):
        raise ValueError("expected a share such as 5%")
    if isinstance(text, str):
        match = _PERCENT.match(text.strip())
        if not match:
            raise ValueError(f"{text!r} is not a share; write for example 5% or 0.05")
        parts = float(match.group(1)) * WHOLE / 100
    else:
        if text > 1:
            raise ValueError(f"{text} is ambiguous as a share; write {text:g}% or a fraction between 0 and 1")
        parts = float(text) * WHOLE
    whole = round(parts)
    if not 0 <= whole <= WHOLE or abs(parts - whole) > 1e-6:
        raise ValueError(f"a share must be between 0% and 100% in steps of 0.001%, got {text!r}")
    return Parts(whole)


def format_share(parts: int) -> str:
    """``5000`` as ``5%``; up to three decimals, no trailing zeros."""
    return f"{parts * 100 / WHOLE:.3f}".rstrip("0").rstrip(".") + "%"


def format_duration(seconds: float) -> str:
    """``90`` as ``1m30s``, ``0.25`` as ``250ms``; for people, rounded to what they read."""
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    if seconds < 60:
        return f"{seconds:.1f}".rstrip("0").rstrip(".") + "s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}m{rest}s" if rest else f"{minutes}m"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m" if minutes else f"{hours}h"


def short(digest: str) -> str:
    """The first eight hex digits of a digest, as reports show it (``dev:`` kept)."""
    prefix = "dev:" if digest.startswith("dev:") else ""
    return prefix + digest.removeprefix("dev:").removeprefix("sha256:")[:8]
