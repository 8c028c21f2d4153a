"""What is simulated: how much traffic, of which shape, with which candidate, under which plan."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from fairway.errors import UserError
from fairway.rollout.values import Plan, Step
from fairway.simulate.rollout import WARM_UP_BLOCKS
from fairway.simulate.traffic import ArmModel, ModelledTraffic, drift, outage
from fairway.units import Parts, format_share
from fairway.verdict.values import GateKind

BLOCK_SECONDS = 10.0
STABLE_FAILURE = 0.002
"""Share of stable's conversations that fail, where an effect does not say otherwise."""
USUAL_MARKS: Mapping[str, float] = {
    "tool_error": 0.005,
    "callback_failed": 0.003,
    "guardrail": 0.005,
    "looped": 0.001,
}
"""What a healthy release's requests report beside success, by request; well within the limits of the default policy."""
USUAL_UNKNOWN = 0.001
_FOREVER = 1e9


class Shape(StrEnum):
    """How traffic behaves, for both arms alike."""

    IID = "iid"
    HEAVY = "heavy"
    AUTOCORRELATED = "autocorrelated"
    OUTAGE = "outage"
    DRIFT = "drift"
    LATE = "late"
    DELAYED = "delayed"


SHAPES: Mapping[Shape, str] = {
    Shape.IID: "independent conversations of one turn",
    Shape.HEAVY: "plus sticky heavy users, a fifth of all turns; one in four of them fails ten times as often",
    Shape.AUTOCORRELATED: "latency with AR(.9) noise and a sine of ten minutes",
    Shape.OUTAGE: "failures of both arms x 50 for two minutes after a third of the time",
    Shape.DRIFT: "failures of both arms swing between x 1 and x 4 in half an hour",
    Shape.LATE: "the candidate's fault begins after a third of the time",
    Shape.DELAYED: "conversations of four turns, the first never fails; outcomes known a minute late",
}


class Effect(StrEnum):
    """What is wrong with the candidate."""

    SAME = "aa"
    MARGIN_ERRORS = "at-margin-errors"
    MARGIN_P95 = "at-margin-p95"
    TWICE_ERRORS = "twice-margin-errors"
    TWICE_P95 = "twice-margin-p95"
    ERRORS_3 = "errors-1-3"
    ERRORS_10 = "errors-1-10"
    P95_50 = "p95-50"
    P95_10 = "p95-10"


EFFECTS: Mapping[Effect, str] = {
    Effect.SAME: "the same release twice (A/A)",
    Effect.MARGIN_ERRORS: "failed conversations exactly at the last margin",
    Effect.MARGIN_P95: "P95 exactly at the last margin",
    Effect.TWICE_ERRORS: "failed conversations at twice the last margin",
    Effect.TWICE_P95: "P95 at twice the last margin",
    Effect.ERRORS_3: "failed conversations 1 → 3 %",
    Effect.ERRORS_10: "failed conversations 1 → 10 %",
    Effect.P95_50: "P95 +50 %",
    Effect.P95_10: "P95 +10 %",
}
MUST_NOT_STOP = frozenset({Effect.SAME})
MUST_NOT_PROMOTE = frozenset({Effect.MARGIN_ERRORS, Effect.MARGIN_P95, Effect.TWICE_ERRORS, Effect.TWICE_P95})


