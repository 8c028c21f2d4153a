"""Triggers after the promotion, when nothing serves beside the release that it could be compared with. Pure.

A trigger fires when its point rule holds *and* the shares of bad units of the soak's blocks are shown to be above its
limit (:mod:`fairway.stats.share_process`). It goes back where stable kept the limit before the promotion: an agent that
takes eight seconds by custom is not left for taking them. Where stable broke the limit in most windows of the trigger's
own length then, or where nobody knows, it pauses for a person: nothing here tells a custom from something much worse.
What the former stable still serves - the conversations that began on it - tells
an outage from a bad release: where it breaks the limit now, the alarm pauses too. Where it serves nothing any more,
nothing can tell them apart; the trigger then goes back, because a release that answers badly for minutes is to be left
at once, and the one before did not. A first release has no stable before it: its gates alone speak.

Error bound: :data:`SOAK_SHARE` of the triggers' alpha for a release whose shares are at the limits, much less for one
below; it is spent beside that of the steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from fairway.observe.blocks import bin_value
from fairway.observe.fold import ArmBlock, Block
from fairway.observe.quantile import merged, quantile
from fairway.stats.share_process import ShareProcess
from fairway.units import Digest
from fairway.verdict.recent import units_of, window
from fairway.verdict.values import Alarm, AlarmAction, AlarmPolicy

SOAK_SHARE = 0.1
"""Of the triggers' alpha, what those of the soak may err with together, beside it."""

