"""The ``rollout.gates`` and ``rollout.triggers`` sections of ``fairway.yaml``: what is watched, and how strictly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import BeforeValidator, Field, WithJsonSchema, field_validator

from fairway.rollout.mean_config import MeanPoints, MeanPointsGate, MeanRatio, MeanRatioGate
from fairway.rollout.source_config import CustomGates
from fairway.section import Duration, Flag, Points, Positive, Ratio, Section, Share
from fairway.units import WHOLE
from fairway.verdict.values import AlarmPolicy


class SuccessGate(Section):
    """Absolute: the share of units without a failed request."""

    minimum: Share = 99_500
    enabled: Flag = True
    must_pass: Flag = False


def _success(value: object) -> object:
    """``99.5%`` is short for ``{minimum: 99.5%}``."""
    return {"minimum": value} if isinstance(value, str | int | float) and not isinstance(value, bool) else value


class FailuresGate(Section):
    """Against concurrent stable: units with a failed request may be more by ``margins``, one a step below 100 %."""

    margins: Annotated[tuple[Points, ...], Field(min_length=1, max_length=50)] | None = None
    enabled: Flag = True
    must_pass: Flag = True


class LatencyGate(Section):
    """Against concurrent stable: the P95 may be higher by ``margins``, one a step below 100 %."""

    margins: Annotated[tuple[Ratio, ...], Field(min_length=1, max_length=50)] | None = None
    enabled: Flag = True
    must_pass: Flag = True


class QuantileGate(Section):
    """The same for another quantile; must not FAIL, and need not PASS unless it is told to."""

    margins: Annotated[tuple[Ratio, ...], Field(min_length=1, max_length=50)] | None = None
    enabled: Flag = True
    must_pass: Flag = False


class PointsGate(Section):
    """Against concurrent stable: so many more units may have it, in points, at every step."""

    margin: Points
    enabled: Flag = True
    must_pass: Flag = False


class ShareGate(Section):
    """Absolute: at most this share of units may have it."""

    maximum: Share
    enabled: Flag = True
    must_pass: Flag = False

    @field_validator("maximum")
    @classmethod
    def _possible(cls, maximum: int) -> int:
        if not 0 < maximum < WHOLE:
            raise ValueError("the most allowed must be above 0% and below 100%: nothing can be shown to be rarer")
        return maximum


class LoopsGate(Section):
    """Absolute: the share of units whose requests all stay within ``iterations`` rounds of the agent's loop."""

    contained: Share = 99_000
    iterations: Positive = 25
    enabled: Flag = True
    must_pass: Flag = False

    @field_validator("contained")
    @classmethod
    def _possible(cls, contained: int) -> int:
        if not 0 < contained < WHOLE:
            raise ValueError("contained must be above 0% and below 100%: 100% can never be shown")
        return contained


def _maximum(value: object) -> object:
    """``3%`` is short for ``{maximum: 3%}``."""
    return {"maximum": value} if isinstance(value, str | int | float) and not isinstance(value, bool) else value


def _margin(value: object) -> object:
    """``5pt`` is short for ``{margin: 5pt}``."""
    return {"margin": value} if isinstance(value, str | int | float) and not isinstance(value, bool) else value


_SHORT = WithJsonSchema({"anyOf": [{"type": ["string", "number"]}, {"type": "object"}]})
AtMost = Annotated[ShareGate, BeforeValidator(_maximum), _SHORT]
Within = Annotated[PointsGate, BeforeValidator(_margin), _SHORT]