@dataclass(frozen=True, slots=True, kw_only=True)
class Margins:
    """The last margins of a plan, which a candidate must keep to be finished; ``None``: no such gate."""

    failures: float | None
    latency: float | None
    success: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One cell of a table.

    Attributes:
        plan: What is followed, already held at one split if it shall be.
        alpha_fail, alpha_pass: What the policy promises.
        per_minute: Conversations that begin in a minute, on both arms together.
        seconds: Simulated time from the candidate's start.
        held: The one split, or ``None`` for the plan's steps.
        policy: Name of the policy, for tables.
    """

    plan: Plan
    alpha_fail: float
    alpha_pass: float
    per_minute: float
    shape: Shape = Shape.IID
    effect: Effect = Effect.SAME
    seconds: float = 3600.0
    held: Parts | None = None
    policy: str = "default"

    @property
    def blocks(self) -> int:
        """Looks: one a block."""
        return math.ceil(self.seconds / BLOCK_SECONDS)

    @property
    def onset_block(self) -> int:
        """Block from which the candidate is at fault, counted from the beginning of the warm-up."""
        late = self.shape is Shape.LATE and self.effect is not Effect.SAME
        return WARM_UP_BLOCKS + self.blocks // 3 if late else 0

    @property
    def name(self) -> str:
        """One line for people."""
        moves = "stepped" if self.held is None else f"held at {format_share(self.held)}"
        return f"{self.effect.value}, {self.shape.value}, {self.per_minute:g} a minute, {moves}"

    def traffic(self, seed: int) -> ModelledTraffic:
        """The traffic of one rollout."""
        stable, candidate = _arms(self.effect, margins_of(self.plan))
        units = self.per_minute * BLOCK_SECONDS / 60.0
        kinds = {gate.kind for step in self.plan.steps for gate in step.gates}
        traffic = ModelledTraffic(
            seed=seed,
            units_per_block=units,
            stable=stable,
            candidate=candidate,
            onset=self.onset_block,
            beside=bool(kinds & {GateKind.FIRST_BYTE_P95, GateKind.TOKENS_P95}),
        )
        return _shaped(traffic, self.shape, self.blocks)


def _arms(effect: Effect, margins: Margins) -> tuple[ArmModel, ArmModel]:
    healthy = ArmModel(failure=STABLE_FAILURE, unknown=USUAL_UNKNOWN, marks=USUAL_MARKS)
    one_percent = replace(healthy, failure=0.01)
    match effect:
        case Effect.SAME:
            return healthy, healthy
        case Effect.MARGIN_ERRORS | Effect.TWICE_ERRORS:
            times = 1.0 if effect is Effect.MARGIN_ERRORS else 2.0
            return healthy, replace(healthy, excess=times * (margins.failures or 0.0))
        case Effect.MARGIN_P95 | Effect.TWICE_P95:
            times = 1.0 if effect is Effect.MARGIN_P95 else 2.0
            return healthy, replace(
                healthy, latency_ms=healthy.latency_ms * (1.0 + times * ((margins.latency or 1) - 1))
            )
        case Effect.ERRORS_3:
            return one_percent, replace(one_percent, failure=0.03)
        case Effect.ERRORS_10:
            return one_percent, replace(one_percent, failure=0.10)
        case Effect.P95_50:
            return healthy, replace(healthy, latency_ms=healthy.latency_ms * 1.5)
        case Effect.P95_10:
            return healthy, replace(healthy, latency_ms=healthy.latency_ms * 1.1)


def _shaped(traffic: ModelledTraffic, shape: Shape, blocks: int) -> ModelledTraffic:
    third = WARM_UP_BLOCKS + blocks // 3
    match shape:
        case Shape.HEAVY:
            # A heavy user has .9 turns a block.
            users = max(4, round(0.2 * traffic.units_per_block / 0.9))
            return replace(traffic, heavy_users=users, units_per_block=0.8 * traffic.units_per_block)
        case Shape.AUTOCORRELATED:
            return replace(traffic, load=_sine, load_noise=0.2)
        case Shape.OUTAGE:
            return replace(traffic, failures=outage(third, third + 11, 50.0))
        case Shape.DRIFT:
            return replace(traffic, failures=drift(4.0, 180))
        case Shape.DELAYED:
            return replace(traffic, turns=4, first_turn=0.0, delay=6)
        case Shape.IID | Shape.LATE:
            return traffic


def _sine(block: int) -> float:
    """A load that swings by 40 % over ten minutes."""
    return 1.0 + 0.4 * math.sin(2 * math.pi * block / 60)


def margins_of(plan: Plan) -> Margins:
    """What the last step asks for.

    Raises:
        UserError: When the plan compares nothing.
    """
    if not plan.steps:
        raise UserError(
            "the policy exposes no share below 100% to users: nothing is compared that could be simulated",
            code="nothing_to_simulate",
            hint="blue-green needs blue_green.gray",
        )
    gates = {gate.kind: gate for gate in plan.steps[-1].gates}
    failures, latency = gates.get(GateKind.FAILURES), gates.get(GateKind.LATENCY_P95)
    success = gates.get(GateKind.SUCCESS)
    return Margins(
        failures=None if failures is None else failures.margin_to_fail,
        latency=None if latency is None else latency.margin,
        success=None if success is None else success.margin,
    )


def held_at(plan: Plan, split: Parts) -> Plan:
    """The plan that stays at one of its steps.

    Raises:
        UserError: When it has no such step.
    """
    for step in plan.steps:
        if step.split == split:
            return replace(plan, steps=(_held(step),))
    steps = ", ".join(format_share(step.split) for step in plan.steps)
    raise UserError(
        f"the policy has no step of {format_share(split)}", code="no_such_step", hint=f"its steps are {steps}"
    )


def _held(step: Step) -> Step:
    return replace(step, dwell=_FOREVER, cap=_FOREVER)
