"""Whether what gates are recorded to have found is what the same blocks say now: the first difference, by gate."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from fairway.ledger.comparison import first_difference
from fairway.rollout.deciding import Measured
from fairway.rollout.replay import near
from fairway.verdict.values import GateFinding, GateSpec

_WORDS = "reason"
"""Of a finding, for people; the figures in it are compared as figures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundOtherwise:
    """The first thing that was recorded otherwise than the blocks say.

    Attributes:
        what: Name of the gate; ``theta``, ``yardsticks``, ``mature_seconds``, ``shared_cause``, ``alarms``, ``pairs``
            or ``blocks``.
        path: The figure, such as ``verdict`` or ``log_e_fail``; empty where ``what`` says it.
        recorded, recomputed: Both values; ``None`` for what is absent.
        edge: A figure of the gate is so near its threshold that processors may differ: neither right nor wrong.
    """

    what: str
    path: str
    recorded: Any
    recomputed: Any
    edge: bool = False


def found_otherwise(
    recorded: Measured, again: Measured, specs: Mapping[str, GateSpec], before: Sequence[Measured]
) -> FoundOtherwise | None:
    """The first difference, gates in the plan's order, then what stands beside them; ``None`` when there is none.

    Args:
        recorded: As the decision looked at it.
        again: Worked out from the recorded blocks.
        specs: The gates that were judged, by name.
        before: The same after the block before, and the one before that, as far back as a gate that need not pass may
            keep its figures: those are taken again only now and then.
    """
    told = {finding.gate: finding for finding in again.findings}
    for finding in recorded.findings:
        spec, now = specs.get(finding.gate), told.pop(finding.gate, None)
        if now is None:
            return FoundOtherwise(what=finding.gate, path="", recorded=finding.verdict, recomputed=None)
        kept = [] if spec is None or spec.must_pass else _earlier(now, before)
        if all(_differs(finding, one) is not None for one in (now, *kept)):
            return _told(finding, now, spec)
    if told:
        gate, extra = next(iter(told.items()))
        return FoundOtherwise(what=gate, path="", recorded=None, recomputed=extra.verdict)
    return _beside(recorded, again)


def _earlier(now: GateFinding, before: Sequence[Measured]) -> list[GateFinding]:
    """What the gate said after earlier blocks, where the verdict is the one it has now: a verdict is never kept."""
    found = [one for measured in before for one in measured.findings if one.gate == now.gate]
    return [one for one in found if one.verdict is now.verdict]


def _figures(finding: GateFinding) -> dict[str, Any]:
    return {field.name: getattr(finding, field.name) for field in fields(finding) if field.name != _WORDS}


def _differs(recorded: GateFinding, now: GateFinding) -> str | None:
    """The first figure that differs, the verdict before all others."""
    if recorded.verdict is not now.verdict:
        return "verdict"
    found = first_difference(_figures(recorded), _figures(now))
    return None if found is None else found.path


def _told(recorded: GateFinding, now: GateFinding, spec: GateSpec | None) -> FoundOtherwise:
    path = _differs(recorded, now) or ""
    return FoundOtherwise(
        what=recorded.gate,
        path=path,
        recorded=getattr(recorded, path),
        recomputed=getattr(now, path),
        edge=path == "verdict" and spec is not None and any(_on_the_edge(one, spec) for one in (recorded, now)),
    )


def _on_the_edge(finding: GateFinding, spec: GateSpec) -> bool:
    sides = ((finding.log_e_fail, spec.alpha_fail), (finding.log_e_pass, spec.alpha_pass))
    return any(near(value, math.log(1 / alpha)) for value, alpha in sides)


def _beside(recorded: Measured, again: Measured) -> FoundOtherwise | None:
    one, other = _rest(recorded), _rest(again)
    for what, value in one.items():
        found = first_difference(value, other[what])
        if found is not None:
            path = found.path.lstrip(".")
            return FoundOtherwise(what=what, path=path, recorded=found.recorded, recomputed=found.replayed)
    return None


def _rest(measured: Measured) -> dict[str, Any]:
    """What is measured beside the gates, without the sentences for people."""
    pairs = measured.pairs
    return {
        "theta": measured.theta,
        "yardsticks": dict(measured.yardsticks),
        "mature_seconds": measured.mature_seconds,
        "shared_cause": bool(measured.shared_cause),
        "alarms": [{"name": alarm.name, "action": alarm.action.value} for alarm in measured.alarms],
        "pairs": None if pairs is None else {field.name: getattr(pairs, field.name) for field in fields(pairs)},
    }
