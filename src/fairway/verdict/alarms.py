# ruff: noqa: RUF002 - Greek letters stand as in the papers
"""What stops a rollout beside its gates: triggers, the exposure budget, the sample ratio. Pure, over mature blocks.

A trigger fires when its point rule holds *and* the candidate is shown to fail (be slow) more often than concurrent
stable *and* stable does not break the rule as well. The rule alone would fire in 78 % of healthy hours at five
requests a minute; the evidence is T1 at ratio 1 (:mod:`fairway.stats.logrank`) with late onset, one process for
failures and one for latency, each with half of the triggers' α: a lower bound of the excess above 0 is the same as an
e-value of 1/α. However many rules read one process, they err together in at most its α.

The sample ratio compares the first-seen hash-assigned units of each block with the split in force
(:mod:`fairway.stats.multinomial`). What it finds is a fault of the experiment, not of the candidate: it pauses.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from fairway.observe.fold import Block
from fairway.observe.quantile import merged, quantile
from fairway.stats.multinomial import log_e_split
from fairway.units import WHOLE, Digest, format_share
from fairway.verdict.gates import observe_sight, start
from fairway.verdict.recent import units_of, window
from fairway.verdict.sight import Sight
from fairway.verdict.tally import GateState
from fairway.verdict.values import Alarm, AlarmAction, AlarmPolicy, GateKind, GateSpec

PROCESSES = 2
"""T1 on failures and T1 on slow units: the triggers' alpha is divided by it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleRatio:
    """First-seen units by the split they were assigned under.

    Attributes:
        counts: ``(split, candidate, stable)``.
        log_e: Natural log of the e-value against "units were assigned as the splits say".
    """

    counts: tuple[tuple[int, int, int], ...] = ()
    log_e: float = 0.0

    def with_units(self, split: int, candidate: int, stable: int) -> SampleRatio:
        """With more units under that split."""
        counts = {known: (ours, theirs) for known, ours, theirs in self.counts}
        ours, theirs = counts.get(split, (0, 0))
        counts[split] = ours + candidate, theirs + stable
        logs = [log_e_split(both, (known / WHOLE, 1 - known / WHOLE)) for known, both in counts.items()]
        return SampleRatio(counts=tuple((known, *both) for known, both in counts.items()), log_e=math.fsum(logs))


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmState:
    """What the alarms have seen: T1 on failures, T1 on units beyond the latency limit, first-seen units."""

    failures: GateState = field(default_factory=GateState)
    slow: GateState = field(default_factory=GateState)
    sample: SampleRatio = field(default_factory=SampleRatio)


@lru_cache(maxsize=64)
def _excess(policy: AlarmPolicy, kind: GateKind) -> GateSpec:
    return GateSpec(
        name=kind.value,
        kind=kind,
        margin=1.0,
        alpha_fail=policy.alpha / PROCESSES,
        alpha_pass=1e-9,
        minimum_units=policy.minimum_units,
        stages=policy.stages,
    )


def start_alarms(policy: AlarmPolicy, *, since: float | None = None) -> AlarmState:
    """The state before any block; blocks before ``since`` (epoch seconds) only teach which units are old."""
    return AlarmState(
        failures=start(_excess(policy, GateKind.EXCESS_FAILURES), since=since),
        slow=start(_excess(policy, GateKind.EXCESS_SLOW), since=since),
    )


def observe_alarms(policy: AlarmPolicy, state: AlarmState, sight: Sight) -> AlarmState:
    """The state with one more block; one not newer than the newest changes nothing."""
    last = state.failures.last_t0
    if last is not None and sight.block.t0 <= last:
        return state
    slow = state.slow
    if policy.latency_ms is not None:
        slow = observe_sight(_excess(policy, GateKind.EXCESS_SLOW), slow, sight)
    return AlarmState(
        failures=observe_sight(_excess(policy, GateKind.EXCESS_FAILURES), state.failures, sight),
        slow=slow,
        sample=_sampled(policy, state, sight),
    )


def _sampled(policy: AlarmPolicy, state: AlarmState, sight: Sight) -> SampleRatio:
    block, since = sight.block, state.failures.since
    early = since is not None and block.t0 < since
    if early or not policy.sample_ratio or not block.comparable or not block.split or block.split >= WHOLE:
        return state.sample
    ours = sight.born(sight.candidate, sight.candidate.active)
    theirs = sight.born(sight.stable, sight.stable.active)
    return state.sample.with_units(block.split, len(ours), len(theirs)) if ours or theirs else state.sample


