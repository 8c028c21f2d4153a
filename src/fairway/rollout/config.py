"""The ``rollout`` section of ``fairway.yaml``: steps, gates with their margins, error budgets, the gateway's trip."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field, WithJsonSchema, field_validator, model_validator

from fairway.rollout.gate_config import GatesSection, TriggersSection
from fairway.rollout.people_config import ApprovalSetting
from fairway.rollout.rerun_config import RerunSection, RerunSetting
from fairway.rollout.strategy_sections import BlueGreenSection, MixSection, RollingSection, ShadowSection
from fairway.section import Duration, Flag, MisplacedError, Positive, Section, Share
from fairway.traffic.table import Trip
from fairway.units import WHOLE, Parts, format_duration, format_share

AUTO = "auto"
_STRATEGIES = ("auto", "canary", "blue-green", "rolling", "shadow")


def _strategy(value: object) -> object:
    if value not in _STRATEGIES:
        raise ValueError(f"expected one of the strategies {', '.join(_STRATEGIES)}")
    return value


def _step(value: object) -> object:
    """``5%`` is short for ``{split: 5%}``."""
    return value if isinstance(value, dict | StepSection) else {"split": value}


class StepSection(Section):
    """One step; what is not given is the rollout's."""

    split: Share
    dwell: Duration | None = None
    cap: Duration | None = None
    approval: Flag = False


Step = Annotated[
    StepSection,
    BeforeValidator(_step),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": ["string", "number"], "description": "the candidate's share: 5% or 0.05"},
                {
                    "type": "object",
                    "additionalProperties": False,
                    "required": ["split"],
                    "properties": {
                        "split": {"type": ["string", "number"]},
                        "dwell": {"type": ["string", "number"]},
                        "cap": {"type": ["string", "number"]},
                        "approval": {"type": "boolean"},
                    },
                },
            ]
        }
    ),
]


class TripSection(Section):
    """When a gateway goes back to stable by itself: bad units of the candidate in excess of stable's rate."""

    max_excess_bad_units: Positive = 25
    window: Duration = 60.0
    minimum_units: Positive = 20

    def table_trip(self) -> Trip:
        """As the route table carries it."""
        return Trip(
            max_excess_bad_units=self.max_excess_bad_units,
            window_seconds=self.window,
            min_units=self.minimum_units,
        )


Alpha = Annotated[float, Field(strict=True, gt=0, le=0.2)]


