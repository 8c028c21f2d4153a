"""What the call logs say, as JSON: what is not known is the word ``unknown``, never a number."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from fairway.costs.comparison import Compared, ReleasePair
from fairway.costs.examination import Examined
from fairway.costs.projection import Projection, ProjectionPolicy
from fairway.costs.spending import Spending, Spent

UNKNOWN = "unknown"
MOST_NAMES = 50
"""Of a dimension; of the rest their number is told."""


def logs_report(examined: Examined, policy: ProjectionPolicy) -> dict[str, Any]:
    """Everything, as ``cost.json`` and ``fairway cost report -o json`` carry it."""
    spending = examined.spending
    return {
        "window": {"since": spending.since.isoformat(), "until": spending.until.isoformat()},
        "files": list(examined.files),
        "coverage": _coverage(examined.projection, spending),
        "total": spent_json(spending.total),
        "by": {dimension: _names(spent) for dimension, spent in spending.by.items()},
        "projection": projection_json(examined.projection, policy),
        "comparison": {"verdict": "NO_DATA", "reason": "the logs do not hold two releases"}
        if examined.pair is None
        else pair_json(examined.pair),
    }


def spent_json(spent: Spent) -> dict[str, Any]:
    """One sum."""
    average = spent.micros_per_request
    return {
        "requests": spent.requests,
        "calls": spent.calls,
        "tokens": {"in": spent.tokens_in, "out": spent.tokens_out, "cached": spent.cached},
        "usd": UNKNOWN if spent.unknown else usd(spent.cost_micros),
        "usd_per_request": UNKNOWN if average is None else f"{average / 1e6:.6f}",
        "calls_of_unknown_cost": spent.unknown,
    }


def usd(micros: int) -> str:
    """Millionths of a dollar as dollars, exactly."""
    return f"{Decimal(micros) / 1_000_000:.6f}"


def projection_json(projection: Projection, policy: ProjectionPolicy) -> dict[str, Any]:
    """What is to be expected, against what."""
    interval = projection.interval
    volume = projection.requests_per_day
    return {
        "verdict": projection.verdict.value,
        "reasons": list(projection.reasons),
        "usd_per_request": _known(projection.per_request),
        "usd_per_request_95": UNKNOWN if interval is None else [str(end) for end in interval],
        "requests_per_day": UNKNOWN if volume is None else float(volume),
        "volume": "declared" if policy.requests_per_day is not None else "observed",
        "usd_per_day": _known(projection.per_day),
        "usd_per_month": _known(projection.per_month),
        "budget": {"usd_per_day": str(policy.daily), "usd_per_month": str(policy.monthly)},
    }


def pair_json(pair: ReleasePair) -> dict[str, Any]:
    """Two releases."""
    return {
        "candidate": pair.candidate,
        "baseline": pair.baseline,
        "calls_per_task": _compared(pair.calls, scale=1.0),
        "usd_per_task": _compared(pair.cost, scale=1e-6),
    }


def _compared(compared: Compared, *, scale: float) -> dict[str, Any]:
    def figure(value: float | None, scale: float = 1.0) -> float | str:
        return UNKNOWN if value is None else round(value * scale, 6)

    return {
        "verdict": compared.verdict.value,
        "reason": compared.reason,
        "candidate": figure(compared.candidate, scale),
        "baseline": figure(compared.baseline, scale),
        "ratio": figure(compared.ratio),
        "interval": UNKNOWN if compared.lower is None else [figure(compared.lower), figure(compared.upper)],
        "tasks": list(compared.tasks),
    }


def _coverage(projection: Projection, spending: Spending) -> dict[str, Any]:
    coverage = projection.coverage
    return {
        "days": coverage.days,
        "days_with_requests": coverage.days_seen,
        "requests": coverage.requests,
        "calls_of_unknown_cost": coverage.unknown,
        "models_without_price": list(spending.unpriced),
        "unreadable_rows": coverage.unreadable,
        "unreadable": [f"{row.file}:{row.line}: {row.why}" for row in spending.examples],
    }


def _names(spent: Mapping[str, Spent]) -> dict[str, Any]:
    """By name, the most expensive first; ``""`` is what the log names nobody for."""
    kept = dict(list(spent.items())[:MOST_NAMES])
    found: dict[str, Any] = {name: spent_json(one) for name, one in kept.items()}
    if len(spent) > MOST_NAMES:
        found["…"] = {"more": len(spent) - MOST_NAMES}
    return found


def _known(value: Decimal | None) -> str:
    return UNKNOWN if value is None else str(value)
