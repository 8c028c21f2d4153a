"""Gates and what they find."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from fairway.units import Verdict


class GateKind(StrEnum):
    """Which test decides.

    ``failures``: T1 on units with a failed request, against concurrent stable, ``margin`` in points (0.05 = 5 points).
    ``latency_p95``: T1 on slow units, against concurrent stable, ``margin`` a ratio (1.1 = +10 %).
    ``success``: absolute share of units without a failure, ``margin`` the limit (0.995).
    """

    FAILURES = "failures"
    LATENCY_P95 = "latency_p95"
    SUCCESS = "success"


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
        fail_margin: Margin towards FAIL, for ``failures``; ``None``: the same. A plan sets it to its last margin: what
            is shown to be worse than that can never be finished, so nobody needs to meet it any longer.
        alpha_fail, alpha_pass: Error bounds of this gate (type I of FAIL and of PASS).
        must_pass: Whether the step needs PASS from this gate; otherwise it only must not FAIL.
        minimum_units: Units of each arm before any verdict but NO_DATA.
        from_step: Accumulate evidence since the beginning of this step (a gate whose margin changes), instead of
            since the beginning of the rollout.
        settle_blocks: A unit counts as good only this many blocks after its first request, because it may still turn
            bad; its failure counts at once.
        unit: What a unit is called in sentences for people.
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

    @property
    def margin_to_fail(self) -> float:
        """Margin towards FAIL."""
        return self.margin if self.fail_margin is None else self.fail_margin

    @property
    def scope(self) -> Scope:
        """Absolute for ``success``, concurrent for the rest."""
        return Scope.ABSOLUTE if self.kind is GateKind.SUCCESS else Scope.CONCURRENT


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
class GateFinding:
    """What a gate says now, with everything a person needs to check it.

    Attributes:
        log_e_fail, log_e_pass: Natural logs of the two e-values; compare with ``ln(1/alpha)``.
        units_candidate, units_stable: Distinct units counted.
        bad_candidate, bad_stable: Of them, units with a bad event.
        estimate_candidate, estimate_stable: Rates (or P95 in ms for ``latency_p95``); ``None`` without data.
        stable_fails_too: The absolute limit is broken by stable as well: a shared cause, not a bad candidate.
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
    units_needed: int | None = None
