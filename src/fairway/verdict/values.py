"""Gates and what they find."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from fairway.units import Verdict


class GateKind(StrEnum):
    """What a gate looks at; ``fairway.verdict.kinds`` says by which test.

    Against concurrent stable, ``margin`` in points (0.05 = 5 points): ``failures`` (a failed request), ``unknown`` (a
    request of unknown outcome), ``guardrail`` (a guardrail hit).
    Against concurrent stable, ``margin`` a ratio (1.1 = +10 %): ``latency_p95``, ``latency_p99``, ``first_byte_p95``,
    ``tokens_p95``; ``latency_p95_last`` is the P95 against the plan's last margin, at every step.
    The mean of what agents say of a request, against concurrent stable: ``cost_mean`` and ``tokens_mean``, ``margin`` a
    ratio; ``score_mean`` and ``feedback_mean``, ``margin`` in points below stable.
    Absolute: ``success``, share of units without a failure, ``margin`` the least (0.995); ``tool_errors``,
    ``callback_failures`` and ``loops`` (requests that ran into the limit of iterations), share of units, ``margin`` the
    most (0.03).
    For the triggers, against concurrent stable without a margin: ``excess_failures``, ``excess_slow``.
    """

    FAILURES = "failures"
    UNKNOWN = "unknown"
    GUARDRAIL = "guardrail"
    LATENCY_P95 = "latency_p95"
    LATENCY_P95_LAST = "latency_p95_last"
    LATENCY_P99 = "latency_p99"
    FIRST_BYTE_P95 = "first_byte_p95"
    TOKENS_P95 = "tokens_p95"
    SUCCESS = "success"
    TOOL_ERRORS = "tool_errors"
    CALLBACK_FAILURES = "callback_failures"
    LOOPS = "loops"
    COST_MEAN = "cost_mean"
    TOKENS_MEAN = "tokens_mean"
    SCORE_MEAN = "score_mean"
    FEEDBACK_MEAN = "feedback_mean"
    EXCESS_FAILURES = "excess_failures"
    EXCESS_SLOW = "excess_slow"

    # Looked up for every block: that of an enum is a call, this one is not.
    __hash__ = str.__hash__


ABSOLUTE_KINDS = frozenset({GateKind.SUCCESS, GateKind.TOOL_ERRORS, GateKind.CALLBACK_FAILURES, GateKind.LOOPS})


MEAN_KINDS = frozenset({GateKind.COST_MEAN, GateKind.TOKENS_MEAN, GateKind.SCORE_MEAN, GateKind.FEEDBACK_MEAN})
"""Judged by :mod:`fairway.verdict.means`."""


class Scope(StrEnum):
    """Against what a gate compares."""

    CONCURRENT = "concurrent"
    ABSOLUTE = "absolute"


@dataclass(frozen=True, slots=True, kw_only=True)
class GateSpec:
    """One gate of one step.

    Attributes:
        name: Unique within the step.
        margin: In the unit of ``kind``.
        fail_margin: Margin towards FAIL, for those in points; ``None``: the same. A plan sets it to its last margin:
            what is shown to be worse than that can never be finished, so nobody needs to meet it any longer.
        alpha_fail, alpha_pass: Error bounds of this gate (type I of FAIL and of PASS).
        must_pass: Whether the step needs PASS from this gate; otherwise it only must not FAIL.
        minimum_units: Units of each arm before any verdict but NO_DATA.
        from_step: Accumulate evidence of PASS since the beginning of this step (a gate whose margin is in what counts
            as bad), instead of since the beginning of the rollout. Evidence of FAIL is always of the whole rollout.
        settle_blocks: A unit counts as good only this many blocks after its first request, because it may still turn
            bad; its failure counts at once.
        unit: What a unit is called in sentences for people.
        stages: Splits the rollout goes through. FAIL stakes half of its evidence on a fault since the beginning and
            the rest, in equal parts, on one that begins with each of them (late onset).
        threshold: Of what is counted, where that is a fixed number: iterations of a request, for ``loops``.
        cap: Of a mean that has no bound by itself: what a request of stable counts at most, in dollars or tokens, and
            one of the candidate at most the margin times as much. ``None``: stable's own P99, once that is known.
        alone: Nobody new is assigned to stable, or there is none (a soak, a first release): an absolute limit is all
            there is to go by.
    """

    name: str
    kind: GateKind
    margin: float
    alpha_fail: float
    alpha_pass: float
    must_pass: bool = True
    minimum_units: int = 20
    from_step: bool = False
    fail_margin: float | None = None
    settle_blocks: int = 3
    unit: str = "conversations"
    stages: int = 1
    threshold: float | None = None
    cap: float | None = None
    alone: bool = False

    @property
    def margin_to_fail(self) -> float:
        """Margin towards FAIL."""
        return self.margin if self.fail_margin is None else self.fail_margin

    @property
    def scope(self) -> Scope:
        """Against what it compares."""
        return Scope.ABSOLUTE if self.kind in ABSOLUTE_KINDS else Scope.CONCURRENT


class AlarmAction(StrEnum):
    """What an alarm asks for."""

    ROLL_BACK = "roll_back"
    PAUSE = "pause"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """Something beside the gates that stops a rollout: a trigger, the exposure budget, the sample ratio.

    Attributes:
        name: Stable, e.g. ``error_rate``, ``exposure_budget``, ``sample_ratio``.
        action: What it asks for; never given while a shared cause explains it.
        reason: One sentence for people, with the figures.
    """

    name: str
    action: AlarmAction
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmPolicy:
    """What stops a rollout beside its gates; a limit of ``None`` switches that one off.

    Each needs its point rule *and* evidence that the candidate is worse than concurrent stable: a rule alone fires in
    78 % of healthy hours at five requests a minute.

    Attributes:
        error_rate: Share of the candidate's units with a failed request, over ``error_window`` seconds.
        latency_ms: P95 of the candidate's requests, over ``latency_window`` seconds.
        failed_traces: Failed requests of the candidate beyond stable's rate, since the first exposure.
        exposure: Bad units of the candidate beyond stable's rate, since the first exposure.
        sample_ratio: Whether to pause when the arms' first-seen units do not fit the split.
        alpha: Error bound of all triggers together.
        sample_alpha: Error bound of the sample ratio.
        minimum_units: Units of each arm before anything is said.
        stages: Splits of the plan, for late onset; see :class:`GateSpec`.
    """

    error_rate: float | None = 0.02
    error_window: float = 300.0
    latency_ms: float | None = 5000.0
    latency_window: float = 180.0
    failed_traces: int | None = 50
    exposure: int | None = 100
    sample_ratio: bool = True
    alpha: float = 0.005
    sample_alpha: float = 0.005
    minimum_units: int = 20
    stages: int = 1


def speaks_against(verdict: str, *, stable_fails_too: bool, worse_than_stable: bool | None) -> bool:
    """Whether a finding speaks against the candidate: a FAIL shown beside stable, or one that stable does not share.

    Args:
        verdict: As :class:`fairway.units.Verdict` spells it; findings on record are asked as well.
        stable_fails_too: As in :class:`GateFinding`.
        worse_than_stable: As there.
    """
    if verdict != Verdict.FAIL.value:
        return False
    return not stable_fails_too if worse_than_stable is None else worse_than_stable


@dataclass(frozen=True, slots=True, kw_only=True)
class GateFinding:
    """What a gate says now, with everything a person needs to check it.

    Attributes:
        log_e_fail, log_e_pass: Natural logs of the two e-values; compare with ``ln(1/alpha)``.
        units_candidate, units_stable: Distinct units counted.
        bad_candidate, bad_stable: Of them, units with a bad event.
        estimate_candidate, estimate_stable: Rates (for a quantile its value: ms, tokens; for a mean that: dollars,
            tokens, a share); ``None`` without data.
        stable_fails_too: The absolute limit was broken by stable as well when this FAIL was reached: a shared cause.
        worse_than_stable: Of a FAIL of an absolute limit: whether concurrent stable is shown to be better, at the error
            of the gate; an outage breaks the limit for both arms. ``None``: not compared, because the gate compares
            by itself, or because nothing serves beside the candidate.
        units_needed: About how many more candidate units would decide, at the rates seen; ``None``: not known.
        reason: One sentence for people.
    """

    gate: str
    kind: GateKind
    verdict: Verdict
    margin: float
    reason: str
    log_e_fail: float = 0.0
    log_e_pass: float = 0.0
    units_candidate: int = 0
    units_stable: int = 0
    bad_candidate: int = 0
    bad_stable: int = 0
    estimate_candidate: float | None = None
    estimate_stable: float | None = None
    stable_fails_too: bool = False
    worse_than_stable: bool | None = None
    units_needed: int | None = None

    @property
    def damning(self) -> bool:
        """Whether it speaks against the candidate: see :func:`speaks_against`."""
        return speaks_against(
            self.verdict.value, stable_fails_too=self.stable_fails_too, worse_than_stable=self.worse_than_stable
        )
