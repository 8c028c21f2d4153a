"""Decide again from a recorded snapshot: the same decision, or the difference; and what stood on the edge."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fairway.rollout.deciding import Snapshot
from fairway.rollout.next_step import next_step
from fairway.rollout.values import Phase, RolloutState
from fairway.rollout.wire import decision_to_wire, snapshot_from_bytes, state_to_wire
from fairway.verdict.values import GateSpec

EDGE = 1e-9
"""Relative distance from its threshold within which a figure may fall on either side, by how a processor rounds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OnTheEdge:
    """A figure so near its threshold that another processor may decide otherwise: neither right nor wrong.

    Attributes:
        figure: ``failures.log_e_fail``, or ``mature_seconds``.
    """

    figure: str
    value: float
    threshold: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DecidedAgain:
    """What this code decides on a recorded snapshot.

    Attributes:
        decision, state: In wire form, to compare with the event's.
        looked_at: State the decision began from, in wire form: that after the event before.
        head: Seq of the event before, as the snapshot has it.
        edge: Figures on which a difference would be no error.
        engine: Version of the decisions' code that took it when it was recorded.
    """

    decision: Mapping[str, Any]
    state: Mapping[str, Any]
    looked_at: Mapping[str, Any]
    head: int
    edge: tuple[OnTheEdge, ...]
    engine: str


def decide_again(content: bytes) -> DecidedAgain:
    """Take a recorded decision again.

    Raises:
        PermanentError: When the snapshot cannot be read.
    """
    snapshot = snapshot_from_bytes(content)
    decision = next_step(snapshot)
    return DecidedAgain(
        decision=decision_to_wire(decision),
        state=state_to_wire(decision.state),
        looked_at=state_to_wire(snapshot.state),
        head=snapshot.head.seq,
        edge=tuple(_edge(snapshot)),
        engine=snapshot.engine_version,
    )


def replay(snapshot: bytes) -> Mapping[str, Any]:
    """The decision this code takes on a recorded snapshot.

    Returns:
        ``{"decision": …, "state": …}`` in wire form, to compare with the event's.

    Raises:
        PermanentError: When the snapshot cannot be read.
    """
    again = decide_again(snapshot)
    return {"decision": again.decision, "state": again.state}


def _edge(snapshot: Snapshot) -> Iterator[OnTheEdge]:
    rollout = snapshot.state.rollout
    if rollout is None or not rollout.live:
        return
    specs = {gate.name: gate for gate in _gates(rollout)}
    for finding in snapshot.measured.findings:
        spec = specs.get(finding.gate)
        if spec is None:
            continue
        figures = (("fail", finding.log_e_fail, spec.alpha_fail), ("pass", finding.log_e_pass, spec.alpha_pass))
        for name, value, alpha in figures:
            if near(value, math.log(1 / alpha)):
                yield OnTheEdge(figure=f"{finding.gate}.log_e_{name}", value=value, threshold=math.log(1 / alpha))
    least = _least_seconds(rollout)
    if least and near(snapshot.measured.mature_seconds, least):
        yield OnTheEdge(figure="mature_seconds", value=snapshot.measured.mature_seconds, threshold=least)


def near(value: float, threshold: float) -> bool:
    """Whether a figure is within :data:`EDGE` of its threshold, without being it exactly."""
    return value != threshold and math.isclose(value, threshold, rel_tol=EDGE, abs_tol=EDGE)


def _gates(rollout: RolloutState) -> tuple[GateSpec, ...]:
    if rollout.phase is Phase.SOAKING or not rollout.plan.steps:
        return rollout.plan.soak_gates
    return rollout.plan.steps[rollout.step].gates


def _least_seconds(rollout: RolloutState) -> float:
    if rollout.phase is Phase.SOAKING:
        return rollout.plan.soak
    return rollout.plan.steps[rollout.step].dwell if rollout.phase is Phase.STEPPING and rollout.plan.steps else 0.0
