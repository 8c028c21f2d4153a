"""What the rules of other controllers would have decided on the same traffic. Pure; written from their documentation.

Each rule looks once a minute at one number per metric over that minute - the share of successful requests, the P95 -
and compares it with a fixed limit. Neither compares with stable, and neither asks how much one minute can say.

**Argo Rollouts** (analysis): a measurement is successful or failed by its condition; without traffic the query has no
result and the measurement is an error. Per metric: more failed measurements than ``failureLimit`` (default 0) fail
the analysis, and more than four errors in a row (``consecutiveErrorLimit``) end it with an error; either aborts the
rollout. Source: docs/features/analysis.md, and ``assessMetricStatus`` in analysis/analysis.go, where it is ``>``.

**Flagger** (canary analysis): a check fails when any metric breaks its range or has no value; failed checks are
counted over the whole analysis and never decay; at ``threshold`` the next tick rolls back. So a rollback takes at
least ``interval x threshold`` and the tick. Source: docs/gitbook/usage/how-it-works.md and ``advanceCanary`` in
pkg/controller/scheduler.go (v1.44).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from fairway.observe.fold import Block
from fairway.observe.quantile import merged, quantile
from fairway.units import Digest

INTERVAL_SECONDS = 60.0
"""Flagger's default; Argo's examples use one to five minutes."""
CONSECUTIVE_ERROR_LIMIT = 4
"""Argo's default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Minute:
    """One interval of the candidate as these rules see it.

    Attributes:
        requests, failed: Counted in the interval.
        p95_ms: ``None`` without requests.
    """

    requests: int
    failed: int
    p95_ms: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the metrics are compared with.

    Attributes:
        success: Least share of successful requests, such as .99.
        p95_ms: Highest P95; ``None``: latency is not looked at.
    """

    success: float
    p95_ms: float | None = None


def breaches(minute: Minute, limits: Limits) -> tuple[bool | None, ...]:
    """Per metric: whether the limit is broken; ``None`` where nothing was measured."""
    success = None if minute.requests == 0 else 1.0 - minute.failed / minute.requests < limits.success
    if limits.p95_ms is None:
        return (success,)
    return (success, None if minute.p95_ms is None else minute.p95_ms > limits.p95_ms)


def argo_aborts_at(minutes: Sequence[Minute], limits: Limits, *, failure_limit: int) -> int | None:
    """Number of the measurement (from 1) at which Argo Rollouts aborts; ``None`` when it does not.

    Args:
        minutes: Measurements in order.
        limits: The success conditions.
        failure_limit: ``failureLimit`` of every metric.
    """
    failed: dict[int, int] = {}
    errors: dict[int, int] = {}
    for number, minute in enumerate(minutes, start=1):
        for metric, broken in enumerate(breaches(minute, limits)):
            errors[metric] = errors.get(metric, 0) + 1 if broken is None else 0
            failed[metric] = failed.get(metric, 0) + (broken is True)
            if failed[metric] > failure_limit or errors[metric] > CONSECUTIVE_ERROR_LIMIT:
                return number
    return None


def flagger_rolls_back_at(minutes: Sequence[Minute], limits: Limits, *, threshold: int) -> int | None:
    """Number of the tick (from 1) at which Flagger rolls back; ``None`` when it does not.

    Args:
        minutes: Checks in order; the tick after the last one is not looked at.
        limits: The threshold ranges.
        threshold: Failed checks that end the analysis, seen at the tick after.
    """
    failed = 0
    for number, minute in enumerate(minutes, start=1):
        if failed >= threshold:
            return number
        if any(broken is not False for broken in breaches(minute, limits)):
            failed += 1
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A rule by name, as a table shows it."""

    name: str
    failure_limit: int | None = None
    threshold: int | None = None

    def stops_at(self, minutes: Sequence[Minute], limits: Limits) -> int | None:
        """Number of the interval at which it gives the candidate up."""
        if self.failure_limit is not None:
            return argo_aborts_at(minutes, limits, failure_limit=self.failure_limit)
        assert self.threshold is not None
        return flagger_rolls_back_at(minutes, limits, threshold=self.threshold)


RULES = (
    Rule(name="Argo, failureLimit 0", failure_limit=0),
    Rule(name="Argo, failureLimit 3", failure_limit=3),
    Rule(name="Flagger, threshold 5", threshold=5),
    Rule(name="Flagger, threshold 10", threshold=10),
)


@dataclass(slots=True, kw_only=True)
class MinuteBook:
    """Blocks of the candidate added up to intervals."""

    candidate: Digest
    minutes: list[Minute] = field(default_factory=list)
    _open: list[Block] = field(default_factory=list)

    def keep(self, block: Block) -> None:
        """One more block; an interval is closed when its blocks cover it."""
        self._open.append(block)
        if sum(each.seconds for each in self._open) < INTERVAL_SECONDS - 1e-6:
            return
        arms = [each.arms[self.candidate] for each in self._open if self.candidate in each.arms]
        self.minutes.append(
            Minute(
                requests=sum(arm.finished for arm in arms),
                failed=sum(arm.failed for arm in arms),
                p95_ms=quantile(merged(arm.latency_ms for arm in arms), 0.95),
            )
        )
        self._open.clear()
