"""Where the gates, triggers and sources of one plan ask less than those of another, in words. Pure.

Every field of a gate is in a table with the direction in which it is laxer; one that is not there and differs is named
as well, so that what nobody thought of counts as laxer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from enum import StrEnum
from typing import Any

from fairway.rollout.evidence import MirrorGate
from fairway.sources.values import OnFail, SourceGate
from fairway.units import format_duration
from fairway.verdict.kinds import Test, recipe_of
from fairway.verdict.values import AlarmPolicy, GateKind, GateSpec


class Laxer(StrEnum):
    """In which direction a figure is laxer."""

    HIGHER = "higher"
    """Also when it is switched off (``None``)."""
    LOWER = "lower"
    OTHER = "other"
    """Any other value: which one asks less is not known."""
    LOST = "lost"
    """True, and no longer."""
    NEVER = "never"
    """It says nothing of what is asked, or is compared apart."""


GATE: Mapping[str, Laxer] = {
    "name": Laxer.NEVER,
    "kind": Laxer.OTHER,
    "margin": Laxer.HIGHER,
    "fail_margin": Laxer.NEVER,
    "alpha_fail": Laxer.NEVER,
    "alpha_pass": Laxer.NEVER,
    "must_pass": Laxer.LOST,
    "minimum_units": Laxer.LOWER,
    "from_step": Laxer.LOST,
    "settle_blocks": Laxer.LOWER,
    "unit": Laxer.NEVER,
    "stages": Laxer.NEVER,
    "threshold": Laxer.HIGHER,
    "cap": Laxer.OTHER,
    "alone": Laxer.NEVER,
}
"""``fail_margin`` and both alphas are compared apart; ``stages`` and ``alone`` follow from the steps."""

ALARMS: Mapping[str, Laxer] = {
    "error_rate": Laxer.HIGHER,
    "error_window": Laxer.HIGHER,
    "latency_ms": Laxer.HIGHER,
    "latency_window": Laxer.HIGHER,
    "failed_traces": Laxer.HIGHER,
    "exposure": Laxer.HIGHER,
    "sample_ratio": Laxer.LOST,
    "alpha": Laxer.LOWER,
    "sample_alpha": Laxer.LOWER,
    "minimum_units": Laxer.HIGHER,
    "stages": Laxer.NEVER,
}

MIRROR: Mapping[str, Laxer] = {
    "margin": Laxer.HIGHER,
    "alpha_fail": Laxer.NEVER,
    "alpha_pass": Laxer.HIGHER,
    "minimum_pairs": Laxer.LOWER,
    "max_diverged": Laxer.HIGHER,
    "says": Laxer.LOST,
}

SOURCE: Mapping[str, Laxer] = {
    "name": Laxer.NEVER,
    "question": Laxer.OTHER,
    "at_most": Laxer.HIGHER,
    "at_least": Laxer.LOWER,
    "most_of_stable": Laxer.HIGHER,
    "least_of_stable": Laxer.LOWER,
    "holds_for": Laxer.OTHER,
    "every": Laxer.HIGHER,
    "timeout": Laxer.HIGHER,
    "errors": Laxer.HIGHER,
    "on_fail": Laxer.NEVER,
    "guarantee": Laxer.NEVER,
}
"""``holds_for`` is what PASS and FAIL both take, so longer and shorter each ask less of one."""

_EPSILON = 1e-12
DILUTED = 0.5
"""Gates that are added take their share of the budget from the others; that is named once a gate has less than this
part of what it had. A smaller budget in all is always named."""


def is_laxer(direction: Laxer, before: Any, after: Any) -> bool:
    """Whether a figure asks less than it did; ``None`` is none at all."""
    if before == after:
        return False
    match direction:
        case Laxer.NEVER:
            return False
        case Laxer.LOST:
            return bool(before) and not after
        case Laxer.OTHER:
            return True
    if before is None or after is None:
        return after is None
    if direction is Laxer.HIGHER:
        return bool(after > before * (1 + _EPSILON) if before >= 0 else after > before)
    return bool(after < before * (1 - _EPSILON) if before >= 0 else after < before)


def laxer_fields(table: Mapping[str, Laxer], before: Any, after: Any) -> Iterator[str]:
    """Fields in which the second of two values asks less; one the table does not know, when it differs."""
    for one in fields(before):
        if is_laxer(table.get(one.name, Laxer.OTHER), getattr(before, one.name), getattr(after, one.name)):
            yield one.name


def laxer_gates(before: Sequence[GateSpec], after: Sequence[GateSpec], *, where: str) -> dict[tuple[str, str], str]:
    """Where gates ask less, by gate and field.

    Args:
        before: Of stable's plan.
        after: Of the candidate's, at the same point.
        where: That point, in words.
    """
    found: dict[tuple[str, str], str] = {}
    theirs = {gate.name: gate for gate in after}
    for gate in before:
        other = theirs.get(gate.name)
        if other is None and gate.kind is GateKind.LATENCY_P95_LAST and _strict_p95(after, gate.margin):
            continue
        if other is None:
            found[gate.name, ""] = f"gate {gate.name} is not asked {where}"
            continue
        for name in _gate_fields(gate, other):
            found[gate.name, name] = f"gate {gate.name}: {_gate_words(gate, other, name)} {where}"
    return found


def _strict_p95(gates: Sequence[GateSpec], margin: float) -> bool:
    """Whether the P95 keeps the last margin already, so that no gate of its own stands for that."""
    return any(gate.kind is GateKind.LATENCY_P95 and gate.margin <= margin for gate in gates)


def _gate_fields(gate: GateSpec, other: GateSpec) -> Iterator[str]:
    falls = gate.kind is GateKind.SUCCESS  # its margin is the least that has to succeed
    table = {**GATE, "margin": Laxer.LOWER} if falls else GATE
    yield from laxer_fields(table, gate, other)
    direction = Laxer.LOWER if falls else Laxer.HIGHER
    apart = gate.fail_margin is not None or other.fail_margin is not None
    if apart and is_laxer(direction, gate.margin_to_fail, other.margin_to_fail):
        yield "fail_margin"
    if other.alpha_fail < gate.alpha_fail * DILUTED:
        yield "alpha_fail"


def _gate_words(gate: GateSpec, other: GateSpec, name: str) -> str:
    match name:
        case "margin":
            return f"{_margin(other, other.margin)} instead of {_margin(gate, gate.margin)}"
        case "fail_margin":
            now, was = _margin(other, other.margin_to_fail), _margin(gate, gate.margin_to_fail)
            return f"FAIL beyond {now} instead of {was}"
        case "must_pass":
            return "must only not fail instead of having to pass"
        case "alpha_fail":
            return f"FAIL takes more evidence (error {other.alpha_fail:.2g} instead of {gate.alpha_fail:.2g})"
        case "kind":
            return f"looks at {other.kind.value} instead of {gate.kind.value}"
        case _:
            return f"{name.replace('_', ' ')} {_plain(getattr(other, name))} instead of {_plain(getattr(gate, name))}"


def _margin(gate: GateSpec, value: float) -> str:
    match recipe_of(gate).test:
        case Test.RELATIVE | Test.MEAN_RATIO:
            return f"{(value - 1) * 100:+g}%"
        case Test.ABSOLUTE:
            return f"{value * 100:g}%"
        case _:
            return f"{value * 100:g} points"


def _plain(value: Any) -> str:
    if value is None:
        return "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


_ALARM_WORDS = {
    "error_rate": "the limit of errors",
    "error_window": "the window of the error rate in seconds",
    "latency_ms": "the limit of the P95 in ms",
    "latency_window": "the window of the P95 in seconds",
    "failed_traces": "failed requests in excess",
    "exposure": "the exposure budget",
    "alpha": "the error of the triggers",
    "sample_alpha": "the error of the sample ratio",
    "minimum_units": "conversations before a trigger says anything",
}


def laxer_alarms(before: AlarmPolicy | None, after: AlarmPolicy | None) -> Iterator[str]:
    """Where triggers, exposure budget and sample ratio ask less."""
    if before is None:
        return
    if after is None:
        yield "triggers: none instead of those of stable's policy"
        return
    for name in laxer_fields(ALARMS, before, after):
        if name == "sample_ratio":
            yield "triggers: nobody looks whether conversations arrive as the split says"
            continue
        was, now = getattr(before, name), getattr(after, name)
        what = _ALARM_WORDS.get(name, name)
        yield (
            f"triggers: {what} {_plain(now)} instead of {_plain(was)}"
            if now is not None
            else (f"triggers: {what} is off instead of {_plain(was)}")
        )


def laxer_mirror(before: MirrorGate, after: MirrorGate) -> Iterator[str]:
    """Where the comparison of mirrored requests asks less."""
    for name in laxer_fields(MIRROR, before, after):
        was, now = getattr(before, name), getattr(after, name)
        yield f"mirrored requests: {name.replace('_', ' ')} {_plain(now)} instead of {_plain(was)}"
    if after.alpha_fail < before.alpha_fail * DILUTED:
        yield f"mirrored requests: FAIL takes more evidence (error {after.alpha_fail:.2g}, was {before.alpha_fail:.2g})"


def laxer_sources(before: Iterable[SourceGate], after: Iterable[SourceGate]) -> Iterator[str]:
    """Where custom gates ask less; another question is another gate."""
    theirs = {gate.name: gate for gate in after}
    for gate in before:
        other = theirs.get(gate.name)
        if other is None:
            yield f"custom gate {gate.name} is not asked"
            continue
        for name in laxer_fields(SOURCE, gate, other):
            yield f"custom gate {gate.name}: {_source_words(gate, other, name)}"
        if gate.on_fail is OnFail.ROLL_BACK and other.on_fail is not OnFail.ROLL_BACK:
            yield f"custom gate {gate.name} pauses instead of rolling back"


def _source_words(gate: SourceGate, other: SourceGate, name: str) -> str:
    if name == "question":
        return "it asks something else"
    was, now = getattr(gate, name), getattr(other, name)
    if name in ("holds_for", "every", "timeout"):
        return f"{name.replace('_', ' ')} {format_duration(now)} instead of {format_duration(was)}"
    return f"{name.replace('_', ' ')} {_plain(now)} instead of {_plain(was)}"
