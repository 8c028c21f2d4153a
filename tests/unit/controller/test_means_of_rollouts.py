"""Rollouts in virtual time in which nothing but what agents say is wrong: the engine and the real gates."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest

from fairway.controller.measure import BlockMeasurer
from fairway.observe.fold import Block
from fairway.observe.port import Pulled
from fairway.rollout.config import RolloutSection
from fairway.rollout.deciding import Measured
from fairway.rollout.describe import describe_status
from fairway.rollout.plan import compile_plan
from fairway.rollout.requests import Verb
from fairway.rollout.status import status_wire
from fairway.rollout.values import Phase, RouteState
from fairway.rollout.verbs import live
from fairway.testing.modelled_traffic import MODELLED_CANDIDATE, MODELLED_STABLE, ArmModel, ModelledTraffic
from fairway.testing.modelled_values import ModelledValues, ValueModel
from fairway.testing.rollout_cases import CANDIDATE, ROUTE, STABLE
from fairway.testing.rollout_world import POLICY, RolloutWorld
from fairway.testing.virtual_clock import VirtualClock
from fairway.units import WHOLE

SECONDS = POLICY.block_seconds
NAMES = {MODELLED_CANDIDATE: CANDIDATE.release, MODELLED_STABLE: STABLE.release}
WELL = ArmModel(failure=0.001)


class Silence:
    """Nothing is pulled: blocks are made here."""

    async def pull(self, route: object, *, after: str | None) -> Pulled:
        return Pulled(batches=(), cursor="")


@dataclass(slots=True)
class ModelledMeasurer:
    """The real gates over blocks of modelled traffic, made as time goes by, at the split in force."""

    clock: VirtualClock
    inner: BlockMeasurer
    traffic: ModelledTraffic
    values: ModelledValues
    _last: tuple[RouteState, int, Measured] | None = field(default=None, init=False)

    def forget(self) -> None:
        self.inner.forget()

    async def measure(self, state: RouteState) -> Measured:
        rollout = live(state)
        stepping = rollout is not None and rollout.phase is Phase.STEPPING and rollout.step_from is not None
        split = rollout.plan.steps[rollout.step].split / WHOLE if stepping and rollout is not None else 0.0
        fresh: list[Block] = []
        while self._next_t0() + SECONDS <= self.clock.now().timestamp():
            block = self.values.of(self.traffic.next_block(split=split))
            arms = {NAMES[release]: arm for release, arm in block.arms.items()}
            fresh.append(replace(block, arms=arms, fence=state.changed_by))
        if self._last is not None and not fresh and self._last[0] is state:
            return self._last[2]
        await self.inner.measure(state)
        self.inner.keep(tuple(fresh))
        measured = await self.inner.measure(state)
        self._last = state, self.traffic.index, measured
        return measured

    def _next_t0(self) -> float:
        return self.traffic.began + self.traffic.index * SECONDS


def world(candidate: ValueModel, stable: ValueModel | None = None, **gates: object) -> RolloutWorld:
    """A route with 900 conversations a minute, whose releases differ in what their agents say alone."""
    beside = {name: {"enabled": False} for name in ("p99", "first_byte", "tokens", "loops")}
    section = {
        "gates": {**beside, **gates}, "steps": ["10%", "50%", "100%"], "dwell": "20s", "cap": "80s", "soak": "20s",
        "instrument_budget": "10s",
    }  # fmt: skip
    plan = compile_plan(RolloutSection.model_validate(section))
    made = RolloutWorld(1, plan=plan)
    began = made.clock.now().timestamp() // SECONDS * SECONDS
    inner = BlockMeasurer(route=ROUTE, ledger=made.ledger, source=Silence(), clock=made.clock)
    traffic = ModelledTraffic(
        seed=1, units_per_block=30, stable=WELL, candidate=WELL, block_seconds=SECONDS, began=began
    )
    values = ModelledValues(seed=2, stable=stable or ValueModel(), candidate=candidate)
    made.measurer = ModelledMeasurer(made.clock, inner, traffic, values)  # type: ignore[assignment]
    made.controller = made.new_controller()
    return made


async def started(made: RolloutWorld) -> RolloutWorld:
    made.serve_first()
    await made.until(Phase.DONE)
    await made.run(20.0)
    made.ask(Verb.START, release=CANDIDATE.release)
    await made.until(Phase.STEPPING)
    return made


@pytest.mark.parametrize(
    ("gate", "margin", "candidate", "told"),
    [
        ("cost_mean", "+10%", ValueModel(cost=0.02), "the mean cost of a request is $0.0"),
        ("feedback_mean", "5pt", ValueModel(feedback=0.2, rated=0.7), "the mean feedback is 0."),
    ],
    ids=["cost doubles", "feedback drops"],
)
async def test_a_release_of_which_only_that_is_worse_is_rolled_back_with_the_figures(
    gate: str, margin: str, candidate: ValueModel, told: str
) -> None:
    made = await started(world(candidate, ValueModel(rated=0.7), **{gate: margin}))
    await made.until(Phase.ROLLED_BACK, seconds=70.0)
    (event,) = [event for event in made.events if event.code == "gate_failed"]
    assert event.reason.startswith(f"{gate} failed: {told}")
    assert " candidate conversations against " in event.reason
    assert "(e-value " in event.reason
    assert made.state.stable is not None
    assert made.state.stable.release == STABLE.release
    assert made.broken_laws() == []


async def test_the_same_release_goes_on_with_the_mean_it_passed_on_and_says_until_then_what_it_waits_for() -> None:
    beside = {"failures": {"margins": ["5pt"]}, "p95": {"must_pass": False}}
    made = await started(world(ValueModel(), cost_mean={"margins": ["+100%"], "must_pass": True}, **beside))
    await made.run(8.0)
    screen = describe_status(status_wire(made.ledger, ROUTE, None, now=made.clock.now()))
    assert "evidence   cost_mean (must pass): NO_DATA - " in screen
    while (rollout := made.state.rollout) is not None and rollout.step == 0 and not rollout.paused:
        await made.tick()
    (passed,) = [event for event in made.events if event.code == "gates_passed"]
    assert "cost_mean passed: the mean cost of a request is $0.0" in passed.reason
    assert ", not worse by +100% when a request of stable counts $" in passed.reason


async def test_an_agent_that_says_no_cost_holds_its_gate_until_a_person_looks() -> None:
    nothing = ValueModel(cost=None)
    made = await started(world(nothing, nothing, cost_mean="+10%"))
    await made.run(90.0)
    rollout = made.state.rollout
    assert rollout is not None
    assert (rollout.phase, rollout.step) == (Phase.STEPPING, 0)
    assert rollout.paused
    screen = describe_status(status_wire(made.ledger, ROUTE, None, now=made.clock.now()))
    assert (
        "cost_mean (must not fail): NO_DATA - neither release reports cost in its outcome, so this cannot be measured"
        in screen
    )


async def test_a_candidate_that_stops_saying_its_cost_is_paused_as_an_instrument_that_is_broken() -> None:
    made = await started(world(ValueModel(cost=None), cost_mean="+10%"))
    await made.run(60.0)
    rollout = made.state.rollout
    assert rollout is not None
    assert rollout.step == 0
    assert "instrument_error" in {event.code for event in made.events}
    assert "cannot measure: cost_mean: 0 of the candidate's " in rollout.paused
