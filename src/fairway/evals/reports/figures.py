"""Figures as people read them: pure."""

from __future__ import annotations

import math

UNKNOWN = "unknown"
_TIMES = "\u00d7"


def percent(share: float | None) -> str:
    """A share as per cent with one digit."""
    return UNKNOWN if share is None else f"{share:.1%}"


def points(difference: float | None) -> str:
    """A difference of shares in points, with its sign."""
    if difference is None:
        return UNKNOWN
    if not math.isfinite(difference):
        return "+∞" if difference > 0 else "-∞"
    return f"{difference * 100:+.1f}"


def times(ratio: float | None) -> str:
    """A ratio."""
    if ratio is None:
        return UNKNOWN
    return f"{_TIMES}{ratio:.2f}" if math.isfinite(ratio) else f"{_TIMES}∞"


def money(micros: float | None) -> str:
    """Millionths of a US dollar as dollars: cents, or three digits of what is less than one."""
    if micros is None:
        return UNKNOWN
    dollars = micros / 1_000_000
    return f"${dollars:,.2f}" if dollars == 0 or abs(dollars) >= 1 else f"${dollars:#.3g}"


def count(number: float | None) -> str:
    """A number of things; a mean keeps one digit."""
    if number is None:
        return UNKNOWN
    return f"{number:,.0f}" if float(number).is_integer() else f"{number:,.1f}"


def seconds(duration: float) -> str:
    """A duration, as exact as somebody would say it."""
    if duration < 60:
        return f"{duration:.1f} s"
    whole = round(duration)
    hours, rest = divmod(whole, 3600)
    return f"{hours} h {rest // 60} min" if hours else f"{rest // 60} min {rest % 60} s"


def chance(p: float) -> str:
    """A p-value with two digits; never 0."""
    return "< 0.0001" if p < 0.0001 else f"{p:.2g}"
