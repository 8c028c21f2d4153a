"""The SLA snapshot of a release: how it did in traffic, and what the policy says to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from fairway.observe.fold import ArmBlock, Block
from fairway.observe.quantile import merged, quantile
from fairway.traffic.table import Role
from fairway.units import Digest

_REPORTED = ("tokens_in", "tokens_out", "tools", "tool_errors", "iterations", "guardrail", "callback_failed")
"""Sums only an agent's own outcome reports feed: where none of them moved, nothing is known of its callbacks."""


class SlaStatus(StrEnum):
    """Where a release stands."""

    VERIFIED = "verified"
    BLOCKED = "blocked"
    WATCHING = "watching"
    ROLLBACKED = "rollbacked"
    MANUAL_REVIEW = "manual_review"


class SlaAction(StrEnum):
    """What the policy says to do."""

    ALERT = "alert"
    PAUSE = "pause"
    ROLL_BACK = "roll_back"
    MASK = "mask"
    MANUAL_REVIEW = "manual_review"
    READY_TO_PROMOTE = "ready_to_promote"


@dataclass(frozen=True, slots=True, kw_only=True)
class SlaPolicy:
    """The limits. Shares as fractions, seconds, counts of requests.

    Attributes:
        success_rate: Below it the release is blocked and its rollout stops.
        latency_factor: A P95 above this multiple of the historical one rolls back.
        failed_traces: From this many failed requests the release is masked.
        callback_fail_rate: Above it the output channel is abnormal: alert, look downstream first. ``None``: the agent
            has no callbacks, and nothing is asked of them.
        clean_seconds: Observed time without a complaint after which it is verified.
        minimum_requests: Below it nothing is concluded.
        unknown_share: Requests of unknown outcome, of all; above it a person looks, for the rate says too little.
    """

    success_rate: float = 0.99
    latency_factor: float = 1.2
    failed_traces: int = 50
    callback_fail_rate: float | None = 0.02
    clean_seconds: float = 3600.0
    minimum_requests: int = 100
    unknown_share: float = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class SlaSnapshot:
    """One snapshot. ``None`` means unknown, never zero.

    Attributes:
        success_rate: Requests that ended well, of those with a known outcome.
        p95_latency_ms: Of finished requests.
        error_trace_ratio: Failed requests, of all that were assigned.
        callback_fail_rate: Failed callbacks by request; unknown where the agent reports no outcomes.
        start_ts: When it went live; ``None``: it never did.
        requests, failed, unknown: Counts behind the rates.
        seconds: Observed, over complete blocks.
        action: ``None``: nothing to do but wait.
        reason: Why that status, one sentence.
    """

    version: str
    start_ts: datetime | None
    agent_group: str
    success_rate: float | None
    p95_latency_ms: float | None
    error_trace_ratio: float | None
    callback_fail_rate: float | None
    status: SlaStatus
    action: SlaAction | None
    requests: int = 0
    failed: int = 0
    unknown: int = 0
    seconds: float = 0.0
    reason: str = ""

    def to_wire(self) -> dict[str, Any]:
        """The JSON of the report."""
        return {
            "version": self.version,
            "start_ts": None if self.start_ts is None else self.start_ts.isoformat(),
            "agent_group": self.agent_group,
            "success_rate": self.success_rate,
            "p95_latency_ms": self.p95_latency_ms,
            "error_trace_ratio": self.error_trace_ratio,
            "callback_fail_rate": self.callback_fail_rate,
            "status": self.status.value,
            "action": None if self.action is None else self.action.value,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Counted:
    """What the complete blocks of a release say."""

    requests: int
    failed: int
    unknown: int
    seconds: float
    success_rate: float | None
    p95: float | None
    callback_fail_rate: float | None


_Judged = tuple[SlaStatus, SlaAction | None, str]


def snapshot(
    blocks: Iterable[Block],
    release: Digest,
    *,
    version: str,
    start_ts: datetime | None,
    agent_group: str,
    historical_p95_ms: float | None = None,
    policy: SlaPolicy | None = None,
    rolled_back: bool = False,
    unverified: bool = False,
) -> SlaSnapshot:
    """How a release did, from its complete blocks; what it answered as a shadow is left out.

    Args:
        blocks: Mature blocks; gaps are left out.
        release: Whose requests count.
        version: Its version, for the report.
        start_ts: When it went live; ``None``: it never did.
        agent_group: The agent, or the group of agents the report is filed under.
        historical_p95_ms: Mean P95 of the releases before (:func:`historical_p95`); ``None``: there is none to compare
            with, then latency does not block.
        policy: The limits; ``None``: the defaults.
        rolled_back: Whether it was rolled back where it served: then that is what it is, whatever the figures say.
        unverified: Whether it is a mix of former parts that no soak has proved as a whole: then no figures verify it.
    """
    counted = _count([block for block in blocks if not block.gap], release)
    status, action, reason = (
        (SlaStatus.ROLLBACKED, None, "it was rolled back")
        if rolled_back
        else _judge(policy or SlaPolicy(), counted, historical_p95_ms)
    )
    if unverified and status is SlaStatus.VERIFIED:
        status, action = SlaStatus.WATCHING, None
        reason += "; a mix of former parts, and no soak has proved it as a whole yet"
    return SlaSnapshot(
        version=version,
        start_ts=start_ts,
        agent_group=agent_group,
        success_rate=counted.success_rate,
        p95_latency_ms=counted.p95,
        error_trace_ratio=counted.failed / counted.requests if counted.requests else None,
        callback_fail_rate=counted.callback_fail_rate,
        status=status,
        action=action,
        requests=counted.requests,
        failed=counted.failed,
        unknown=counted.unknown,
        seconds=counted.seconds,
        reason=reason,
    )


def historical_p95(earlier: Iterable[SlaSnapshot]) -> float | None:
    """Mean P95 in ms of earlier releases that served well; ``None`` when none of them is known.

    A release that was blocked or rolled back is no yardstick: its latency may be why.
    """
    known = [
        one.p95_latency_ms
        for one in earlier
        if one.p95_latency_ms is not None and one.status not in (SlaStatus.BLOCKED, SlaStatus.ROLLBACKED)
    ]
    return sum(known) / len(known) if known else None


def _count(blocks: list[Block], release: Digest) -> _Counted:
    used = [
        (block.seconds, block.arms[release])
        for block in blocks
        if release in block.arms and block.arms[release].role is not Role.SHADOW
    ]
    arms = [arm for _, arm in used]
    requests = sum(arm.assigned for arm in arms)
    failed = sum(arm.failed for arm in arms)
    unknown = sum(arm.unknown for arm in arms)
    known = requests - unknown
    return _Counted(
        requests=requests,
        failed=failed,
        unknown=unknown,
        seconds=sum(seconds for seconds, _ in used),
        success_rate=1.0 - failed / known if known > 0 else None,
        p95=quantile(merged(arm.latency_ms for arm in arms), 0.95),
        callback_fail_rate=_callbacks(arms, requests),
    )


def _callbacks(arms: list[ArmBlock], requests: int) -> float | None:
    """Failed callbacks by request; unknown when the agent never reported anything."""
    reports = any(arm.sums.get(name) for arm in arms for name in _REPORTED)
    if not requests or not reports:
        return None
    return sum(arm.sums.get("callback_failed", 0.0) for arm in arms) / requests


def _judge(policy: SlaPolicy, seen: _Counted, historical: float | None) -> _Judged:
    """The gravest rule that applies; nothing is concluded from too few requests, except that many failed."""
    rate = seen.success_rate
    if seen.failed >= policy.failed_traces and (rate is None or rate < policy.success_rate):
        return SlaStatus.BLOCKED, SlaAction.MASK, f"{seen.failed} requests failed, the limit is {policy.failed_traces}"
    if seen.requests < policy.minimum_requests:
        few = f"{seen.requests} of {policy.minimum_requests} requests seen: too few to conclude anything"
        return SlaStatus.WATCHING, None, few
    if rate is None or seen.unknown > policy.unknown_share * seen.requests:
        why = f"the outcome of {seen.unknown} of {seen.requests} requests is unknown"
        return SlaStatus.MANUAL_REVIEW, SlaAction.MANUAL_REVIEW, why
    if seen.p95 is not None and historical is not None and seen.p95 > policy.latency_factor * historical:
        why = f"P95 is {seen.p95:.0f} ms, above {policy.latency_factor:g} times the historical {historical:.0f} ms"
        return SlaStatus.BLOCKED, SlaAction.ROLL_BACK, why
    if rate < policy.success_rate:
        return SlaStatus.BLOCKED, SlaAction.PAUSE, f"success is {rate:.2%}, below {policy.success_rate:.2%}"
    return _clean_so_far(policy, seen)


def _clean_so_far(policy: SlaPolicy, seen: _Counted) -> _Judged:
    """No limit is broken; verified only when everything that is asked for is known, for long enough."""
    rate = seen.callback_fail_rate
    if policy.callback_fail_rate is not None and rate is not None and rate > policy.callback_fail_rate:
        why = f"{rate:.2%} of callbacks failed: the output channel is abnormal, look downstream first"
        return SlaStatus.WATCHING, SlaAction.ALERT, why
    unknown = [
        name for name, value in (("P95", seen.p95), ("callback failures", _asked(policy, rate))) if value is None
    ]
    if unknown:
        return SlaStatus.WATCHING, None, f"nothing is known of {' and '.join(unknown)}"
    if seen.seconds < policy.clean_seconds:
        return SlaStatus.WATCHING, None, f"clean for {seen.seconds:.0f} of {policy.clean_seconds:.0f} s observed"
    return SlaStatus.VERIFIED, SlaAction.READY_TO_PROMOTE, f"clean for {seen.seconds:.0f} s observed"


def _asked(policy: SlaPolicy, rate: float | None) -> float | None:
    """The rate where it is asked for; zero where nobody asks, so that it is not missed."""
    return 0.0 if policy.callback_fail_rate is None else rate