class GatesSection(Section):
    """What must hold at every step.

    Attributes:
        success: Share of units without a failed request, at least.
        failures: Units with a failed request, against stable.
        p95, p99: Latency of requests, against stable.
        first_byte: P95 of the time to the first byte (the first token of a stream), against stable.
        tokens: P95 of the model tokens of a request, against stable.
        tool_errors: Share of units with a tool call that failed.
        callback_failures: Share of units with a callback that could not be delivered.
        loops: Share of units within the limit of iterations.
        guardrail: Units that hit a guardrail, against stable.
        unknown: Units with a request of unknown outcome, against stable.
        cost_mean, tokens_mean: The mean of a request, against stable; ``None``: not looked at.
        score_mean, feedback_mean: The mean of a judge's score and of users' feedback; ``None``: not looked at.
        minimum_units: Units of each arm before any verdict but NO_DATA.
        custom: Gates of the project's own, that ask Prometheus or an HTTP endpoint; guarantee: none.
    """

    success: Annotated[SuccessGate, BeforeValidator(_success), _SHORT] = SuccessGate()
    failures: FailuresGate = FailuresGate()
    p95: LatencyGate = LatencyGate()
    p99: QuantileGate = QuantileGate()
    first_byte: QuantileGate = QuantileGate()
    tokens: QuantileGate = QuantileGate()
    tool_errors: AtMost = ShareGate.model_validate({"maximum": "3%"})
    callback_failures: AtMost = ShareGate.model_validate({"maximum": "2%"})
    loops: LoopsGate = LoopsGate()
    guardrail: Within = PointsGate.model_validate({"margin": "5pt"})
    unknown: Within = PointsGate.model_validate({"margin": "1pt"})
    cost_mean: MeanRatio | None = None
    tokens_mean: MeanRatio | None = None
    score_mean: MeanPoints | None = None
    feedback_mean: MeanPoints | None = None
    minimum_units: Positive = 20
    custom: CustomGates = ()

    @field_validator("custom")
    @classmethod
    def _named_apart(cls, custom: CustomGates) -> CustomGates:
        taken = {name for name in cls.model_fields if name not in ("minimum_units", "custom")}
        for gate in custom:
            if gate.name in taken:
                raise ValueError(f"there is a gate {gate.name} already; give the custom gate another name")
            taken.add(gate.name)
        return custom

    def by_margins(self) -> dict[str, Sequence[float] | None]:
        """The margins as given, of the gates that have one for each step."""
        return {
            "failures": self.failures.margins,
            "p95": self.p95.margins,
            "p99": self.p99.margins,
            "first_byte": self.first_byte.margins,
            "tokens": self.tokens.margins,
            **{name: gate.margins for name, gate in self._means().items() if gate is not None},
        }

    def _means(self) -> dict[str, MeanRatioGate | MeanPointsGate | None]:
        return {
            "cost_mean": self.cost_mean,
            "tokens_mean": self.tokens_mean,
            "score_mean": self.score_mean,
            "feedback_mean": self.feedback_mean,
        }

    def that_must_pass(self) -> bool:
        """Whether any gate has to pass, so that a step is never left without evidence."""
        every = (
            self.success, self.failures, self.p95, self.p99, self.first_byte, self.tokens, self.tool_errors,
            self.callback_failures, self.loops, self.guardrail, self.unknown, *self._means().values(),
        )  # fmt: skip
        return any(gate is not None and gate.enabled and gate.must_pass for gate in every)


class TriggersSection(Section):
    """What stops a rollout beside its gates; ``null`` switches one off.

    Each fires only when the candidate is also shown to be worse than concurrent stable, and stable is within the limit.

    Attributes:
        error_rate: Share of the candidate's units with a failed request, over ``error_window``.
        latency: P95 of the candidate's requests, over ``latency_window``.
        failed_traces: Failed requests of the candidate beyond stable's rate, over the rollout.
        exposure: Bad units of the candidate beyond stable's rate, over the rollout: the exposure budget.
        sample_ratio: Pause when new conversations do not arrive as the split says.
    """

    error_rate: Share | None = 2_000
    error_window: Duration = 300.0
    latency: Duration | None = 5.0
    latency_window: Duration = 180.0
    failed_traces: Positive | None = 50
    exposure: Positive | None = 100
    sample_ratio: Flag = True

    @field_validator("error_rate")
    @classmethod
    def _possible(cls, rate: int | None) -> int | None:
        if rate is not None and not 0 < rate < WHOLE:
            raise ValueError("the error rate must be above 0% and below 100%; null switches the trigger off")
        return rate

    @field_validator("latency", "error_window", "latency_window")
    @classmethod
    def _some_time(cls, seconds: float | None) -> float | None:
        if seconds is not None and seconds <= 0:
            raise ValueError("must be longer than 0s; null switches a limit off")
        return seconds

    def to_policy(self, *, minimum_units: int, stages: int) -> AlarmPolicy:
        """The alarms of a plan.

        Args:
            minimum_units: Of each arm before anything is said.
            stages: Splits of the plan.
        """
        return AlarmPolicy(
            error_rate=None if self.error_rate is None else self.error_rate / WHOLE,
            error_window=self.error_window,
            latency_ms=None if self.latency is None else self.latency * 1000,
            latency_window=self.latency_window,
            failed_traces=self.failed_traces,
            exposure=self.exposure,
            sample_ratio=self.sample_ratio,
            minimum_units=minimum_units,
            stages=stages,
        )