class RolloutSection(Section):
    """How an environment moves from stable to candidate.

    Attributes:
        strategy: ``auto`` picks by what changed since stable.
        breaking: Declares that this release should not serve beside the one before for long; ``auto`` heeds it.
        steps: Shares of the candidate, growing; the last may be 100 %.
        dwell: Seconds of mature observed traffic a step needs at least.
        cap: Seconds of wall clock after which a step that cannot decide pauses for a person.
        ready_timeout: Seconds the candidate has to become ready.
        soak: Seconds observed at 100 % under absolute gates before the rollout is done.
        warm: Seconds the former stable is kept running after the promotion.
        approval: ``None``: as the environment says.
        alpha_fail: A healthy candidate is rolled back in at most this share of rollouts, over all gates.
        alpha_pass: A candidate beyond a margin passes a gate in at most this share.
        instrument_budget: Seconds telemetry may be unreadable before the rollout pauses.
        triggers: What stops a rollout at once, beside its gates.
        trip: ``null`` switches the gateway's own trip off.
        rerun: Which failed requests gateways run again on stable.
        mix: How long a release of former parts may go unverified.
    """

    strategy: Annotated[str, BeforeValidator(_strategy), WithJsonSchema({"enum": list(_STRATEGIES)})] = "canary"
    steps: Annotated[tuple[Step, ...], Field(min_length=1, max_length=50)] = tuple(
        StepSection.model_validate({"split": share}) for share in ("5%", "10%", "30%", "50%", "100%")
    )
    dwell: Duration = 600.0
    cap: Duration = 7200.0
    ready_timeout: Duration | None = None
    soak: Duration = 1800.0
    warm: Duration = 1800.0
    approval: ApprovalSetting | None = None
    gates: GatesSection = GatesSection()
    triggers: TriggersSection = TriggersSection()
    alpha_fail: Alpha = 0.04
    alpha_pass: Alpha = 0.05
    instrument_budget: Duration = 60.0
    breaking: Flag = False
    blue_green: BlueGreenSection = BlueGreenSection()
    rolling: RollingSection = RollingSection()
    shadow: ShadowSection = ShadowSection()
    replicas: Positive | None = None
    trip: TripSection | None = TripSection()
    rerun: RerunSetting = RerunSection()
    mix: MixSection = MixSection()

    @field_validator("steps")
    @classmethod
    def _growing(cls, steps: tuple[StepSection, ...]) -> tuple[StepSection, ...]:
        previous = 0
        for step in steps:
            if step.split <= previous:
                raise ValueError(f"shares must grow from step to step; {format_share(step.split)} does not")
            previous = step.split
        return steps

    @model_validator(mode="after")
    def _consistent(self) -> RolloutSection:
        count = len(self.comparative_splits())
        for name, margins in self.gates.by_margins().items():
            if margins is not None and len(margins) not in (1, max(1, count)):
                raise MisplacedError(
                    f"gates.{name}.margins has {len(margins)} entries; give one for each of the {count} steps"
                    " below 100%, or a single one for all",
                    "gates",
                    name,
                    "margins",
                )
            if margins is not None and list(margins) != sorted(margins, reverse=True):
                raise MisplacedError(f"gates.{name}.margins must not grow from step to step", "gates", name, "margins")
        if not count:
            raise MisplacedError("steps need a share below 100%: else nothing is compared with stable", "steps")
        gates = self.gates
        if not gates.that_must_pass():
            words = "gates need at least one with must_pass: true, else a step could pass without evidence"
            raise MisplacedError(words, "gates")
        if self.strategy == "blue-green" and self.blue_green.gray is None and not gates.success.enabled:
            words = "blue-green without blue_green.gray needs gates.success: else nothing is ever proved"
            raise MisplacedError(words, "gates", "success")
        for number, step in enumerate(self.steps, start=1):
            dwell = self.dwell if step.dwell is None else step.dwell
            cap = self.cap if step.cap is None else step.cap
            if cap < dwell:
                words = f"cap ({self._cap_in_words(step)}) is shorter than dwell ({format_duration(dwell)})"
                raise MisplacedError(f"step {number}: {words}", *self._place_of_times(number, step))
            for gate in gates.custom:
                if gate.for_ >= cap:
                    told = self._cap_in_words(step)
                    words = f"step {number}: cap ({told}) leaves no time for custom gate {gate.name}"
                    raise MisplacedError(words, *self._place_of_times(number, step))
        return self

    def _cap_in_words(self, step: StepSection) -> str:
        if step.cap is not None:
            return format_duration(step.cap)
        return format_duration(self.cap) + ("" if "cap" in self.model_fields_set else " by default")

    def _place_of_times(self, number: int, step: StepSection) -> tuple[int | str, ...]:
        """Where a step's dwell was written, else its cap."""
        for name in ("dwell", "cap"):
            if getattr(step, name) is not None:
                return "steps", number - 1, name
            if name in self.model_fields_set:
                return (name,)
        return ("steps",)

    def comparative_splits(self) -> tuple[Parts, ...]:
        """Shares of the steps below 100 %, where candidate and stable are compared."""
        return tuple(Parts(step.split) for step in self.steps if step.split < WHOLE)

    def failure_margins(self) -> tuple[float, ...]:
        """Margin of each step below 100 %, as a fraction (0.05: five points)."""
        return self.margins_of(self.gates.failures.margins, (0.05, 0.025, 0.01, 0.005))

    def latency_margins(self) -> tuple[float, ...]:
        """Margin of each step below 100 %, as a ratio to stable's P95 (1.1: ten percent above)."""
        return self.margins_of(self.gates.p95.margins, (2.0, 1.5, 1.2, 1.1))

    def success_minimum(self) -> float:
        """The absolute limit as a fraction: 0.995."""
        return self.gates.success.minimum / WHOLE

    def margins_of(self, given: tuple[float, ...] | None, by_exposure: tuple[float, ...]) -> tuple[float, ...]:
        """One margin for each step below 100 %: as given, or else by its exposure.

        Args:
            given: One for each step, one for all, or ``None``.
            by_exposure: Defaults up to 5 %, 10 %, 30 %, and above.
        """
        splits = self.comparative_splits()
        if given is not None:
            return given if len(given) == len(splits) else given[:1] * len(splits)
        # By default a margin grows strict with exposure.
        return tuple(by_exposure[sum(split > limit for limit in (5_000, 10_000, 30_000))] for split in splits)