def find_alarms(
    policy: AlarmPolicy, state: AlarmState, blocks: Sequence[Block], *, candidate: Digest, stable: Digest
) -> tuple[Alarm, ...]:
    """What is alarming now; nothing while a shared cause explains it is the caller's to see to.

    Args:
        policy: Limits and windows.
        state: After the newest of the blocks.
        blocks: Mature blocks since the first exposure, in order of ``t0``.
        candidate: Release on trial.
        stable: Release it is compared with.
    """
    failing, slow = state.failures.evidence.failed is not None, state.slow.evidence.failed is not None
    found: list[Alarm | None] = []
    usable = []
    if failing or slow:
        usable = [block for block in blocks if block.comparable and candidate in block.arms and stable in block.arms]
    if failing:
        found.append(_error_rate(policy, usable, candidate, stable))
        found.append(_failed_traces(policy, usable, candidate, stable))
        found.append(_exposure(policy, state))
    if slow:
        found.append(_latency(policy, usable, candidate, stable))
    found.append(_sample_ratio(policy, state.sample))
    return tuple(alarm for alarm in found if alarm is not None)


def _rolls_back(name: str, reason: str) -> Alarm:
    return Alarm(name=name, action=AlarmAction.ROLL_BACK, reason=reason)


def _error_rate(policy: AlarmPolicy, blocks: Sequence[Block], candidate: Digest, stable: Digest) -> Alarm | None:
    recent = window(blocks, policy.error_window)
    if policy.error_rate is None or not recent:
        return None
    failed, units = units_of(block.arms[candidate] for block in recent)
    failed_stable, units_stable = units_of(block.arms[stable] for block in recent)
    if len(units) < policy.minimum_units or len(failed) <= policy.error_rate * len(units):
        return None
    if len(failed_stable) > policy.error_rate * len(units_stable):
        return None  # a shared cause
    return _rolls_back(
        "error_rate",
        f"{len(failed):,} of {len(units):,} candidate conversations failed in the last {policy.error_window:g} s"
        f" ({len(failed) / len(units):.1%}, the limit is {policy.error_rate:.1%}),"
        f" {len(failed_stable):,} of {len(units_stable):,} on stable",
    )


def _latency(policy: AlarmPolicy, blocks: Sequence[Block], candidate: Digest, stable: Digest) -> Alarm | None:
    recent = window(blocks, policy.latency_window)
    if policy.latency_ms is None or not recent:
        return None
    ours = quantile(merged(block.arms[candidate].latency_ms for block in recent), 0.95)
    theirs = quantile(merged(block.arms[stable].latency_ms for block in recent), 0.95)
    if ours is None or theirs is None or ours <= policy.latency_ms or theirs > policy.latency_ms:
        return None
    return _rolls_back(
        "latency",
        f"P95 of the candidate was {ours:,.0f} ms in the last {policy.latency_window:g} s,"
        f" the limit is {policy.latency_ms:,.0f} ms; {theirs:,.0f} ms on stable",
    )


def _failed_traces(policy: AlarmPolicy, blocks: Sequence[Block], candidate: Digest, stable: Digest) -> Alarm | None:
    if policy.failed_traces is None:
        return None
    failed, expected = 0, 0.0
    for block in blocks:
        ours, theirs = block.arms[candidate], block.arms[stable]
        failed += ours.failed
        expected += ours.assigned * theirs.failed / max(1, theirs.assigned)
    if failed - expected < policy.failed_traces:
        return None
    return _rolls_back(
        "failed_traces",
        f"{failed:,} requests of the candidate failed, {failed - expected:,.0f} more than at stable's rate"
        f" (the limit is {policy.failed_traces:,})",
    )


def _exposure(policy: AlarmPolicy, state: AlarmState) -> Alarm | None:
    evidence = state.failures.evidence
    excess = evidence.bad - evidence.expected_bad
    if policy.exposure is None or excess < policy.exposure:
        return None
    return _rolls_back(
        "exposure_budget",
        f"{evidence.bad:,} candidate conversations failed, {excess:,.0f} more than at stable's rate"
        f" (the budget is {policy.exposure:,})",
    )


def _sample_ratio(policy: AlarmPolicy, sample: SampleRatio) -> Alarm | None:
    if not policy.sample_ratio or sample.log_e < -math.log(policy.sample_alpha):
        return None
    told = ", ".join(
        f"{ours:,} of {ours + theirs:,} new conversations at a split of {format_share(split)}"
        for split, ours, theirs in sample.counts
    )
    return Alarm(
        name="sample_ratio",
        action=AlarmAction.PAUSE,
        reason=f"the split does not arrive as told: {told} on the candidate (e-value ≥ {1 / policy.sample_alpha:g});"
        " what is compared may not be comparable",
    )
