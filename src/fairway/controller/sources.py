"""Asks the sources of custom gates beside the loop, each at its own pace: no answer is ever waited for."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field

from fairway.clock import Clock
from fairway.rollout.judged import judged
from fairway.rollout.source_gates import asked_now
from fairway.rollout.values import ArmRef, RolloutState
from fairway.sources.answers import unknown
from fairway.sources.judging import take_in
from fairway.sources.placeholders import Arm, Names
from fairway.sources.port import Asker
from fairway.sources.values import Answered, SourceAnswer, SourceGate, SourceReading
from fairway.units import RouteId

log = logging.getLogger("fairway.controller")

_Answers = tuple[SourceAnswer, SourceAnswer | None]


@dataclass(slots=True)
class _Asking:
    """A question under way."""

    at: float
    task: asyncio.Task[_Answers]


@dataclass(slots=True, kw_only=True)
class SourceWatch:
    """The readings of a rollout's custom gates in its present step.

    They are kept in memory only and begin anew with each step, and with each controller: seconds in which nobody asked
    are never counted. The decision that looked at them keeps them, in its snapshot.
    """

    route: RouteId
    asker: Asker
    clock: Clock
    _step: tuple[str, float] | None = None
    _readings: dict[str, SourceReading] = field(default_factory=dict)
    _asking: dict[str, _Asking] = field(default_factory=dict)
    _asked_at: dict[str, float] = field(default_factory=dict)

    def forget(self) -> None:
        """Drop what was read, and the questions under way."""
        for asking in self._asking.values():
            asking.task.cancel()
        self._step = None
        self._readings.clear()
        self._asking.clear()
        self._asked_at.clear()

    def look(self, rollout: RolloutState | None) -> tuple[SourceReading, ...]:
        """What the answers came to so far; asks again what is due, and returns at once."""
        gates = () if rollout is None else asked_now(rollout)
        of = None if rollout is None else judged(rollout)
        if rollout is None or of is None or not gates:
            self.forget()
            return ()
        step = (rollout.id, of.since)
        if self._step != step:
            self.forget()
            self._step = step
        for gate in gates:
            self._take_in(gate)
            if self.clock.now().timestamp() >= of.since:
                self._begin(gate, names_of(self.route, rollout))
        return tuple(self._readings[gate.name] for gate in gates if gate.name in self._readings)

    def _begin(self, gate: SourceGate, names: Names) -> None:
        now = self.clock.monotonic()
        if gate.name in self._asking or now - self._asked_at.get(gate.name, float("-inf")) < gate.every:
            return
        self._asked_at[gate.name] = now
        task = asyncio.create_task(self._ask(gate, names))
        self._asking[gate.name] = _Asking(at=self.clock.now().timestamp(), task=task)

    async def _ask(self, gate: SourceGate, names: Names) -> _Answers:
        """About the candidate, and at the same time about stable where the gate compares."""
        if not gate.compares:
            return await self.asker.ask(gate, names, role="candidate"), None
        candidate, stable = await asyncio.gather(
            self.asker.ask(gate, names, role="candidate"), self.asker.ask(gate, names, role="stable")
        )
        return candidate, stable

    def _take_in(self, gate: SourceGate) -> None:
        asking = self._asking.get(gate.name)
        if asking is None or not asking.task.done():
            return
        del self._asking[gate.name]
        before = self._readings.get(gate.name, SourceReading(gate=gate.name))
        answer, stable = self._result(gate, asking.task)
        self._readings[gate.name] = take_in(gate, before, at=asking.at, answer=answer, stable=stable)

    def _result(self, gate: SourceGate, task: asyncio.Task[_Answers]) -> _Answers:
        """A defect of an asker is an error of the source, never of the loop."""
        if task.cancelled():
            return unknown(Answered.UNREACHABLE, "the question was cut short"), None
        error = task.exception()
        if error is not None:
            log.error("%s: custom gate %s: %s", self.route, gate.name, type(error).__name__)
            return unknown(Answered.UNREACHABLE, f"the question broke ({type(error).__name__})"), None
        return task.result()


def names_of(route: RouteId, rollout: RolloutState) -> Names:
    """What the placeholders of a rollout's questions stand for."""
    stable = rollout.stable
    return Names(
        candidate=_arm(rollout.candidate),
        stable=None if stable is None else _arm(stable),
        agent=route.agent,
        environment=route.environment,
        rollout=rollout.id,
    )


def _arm(arm: ArmRef) -> Arm:
    return Arm(version=arm.version, release=arm.release, effective=arm.effective)
