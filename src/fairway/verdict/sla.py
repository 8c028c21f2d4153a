"""The SLA snapshot of a release: how it did in traffic, and what the policy says to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from fairway.observe.fold import Block
from fairway.observe.quantile import merged, quantile
from fairway.units import Digest


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
        callback_fail_rate: Above it the output channel is abnormal: alert, look downstream first.
        clean_seconds: Observed time without a complaint after which it is verified.
        minimum_requests: Below it nothing is concluded.
    """

    success_rate: float = 0.99
    latency_factor: float = 1.2
    failed_traces: int = 50
    callback_fail_rate: float = 0.02
    clean_seconds: float = 3600.0
    minimum_requests: int = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class SlaSnapshot:
    """One snapshot. ``None`` means unknown, never zero.

    Attributes:
        success_rate: Requests that ended well, of those with a known outcome.
        p95_latency_ms: Of finished requests.
        error_trace_ratio: Failed requests, of all that were assigned.
        callback_fail_rate: Failed callbacks by request.
        requests, failed, unknown: Counts behind the rates.
        seconds: Observed, over complete blocks.
        action: ``None``: nothing to do but wait.
    """

    version: str
    start_ts: datetime
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

    def to_wire(self) -> dict[str, Any]:
        """The JSON of the report."""
        return {
            "version": self.version,
            "start_ts": self.start_ts.isoformat(),
            "agent_group": self.agent_group,
            "success_rate": self.success_rate,
            "p95_latency_ms": self.p95_latency_ms,
            "error_trace_ratio": self.error_trace_ratio,
            "callback_fail_rate": self.callback_fail_rate,
            "status": self.status.value,
            "action": None if self.action is None else self.action.value,
        }


def snapshot(
    blocks: Iterable[Block],
    release: Digest,
    *,
    version: str,
    start_ts: datetime,
    agent_group: str,
    historical_p95_ms: float | None = None,
    policy: SlaPolicy | None = None,
) -> SlaSnapshot:
    """How a release did, from its complete blocks.

    Args:
        blocks: Mature blocks; gaps are left out.
        release: Whose requests count.
        version: Its version, for the report.
        start_ts: When it went live.
        agent_group: The agent, or the group of agents the report is filed under.
        historical_p95_ms: P95 of the releases before; ``None``: unknown, then latency does not block.
        policy: The limits; ``None``: the defaults.
    """
    used = [block for block in blocks if not block.gap and release in block.arms]
    arms = [block.arms[release] for block in used]
    requests = sum(arm.assigned for arm in arms)
    failed = sum(arm.failed for arm in arms)
    unknown = sum(arm.unknown for arm in arms)
    known = requests - unknown
    callbacks = sum(arm.sums.get("callback_failed", 0.0) for arm in arms)
    figures = {
        "success_rate": 1.0 - failed / known if known > 0 else None,
        "p95_latency_ms": quantile(merged(arm.latency_ms for arm in arms), 0.95),
        "error_trace_ratio": failed / requests if requests else None,
        "callback_fail_rate": callbacks / requests if requests else None,
    }
    seconds = sum(block.seconds for block in used)
    status, action = _judge(
        policy or SlaPolicy(),
        requests=requests,
        failed=failed,
        seconds=seconds,
        success_rate=figures["success_rate"],
        p95=figures["p95_latency_ms"],
        historical_p95=historical_p95_ms,
        callback_fail_rate=figures["callback_fail_rate"],
    )
    return SlaSnapshot(
        version=version,
        start_ts=start_ts,
        agent_group=agent_group,
        status=status,
        action=action,
        requests=requests,
        failed=failed,
        unknown=unknown,
        seconds=seconds,
        **figures,
    )


def _judge(
    policy: SlaPolicy,
    *,
    requests: int,
    failed: int,
    seconds: float,
    success_rate: float | None,
    p95: float | None,
    historical_p95: float | None,
    callback_fail_rate: float | None,
) -> tuple[SlaStatus, SlaAction | None]:
    """The gravest rule that applies; nothing is concluded from too few requests, except that many failed."""
    if failed >= policy.failed_traces and (success_rate is None or success_rate < policy.success_rate):
        return SlaStatus.BLOCKED, SlaAction.MASK
    if requests < policy.minimum_requests:
        return SlaStatus.WATCHING, None
    if success_rate is None:
        return SlaStatus.MANUAL_REVIEW, SlaAction.MANUAL_REVIEW
    if p95 is not None and historical_p95 is not None and p95 > policy.latency_factor * historical_p95:
        return SlaStatus.BLOCKED, SlaAction.ROLL_BACK
    if success_rate < policy.success_rate:
        return SlaStatus.BLOCKED, SlaAction.PAUSE
    if callback_fail_rate is not None and callback_fail_rate > policy.callback_fail_rate:
        return SlaStatus.WATCHING, SlaAction.ALERT
    if seconds >= policy.clean_seconds:
        return SlaStatus.VERIFIED, SlaAction.READY_TO_PROMOTE
    return SlaStatus.WATCHING, None
