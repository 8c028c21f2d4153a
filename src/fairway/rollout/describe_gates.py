"""Gates and alarms of a plan, in words for people."""

from __future__ import annotations

from collections.abc import Iterator

from fairway.rollout.values import Plan, Step
from fairway.sources.judging import limit_words
from fairway.sources.values import OnFail, SourceGate
from fairway.units import format_duration
from fairway.verdict.kinds import Test, limit_of, recipe_of
from fairway.verdict.mean_findings import margin_words
from fairway.verdict.needed import clean_units_needed
from fairway.verdict.values import MEAN_KINDS, GateKind, GateSpec

_CALLED = {
    GateKind.FAILURES: "failures",
    GateKind.UNKNOWN: "unknown outcomes",
    GateKind.GUARDRAIL: "guardrail hits",
    GateKind.LATENCY_P95: "P95",
    GateKind.LATENCY_P99: "P99",
    GateKind.FIRST_BYTE_P95: "P95 of the first byte",
    GateKind.TOKENS_P95: "P95 of tokens",
    GateKind.SUCCESS: "success",
    GateKind.TOOL_ERRORS: "tool errors",
    GateKind.CALLBACK_FAILURES: "callback failures",
    GateKind.LOOPS: "requests",
}


def gate_words(gate: GateSpec) -> str:
    """What a gate asks for, and how many clean units that takes at least."""
    called = _CALLED.get(gate.kind, gate.name)
    match recipe_of(gate).test:
        case Test.ADDITIVE:
            points = "1 point" if gate.margin == 0.01 else f"{gate.margin * 100:g} points"
            asked = f"{called} within {points} of stable"
        case Test.RELATIVE if gate.kind is GateKind.LATENCY_P95_LAST:
            asked = f"P95 not beyond the last margin, {(gate.margin - 1) * 100:+.0f}% of stable"
        case Test.RELATIVE:
            asked = f"{called} within {(gate.margin - 1) * 100:+.0f}% of stable"
        case Test.MEAN_RATIO | Test.MEAN_POINTS:
            asked = f"mean {recipe_of(gate).did} within {margin_words(gate, gate.margin)} of stable"
        case Test.ABSOLUTE if gate.kind is GateKind.SUCCESS:
            asked = f"{called} ≥ {gate.margin * 100:g}%"
        case Test.ABSOLUTE:
            beyond = f" beyond {gate.threshold:g} iterations" if gate.threshold is not None else ""
            asked = f"{called}{beyond} ≤ {limit_of(gate) * 100:g}%"
    needs = clean_units_needed(gate) if gate.must_pass else None
    return asked if needs is None else f"{asked} (≥ {needs:,} clean {gate.unit})"


def source_words(gate: SourceGate) -> str:
    """What a custom gate asks, of whom, how long it has to hold, and what it is worth."""
    lasts = f" for {format_duration(gate.holds_for)}" if gate.holds_for else ""
    then = "rolls back" if gate.on_fail is OnFail.ROLL_BACK else "pauses"
    asked = f"{gate.name} (guarantee: none): {limit_words(gate)}{lasts}"
    return f"{asked}, else {then}; asks {gate.question.url} every {format_duration(gate.every)}"


def decisive(step: Step) -> tuple[GateSpec, ...]:
    """The gates a step waits for; all of them where it waits for none."""
    return tuple(gate for gate in step.gates if gate.must_pass) or step.gates


def beside_lines(plan: Plan) -> Iterator[str]:
    """What stands beside the gates the steps wait for: those that must only not fail, and the alarms."""
    by_name: dict[str, list[GateSpec]] = {}
    for step in plan.steps:
        for gate in step.gates:
            if gate not in decisive(step):
                by_name.setdefault(gate.name, []).append(gate)
    if by_name:
        yield f"must only not fail: {'; '.join(_over_steps(gates) for gates in by_name.values())}"
    stops = [*_triggers(plan)]
    if stops:
        yield f"stops at once, when the candidate is worse than stable: {'; '.join(stops)}"
    if plan.alarms is not None and plan.alarms.sample_ratio:
        yield "pauses when new conversations do not arrive as the split says"


def _over_steps(gates: list[GateSpec]) -> str:
    """One gate, with the margins of its steps when they differ."""
    words = list(dict.fromkeys(gate_words(gate) for gate in gates))
    if gates[0].kind in MEAN_KINDS and len(words) > 1:
        margins = " / ".join(dict.fromkeys(margin_words(gate, gate.margin) for gate in gates))
        return f"mean {recipe_of(gates[0]).did} within {margins} of stable"
    if len(words) == 1 or recipe_of(gates[0]).test is not Test.RELATIVE:
        return words[-1]
    margins = " / ".join(dict.fromkeys(f"{(gate.margin - 1) * 100:+.0f}%" for gate in gates))
    return f"{_CALLED[gates[0].kind]} within {margins} of stable"


def _triggers(plan: Plan) -> Iterator[str]:
    alarms = plan.alarms
    if alarms is None:
        return
    if alarms.error_rate is not None:
        yield f"errors > {alarms.error_rate * 100:g}% for {format_duration(alarms.error_window)}"
    if alarms.latency_ms is not None:
        window = format_duration(alarms.latency_window)
        yield f"P95 > {format_duration(alarms.latency_ms / 1000)} for {window}"
    if alarms.failed_traces is not None:
        yield f"{alarms.failed_traces:,} failed requests in excess"
    if alarms.exposure is not None:
        yield f"{alarms.exposure:,} bad conversations in excess"
