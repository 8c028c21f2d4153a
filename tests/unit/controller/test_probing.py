"""The controller's own questions: what counts as seen, and what never does."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from fairway.controller.probing import LONGEST_PAUSE, ArmProber
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
