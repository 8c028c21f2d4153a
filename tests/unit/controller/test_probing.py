"""The controller's own questions: what counts as seen, and what never does."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from fairway.controller.probing import LONGEST_PAUSE, ArmProber
from fairway.rollout.evidence import Smoked, SmokeOutcome
from fairway.targets.port import InstanceState, ObservedArm
from fairway.testing.rollout_cases import CANDIDATE, NEXT, ready_arm
from fairway.testing.virtual_clock import VirtualClock

ARM = ready_arm(CANDIDATE, count=3)


class Asked:
    """Instances that answer as they are told."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.wrong = ""
        self.count = 0
        self.prober = ArmProber(ask=self.answer, clock=self.clock)

    async def answer(self, arm: ObservedArm, instance: object) -> str:
        self.count += 1
        return self.wrong

    async def look(self, seconds: float, arm: ObservedArm | None = ARM, step: float = 0.25):
        found = None
        for _ in range(round(seconds / step)):
            found = await self.prober.look(arm, 3)
            await self.clock.sleep(step)
            for _ in range(3):
                await asyncio.sleep(0)
        return found


async def test_every_instance_is_asked_once_a_second_and_the_seconds_are_counted():
    asked = Asked()
    found = await asked.look(10.5)
    assert 9.0 <= found.seconds <= 10.5
    assert asked.count == 33
    assert found.asked >= 9
    assert (found.release, found.effective) == (CANDIDATE.release, CANDIDATE.effective)


class Smoking(Asked):
    """Instances with a smoke suite that ends when it is told to."""

    def __init__(self, found: SmokeOutcome | Exception = SmokeOutcome.PASSED) -> None:
        super().__init__()
        self.found = found
        self.runs: list[float] = []
        self.may_end = asyncio.Event()
        self.cut = 0
        self.prober = ArmProber(ask=self.answer, clock=self.clock, smoke=self.smoke)

    async def smoke(self, arm: ObservedArm, *, seconds: float) -> Smoked:
        self.runs.append(seconds)
        try:
            await self.may_end.wait()
        except asyncio.CancelledError:
            self.cut += 1
            raise
        if isinstance(self.found, Exception):
            raise self.found
        return Smoked(
            release=arm.release_digest, effective=arm.effective_digest, outcome=self.found, text=self.found.value
        )


async def test_a_smoke_begins_when_every_instance_has_answered_and_runs_beside_the_questions():
    asked = Smoking()
    first = await asked.prober.look(ARM, 3, seconds=30.0)
    assert (first.smokes, first.smoke, asked.runs) == (True, None, [])
    found = await asked.look(8)
    assert (found.smoke, len(asked.runs)) == (None, 1)
    assert found.seconds >= 6
    asked.may_end.set()
    found = await asked.look(3)
    assert found.smoke.outcome is SmokeOutcome.PASSED
    assert len(asked.runs) == 1


async def test_without_a_smoke_none_is_waited_for():
    found = await Asked().look(5)
    assert (found.smokes, found.smoke) == (False, None)


async def test_a_smoke_that_breaks_is_an_error_of_the_smoke_and_never_the_end_of_the_loop():
    asked = Smoking(KeyError("oops"))
    asked.may_end.set()
    found = await asked.look(5)
    assert found.smoke.outcome is SmokeOutcome.ERROR
    assert "KeyError" in found.smoke.text


@pytest.mark.parametrize("outcome", list(SmokeOutcome))
async def test_only_a_smoke_that_could_not_be_run_is_run_again_and_only_when_people_let_it_go_on(outcome):
    asked = Smoking(outcome)
    asked.may_end.set()
    since, later = asked.clock.now(), asked.clock.now() + timedelta(seconds=9)
    for moment, runs in ((since, 1), (since, 1), (later, 2 if outcome in ("error", "timeout") else 1)):
        for _ in range(20):
            await asked.prober.look(ARM, 3, seconds=30.0, since=moment)
            await asked.clock.sleep(0.25)
            await asyncio.sleep(0)
        assert len(asked.runs) == runs


async def test_a_smoke_under_way_is_cut_short_with_its_rollout():
    asked = Smoking()
    await asked.look(5)
    await asked.prober.look(None, 0)
    await asyncio.sleep(0)
    assert asked.cut == 1
    assert (await asked.look(5)).smoke is None
    assert len(asked.runs) == 2, "another controller, or another rollout, begins anew"


async def test_before_the_first_answer_nothing_was_seen():
    asked = Asked()
    found = await asked.prober.look(ARM, 3)
    assert (found.asked, found.seconds) == (0, 0.0)


async def test_one_wrong_answer_is_kept():
    asked = Asked()
    await asked.look(5)
    asked.wrong = "it answered 500"
    await asked.look(2)
    asked.wrong = ""
    found = await asked.look(20)
    assert (found.error, found.seconds) == ("it answered 500", 0.0)


async def test_an_instance_that_is_missing_or_has_restarted_is_a_wrong_answer():
    for changed in (
        replace(ARM, instances=ARM.instances[:2]),
        replace(ARM, instances=(replace(ARM.instances[0], state=InstanceState.BACKING_OFF), *ARM.instances[1:])),
        replace(ARM, instances=(replace(ARM.instances[0], restarts=1), *ARM.instances[1:])),
    ):
        asked = Asked()
        assert (await asked.look(5)).error == ""
        assert (await asked.look(3, changed)).error != ""


async def test_seconds_in_which_nobody_looked_do_not_count():
    asked = Asked()
    await asked.look(5)
    await asked.clock.sleep(LONGEST_PAUSE + 60)
    found = await asked.look(3)
    assert found.seconds <= 3.0


async def test_another_arm_another_controller_and_no_arm_begin_anew():
    asked = Asked()
    await asked.look(8)
    assert (await asked.look(3, ready_arm(NEXT, count=3))).seconds <= 3.0
    await asked.look(8)
    asked.prober.forget()
    assert (await asked.look(3)).seconds <= 3.0
    await asked.look(8)
    assert await asked.prober.look(None, 0) is None
    assert (await asked.look(3)).seconds <= 3.0
