"""What each kind of gate counts, and by which test: one table, so that a new gate is a new row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from fairway.verdict.values import GateKind, GateSpec


class Test(StrEnum):
    """Which statistics decide; see :mod:`fairway.verdict.gates`."""

    __test__ = False

    ADDITIVE = "additive"
    RELATIVE = "relative"
    ABSOLUTE = "absolute"
    MEAN_RATIO = "mean_ratio"
    MEAN_POINTS = "mean_points"


class Among(StrEnum):
    """Which units a gate counts: all active ones, those of known outcome, those whose agent reports outcomes."""

    ACTIVE = "active"
    KNOWN = "known"
    REPORTED = "reported"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One kind of gate.

    Attributes:
        test: The statistics.
        mark: A unit with this mark is bad.
        among: Which units count.
        did: What a bad unit did, in a sentence; of a mean, what it is of.
        histogram, share: Of a block's arm and its quantile, for people; empty where a rate is told.
        yardstick: Name of the threshold in the route table beyond which a unit is marked; empty when there is none.
        value: Kind of the values a mean is taken of, as blocks name them; ``per_unit`` of its whole numbers are one of
            what people are told.
    """

    test: Test
    mark: str
    among: Among
    did: str
    histogram: str = ""
    share: float = 0.95
    yardstick: str = ""
    value: str = ""
    per_unit: int = 1


KINDS: Mapping[GateKind, Recipe] = {
    GateKind.FAILURES: Recipe(test=Test.ADDITIVE, mark="failed", among=Among.KNOWN, did="failed"),
    GateKind.UNKNOWN: Recipe(
        test=Test.ADDITIVE, mark="unknown", among=Among.ACTIVE, did="had a request of unknown outcome"
    ),
    GateKind.GUARDRAIL: Recipe(test=Test.ADDITIVE, mark="guardrail", among=Among.REPORTED, did="hit a guardrail"),
    GateKind.LATENCY_P95: Recipe(
        test=Test.RELATIVE, mark="slow", among=Among.ACTIVE, did="had a slow request",
        histogram="latency_ms", yardstick="latency_ms",
    ),
    GateKind.LATENCY_P95_LAST: Recipe(
        test=Test.RELATIVE, mark="slow_last", among=Among.ACTIVE, did="had a request too slow to be finished",
        histogram="latency_ms", yardstick="latency_last_ms",
    ),
    GateKind.LATENCY_P99: Recipe(
        test=Test.RELATIVE, mark="slow_p99", among=Among.ACTIVE, did="had a very slow request",
        histogram="latency_ms", share=0.99, yardstick="latency_p99_ms",
    ),
    GateKind.FIRST_BYTE_P95: Recipe(
        test=Test.RELATIVE, mark="first_byte_slow", among=Among.ACTIVE, did="waited long for a first byte",
        histogram="first_byte_ms", yardstick="first_byte_ms",
    ),
    GateKind.TOKENS_P95: Recipe(
        test=Test.RELATIVE, mark="tokens_high", among=Among.ACTIVE, did="had a request of many tokens",
        histogram="tokens", yardstick="tokens",
    ),
    GateKind.SUCCESS: Recipe(test=Test.ABSOLUTE, mark="failed", among=Among.KNOWN, did="failed"),
    GateKind.TOOL_ERRORS: Recipe(
        test=Test.ABSOLUTE, mark="tool_error", among=Among.REPORTED, did="had a tool that failed"
    ),
    GateKind.CALLBACK_FAILURES: Recipe(
        test=Test.ABSOLUTE, mark="callback_failed", among=Among.REPORTED, did="had a callback that failed"
    ),
    GateKind.LOOPS: Recipe(
        test=Test.ABSOLUTE, mark="looped", among=Among.REPORTED, did="ran into the limit of iterations",
        yardstick="iterations",
    ),
    GateKind.COST_MEAN: Recipe(
        test=Test.MEAN_RATIO, mark="", among=Among.ACTIVE, did="cost of a request", value="cost", per_unit=1_000_000
    ),
    GateKind.TOKENS_MEAN: Recipe(
        test=Test.MEAN_RATIO, mark="", among=Among.ACTIVE, did="tokens of a request", value="tokens",
        yardstick="tokens_mean",
    ),
    GateKind.SCORE_MEAN: Recipe(
        test=Test.MEAN_POINTS, mark="", among=Among.ACTIVE, did="score of a request", value="score", per_unit=1_000_000
    ),
    GateKind.FEEDBACK_MEAN: Recipe(
        test=Test.MEAN_POINTS, mark="", among=Among.ACTIVE, did="feedback", value="feedback", per_unit=1_000_000
    ),
    GateKind.EXCESS_FAILURES: Recipe(test=Test.RELATIVE, mark="failed", among=Among.KNOWN, did="failed"),
    GateKind.EXCESS_SLOW: Recipe(
        test=Test.RELATIVE, mark="too_slow", among=Among.ACTIVE, did="had a request beyond the limit",
        yardstick="latency_limit_ms",
    ),
}  # fmt: skip


def recipe_of(spec: GateSpec) -> Recipe:
    """What a gate counts."""
    return KINDS[spec.kind]


def limit_of(spec: GateSpec) -> float:
    """The most bad units an absolute gate allows, as a share."""
    return 1.0 - spec.margin if spec.kind is GateKind.SUCCESS else spec.margin
