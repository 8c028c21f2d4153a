"""Further figures of a release beside its SLA snapshot: what is unknown is ``None``, with the reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from fairway.observe.fold import ArmBlock, Block
from fairway.observe.quantile import merged, quantile, size
from fairway.traffic.table import Role
from fairway.units import Digest

BEYOND = 5
"""Values that have to lie beyond a quantile before it is told: 100 requests for a P95, 500 for a P99."""
REASONS = 10
"""Reasons of failures told, the most frequent first."""

_NO_REQUESTS = "no request was seen"
_NOT_SAID = "its agent says nothing of it in its outcomes"
_ELSEWHERE = "the gateway does not see it, and no other source reports it"


@dataclass(frozen=True, slots=True, kw_only=True)
class SlaFigures:
    """Figures and, for each that is not known, why.

    Attributes:
        values: By name; ``None``: not known.
        unknown: ``{name: reason}``, one for each ``None`` and no other.
    """

    values: Mapping[str, Any]
    unknown: Mapping[str, str]

    def to_wire(self) -> dict[str, Any]:
        """The JSON of the report: every figure, and the reasons under ``unknown``."""
        return {**self.values, "unknown": dict(self.unknown)}


@dataclass(slots=True)
class _Table:
    """Figures as they are worked out."""

    values: dict[str, Any]
    unknown: dict[str, str]

    def put(self, name: str, value: Any, why_not: str) -> None:
        self.values[name] = value
        if value is None:
            self.unknown[name] = why_not


def figures(blocks: Iterable[Block], release: Digest) -> SlaFigures:
    """What the complete blocks of a release say; gaps are left out, and what it answered as a shadow too.

    Args:
        blocks: Mature blocks.
        release: Whose requests count.
    """
    used = [
        (block.seconds, block.arms[release])
        for block in blocks
        if not block.gap and release in block.arms and block.arms[release].role is not Role.SHADOW
    ]
    arms, seconds = [arm for _, arm in used], sum(length for length, _ in used)
    table = _Table({}, {})
    requests = sum(arm.assigned for arm in arms)
    table.put("requests_per_minute", requests / seconds * 60 if seconds else None, _NO_REQUESTS)
    _quantiles(table, arms)
    _means(table, arms)
    _failures(table, arms, requests)
    for name in ("crashes", "memory_spike_ratio", "cpu", "log_errors"):
        table.put(name, None, _ELSEWHERE)
    return SlaFigures(values=table.values, unknown=table.unknown)


def _quantiles(table: _Table, arms: list[ArmBlock]) -> None:
    sources: tuple[tuple[str, Callable[[ArmBlock], Mapping[int, int]], float], ...] = (
        ("p50_latency_ms", lambda arm: arm.latency_ms, 0.5),
        ("p99_latency_ms", lambda arm: arm.latency_ms, 0.99),
        ("p95_first_byte_ms", lambda arm: arm.first_byte_ms, 0.95),
        ("p95_tokens", lambda arm: arm.tokens, 0.95),
    )
    for name, histogram, share in sources:
        bins = merged(histogram(arm) for arm in arms)
        count, least = size(bins), round(BEYOND / (1 - share))
        value = quantile(bins, share) if count >= least else None
        unsaid = _NOT_SAID if name == "p95_tokens" and arms else _NO_REQUESTS
        table.put(name, value, f"{count} values, {least} are needed" if count else unsaid)


def _means(table: _Table, arms: list[ArmBlock]) -> None:
    """Per request, of those whose agent said it; a figure nobody ever said is not known, which is not zero."""
    reported, counted = sum(arm.reported for arm in arms), size(merged(arm.tokens for arm in arms))
    silent = _NOT_SAID if arms else _NO_REQUESTS
    for name, total in (("tokens_in", "tokens_in"), ("tokens_out", "tokens_out")):
        said = counted and any(total in arm.sums for arm in arms)
        table.put(f"{name}_per_request", _sum(arms, total) / counted if said else None, silent)
    for name, total in (("iterations_per_request", "iterations"), ("tool_calls_per_request", "tools")):
        said = reported and any(total in arm.sums for arm in arms)
        table.put(name, _sum(arms, total) / reported if said else None, silent)
    for name, kind in (("cost_per_request_usd", "cost"), ("judge_score", "score"), ("user_feedback", "feedback")):
        times = _sum(arms, f"{kind}_reports")
        table.put(name, _sum(arms, f"{kind}_micros") / times / 1e6 if times else None, silent)
    tools = _sum(arms, "tools")
    table.put("tool_error_rate", _sum(arms, "tool_errors") / tools if tools else None, silent)


def _failures(table: _Table, arms: list[ArmBlock], requests: int) -> None:
    """Why requests failed, by the samples that are kept of each block: a sample, so no rate is made of it."""
    failed = sum(arm.failed for arm in arms)
    reasons = Counter(exemplar.get("reason") or "unknown" for arm in arms for exemplar in arm.exemplars)
    known = dict(reasons.most_common(REASONS)) if reasons or (requests and not failed) else None
    table.put("failure_samples", known, _NO_REQUESTS if not requests else "no failure was described")


def _sum(arms: list[ArmBlock], name: str) -> float:
    return sum(arm.sums.get(name, 0.0) for arm in arms)