_PROCESSES = 2
_P95 = 0.95
_TIMES = 100
"""Finished requests of stable before anything is said of its P95."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Before:
    """Whether the former stable kept each limit before the promotion.

    ``False``: it broke it by custom, in most windows of the trigger's length; ``None``: too little is known.
    """

    error_rate: bool | None = None
    latency: bool | None = None


UNKNOWN_BEFORE = Before()


def stood_before(policy: AlarmPolicy, blocks: Iterable[Block], former: Digest) -> Before:
    """What stable was like before a soak.

    A limit is one for a window: over an hour a user who comes back often has failed sometime, and four slow minutes
    make a slow P95. So stable is judged by as many windows of that length as there are.

    Args:
        policy: The limits, and the windows they are for.
        blocks: Comparable ones before the promotion, in order of ``t0``; those of an outage after it are no custom.
        former: What was stable then.
    """
    served = [block for block in blocks if former in block.arms]
    return Before(
        error_rate=_kept(served, former, policy.error_window, lambda arms: _rate_kept(policy, arms)),
        latency=_kept(served, former, policy.latency_window, lambda arms: _latency_kept(policy, arms)),
    )


def _kept(
    blocks: Sequence[Block], former: Digest, seconds: float, kept: Callable[[Sequence[ArmBlock]], bool | None]
) -> bool | None:
    """Whether a limit was kept in at least half of the windows, newest first; ``None``: none could be judged.

    A window lasts until it has enough in it as well. What is left over counts where it is all there is.
    """
    told: list[bool] = []
    arms: list[ArmBlock] = []
    length = 0.0
    for block in reversed(blocks):
        arms.append(block.arms[former])
        length += block.seconds
        said = kept(arms) if length >= seconds else None
        if said is not None:
            told.append(said)
            arms, length = [], 0.0
    if not told:
        return kept(arms)
    return 2 * sum(told) >= len(told)


def _rate_kept(policy: AlarmPolicy, arms: Sequence[ArmBlock]) -> bool | None:
    failed, units = units_of(arms)
    limit = policy.error_rate
    return None if limit is None or len(units) < policy.minimum_units else len(failed) <= limit * len(units)


def _latency_kept(policy: AlarmPolicy, arms: Sequence[ArmBlock]) -> bool | None:
    times = merged(arm.latency_ms for arm in arms)
    p95 = quantile(times, _P95) if sum(times.values()) >= _TIMES else None
    return None if policy.latency_ms is None or p95 is None else p95 <= policy.latency_ms


@dataclass(slots=True, kw_only=True)
class SoakWatch:
    """The triggers of one soak, and how far they have read.

    Attributes:
        candidate: Stable by now.
        former: What was stable before; ``None`` for a first release, of which these triggers say nothing.
        policy: Limits and windows; a limit of ``None`` switches that trigger off.
        before: Whether the former stable kept the limits.
    """

    candidate: Digest
    former: Digest | None
    policy: AlarmPolicy
    before: Before = UNKNOWN_BEFORE
    _failures: ShareProcess | None = None
    _slow: ShareProcess | None = None
    _upto: float = field(default=float("-inf"))

    def alarming(self, blocks: Sequence[Block]) -> tuple[Alarm, ...]:
        """What is alarming now.

        Args:
            blocks: Mature, comparable blocks since the soak began, in order of ``t0``; those seen before are not read
                again.
        """
        if self.former is None:
            return ()
        usable = [block for block in blocks if self.candidate in block.arms]
        for block in usable:
            if block.t0 > self._upto:
                self._take(block.arms[self.candidate])
                self._upto = block.t0
        alpha = self.policy.alpha * SOAK_SHARE / _PROCESSES
        found: list[Alarm | None] = []
        if self._failures is not None and self._failures.shows(alpha):
            found += [self._error_rate(usable), self._failed_traces(usable)]
        if self._slow is not None and self._slow.shows(alpha):
            found.append(self._latency(usable))
        return tuple(alarm for alarm in found if alarm is not None)

    def _take(self, arm: ArmBlock) -> None:
        failed, units = units_of((arm,))
        if self.policy.error_rate is not None and units:
            known = self._failures or ShareProcess(limit=self.policy.error_rate)
            self._failures = known.with_block(len(failed) / len(units))
        timed = sum(arm.latency_ms.values())
        if self.policy.latency_ms is not None and timed:
            known = self._slow or ShareProcess(limit=1 - _P95)
            beyond = sum(count for index, count in arm.latency_ms.items() if bin_value(index) > self.policy.latency_ms)
            self._slow = known.with_block(beyond / timed)

    def _error_rate(self, blocks: Sequence[Block]) -> Alarm | None:
        limit, seconds = self.policy.error_rate, self.policy.error_window
        recent = window(blocks, seconds)
        failed, units = units_of(block.arms[self.candidate] for block in recent)
        if limit is None or len(units) < self.policy.minimum_units or len(failed) <= limit * len(units):
            return None
        told = (
            f"{len(failed):,} of {len(units):,} conversations failed in the last {seconds:g} s after the promotion"
            f" ({len(failed) / len(units):.1%}, the limit is {limit:.1%})"
        )
        return self._alarm("error_rate", told, recent, self.before.error_rate, shared=self._fails_too(recent, limit))

    def _failed_traces(self, blocks: Sequence[Block]) -> Alarm | None:
        most, limit = self.policy.failed_traces, self.policy.error_rate
        if most is None or limit is None:
            return None
        failed = sum(block.arms[self.candidate].failed for block in blocks)
        beyond = failed - limit * sum(block.arms[self.candidate].assigned for block in blocks)
        if beyond < most:
            return None
        told = (
            f"{failed:,} requests failed since the promotion, {beyond:,.0f} more than {limit:.1%} of them"
            f" (the limit is {most:,})"
        )
        return self._alarm("failed_traces", told, blocks, self.before.error_rate, shared=self._fails_too(blocks, limit))

    def _latency(self, blocks: Sequence[Block]) -> Alarm | None:
        limit, seconds = self.policy.latency_ms, self.policy.latency_window
        recent = window(blocks, seconds)
        ours = quantile(merged(block.arms[self.candidate].latency_ms for block in recent), _P95)
        if limit is None or ours is None or ours <= limit:
            return None
        theirs = quantile(merged(arm.latency_ms for arm in self._beside(recent)), _P95)
        told = f"P95 was {ours:,.0f} ms in the last {seconds:g} s after the promotion, the limit is {limit:,.0f} ms"
        shared = theirs is not None and theirs > limit
        return self._alarm("latency", told, recent, self.before.latency, shared=shared)

    def _beside(self, blocks: Sequence[Block]) -> list[ArmBlock]:
        """What the former stable did in them."""
        former = self.former
        return [] if former is None else [block.arms[former] for block in blocks if former in block.arms]

    def _fails_too(self, blocks: Sequence[Block], limit: float) -> bool:
        failed, units = units_of(self._beside(blocks))
        return len(failed) > limit * len(units)

    def _alarm(self, name: str, told: str, blocks: Sequence[Block], kept: bool | None, *, shared: bool) -> Alarm:
        if kept is False:
            text = f"{told}; stable broke that limit most of the time before the promotion: a person has to judge"
            return Alarm(name=name, action=AlarmAction.PAUSE, reason=text)
        if kept is None:
            text = f"{told}; what stable did before the promotion is not known"
            return Alarm(name=name, action=AlarmAction.PAUSE, reason=text)
        if shared:
            text = f"{told}; so it is on the former stable, which looks like an outage of both"
            return Alarm(name=name, action=AlarmAction.PAUSE, reason=text)
        if not any(arm.assigned for arm in self._beside(blocks)):
            told += "; nothing served beside it that would tell an outage from a bad release"
        return Alarm(name=name, action=AlarmAction.ROLL_BACK, reason=told)
