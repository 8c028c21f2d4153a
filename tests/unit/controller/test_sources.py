"""Custom gates' sources beside the loop: asked at their own pace, never waited for, begun anew with each step."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field, replace

import pytest

from fairway.controller.measure import BlockMeasurer
from fairway.controller.sources import SourceWatch
from fairway.observe.port import Pulled
from fairway.rollout.values import Phase
from fairway.sources.values import Answered, Question, SourceAnswer, SourceGate, SourceKind
from fairway.testing.memory_ledger import MemoryLedger
from fairway.testing.rollout_cases import ROUTE, canary_plan, rollout_state, route_state
from fairway.testing.virtual_clock import VirtualClock

CPU = SourceGate(
    name="cpu",
    question=Question(kind=SourceKind.PROMETHEUS, url="http://127.0.0.1:9", query='cpu{v="{{arm}}"}'),
    at_most=0.8,
    holds_for=20.0,
    every=10.0,
)
COMPARES = replace(CPU, name="beside", at_most=None, most_of_stable=1.1)


@dataclass
class ScriptedAsker:
    """Answers 0.5 until told otherwise; waits for ``gate`` where it is closed."""

    answer: SourceAnswer = field(default_factory=lambda: SourceAnswer(outcome=Answered.VALUE, value=0.5))
    asked: list = field(default_factory=list)
    hangs: bool = False
    breaks: bool = False

    async def ask(self, gate, names, *, role):
        self.asked.append((gate.name, role, names.candidate.version, names.stable and names.stable.version))
        if self.hangs:
            await asyncio.Event().wait()
        if self.breaks:
            raise RuntimeError("a defect")
        return self.answer


class Watched:
    def __init__(self, *gates):
        self.clock, self.asker = VirtualClock(), ScriptedAsker()
        self.watch = SourceWatch(route=ROUTE, asker=self.asker, clock=self.clock)
        plan = canary_plan(sources=gates or (CPU,))
        self.rollout = rollout_state(Phase.STEPPING, plan=plan, step_from=self.clock.now().timestamp())

    async def look(self, seconds=0.0):
        self.clock.advance(seconds)
        self.watch.look(self.rollout)
        for _ in range(5):
            await asyncio.sleep(0)
        return self.watch.look(self.rollout)


async def test_a_source_is_asked_as_often_as_declared_however_often_one_looks():
    one = Watched()
    for _ in range(100):
        readings = await one.look(0.25)
    assert len(one.asker.asked) == 3
    assert readings[0].holds_since is not None
    assert readings[0].at - readings[0].holds_since == 20.0


async def test_a_gate_that_compares_asks_about_both_arms_at_once():
    one = Watched(COMPARES)
    readings = await one.look(1.0)
    assert one.asker.asked == [("beside", "candidate", "1.1.0", "1.0.0"), ("beside", "stable", "1.1.0", "1.0.0")]
    assert readings[0].stable.value == 0.5


async def test_another_step_begins_anew_and_nothing_is_asked_before_it_counts():
    one = Watched()
    await one.look(1.0)
    before = len(one.asker.asked)
    one.rollout = replace(one.rollout, step=1, step_from=one.clock.now().timestamp() + 5.0)
    assert await one.look(1.0) == ()
    assert len(one.asker.asked) == before
    readings = await one.look(5.0)
    assert readings[0].at >= one.rollout.step_from
    one.rollout = replace(one.rollout, phase=Phase.ROLLING_BACK)
    assert await one.look(1.0) == ()


async def test_a_source_that_hangs_is_asked_once_and_its_silence_says_nothing():
    one = Watched()
    one.asker.hangs = True
    for _ in range(20):
        assert await one.look(10.0) == ()
    assert len(one.asker.asked) == 1
    one.watch.forget()


async def test_a_defect_of_an_asker_is_an_error_of_the_source_and_not_of_the_loop():
    one = Watched()
    one.asker.breaks = True
    readings = await one.look(1.0)
    assert (readings[0].answer.outcome, readings[0].errors) == (Answered.UNREACHABLE, 1)


class _Silence:
    async def pull(self, route, *, after):
        return Pulled(batches=(), cursor="")


@pytest.mark.parametrize("hangs", [False, True])
async def test_a_source_that_hangs_does_not_delay_a_tick(hangs):
    one = Watched()
    one.asker.hangs = hangs
    measurer = BlockMeasurer(
        route=ROUTE, ledger=MemoryLedger(clock=one.clock), source=_Silence(), clock=one.clock, sources=one.watch
    )
    state = route_state(one.rollout)
    begun = time.monotonic()
    for _ in range(20):
        one.clock.advance(1.0)
        measured = await asyncio.wait_for(measurer.measure(state), 5.0)
        await asyncio.sleep(0)
    assert time.monotonic() - begun < 5.0
    assert [reading.gate for reading in measured.sources] == ([] if hangs else ["cpu"])
    measurer.forget()
